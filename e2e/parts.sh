#!/usr/bin/env bash
# Makes the parts of a real Kubernetes once, and keeps them outside the tree:
#
#   parts.sh kubectl        kubectl
#   parts.sh api-server     etcd, kube-apiserver, kubectl       what the integration tests need
#   parts.sh cluster        all of Kubernetes, CoreDNS, the pause image, and Debian's containerd and friends
#   parts.sh helm           helm
#   parts.sh clients        crane, and Debian's skopeo, buildah, podman and containerd: clients that are quick to get
#   parts.sh slow-clients   oras, regctl and cosign: those that take some minutes to build
#   parts.sh distribution   the registry that benchmarks compare with
#   parts.sh versitygw      a real S3 server over a directory, for the tests of the bucket stores
#   parts.sh emulators      of Google Cloud Storage and Azure Blob Storage, likewise; Debian's Node and npm
#   parts.sh swift          OpenStack Swift, whole, with Keystone, likewise; Debian's Python
#   parts.sh probe          the image of check-cluster.sh's pods
#   parts.sh all            all of these
#   parts.sh path NAME...   where a part is (a line each; builds nothing; fails where one is missing)
#
# Every part has a directory named after its version, in ${REGATTA_CACHE:-${XDG_CACHE_HOME:-~/.cache}/regatta}. It is built in a
# temporary place and renamed, so what is there is whole, and a second call does nothing. Two calls at once wait for one another.
# Kubernetes and the others are Go modules, so all this needs is Go and its module proxy: no container image is pulled.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# What the go command may not take from its surroundings: a workspace or flags of the caller's would build something else.
# Without C, the binaries are static and run in any namespace.
export CGO_ENABLED=0 GOWORK=off GOFLAGS=

# Courtesy to whoever works on the same machine; it costs nothing when that is idle.
NICE=(nice -n 5)

# new_work: a directory beside the cache, in $work, that goes when `locked` ends, whatever happened.
new_work() {
	work=$(mktemp -d "$CACHE/.making-XXXXXX")
	trap 'rm -rf "$work"' EXIT
}

# stamps_of_MODULE: what its releases are told of their version when they are linked.
stamps_of_kubernetes() {
	local v
	v=$(version kubernetes k8s.io/kubernetes)
	stamp k8s.io/component-base/version gitVersion "$v"
	stamp k8s.io/component-base/version gitMajor "$(major "$v")"
	stamp k8s.io/component-base/version gitMinor "$(minor "$v")"
}
# The Kubernetes that Helm takes for granted where it talks to none (lint, template) is that of its client, k8s.io/client-go v0.MINOR.
stamps_of_helm() {
	local each
	stamp helm.sh/helm/v3/internal/version version "$(version helm helm.sh/helm/v3)"
	for each in lint/rules chartutil; do
		stamp "helm.sh/helm/v3/pkg/$each" k8sVersionMajor 1
		stamp "helm.sh/helm/v3/pkg/$each" k8sVersionMinor "$(minor "$(version helm k8s.io/client-go)")"
	done
}
stamps_of_distribution() { stamp github.com/distribution/distribution/v3/version version "$(version distribution github.com/distribution/distribution/v3)"; }
stamps_of_versitygw() { stamp main Version "$(version versitygw github.com/versity/versitygw)"; }
stamps_of_fake-gcs() { :; }
stamps_of_crane() { :; }
stamps_of_oras() { :; }
stamps_of_regctl() { :; }
stamps_of_cosign() { :; }
stamps_of_coredns() { :; }
stamps_of_probe() { :; }
stamp() { printf -- '-X %s.%s=%s ' "$@"; }
major() { cut -d. -f1 <<<"${1#v}"; }
minor() { cut -d. -f2 <<<"$1"; }

