# shellcheck shell=bash
# What `make demo` does, as it is: how long an image takes through its sites, and how many requests. Sourced by run.sh.

DEMO_OF_BENCH=bench-demo

demo() {
	local name value
	demo_cleanup
	say 'demo: three clusters, an image of three layers through all of them'
	CARGO_TARGET_DIR=$TARGET DEMO_NAME=$DEMO_OF_BENCH "$E2E/demo.sh" up >"$WORK/demo.log" 2>&1 || die "the demo failed: $(tail -n 20 "$WORK/demo.log")"
	while read -r name value; do note demo "$name" figure "$value"; done <"$TARGET/$DEMO_OF_BENCH/figures"
	demo_section | section
	demo_cleanup
}

demo_cleanup() {
	[ ! -d "$TARGET/$DEMO_OF_BENCH" ] || CARGO_TARGET_DIR=$TARGET DEMO_NAME=$DEMO_OF_BENCH "$E2E/demo.sh" down >/dev/null 2>&1
}

demo_section() {
	local tag
	cat <<-MD
		## The demo's replication

		\`make demo\`, three clusters (Kubernetes $(version kubernetes k8s.io/kubernetes)) of one node on this machine, over TLS: the seconds from the end of a push to headquarters until the tag is in the city, by way
		of the province, and how many requests (POST, PATCH, PUT of uploads and manifests) each registry was sent for it. An image has three layers, of 24 MB, some 1 MB and 8 MB, and a configuration;
		v2 shares the first two layers with v1. The floor is one POST and one PUT a blob, one PUT the manifest: 9 requests for v1, 5 for v2; a layer of several MB goes in parts (PATCH).

		| image | seconds to the city | requests at the province | at the city |
		|---|---|---|---|
	MD
	for tag in v1 v2; do
		printf '| %s | %s | %s | %s |\n' "$tag" "$(median demo "seconds-$tag" figure)" "$(median demo "requests-$tag-province" figure)" "$(median demo "requests-$tag-city" figure)"
	done
}
