#!/usr/bin/env bash
# Real Kubernetes clusters on this machine, in seconds, without Docker, systemd or a virtual machine. Needs root.
#
#   cluster.sh up NAME [--nodes N]       a cluster of N nodes (1 unless told); one that is healthy is left as it is
#   cluster.sh down NAME | --all         ends it and leaves nothing behind
#   cluster.sh status                    what is there, and what of it is dead
#   cluster.sh kubeconfig NAME           the path of its kubeconfig
#   cluster.sh address NAME [N]          the address of its first (or N-th) node: where its API, DNS and NodePorts answer
#   cluster.sh load NAME IMAGE.tar...    gives its nodes an image (an OCI or Docker archive); prints the image's name
#   cluster.sh trust NAME HOST:PORT CA   lets its kubelets pull from https://HOST:PORT, whose certificate that CA signed
#   cluster.sh recycle NAME              empties the volumes whose claim was deleted, and offers them again
#   cluster.sh add-node NAME             one node more
#   cluster.sh fail-node NAME N          ends a node at once, as if its power had gone (not the first: it has the control plane)
#   cluster.sh node-exec NAME [N] -- COMMAND...   runs a command as on the node: `ctr`, `iptables`, `ip`, `ps`
#
# A node is a set of namespaces (network, mounts, processes) whose first process is recorded; ending that one ends everything in it,
# by the kernel's hand. README.md says how the pieces fit. State is in ${REGATTA_STATE:-/var/lib/regatta-e2e}, a directory a cluster.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=pki.sh
. "$E2E/pki.sh"
# shellcheck source-path=SCRIPTDIR source=cluster/layout.sh
. "$E2E/cluster/layout.sh"
# shellcheck source-path=SCRIPTDIR source=cluster/network.sh
. "$E2E/cluster/network.sh"
# shellcheck source-path=SCRIPTDIR source=cluster/cgroups.sh
. "$E2E/cluster/cgroups.sh"
# shellcheck source-path=SCRIPTDIR source=cluster/configuration.sh
. "$E2E/cluster/configuration.sh"

# --- nodes ---------------------------------------------------------------------------------------------------------------------

node_alive() { recorded_pid "$(node_dir "$1" "$2")/init.pid" >/dev/null; }

# in_node NAME N COMMAND...: in all the namespaces of that node.
in_node() {
	local init
	init=$(recorded_pid "$(node_dir "$1" "$2")/init.pid") || die "node $1-$2 is not running"
	shift 2
	nsenter --target "$init" --net --mount --pid -- "$@"
}

# start NAME N PART...: start these parts of Kubernetes in that node.
start() { in_node "$1" "$2" bash "$E2E/cluster/node.sh" start "$@"; }

# make_node NAME N: namespaces, network and cgroups of a node in which nothing runs yet.
make_node() {
	local name=$1 n=$2 dir init
	dir=$(node_dir "$name" "$n")
	# First its directory, by which `down` knows of it.
	mkdir -p "$dir"/{etc,log}
	make_mount_points
	make_cgroups "$name-$n"
	configure_node "$name" "$n"
	# Both the first process of the namespaces and its parent, which waits for it, outlive this script.
	# --kill-child: should this script be killed before it learns the number of the first, the end of the second will do.
	detached "$dir/log/init.log" unshare --net --mount --propagation private --pid --fork --kill-child \
		bash "$E2E/cluster/node.sh" init "$name" "$n" &
	record_pid "$dir/parent.pid" $!
	wait_for 10 test -e "$dir/host-pid" || die "node $name-$n does not start: $(cat "$dir/log/init.log")"
	init=$(cat "$dir/host-pid")
	record_pid "$dir/init.pid" "$init"
	connect_node "$name" "$n" "$init"
}

# end_node NAME N: no farewells, since all its state goes too. With the first process of their PID namespace die all others.
end_node() {
	local dir
	dir=$(node_dir "$1" "$2")
	end_recorded "$dir/init.pid" KILL
	end_recorded "$dir/parent.pid" KILL
	disconnect_node "$1" "$2"
	remove_cgroups "$1-$2"
}

# --- clusters ------------------------------------------------------------------------------------------------------------------

kubectl_of() {
	local name=$1
	shift
	"$(part kubectl)" --kubeconfig "$(cluster_dir "$name")/kubeconfig" "$@"
}