# go_build MODULE HOW-LONG PART=PACKAGE...: what of these is not there yet. All in one run of the go command, which then compiles
# what they share once.
go_build() {
	local module=$1 long=$2 pair names=() packages=() began
	shift 2
	for pair in "$@"; do
		[ -x "$(part "${pair%%=*}")" ] || {
			names+=("${pair%%=*}")
			packages+=("${pair#*=}")
		}
	done
	[ ${#names[@]} -gt 0 ] || return 0
	"$E2E/../scripts/install.sh" go ca-certificates
	say "building ${names[*]} ($long on two cores the first time, seconds when Go has them in its cache)"
	began=$(now_ms)

	new_work
	# The output must be a directory for several packages, and is named after the package's last element otherwise.
	(cd "$E2E/$module" && "${NICE[@]}" go build -buildvcs=false -trimpath -ldflags "-s -w $("stamps_of_$module")" -o "$work/" "${packages[@]}") ||
		die "go build in $E2E/$module failed"

	local i made target
	for i in "${!names[@]}"; do
		# go names a program after its package's last element that is not a major version.
		made=$(sed 's,/v[0-9]*$,,; s,.*/,,' <<<"${packages[i]}")
		target=$(part "${names[i]}")
		mkdir -p "${target%/*}"
		mv "$work/$made" "$target"
	done
	say "built ${names[*]} in $(since "$began") s"
}

K=k8s.io/kubernetes/cmd
KUBECTL=(kubectl="$K/kubectl")
API_SERVER=(etcd=go.etcd.io/etcd/server/v3 kube-apiserver="$K/kube-apiserver" "${KUBECTL[@]}")
THE_REST=(kube-controller-manager="$K/kube-controller-manager" kube-scheduler="$K/kube-scheduler"
	kube-proxy="$K/kube-proxy" kubelet="$K/kubelet")

# Microsoft's emulator, as its lock file says. No script of a package's is run.
azurite() {
	local at
	at=$(part azurite)
	at=${at%/node_modules/*}
	[ ! -d "$at" ] || return 0
	say "installing azurite (about a minute)"
	new_work
	mkdir "$work/azurite"
	cp "$E2E/azurite/package.json" "$E2E/azurite/package-lock.json" "$work/azurite/"
	(cd "$work/azurite" && "${NICE[@]}" npm ci --omit=dev --ignore-scripts --no-audit --no-fund --loglevel=error >&2) || die "npm ci in $E2E/azurite failed"
	mv "$work/azurite" "$at"
}

# OpenStack's Swift as requirements.txt says, with checksums, and what starts it. Nothing is compiled: all of these come as wheels.
swift() {
	local at
	at=$(dirname "$(part swift)")
	[ ! -d "$at" ] || return 0
	python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die "Python is too old: 3.11 or newer is needed"
	# Debian has what makes virtual environments in a package of its own.
	python3 -c 'import ensurepip' 2>/dev/null || packages python3-venv=python3-venv
	say "installing Swift $(sed -n 's/^swift==\([^ ]*\).*/\1/p' "$E2E/swift/requirements.txt") with Keystone (about a minute)"
	new_work
	mkdir "$work/swift"
	cp "$E2E/swift/serve.py" "$work/swift/"
	{
		"${NICE[@]}" python3 -m venv "$work/swift/python" &&
			"${NICE[@]}" "$work/swift/python/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
				--only-binary :all: --require-hashes --requirement "$E2E/swift/requirements.txt" &&
			"${NICE[@]}" "$work/swift/python/bin/python" "$work/swift/serve.py" --prepare "$work/swift"
	} >&2 || die "pip install of $E2E/swift failed"
	cat >"$work/swift/serve" <<-'SH'
		#!/bin/sh
		at=$(dirname "$0")
		exec "$at/python/bin/python" "$at/serve.py" "$@"
	SH
	chmod +x "$work/swift/serve"
	mv "$work/swift" "$at"
}

# The image that cluster.sh's pods begin with: twenty lines of C, so that a pod costs no more than it must.
pause() {
	local binary
	binary=$(part pause)
	[ ! -x "$binary" ] || return 0
	say "building pause (a second)"
	new_work
	gcc -static -Os -s -Wall -o "$work/pause" "$E2E/pause/pause.c"
	mkdir -p "${binary%/*}"
	mv "$work/pause" "$binary"
}

# image PART NAME: an image of that one program, as `docker save` writes one, beside the program: nothing but tar and a checksum
# is needed to make it.
image() {
	local archive diff architecture
	archive=$(part "$1.tar")
	[ ! -s "$archive" ] || return 0
	case $(uname -m) in
	x86_64) architecture=amd64 ;;
	aarch64) architecture=arm64 ;;
	*) die "what does the image specification call a $(uname -m)?" ;;
	esac
	new_work
	tar -C "$(dirname "$(part "$1")")" --owner=0 --group=0 --mtime=@0 -cf "$work/layer.tar" "$1"
	diff=$(sha256sum "$work/layer.tar")
	cat >"$work/config.json" <<-JSON
		{"architecture":"$architecture","os":"linux","config":{"Entrypoint":["/$1"]},"rootfs":{"type":"layers","diff_ids":["sha256:${diff%% *}"]}}
	JSON
	echo "[{\"Config\":\"config.json\",\"RepoTags\":[\"$2\"],\"Layers\":[\"layer.tar\"]}]" >"$work/manifest.json"
	tar -C "$work" -cf "$work/image.tar" manifest.json config.json layer.tar
	mv "$work/image.tar" "$archive"
}

