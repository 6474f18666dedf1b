#!/usr/bin/env bash
# Clients that people use, against the registry over TLS: each logs in, pushes, lists, pulls and deletes as far as it can.
#
#   clients.sh CLIENT...    these: skopeo buildah podman containerd crane helm, and oras regctl cosign
#
# What it needs: the registry (make image; REGATTA names another binary), and parts.sh clients or parts.sh slow-clients. What it
# starts, it ends; everything a client keeps is in a directory that goes with it.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

REGATTA=${REGATTA:-$(realpath -m "${CARGO_TARGET_DIR:-$(dirname "$E2E")/target}")/image/regatta}
LOGIN='admin'
# A repository each, so that none finds what another left.
NAME=

on_exit() {
	local code=$?
	end_recorded "$WORK/containerd.pid" || true
	end_recorded "$WORK/registry.pid" || true
	rm -rf "$WORK"
	exit "$code"
}

answers() { curl --silent --fail --max-time 2 --cacert "$CA" --config "$WORK/admin.curl" "https://$REGISTRY/v2/"; }

start_registry() {
	openssl rand -hex 16 | tr -d '\n' >"$WORK/password"
	printf 'user = "%s:%s"\n' "$LOGIN" "$(cat "$WORK/password")" >"$WORK/admin.curl"
	# Where containers/image, containerd and Docker look for the CA of a registry: a directory with a ca.crt.
	mkdir -p "$WORK/certs"
	CA=$WORK/certs/ca.crt
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=registry -addext subjectAltName=IP:127.0.0.1 \
		-keyout "$WORK/tls.key" -out "$CA" 2>/dev/null
	local tries
	for ((tries = 0; tries < 20; tries++)); do
		REGISTRY=127.0.0.1:$(free_port)
		(detached "$WORK/registry.log" "$REGATTA" registry --root "$WORK/root" --listen "$REGISTRY" --tls-cert "$CA" --tls-key "$WORK/tls.key" \
			--admin-password-file "$WORK/password") &
		record_pid "$WORK/registry.pid" $!
		# Somebody else's port ends it at once.
		if wait_for 20 answers_or_ended && answers >/dev/null; then return; fi
	done
	die "the registry does not answer: $(tail -n 3 "$WORK/registry.log")"
}
answers_or_ended() { answers || gone "$WORK/registry.pid"; }

# --- what is held against the registry itself --------------------------------------------------------------------------------

