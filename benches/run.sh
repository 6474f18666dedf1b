#!/usr/bin/env bash
# Takes the figures of docs/performance.md on this machine:
#
#   run.sh              all parts, about 25 min; the document is written anew
#   run.sh PART...      only these; their sections are written anew, the others stay as they were taken
#
#   serving             reads of one hot object, beside Distribution and nginx                 5 min
#   pushing             pushes of blobs, and of artifacts by 200 clients, beside Distribution  2 min
#   tokens              1,000 users with a token each, beside one                              1 min
#   zipf                a Zipf draw of 100,000 blobs in 1,000 repositories                     3 min
#   listing             tags and repositories, few and 100,000                                 2 min
#   weight              the start on a million blobs; memory, with TLS, too                    4 min
#   apply               from `kubectl apply` of a Registry to the first accepted push          1 min
#   operator            the operator's memory with 100 objects of each kind                    1 min
#   replication         seconds and requests of a copy, beside crane and skopeo                1 min
#   demo                seconds and requests of an image on its way through the demo's sites   1 min
#
# It needs what `make image` makes, two cores, 10 GB of disk with two million inodes, and root for `apply` and `demo` (and to drop the system's
# caches where something is measured cold). What it starts, it ends. Nothing else should be at work on the machine; how much was is
# written beside the figures. BENCH_QUICK=1 only tries the harness, with small sizes, and leaves the document alone.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
DOCUMENT=$ROOT/docs/performance.md
PARTS=(serving pushing tokens zipf listing weight apply operator replication demo)
for part in "${PARTS[@]}"; do
	# shellcheck source=/dev/null
	. "$BENCHES/$part.sh"
done

on_exit() {
	local code=$?
	finish_all || true
	scratch_end || true
	apply_cleanup || true
	operator_cleanup || true
	demo_cleanup || true
	rm -rf "$WORK"
	exit "$code"
}

processor() { awk -F': ' '$1 ~ /^model name/ { print $2; exit }' /proc/cpuinfo; }
memory() { awk '$1 == "MemTotal:" { printf "%.0f GB", $2 * 1024 / 1e9 }' /proc/meminfo; }

# missed: which marks are not reached, and which parts have no figures at all, before anything else.
missed() {
	local rows each without=()
	rows=$(for each in "${PARTS[@]}"; do [ ! -s "$OUT/$each.md" ] || cat "$OUT/$each.md"; done | awk -F' *[|] *' '/\*\*missed\*\*/ { printf "%s%s", n++ ? "; " : "", $2 }')
	if [ -n "$rows" ]; then printf 'Marks that were **missed**: %s.\n' "$rows"; else printf 'No mark was missed.\n'; fi
	for each in "${PARTS[@]}"; do [ -s "$OUT/$each.md" ] || without+=("$each"); done
	[ ${#without[@]} = 0 ] || printf 'Not measured, and so without a word on their marks: %s.\n' "${without[*]}"
}

document() {
	local each
	cat <<-MD
		<!-- Written by benches/run.sh (make bench); what is changed by hand is lost. -->

		# Performance

		Figures of one machine, taken by \`make bench\`, which takes them anew on yours. Absolute figures differ from machine to machine; what is compared was taken
		side by side in one run, in turns. *Marks* are what this project wants to reach; where one is missed, the table says so.

		The machine: $(processor), $(nproc) cores, $(memory) of memory, Linux $(uname -r | cut -d- -f1), $(stat -f -c %T "$OUT" | sed 's,ext2/ext3,ext4,') under the stores, everything over loopback.
	MD
	echo
	missed
	for each in "${PARTS[@]}"; do
		[ -s "$OUT/$each.md" ] || continue
		echo
		cat "$OUT/$each.md"
	done
	[ ! -s "$BENCHES/costs.md" ] || { echo && cat "$BENCHES/costs.md"; }
}

main() {
	local began each
	[ "$(nproc)" -ge 2 ] || die 'two cores are needed: one for the server, one for its client'
	[ -x "$REGATTA" ] || die "there is no binary yet: make image"
	mkdir -p "$OUT"
	# Of a run that was killed.
	finish_all
	scratch_end
	rm -rf "$WORK"
	mkdir -p "$WORK"
	trap on_exit EXIT
	trap 'exit 130' INT TERM HUP
	"$ROOT/scripts/install.sh" jq curl openssl skopeo
	if [ $# = 0 ]; then
		set -- "${PARTS[@]}"
		rm -f "$OUT"/*.md "$OUT"/*.tsv
	fi
	for each in "$@"; do
		PART=$each
		LOAD=$(cut -d' ' -f1 /proc/loadavg)
		rm -f "$OUT/$PART.tsv"
		began=$(now_ms)
		say "$PART: begins"
		"$PART"
		say "$PART: done in $(since "$began") s"
	done
	document >"$OUT/performance.md"
	if [ -n "$QUICK" ]; then
		say "$OUT/performance.md is what it would look like; its figures mean nothing"
	else
		mv "$OUT/performance.md" "$DOCUMENT"
		say 'docs/performance.md is written'
	fi
}

for each in "$@"; do
	[[ " ${PARTS[*]} " == *" $each "* ]] || { sed -n '2,/^$/s/^# \{0,1\}//p' "$0" >&2 && exit 2; }
done
main "$@"
