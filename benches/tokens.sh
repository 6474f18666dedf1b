# shellcheck shell=bash
# What it costs to know who asks: a thousand users with a token each, beside one. Sourced by run.sh.
# shellcheck disable=SC2153 # directories and URLs are assigned in other files

USERS=$(sized 1000 50)
TOKENS_MARK=0.85
KNOWN=('digest|manifest by digest' 'blob-1k|blob of 1 KiB')

tokens() {
	local round each
	"$ROOT/scripts/install.sh" curl openssl
	packages wrk=wrk util-linux=taskset perl-base=perl
	build_load
	make_password
	make_hot
	begin_users
	OURS=http://127.0.0.1:$PORT put_hot "http://127.0.0.1:$PORT"
	say "tokens: asking for $USERS of them"
	load tokens --base "http://127.0.0.1:$PORT" --users "$USERS" --password-file "$WORK/password" --repository "$REPOSITORY" >"$WORK/tokens"
	for ((round = 1; round <= ROUNDS; round++)); do
		say "tokens: round $round of $ROUNDS"
		for each in "${KNOWN[@]}"; do known_round "${each%%|*}"; done
	done
	note_peak ours
	finish ours
	rm -rf "$WORK/ours"
	tokens_section | section
}

# begin_users: a server with so many users, who may all do everything: rights come from the operator, and there is none here. All
# have the same password, under a hash that costs little: what is measured is not how long bcrypt takes.
begin_users() {
	local hash n admins=(--admin admin)
	# shellcheck disable=SC2016 # Perl's variable, and dollars of the hash
	hash=$(perl -e 'local $/; print crypt(<STDIN>, q($2b$04$) . join("", map { (0 .. 9, "a" .. "z")[rand 36] } 1 .. 21) . "u")' <"$WORK/password")
	case $hash in \$2b\$04\$*) ;; *) die 'the C library of this machine has no bcrypt' ;; esac
	printf 'admin:%s\n' "$hash" >"$WORK/htpasswd"
	for ((n = 0; n < USERS; n++)); do
		printf 'u%d:%s\n' "$n" "$hash" >>"$WORK/htpasswd"
		admins+=(--admin "u$n")
	done
	PORT=$(free_port)
	begin ours env REGATTA_LOG=off taskset -c "$SERVER_CORE" "$REGATTA" registry --root "$WORK/ours" --listen "127.0.0.1:$PORT" --htpasswd-file "$WORK/htpasswd" "${admins[@]}"
	await_server ours "http://127.0.0.1:$PORT/v2/"
}

# known_round WORK: always the same request, from a password, from one token, and from another user's token each time.
known_round() {
	local path
	path=$(path_of "$1")
	printf '%s\t%s\n' "$path" "$(cat "$WORK/basic")" >"$WORK/requests-basic"
	printf '%s\t%s\n' "$path" "$(head -n 1 "$WORK/tokens")" >"$WORK/requests-one"
	sed "s,^,$path\t," "$WORK/tokens" >"$WORK/requests-many"
	for who in basic one many; do wrk_round "$1" "$who" ours "http://127.0.0.1:$PORT/" '' "$WORK/requests-$who"; done
}

tokens_section() {
	local each work what best
	cat <<-MD
		## Authentication

		$USERS users with a bearer token each, which take turns, beside one token and one password at every request; otherwise as under *Serving*, $ROUNDS rounds of $CELL_SECONDS s.
		All of them may do everything (rights come from the operator, and there is none here). The mark is held against the better of the other two.

		| work | password, 1/CPU-s | one token, 1/CPU-s | $USERS tokens, 1/CPU-s | $USERS tokens, 1/s | idle client | ratio to the better | mark | |
		|---|---|---|---|---|---|---|---|---|
	MD
	for each in "${KNOWN[@]}"; do
		IFS='|' read -r work what <<<"$each"
		best=$(awk -v a="$(ratio "$work" many "$work" basic per-cpu)" -v b="$(ratio "$work" many "$work" one per-cpu)" 'BEGIN { print a + 0 < b + 0 ? a : b }')
		printf '| %s, %d tokens | %s | %s | %s | %s | %s | %s | at least %s | %s |\n' "$what" "$USERS" "$(spread "$work" basic per-cpu)" "$(spread "$work" one per-cpu)" \
			"$(spread "$work" many per-cpu)" "$(spread "$work" many rate)" "$(percent "$(median "$work" many client-idle)")" "$(short "$best")" "$TOKENS_MARK" "$(verdict "$best" ge "$TOKENS_MARK")"
	done
}
