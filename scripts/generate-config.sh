#!/usr/bin/env bash
# Writes the parts of config/ that say the same as the chart, from the chart, so that there is one place for each rule:
#
#   generate-config.sh           writes config/crd, config/rbac and config/manager
#   generate-config.sh --check   fails when they are not what would be written

# shellcheck source-path=SCRIPTDIR source=../e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../e2e/lib.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
e2e/parts.sh helm
helm=$(part helm)
# A helm that is built from source without its release's flags takes the API server for an old one.
KUBE=$(version kubernetes k8s.io/kubernetes)

# Plain manifests are nobody's release: Helm's own labels and comments go.
render() {
	"$helm" template --kube-version "$KUBE" regatta charts/regatta --namespace regatta-system "$@" |
		sed -e '/helm\.sh\//d' -e '/app\.kubernetes\.io\/managed-by:/d' -e '/^# Source:/d'
}

write() {
	local to=$1
	mkdir -p "$to/crd" "$to/rbac" "$to/manager"
	cp crds/*.yaml "$to/crd/"
	render --show-only templates/serviceaccount.yaml --show-only templates/rbac.yaml --show-only templates/aggregated-roles.yaml >"$to/rbac/rbac.yaml"
	render --show-only templates/deployment.yaml --show-only templates/poddisruptionbudget.yaml >"$to/manager/manager.yaml"
}

case ${1:-} in
'') write config ;;
--check)
	fresh=$(mktemp -d)
	trap 'rm -rf "$fresh"' EXIT
	write "$fresh"
	different=0
	for file in "$fresh"/*/*.yaml; do
		diff -u "config/${file#"$fresh"/}" "$file" || different=1
	done
	[ "$different" = 0 ] || die 'config/ is not what the chart and crds/ say: run scripts/generate-config.sh'
	;;
*) die "unknown argument: $1" ;;
esac
