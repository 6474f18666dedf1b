# shellcheck shell=bash
# What the parts of the benchmark share: paths, sizes, medians, tables. Sourced by run.sh.

# shellcheck source-path=SCRIPTDIR source=../e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../e2e/lib.sh"

ROOT=$(dirname "$E2E")
BENCHES=$ROOT/benches
TARGET=$(realpath -m "${CARGO_TARGET_DIR:-$ROOT/target}")
OUT=$TARGET/bench
# What runs and what it writes; emptied at every start.
WORK=$OUT/work
REGATTA=$TARGET/image/regatta

export SERVER_CORE=0 CLIENT_CORE=1


# A run that only tries the harness: one short round of small sizes, whose figures mean nothing and reach no document.
QUICK=${BENCH_QUICK:-}
# sized NORMAL QUICK
sized() { if [ -z "$QUICK" ]; then printf '%s' "$1"; else printf '%s' "$2"; fi; }
# For each cell of a table: how many rounds, and how many seconds of each.
ROUNDS=$(sized 3 1)
CELL_SECONDS=$(sized 3 1)
export ROUNDS CELL_SECONDS

kubectl() { "$(part kubectl)" "$@"; }

# shellcheck source-path=SCRIPTDIR source=servers.sh
. "$BENCHES/servers.sh"
# shellcheck source-path=SCRIPTDIR source=clients.sh
. "$BENCHES/clients.sh"

# --- figures -----------------------------------------------------------------------------------------------------------------

# note WORK WHO METRIC VALUE: one figure of one round.
note() { printf '%s\t%s\t%s\t%s\n' "$@" >>"$OUT/$PART.tsv"; }
# quotient A B [SCALE]: A/B, times SCALE.
quotient() { awk -v a="$1" -v b="$2" -v s="${3:-1}" 'BEGIN { if (a == "nan" || b == "nan" || b == 0) print "nan"; else printf "%.6g", s * a / b }'; }

values() { awk -F'\t' -v w="$1" -v o="$2" -v m="$3" '$1 == w && $2 == o && $3 == m { print $4 }' "$OUT/$PART.tsv" | sort -g; }
median() { values "$@" | awk '{ v[NR] = $1 } END { if (!NR) print "nan"; else printf "%.6g", (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'; }
# ratio A-WORK A-WHO B-WORK B-WHO METRIC: of two medians.
ratio() { quotient "$(median "$1" "$2" "$5")" "$(median "$3" "$4" "$5")"; }
least() { values "$@" | head -n 1; }
most() { values "$@" | tail -n 1; }

# short NUMBER: as a person reads it.
short() {
	awk -v x="$1" 'BEGIN {
		if (x !~ /^[0-9]/) print "-"
		else if (x >= 9950) printf "%.1fk", x / 1000
		else if (x >= 1000) printf "%.2fk", x / 1000
		else if (x >= 100) printf "%.0f", x
		else if (x >= 10) printf "%.1f", x
		else printf "%.2f", x
	}'
}
# spread WORK WHO METRIC: `median (least-most)`.
spread() { printf '%s (%s-%s)' "$(short "$(median "$@")")" "$(short "$(least "$@")")" "$(short "$(most "$@")")"; }

# percent SHARE
percent() { awk -v x="$1" 'BEGIN { if (x !~ /^-?[0-9]/) print "-"; else printf "%.0f %%", 100 * x }'; }
# total WORK WHO METRIC
total() { values "$@" | awk '{ n += $1 } END { print n + 0 }'; }
# server_name WHO
server_name() {
	case $1 in
	ours) printf 'Regatta' ;;
	theirs) printf 'Distribution' ;;
	*) printf '%s' "$1" ;;
	esac
}

# verdict VALUE OPERATOR MARK: whether a mark is met. OPERATOR is ge or le. What was not measured is missed.
verdict() { awk -v v="$1" -v o="$2" -v m="$3" 'BEGIN { print (v ~ /^[0-9]/ && (o == "ge" ? v + 0 >= m + 0 : v + 0 <= m + 0) ? "met" : "**missed**") }'; }

# --- the document ------------------------------------------------------------------------------------------------------------

# revision: what the image, and so the binary, was built from.
revision() {
	local label
	label=$(skopeo inspect --config "docker-archive:$TARGET/image/regatta.tar" 2>/dev/null | jq -r '.config.Labels["org.opencontainers.image.revision"] // "unknown"')
	printf '%.10s' "$label"
}

# section: the part's text, from standard input, dated; LOAD is what the machine was at when the part began.
section() {
	local others
	others=$(values machine all others | awk '{ v[NR] = $1 } END { if (NR) printf " While it was measured others took %.0f %% of the machine (median; at most %.0f %%).", 100 * v[int((NR + 1) / 2)], 100 * v[NR] }')
	{
		cat
		# shellcheck disable=SC2016 # backquotes of Markdown
		printf '\n*Taken %s, Regatta %s (`%s`). Load average at the beginning: %s.%s*\n' "$(date --utc '+%Y-%m-%d %H:%M UTC')" \
			"$("$REGATTA" --version | awk '{ print $2 }')" "$(revision)" "$LOAD" "$others"
	} >"$OUT/$PART.md"
}
