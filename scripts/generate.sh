#!/usr/bin/env bash
# Writes what can be derived from crds/ and the chart, so that there is one place for each rule: the plain manifests of config/, the
# health checks for Argo CD, and the reference of the kinds. (crds/ itself comes from the code: `regatta crds`.)
#
#   generate.sh           writes them
#   generate.sh --check   fails when they are not what would be written

# shellcheck source-path=SCRIPTDIR source=../e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../e2e/lib.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
e2e/parts.sh helm
helm=$(part helm)
# Rendered for the Kubernetes that the tests run on, whatever this helm was built for.
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
		# scripts/generate.sh:
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
	mkdir -p "$to"/config/{crd,rbac,manager,argocd} "$to/docs/reference"
	cp crds/*.yaml "$to/config/crd/"
	render --show-only templates/serviceaccount.yaml --show-only templates/rbac.yaml --show-only templates/aggregated-roles.yaml >"$to/config/rbac/rbac.yaml"
	render --show-only templates/deployment.yaml --show-only templates/poddisruptionbudget.yaml >"$to/config/manager/manager.yaml"
	argocd_patch >"$to/config/argocd/argocd-cm-patch.yaml"
	go -C scripts/reference run . "$PWD"/crds/*.yaml >"$to/docs/reference/kinds.md"
}

case ${1:-} in
'') write . ;;
--check)
	fresh=$(mktemp -d)
	trap 'rm -rf "$fresh"' EXIT
	write "$fresh"
	different=0
	while read -r file; do
		diff -u "$file" "$fresh/$file" || different=1
	done < <(cd "$fresh" && find . -type f -printf '%P\n')
	[ "$different" = 0 ] || die 'generated files are not what crds/ and the chart say: run scripts/generate.sh'
	;;
*) die "unknown argument: $1" ;;
esac
