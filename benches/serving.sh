# shellcheck shell=bash
# Serving and pushing, beside Distribution in the same run. Sourced by run.sh.

SERVING_ROUNDS=3
SERVING_SECONDS=4
CONNECTIONS=16
REPOSITORY=bench/hot
# Blobs a round: enough for a server's clock ticks to count.
declare -A PUSHED_BLOBS=([1000000]=150 [10000000]=20)
# work|what it is|mark against Distribution
SERVED=(
	'digest|manifest by digest|10'
	'tag|manifest by tag|7'
	'tags|tags/list, one tag|4'
	'blob-1k|blob of 1 KiB|40'
	'blob-1m|blob of 1 MiB|10'
	'blob-10m|blob of 10 MiB|5'
)

serving() {
	local port_ours port_theirs round each
	"$ROOT/scripts/install.sh" curl openssl
	packages wrk=wrk util-linux=taskset
	"$E2E/parts.sh" distribution
	make_password
	port_ours=$(free_port)
	# shellcheck disable=SC2153 # it is assigned in lib.sh
	begin_regatta ours "$port_ours" "$WORK/ours" taskset -c "$SERVER_CORE"
	port_theirs=$(free_port)
	begin theirs env OTEL_TRACES_EXPORTER=none REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY="$WORK/theirs" REGISTRY_HTTP_ADDR="127.0.0.1:$port_theirs" \
		taskset -c "$SERVER_CORE" "$(part registry)" serve "$BENCHES/distribution.yaml"
	await_server theirs "http://127.0.0.1:$port_theirs/v2/"
	OURS=http://127.0.0.1:$port_ours THEIRS=http://127.0.0.1:$port_theirs
	note memory ours idle "$(status_mb "$(pid_of ours)" VmRSS)"
	note memory theirs idle "$(status_mb "$(pid_of theirs)" VmRSS)"

	make_hot
	put_hot "$OURS"
	put_hot "$THEIRS"
	for ((round = 1; round <= SERVING_ROUNDS; round++)); do
		say "serving: round $round of $SERVING_ROUNDS"
		for each in "${SERVED[@]}"; do serve_round "${each%%|*}"; done
	done
	note memory ours read "$(status_mb "$(pid_of ours)" VmHWM)"
	note memory theirs read "$(status_mb "$(pid_of theirs)" VmHWM)"
	for ((round = 1; round <= SERVING_ROUNDS; round++)); do
		say "pushing: round $round of $SERVING_ROUNDS"
		push_round 1000000
		push_round 10000000
	done
	note memory ours peak "$(status_mb "$(pid_of ours)" VmHWM)"
	note memory theirs peak "$(status_mb "$(pid_of theirs)" VmHWM)"
	finish ours
	finish theirs
	rm -rf "$WORK"/{ours,theirs}
	note sha256 all seconds-per-gb "$(sha256_floor)"
	serving_section | section
}

# --- what is served ----------------------------------------------------------------------------------------------------------

# make_hot: a manifest of five layers, and a blob of each size.
make_hot() {
	local dir=$WORK/hot layers='' n
	mkdir -p "$dir"
	printf '{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}' >"$dir/config"
	head -c 1024 /dev/urandom >"$dir/blob-1k"
	head -c 1048576 /dev/urandom >"$dir/blob-1m"
	head -c 10485760 /dev/urandom >"$dir/blob-10m"
	for n in 1 2 3; do
		head -c 2048 /dev/urandom >"$dir/layer-$n"
		layers+=",$(descriptor "$dir/layer-$n" application/vnd.oci.image.layer.v1.tar+gzip)"
	done
	printf '{"schemaVersion":2,"mediaType":"%s","config":%s,"layers":[%s,%s%s]}' "$MANIFEST_TYPE" \
		"$(descriptor "$dir/config" application/vnd.oci.image.config.v1+json)" \
		"$(descriptor "$dir/blob-1k" application/vnd.oci.image.layer.v1.tar+gzip)" \
		"$(descriptor "$dir/blob-1m" application/vnd.oci.image.layer.v1.tar+gzip)" "$layers" >"$dir/manifest"
}

# put_hot BASE: into a registry.
put_hot() {
	local file
	for file in config blob-1k blob-1m blob-10m layer-1 layer-2 layer-3; do put_blob "$1" "$REPOSITORY" "$WORK/hot/$file" "$(digest "$WORK/hot/$file")"; done
	ask --output /dev/null --request PUT --header "Content-Type: $MANIFEST_TYPE" --data-binary "@$WORK/hot/manifest" "$1/v2/$REPOSITORY/manifests/v1"
}

# put_blob BASE REPOSITORY FILE DIGEST: POST, PATCH, PUT, as Docker does.
put_blob() {
	local at
	at=$(ask --output /dev/null --request POST --write-out '%header{location}' "$1/v2/$2/blobs/uploads/")
	at=$(ask --output /dev/null --request PATCH --header Expect: --header 'Content-Type: application/octet-stream' --data-binary "@$3" --write-out '%header{location}' "$1$at")
	case $at in
	*\?*) at+="&digest=$4" ;;
	*) at+="?digest=$4" ;;
	esac
	ask --output /dev/null --request PUT "$1$at"
}

