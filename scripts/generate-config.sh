#!/usr/bin/env bash
# Writes the parts of config/ that say the same as the chart, from the chart, so that there is one place for each rule:
#
#   generate-config.sh           writes config/crd, config/rbac, config/manager and config/argocd/argocd-cm-patch.yaml
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

# Argo CD wants the text once for each kind.
argocd_patch() {
	local kind
	cat <<-'TEXT'
		# What Argo CD must know to tell the health of the five kinds. A patch for its own ConfigMap, made of health.lua by
		# scripts/generate-config.sh:
		#
		#   kubectl -n argocd patch configmap argocd-cm --type merge --patch-file config/argocd/argocd-cm-patch.yaml
		data:
	TEXT
	for kind in Registry Project RoleBinding ReplicationPolicy GarbageCollection; do
		printf '  resource.customizations.health.regatta.dev_%s: |\n' "$kind"
		sed 's/^./    &/' config/argocd/health.lua
	done
}

write() {
	local to=$1
	mkdir -p "$to/crd" "$to/rbac" "$to/manager" "$to/argocd"
	argocd_patch >"$to/argocd/argocd-cm-patch.yaml"
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
