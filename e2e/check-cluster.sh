#!/usr/bin/env bash
# Does cluster.sh keep its promises on this machine? Two clusters, one of two nodes; pods, volumes, Services, names, logs; a part that
# dies; and nothing left at the end. Prints how long each step took; half a minute in all once parts.sh has made the parts.
#
#   check-cluster.sh            leaves the clusters check-a and check-b for inspection when a step fails (cluster.sh down --all)

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=cluster/layout.sh
. "$E2E/cluster/layout.sh"

CLUSTER=$E2E/cluster.sh
NODE_PORT=30080

# step DESCRIPTION COMMAND...
step() {
	local what=$1 began
	shift
	began=$(now_ms)
	"$@" || die "failed after $(since "$began") s: $what"
	printf '%7s s  %s\n' "$(since "$began")" "$what"
}

a() { "$(part kubectl)" --kubeconfig "$("$CLUSTER" kubeconfig check-a)" "$@"; }
b() { "$(part kubectl)" --kubeconfig "$("$CLUSTER" kubeconfig check-b)" "$@"; }

# equal WANTED COMMAND...: the command's output, in whatever order its lines come.
equal() {
	local wanted=$1
	shift
	[ "$("$@" | sort | paste -sd' ')" = "$wanted" ]
}

# says WANTED COMMAND...: somewhere in what it prints, and it succeeds. (Not grep -q, which leaves while the command still speaks.)
says() {
	local wanted=$1 said
	shift
	said=$("$@" 2>&1) && [[ $said == *"$wanted"* ]] && return
	say "$said"
	return 1
}

both_up() {
	"$CLUSTER" up check-a --nodes 2 &
	"$CLUSTER" up check-b && wait $!
}

load_both() {
	equal "$PROBE_IMAGE" "$CLUSTER" load check-a "$(part probe.tar)" && equal "$PROBE_IMAGE" "$CLUSTER" load check-b "$(part probe.tar)"
}

# A replica a node, both on one volume, as the user that our images run as, with what the restricted Pod Security level asks for.
manifests() {
	cat <<-YAML
		apiVersion: v1
		kind: PersistentVolumeClaim
		metadata: {name: probe}
		spec: {accessModes: [ReadWriteMany], resources: {requests: {storage: 1Gi}}}
		---
		apiVersion: v1
		kind: Service
		metadata: {name: probe}
		spec: {type: NodePort, selector: {app: probe}, ports: [{port: 80, targetPort: 8080, nodePort: $NODE_PORT}]}
		---
		apiVersion: apps/v1
		kind: Deployment
		metadata: {name: probe}
		spec:
		  replicas: $1
		  selector: {matchLabels: {app: probe}}
		  template:
		    metadata: {labels: {app: probe}}
		    spec:
		      topologySpreadConstraints:
		        - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: probe}}}
		      securityContext: {runAsNonRoot: true, runAsUser: 65532, runAsGroup: 65532, seccompProfile: {type: RuntimeDefault}}
		      containers:
		        - name: probe
		          image: $PROBE_IMAGE
		          args: [serve, ":8080"]
		          readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
		          securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
		          volumeMounts: [{name: data, mountPath: /data}]
		      volumes: [{name: data, persistentVolumeClaim: {claimName: probe}}]
	YAML
}

pods_ready() {
	manifests 2 | a apply -f - >/dev/null && manifests 1 | b apply -f - >/dev/null
	a rollout status deployment/probe --timeout=60s >/dev/null && b rollout status deployment/probe --timeout=60s >/dev/null
	pods=$(a get pods -l app=probe -o name | sort | sed 's,pod/,,' | paste -sd' ')
	equal 'check-a-1 check-a-2' a get pods -l app=probe -o 'jsonpath={range .items[*]}{.spec.nodeName}{"\n"}{end}'
}

# Until every pod has answered, so that the way across nodes is walked too.
all_answer() { wait_for 30 everybody_answers "$@"; }
everybody_answers() { equal "$pods" bash -c 'for i in {1..12}; do "$@"; done | sort -u' ask "$@"; }

from_host() { all_answer curl --silent --max-time 2 "http://$address:$NODE_PORT" && all_answer curl --silent --max-time 2 "http://$("$CLUSTER" address check-a 2):$NODE_PORT"; }
from_other_cluster() {
	all_answer "$(part kubectl)" --kubeconfig "$("$CLUSTER" kubeconfig check-b)" exec deployment/probe -- /probe get "http://$address:$NODE_PORT"
}
# From the very pods that the Service leads to: each must also reach itself.
by_name() {
	local pod
	for pod in $pods; do
		all_answer "$(part kubectl)" --kubeconfig "$("$CLUSTER" kubeconfig check-a)" exec "$pod" -- /probe get http://probe.default.svc.cluster.local || return
	done
}

