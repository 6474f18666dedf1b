# shellcheck shell=bash
# What the parts of the benchmark share: servers on a core of their own, what they cost, medians, tables. Sourced by run.sh.

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

# crane, built once into the cache; its go.mod is the only place for its version.
crane_version() { awk '$1 ~ /go-containerregistry$/ && $2 ~ /^v/ { print $2; exit }' "$BENCHES/crane/go.mod"; }
crane() { printf '%s/crane-%s/bin/crane' "$CACHE" "$(crane_version)"; }
build_crane() {
	local target
	target=$(crane)
	[ ! -x "$target" ] || return 0
	"$ROOT/scripts/install.sh" go
	say 'building crane (20 s the first time)'
	mkdir -p "${target%/*}"
	(cd "$BENCHES/crane" && CGO_ENABLED=0 GOWORK=off GOFLAGS='' go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$target.part" github.com/google/go-containerregistry/cmd/crane)
	mv "$target.part" "$target"
}

# --- servers -----------------------------------------------------------------------------------------------------------------

# One that is free now.
free_port() {
	local port
	while :; do
		port=$((20000 + RANDOM % 10000))
		(exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
	done
	printf '%s' "$port"
}

# begin NAME COMMAND...: in the background, its id recorded; ended by `finish NAME`, or with the run.
begin() {
	local name=$1
	shift
	mkdir -p "$WORK/pids" "$WORK/logs"
	(detached "$WORK/logs/$name.log" "$@") &
	record_pid "$WORK/pids/$name" $!
}
finish() { end_recorded "$WORK/pids/$1"; }
finish_all() {
	local file
	for file in "$WORK"/pids/*; do
		[ ! -e "$file" ] || end_recorded "$file"
	done
}
pid_of() { recorded_pid "$WORK/pids/$1" || die "$1 has ended: $(tail -n 3 "$WORK/logs/$1.log")"; }

answers() { [ "$(curl --silent --max-time 2 --output /dev/null --write-out '%{http_code}' "$1")" != 000 ]; }
await_server() { wait_for 20 answers "$2" || die "$1 does not answer: $(tail -n 3 "$WORK/logs/$1.log")"; }

# make_password: one for this run. No password is ever an argument of a program.
make_password() {
	mkdir -p "$WORK"
	chmod 700 "$WORK"
	openssl rand -hex 20 | tr -d '\n' >"$WORK/password"
	printf 'user = "admin:%s"\n' "$(cat "$WORK/password")" >"$WORK/admin.curl"
	printf 'Basic %s' "$(printf 'admin:%s' "$(cat "$WORK/password")" | base64 -w0)" >"$WORK/basic"
}

# begin_regatta NAME PORT DIR [WRAPPER...]: one whose admin has that password, without logs.
begin_regatta() {
	local name=$1 port=$2 dir=$3
	shift 3
	begin "$name" env REGATTA_LOG=off "$@" "$REGATTA" registry --root "$dir" --listen "127.0.0.1:$port" --admin-password-file "$WORK/password"
	await_server "$name" "http://127.0.0.1:$port/v2/"
}

# --- clients -----------------------------------------------------------------------------------------------------------------

export MANIFEST_TYPE=application/vnd.oci.image.manifest.v1+json

kubectl() { "$(part kubectl)" "$@"; }
digest() { printf 'sha256:%s' "$(sha256sum "$1" | cut -d' ' -f1)"; }
# descriptor FILE TYPE: as a manifest names it.
descriptor() { printf '{"mediaType":"%s","digest":"%s","size":%d}' "$2" "$(digest "$1")" "$(stat -c %s "$1")"; }
# ask CURL-OPTION...: a registry, as the admin.
ask() { curl --silent --show-error --fail --max-time 60 --config "$WORK/admin.curl" "$@"; }

# --- what it costs -----------------------------------------------------------------------------------------------------------

TICKS=$(getconf CLK_TCK)
export TICKS

# cpu_ticks PID: clock ticks of CPU of a process and all its threads, ended ones too.
cpu_ticks() {
	local stat fields
	stat=$(cat "/proc/$1/stat")
	read -ra fields <<<"${stat##*) }"
	printf '%s' $((fields[11] + fields[12]))
}
# busy_ticks: clock ticks that the machine's cores have worked, for whomever.
busy_ticks() { awk '$1 == "cpu" { print $2 + $3 + $4 + $7 + $8 + $9 }' /proc/stat; }

# status_mb PID FIELD: VmHWM, VmRSS in MB.
status_mb() { awk -v f="$2:" '$1 == f { printf "%.1f", $2 * 1024 / 1e6 }' "/proc/$1/status"; }

# --- figures -----------------------------------------------------------------------------------------------------------------

# note WORK WHO METRIC VALUE: one figure of one round.
note() { printf '%s\t%s\t%s\t%s\n' "$@" >>"$OUT/$PART.tsv"; }
# quotient A B [SCALE]: A/B with four digits that mean something.
quotient() { awk -v a="$1" -v b="$2" -v s="${3:-1}" 'BEGIN { if (b == 0) print "nan"; else printf "%.6g", s * a / b }'; }

values() { awk -F'\t' -v w="$1" -v o="$2" -v m="$3" '$1 == w && $2 == o && $3 == m { print $4 }' "$OUT/$PART.tsv" | sort -g; }
median() { values "$@" | awk '{ v[NR] = $1 } END { if (!NR) print "nan"; else printf "%.6g", (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'; }
least() { values "$@" | head -n 1; }
most() { values "$@" | tail -n 1; }

# short NUMBER: as a person reads it.
short() {
	awk -v x="$1" 'BEGIN {
		if (x == "nan") print "-"
		else if (x >= 9950) printf "%.1fk", x / 1000
		else if (x >= 1000) printf "%.2fk", x / 1000
		else if (x >= 100) printf "%.0f", x
		else if (x >= 10) printf "%.1f", x
		else printf "%.2f", x
	}'
}
# spread WORK WHO METRIC: `median (least-most)`.
spread() { printf '%s (%s-%s)' "$(short "$(median "$@")")" "$(short "$(least "$@")")" "$(short "$(most "$@")")"; }

# verdict VALUE OPERATOR MARK: whether a mark is met. OPERATOR is ge or le.
verdict() { awk -v v="$1" -v o="$2" -v m="$3" 'BEGIN { print ((o == "ge" ? v >= m : v <= m) ? "met" : "**missed**") }'; }

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
