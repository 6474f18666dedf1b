#!/usr/bin/env bash
# A fleet on real Kubernetes, from nothing to an image that a node far away runs, and back to the space that it took:
#
#   demo.sh up       brings everything up and goes through it; ends with exit code 0 only if every step held
#   demo.sh down     takes all of it down again
#
# Three clusters are brought up on this machine, unless DEMO_CLUSTER=current says to use the cluster of KUBECONFIG (what that needs is told
# in docs/how-to/demo-on-your-cluster.md). Run again, it goes on with what is there. Which stage it is played on is written down, so `down`
# needs to be told nothing. Every wait has a deadline; nothing waits for a fixed time.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=pki.sh
. "$E2E/pki.sh"
# shellcheck source-path=SCRIPTDIR source=demo/image.sh
. "$E2E/demo/image.sh"

ROOT=$(dirname "$E2E")
TARGET=$(realpath -m "${CARGO_TARGET_DIR:-$ROOT/target}")
# With another name, a demo is another one: clusters and files of its own, beside one that somebody looks at.
DEMO_NAME=${DEMO_NAME:-demo}
DEMO=$TARGET/$DEMO_NAME
LOG=$DEMO/demo.log
SITES=(hq province city)
declare -A PORT=([hq]=30500 [province]=30501 [city]=30502)
KINDS=registries.regatta.dev,registryprojects.regatta.dev,registryrolebindings.regatta.dev,replicationpolicies.regatta.dev,garbagecollections.regatta.dev

# Where a demo is up, it is gone on with and taken down there.
WANTED=${DEMO_CLUSTER:-clusters}
[[ $WANTED =~ ^(clusters|current)$ ]] || die "DEMO_CLUSTER is empty or 'current', not '$WANTED'"
STAGE=$WANTED
[ ! -s "$DEMO/stage" ] || STAGE=$(cat "$DEMO/stage")
case $STAGE in
clusters)
	# shellcheck source-path=SCRIPTDIR source=demo/clusters.sh
	. "$E2E/demo/clusters.sh"
	;;
current)
	# shellcheck source-path=SCRIPTDIR source=demo/current.sh
	. "$E2E/demo/current.sh"
	;;
*) die "$DEMO/stage names no stage: '$STAGE'" ;;
esac
# What a person types to take it down.
DOWN="make demo-down"
[ "$DEMO_NAME" = demo ] || DOWN="DEMO_NAME=$DEMO_NAME $DOWN"

# --- telling ---------------------------------------------------------------------------------------------------------------------

BEGAN=$(now_ms)
DOING='beginning'

# told TEXT: what has come to pass, with the seconds since the beginning.
told() { printf '%7s s  %s\n' "$(since "$BEGAN")" "$*"; }

# doing TEXT: what is being done now; named if it fails.
doing() {
	DOING=$*
	printf '\n%7s s  -- %s\n' "$(since "$BEGAN")" "$*"
}

# quietly COMMAND...: what it prints goes to the log.
quietly() { "$@" >>"$LOG" 2>&1; }

# within SECONDS WHAT COMMAND...: waits for it, says how long that took, and fails by name.
within() {
	local seconds=$1 what=$2 began
	shift 2
	began=$(now_ms)
	wait_for "$seconds" "$@" || die "after $seconds s still not: $what"
	told "$what (waited $(since "$began") s)"
}

# What a person would look at first.
on_exit() {
	local code=$? site
	[ "$code" != 0 ] || return 0
	{
		printf '\nThe demo FAILED while: %s\n' "$DOING"
		[ ! -s "$LOG" ] || { echo "the last lines of $LOG:" && tail -n 15 "$LOG"; }
		for site in "${SITES[@]}"; do
			kubeconfig "$site" >/dev/null 2>&1 || continue
			printf '\n%s:\n' "$site"
			at "$site" get "$KINDS" -o wide
			at "$site" get pods
		done
		echo "What there is stays, to be looked at: $DOWN takes it down."
	} >&2 || true
	exit "$code"
}

# --- reaching --------------------------------------------------------------------------------------------------------------------

