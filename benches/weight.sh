# shellcheck shell=bash
# What a server needs: how long it takes to begin on a large store, and how much memory under which load. Sourced by run.sh.

BLOBS=$(sized 1000000 20000)
STARTS=5
START_MARK=200 # ms
# MB.
IDLE_MARK=30
PEAK_MARK=50
# TLS has a mark of its own: so many readers at once, each with buffers for what is encrypted.
TLS_READERS=$(sized 200 50)
TLS_MARK=50

weight() {
	"$ROOT/scripts/install.sh" curl openssl
	packages wrk=wrk util-linux=taskset
	build_load
	get_nginx
	make_password
	make_certificate
	make_hot
	weigh_starts
	weigh_all
	weigh_tls
	weight_section | section
}

# --- starting ----------------------------------------------------------------------------------------------------------------

weigh_starts() {
	local n
	scratch_begin
	BLOBS=$(affordable_blobs)
	begin_ours "$STORES/million"
	sleep 1
	note memory idle peak "$(status_mb "$(pid_of ours)" VmHWM)"
	finish ours
	say "weight: making $BLOBS blobs (1 min)"
	load blobs --store "$STORES/million" --count "$BLOBS"
	sync -f "$STORES"
	for ((n = 0; n < STARTS; n++)); do
		start_once warm
		# Once it has gone round, whatever it does after its first answer.
		[ "$n" != 0 ] || sleep 2
		note memory idle-million peak "$(status_mb "$(pid_of ours)" VmHWM)"
		finish ours
	done
	if drop_caches; then
		start_once cold
		finish ours
	fi
	scratch_end
}

# affordable_blobs: as many as asked for, or what the disk has inodes for, two a blob. Some filesystems do not count them (0).
affordable_blobs() {
	local free
	free=$(df --output=iavail "$STORES" | tail -n 1 | tr -dc 0-9)
	if [ "${free:-0}" != 0 ] && [ "$free" -lt $((BLOBS * 2 + 100000)) ]; then
		say "weight: the disk has $free inodes left; fewer blobs are made"
		printf '%s' $(((free - 100000) / 2))
	else
		printf '%s' "$BLOBS"
	fi
}

# start_once HOW: from the command to the first answer.
start_once() {
	local port waiter began
	port=$(free_port)
	load await --address "127.0.0.1:$port" >"$WORK/answered" &
	waiter=$!
	began=${EPOCHREALTIME/[.,]/}
	begin ours env REGATTA_LOG=off taskset -c "$SERVER_CORE" "$REGATTA" registry --root "$STORES/million" --listen "127.0.0.1:$port" --admin-password-file "$WORK/password"
	wait "$waiter" || die "the server does not begin: $(tail -n 3 "$WORK/logs/ours.log")"
	note start "$1" ms "$(quotient $(($(cat "$WORK/answered") - began)) 1000)"
}

# --- memory ------------------------------------------------------------------------------------------------------------------

# weigh_all: one server under everything, one after the other.
weigh_all() {
	local each basic round
	basic=$(cat "$WORK/basic")
	begin_ours "$WORK/ours"
	put_hot "$OURS"
	say 'weight: one server under everything'
	for each in "${SERVED[@]}"; do WARM_SECONDS=0 wrk_round "${each%%|*}" ours ours "$OURS$(path_of "${each%%|*}")" "$basic"; done
	CONNECTIONS=$TLS_READERS WARM_SECONDS=0 wrk_round readers ours ours "$OURS$(path_of blob-10m)" "$basic"
	load_round upload ours ours "$basic" upload --base "$OURS" --clients 8 --bytes 10000000 --count "$(sized 64 8)"
	for ((round = 1; round <= ROUNDS; round++)); do
		for each in "${SPREAD[@]}"; do
			load_round push ours ours "$basic" push --base "$OURS" --clients "$PUSHERS" --seconds "$PUSH_SECONDS" \
				--repositories "${each##*|}" --prefix "bench/${each%%|*}" --seed "$round"
		done
	done
	AUTHORIZATION=$basic load list --base "$OURS" --path /v2/bench/one-0/tags/list >/dev/null
	note memory all peak "$(status_mb "$(pid_of ours)" VmHWM)"
	note memory all after "$(status_mb "$(pid_of ours)" VmRSS)"
	finish ours
}

