# shellcheck shell=bash
# The demo's stage: the cluster of KUBECONFIG, where three namespaces take the part of three clusters. Sourced by demo.sh.
#
# What cannot be had from an unknown cluster is asked for:
#
#   DEMO_IMAGE           Regatta's image, where the cluster's nodes can pull it. With kind and k3d it is loaded from `make image`.
#   DEMO_TRUST_COMMAND   makes the nodes trust a CA; called with HOST:PORT and the CA's file. With kind that is known.
#   DEMO_STORAGE_CLASS   a class whose volumes many nodes can write. Without it one is looked for; where there is none, a registry
#                        has one replica on a volume of the default class.
#   DEMO_REPLICAS        of each registry. With 1, one node need be able to write a volume of the class.
#
# This machine and the Pods must reach NodePorts at the first node's internal address.

stage() { printf 'three namespaces of the cluster that is %s in KUBECONFIG' "$(current_context)"; }

current_context() { kubectl_bare config current-context; }

# Once the demo is up, its cluster is this one, whatever becomes of KUBECONFIG (which may also be a list of files).
CONFIGURATION=$DEMO/kubeconfig
[ ! -s "$DEMO/stage" ] || export KUBECONFIG=$CONFIGURATION

server() { kubectl_bare config view --minify -o 'jsonpath={.clusters[0].cluster.server}'; }

prepare_stage() {
	"$E2E/parts.sh" kubectl helm
	local context
	context=$(current_context) || die 'DEMO_CLUSTER=current needs a KUBECONFIG with a current context'
	need_programs "$context"
	[ -n "${DEMO_IMAGE:-}" ] || [[ $context == kind-* || $context == k3d-* ]] ||
		die 'set DEMO_IMAGE (repository:tag) to where this cluster can pull the image that make image builds'
	[ -n "${DEMO_TRUST_COMMAND:-}" ] || [[ $context == kind-* ]] ||
		die 'set DEMO_TRUST_COMMAND to a command that makes the nodes trust a CA: it is called with HOST:PORT and the file of the CA'
	IMAGE=${DEMO_IMAGE:-$IMAGE}
	[ ! -s "$DEMO/stage" ] || return 0
	(umask 077 && kubectl_bare config view --minify --flatten --raw >"$CONFIGURATION")
	export KUBECONFIG=$CONFIGURATION
}

# need_programs CONTEXT: those that load the image and make the nodes trust, before anything is begun.
need_programs() {
	case $1 in
	kind-*)
		[ -n "${DEMO_IMAGE:-}" ] || need_program kind 'or set DEMO_IMAGE'
		[ -n "${DEMO_TRUST_COMMAND:-}" ] || { need_program kind 'or set DEMO_TRUST_COMMAND' && need_program docker 'or set DEMO_TRUST_COMMAND'; }
		;;
	k3d-*) [ -n "${DEMO_IMAGE:-}" ] || need_program k3d 'or set DEMO_IMAGE' ;;
	esac
}
need_program() { command -v "$1" >/dev/null || die "the current context is that of a cluster for which $1 is needed, and it is missing: put it into PATH, $2"; }

raise_stage() {
	local site
	for site in "${SITES[@]}"; do
		# A namespace of that name that is not the demo's is somebody else's.
		if kubectl_bare get namespace "$site" >/dev/null 2>&1; then
			ours "$site" || die "the namespace $site is there already and not the demo's"
		else
			our_namespace "$site"
		fi
	done
	choose_storage
	told "at $(server): namespaces ${SITES[*]}, node at $(address hq), $REPLICAS replica(s) a registry on storage class $STORAGE_CLASS"
}

ours() { [ "$(kubectl_bare get namespace "$1" --ignore-not-found -o 'jsonpath={.metadata.labels.regatta\.dev/demo}')" = true ]; }

our_namespace() {
	quietly kubectl_bare create namespace "$1"
	quietly kubectl_bare label namespace "$1" regatta.dev/demo=true
}

no_pods() { [ -z "$(at "$1" get pods -o name)" ]; }

