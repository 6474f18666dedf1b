#!/usr/bin/env bash
# What takes too long for `make test`:
#
#   soak.sh clients     the clients that take some minutes to build                                                     8 min
#   soak.sh traces      OpenTelemetry, with the cargo feature that is not in the image                                  5 min
#   soak.sh survival    power cuts, servers killed under load, replicas under faults, for much longer than the tests    60 min
#                       run them; one at a time; each prints its seed, and REGATTA_SEED=<seed> repeats it
#   soak.sh fuzz        every fuzz target for twenty minutes, two at once                                               110 min
#   soak.sh             all of these, in this order

# shellcheck source-path=SCRIPTDIR source=../e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../e2e/lib.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

soak_clients() {
	e2e/parts.sh clients slow-clients
	e2e/clients.sh oras regctl cosign
}

# With the cargo feature that is not in the image.
soak_traces() { cargo test --locked --features otel --test it -- registry_traces; }

soak_survival() {
	scripts/install.sh rust cc fusermount3
	REGATTA_SOAK=1 cargo test --locked --test it -- --nocapture --test-threads 1 survival_
}

soak_fuzz() { scripts/fuzz.sh; }

[ $# -gt 0 ] || set -- clients traces survival fuzz
for each in "$@"; do
	declare -F "soak_$each" >/dev/null || die "there is no soak named $each; see the head of $0"
	say "$each: begins"
	"soak_$each"
done