# openssl makes the certificates, curl asks whether a server is ready.
API_SERVER_PACKAGES=(openssl=openssl curl=curl util-linux=flock)
CLUSTER_PACKAGES=(containerd=containerd runc=runc containernetworking-plugins=/usr/lib/cni/ptp iproute2=ip iptables=iptables
	conntrack=conntrack mount=mount util-linux=nsenter gcc=gcc libc6-dev=/usr/include/stdlib.h)

CLIENT_PACKAGES=(openssl=openssl curl=curl jq=jq skopeo=skopeo buildah=buildah podman=podman containerd=containerd runc=runc
	gcc=gcc libc6-dev=/usr/include/stdlib.h)

make_target() {
	case $1 in
	kubectl) locked kubernetes go_build kubernetes '1 min' "${KUBECTL[@]}" ;;
	api-server)
		locked packages packages "${API_SERVER_PACKAGES[@]}"
		locked kubernetes go_build kubernetes '3 min' "${API_SERVER[@]}"
		;;
	cluster)
		locked packages packages "${API_SERVER_PACKAGES[@]}" "${CLUSTER_PACKAGES[@]}"
		locked pause pause
		locked pause image pause "$PAUSE_IMAGE"
		locked kubernetes go_build kubernetes '5 min' "${API_SERVER[@]}" "${THE_REST[@]}"
		locked coredns go_build coredns '1 min' coredns=regatta.dev/e2e/coredns
		;;
	helm) locked helm go_build helm '1 min' helm=helm.sh/helm/v3/cmd/helm ;;
	crane) locked crane go_build crane '20 s' crane=github.com/google/go-containerregistry/cmd/crane ;;
	clients)
		locked packages packages "${CLIENT_PACKAGES[@]}"
		locked pause pause
		locked pause image pause "$PAUSE_IMAGE"
		make_target crane
		make_target helm
		;;
	slow-clients)
		locked oras go_build oras '1 min' oras=oras.land/oras/cmd/oras
		locked regctl go_build regctl '30 s' regctl=github.com/regclient/regclient/cmd/regctl
		locked cosign go_build cosign '5 min' cosign=github.com/sigstore/cosign/v3/cmd/cosign
		;;
	distribution) locked distribution go_build distribution '90 s' registry=github.com/distribution/distribution/v3/cmd/registry ;;
	versitygw) locked versitygw go_build versitygw '90 s' versitygw=github.com/versity/versitygw/cmd/versitygw ;;
	emulators)
		locked fake-gcs go_build fake-gcs '2 min' fake-gcs-server=github.com/fsouza/fake-gcs-server
		locked packages packages nodejs=node npm=npm
		locked azurite azurite
		;;
	swift)
		locked packages packages python3=python3
		locked swift swift
		;;
	probe)
		locked probe go_build probe '10 s' probe=regatta.dev/e2e/probe
		locked probe image probe "$PROBE_IMAGE"
		;;
	all)
		local each
		for each in api-server cluster clients slow-clients distribution versitygw emulators swift probe; do make_target "$each"; done
		;;
	*) die "there is no target named $1; see the head of $0" ;;
	esac
}

[ $# -gt 0 ] || die "say what: kubectl, api-server, cluster, helm, crane, clients, slow-clients, distribution, versitygw, emulators, swift, probe, all, or path NAME"
if [ "$1" = path ]; then
	shift
	for name in "$@"; do
		path=$(part "$name")
		[ -e "$path" ] || die "$name is not built yet: run $0 all"
		printf '%s\n' "$path"
	done
else
	for target in "$@"; do make_target "$target"; done
fi
