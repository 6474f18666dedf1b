# shellcheck shell=bash
# Reads of one hot object, beside Distribution and nginx in the same run. Sourced by run.sh.
# shellcheck disable=SC2153 # directories and URLs are assigned in other files

# work|what it is|mark against Distribution|mark against nginx
SERVED=(
	'digest|manifest by digest|10|'
	'tag|manifest by tag|7|'
	'tags|tags/list, one tag|4|'
	'blob-1k|blob of 1 KiB|40|0.6'
	'blob-1m|blob of 1 MiB|10|1'
	'blob-10m|blob of 10 MiB|5|1'
	'blob-100m|blob of 100 MiB|5|1'
)
# Works of which a figure is taken with a bearer token, too.
WITH_TOKEN=' digest blob-1k '

serving() {
	local round each
	"$ROOT/scripts/install.sh" curl openssl jq
	packages wrk=wrk util-linux=taskset
	get_nginx
	make_hot
	both_begin
	begin_nginx "$WORK/hot"
	put_hot "$OURS"
	put_hot "$THEIRS"
	for ((round = 1; round <= ROUNDS; round++)); do
		say "serving: round $round of $ROUNDS"
		for each in "${SERVED[@]}"; do serve_round "${each%%|*}"; done
	done
	note_peak ours theirs
	finish_nginx
	both_finish
	serving_section | section
}

# serve_round WORK: the servers, one after the other; then ours with a token instead of a password.
serve_round() {
	local path token
	path=$(path_of "$1")
	wrk_round "$1" ours ours "$OURS$path" "$(cat "$WORK/basic")"
	wrk_round "$1" theirs theirs "$THEIRS$path" ''
	case $1 in
	blob-*) wrk_round "$1" nginx nginx "$NGINX/$1" '' ;;
	esac
	[[ $WITH_TOKEN == *" $1 "* ]] || return 0
	token=$(ask "$OURS/token?service=regatta&scope=repository:$REPOSITORY:pull" | jq -r .token)
	wrk_round "$1" token ours "$OURS$path" "Bearer $token"
}

# --- telling -----------------------------------------------------------------------------------------------------------------

# each_served FUNCTION: for each line of SERVED, with its fields as arguments.
each_served() {
	local each work what theirs nginx
	for each in "${SERVED[@]}"; do
		IFS='|' read -r work what theirs nginx <<<"$each"
		"$1" "$work" "$what" "$theirs" "$nginx"
	done
}
# Of what is large, bytes are told; of what is small, requests.
is_large() { [[ $1 == blob-*m ]]; }

serving_section() {
	cat <<-MD
		## Serving

		Distribution $(distribution_version) and nginx $(nginx_version) beside ours, taken in turns, $ROUNDS rounds of $CELL_SECONDS s for each cell; median (least-most). The server is pinned to core
		$SERVER_CORE, \`wrk -t1 -c$CONNECTIONS\` to core $CLIENT_CORE; one hot object; plain HTTP/1.1; no logs and no traces in any. Distribution (\`benches/distribution.yaml\`) and nginx
		(\`benches/nginx.conf\`: plain files, sendfile) run without access control; ours has no such mode here and checks the password of \`admin\` (Basic) at every request, or a token where the row says so.
		The ratio is that of requests, or bytes, per CPU-second of the server, which depends little on who else is at work and on whether one wrk thread can keep up;
		the marks are held against it. nginx's CPU is that of its worker.

		| work | Regatta, 1/s | Regatta, 1/CPU-s | Distribution, 1/s | Distribution, 1/CPU-s | ratio of 1/s | ratio of 1/CPU-s | mark | |
		|---|---|---|---|---|---|---|---|---|
	MD
	each_served small_row
	printf '\n| work | Regatta, GB/s | Regatta, GB per CPU-s | Distribution, GB/s | Distribution, GB per CPU-s | ratio of GB/s | ratio of GB per CPU-s | mark | |\n|---|---|---|---|---|---|---|---|---|\n'
	each_served large_row
	printf '\n| beside nginx | Regatta, per CPU-s | nginx, per CPU-s | nginx, per s | ratio per CPU-s | mark | |\n|---|---|---|---|---|---|---|\n'
	each_served nginx_row
	cat <<-MD

		How long a request took, how much of its core the client left, and how much of its core the server took; medians.

		| work | p99 in ms: ours | Distribution | nginx | idle client: ours | Distribution | nginx | busy server: ours | Distribution | nginx |
		|---|---|---|---|---|---|---|---|---|---|
	MD
	each_served time_row
}

small_row() {
	! is_large "$1" || return 0
	beside_row "$1" ours "$2" "$3" rate per-cpu
	[ -z "$(values "$1" token rate)" ] || beside_row "$1" token "$2, bearer token" "$3" rate per-cpu
}
large_row() { ! is_large "$1" || beside_row "$1" ours "$2" "$3" gb-rate gb-per-cpu; }

# beside_row WORK WHO WHAT MARK METRIC-A-SECOND METRIC-A-CPU-SECOND: beside Distribution; the mark is held against the latter.
beside_row() {
	local each
	each=$(ratio "$1" "$2" "$1" theirs "$6")
	printf '| %s | %s | %s | %s | %s | %s | %s | at least %s | %s |\n' "$3" "$(spread "$1" "$2" "$5")" "$(spread "$1" "$2" "$6")" \
		"$(spread "$1" theirs "$5")" "$(spread "$1" theirs "$6")" "$(short "$(ratio "$1" "$2" "$1" theirs "$5")")" "$(short "$each")" "$4" "$(verdict "$each" ge "$4")"
}

nginx_row() {
	local second=rate cpu=per-cpu unit='' each
	[ -n "$4" ] || return 0
	! is_large "$1" || second=gb-rate cpu=gb-per-cpu unit=' GB'
	each=$(ratio "$1" ours "$1" nginx "$cpu")
	printf '| %s beside nginx | %s%s | %s%s | %s%s | %s | at least %s | %s |\n' "$2" "$(spread "$1" ours "$cpu")" "$unit" "$(spread "$1" nginx "$cpu")" "$unit" \
		"$(spread "$1" nginx "$second")" "$unit" "$(short "$each")" "$4" "$(verdict "$each" ge "$4")"
}

time_row() {
	local who metric
	printf '| %s |' "$2"
	for who in ours theirs nginx; do printf ' %s |' "$(short "$(median "$1" "$who" p99)")"; done
	for metric in client-idle server-busy; do
		for who in ours theirs nginx; do printf ' %s |' "$(percent "$(median "$1" "$who" "$metric")")"; done
	done
	echo
}
