# shellcheck shell=bash
# The demo's stage: three clusters on this machine, one for each site. Sourced by demo.sh; current.sh is the other stage.

stage() { printf 'three Kubernetes clusters on this machine'; }

prepare_stage() { "$E2E/parts.sh" cluster helm; }

raise_stage() {
	local site
	for site in "${SITES[@]}"; do
		quietly "$E2E/cluster.sh" up "$DEMO_NAME-$site"
		told "the cluster of $(called "$site"): node at $(address "$site"), KUBECONFIG=$(kubeconfig "$site")"
	done
}

strike_stage() {
	local site
	for site in "${SITES[@]}"; do "$E2E/cluster.sh" down "$DEMO_NAME-$site"; done
}

kubeconfig() { "$E2E/cluster.sh" kubeconfig "$DEMO_NAME-$1"; }
address() { "$E2E/cluster.sh" address "$DEMO_NAME-$1"; }
namespace() { printf 'fleet'; }

# One operator a cluster, each under the name of its cluster.
operators() { printf '%s\n' "${SITES[@]}"; }

# load_image ARCHIVE NAME: into every node, so that nothing has to be pulled for Regatta itself.
load_image() {
	local site
	for site in "${SITES[@]}"; do quietly "$E2E/cluster.sh" load "$DEMO_NAME-$site" "$1"; done
}

install_operator() {
	quietly helm_at "$1" upgrade --install regatta "$ROOT/charts/regatta" --namespace regatta-system --create-namespace \
		--set clusterName="$1" --set image.repository="${IMAGE%:*}" --set image.tag="${IMAGE##*:}" --wait --timeout 3m
}

# manifests SITE: one and the same text for each of them.
manifests() {
	export HQ_ADDRESS PROVINCE_ADDRESS CITY_ADDRESS
	HQ_ADDRESS=$(address hq) PROVINCE_ADDRESS=$(address province) CITY_ADDRESS=$(address city)
	# The names are envsubst's to read, not the shell's.
	# shellcheck disable=SC2016
	kubectl_bare kustomize "$ROOT/config/samples/fleet" | envsubst '$HQ_ADDRESS $PROVINCE_ADDRESS $CITY_ADDRESS'
}

trust_registry() { quietly "$E2E/cluster.sh" trust "$DEMO_NAME-$1" "$(host "$1")" "$DEMO/pki/ca.crt"; }