# weigh_tls: many readers at once, by HTTP/1.1 and by HTTP/2, each of a server just begun; nginx beside by HTTP/1.1.
weigh_tls() {
	local round basic path
	basic=$(cat "$WORK/basic") path=$(path_of blob-10m)
	MORE=(--tls-cert "$WORK/tls.crt" --tls-key "$WORK/tls.key") SCHEME=https
	begin_nginx "$WORK/hot"
	begin_ours "$WORK/ours"
	for ((round = 1; round <= ROUNDS; round++)); do
		say "weight: TLS, round $round of $ROUNDS"
		CONNECTIONS=$TLS_READERS wrk_round tls ours ours "$OURS$path" "$basic"
		CONNECTIONS=$TLS_READERS wrk_round tls nginx nginx "$NGINX_TLS/blob-10m" ''
	done
	note memory tls peak "$(status_mb "$(pid_of ours)" VmHWM)"
	finish ours
	finish_nginx
	begin_ours "$WORK/ours"
	for ((round = 1; round <= ROUNDS; round++)); do
		load_round http2 ours ours "$basic" read --url "$OURS$path" --clients "$TLS_READERS" --seconds "$CELL_SECONDS" --http2
		[ "$(figure errors)" = 0 ] || die "$(figure errors) reads by HTTP/2 failed"
	done
	note memory http2 peak "$(status_mb "$(pid_of ours)" VmHWM)"
	finish ours
	# shellcheck disable=SC2034 # for servers.sh
	MORE=() SCHEME=http
	rm -rf "$WORK/ours"
}

# --- telling -----------------------------------------------------------------------------------------------------------------

weight_section() {
	local cold='' start
	[ -z "$(values start cold ms)" ] || cold=" With the system's caches dropped, program and directories come from the disk: $(short "$(median start cold ms)") ms, once."
	start=$(median start warm ms)
	cat <<-MD
		## Weight

		From the command to the first answer, with $BLOBS blobs in the store (their directories made by \`benches/load\`, empty, nothing refers to them): $STARTS starts, median (least-most).$cold

		| | ms | mark | |
		|---|---|---|---|
		| start on $BLOBS blobs | $(spread start warm ms) | less than $START_MARK | $(verdict "$start" le "$START_MARK") |

		The most memory that was resident (VmHWM), MB, of the filesystem store. The parts above had servers of their own; *everything* is one server under all that is under *Serving*,
		$TLS_READERS readers of 10 MiB, 8 clients pushing 10 MB blobs, $PUSHERS pushing artifacts as under *Pushing*, and a list of what they pushed, one after the other ($(short "$(median memory all after)") MB were resident after it).

		| load | Regatta | Distribution | mark | |
		|---|---|---|---|---|
	MD
	memory_row 'idle, a second after the start' "$(median memory idle peak)" '' "$IDLE_MARK"
	memory_row "idle, $BLOBS blobs in the store" "$(median memory idle-million peak)" '' "$IDLE_MARK"
	part_row serving "$CONNECTIONS connections"
	part_row pushing "$PUSHERS connections"
	part_row tokens "$CONNECTIONS connections"
	part_row zipf "$CONNECTIONS connections"
	part_row listing "$CONNECTIONS connections"
	[ ! -s "$OUT/listing.tsv" ] || memory_row "listing, all pages of $LONG names, one connection" "$(PART=listing median memory walked peak)" '' "$PEAK_MARK"
	memory_row 'everything' "$(median memory all peak)" '' "$PEAK_MARK"
	memory_row "TLS, HTTP/1.1, $TLS_READERS readers of 10 MiB" "$(median memory tls peak)" '' "$TLS_MARK"
	memory_row "TLS, HTTP/2, $TLS_READERS readers of 10 MiB, a connection each" "$(median memory http2 peak)" '' "$TLS_MARK"
	cat <<-MD

		TLS while that was measured (a mark for its rate there is none): $TLS_READERS readers of 10 MiB, $ROUNDS rounds of $CELL_SECONDS s; wrk for HTTP/1.1, \`benches/load\` for HTTP/2.

		| | GB/s | GB per CPU-s | p99, s | idle client |
		|---|---|---|---|---|
	MD
	tls_row 'Regatta, HTTP/1.1' tls ours
	tls_row "nginx $(nginx_version), HTTP/1.1" tls nginx
	tls_row 'Regatta, HTTP/2' http2 ours
}

# memory_row WHAT OURS THEIRS MARK
memory_row() { printf '| %s | %s | %s | at most %s | %s |\n' "$1" "$(short "$2")" "${3:+$(short "$3")}" "$4" "$(verdict "$2" le "$4")"; }
# part_row PART CONNECTIONS: what another part has noted, if it was run.
part_row() {
	[ -s "$OUT/$1.tsv" ] || return 0
	memory_row "$1, $2" "$(PART=$1 median memory ours peak)" "$(PART=$1 values memory theirs peak)" "$PEAK_MARK"
}
tls_row() {
	printf '| %s | %s | %s | %s | %s |\n' "$1" "$(spread "$2" "$3" gb-rate)" "$(spread "$2" "$3" gb-per-cpu)" "$(short "$(quotient "$(median "$2" "$3" p99)" 1000)")" \
		"$(percent "$(median "$2" "$3" client-idle)")"
}
