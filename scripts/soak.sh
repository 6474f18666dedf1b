#!/usr/bin/env bash
# The tests that are left to chance, for much longer than `make test` runs them: power cuts, servers killed under load, and
# replicas under faults. One at a time; each prints its seed, and REGATTA_SEED=<seed> repeats it.

# shellcheck source-path=SCRIPTDIR source=../e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../e2e/lib.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/install.sh rust cc fusermount3
say "power cuts, killed servers and replicas under faults: about an hour"
say "traces, with the cargo feature that is not in the image: about 5 min, most of it compiling"
cargo test --locked --features otel --test it -- registry_traces
REGATTA_SOAK=1 cargo test --locked --test it -- --nocapture --test-threads 1 survival_
