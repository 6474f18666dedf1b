#!/usr/bin/env bash
# What happens inside a node: run by cluster.sh in the node's namespaces, never by a person.
#
#   node.sh init NAME N                makes itself at home and becomes the node's first process
#   node.sh start NAME N PART...       starts parts of Kubernetes
#   node.sh dead NAME N                which of those started are not running any more
#   node.sh import NAME N IMAGE.tar    gives the node's containerd an image, prints its name

# shellcheck source-path=SCRIPTDIR source=../lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
# shellcheck source-path=SCRIPTDIR source=layout.sh
. "$E2E/cluster/layout.sh"

command=$1 name=$2 n=$3
shift 3
cluster=$(cluster_dir "$name") node=$(node_dir "$name" "$n") address=$(node_address "$name" "$n")
pki=$cluster/pki

init() {
	local each host_pid
	# As /proc still is the host's, it tells the number that this process has there.
	read -r host_pid _ </proc/self/stat
	# Kubelet and containerd see what the other mounts, and pods may too; what the host has is not reached from here, because
	# unshare made everything private before.
	mount --make-rshared /
	mount -t proc proc /proc
	# Sockets, ids and locks (xtables.lock!) of this node's own: everything has its usual place and none meets another's.
	mount -t tmpfs -o mode=755 tmpfs /run
	mkdir -p /run/lock /run/parts
	for each in "${PRIVATE[@]}"; do
		mkdir -p "$node$each"
		mount --bind "$node$each" "$each"
	done
	echo "$host_pid" >"$node/host-pid.new"
	mv "$node/host-pid.new" "$node/host-pid"
	exec "$(part pause)"
}

# background PART COMMAND...: with a bare environment, since proxies and such of the caller's are not the node's. Only the pid of
# this namespace is noted: who wants to end all of them ends the first process.
background() {
	local part=$1
	shift
	detached "$node/log/$part.log" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root "$@" &
	echo $! >"/run/parts/$part"
}

start() {
	case $1 in
	etcd)
		# Nobody but the API server beside it asks: a socket will do, as in ../api-server.sh. What it would lose when the machine
		# crashes is nothing that anyone wants back.
		cd "$cluster/etcd" # where the socket for its peers comes to lie
		background etcd "$(part etcd)" --name=e2e --data-dir="$cluster/etcd" --unsafe-no-fsync --log-level=warn \
			--listen-client-urls=unix:///run/etcd.sock --advertise-client-urls=http://localhost:1 \
			--listen-peer-urls=unix://peer:1 --initial-advertise-peer-urls=http://localhost:1 --initial-cluster=e2e=http://localhost:1
		;;
	kube-apiserver)
		# --advertise-address: what pods reach as Service `kubernetes`, so never loopback. InternalIP: nobody resolves nodes' names.
		background kube-apiserver "$(part kube-apiserver)" --etcd-servers=unix:///run/etcd.sock \
			--advertise-address="$address" --secure-port=6443 \
			--tls-cert-file="$pki/kube-apiserver.crt" --tls-private-key-file="$pki/kube-apiserver.key" \
			--authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --token-auth-file="$pki/tokens.csv" \
			--service-account-issuer=https://kubernetes.default.svc.cluster.local \
			--service-account-key-file="$pki/service-accounts.key" --service-account-signing-key-file="$pki/service-accounts.key" \
			--kubelet-certificate-authority="$pki/ca.crt" --kubelet-client-certificate="$pki/kubelet-client.crt" \
			--kubelet-client-key="$pki/kubelet-client.key" --kubelet-preferred-address-types=InternalIP \
			--service-cluster-ip-range="$SERVICES" --allow-privileged
		;;
	kube-controller-manager)
		# --kube-api-qps: at the default of 20 a second it spends four seconds on asking for its controllers' service accounts.
		background kube-controller-manager "$(part kube-controller-manager)" --kubeconfig="$cluster/kubeconfigs/kube-controller-manager" \
			--leader-elect=false --bind-address=127.0.0.1 --kube-api-qps=1000 --kube-api-burst=1000 --use-service-account-credentials \
			--service-account-private-key-file="$pki/service-accounts.key" --root-ca-file="$pki/ca.crt"
		;;
	kube-scheduler)
		background kube-scheduler "$(part kube-scheduler)" --kubeconfig="$cluster/kubeconfigs/kube-scheduler" \
			--leader-elect=false --bind-address=127.0.0.1
		;;
	coredns) background coredns "$(part coredns)" -conf "$cluster/Corefile" ;;
	containerd) background containerd containerd --config "$node/etc/containerd.toml" ;;
	kubelet)
		background kubelet "$(part kubelet)" --kubeconfig="$cluster/kubeconfigs/$name-$n" --config="$node/etc/kubelet.yaml" \
			--hostname-override="$name-$n" --node-ip="$address"
		;;
	kube-proxy)
		# conntrack-max-per-core: that limit is the whole machine's, and not a node's to set.
		background kube-proxy "$(part kube-proxy)" --kubeconfig="$cluster/kubeconfigs/kube-proxy" --hostname-override="$name-$n" \
			--proxy-mode=iptables --cluster-cidr="$PODS.0.0/16" --conntrack-max-per-core=0
		;;
	*) die "no part is named $1" ;;
	esac
}

dead() {
	local part
	for part in /run/parts/*; do
		kill -0 "$(cat "$part")" 2>/dev/null || printf '%s\n' "${part##*/}"
	done
}

import() {
	wait_for 30 ctr version || die "containerd of $name-$n does not answer: $(tail -n 3 "$node/log/containerd.log")"
	# "unpacking NAME (sha256:...)...done"
	ctr --namespace k8s.io images import "$1" | sed -n 's/^unpacking \([^ ]*\) .*/\1/p'
}

case $command in
init) init ;;
start) for part in "$@"; do start "$part"; done ;;
dead) dead ;;
import) import "$1" ;;
esac
