# shellcheck shell=bash
# A copy from one registry to another, and once more with nothing changed: ours beside crane and skopeo. Sourced by run.sh.

REPLICATION_ROUNDS=3
SHAPE=bench/shape
TAGS=20
LAYER_BYTES=1209000 # 43 of them are 52 MB
COPIERS=(regatta crane skopeo)
# The routes of content; the others are lists, tokens and questions.
CONTENT='manifest|blob|upload'

replication() {
	local source round who
	"$ROOT/scripts/install.sh" curl openssl skopeo jq
	"$E2E/parts.sh" crane
	make_password
	source=$(free_port)
	SOURCE=127.0.0.1:$source
	begin_regatta source "$source" "$WORK/source"
	say 'replication: filling the source'
	fill_source
	for ((round = 1; round <= REPLICATION_ROUNDS; round++)); do
		say "replication: round $round of $REPLICATION_ROUNDS"
		for who in "${COPIERS[@]}"; do copy_round "$who"; done
	done
	finish source
	rm -rf "$WORK/source"
	replication_section | section
}

# fill_source: 20 tags of 5 layers each, of which the first 3 are the same in all: 43 layers and 20 configurations, 63 blobs.
fill_source() {
	local dir=$WORK/shape tag shared='' own
	mkdir -p "$dir"
	for _ in 1 2 3; do shared+=",$(new_layer "$dir/layer")"; done
	for ((tag = 1; tag <= TAGS; tag++)); do
		own=''
		for _ in 1 2; do own+=",$(new_layer "$dir/layer")"; done
		printf '{"architecture":"amd64","os":"linux","config":{"Labels":{"tag":"%d"}},"rootfs":{"type":"layers","diff_ids":[]}}' "$tag" >"$dir/config"
		put_whole "$dir/config"
		printf '{"schemaVersion":2,"mediaType":"%s","config":%s,"layers":[%s%s]}' "$MANIFEST_TYPE" \
			"$(descriptor "$dir/config" application/vnd.oci.image.config.v1+json)" "${shared:1}" "$own" >"$dir/manifest"
		ask --output /dev/null --request PUT --header "Content-Type: $MANIFEST_TYPE" --data-binary "@$dir/manifest" "http://$SOURCE/v2/$SHAPE/manifests/v$tag"
	done
}

# new_layer FILE: one more layer at the source, and its descriptor.
new_layer() {
	head -c "$LAYER_BYTES" /dev/urandom >"$1"
	put_whole "$1"
	descriptor "$1" application/vnd.oci.image.layer.v1.tar+gzip
}
put_whole() {
	ask --output /dev/null --request POST --header Expect: --header 'Content-Type: application/octet-stream' --data-binary "@$1" \
		"http://$SOURCE/v2/$SHAPE/blobs/uploads/?digest=$(digest "$1")"
}

