# shellcheck shell=bash
# Reads of many small blobs: a Zipf draw beside one hot object, and each once from cold. Sourced by run.sh.
# shellcheck disable=SC2153 # directories and URLs are assigned in other files

OBJECTS=$(sized 100000 2000)
REPOSITORIES=$(sized 1000 100)
ZIPF_MARK=0.7
TEMPLATE_REPOSITORY=bench/many/r0000
DRAWS=$(sized 300000 10000)

zipf() {
	local round who began
	"$ROOT/scripts/install.sh" curl openssl
	packages wrk=wrk util-linux=taskset
	build_load
	make_hot
	scratch_begin
	both_begin
	for who in ours theirs; do
		put_blob "$(base_of "$who")" "$TEMPLATE_REPOSITORY" "$WORK/hot/blob-1k"
		finish "$who"
		say "zipf: writing $OBJECTS blobs into the store of $(server_name "$who")"
		began=$(now_ms)
		load fill --store "$STORES/$who" --repository "$TEMPLATE_REPOSITORY" --digest "$(digest "$WORK/hot/blob-1k")" --objects "$OBJECTS" --repositories "$REPOSITORIES" >"$WORK/paths"
		note fill "$who" seconds "$(quotient $(($(now_ms) - began)) 1000)"
	done
	sync -f "$STORES"
	# The paths are the same for both: contents and names are.
	load draw --from "$WORK/paths" --count "$DRAWS" >"$WORK/requests-zipf"
	load draw --from "$WORK/paths" --count 0 >"$WORK/requests-cold"
	head -n 1 "$WORK/requests-cold" >"$WORK/requests-hot"
	cold_round
	begin_ours "$STORES/ours"
	begin_theirs "$STORES/theirs"
	# After the cold round a draw would go to the disk for each object that it meets first.
	say "zipf: reading both stores once, so that the system has them in memory"
	for who in ours theirs; do find "$STORES/$who" -type f -exec cat {} + >/dev/null; done
	for ((round = 1; round <= ROUNDS; round++)); do
		say "zipf: round $round of $ROUNDS"
		for who in ours theirs; do drawn_round "$who"; done
	done
	note_peak ours theirs
	finish ours
	finish theirs
	zipf_section | section
	scratch_end
}

# drawn_round WHO: both by the same script, so that the client is the same.
drawn_round() {
	local work
	for work in hot zipf; do
		WARM_SECONDS=$(sized 10 1) wrk_round "$work" "$1" "$1" "$(base_of "$1")/" "$(credentials_of "$1")" "$WORK/requests-$work"
	done
}

# cold_round: nothing of the stores is in memory, and no object is asked for twice.
cold_round() {
	local who
	for who in ours theirs; do
		drop_caches || return 0
		"begin_$who" "$STORES/$who"
		WARM_SECONDS=0 wrk_round cold "$who" "$who" "$(base_of "$who")/" "$(credentials_of "$who")" "$WORK/requests-cold"
		finish "$who"
	done
}

zipf_section() {
	local who each
	cat <<-MD
		## Many objects

		$OBJECTS blobs of 1 KiB in $REPOSITORIES repositories, asked for by a Zipf draw (exponent 1, $DRAWS draws), beside one of them again and again; $ROUNDS rounds of $CELL_SECONDS s after 10 s of warming. Otherwise as under *Serving*.
		Before that all files of both stores were read once, so that the system has in memory what it can keep there; the servers' own caches hold some of the objects only.
		The blobs were not pushed: one was, and the files that the server made for it were written again for the others (\`benches/load\`), in $(short "$(median fill ours seconds)") s; the stores are on $(scratch_kind). *Cold* is another run, from a server just
		begun and with the system's caches dropped, in which no blob is asked for twice.

		What a system does with pages that nobody used for a while is its own affair; how many bytes each request made the server read from the disk is told.

		| server | hot, 1/CPU-s | Zipf, 1/CPU-s | cold, 1/CPU-s | hot, 1/s | Zipf, 1/s | cold, 1/s | Zipf p99, ms | cold p99, ms | from the disk, bytes a request: Zipf | cold | idle client: hot | Zipf |
		|---|---|---|---|---|---|---|---|---|---|---|---|---|
	MD
	for who in ours theirs; do
		printf '| %s | %s | %s | %s | %s | %s | %s | %s | %s | %.0f | %.0f | %s | %s |\n' "$(server_name "$who")" "$(spread hot "$who" per-cpu)" "$(spread zipf "$who" per-cpu)" "$(short "$(median cold "$who" per-cpu)")" \
			"$(spread hot "$who" rate)" "$(spread zipf "$who" rate)" "$(short "$(median cold "$who" rate)")" "$(short "$(median zipf "$who" p99)")" "$(short "$(median cold "$who" p99)")" \
			"$(median zipf "$who" disk)" "$(median cold "$who" disk)" "$(percent "$(median hot "$who" client-idle)")" "$(percent "$(median zipf "$who" client-idle)")"
	done
	each=$(ratio zipf ours hot ours per-cpu)
	printf '\n| mark | ratio of 1/CPU-s | ratio of 1/s | at least | |\n|---|---|---|---|---|\n| Zipf draw against the hot object | %s | %s | %s | %s |\n' \
		"$(short "$each")" "$(short "$(ratio zipf ours hot ours rate)")" "$ZIPF_MARK" "$(verdict "$each" ge "$ZIPF_MARK")"
}
