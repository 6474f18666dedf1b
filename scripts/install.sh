#!/usr/bin/env bash
# Installs what a target lacks, and says so:
#
#   install.sh rust           only looks whether the toolchain is there and new enough
#   install.sh go             likewise
#   install.sh cargo-deny     built once into the cache; prints its path on stdout
#   install.sh COMMAND...     a command of a Debian package
#
# What is there already costs nothing and says nothing.

# shellcheck source-path=SCRIPTDIR source=../e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../e2e/lib.sh"

CARGO_DENY=0.20.2

# package COMMAND: the Debian package that brings it.
package() {
	case $1 in
	buildah | skopeo | shellcheck | jq | make | curl) printf '%s' "$1" ;;
	cc | gcc) printf 'gcc libc6-dev' ;;
	envsubst) printf 'gettext-base' ;;
	openssl) printf 'openssl' ;;
	column) printf 'bsdextrautils' ;;
	file) printf 'file' ;;
	git) printf 'git' ;;
	ca-certificates) printf 'ca-certificates' ;;
	*) die "no Debian package is known for the command $1" ;;
	esac
}

# present COMMAND: whether it can be run, or, for what is no command, whether its file is there.
present() {
	case $1 in
	ca-certificates) [ -s /etc/ssl/certs/ca-certificates.crt ] ;;
	# A compiler without a static C library links no static binary.
	cc | gcc) command -v cc >/dev/null && [ -e "$(cc -print-file-name=libc.a)" ] ;;
	*) command -v "$1" >/dev/null ;;
	esac
}

need_rust() {
	command -v cargo >/dev/null || die "Rust is missing: install it from https://rustup.rs (1.95 or newer, with clippy and rustfmt)"
	local have
	have=$(rustc --version | cut -d' ' -f2)
	[ "$(printf '1.95.0\n%s\n' "$have" | sort -V | head -n 1)" = 1.95.0 ] || die "Rust $have is too old: 1.95 or newer is needed (rustup update)"
}

need_go() {
	command -v go >/dev/null || die "Go is missing: install Go 1.24 or newer (https://go.dev/dl) and put it into PATH"
}

# Built once a version, into a temporary place that is then renamed: what is in the cache is whole.
cargo_deny() {
	local at=$CACHE/cargo-deny-$CARGO_DENY
	if [ ! -x "$at/bin/cargo-deny" ]; then
		mkdir -p "$CACHE"
		exec 9>"$CACHE/.lock-cargo-deny"
		flock 9
	fi
	if [ ! -x "$at/bin/cargo-deny" ]; then
		say "building cargo-deny $CARGO_DENY, once: about 5 min on two cores"
		need_rust
		# From outside the tree, so that no setting of the tree's reaches it.
		(cd "$CACHE" && cargo install --quiet --locked --root "$at.part" --target-dir "$at.build" "cargo-deny@$CARGO_DENY" >&2)
		rm -rf "$at.build" "$at"
		mv "$at.part" "$at"
	fi
	printf '%s\n' "$at/bin/cargo-deny"
}

install_packages() {
	local sudo=()
	[ "$(id -u)" = 0 ] || sudo=(sudo)
	command -v apt-get >/dev/null || die "this is no Debian: install $* by hand, then try again"
	say "installing Debian packages, under a minute: $*"
	"${sudo[@]}" apt-get update -qq >&2
	DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -qq -y --no-install-recommends "$@" >&2
}

missing=()
for tool in "$@"; do
	case $tool in
	rust) need_rust ;;
	go) need_go ;;
	cargo-deny) cargo_deny ;;
	*)
		if ! present "$tool"; then
			read -ra more <<<"$(package "$tool")"
			missing+=("${more[@]}")
		fi
		;;
	esac
done
[ ${#missing[@]} = 0 ] || install_packages "${missing[@]}"