api_ready() {
	[ "$(curl --silent --max-time 2 --cacert "$(cluster_dir "$1")/pki/ca.crt" "https://$(node_address "$1" 1):6443/readyz")" = ok ]
}

# wait_ready NAME SECONDS WHAT COMMAND...: with the logs' last words when it does not come to pass.
wait_ready() {
	local name=$1 seconds=$2 what=$3
	shift 3
	wait_for "$seconds" "$@" && return
	say "cluster $name: $what is not there after $seconds s; the last lines of the logs:"
	tail -n 3 "$(cluster_dir "$name")"/node-*/log/*.log >&2
	die "what is left of it can be looked at in $(cluster_dir "$name"); 'up' begins anew, 'down' removes it"
}

answers_dns() { (exec 3<>"/dev/tcp/$(node_address "$1" 1)/53"); }
node_ready() {
	[ "$(kubectl_of "$1" get node "$1-$2" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')" = True ]
}

# A worker: containerd first, because the kubelet's first question is to it, and the pause image before any pod.
start_worker() {
	local name=$1 n=$2
	start "$name" "$n" containerd
	in_node "$name" "$n" bash "$E2E/cluster/node.sh" import "$name" "$n" "$(part pause.tar)" >/dev/null
}

up() {
	local name=$1 nodes=1
	shift
	while [ $# -gt 0 ]; do
		case $1 in
		--nodes) nodes=${2:?how many nodes?} && shift 2 ;;
		*) die "up does not know $1" ;;
		esac
	done
	[[ $name =~ ^[a-z][a-z0-9-]{0,20}$ ]] || die "a cluster's name is lower-case letters, digits and dashes, 21 at most: not '$name'"
	[[ $nodes =~ ^[1-9]$ ]] || die "a cluster has 1 to 9 nodes"
	"$E2E/parts.sh" cluster
	locked "cluster-$name" bring_up "$name" "$nodes"
}

bring_up() {
	local name=$1 nodes=$2 n began wrong
	began=$(now_ms)
	if [ -d "$(cluster_dir "$name")" ]; then
		wrong=$(ailments "$name" | paste -sd, -)
		if [ -z "$wrong" ]; then
			for ((n = $(nodes_of "$name" | wc -l) + 1; n <= nodes; n++)); do add_worker "$name"; done
			say "cluster $name is up: KUBECONFIG=$(cluster_dir "$name")/kubeconfig"
			return
		fi
		say "cluster $name is not healthy ($wrong): beginning anew"
		take_down "$name"
	fi

	say "bringing up cluster $name, $nodes node(s) (about five seconds)"
	locked network claim_index "$name"
	configure_cluster "$name"
	for ((n = 1; n <= nodes; n++)); do make_node "$name" "$n"; done
	start "$name" 1 etcd kube-apiserver
	for ((n = 1; n <= nodes; n++)); do start_worker "$name" "$n"; done
	wait_ready "$name" 60 'the API server' api_ready "$name"
	start "$name" 1 kube-controller-manager kube-scheduler coredns
	for ((n = 1; n <= nodes; n++)); do start "$name" "$n" kubelet kube-proxy; done
	manifests "$name" | kubectl_of "$name" create -f - >/dev/null
	wait_ready "$name" 60 DNS answers_dns "$name"
	for ((n = 1; n <= nodes; n++)); do wait_ready "$name" 60 "node $name-$n" node_ready "$name" "$n"; done
	# Made by a controller, and without it no pod is admitted.
	wait_ready "$name" 60 'the service account default' kubectl_of "$name" get serviceaccount default
	say "cluster $name is up after $(since "$began") s: KUBECONFIG=$(cluster_dir "$name")/kubeconfig, node address $(node_address "$name" 1)"
}

add_worker() {
	local name=$1 n
	n=$(($(nodes_of "$name" | tail -n 1) + 1))
	[ "$n" -le 9 ] || die "a cluster has at most 9 nodes"
	make_node "$name" "$n"
	start_worker "$name" "$n"
	start "$name" "$n" kubelet kube-proxy
	wait_ready "$name" 60 "node $name-$n" node_ready "$name" "$n"
	say "node $name-$n is ready"
}

take_down() {
	local name=$1 n
	for n in $(nodes_of "$name"); do end_node "$name" "$n"; done
	rm -rf "$(cluster_dir "$name")"
	locked network remove_bridge_if_last
	remove_mount_points_if_last
}

down() {
	local name
	if [ "$1" = --all ]; then
		for name in $(clusters); do down "$name"; done
		return
	fi
	[ -d "$(cluster_dir "$1")" ] || {
		say "cluster $1 is not there"
		return
	}
	locked "cluster-$1" take_down "$1"
	say "cluster $1 is gone"
}

# What is wrong with a cluster, a line each; nothing when it is healthy.
ailments() {
	local name=$1 n part
	for n in $(nodes_of "$name"); do
		if ! node_alive "$name" "$n"; then
			echo "node $name-$n is dead"
			continue
		fi
		for part in $(in_node "$name" "$n" bash "$E2E/cluster/node.sh" dead "$name" "$n"); do echo "$part of node $name-$n is dead"; done
	done
	api_ready "$name" || echo 'the API server is not ready'
}

status() {
	local name n wrong
	[ -n "$(clusters)" ] || say 'no cluster is up'
	for name in $(clusters); do
		wrong=$(ailments "$name" | paste -sd, -)
		printf '%s: %s\n' "$name" "${wrong:-healthy}"
		for n in $(nodes_of "$name"); do printf '  node %s-%s at %s\n' "$name" "$n" "$(node_address "$name" "$n")"; done
	done
}

# --- what one does with a cluster ------------------------------------------------------------------------------------------------

load() {
	local name=$1 n archive
	shift
	for archive in "$@"; do
		archive=$(realpath "$archive")
		for n in $(nodes_of "$name"); do
			in_node "$name" "$n" bash "$E2E/cluster/node.sh" import "$name" "$n" "$archive"
		done
	done | sort -u
}

# containerd looks into this directory at every pull; nothing is restarted. It is one for all the cluster's nodes.
trust() {
	local dir
	dir=$(cluster_dir "$1")/trust/$2
	mkdir -p "$dir"
	install -m 644 "$3" "$dir/ca.crt"
	cat >"$dir/hosts.toml" <<-TOML
		server = "https://$2"
		[host."https://$2"]
		  capabilities = ["pull", "resolve"]
		  ca = "$dir/ca.crt"
	TOML
}

# A volume whose claim was deleted keeps its data and its memory of the claim (Retain): Kubernetes has nobody who would empty a
# hostPath volume.
recycle() {
	local name=$1 volume dir
	dir=$(cluster_dir "$name")/volumes
	for volume in $(kubectl_of "$name" get persistentvolumes -o 'jsonpath={range .items[?(@.status.phase=="Released")]}{.metadata.name}{"\n"}{end}'); do
		[ -d "$dir/$volume" ] || continue # one that somebody else made
		find "$dir/$volume" -mindepth 1 -delete
		kubectl_of "$name" patch persistentvolume "$volume" --type=json -p '[{"op": "remove", "path": "/spec/claimRef"}]' >/dev/null
		say "volume $volume of cluster $name is free again"
	done
}

fail_node() {
	[ "$2" != 1 ] || die "the first node has the control plane: take the cluster down instead"
	end_recorded "$(node_dir "$1" "$2")/init.pid" KILL
}

need_cluster() {
	[ -n "${1:-}" ] || die 'which cluster?'
	[ -d "$(cluster_dir "$1")" ] || die "cluster $1 is not there (cluster.sh up $1)"
}

[ "$(id -u)" = 0 ] || die 'namespaces, bridges and cgroups need root'
command=${1:-}
[ -n "$command" ] && shift
case $command in
up) up "${1:?which name?}" "${@:2}" ;;
down) down "${1:?which cluster, or --all?}" ;;
status) status ;;
kubeconfig) need_cluster "${1:-}" && printf '%s\n' "$(cluster_dir "$1")/kubeconfig" ;;
address) need_cluster "${1:-}" && printf '%s\n' "$(node_address "$1" "${2:-1}")" ;;
load) need_cluster "${1:-}" && load "$@" ;;
trust) need_cluster "${1:-}" && trust "$1" "${2:?which HOST:PORT?}" "${3:?which file has the certificate of its CA?}" ;;
recycle) need_cluster "${1:-}" && recycle "$1" ;;
add-node) need_cluster "${1:-}" && locked "cluster-$1" add_worker "$1" ;;
fail-node) need_cluster "${1:-}" && fail_node "$1" "${2:?which node?}" ;;
node-exec)
	need_cluster "${1:-}"
	name=$1 n=1
	shift
	[ "${1:-}" = -- ] || { n=${1:?what is to be run?} && shift; }
	[ "${1:-}" = -- ] && shift
	in_node "$name" "$n" "$@"
	;;
*) sed -n '2,/^$/s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
esac