# copy_round WHO: into a registry that has nothing, and once more.
copy_round() {
	local port run
	port=$(free_port)
	DESTINATION=127.0.0.1:$port
	begin_regatta destination "$port" "$WORK/destination"
	mkdir -p "$WORK/docker"
	jq -n --arg source "$SOURCE" --arg destination "$DESTINATION" --arg auth "$(cut -d' ' -f2 "$WORK/basic")" \
		'{auths: {($source): {auth: $auth}, ($destination): {auth: $auth}}}' >"$WORK/docker/config.json"
	for run in first again; do copy "$1" "$run"; done
	[ "$(ask "http://$DESTINATION/v2/$SHAPE/tags/list" | jq '.tags | length')" = "$TAGS" ] || die "$1 has not copied all $TAGS tags"
	finish destination
	rm -rf "$WORK/destination"
}

copy() {
	local who=$1 run=$2 began before after content cpu_source cpu_destination
	before=$(requests "$SOURCE") after=$(requests "$DESTINATION") content=$(($(requests "$SOURCE" "$CONTENT") + $(requests "$DESTINATION" "$CONTENT")))
	cpu_source=$(cpu_ticks "$(pid_of source)") cpu_destination=$(cpu_ticks "$(pid_of destination)")
	began=$(now_ms)
	"copy_by_$who" >"$WORK/copy.log" 2>&1 || die "$who failed: $(tail -n 5 "$WORK/copy.log")"
	note "$run" "$who" seconds "$(quotient $(($(now_ms) - began)) 1000)"
	note "$run" "$who" source "$(($(requests "$SOURCE") - before))"
	note "$run" "$who" destination "$(($(requests "$DESTINATION") - after))"
	note "$run" "$who" content "$(($(requests "$SOURCE" "$CONTENT") + $(requests "$DESTINATION" "$CONTENT") - content))"
	note "$run" "$who" servers-cpu "$(quotient $(($(cpu_ticks "$(pid_of source)") - cpu_source + $(cpu_ticks "$(pid_of destination)") - cpu_destination)) "$TICKS")"
}

# requests ADDRESS [ROUTES]: how many a registry has answered so far, those for its metrics aside; of all kinds, or those of these.
requests() {
	curl --silent --fail --max-time 10 "http://$1/metrics" |
		awk -v routes="route=\"(${2:-.*})\"" '/^regatta_registry_requests_total\{/ && $0 ~ routes { n += $NF } END { printf "%d", n }'
}

copy_by_regatta() {
	REGATTA_LOG=error "$REGATTA" replicate --from "http://$SOURCE" --to "http://$DESTINATION" --insecure --repository "$SHAPE" \
		--from-username admin --from-password-file "$WORK/password" --to-username admin --to-password-file "$WORK/password"
}
copy_by_crane() { DOCKER_CONFIG=$WORK/docker "$(part crane)" copy --insecure --all-tags "$SOURCE/$SHAPE" "$DESTINATION/$SHAPE"; }
copy_by_skopeo() {
	skopeo sync --authfile "$WORK/docker/config.json" --src docker --dest docker --src-tls-verify=false --dest-tls-verify=false \
		"$SOURCE/$SHAPE" "$DESTINATION/${SHAPE%/*}"
}

replication_section() {
	local who run what floor=229
	cat <<-MD
		## Replicating

		$TAGS tags of 5 layers each, 63 unique blobs, 52 MB, from one \`regatta registry\` to another on the same machine, both over plain HTTP with a password; a new, empty
		destination for each copier and round, $REPLICATION_ROUNDS rounds in turns; median (least-most). Requests as the registries count them (\`regatta_registry_requests_total\`), those for
		tokens among them. *Again*: the same command once more, nothing having changed. crane $(version crane github.com/google/go-containerregistry), skopeo $(skopeo --version | awk '{ print $3 }').
		The floor is one GET, one POST and one PUT for a blob, one GET and one PUT for a tag: $floor requests.

		| copier | run | seconds | requests at the source | at the destination | together | of these for content | CPU-s of both registries |
		|---|---|---|---|---|---|---|---|
	MD
	for who in "${COPIERS[@]}"; do
		for run in first again; do
			printf '| %s | %s | %s | %s | %s | %s | %s | %s |\n' "$who" "$run" "$(spread "$run" "$who" seconds)" \
				"$(median "$run" "$who" source)" "$(median "$run" "$who" destination)" "$(both "$run" "$who")" "$(median "$run" "$who" content)" \
				"$(short "$(median "$run" "$who" servers-cpu)")"
		done
	done
	what=$(quotient "$(median first regatta seconds)" "$(median first crane seconds)")
	cat <<-MD

		| mark | figure | |
		|---|---|---|
		| faster than crane | $(short "$what") of crane's time | $(verdict "$what" le 0.999) |
		| the floor of $floor requests for content | $(median first regatta content) | $(verdict "$(median first regatta content)" le "$floor") |
		| nothing at all where nothing changed | $(both again regatta) requests that look, none that moves content (crane $(both again crane), skopeo $(both again skopeo)) | $(verdict "$(both again regatta)" le 0) |
	MD
}

both() { awk -v a="$(median "$1" "$2" source)" -v b="$(median "$1" "$2" destination)" 'BEGIN { print a + b }'; }
