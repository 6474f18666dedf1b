#!/usr/bin/env bash
# Runs every test: the rooms' own, and tests/, which start a real API server and, for the end-to-end modules, real clusters.

# shellcheck source-path=SCRIPTDIR source=../e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../e2e/lib.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/install.sh rust go cc git jq openssl skopeo buildah envsubst fusermount3
say "the parts of a real Kubernetes, clients, a real S3 server, a real Swift, emulators of other object stores: about 14 min the first time, then nothing"
e2e/parts.sh api-server cluster helm clients versitygw emulators swift
say "the health checks for Argo CD and Flux: seconds"
go -C e2e/health test ./...
say "alerts and dashboard, in Prometheus' own engine: about 1 min the first time, then seconds"
go -C e2e/monitoring test ./...
say "tests: compiling takes about 3 min the first time, running them about 10"
if [ ! -e /dev/fuse ]; then
	say "there is no /dev/fuse (modprobe fuse): the tests of power cuts and of failing volumes will fail; REGATTA_WITHOUT_FUSE=1 goes without them"
fi
# One of the tests holds thousands of connections, both ends of each. They raise the soft limit themselves.
files=$(ulimit -Hn)
[ "$files" = unlimited ] || [ "$files" -ge 8192 ] ||
	die "a process may have $files files open here, and the tests need 8192: raise the hard limit (ulimit -Hn, /etc/security/limits.conf)"
exec cargo test --locked
