# shellcheck shell=bash
# The images that the demo pushes, made on this machine and pushed with skopeo. Sourced by demo.sh.

BASE_BYTES=24000000
OWN_BYTES=8000000

# build_images: two versions in an OCI layout, each of three layers: data that both share, a program, and data of its own. The data is
# random, so that nothing compresses it away; it is made once, and again when the demo begins anew.
build_images() {
	local storage=$DEMO/buildah buildah container tag
	buildah=(buildah --root "$storage/root" --runroot "$storage/run" --storage-driver vfs)
	rm -rf "$DEMO/images" "$storage"
	mkdir -p "$DEMO/images"
	gcc -static -Os -s -Wall -o "$DEMO/program" "$E2E/demo/program.c"
	head -c "$BASE_BYTES" /dev/urandom >"$DEMO/base.bin"
	container=$("${buildah[@]}" from scratch)
	"${buildah[@]}" copy --quiet "$container" "$DEMO/base.bin" /base.bin
	"${buildah[@]}" commit --quiet "$container" base
	container=$("${buildah[@]}" from localhost/base)
	"${buildah[@]}" copy --quiet --chmod 0755 "$container" "$DEMO/program" /program
	"${buildah[@]}" commit --quiet "$container" program
	for tag in v1 v2; do
		head -c "$OWN_BYTES" /dev/urandom >"$DEMO/own.bin"
		container=$("${buildah[@]}" from localhost/program)
		"${buildah[@]}" copy --quiet "$container" "$DEMO/own.bin" /own.bin
		"${buildah[@]}" config --entrypoint "[\"/program\", \"shop/demo:$tag\"]" "$container"
		"${buildah[@]}" commit --quiet "$container" "$tag"
		"${buildah[@]}" push --quiet "localhost/$tag" "oci:$DEMO/images:$tag"
	done
	rm -rf "$storage" "$DEMO"/{base,own}.bin
}

# push TAG: as the developer, to headquarters.
push() {
	skopeo copy --quiet --authfile "$DEMO/developer.json" --dest-cert-dir "$DEMO/trust" "oci:$DEMO/images:$1" "docker://$(host hq)/shop/demo:$1"
}

# pulled_whole SITE TAG: every blob of it comes, and has its digest.
pulled_whole() {
	rm -rf "$DEMO/pulled"
	skopeo copy --quiet --authfile "$DEMO/guest.json" --src-cert-dir "$DEMO/trust" "docker://$(host "$1")/shop/demo:$2" "dir:$DEMO/pulled"
	rm -rf "$DEMO/pulled"
}

# ask SITE USER METHOD PATH [CURL-OPTION...]: over the plain registry API. The password goes by a file, so that no list of processes shows it.
ask() {
	local site=$1 user=$2 method=$3 path=$4
	shift 4
	curl --silent --show-error --max-time 10 --cacert "$DEMO/pki/ca.crt" --config "$DEMO/$user.curl" --request "$method" \
		--header 'Accept: application/vnd.oci.image.manifest.v1+json' --header 'Accept: application/vnd.oci.image.index.v1+json' \
		"$@" "https://$(host "$site")$path"
}

# digest_at SITE TAG: what the registry itself says; nothing where the tag is not there.
digest_at() {
	ask "$1" gustav GET "/v2/shop/demo/manifests/$2" --fail --output /dev/null --write-out '%header{docker-content-digest}' 2>/dev/null
}

has_digest() { [ "$(digest_at "$1" "$2")" = "$3" ]; }

# gone_at SITE TAG: it answers, and says that there is no such tag (which is more than not answering).
gone_at() { [ "$(ask "$1" gustav GET "/v2/shop/demo/manifests/$2" --output /dev/null --write-out '%{http_code}')" = 404 ]; }