path_of() {
	case $1 in
	digest) printf '/v2/%s/manifests/%s' "$REPOSITORY" "$(digest "$WORK/hot/manifest")" ;;
	tag) printf '/v2/%s/manifests/v1' "$REPOSITORY" ;;
	tags) printf '/v2/%s/tags/list' "$REPOSITORY" ;;
	blob-*) printf '/v2/%s/blobs/%s' "$REPOSITORY" "$(digest "$WORK/hot/$1")" ;;
	esac
}

# --- measuring ---------------------------------------------------------------------------------------------------------------

# serve_round WORK: the two servers, one after the other; then ours with a token instead of a password.
serve_round() {
	local path token
	path=$(path_of "$1")
	load "$1" ours ours "$OURS$path" "$(cat "$WORK/basic")"
	load "$1" theirs theirs "$THEIRS$path" ''
	case $1 in
	digest | blob-1k)
		token=$(ask "$OURS/token?service=regatta&scope=repository:$REPOSITORY:pull" | jq -r .token)
		load "$1" token ours "$OURS$path" "Bearer $token"
		;;
	esac
}

# load WORK WHO SERVER URL AUTHORIZATION: one measurement.
load() {
	local work=$1 who=$2 pid url=$4 out=$WORK/wrk.out cpu busy began user system real requests micros bytes bad errors _ p99
	pid=$(pid_of "$3")
	local wrk=(env)
	[ -z "$5" ] || wrk+=(AUTHORIZATION="$5")
	wrk+=(taskset -c "$CLIENT_CORE" wrk -t1 -c"$CONNECTIONS" --timeout 10s --latency -s "$BENCHES/report.lua")
	"${wrk[@]}" -d1s "$url" >/dev/null # warm
	cpu=$(cpu_ticks "$pid") busy=$(busy_ticks) began=$(now_ms)
	local TIMEFORMAT='%U %S %R'
	{ time "${wrk[@]}" -d"${SERVING_SECONDS}s" "$url" >"$out"; } 2>"$WORK/wrk.time"
	cpu=$(($(cpu_ticks "$pid") - cpu)) busy=$(($(busy_ticks) - busy)) began=$(($(now_ms) - began))
	read -r user system real <"$WORK/wrk.time"
	read -r _ requests micros bytes bad errors _ p99 < <(grep '^RESULT' "$out")
	[ "$bad" = 0 ] || die "$who answered $bad of $requests requests for $work with an error"
	[ "$errors" = 0 ] || say "$who, $work: $errors connections failed or timed out"
	note "$work" "$who" rate "$(quotient "$requests" "$micros" 1000000)"
	note "$work" "$who" per-cpu "$(quotient "$requests" "$cpu" "$TICKS")"
	note "$work" "$who" gb-per-cpu "$(quotient "$bytes" "$cpu" "$(quotient "$TICKS" 1000000000)")"
	note "$work" "$who" p99 "$(quotient "$p99" 1000)"
	note "$work" "$who" client-idle "$(awk -v u="$user" -v s="$system" -v r="$real" 'BEGIN { printf "%.3f", 1 - (u + s) / r }')"
	note "$work" "$who" server-busy "$(quotient "$cpu" "$TICKS" "$(quotient 1000 "$began")")"
	note machine all others "$(awk -v b="$busy" -v c="$cpu" -v t="$TICKS" -v u="$user" -v s="$system" -v ms="$began" -v n="$(nproc)" \
		'BEGIN { x = (b / t - c / t - u - s) / (ms / 1000 * n); printf "%.4f", x < 0 ? 0 : x }')"
}

# push_round BYTES: new blobs, to one server and then to the other.
push_round() {
	local bytes=$1 count=${PUSHED_BLOBS[$1]} n who base pid cpu began digests=()
	mkdir -p "$WORK/push"
	for ((n = 0; n < count; n++)); do head -c "$bytes" /dev/urandom >"$WORK/push/$n"; done
	for ((n = 0; n < count; n++)); do digests+=("$(digest "$WORK/push/$n")"); done
	for who in ours theirs; do
		[ "$who" = ours ] && base=$OURS || base=$THEIRS
		pid=$(pid_of "$who")
		cpu=$(cpu_ticks "$pid") began=$(now_ms)
		for ((n = 0; n < count; n++)); do put_blob "$base" bench/push "$WORK/push/$n" "${digests[n]}"; done
		cpu=$(($(cpu_ticks "$pid") - cpu)) began=$(($(now_ms) - began))
		note "push-$bytes" "$who" cpu-per-gb "$(quotient "$cpu" $((count * bytes)) "$(quotient 1000000000 "$TICKS")")"
		note "push-$bytes" "$who" ms-each "$(quotient "$began" "$count")"
	done
	rm -rf "$WORK/push"
}

# sha256_floor: CPU-seconds that the digest of a GB alone takes here.
sha256_floor() {
	openssl speed -seconds 1 -bytes 1048576 -mr sha256 2>/dev/null | awk -F: '/^\+F/ { printf "%.3f", 1e9 / $NF }'
}

