#!/usr/bin/env bash
# What `make check` checks, everything that can be said without running a test. Each step is one line; a step that fails shows what
# it printed, and the run goes on, so that one run tells all.

# shellcheck source-path=SCRIPTDIR source=../e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../e2e/lib.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Certificates first: what comes next is fetched.
scripts/install.sh rust go ca-certificates cc git jq shellcheck
cargo_deny=$(scripts/install.sh cargo-deny)
e2e/parts.sh helm
helm=$(part helm)
# Rendered for the Kubernetes that the tests run on, whatever this helm was built for.
KUBE=$(version kubernetes k8s.io/kubernetes)

failed=()
output=$(mktemp)
trap 'rm -f "$output"' EXIT

# step NAME COMMAND...
step() {
	local name=$1 began
	shift
	began=$(now_ms)
	if "$@" >"$output" 2>&1; then
		say "$name: fine, $(since "$began") s"
	else
		failed+=("$name")
		cat "$output" >&2
		say "$name: FAILED (the lines above), $(since "$began") s"
	fi
}

shell_scripts() {
	git ls-files -z --cached --others --exclude-standard -- '*.sh' .ci/run e2e scripts | xargs -0 grep -lE '^(#!/usr/bin/env bash|# shellcheck shell=bash)' | sort -u
}

check_shell() {
	local files
	mapfile -t files < <(shell_scripts)
	shellcheck --external-sources "${files[@]}"
}

# What a merge left undecided.
conflict_marks() {
	if git grep -nE '^(<{7}|>{7})( |$)'; then return 1; fi
}

docs() { RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps --document-private-items --quiet; }

chart_lint() { "$helm" lint --strict charts/regatta; }

# Every template with defaults, with every value set, and without what can be left out; and a value that nobody knows is refused.
chart_template() {
	local values
	"$helm" template --kube-version "$KUBE" regatta charts/regatta --namespace regatta-system >/dev/null
	for values in charts/regatta/ci/*.yaml; do
		"$helm" template --kube-version "$KUBE" regatta charts/regatta --namespace regatta-system --values "$values" >/dev/null
	done
	if "$helm" template --kube-version "$KUBE" regatta charts/regatta --set nobodyKnows=this >/dev/null 2>&1; then
		echo 'the chart takes a value that its schema does not name'
		return 1
	fi
}

say "about 8 min the first time, most of it compiling; under a minute when nothing changed"
step 'format (cargo fmt --check)' cargo fmt --check
step 'format of fuzz/ (cargo fmt --check)' cargo fmt --check --manifest-path fuzz/Cargo.toml
# Its own lock file is not looked at by whatever builds the rest, and the fuzzer is built with --locked.
step 'fuzz/Cargo.lock fits (cargo metadata --locked)' cargo metadata --locked --format-version 1 --manifest-path fuzz/Cargo.toml
step 'shell scripts (shellcheck)' check_shell
step 'no marks of a conflict' conflict_marks
step 'chart (helm lint --strict)' chart_lint
step 'chart (helm template)' chart_template
step 'generated files are what crds/ and the chart say' scripts/generate.sh --check
step 'bans, licences, sources (cargo deny)' "$cargo_deny" --locked --all-features check --hide-inclusion-graph bans licenses sources
step 'lints (cargo clippy, warnings denied)' cargo clippy --locked --all-targets --quiet -- -D warnings
step 'lints with every feature (cargo clippy --all-features, warnings denied)' cargo clippy --locked --all-features --all-targets --quiet -- -D warnings
step 'documents of the code (cargo doc, warnings denied)' docs
say 'not checked: advisories against dependencies, whose database is not reachable offline (cargo deny check advisories)'
say 'generated files (crds/, the chart'"'"'s CRDs) are held against the code by a test: make test'

[ ${#failed[@]} = 0 ] || die "failed: $(printf '%s; ' "${failed[@]}")"
