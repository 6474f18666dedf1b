# shellcheck shell=bash
# The clients of the benchmark: wrk for what is asked for again and again, `load` (load/, in Go) for the rest. Sourced by lib.sh.
# shellcheck disable=SC2153 # directories and URLs are assigned in other files

export MANIFEST_TYPE=application/vnd.oci.image.manifest.v1+json

digest() { printf 'sha256:%s' "$(sha256sum "$1" | cut -d' ' -f1)"; }
# descriptor FILE TYPE: as a manifest names it.
descriptor() { printf '{"mediaType":"%s","digest":"%s","size":%d}' "$2" "$(digest "$1")" "$(stat -c %s "$1")"; }
# ask CURL-OPTION...: a registry, as the admin.
ask() { curl --silent --show-error --fail --max-time 60 --config "$WORK/admin.curl" "$@"; }

# put_blob BASE REPOSITORY FILE: POST, PATCH, PUT, as Docker does.
put_blob() {
	local at
	at=$(ask --output /dev/null --request POST --write-out '%header{location}' "$1/v2/$2/blobs/uploads/")
	at=$(ask --output /dev/null --request PATCH --header Expect: --header 'Content-Type: application/octet-stream' --data-binary "@$3" --write-out '%header{location}' "$1$at")
	case $at in
	*\?*) at+="&digest=$(digest "$3")" ;;
	*) at+="?digest=$(digest "$3")" ;;
	esac
	ask --output /dev/null --request PUT "$1$at"
}
# put_manifest BASE REPOSITORY TAG FILE
put_manifest() { ask --output /dev/null --request PUT --header "Content-Type: $MANIFEST_TYPE" --data-binary "@$4" "$1/v2/$2/manifests/$3"; }

# --- hot objects -------------------------------------------------------------------------------------------------------------

REPOSITORY=bench/hot
HOT_BLOBS=(blob-1k:1024 blob-1m:1048576 blob-10m:10485760 blob-100m:104857600)

# make_hot: a blob of each size, and a manifest of five layers.
make_hot() {
	local dir=$WORK/hot layers='' each
	[ ! -s "$dir/manifest" ] || return 0
	mkdir -p "$dir"
	printf '{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}' >"$dir/config"
	for each in "${HOT_BLOBS[@]}" layer-1:2048 layer-2:2048 layer-3:2048; do head -c "${each#*:}" /dev/urandom >"$dir/${each%:*}"; done
	for each in blob-1k blob-1m layer-1 layer-2 layer-3; do layers+=",$(descriptor "$dir/$each" application/vnd.oci.image.layer.v1.tar+gzip)"; done
	printf '{"schemaVersion":2,"mediaType":"%s","config":%s,"layers":[%s]}' "$MANIFEST_TYPE" \
		"$(descriptor "$dir/config" application/vnd.oci.image.config.v1+json)" "${layers:1}" >"$dir/manifest"
}

# put_hot BASE: into a registry.
put_hot() {
	local each
	for each in config "${HOT_BLOBS[@]%:*}" layer-1 layer-2 layer-3; do put_blob "$1" "$REPOSITORY" "$WORK/hot/$each"; done
	put_manifest "$1" "$REPOSITORY" v1 "$WORK/hot/manifest"
}

path_of() {
	case $1 in
	digest) printf '/v2/%s/manifests/%s' "$REPOSITORY" "$(digest "$WORK/hot/manifest")" ;;
	tag) printf '/v2/%s/manifests/v1' "$REPOSITORY" ;;
	tags) printf '/v2/%s/tags/list' "$REPOSITORY" ;;
	blob-*) printf '/v2/%s/blobs/%s' "$REPOSITORY" "$(digest "$WORK/hot/$1")" ;;
	esac
}

# --- wrk ---------------------------------------------------------------------------------------------------------------------

CONNECTIONS=16
WARM_SECONDS=1
# Which cells were warmed already: a server that answered a thing for a second has it at hand in the next rounds, too.
declare -A WARMED=()