# --- telling -----------------------------------------------------------------------------------------------------------------

serving_section() {
	local each work what mark ratio size ours theirs
	cat <<-MD
		## Serving

		Distribution $(version distribution github.com/distribution/distribution/v3) beside ours, taken in turns, $SERVING_ROUNDS rounds of $SERVING_SECONDS s for each cell; median (least-most). The server is pinned to core
		$SERVER_CORE, \`wrk -t1 -c$CONNECTIONS\` to core $CLIENT_CORE; one hot object; plain HTTP; no logs and no traces in either. Distribution runs without access control
		(\`benches/distribution.yaml\`); ours has no such mode and checks the password of \`admin\` (Basic) at every request, or a token where the row says so.
		The ratio is that of requests per CPU-second of the server, which depends little on who else is at work and on whether one wrk thread can keep up;
		the mark is held against it.

		| work | Regatta, 1/s | Regatta, 1/CPU-s | Distribution, 1/s | Distribution, 1/CPU-s | ratio of 1/s | ratio of 1/CPU-s | mark | |
		|---|---|---|---|---|---|---|---|---|
	MD
	for each in "${SERVED[@]}"; do
		IFS='|' read -r work what mark <<<"$each"
		served_row "$work" ours "$what" "$mark"
		[ -z "$(values "$work" token rate)" ] || served_row "$work" token "$what, bearer token" "$mark"
	done
	printf '\n| work | Regatta, GB per CPU-s | Distribution, GB per CPU-s | p99 in ms, ours | p99 in ms, theirs | idle client, ours | idle client, theirs |\n|---|---|---|---|---|---|---|\n'
	for each in "${SERVED[@]}"; do
		IFS='|' read -r work what mark <<<"$each"
		# Bytes say nothing of what is small.
		case $work in
		*m) ours=$(short "$(median "$work" ours gb-per-cpu)") theirs=$(short "$(median "$work" theirs gb-per-cpu)") ;;
		*) ours='' theirs='' ;;
		esac
		printf '| %s | %s | %s | %s | %s | %.0f %% | %.0f %% |\n' "$what" "$ours" "$theirs" \
			"$(short "$(median "$work" ours p99)")" "$(short "$(median "$work" theirs p99)")" \
			"$(quotient "$(median "$work" ours client-idle)" 0.01)" "$(quotient "$(median "$work" theirs client-idle)" 0.01)"
	done
	cat <<-MD

		## Pushing

		POST, PATCH, PUT, one blob after the other, each blob new; the same blobs to both. Ours answers the PUT when content, name and link are on disk
		(every fsync). The digest alone costs $(short "$(median sha256 all seconds-per-gb)") CPU-s per GB here. Both servers as above; the client is curl, so the time each is mostly its own.

		| work | Regatta, CPU-s per GB | Distribution, CPU-s per GB | ratio | mark | | ms a blob, ours | ms a blob, theirs |
		|---|---|---|---|---|---|---|---|
	MD
	for size in 10000000:10:0.6 1000000:1:0.5; do
		IFS=: read -r work what mark <<<"$size"
		ratio=$(quotient "$(median "push-$work" ours cpu-per-gb)" "$(median "push-$work" theirs cpu-per-gb)")
		printf '| blobs of %s MB, %s a round | %s | %s | %s | at most %s | %s | %s | %s |\n' "$what" "${PUSHED_BLOBS[$work]}" "$(spread "push-$work" ours cpu-per-gb)" \
			"$(spread "push-$work" theirs cpu-per-gb)" "$(short "$ratio")" "$mark" "$(verdict "$ratio" le "$mark")" \
			"$(short "$(median "push-$work" ours ms-each)")" "$(short "$(median "push-$work" theirs ms-each)")"
	done
	cat <<-MD

		## Memory of a registry

		MB; the most that was resident (VmHWM), $CONNECTIONS connections.

		| | Regatta | Distribution | mark | |
		|---|---|---|---|---|
		| idle, after the start | $(short "$(median memory ours idle)") | $(short "$(median memory theirs idle)") | at most 30 | $(verdict "$(median memory ours idle)" le 30) |
		| peak after all reads | $(short "$(median memory ours read)") | $(short "$(median memory theirs read)") | | |
		| peak after reads and pushes | $(short "$(median memory ours peak)") | $(short "$(median memory theirs peak)") | at most 50 | $(verdict "$(median memory ours peak)" le 50) |
	MD
}

# served_row WORK WHO WHAT MARK
served_row() {
	local rates each
	rates=$(quotient "$(median "$1" "$2" rate)" "$(median "$1" theirs rate)")
	each=$(quotient "$(median "$1" "$2" per-cpu)" "$(median "$1" theirs per-cpu)")
	printf '| %s | %s | %s | %s | %s | %s | %s | at least %s | %s |\n' "$3" "$(spread "$1" "$2" rate)" "$(spread "$1" "$2" per-cpu)" \
		"$(spread "$1" theirs rate)" "$(spread "$1" theirs per-cpu)" "$(short "$rates")" "$(short "$each")" "$4" "$(verdict "$each" ge "$4")"
}
