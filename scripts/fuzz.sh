#!/usr/bin/env bash
# Fuzzes what reads from strangers (fuzz/src/targets.rs), two targets at once:
#
#   fuzz.sh [SECONDS [TARGET...]]    SECONDS for each target, 1200 if nothing is said; all targets
#   fuzz.sh merge [TARGET...]        takes what was found new into the corpora in the tree, as few and as small as will do
#
# What it finds on its way stays in target/fuzz/found; an input that breaks a promise is written to target/fuzz/findings, and is to
# become a file of fuzz/corpus/TARGET, which the tests run from then on.

# shellcheck source-path=SCRIPTDIR source=../e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../e2e/lib.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

TARGET=$(realpath -m "${CARGO_TARGET_DIR:-target}")/fuzz
MEGABYTES=2048

build() {
	scripts/install.sh rust cc cxx
	local host
	host=$(rustc -vV | awk '$1 == "host:" { print $2 }')
	PROGRAM=$TARGET/$host/release/regatta-fuzz
	say 'building the fuzzer: about 6 min the first time'
	# LLVM's coverage for libFuzzer, as cargo-fuzz asks for it; the compiler's own sanitizers want a nightly one. With --target, what
	# runs while compiling is not instrumented.
	RUSTFLAGS='--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table' \
		CARGO_TARGET_DIR=$TARGET cargo build --manifest-path fuzz/Cargo.toml --release --locked --target "$host" --quiet
}

all_targets() { sed -nE 's/^    \("([a-z-]+)", [a-z_]+\),$/\1/p' fuzz/src/targets.rs; }

# fuzz SECONDS TARGET
fuzz() {
	local found=$TARGET/found/$2 findings=$TARGET/findings/$2- log=$TARGET/log/$2
	mkdir -p "$found" "${findings%/*}" "${log%/*}"
	if REGATTA_FUZZ=$2 "$PROGRAM" -max_total_time="$1" -max_len=4096 -timeout=10 -rss_limit_mb="$MEGABYTES" -print_final_stats=1 \
		-artifact_prefix="$findings" "$found" "fuzz/corpus/$2" >"$log" 2>&1; then
		say "$2: no finding in $1 s and $(awk '$1 == "stat::number_of_executed_units:" { print $2 }' "$log") inputs"
	else
		tail -n 40 "$log" >&2
		say "$2: A FINDING (the lines above; $log)"
		return 1
	fi
}

merge() {
	local each kept
	for each in "$@"; do
		kept=$TARGET/merged/$each
		rm -rf "$kept"
		mkdir -p "$kept" "$TARGET/found/$each"
		REGATTA_FUZZ=$each "$PROGRAM" -merge=1 -max_len=512 "$kept" "fuzz/corpus/$each" "$TARGET/found/$each" >"$TARGET/merged/$each.log" 2>&1
		# What has a name of its own was written by a person, and stays.
		find "fuzz/corpus/$each" -type f -regextype egrep -regex '.*/[0-9a-f]{40}' -delete
		cp -n "$kept"/* "fuzz/corpus/$each/"
		say "$each: $(find "fuzz/corpus/$each" -type f | wc -l) inputs, $(du -sb "fuzz/corpus/$each" | cut -f1) bytes"
	done
}

failed=()
if [ "${1:-}" = merge ]; then
	shift
	build
	[ $# != 0 ] || mapfile -t all < <(all_targets)
	merge "${@:-${all[@]}}"
else
	seconds=${1:-1200}
	shift || true
	build
	all=("$@")
	[ $# != 0 ] || mapfile -t all < <(all_targets)
	pairs=$(((${#all[@]} + 1) / 2))
	say "fuzzing ${#all[@]} targets, $seconds s each, two at once: $((pairs * seconds)) s"
	for ((at = 0; at < ${#all[@]}; at += 2)); do
		fuzz "$seconds" "${all[at]}" &
		first=$!
		second=
		if [ $((at + 1)) -lt ${#all[@]} ]; then
			fuzz "$seconds" "${all[at + 1]}" &
			second=$!
		fi
		wait "$first" || failed+=("${all[at]}")
		[ -z "$second" ] || wait "$second" || failed+=("${all[at + 1]}")
	done
fi
[ ${#failed[@]} = 0 ] || die "findings: ${failed[*]}"
