# shellcheck shell=bash
# What the scripts of this directory share: how they speak, wait, lock, and where they keep things. Sourced, never run.

set -euo pipefail

E2E=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# What is expensive to make and the same for everybody: binaries and images, a directory a version.
CACHE=${REGATTA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/regatta}

# The image that every pod's first process comes from, and the one of the check's own pods. The names say that no registry has
# them: a node is given them.
export PAUSE_IMAGE=regatta.invalid/pause:1 PROBE_IMAGE=regatta.invalid/probe:1

# Everything a person reads goes to stderr, so that stdout is only ever an answer (a path, an address, a kubeconfig).
# The last path element of $0 says which script speaks when one calls another.
say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() {
	say "$*"
	exit 1
}

# A clock with milliseconds that costs no process.
now_ms() { printf '%s' "$((${EPOCHREALTIME/[.,]/} / 1000))"; }
# since START: seconds since then, with two decimals.
since() {
	local ms=$(($(now_ms) - $1))
	printf '%d.%02d' $((ms / 1000)) $((ms % 1000 / 10))
}

# wait_for SECONDS COMMAND...: until the command succeeds; fails when the time is over. The pause between attempts is how soon a
# condition is noticed, never how long something is given.
wait_for() {
	local until=$(($(now_ms) + $1 * 1000))
	shift
	until "$@" >/dev/null 2>&1; do
		[ "$(now_ms)" -lt "$until" ] || return 1
		sleep 0.05
	done
}

# locked NAME COMMAND...: one at a time for that name, over all processes that share the cache.
locked() {
	local name=$1
	shift
	mkdir -p "$CACHE"
	(
		# Most waits are over before anyone would read of them.
		if ! flock -w 1 9; then
			say "waiting for another that works on $name"
			flock 9
		fi
		"$@"
	) 9>"$CACHE/.lock-$name"
}

# detached LOG COMMAND...: in place of this (sub)shell, so that it outlives the script and its terminal. None of the caller's
# descriptors stay open: a lock would be held, and who reads from a pipe would wait, for as long as the command lives.
detached() {
	local log=$1 fd
	shift
	for fd in /proc/self/fd/*; do
		fd=${fd##*/}
		[ "$fd" -le 2 ] || eval "exec $fd>&-"
	done
	exec setsid "$@" </dev/null >>"$log" 2>&1
}

# The moment at which a process began, in clock ticks since boot: together with its number, it names a process for ever, whereas
# a number alone may by now be somebody else's. (The name in field 2 may hold spaces and brackets: cut after the last bracket.)
start_time() {
	local stat fields
	stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
	read -ra fields <<<"${stat##*) }"
	printf '%s' "${fields[19]}" # field 22 of stat is the 20th after the name
}

