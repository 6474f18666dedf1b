# shellcheck shell=bash
# Pushes, beside Distribution in the same run: blobs one after the other, and artifacts by many clients at once. Sourced by run.sh.

# bytes|what|mark: ours as a share of Distribution's CPU-seconds per GB|blobs a round: enough for a server's clock ticks to count
PUSHED=(
	"10000000|blobs of 10 MB|0.6|$(sized 40 4)"
	"1000000|blobs of 1 MB|0.5|$(sized 200 20)"
)
PUSHERS=$(sized 200 20)
PUSH_SECONDS=$(sized 5 2)
# name|what|how many repositories
SPREAD=('one|to one repository|1' "many|over $PUSHERS repositories|$PUSHERS")
ONE_TO_MANY=0.9
ARTIFACTS_MARK=5

pushing() {
	local round each who
	"$ROOT/scripts/install.sh" curl openssl
	packages util-linux=taskset
	build_load
	both_begin
	for ((round = 1; round <= ROUNDS; round++)); do
		say "pushing: round $round of $ROUNDS"
		for each in "${PUSHED[@]}"; do
			for who in ours theirs; do push_blobs "$who" "$round" "$each"; done
		done
		for each in "${SPREAD[@]}"; do
			for who in ours theirs; do push_artifacts "$who" "$round" "$each"; done
		done
	done
	note_peak ours theirs
	both_finish
	note sha256 all seconds-per-gb "$(sha256_floor)"
	pushing_section | section
}

# push_blobs WHO ROUND LINE: new blobs, the same for both.
push_blobs() {
	local bytes what mark count
	IFS='|' read -r bytes what mark count <<<"$3"
	load_round "push-$bytes" "$1" "$1" "$(credentials_of "$1")" upload --base "$(base_of "$1")" --bytes "$bytes" --count "$count" --seed "$2"
	[ "$(figure errors)" = 0 ] || die "$1 refused $(figure errors) of $count $what"
}

# push_artifacts WHO ROUND LINE
push_artifacts() {
	local name what repositories
	IFS='|' read -r name what repositories <<<"$3"
	load_round "$name" "$1" "$1" "$(credentials_of "$1")" push --base "$(base_of "$1")" --clients "$PUSHERS" --seconds "$PUSH_SECONDS" \
		--repositories "$repositories" --prefix "bench/$name" --seed "$2"
}

# sha256_floor: CPU-seconds that the digest of a GB alone takes here.
sha256_floor() {
	openssl speed -seconds 1 -bytes 1048576 -mr sha256 2>/dev/null | awk -F: '/^\+F/ { printf "%.3f", 1e9 / $NF }'
}

pushing_section() {
	local each bytes what mark count ratio
	cat <<-MD
		## Pushing

		POST, PATCH, PUT, one blob after the other, each blob new; the same blobs to both; $ROUNDS rounds, median (least-most). Ours answers the PUT when content, name and link are on disk
		(every fsync). The digest alone costs $(short "$(median sha256 all seconds-per-gb)") CPU-s per GB here. Servers, cores and access control as above; the client is \`benches/load\`.

		| work | Regatta, CPU-s per GB | Distribution, CPU-s per GB | ratio | mark | | blobs a second, ours | Distribution | p99 in ms, ours | Distribution |
		|---|---|---|---|---|---|---|---|---|---|
	MD
	for each in "${PUSHED[@]}"; do
		IFS='|' read -r bytes what mark count <<<"$each"
		ratio=$(ratio "push-$bytes" ours "push-$bytes" theirs cpu-per-gb)
		printf '| %s, %s a round | %s | %s | %s | at most %s | %s | %s | %s | %s | %s |\n' "$what" "$count" "$(spread "push-$bytes" ours cpu-per-gb)" \
			"$(spread "push-$bytes" theirs cpu-per-gb)" "$(short "$ratio")" "$mark" "$(verdict "$ratio" le "$mark")" \
			"$(spread "push-$bytes" ours rate)" "$(spread "push-$bytes" theirs rate)" "$(spread "push-$bytes" ours p99)" "$(spread "push-$bytes" theirs p99)"
	done
	artifacts_section
}

artifacts_section() {
	local each name what repositories who rates
	cat <<-MD

		$PUSHERS clients at once, each with a connection of its own, push artifacts of 1 KiB for $PUSH_SECONDS s: POST and PUT of a new blob, HEAD of the configuration, which all share, PUT of a manifest by a new tag.
		A push is these four requests; what is told is the time of all four. A first artifact is in each repository already, and what earlier rounds have pushed.

		| work | server | pushes a second | per CPU-s | CPU-ms a push | p50 in ms | p99 in ms | errors | idle client | busy server |
		|---|---|---|---|---|---|---|---|---|---|
	MD
	for each in "${SPREAD[@]}"; do
		IFS='|' read -r name what repositories <<<"$each"
		for who in ours theirs; do
			printf '| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n' "$what" "$(server_name "$who")" "$(spread "$name" "$who" rate)" "$(spread "$name" "$who" per-cpu)" \
				"$(short "$(median "$name" "$who" ms-per-cpu)")" "$(spread "$name" "$who" p50)" "$(spread "$name" "$who" p99)" "$(total "$name" "$who" errors)" \
				"$(percent "$(median "$name" "$who" client-idle)")" "$(percent "$(median "$name" "$who" server-busy)")"
		done
	done
	printf '\n| artifacts of 1 KiB, %d clients | ratio of 1/s | ratio of 1/CPU-s | mark for 1/s | |\n|---|---|---|---|---|\n' "$PUSHERS"
	rates=$(ratio one ours many ours rate)
	printf '| artifacts: one repository against %d | %s | %s | at least %s | %s |\n' "$PUSHERS" "$(short "$rates")" "$(short "$(ratio one ours many ours per-cpu)")" \
		"$ONE_TO_MANY" "$(verdict "$rates" ge "$ONE_TO_MANY")"
	for each in "${SPREAD[@]}"; do
		IFS='|' read -r name what repositories <<<"$each"
		rates=$(ratio "$name" ours "$name" theirs rate)
		printf '| artifacts %s against Distribution | %s | %s | at least %s | %s |\n' "$what" "$(short "$rates")" "$(short "$(ratio "$name" ours "$name" theirs per-cpu)")" \
			"$ARTIFACTS_MARK" "$(verdict "$rates" ge "$ARTIFACTS_MARK")"
	done
	rates=$(($(total one ours errors) + $(total many ours errors)))
	printf '| artifacts refused or broken off, ours | %s | | at most 0 | %s |\n' "$rates" "$(verdict "$rates" le 0)"
}