ask() { curl --silent --show-error --fail --max-time 30 --cacert "$CA" --config "$WORK/admin.curl" "$@"; }
status() { curl --silent --max-time 30 --cacert "$CA" --config "$WORK/admin.curl" --output /dev/null --write-out '%{http_code}' "$@"; }
ACCEPT='Accept: application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.v2+json'
# digest_of_tag TAG: as the registry says.
digest_of_tag() { ask --head --header "$ACCEPT" "https://$REGISTRY/v2/$NAME/manifests/$1" | tr -d '\r' | awk 'tolower($1) == "docker-content-digest:" { print $2 }'; }
# equal WHAT EXPECTED FOUND
equal() { [ "$2" = "$3" ] || die "$NAME: $1: expected \`$2\`, found \`$3\`"; }
has() { grep -qxF -- "$2" <<<"$3" || die "$NAME: $1 lacks \`$2\`: $3"; }
# no_longer WHAT KIND DIGEST: its kind is blobs or manifests.
no_longer() { equal "$1 after it was deleted" 404 "$(status --head --header "$ACCEPT" "https://$REGISTRY/v2/$NAME/$2/$3")"; }
no_tag() { equal "$1 after it was deleted" 404 "$(status --head --header "$ACCEPT" "https://$REGISTRY/v2/$NAME/manifests/$1")"; }

# --- the clients -------------------------------------------------------------------------------------------------------------
# In each, $HERE is a directory of its own and its HOME, and $IMAGE is $REGISTRY/$NAME.

client_skopeo() {
	local auth=(--authfile "$HERE/auth.json") archive digest
	archive=$(part pause.tar)
	skopeo login "${auth[@]}" --cert-dir "$WORK/certs" --username "$LOGIN" --password-stdin "$REGISTRY" <"$WORK/password"
	skopeo copy "${auth[@]}" --dest-cert-dir "$WORK/certs" --format oci "docker-archive:$archive" "docker://$IMAGE:v1"
	# Schema 2 as well as OCI.
	skopeo copy "${auth[@]}" --dest-cert-dir "$WORK/certs" --format v2s2 "docker-archive:$archive" "docker://$IMAGE:docker"
	has list-tags v1 "$(skopeo list-tags "${auth[@]}" --cert-dir "$WORK/certs" "docker://$IMAGE" | jq -r '.Tags[]')"
	digest=$(skopeo inspect "${auth[@]}" --cert-dir "$WORK/certs" --format '{{.Digest}}' "docker://$IMAGE:v1")
	equal inspect "$(digest_of_tag v1)" "$digest"
	skopeo copy "${auth[@]}" --src-cert-dir "$WORK/certs" "docker://$IMAGE:v1" "oci:$HERE/layout:v1"
	equal 'the copy' "$digest" "$(jq -r '.manifests[0].digest' "$HERE/layout/index.json")"
	skopeo delete "${auth[@]}" --cert-dir "$WORK/certs" "docker://$IMAGE:v1"
	no_tag v1
}

client_buildah() {
	local storage=(--root "$HERE/root" --runroot "$HERE/run" --storage-driver vfs) auth=(--authfile "$HERE/auth.json" --cert-dir "$WORK/certs") working digest
	buildah "${storage[@]}" login "${auth[@]}" --username "$LOGIN" --password-stdin "$REGISTRY" <"$WORK/password"
	working=$(buildah "${storage[@]}" from scratch)
	buildah "${storage[@]}" copy --quiet "$working" "$(part pause)" /pause
	buildah "${storage[@]}" config --entrypoint '["/pause"]' "$working"
	buildah "${storage[@]}" commit --quiet "$working" "$IMAGE:v1"
	buildah "${storage[@]}" push "${auth[@]}" --digestfile "$HERE/digest" "$IMAGE:v1"
	digest=$(cat "$HERE/digest")
	equal 'what was pushed' "$digest" "$(digest_of_tag v1)"
	buildah "${storage[@]}" rm "$working" >/dev/null
	buildah "${storage[@]}" rmi "$IMAGE:v1" >/dev/null
	buildah "${storage[@]}" pull --quiet "${auth[@]}" "$IMAGE@$digest"
	has images "$digest" "$(buildah "${storage[@]}" images --digests --format '{{.Digest}}')"
}

client_podman() {
	local podman=(podman --root "$HERE/root" --runroot "$HERE/run" --storage-driver vfs --events-backend none)
	local auth=(--authfile "$HERE/auth.json" --cert-dir "$WORK/certs") digest
	"${podman[@]}" login "${auth[@]}" --username "$LOGIN" --password-stdin "$REGISTRY" <"$WORK/password"
	"${podman[@]}" load --quiet --input "$(part pause.tar)"
	"${podman[@]}" push --quiet "${auth[@]}" --digestfile "$HERE/digest" "$PAUSE_IMAGE" "$IMAGE:v1"
	digest=$(cat "$HERE/digest")
	equal 'what was pushed' "$digest" "$(digest_of_tag v1)"
	has 'search --list-tags' v1 "$(SSL_CERT_FILE=$CA "${podman[@]}" search --list-tags --authfile "$HERE/auth.json" "$IMAGE" | awk '{ print $NF }')"
	"${podman[@]}" rmi --force "$PAUSE_IMAGE" >/dev/null
	"${podman[@]}" pull --quiet "${auth[@]}" "$IMAGE:v1"
	equal 'what was pulled' "$digest" "$("${podman[@]}" inspect --format '{{.Digest}}' "$IMAGE:v1")"
}

client_containerd() {
	local ctr=(ctr --address "$HERE/containerd.sock" --namespace clients) flags
	cat >"$HERE/config.toml" <<-TOML
		version = 2
		root = "$HERE/root"
		state = "$HERE/state"
		disabled_plugins = ["io.containerd.grpc.v1.cri"]
		[grpc]
		address = "$HERE/containerd.sock"
	TOML
	(detached "$HERE/log" containerd --config "$HERE/config.toml") &
	record_pid "$WORK/containerd.pid" $!
	wait_for 20 "${ctr[@]}" version || die "containerd does not answer: $(tail -n 3 "$HERE/log")"
	# It would speak plain HTTP to a loopback address.
	mkdir -p "$HERE/hosts/$REGISTRY"
	printf 'server = "https://%s"\n[host."https://%s"]\nca = "%s"\n' "$REGISTRY" "$REGISTRY" "$CA" >"$HERE/hosts/$REGISTRY/hosts.toml"
	flags=(--user "$LOGIN:$(cat "$WORK/password")" --hosts-dir "$HERE/hosts")
	"${ctr[@]}" images import --snapshotter native "$(part pause.tar)" >/dev/null
	"${ctr[@]}" images tag "$PAUSE_IMAGE" "$IMAGE:v1" >/dev/null
	"${ctr[@]}" images push "${flags[@]}" "$IMAGE:v1" >/dev/null
	"${ctr[@]}" images rm --sync "$PAUSE_IMAGE" "$IMAGE:v1" >/dev/null
	"${ctr[@]}" images pull "${flags[@]}" --snapshotter native "$IMAGE:v1" >/dev/null
	equal 'what was pulled' "$(digest_of_tag v1)" "$("${ctr[@]}" images ls | awk -v name="$IMAGE:v1" '$1 == name { print $3 }')"
	end_recorded "$WORK/containerd.pid"
}

client_crane() {
	local crane digest
	crane=$(part crane)
	export SSL_CERT_FILE=$CA
	"$crane" auth login --username "$LOGIN" --password-stdin "$REGISTRY" <"$WORK/password" 2>/dev/null
	"$crane" push "$(part pause.tar)" "$IMAGE:v1" >/dev/null 2>&1
	"$crane" tag "$IMAGE:v1" v2 2>/dev/null
	equal ls $'v1\nv2' "$("$crane" ls "$IMAGE")"
	has catalog "$NAME" "$("$crane" catalog "$REGISTRY")"
	digest=$("$crane" digest "$IMAGE:v1")
	equal digest "$(digest_of_tag v1)" "$digest"
	"$crane" pull --format oci "$IMAGE@$digest" "$HERE/layout" 2>/dev/null
	equal 'what was pulled' "$digest" "$(jq -r '.manifests[0].digest' "$HERE/layout/index.json")"
	"$crane" validate --remote "$IMAGE:v1" >/dev/null 2>&1
	"$crane" copy "$IMAGE:v1" "$REGISTRY/$NAME-copy:v1" 2>/dev/null
	"$crane" delete "$IMAGE:v2" 2>/dev/null
	no_tag v2
	"$crane" delete "$IMAGE@$digest" 2>/dev/null
	no_tag v1
}

client_helm() {
	local helm digest
	helm=$(part helm)
	"$helm" registry login --ca-file "$CA" --username "$LOGIN" --password-stdin "$REGISTRY" <"$WORK/password" 2>/dev/null
	"$helm" create "$HERE/shop" >/dev/null
	"$helm" package --version 1.2.3+build --destination "$HERE" "$HERE/shop" >/dev/null
	"$helm" push --ca-file "$CA" "$HERE/shop-1.2.3+build.tgz" "oci://$IMAGE" 2>"$HERE/said"
	digest=$(awk '$1 == "Digest:" { print $2 }' "$HERE/said")
	NAME=$NAME/shop
	# A tag has no plus; Helm writes an underscore.
	equal 'what was pushed' "$digest" "$(digest_of_tag 1.2.3_build)"
	has 'show chart' 'version: 1.2.3+build' "$("$helm" show chart --ca-file "$CA" "oci://$IMAGE/shop" --version 1.2.3+build 2>/dev/null)"
	mkdir "$HERE/pulled"
	"$helm" pull --ca-file "$CA" --destination "$HERE/pulled" "oci://$IMAGE/shop" --version 1.2.3+build 2>/dev/null
	cmp "$HERE/shop-1.2.3+build.tgz" "$HERE/pulled/shop-1.2.3+build.tgz"
}

client_oras() {
	local oras digest blob tls=(--ca-file "$CA")
	oras=$(part oras)
	"$oras" login "${tls[@]}" --registry-config "$HERE/auth.json" --username "$LOGIN" --password-stdin "$REGISTRY" <"$WORK/password" >/dev/null
	tls+=(--registry-config "$HERE/auth.json")
	cd "$HERE"
	echo 'an artifact' >artifact.txt
	echo '{"signed":true}' >signature.json
	"$oras" push "${tls[@]}" --artifact-type application/vnd.example.thing "$IMAGE:v1" artifact.txt:text/plain >/dev/null
	digest=$("$oras" resolve "${tls[@]}" "$IMAGE:v1")
	equal resolve "$(digest_of_tag v1)" "$digest"
	"$oras" attach "${tls[@]}" --artifact-type application/vnd.example.signature "$IMAGE:v1" signature.json >/dev/null
	has discover application/vnd.example.signature "$("$oras" discover "${tls[@]}" --format json "$IMAGE:v1" | jq -r '(.referrers // .manifests)[].artifactType')"
	has 'repo tags' v1 "$("$oras" repo tags "${tls[@]}" "$IMAGE")"
	has 'repo ls' "$NAME" "$("$oras" repo ls "${tls[@]}" "$REGISTRY")"
	"$oras" tag "${tls[@]}" "$IMAGE:v1" v2 >/dev/null
	mkdir pulled
	"$oras" pull "${tls[@]}" --output pulled "$IMAGE@$digest" >/dev/null
	cmp artifact.txt pulled/artifact.txt
	"$oras" copy --recursive --from-ca-file "$CA" --to-ca-file "$CA" --from-registry-config auth.json --to-registry-config auth.json "$IMAGE:v1" "$REGISTRY/$NAME-copy:v1" >/dev/null
	echo 'a blob of no manifest' >blob.txt
	blob=$("$oras" blob push "${tls[@]}" --descriptor "$IMAGE" blob.txt | jq -r .digest)
	"$oras" blob delete "${tls[@]}" --force "$IMAGE@$blob" >/dev/null
	no_longer 'the blob' blobs "$blob"
	"$oras" manifest delete "${tls[@]}" --force "$IMAGE@$digest" >/dev/null
	no_longer 'the manifest' manifests "$digest"
	no_tag v1
	no_tag v2
}

client_regctl() {
	local regctl digest blob note
	regctl=$(part regctl)
	export REGCTL_CONFIG=$HERE/config.json
	"$regctl" registry set --cacert "$(cat "$CA")" --skip-check "$REGISTRY"
	"$regctl" registry login --user "$LOGIN" --pass-stdin "$REGISTRY" <"$WORK/password" 2>/dev/null
	"$regctl" image import "$IMAGE:v1" "$(part pause.tar)"
	digest=$("$regctl" image digest "$IMAGE:v1")
	equal digest "$(digest_of_tag v1)" "$digest"
	echo 'a note' | "$regctl" artifact put --artifact-type application/vnd.example.note --subject "$IMAGE:v1" >/dev/null
	has 'artifact list' application/vnd.example.note "$("$regctl" artifact list --format '{{range .Descriptors}}{{println .ArtifactType}}{{end}}' "$IMAGE:v1")"
	has 'tag ls' v1 "$("$regctl" tag ls "$IMAGE")"
	has 'repo ls' "$NAME" "$("$regctl" repo ls "$REGISTRY")"
	"$regctl" image copy "$IMAGE:v1" "$REGISTRY/$NAME-copy:v1"
	"$regctl" image export "$IMAGE:v1" "$HERE/image.tar"
	"$regctl" image copy "$IMAGE:v1" "$IMAGE:v2"
	"$regctl" tag delete "$IMAGE:v2"
	no_tag v2
	equal 'the tag beside the one that was deleted' "$digest" "$(digest_of_tag v1)"
	blob=$(echo 'a blob of no manifest' | "$regctl" blob put "$IMAGE")
	"$regctl" blob delete "$IMAGE" "$blob"
	no_longer 'the blob' blobs "$blob"
	note=$("$regctl" artifact list --format '{{range .Descriptors}}{{println .Digest}}{{end}}' "$IMAGE:v1")
	"$regctl" manifest delete --referrers "$IMAGE@$note"
	no_longer 'the artifact' manifests "$note"
	equal 'artifact list' '' "$("$regctl" artifact list --format '{{range .Descriptors}}{{println .Digest}}{{end}}' "$IMAGE:v1")"
	"$regctl" manifest delete "$IMAGE@$digest"
	no_longer 'the manifest' manifests "$digest"
	no_tag v1
}

client_cosign() {
	local cosign digest
	cosign=$(part cosign)
	export SSL_CERT_FILE=$CA COSIGN_PASSWORD=
	"$cosign" login --username "$LOGIN" --password-stdin "$REGISTRY" <"$WORK/password" 2>/dev/null
	skopeo copy --dest-cert-dir "$WORK/certs" --dest-authfile "$HERE/.docker/config.json" "docker-archive:$(part pause.tar)" "docker://$IMAGE:v1" >/dev/null
	digest=$(digest_of_tag v1)
	cd "$HERE"
	"$cosign" generate-key-pair 2>/dev/null
	# No transparency log and no timestamp of somebody else's: this machine talks to itself only.
	"$cosign" sign --yes --key cosign.key --tlog-upload=false --use-signing-config=false "$IMAGE@$digest" >"$HERE/said" 2>&1 || die "cosign sign: $(tail -n 5 "$HERE/said")"
	"$cosign" verify --key cosign.pub --insecure-ignore-tlog "$IMAGE@$digest" >"$HERE/verified" 2>"$HERE/said" || die "cosign verify: $(tail -n 5 "$HERE/said")"
	echo '{"predicate":"of a test"}' >predicate.json
	"$cosign" attest --yes --key cosign.key --tlog-upload=false --use-signing-config=false --type custom --predicate predicate.json "$IMAGE@$digest" >"$HERE/said" 2>&1 || die "cosign attest: $(tail -n 5 "$HERE/said")"
	"$cosign" verify-attestation --key cosign.pub --insecure-ignore-tlog --type custom "$IMAGE@$digest" >/dev/null 2>"$HERE/said" || die "cosign verify-attestation: $(tail -n 5 "$HERE/said")"
	"$cosign" tree "$IMAGE@$digest" >"$HERE/tree" 2>&1
	"$cosign" clean --force "$IMAGE@$digest" >"$HERE/said" 2>&1 || die "cosign clean: $(tail -n 5 "$HERE/said")"
	equal 'referrers after they were deleted' '' "$(ask "https://$REGISTRY/v2/$NAME/referrers/$digest" | jq -r '.manifests[].digest')"
	if "$cosign" verify --key cosign.pub --insecure-ignore-tlog "$IMAGE@$digest" >"$HERE/verified" 2>"$HERE/said"; then die 'cosign verify: there is still a signature'; fi
	grep -q 'no signatures found' "$HERE/said" || die "cosign verify, after clean: $(tail -n 5 "$HERE/said")"
	equal 'the image that was signed' "$digest" "$(digest_of_tag v1)"
}

# --- one after the other -----------------------------------------------------------------------------------------------------

run() {
	local began code
	began=$(now_ms)
	NAME=clients/$1
	HERE=$WORK/$1 IMAGE=$REGISTRY/$NAME
	mkdir -p "$HERE"
	# A subshell: what one exports or where it goes is nothing to the next. Not `( ) || die`: the shell would then go on after errors
	# inside it.
	set +e
	(
		set -e
		unset DOCKER_CONFIG REGISTRY_AUTH_FILE
		export HOME=$HERE XDG_RUNTIME_DIR=$HERE
		"client_$1"
	) >"$HERE.log" 2>&1
	code=$?
	set -e
	[ "$code" = 0 ] || die "$1 failed ($code): $(tail -n 20 "$HERE.log")"
	say "$1: pushed, listed, pulled and deleted what it can, in $(since "$began") s"
}

[ $# -gt 0 ] || die 'say which clients; see the head of this file'
[ -x "$REGATTA" ] || die "there is no $REGATTA yet: make image"
WORK=$(mktemp -d)
trap on_exit EXIT
trap 'exit 130' INT TERM HUP
start_registry
for client in "$@"; do
	declare -F "client_$client" >/dev/null || die "no client is called $client; see the head of this file"
	run "$client"
done