# The objects first, and their Pods: a namespace that is deleted with Pods in it is looked at again only after half of their grace period.
strike_stage() {
	local site mine=()
	quietly kubectl_bare get namespaces || die "the cluster does not answer (see $LOG). If it is gone for good, remove $DEMO"
	for site in "${SITES[@]}"; do
		ours "$site" || { say "there is no namespace $site of the demo" && continue; }
		mine+=("$site")
		! kubectl_bare get crd registries.regatta.dev >/dev/null 2>&1 || quietly at "$site" delete "$KINDS" --all
		quietly at "$site" delete pods --all --wait=false
	done
	for site in "${mine[@]}"; do
		wait_for 120 no_pods "$site" || say "the Pods of namespace $site are not gone after 120 s; its deletion will take some minutes"
	done
	[ ${#mine[@]} = 0 ] || quietly kubectl_bare delete namespace "${mine[@]}"
	if ours regatta-system; then
		quietly helm_at hq uninstall regatta --namespace regatta-system --wait
		quietly kubectl_bare delete namespace regatta-system
	fi
}

kubeconfig() { printf '%s' "$CONFIGURATION"; }
address() { kubectl_bare get nodes -o 'jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}' | cut -d' ' -f1; }
namespace() { printf '%s' "$1"; }

# One operator for all three.
operators() { printf 'hq\n'; }

# Provisioners that are known to make volumes which many nodes can write.
MANY_WRITERS='nfs|cephfs|efs\.csi|file\.csi\.azure|azure-file|filestore|juicefs|longhorn|glusterfs|portworx'

class_of_many_writers() {
	local found
	found=$(kubectl_bare get storageclasses -o json |
		jq -r --arg many "$MANY_WRITERS" 'first(.items[] | select(.provisioner | test($many)) | .metadata.name) // empty')
	[ -n "$found" ] || found=$(kubectl_bare get persistentvolumes -o json |
		jq -r 'first(.items[] | select(.status.phase == "Available" and (.spec.accessModes | index("ReadWriteMany"))) | .spec.storageClassName) // empty')
	printf '%s' "$found"
}

default_class() {
	kubectl_bare get storageclasses -o json |
		jq -r 'first(.items[] | select(.metadata.annotations["storageclass.kubernetes.io/is-default-class"] == "true") | .metadata.name) // empty'
}

# A class that is asked for, or has a provisioner of that kind, or has such volumes lying ready; else the default class and one replica.
choose_storage() {
	STORAGE_CLASS=${DEMO_STORAGE_CLASS:-} REPLICAS=${DEMO_REPLICAS:-}
	# Where the demo was before, a claim stays as it is.
	if [ -s "$DEMO/storage-class" ]; then
		local before_class before_replicas
		read -r before_class before_replicas <"$DEMO/storage-class"
		if [ "${STORAGE_CLASS:-$before_class}" != "$before_class" ] || [ "${REPLICAS:-$before_replicas}" != "$before_replicas" ]; then
			die "the demo is here with storage class $before_class and $before_replicas replicas, and claims stay as they are: DEMO_STORAGE_CLASS or DEMO_REPLICAS says otherwise. \`make demo-down\` takes it away"
		fi
		STORAGE_CLASS=$before_class REPLICAS=$before_replicas
	elif [ -z "$STORAGE_CLASS" ] && [ "$REPLICAS" != 1 ]; then
		STORAGE_CLASS=$(class_of_many_writers)
		[ -n "$STORAGE_CLASS" ] || [ -z "$REPLICAS" ] || die "no storage class is known whose volumes many nodes can write: set DEMO_STORAGE_CLASS, or DEMO_REPLICAS=1"
		REPLICAS=${REPLICAS:-$([ -n "$STORAGE_CLASS" ] && echo 2 || echo 1)}
	fi
	REPLICAS=${REPLICAS:-2}
	[ -n "$STORAGE_CLASS" ] || STORAGE_CLASS=$(default_class)
	[ -n "$STORAGE_CLASS" ] || die 'the cluster has no default storage class: set DEMO_STORAGE_CLASS'
	if [ "$REPLICAS" = 1 ]; then ACCESS_MODE=ReadWriteOnce; else ACCESS_MODE=ReadWriteMany; fi
	printf '%s %s\n' "$STORAGE_CLASS" "$REPLICAS" >"$DEMO/storage-class"
	export STORAGE_CLASS ACCESS_MODE REPLICAS
}

# load_image ARCHIVE NAME
load_image() {
	[ -z "${DEMO_IMAGE:-}" ] || return 0
	local context
	context=$(current_context)
	case $context in
	kind-*) quietly kind load image-archive "$1" --name "${context#kind-}" ;;
	k3d-*) quietly k3d image import "$1" --cluster "${context#k3d-}" ;;
	esac
}

# An operator that is there already serves; one that the demo installs goes with it, definitions and all.
install_operator() {
	if ! ours regatta-system; then
		if [ -n "$(helm_at hq list --all-namespaces --filter '^regatta$' --short)" ]; then
			told 'an operator is installed already: it is taken as it is'
			return
		fi
		! kubectl_bare get namespace regatta-system >/dev/null 2>&1 || die "the namespace regatta-system is there already and not the demo's"
		our_namespace regatta-system
	fi
	quietly helm_at hq upgrade --install regatta "$ROOT/charts/regatta" --namespace regatta-system \
		--set image.repository="${IMAGE%:*}" --set image.tag="${IMAGE##*:}" --set crds.keep=false --wait --timeout 3m
}

# manifests SITE: each namespace its own; see config/samples/one-cluster.
manifests() {
	export NODE_ADDRESS
	NODE_ADDRESS=$(address hq)
	# The names are envsubst's to read, not the shell's.
	# shellcheck disable=SC2016
	envsubst '$NODE_ADDRESS $STORAGE_CLASS $ACCESS_MODE $REPLICAS' <"$ROOT/config/samples/one-cluster/$1.yaml"
}

trust_registry() {
	if [ -n "${DEMO_TRUST_COMMAND:-}" ]; then
		# A command with arguments of its own.
		# shellcheck disable=SC2086
		quietly $DEMO_TRUST_COMMAND "$(host "$1")" "$DEMO/pki/ca.crt"
		return
	fi
	local node dir context
	dir=/etc/containerd/certs.d/$(host "$1")
	context=$(current_context)
	for node in $(kind get nodes --name "${context#kind-}"); do
		quietly docker exec "$node" mkdir -p "$dir"
		quietly docker cp "$DEMO/pki/ca.crt" "$node:$dir/ca.crt"
		printf 'server = "https://%s"\n[host."https://%s"]\n  ca = "%s/ca.crt"\n' "$(host "$1")" "$(host "$1")" "$dir" |
			quietly docker exec -i "$node" tee "$dir/hosts.toml"
	done
}
