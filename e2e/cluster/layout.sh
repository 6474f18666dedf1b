# shellcheck shell=bash disable=SC2034
# Where the things of a cluster are, and what they are called. Sourced by what works outside the nodes and inside them.

# Sockets and process ids of a node are in its own /run, which is a tmpfs; everything else is here, and needs a real disk below
# it, because overlayfs holds the containers.
STATE=${REGATTA_STATE:-/var/lib/regatta-e2e}
case $STATE in
/run/* | /var/run/*) die "REGATTA_STATE may not be in /run: each node has a /run of its own" ;;
/*) ;;
*) die "REGATTA_STATE must be an absolute path" ;;
esac

# The first two numbers of every node's address; the third is the cluster's index and the fourth the node's number.
NETWORK=${REGATTA_NETWORK:-10.213}

# Inside the clusters. These may be the same in all, since what leaves a node bears the node's address.
PODS=10.244
SERVICES=10.96.0.0/16
FIRST_SERVICE=10.96.0.1

# What a kubelet, containerd and CNI write to places that cannot all be configured: each node sees directories of its own there.
PRIVATE=(/var/lib/kubelet /var/lib/containerd /var/lib/cni /var/log/pods /var/log/containers)

cluster_dir() { printf '%s/%s' "$STATE" "$1"; }
node_dir() { printf '%s/%s/node-%s' "$STATE" "$1" "$2"; }
node_address() { printf '%s.%s.%s' "$NETWORK" "$(cat "$STATE/$1/index")" "$2"; }
pod_subnet() { printf '%s.%s.0/24' "$PODS" "$1"; }

# The names of all clusters, and the numbers of a cluster's nodes, a line each, in order.
clusters() {
	local each
	for each in "$STATE"/*/index; do
		[ -e "$each" ] || continue
		each=${each%/index}
		printf '%s\n' "${each##*/}"
	done
}
nodes_of() {
	local each
	for each in "$STATE/$1"/node-*; do
		[ -d "$each" ] && printf '%s\n' "${each##*/node-}"
	done
	return 0
}