kubectl_bare() { "$(part kubectl)" "$@"; }
kubectl_at() {
	local site=$1
	shift
	"$(part kubectl)" --kubeconfig "$(kubeconfig "$site")" "$@"
}
# at SITE ARGUMENT...: kubectl in the namespace that the site's objects are in.
at() { kubectl_at "$1" --namespace "$(namespace "$1")" "${@:2}"; }
helm_at() {
	local site=$1
	shift
	KUBECONFIG=$(kubeconfig "$site") "$(part helm)" "$@"
}
# called SITE: in a sentence.
called() {
	case $1 in
	hq) printf 'headquarters' ;;
	*) printf 'the %s' "$1" ;;
	esac
}
host() { printf '%s:%s' "$(address "$1")" "${PORT[$1]}"; }

# --- what the fleet refers to ----------------------------------------------------------------------------------------------------

# Passwords and certificates are made once and kept for the next run. No password is ever an argument of a program.
make_secrets() {
	local each site
	mkdir -p "$DEMO"/{passwords,trust}
	for each in admin dora gustav to-hq to-province to-city; do
		[ -s "$DEMO/passwords/$each" ] || openssl rand -hex 20 | tr -d '\n' >"$DEMO/passwords/$each"
	done
	for each in admin dora gustav; do
		"$REGATTA" htpasswd "$each" <"$DEMO/passwords/$each"
		printf 'user = "%s:%s"\n' "$each" "$(cat "$DEMO/passwords/$each")" >"$DEMO/$each.curl"
	done >"$DEMO/htpasswd"
	[ -s "$DEMO/pki/ca.crt" ] || new_ca "$DEMO/pki"
	cp "$DEMO/pki/ca.crt" "$DEMO/trust/ca.crt"
	for site in "${SITES[@]}"; do new_cert "$DEMO/pki" "$site" "/CN=$site" "IP:$(address "$site")"; done
	login dora hq >"$DEMO/developer.json"
	login gustav "${SITES[@]}" >"$DEMO/guest.json"
}

# login USER SITE...: the file that skopeo takes credentials from.
login() {
	local user=$1 site comma=
	shift
	printf '{"auths":{'
	for site in "$@"; do
		printf '%s"%s":{"auth":"%s"}' "$comma" "$(host "$site")" "$(printf '%s:%s' "$user" "$(cat "$DEMO/passwords/$user")" | base64 -w0)"
		comma=,
	done
	printf '}}\n'
}

# secret NAME TYPE FILE...: its manifest.
secret() {
	local name=$1 type=$2 file arguments=()
	shift 2
	for file in "$@"; do arguments+=(--from-file="$file"); done
	echo ---
	kubectl_bare create secret generic "$name" --type="$type" "${arguments[@]}" --dry-run=client -o yaml
}

secrets() {
	local each
	secret fleet-users Opaque "htpasswd=$DEMO/htpasswd"
	secret fleet-ca Opaque "ca.crt=$DEMO/pki/ca.crt"
	# The key of a certificate lies only where its registry is at home.
	secret "$1-tls" kubernetes.io/tls "tls.crt=$DEMO/pki/$1.crt" "tls.key=$DEMO/pki/$1.key"
	for each in "${SITES[@]}"; do
		printf 'to-%s' "$each" >"$DEMO/username"
		secret "$each-replicator" kubernetes.io/basic-auth "username=$DEMO/username" "password=$DEMO/passwords/to-$each"
	done
}

apply_secrets() {
	kubectl_bare create namespace "$(namespace "$1")" --dry-run=client -o yaml | quietly kubectl_at "$1" apply --server-side -f -
	secrets "$1" | quietly at "$1" apply --server-side --force-conflicts -f -
}

# --- waiting ---------------------------------------------------------------------------------------------------------------------