# wrk_round WORK WHO SERVER URL AUTHORIZATION [REQUESTS]: one measurement. REQUESTS is a file for report.lua.
wrk_round() {
	local work=$1 who=$2 server=$3 url=$4 out=$WORK/wrk.out pid cpu busy disk began user system real requests micros bytes bad errors _ p99
	pid=$(pid_of "$server")
	local wrk=(env)
	[ -z "$5" ] || wrk+=(AUTHORIZATION="$5")
	[ -z "${6:-}" ] || wrk+=(REQUESTS="$6" REQUESTS_FROM="$((RANDOM * 32768 + RANDOM))")
	wrk+=(taskset -c "$CLIENT_CORE" wrk -t1 -c"$CONNECTIONS" --timeout 30s --latency -s "$BENCHES/report.lua")
	# The process is part of the name: one that was begun anew is cold.
	if [ -z "${WARMED[$work/$who/$pid]:-}" ]; then
		[ "$WARM_SECONDS" = 0 ] || "${wrk[@]}" -d"${WARM_SECONDS}s" "$url" >/dev/null
		WARMED[$work/$who/$pid]=1
	fi
	cpu=$(cpu_ticks "$pid") busy=$(busy_ticks) disk=$(disk_bytes "$pid") began=$(now_ms)
	local TIMEFORMAT='%U %S %R'
	{ time "${wrk[@]}" -d"${CELL_SECONDS}s" "$url" >"$out"; } 2>"$WORK/wrk.time"
	cpu=$(($(cpu_ticks "$pid") - cpu)) busy=$(($(busy_ticks) - busy)) disk=$(($(disk_bytes "$pid") - disk)) began=$(($(now_ms) - began))
	read -r user system real <"$WORK/wrk.time"
	read -r _ requests micros bytes bad errors _ p99 < <(grep '^RESULT' "$out")
	[ "$bad" = 0 ] || die "$who answered $bad of $requests requests for $work with an error"
	[ "$errors" = 0 ] || say "$who, $work: $errors connections failed or timed out"
	note "$work" "$who" errors "$errors"
	note "$work" "$who" rate "$(quotient "$requests" "$micros" 1000000)"
	note "$work" "$who" per-cpu "$(quotient "$requests" "$cpu" "$TICKS")"
	note "$work" "$who" gb-rate "$(quotient "$bytes" "$micros" 0.001)"
	note "$work" "$who" gb-per-cpu "$(quotient "$bytes" "$cpu" "$(quotient "$TICKS" 1000000000)")"
	# Where no request was finished, there is none.
	[ "$requests" = 0 ] || note "$work" "$who" p99 "$(quotient "$p99" 1000)"
	note "$work" "$who" disk "$(quotient "$disk" "$requests")"
	note "$work" "$who" client-idle "$(awk -v u="$user" -v s="$system" -v r="$real" 'BEGIN { printf "%.3f", 1 - (u + s) / r }')"
	note "$work" "$who" server-busy "$(quotient "$cpu" "$TICKS" "$(quotient 1000 "$began")")"
	note_others "$busy" "$cpu" "$(awk -v u="$user" -v s="$system" 'BEGIN { print u + s }')" "$began"
}

# note_others BUSY-TICKS SERVER-TICKS CLIENT-SECONDS MILLISECONDS: the share of the machine that neither server nor client took.
note_others() {
	note machine all others "$(awk -v b="$1" -v s="$2" -v c="$3" -v ms="$4" -v t="$TICKS" -v n="$(nproc)" \
		'BEGIN { x = (b / t - s / t - c) / (ms / 1000 * n); printf "%.4f", x < 0 ? 0 : x }')"
}

# --- load --------------------------------------------------------------------------------------------------------------------

LOAD_PROGRAM=$OUT/bin/load
build_load() {
	"$ROOT/scripts/install.sh" go
	mkdir -p "${LOAD_PROGRAM%/*}"
	# Nothing is done where nothing changed: Go knows.
	(cd "$BENCHES/load" && CGO_ENABLED=0 GOWORK=off GOFLAGS='' go build -trimpath -buildvcs=false -o "$LOAD_PROGRAM" .)
}
load() { "$LOAD_PROGRAM" "$@"; }

# figure NAME: of the last line that `load` has printed.
figure() { awk -v name="$1" '{ for (i = 1; i <= NF; i++) if (split($i, pair, "=") == 2 && pair[1] == name) value = pair[2] } END { print value }' "$WORK/load.out"; }

# load_round WORK WHO SERVER AUTHORIZATION COMMAND...: one measurement by `load`, whose --pid is given here.
load_round() {
	local work=$1 who=$2 server=$3 authorization=$4 pid command=$5 busy began
	shift 5
	pid=$(pid_of "$server")
	# What the one server left to be written is not written at the other's cost.
	sync -f "$STORES"
	busy=$(busy_ticks) began=$(now_ms)
	AUTHORIZATION=$authorization taskset -c "$CLIENT_CORE" "$LOAD_PROGRAM" "$command" --pid "$pid" "$@" >"$WORK/load.out" || die "$work: load $command failed"
	busy=$(($(busy_ticks) - busy)) began=$(($(now_ms) - began))
	note "$work" "$who" errors "$(figure errors)"
	note "$work" "$who" rate "$(quotient "$(figure count)" "$(figure micros)" 1000000)"
	note "$work" "$who" per-cpu "$(quotient "$(figure count)" "$(figure ticks)" "$TICKS")"
	note "$work" "$who" ms-per-cpu "$(quotient "$(figure ticks)" "$(figure count)" "$(quotient 1000 "$TICKS")")"
	note "$work" "$who" cpu-per-gb "$(quotient "$(figure ticks)" "$(figure bytes)" "$(quotient 1000000000 "$TICKS")")"
	note "$work" "$who" gb-per-cpu "$(quotient "$(figure bytes)" "$(figure ticks)" "$(quotient "$TICKS" 1000000000)")"
	note "$work" "$who" gb-rate "$(quotient "$(figure bytes)" "$(figure micros)" 0.001)"
	note "$work" "$who" p50 "$(quotient "$(figure p50)" 1000)"
	note "$work" "$who" p99 "$(quotient "$(figure p99)" 1000)"
	note "$work" "$who" client-idle "$(awk -v c="$(figure client-micros)" -v r="$(figure micros)" 'BEGIN { printf "%.3f", 1 - c / r }')"
	note "$work" "$who" server-busy "$(quotient "$(figure ticks)" "$(figure micros)" "$(quotient 1000000 "$TICKS")")"
	note_others "$busy" "$(figure ticks)" "$(quotient "$(figure client-micros)" 1000000)" "$began"
}
