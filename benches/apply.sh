# shellcheck shell=bash
# From `kubectl apply` of a Registry to the first accepted push, on one real cluster. Sourced by run.sh.

APPLY_ROUNDS=5
APPLY_PORT=30600 # and the next ones: each Registry has its own
CLUSTER=bench

apply() {
	local id image round port=$APPLY_PORT
	"$ROOT/scripts/install.sh" curl openssl skopeo jq
	"$E2E/parts.sh" cluster helm
	make_password
	[ -s "$TARGET/image/regatta.tar" ] || die 'there is no image yet: make image'
	# Ended and begun anew, so that no other run's leftovers are measured.
	apply_cleanup
	"$E2E/cluster.sh" up "$CLUSTER" 2>>"$WORK/cluster.log"
	NODE=$("$E2E/cluster.sh" address "$CLUSTER")
	KUBECONFIG=$("$E2E/cluster.sh" kubeconfig "$CLUSTER")
	export KUBECONFIG
	id=$(skopeo inspect --config --raw "docker-archive:$TARGET/image/regatta.tar" | sha256sum)
	image=localhost/regatta:bench-${id:0:12}
	skopeo copy --quiet "docker-archive:$TARGET/image/regatta.tar" "docker-archive:$WORK/regatta.tar:$image"
	"$E2E/cluster.sh" load "$CLUSTER" "$WORK/regatta.tar" >/dev/null
	say 'apply: installing the operator by Helm'
	"$(part helm)" upgrade --install regatta "$ROOT/charts/regatta" --namespace regatta-system --create-namespace \
		--set image.repository="${image%:*}" --set image.tag="${image##*:}" --wait --timeout 3m >"$WORK/helm.log" 2>&1 || die "helm failed: $(tail -n 3 "$WORK/helm.log")"
	for ((round = 1; round <= APPLY_ROUNDS; round++)); do
		say "apply: round $round of $APPLY_ROUNDS"
		apply_round "bench-$round" 1 $((port++))
		apply_round "bench-$round-two" 2 $((port++))
	done
	apply_section | section
	apply_cleanup
	unset KUBECONFIG
}

# What a run that failed leaves, too.
apply_cleanup() {
	local state=${REGATTA_STATE:-/var/lib/regatta-e2e}
	[ ! -d "$state/$CLUSTER" ] || "$E2E/cluster.sh" down "$CLUSTER"
}

# apply_round NAMESPACE REPLICAS PORT
apply_round() {
	local namespace=$1 replicas=$2 began who=replicas-$2
	ADDRESS=http://$NODE:$3
	kubectl create namespace "$namespace" >/dev/null
	"$REGATTA" htpasswd admin <"$WORK/password" >"$WORK/htpasswd"
	kubectl --namespace "$namespace" create secret generic users --from-file="$WORK/htpasswd" >/dev/null
	wait_for 30 kubectl --namespace "$namespace" get serviceaccount default || die 'the namespace gets no service account'
	cat >"$WORK/registry.yaml" <<-YAML
		apiVersion: regatta.dev/v1alpha1
		kind: Registry
		metadata: {name: bench, namespace: $namespace}
		spec:
		  managed:
		    replicas: $replicas
		    storage: {claimTemplate: {accessModes: [ReadWriteMany], resources: {requests: {storage: 1Gi}}}}
		    expose: {service: {type: NodePort, nodePort: $3}, externalURL: "$ADDRESS"}
		    auth: {htpasswdSecretRef: {name: users}, admins: [admin]}
	YAML
	printf '{}' >"$WORK/config"
	printf '{"schemaVersion":2,"mediaType":"%s","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"%s","size":2},"layers":[]}' \
		"$MANIFEST_TYPE" "$(digest "$WORK/config")" >"$WORK/manifest"
	began=$(now_ms)
	kubectl apply -f "$WORK/registry.yaml" >/dev/null
	note apply "$who" applied "$(quotient $(($(now_ms) - began)) 1000)"
	wait_for 90 first_push || die "no push is accepted 90 s after the Registry was applied: $(kubectl --namespace "$namespace" get registry,pods -o wide 2>&1)"
	note apply "$who" pushed "$(quotient $(($(now_ms) - began)) 1000)"
	wait_for 90 kubectl --namespace "$namespace" wait registry/bench --for=condition=Ready --timeout=1s || die 'the Registry does not become ready'
	note apply "$who" ready "$(quotient $(($(now_ms) - began)) 1000)"
	# What goes away meanwhile costs next to nothing, and takes its time: pods drain.
	kubectl delete namespace "$namespace" --wait=false >/dev/null
}

# A blob and a manifest with a tag: what a client's `push` says has been done.
first_push() {
	curl --silent --fail --max-time 2 --config "$WORK/admin.curl" --output /dev/null --header 'Content-Type: application/octet-stream' \
		--data-binary "@$WORK/config" "$ADDRESS/v2/bench/first/blobs/uploads/?digest=$(digest "$WORK/config")" &&
		curl --silent --fail --max-time 2 --config "$WORK/admin.curl" --output /dev/null --request PUT --header "Content-Type: $MANIFEST_TYPE" \
			--data-binary "@$WORK/manifest" "$ADDRESS/v2/bench/first/manifests/v1"
}

apply_section() {
	local who
	cat <<-MD
		## From \`kubectl apply\` to the first push

		One cluster of one node (Kubernetes $(version kubernetes k8s.io/kubernetes)), the chart installed by Helm and the image loaded before the clock starts, nothing else in the cluster. The clock runs from
		\`kubectl apply\` of a Registry (new namespace, new volume, NodePort, password file) until a blob and a tagged manifest are accepted through the NodePort, tried again as soon as an attempt
		fails. $APPLY_ROUNDS rounds, seconds, median (least-most).

		| Registry | \`kubectl apply\` returned | first push accepted | \`Ready=True\` | mark | |
		|---|---|---|---|---|---|
	MD
	for who in replicas-1 replicas-2; do
		printf '| %s | %s | %s | %s | less than 10 s to the first push | %s |\n' "replicas: ${who#replicas-}, one shared volume" "$(spread apply "$who" applied)" \
			"$(spread apply "$who" pushed)" "$(spread apply "$who" ready)" "$(verdict "$(median apply "$who" pushed)" le 10)"
	done
}
