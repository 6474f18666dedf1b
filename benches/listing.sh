# shellcheck shell=bash
# Lists: repositories of few and many tags, all pages of a very long list, all pages of the catalogue. Sourced by run.sh.

# Tags of the repositories whose lists are asked for again and again.
LISTED=(1 100 "$(sized 10000 200)")
# Names of the lists that are read to the end.
LONG=$(sized 100000 3000)
FIRST_PAGE_MARK=150 # ms
ALL_PAGES_MARK=10   # s
CATALOGUE=bench/catalogue

listing() {
	local round count who
	"$ROOT/scripts/install.sh" curl openssl jq
	packages wrk=wrk util-linux=taskset
	build_load
	scratch_begin
	both_begin
	fill_lists
	for ((round = 1; round <= ROUNDS; round++)); do
		say "listing: round $round of $ROUNDS"
		for count in "${LISTED[@]}"; do
			for who in ours theirs; do list_round "$who" "$count"; done
		done
	done
	note_peak ours theirs
	# From a server just begun, so that what is needed for it can be told.
	finish ours
	begin_ours "$STORES/ours"
	for ((round = 1; round <= ROUNDS; round++)); do
		walk_round tags "/v2/bench/tags-$LONG/tags/list"
		walk_round catalogue /v2/_catalog
	done
	note memory walked peak "$(status_mb "$(pid_of ours)" VmHWM)"
	finish ours
	finish theirs
	listing_section | section
	scratch_end
}

# fill_lists: one tag is pushed to each repository, one repository to the catalogue; the others are copies of what the servers made.
fill_lists() {
	local who count
	for who in ours theirs; do
		for count in "${LISTED[@]}"; do push_first "$who" "bench/tags-$count"; done
	done
	push_first ours "bench/tags-$LONG"
	push_first ours "$CATALOGUE/r000000"
	finish ours
	finish theirs
	say "listing: writing $LONG tags and $LONG repositories into the store"
	for count in "${LISTED[@]}"; do
		load clone --directory "$STORES/ours/regatta/v1/repositories/bench/tags-$count/_tags" --prefix t --count "$count"
		load clone --directory "$STORES/theirs/docker/registry/v2/repositories/bench/tags-$count/_manifests/tags" --prefix t --count "$count"
	done
	load clone --directory "$STORES/ours/regatta/v1/repositories/bench/tags-$LONG/_tags" --prefix t --count "$LONG"
	load clone --directory "$STORES/ours/regatta/v1/catalog/$CATALOGUE" --prefix r --count "$LONG"
	sync -f "$STORES"
	begin_ours "$STORES/ours"
	begin_theirs "$STORES/theirs"
}

# push_first WHO REPOSITORY: an image without layers, by the tag t000000.
push_first() {
	local base
	base=$(base_of "$1")
	printf '{}' >"$WORK/config"
	printf '{"schemaVersion":2,"mediaType":"%s","config":%s,"layers":[]}' "$MANIFEST_TYPE" "$(descriptor "$WORK/config" application/vnd.oci.image.config.v1+json)" >"$WORK/manifest"
	put_blob "$base" "$2" "$WORK/config"
	put_manifest "$base" "$2" t000000 "$WORK/manifest"
}

# list_round WHO TAGS: how many requests, and how many names an answer has: servers have a limit of their own.
list_round() {
	local url
	url="$(base_of "$1")/v2/bench/tags-$2/tags/list?n=$2"
	note "tags-$2" "$1" names "$(ask "$url" | jq '.tags | length')"
	wrk_round "tags-$2" "$1" "$1" "$url" "$(credentials_of "$1")"
}

# walk_round WORK PATH: all pages of ours, each of the size that it has where a client does not say.
walk_round() {
	AUTHORIZATION=$(cat "$WORK/basic") taskset -c "$CLIENT_CORE" "$LOAD_PROGRAM" list --base "$OURS" --path "$2" --pid "$(pid_of ours)" >"$WORK/load.out" || die "$1 cannot be listed"
	[ "$(figure names)" -ge "$LONG" ] || die "$1: $(figure names) names were listed, not $LONG"
	note "$1" ours first "$(quotient "$(figure first-micros)" 1000)"
	note "$1" ours all "$(quotient "$(figure all-micros)" 1000000)"
	note "$1" ours cpu "$(quotient "$(figure ticks)" "$TICKS")"
	note "$1" ours pages "$(figure pages)"
}

listing_section() {
	local count each what
	cat <<-MD
		## Lists

		\`tags/list?n=\` of repositories that have 1, ${LISTED[1]} and ${LISTED[2]} tags, as under *Serving*; $ROUNDS rounds of $CELL_SECONDS s. An answer of ours has 1,000 names at most. One tag was pushed to
		each repository, and what the servers wrote for it was copied for the other tags (\`benches/load\`); the stores are on $(scratch_kind).

		| tags | names an answer: Regatta | Distribution | Regatta, 1/CPU-s | Distribution, 1/CPU-s | Regatta, names per CPU-s | Distribution, names per CPU-s | ratio of names | p99 in ms: ours | Distribution | idle client: ours | Distribution |
		|---|---|---|---|---|---|---|---|---|---|---|---|
	MD
	for count in "${LISTED[@]}"; do
		printf '| %d | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n' "$count" "$(median "tags-$count" ours names)" "$(median "tags-$count" theirs names)" \
			"$(spread "tags-$count" ours per-cpu)" "$(spread "tags-$count" theirs per-cpu)" "$(short "$(names_per_cpu "$count" ours)")" "$(short "$(names_per_cpu "$count" theirs)")" \
			"$(short "$(quotient "$(names_per_cpu "$count" ours)" "$(names_per_cpu "$count" theirs)")")" "$(short "$(median "tags-$count" ours p99)")" "$(short "$(median "tags-$count" theirs p99)")" \
			"$(percent "$(median "tags-$count" ours client-idle)")" "$(percent "$(median "tags-$count" theirs client-idle)")"
	done
	cat <<-MD

		All pages of ours, one after the other, by one client with one connection, from a server just begun; $ROUNDS rounds, median (least-most). Each page as long as it is where no \`n\` is given. The names' order was checked.

		| list | pages | first page, ms | mark | | all pages, s | mark | | CPU-s |
		|---|---|---|---|---|---|---|---|---|
	MD
	for each in 'tags|tags/list' 'catalogue|_catalog'; do
		what=${each#*|} each=${each%|*}
		printf '| %s of %d names | %s | %s | less than %s | %s | %s | less than %s | %s | %s |\n' "$what" "$LONG" "$(median "$each" ours pages)" \
			"$(spread "$each" ours first)" "$FIRST_PAGE_MARK" "$(verdict "$(median "$each" ours first)" le "$FIRST_PAGE_MARK")" \
			"$(spread "$each" ours all)" "$ALL_PAGES_MARK" "$(verdict "$(median "$each" ours all)" le "$ALL_PAGES_MARK")" "$(short "$(median "$each" ours cpu)")"
	done
}

# names_per_cpu TAGS WHO
names_per_cpu() { awk -v n="$(median "tags-$1" "$2" names)" -v r="$(median "tags-$1" "$2" per-cpu)" 'BEGIN { printf "%.6g", n * r }'; }
