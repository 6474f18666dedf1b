#!/usr/bin/env bash
# Sees to it that what a target needs is there:
#
#   install.sh rust           looks whether the toolchain is there and new enough
#   install.sh go             likewise
#   install.sh cargo-deny     builds it, once, into the cache; prints its path on stdout
#   install.sh TOOL...        installs Debian's packages of these, where they are missing
#
# What is there already costs nothing and says nothing.

# shellcheck source-path=SCRIPTDIR source=../e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../e2e/lib.sh"

CARGO_DENY=0.20.2
LEAST_RUST=1.95.0
LEAST_GO=1.26

# debian TOOL: its packages, and for each the command or file that shows whether it is there.
debian() {
	case $1 in
	buildah | skopeo | shellcheck | jq | curl | file | git | openssl) echo "$1=$1" ;;
	# A compiler without a static C library links no static binary.
	cc) echo gcc=cc libc6-dev=/usr/include/stdlib.h ;;
	fusermount3) echo fuse3=fusermount3 ;;
	# libFuzzer is C++.
	cxx) echo g++=g++ ;;
	envsubst) echo gettext-base=envsubst ;;
	ca-certificates) echo ca-certificates=/etc/ssl/certs/ca-certificates.crt ;;
	*) die "no Debian package is known for $1" ;;
	esac
}

need_rust() {
	command -v cargo >/dev/null || die "Rust is missing: install it from https://rustup.rs ($LEAST_RUST or newer, with clippy and rustfmt)"
	local have
	have=$(rustc --version | cut -d' ' -f2)
	at_least "$LEAST_RUST" "$have" || die "Rust $have is too old: $LEAST_RUST or newer is needed (rustup update)"
}

# Older ones fail in the middle of something, with words that help nobody. From 1.21 on Go fetches a newer one by itself, unless it is told
# not to (as Debian's is).
need_go() {
	command -v go >/dev/null || die "Go is missing: install Go $LEAST_GO or newer (https://go.dev/dl) and put it into PATH"
	local have
	have=$(cd / && GOTOOLCHAIN=local go env GOVERSION)
	have=${have#go}
	at_least "$LEAST_GO" "$have" || { at_least 1.21 "$have" && [[ $(go env GOTOOLCHAIN) != local* ]]; } ||
		die "Go $have is too old: $LEAST_GO or newer is needed (https://go.dev/dl)"
}

# at_least LEAST VERSION
at_least() { [ "$(printf '%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

# Built into a temporary place that is then renamed: what is in the cache is whole.
build_cargo_deny() {
	local at=$CACHE/cargo-deny-$CARGO_DENY
	[ ! -x "$at/bin/cargo-deny" ] || return 0
	need_rust
	say "building cargo-deny $CARGO_DENY (once, about 4 min)"
	# From outside the tree, so that no setting of the tree's reaches it.
	(cd "$CACHE" && cargo install --quiet --locked --root "$at.part" --target-dir "$at.build" "cargo-deny@$CARGO_DENY" >&2)
	rm -rf "$at.build" "$at"
	mv "$at.part" "$at"
}

wanted=()
for tool in "$@"; do
	case $tool in
	rust) need_rust ;;
	go) need_go ;;
	cargo-deny)
		locked cargo-deny build_cargo_deny
		printf '%s\n' "$CACHE/cargo-deny-$CARGO_DENY/bin/cargo-deny"
		;;
	*)
		pairs=$(debian "$tool")
		read -ra pairs <<<"$pairs"
		wanted+=("${pairs[@]}")
		;;
	esac
done
[ ${#wanted[@]} = 0 ] || locked packages packages "${wanted[@]}"