# Every object, about the newest spec. (`kubectl wait` asks for one after the other, and has one time-out for them all.)
ready() {
	at "$1" get "$KINDS" -o json | jq -e '.items | length > 0 and all(
		.status.observedGeneration == .metadata.generation and any(.status.conditions[]?; .type == "Ready" and .status == "True"))'
}
# condition SITE OBJECT TYPE
condition() { [ "$(at "$1" get "$2" -o "jsonpath={.status.conditions[?(@.type==\"$3\")].status}")" = True ]; }
serves() { [ "$(curl --silent --max-time 2 --cacert "$DEMO/pki/ca.crt" --output /dev/null --write-out '%{http_code}' "https://$(host "$1")/v2/")" = 401 ]; }
collected() { [ "$(at "$1" get "garbagecollection/$1" -o 'jsonpath={.status.lastHandledRequest}')" = "$2" ]; }

# --- the scenes ------------------------------------------------------------------------------------------------------------------

run_pod() {
	quietly at city delete pod hello --ignore-not-found --wait
	quietly at city apply -f - <<-YAML
		apiVersion: v1
		kind: Pod
		metadata: {name: hello}
		spec:
		  imagePullSecrets: [{name: city-pull}]
		  automountServiceAccountToken: false
		  securityContext: {runAsNonRoot: true, runAsUser: 65532, seccompProfile: {type: RuntimeDefault}}
		  containers:
		    - name: hello
		      image: $(host city)/shop/demo:v1
		      imagePullPolicy: Always
		      securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
	YAML
}

# written SITE: how many requests have brought contents to the registry of a site so far, as its pods count them.
written() {
	local pod
	for pod in $(at "$1" get pods --selector "regatta.dev/registry=$1,app.kubernetes.io/component=registry" --output 'jsonpath={.items[*].metadata.name}'); do
		kubectl_at "$1" get --raw "/api/v1/namespaces/$(namespace "$1")/pods/$pod:9090/proxy/metrics"
	done | awk '/^regatta_registry_requests_total[{]/ && /route="(upload|manifest)"/ && /method="(POST|PATCH|PUT)"/ { n += $NF } END { print n + 0 }'
}

# figure NAME VALUE: for whoever measures (benches/demo.sh).
figure() { printf '%s %s\n' "$1" "$2" >>"$DEMO/figures"; }

# Through every site; a tag is there when its digest is.
follow_tag() {
	local tag=$1 digest site began requests
	local -A before
	digest=$(skopeo inspect --format '{{.Digest}}' "oci:$DEMO/images:$tag")
	for site in province city; do before[$site]=$(written "$site"); done
	push "$tag"
	began=$(now_ms)
	within 120 "shop/demo:$tag is in the province" has_digest province "$tag" "$digest"
	within 120 "shop/demo:$tag is in the city" has_digest city "$tag" "$digest"
	SECONDS_TO_CITY=$(since "$began")
	figure "seconds-$tag" "$SECONDS_TO_CITY"
	for site in province city; do
		requests=$(($(written "$site") - before[$site]))
		# The counters of a pod that was replaced meanwhile are gone.
		[ "$requests" -ge 0 ] || continue
		figure "requests-$tag-$site" "$requests"
		told "$(called "$site") was sent it in $requests requests that write"
	done
	for site in "${SITES[@]}"; do
		has_digest "$site" "$tag" "$digest" || die "at $(called "$site") the digest is '$(digest_at "$site" "$tag")', and $digest was pushed"
	done
	told "the digest is the same everywhere: $digest"
}

collect() {
	local site request last
	request=$(date --utc +%Y-%m-%dT%H:%M:%S.%NZ)
	for site in "${SITES[@]}"; do
		quietly at "$site" annotate --overwrite "garbagecollection/$site" "regatta.dev/requested-at=$request"
	done
	for site in "${SITES[@]}"; do
		within 180 "the collection at $(called "$site") has run" collected "$site" "$request"
		last=$(at "$site" get "garbagecollection/$site" -o 'jsonpath={.status.lastRun}')
		jq -e .succeeded <<<"$last" >/dev/null || die "the collection at $(called "$site") failed: $(jq -r .message <<<"$last")"
		[ "$(jq .bytesFreed <<<"$last")" -ge "$OWN_BYTES" ] || die "the collection at $(called "$site") freed $(jq .bytesFreed <<<"$last") bytes; $OWN_BYTES and more were expected"
		told "$(called "$site"): $(jq -r '"\(.purged.blobs) blobs purged, \(.bytesFreed) bytes freed"' <<<"$last")"
	done
}

# A tag deleted at headquarters by the admin, with nothing but the registry's API.
delete_tag() {
	local code
	code=$(ask hq admin DELETE "/v2/shop/demo/manifests/$1" --output /dev/null --write-out '%{http_code}')
	[ "$code" = 202 ] || die "the registry of headquarters answered $code to the deletion of shop/demo:$1"
}

up() {
	local site archive=$TARGET/image/regatta.tar id
	trap on_exit EXIT
	[ "$STAGE" = "$WANTED" ] || die "a demo is up already, on $(stage): take it down first, with $DOWN"
	# Passwords and keys are in there.
	mkdir -p "$DEMO" && chmod 700 "$DEMO"
	: >"$LOG"
	"$ROOT/scripts/install.sh" skopeo buildah jq openssl envsubst curl cc
	[ -s "$archive" ] || die "$archive is missing: make image"
	REGATTA=$TARGET/image/regatta
	# A name of its own for each build, so that a second run rolls what has changed.
	id=$(skopeo inspect --config --raw "docker-archive:$archive" | sha256sum)
	IMAGE=localhost/regatta:demo-${id:0:12}
	prepare_stage
	printf '%s' "$STAGE" >"$DEMO/stage"

	doing "setting the stage: $(stage)"
	raise_stage
	if [ -z "${DEMO_IMAGE:-}" ]; then
		rm -f "$DEMO/regatta.tar"
		quietly skopeo copy "docker-archive:$archive" "docker-archive:$DEMO/regatta.tar:$IMAGE"
		load_image "$DEMO/regatta.tar" "$IMAGE"
		rm -f "$DEMO/regatta.tar"
	fi
	told "Regatta's image: $IMAGE"

	doing 'installing the operator, by Helm'
	for site in $(operators); do
		install_operator "$site"
		told "operator ready ($site)"
	done

	doing 'applying the fleet: registries, projects, roles, replication, collection'
	make_secrets
	for site in "${SITES[@]}"; do
		apply_secrets "$site"
		trust_registry "$site"
		manifests "$site" >"$DEMO/manifests-$site.yaml"
	done
	for site in "${SITES[@]}"; do quietly at "$site" apply --server-side -f "$DEMO/manifests-$site.yaml"; done
	for site in "${SITES[@]}"; do
		within 180 "all objects are ready at $(called "$site")" ready "$site"
		within 30 "its registry answers at https://$(host "$site")" serves "$site"
	done
	for site in hq province; do within 60 "the replicator of $(called "$site") follows" condition "$site" replicationpolicy/shop Synced; done

	doing 'making two versions of an image, of three layers each, of which they share two'
	quietly build_images
	told "in $DEMO/images"

	rm -f "$DEMO/figures"
	doing 'pushing shop/demo:v1 to headquarters, as the developer dora'
	follow_tag v1
	told "from headquarters to the city in $SECONDS_TO_CITY s"

	doing 'running it in the city, pulled by the kubelet from the registry of the city with the pull secret of a robot'
	run_pod
	within 120 'the Pod hello runs' condition city pod/hello Ready
	told "it says: $(at city logs hello)"

	doing 'pushing shop/demo:v2: only the layer that is new moves'
	follow_tag v2
	told "from headquarters to the city in $SECONDS_TO_CITY s"

	doing 'deleting shop/demo:v1 at headquarters, as the admin'
	delete_tag v1
	for site in "${SITES[@]}"; do within 120 "shop/demo:v1 is gone at $(called "$site")" gone_at "$site" v1; done

	doing 'collecting the garbage at each registry'
	collect
	for site in "${SITES[@]}"; do pulled_whole "$site" v2; done
	told 'shop/demo:v2, which shares two layers with what was collected, can be pulled whole from each'

	curtain
}

curtain() {
	local site
	trap - EXIT
	for site in "${SITES[@]}"; do
		printf '\n=== %s\n' "$site"
		at "$site" get "$KINDS"
	done
	printf '\nThe whole took %s s. Look around:\n\n' "$(since "$BEGAN")"
	for site in "${SITES[@]}"; do
		printf '  kubectl --kubeconfig %s --namespace %s get regatta   # %s\n' "$(kubeconfig "$site")" "$(namespace "$site")" "$site"
	done
	printf '\n  kubectl is %s\n' "$(part kubectl)"
	printf '  skopeo list-tags --authfile %s --cert-dir %s docker://%s/shop/demo\n' "$DEMO/guest.json" "$DEMO/trust" "$(host city)"
	printf '  passwords of admin, dora and gustav: %s\n\n' "$DEMO/passwords"
	printf 'Take it down: %s\n' "$DOWN"
}

down() {
	local where
	mkdir -p "$DEMO" && chmod 700 "$DEMO"
	: >>"$LOG"
	where=$(stage)
	strike_stage
	rm -rf "$DEMO"
	say "the demo is down: $where"
}

case ${1:-} in
up) up ;;
down) down ;;
*) sed -n '2,/^$/s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
esac