# free_port: one of loopback that is free now, below those that the system gives to outgoing connections, and none of those that the
# tests' programs take (free_port of tests/it/program.rs). Somebody may take it all the same before the caller's program does: then
# that one ends, and the caller tries another.
free_port() {
	local port
	while :; do
		port=$((20000 + RANDOM % 4000))
		(exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
	done
	printf '%s' "$port"
}

# record_pid FILE PID: remember a process that this script started.
record_pid() { printf '%s %s\n' "$2" "$(start_time "$2")" >"$1"; }

# recorded_pid FILE: its number, if that very process is still there (and more than a zombie).
recorded_pid() {
	local pid began state
	read -r pid began 2>/dev/null <"$1" || return 1
	[ "$(start_time "$pid")" = "$began" ] || return 1
	state=$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$pid/status" 2>/dev/null)
	[ -n "$state" ] && [ "$state" != Z ] && printf '%s' "$pid"
}

gone() { ! recorded_pid "$1" >/dev/null; }

# end_recorded FILE [SIGNAL]: end that process, asking first and insisting after five seconds. Nothing is done when it is gone.
end_recorded() {
	local pid
	if pid=$(recorded_pid "$1"); then
		kill -s "${2:-TERM}" "$pid" 2>/dev/null || true
		if ! wait_for 5 gone "$1"; then
			kill -s KILL "$pid" 2>/dev/null || true
			wait_for 5 gone "$1" || die "process $pid ($1) does not end"
		fi
	fi
	rm -f "$1"
}

# packages PACKAGE=FILE...: install the Debian packages whose file is missing, and only those. FILE is a command or a path, so
# that what came from elsewhere counts too.
packages() {
	local pair missing=()
	for pair in "$@"; do
		case ${pair#*=} in
		/*) [ -e "${pair#*=}" ] ;;
		*) PATH=$PATH:/usr/sbin:/sbin command -v "${pair#*=}" >/dev/null ;;
		esac || missing+=("${pair%%=*}")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
		die "missing here: ${missing[*]}. Install these (as root: apt-get install --no-install-recommends ${missing[*]}) and run again"
	fi
	say "installing ${missing[*]} (about half a minute)"
	mkdir -p "$CACHE"
	local log=$CACHE/apt.log apt=(apt-get -q -y -o DPkg::Lock::Timeout=600)
	if ! {
		"${apt[@]}" update && DEBIAN_FRONTEND=noninteractive "${apt[@]}" install --no-install-recommends "${missing[@]}"
	} >"$log" 2>&1; then
		die "apt-get failed: $(tail -n 3 "$log") (all of it: $log)"
	fi
}

# version MODULE-DIRECTORY MODULE: the version that its go.mod requires. The go.mod files are the only place for versions.
version() {
	awk -v m="$2" '$1 == "require" { $0 = substr($0, 9) } $1 == m && $2 ~ /^v/ { print $2; exit }' "$E2E/$1/go.mod"
}

# part NAME: where that binary or image is once parts.sh made it.
part() {
	case $1 in
	etcd) printf '%s/etcd-%s/bin/etcd' "$CACHE" "$(version kubernetes go.etcd.io/etcd/server/v3)" ;;
	kube-apiserver | kube-controller-manager | kube-proxy | kube-scheduler | kubectl | kubelet)
		printf '%s/kubernetes-%s/bin/%s' "$CACHE" "$(version kubernetes k8s.io/kubernetes)" "$1"
		;;
	helm) printf '%s/helm-%s/bin/helm' "$CACHE" "$(version helm helm.sh/helm/v3)" ;;
	crane) printf '%s/crane-%s/bin/crane' "$CACHE" "$(version crane github.com/google/go-containerregistry)" ;;
	oras) printf '%s/oras-%s/bin/oras' "$CACHE" "$(version oras oras.land/oras)" ;;
	regctl) printf '%s/regctl-%s/bin/regctl' "$CACHE" "$(version regctl github.com/regclient/regclient)" ;;
	cosign) printf '%s/cosign-%s/bin/cosign' "$CACHE" "$(version cosign github.com/sigstore/cosign/v3)" ;;
	registry) printf '%s/distribution-%s/bin/registry' "$CACHE" "$(version distribution github.com/distribution/distribution/v3)" ;;
	versitygw) printf '%s/versitygw-%s/bin/versitygw' "$CACHE" "$(version versitygw github.com/versity/versitygw)" ;;
	fake-gcs-server) printf '%s/fake-gcs-%s/bin/fake-gcs-server' "$CACHE" "$(version fake-gcs github.com/fsouza/fake-gcs-server)" ;;
	azurite) printf '%s/azurite-%s/node_modules/.bin/azurite-blob' "$CACHE" "$(digest_of "$E2E/azurite/package-lock.json")" ;;
	swift) printf '%s/swift-%s-%s/serve' "$CACHE" "$(digest_of "$E2E/swift/requirements.txt")" "$(digest_of "$E2E/swift/serve.py")" ;;
	# Those that have source of their own here: what they are made from is part of the name.
	coredns) printf '%s/coredns-%s-%s/bin/coredns' "$CACHE" "$(version coredns github.com/coredns/coredns)" "$(digest_of "$E2E/coredns/main.go")" ;;
	pause) printf '%s/pause-%s/bin/pause' "$CACHE" "$(digest_of "$E2E/pause/pause.c")" ;;
	probe) printf '%s/probe-%s/bin/probe' "$CACHE" "$(digest_of "$E2E/probe/main.go")" ;;
	pause.tar | probe.tar) printf '%s.tar' "$(part "${1%.tar}")" ;;
	*) die "there is no part named $1" ;;
	esac
}

digest_of() {
	local sum
	sum=$(sha256sum "$1")
	printf '%s' "${sum:0:8}"
}