names() {
	equal "$(a get service probe -o 'jsonpath={.spec.clusterIP}')" a exec deployment/probe -- /probe resolve probe || return
	# At once, and not after a resolver's patience.
	! a exec deployment/probe -- /probe resolve nobody.example >/dev/null 2>&1
}

volume_is_shared() {
	local one other
	read -r one other <<<"$pods"
	a exec "$one" -- /probe write /data/greeting hello from "$one" || return
	[ "$(a exec "$other" -- /probe read /data/greeting)" = "hello from $one" ]
}

logs() { says 'asked by' a logs deployment/probe; }

free_volumes() { a get persistentvolumes -o 'jsonpath={range .items[?(@.status.phase=="Available")]}{.metadata.name}{"\n"}{end}' | wc -l; }
released() { equal Released a get persistentvolume "$volume" -o 'jsonpath={.status.phase}'; }
available() { equal Available a get persistentvolume "$volume" -o 'jsonpath={.status.phase}'; }
volume_is_recycled() {
	volume=$(a get persistentvolumeclaim probe -o 'jsonpath={.spec.volumeName}')
	a delete deployment/probe persistentvolumeclaim/probe --wait >/dev/null
	wait_for 60 released || return
	"$CLUSTER" recycle check-a 2>/dev/null
	wait_for 30 available && [ -z "$(ls "$STATE/check-a/volumes/$volume")" ]
}

heals() {
	"$CLUSTER" node-exec check-b -- kill -9 "$("$CLUSTER" node-exec check-b -- cat /run/parts/etcd)"
	says 'etcd of node check-b-1 is dead' "$CLUSTER" up check-b && says 'check-b: healthy' "$CLUSTER" status
}

node_replaced() {
	"$CLUSTER" fail-node check-a 2 && says 'check-a: node check-a-2 is dead' "$CLUSTER" status && "$CLUSTER" add-node check-a
}

# A node's processes are known by its PID namespace. (Those of its pods have namespaces below it, and control groups of the node's.)
remember_namespaces() {
	local init
	namespaces=()
	for init in "$STATE"/check-[ab]/node-*/init.pid; do
		namespaces+=("$(readlink "/proc/$(recorded_pid "$init")/ns/pid")")
	done
	indices=$(cat "$STATE"/check-[ab]/index)
	[ ${#namespaces[@]} = 3 ]
}

nothing_remains() {
	local each index
	for each in "${namespaces[@]}"; do
		! readlink /proc/[0-9]*/ns/pid 2>/dev/null | grep -qxF "$each" || { say "processes of $each" && return 1; }
	done
	for index in $indices; do
		[ ! -e "/sys/class/net/regatta-$index-1" ] || { say "interface regatta-$index-1" && return 1; }
	done
	! grep -q "$STATE/check-[ab]" /proc/mounts || { say mounts && return 1; }
	[ -z "$(find /sys/fs/cgroup -path '*/regatta-e2e/check-[ab]*' -print -quit)" ] || { say 'control groups' && return 1; }
	for each in "$STATE"/check-[ab]; do
		[ ! -e "$each" ] || { say "files in $each" && return 1; }
	done
	# What all clusters share goes with the last.
	if [ -z "$(clusters)" ]; then
		for each in /sys/class/net/regatta-bridge "$STATE"; do
			[ ! -e "$each" ] || { say "$each" && return 1; }
		done
	fi
}

both_down() { "$CLUSTER" down check-a && "$CLUSTER" down check-b; }

step 'the parts' "$E2E/parts.sh" cluster probe
step 'whatever an earlier check left is gone' both_down
step 'two clusters at once, three nodes' both_up
address=$("$CLUSTER" address check-a)
step 'up again finds them healthy' both_up
step 'an image loaded into every node' load_both
step 'pods ready, one a node' pods_ready
step 'a NodePort answers from the host, at both nodes' from_host
step 'a NodePort answers from a pod of the other cluster' from_other_cluster
step 'a Service answers by name, also to its own pods' by_name
step 'names of the cluster resolve, others are refused' names
step 'two pods share a volume' volume_is_shared
step 'logs' logs
step 'a released volume is free again' volume_is_recycled
step 'a cluster whose etcd was killed comes up anew' heals
step 'a node fails; another takes part' node_replaced
step 'what there is, before' remember_namespaces
step 'down' both_down
step 'nothing remains' nothing_remains
