# shellcheck shell=bash
# What the parts of a cluster are told in files: certificates, tokens, configurations, and the objects that a new cluster has.
# Sourced by cluster.sh. What they are told by flags is in node.sh.

# Who may speak to the API server. Tokens rather than certificates, because a line is quicker than a key.
# The kubelets' names and groups are what the Node authorizer wants; tokens for all nodes that may come later are made now, because
# the server reads this file only when it starts.
USERS=(admin system:kube-controller-manager system:kube-scheduler system:kube-proxy coredns)

configure_cluster() {
	local name=$1 dir address user token n
	dir=$(cluster_dir "$name") address=$(node_address "$name" 1)
	mkdir -p "$dir"/{etcd,trust,volumes,kubeconfigs}
	chmod 700 "$dir/kubeconfigs"

	new_ca "$dir/pki"
	new_cert "$dir/pki" kube-apiserver /CN=kube-apiserver \
		"IP:$address,IP:127.0.0.1,IP:$FIRST_SERVICE,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
	# With which the API server calls kubelets, for logs and exec: they trust the CA, and their webhook asks for the group's rights.
	new_cert "$dir/pki" kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client
	new_signing_key "$dir/pki/service-accounts.key"

	(umask 077 && : >"$dir/pki/tokens.csv")
	for user in "${USERS[@]}" system:node:"$name"-{1..9}; do
		token=$(new_token)
		case $user in
		admin) printf '%s,%s,%s,system:masters\n' "$token" "$user" "$user" ;;
		system:node:*) printf '%s,%s,%s,system:nodes\n' "$token" "$user" "$user" ;;
		*) printf '%s,%s,%s\n' "$token" "$user" "$user" ;;
		esac >>"$dir/pki/tokens.csv"
		write_kubeconfig "$dir/kubeconfigs/${user##*:}" "https://$address:6443" "$dir/pki/ca.crt" "$token"
	done
	mv "$dir/kubeconfigs/admin" "$dir/kubeconfig"

	# Names of the cluster, and nothing else: a test that needs the world's names would not be a test of this fleet.
	cat >"$dir/Corefile" <<-COREFILE
		.:53 {
			errors
			kubernetes cluster.local in-addr.arpa ip6.arpa {
				kubeconfig $dir/kubeconfigs/coredns default
				pods insecure
			}
			template ANY ANY . {
				rcode NXDOMAIN
			}
		}
	COREFILE
	echo "nameserver $address" >"$dir/resolv.conf"

	# fsGroup does nothing for a hostPath, so the directories belong beforehand to the user that the images run as.
	for n in "${SHARED_VOLUMES[@]}" "${SINGLE_VOLUMES[@]}"; do install -d -m 770 -o 65532 -g 65532 "$dir/volumes/$n"; done
}

configure_node() {
	local name=$1 n=$2 cluster etc address
	cluster=$(cluster_dir "$name") etc=$(node_dir "$name" "$n")/etc address=$(node_address "$name" "$n")
	mkdir -p "$etc/cni"
	new_cert "$cluster/pki" "kubelet-$n" "/O=system:nodes/CN=system:node:$name-$n" "IP:$address,DNS:$name-$n"

	# restrict_oom_score_adj: machines that are containers themselves may not make anything less killable than it is.
	cat >"$etc/containerd.toml" <<-TOML
		version = 2
		[plugins."io.containerd.grpc.v1.cri"]
		  sandbox_image = "$PAUSE_IMAGE"
		  restrict_oom_score_adj = true
		  [plugins."io.containerd.grpc.v1.cri".cni]
		    bin_dir = "/usr/lib/cni"
		    conf_dir = "$etc/cni"
		  [plugins."io.containerd.grpc.v1.cri".registry]
		    config_path = "$cluster/trust"
		  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
		    runtime_type = "io.containerd.runc.v2"
	TOML

	# ptp rather than bridge: what two pods of a node say to one another is routed, so a Service between them works without the
	# kernel passing bridged packets to iptables.
	cat >"$etc/cni/regatta.conflist" <<-JSON
		{"cniVersion": "0.4.0", "name": "regatta", "plugins": [
		  {"type": "ptp", "ipam": {"type": "host-local", "ranges": [[{"subnet": "$(pod_subnet "$n")"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
		  {"type": "portmap", "capabilities": {"portMappings": true}}
		]}
	JSON

	# syncFrequency: a mounted Secret follows its object within seconds, so tests need not wait for minutes. evictionHard and the
	# image collector's threshold: how full a developer's disk is does not decide a test.
	cat >"$etc/kubelet.yaml" <<-YAML
		apiVersion: kubelet.config.k8s.io/v1beta1
		kind: KubeletConfiguration
		authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: "$cluster/pki/ca.crt"}}
		authorization: {mode: Webhook}
		tlsCertFile: "$cluster/pki/kubelet-$n.crt"
		tlsPrivateKeyFile: "$cluster/pki/kubelet-$n.key"
		containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
		cgroupDriver: cgroupfs
		cgroupRoot: "/regatta-e2e/$name-$n"
		enforceNodeAllocatable: []
		failCgroupV1: false
		failSwapOn: false
		clusterDomain: cluster.local
		clusterDNS: ["$(node_address "$name" 1)"]
		resolvConf: "$cluster/resolv.conf"
		volumePluginDir: "$etc/volume-plugins"
		oomScoreAdj: 0
		syncFrequency: 2s
		evictionHard: {memory.available: "0%", nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%"}
		imageGCHighThresholdPercent: 100
	YAML
}

# There is no provisioner, so there is a pool: enough for a day of tests without `cluster.sh recycle`.
SHARED_VOLUMES=(shared-{01..20})
SINGLE_VOLUMES=(single-{01..10})

manifests() {
	local name=$1 volume
	# Retain, because a class without a provisioner cannot delete. Bound at once: every node sees every volume.
	cat <<-YAML
		{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: shared, annotations: {storageclass.kubernetes.io/is-default-class: "true"}}, provisioner: kubernetes.io/no-provisioner, reclaimPolicy: Retain, volumeBindingMode: Immediate}
		---
		{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: single}, provisioner: kubernetes.io/no-provisioner, reclaimPolicy: Retain, volumeBindingMode: Immediate}
		---
		{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: coredns}, rules: [{apiGroups: ["", discovery.k8s.io], resources: [services, pods, namespaces, endpointslices], verbs: [list, watch]}]}
		---
		{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: coredns}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: coredns}, subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: coredns}]}
	YAML
	for volume in "${SHARED_VOLUMES[@]}"; do volume "$name" "$volume" shared 'ReadWriteMany, ReadWriteOnce'; done
	for volume in "${SINGLE_VOLUMES[@]}"; do volume "$name" "$volume" single ReadWriteOnce; done
}

# volume CLUSTER NAME CLASS MODES
volume() {
	cat <<-YAML
		---
		{apiVersion: v1, kind: PersistentVolume, metadata: {name: $2}, spec: {storageClassName: $3, accessModes: [$4], capacity: {storage: 10Gi}, persistentVolumeReclaimPolicy: Retain, hostPath: {path: "$(cluster_dir "$1")/volumes/$2", type: Directory}}}
	YAML
}
