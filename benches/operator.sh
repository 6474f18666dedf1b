# shellcheck shell=bash
# The operator's memory with 100 objects of each of the five kinds, on a real API server. Sourced by run.sh.

OPERATOR_OBJECTS=100
KINDS=registries.regatta.dev,registryprojects.regatta.dev,registryrolebindings.regatta.dev,replicationpolicies.regatta.dev,garbagecollections.regatta.dev

operator() {
	local port began
	"$ROOT/scripts/install.sh" curl openssl jq
	"$E2E/parts.sh" api-server
	operator_cleanup
	API=$OUT/api
	KUBECONFIG=$("$E2E/api-server.sh" up "$API" 2>"$WORK/api-server.log")
	export KUBECONFIG
	kubectl apply --server-side -f "$ROOT/crds" >/dev/null
	wait_for 30 kubectl wait crd --all --for=condition=Established --timeout=1s || die 'the CustomResourceDefinitions are not established'
	port=$(free_port)
	HEALTH=http://127.0.0.1:$port
	begin operator env REGATTA_LOG=error "$REGATTA" operator --registry-image localhost/regatta:bench \
		--health-listen "127.0.0.1:$port" --metrics-listen "127.0.0.1:$(free_port)"
	wait_for 60 curl --silent --fail --max-time 2 "$HEALTH/readyz" || die "the operator does not become ready: $(tail -n 3 "$WORK/logs/operator.log")"
	note memory none resident "$(status_mb "$(pid_of operator)" VmRSS)"

	objects >"$WORK/objects.yaml"
	began=$(now_ms)
	say "operator: applying $OPERATOR_OBJECTS objects of each of the five kinds"
	kubectl apply --server-side -f "$WORK/objects.yaml" >/dev/null
	wait_for 300 all_observed || die "the operator has not seen to all objects: $(observed) of $((5 * OPERATOR_OBJECTS))"
	note seconds all observed "$(quotient $(($(now_ms) - began)) 1000)"
	note memory all resident "$(status_mb "$(pid_of operator)" VmRSS)"
	note memory all peak "$(status_mb "$(pid_of operator)" VmHWM)"
	note cpu all seconds "$(quotient "$(cpu_ticks "$(pid_of operator)")" "$TICKS")"
	note children all count "$(kubectl get deployments,services,secrets,serviceaccounts,persistentvolumeclaims,poddisruptionbudgets,jobs -o name | wc -l)"
	finish operator
	operator_section | section
	operator_cleanup
	unset KUBECONFIG
}

operator_cleanup() { "$E2E/api-server.sh" down "$OUT/api"; }

# How many objects have a status for what they are now.
observed() { kubectl get "$KINDS" -o json | jq '[.items[] | select(.status.observedGeneration == .metadata.generation)] | length'; }
all_observed() { [ "$(observed)" = $((5 * OPERATOR_OBJECTS)) ]; }

# objects: each registry replicates to the next one; none can run here, since nothing makes pods of Deployments.
objects() {
	local n this next
	for ((n = 0; n < OPERATOR_OBJECTS; n++)); do
		this=r$n next=r$(((n + 1) % OPERATOR_OBJECTS))
		cat <<-YAML
			---
			apiVersion: regatta.dev/v1alpha1
			kind: Registry
			metadata: {name: $this}
			spec:
			  managed:
			    replicas: 2
			    storage: {claimTemplate: {accessModes: [ReadWriteMany], resources: {requests: {storage: 1Gi}}}}
			---
			apiVersion: regatta.dev/v1alpha1
			kind: Project
			metadata: {name: $this-shop}
			spec: {registryRef: {name: $this}, name: shop}
			---
			apiVersion: regatta.dev/v1alpha1
			kind: RoleBinding
			metadata: {name: $this-shop}
			spec:
			  projectRef: {name: $this-shop}
			  role: developer
			  subjects:
			    - user: {name: anna}
			    - robot: {name: $this-ci, secret: {name: $this-ci}}
			---
			apiVersion: regatta.dev/v1alpha1
			kind: ReplicationPolicy
			metadata: {name: $this}
			spec:
			  topology: {fanOut: {source: {name: $this}, destinations: [{name: $next}]}}
			  trigger: {event: {}}
			  filters: {repositories: ["shop/**"]}
			---
			apiVersion: regatta.dev/v1alpha1
			kind: GarbageCollection
			metadata: {name: $this}
			spec: {registryRef: {name: $this}, mode: ReadOnly, gracePeriod: 24h, undeleteWindow: 24h}
		YAML
	done
}

operator_section() {
	local each reckoned
	each=$(awk -v a="$(median memory all peak)" -v b="$(median memory none resident)" -v n=$((5 * OPERATOR_OBJECTS)) 'BEGIN { printf "%.6g", 1000 * (a - b) / n }')
	reckoned=$(awk -v a="$(median memory none resident)" -v e="$each" 'BEGIN { printf "%.0f", a + 10 * e }')
	cat <<-MD
		## The operator's memory

		\`regatta operator\` against a real API server (Kubernetes $(version kubernetes k8s.io/kubernetes)) without controllers and nodes: $OPERATOR_OBJECTS Registries, Projects, RoleBindings (with a robot), event-driven
		ReplicationPolicies and GarbageCollections, all applied at once, and what it made of them: $(median children all count) objects of Kubernetes, a few of the API server's own among them.
		No registry runs here, so that no access document is taken in; what is measured are the caches and the reconciling. MB.

		| objects of the five kinds | resident | peak (VmHWM) |
		|---|---|---|
		| none | $(short "$(median memory none resident)") | |
		| $((5 * OPERATOR_OBJECTS)) | $(short "$(median memory all resident)") | $(short "$(median memory all peak)") |

		All objects had a status for their present generation $(short "$(median seconds all observed)") s after \`kubectl apply\` began (which takes part of that itself); the operator had used $(short "$(median cpu all seconds)") CPU-s by then.

		| mark | figure | |
		|---|---|---|
		| operator with 10,000 objects: at most 64 MB | about $reckoned MB, reckoned from the $(short "$each") kB that each object takes with its children; so many were not tried | $(verdict "$reckoned" le 64) |
	MD
}
