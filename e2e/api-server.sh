#!/usr/bin/env bash
# A real API server with nothing behind it, on loopback, for tests of reconcilers: etcd and kube-apiserver, no controllers, no nodes.
#
#   api-server.sh up [DIR [PORT]]     starts one that keeps everything in DIR, prints the path of its kubeconfig
#   api-server.sh down DIR            ends it and empties DIR
#   api-server.sh run [DIR [PORT]]    like up, then stays until its standard input is closed (or it is told to end), then like down:
#                                     a test that holds the other end of a pipe cannot leave a server behind, however it ends
#
# Without DIR a new temporary directory is taken, without PORT a free one. Any number may run at once; root is not needed.
#
# What to know when there are no controllers: Deployments make no Pods, deleted namespaces stay Terminating, owner references
# collect nothing, and no namespace gets its ServiceAccount `default` (admission refuses a Pod until a test creates it).
# All API groups, admission plugins and RBAC are those of a real cluster. The kubeconfig's user is in `system:masters`.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=pki.sh
. "$E2E/pki.sh"

# background DIR NAME COMMAND...: in that directory, with a log and a recorded id.
background() {
	local dir=$1 name=$2
	shift 2
	(cd "$dir" && detached "$dir/$name.log" "$@") &
	record_pid "$dir/$name.pid" $!
}

ready() { [ "$(curl --silent --max-time 2 --cacert "$1/ca.crt" "https://127.0.0.1:$2/readyz")" = ok ]; }
ready_or_ended() { ready "$1" "$2" || gone "$1/kube-apiserver.pid"; }

start_etcd() {
	# Sockets in DIR instead of ports: nothing to choose, nothing to collide. For clients etcd takes a whole path; for its peers,
	# of which it has none, a name in the working directory. What it advertises is used by nobody.
	background "$1" etcd "$(part etcd)" --name=it --data-dir="$1/etcd" --unsafe-no-fsync --log-level=warn \
		--listen-client-urls="unix://$1/etcd.sock" --advertise-client-urls=http://localhost:1 \
		--listen-peer-urls=unix://peer:1 --initial-advertise-peer-urls=http://localhost:1 --initial-cluster=it=http://localhost:1
}

start_api_server() {
	# Nobody reaches the API through its Service here, so it need not announce itself (it may not announce loopback either).
	background "$1" kube-apiserver "$(part kube-apiserver)" --etcd-servers="unix://$1/etcd.sock" \
		--bind-address=127.0.0.1 --secure-port="$2" --endpoint-reconciler-type=none \
		--tls-cert-file="$1/server.crt" --tls-private-key-file="$1/server.key" \
		--authorization-mode=Node,RBAC --token-auth-file="$1/tokens.csv" --service-cluster-ip-range=10.96.0.0/16 \
		--service-account-issuer=https://kubernetes.default.svc.cluster.local \
		--service-account-key-file="$1/service-accounts.key" --service-account-signing-key-file="$1/service-accounts.key"
}

up() {
	local dir=${1:-} port=${2:-} began token
	began=$(now_ms)
	"$E2E/parts.sh" api-server
	[ -n "$dir" ] || dir=$(mktemp -d "${TMPDIR:-/tmp}/regatta-api-server-XXXXXX")
	mkdir -p "$dir"
	dir=$(cd "$dir" && pwd)
	# The longest path that a Unix socket can have is 107 bytes.
	[ ${#dir} -lt 90 ] || die "$dir is too long a path for a socket"
	if [ -s "$dir/kubeconfig" ] && [ -s "$dir/port" ] && ready "$dir" "$(cat "$dir/port")"; then
		say "already running in $dir"
		printf '%s\n' "$dir/kubeconfig"
		return
	fi
	down "$dir"
	mkdir -p "$dir"

	token=$(new_token)
	new_ca "$dir"
	new_cert "$dir" server /CN=kube-apiserver IP:127.0.0.1,DNS:localhost
	new_signing_key "$dir/service-accounts.key"
	printf '%s,admin,admin,system:masters\n' "$token" >"$dir/tokens.csv"
	start_etcd "$dir"
	for _ in 1 2 3 4 5; do
		printf '%s' "${port:=$(free_port)}" >"$dir/port"
		start_api_server "$dir" "$port"
		wait_for 60 ready_or_ended "$dir" "$port" || true
		if ! gone "$dir/kube-apiserver.pid" && ready "$dir" "$port"; then
			write_kubeconfig "$dir/kubeconfig" "https://127.0.0.1:$port" "$dir/ca.crt" "$token"
			say "https://127.0.0.1:$port is ready after $(since "$began") s; logs in $dir"
			printf '%s\n' "$dir/kubeconfig"
			return
		fi
		# Only a port that we chose may be chosen anew.
		if [ -n "${2:-}" ] || ! grep -q 'address already in use' "$dir/kube-apiserver.log"; then break; fi
		port=
	done
	tail -n 5 "$dir/kube-apiserver.log" "$dir/etcd.log" >&2
	end "$dir"
	die "the API server did not become ready; its logs are in $dir"
}

# At once: what it holds is thrown away next.
end() {
	end_recorded "$1/kube-apiserver.pid" KILL
	end_recorded "$1/etcd.pid" KILL
}

# Only what up made is removed, so that a wrong DIR costs nothing.
down() {
	[ -d "$1" ] || return 0
	end "$1"
	(cd "$1" && rm -rf etcd etcd.sock peer:1 {etcd,kube-apiserver}.{log,pid} {ca,server}.{crt,key} service-accounts.key tokens.csv port kubeconfig)
	rmdir "$1" 2>/dev/null || true
}

run() {
	local kubeconfig
	kubeconfig=$(up "$@")
	# shellcheck disable=SC2064 # the directory is known now
	trap "down '${kubeconfig%/*}'" EXIT
	trap 'exit 0' TERM INT HUP
	printf '%s\n' "$kubeconfig"
	# read is interrupted by a signal, cat would not be
	while read -r _; do :; done
}

case ${1:-} in
up | run) "$@" ;;
down) down "${2:?which directory?}" ;;
*) die "say what: up [DIR [PORT]], run [DIR [PORT]], down DIR" ;;
esac
