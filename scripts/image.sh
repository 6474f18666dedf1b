#!/usr/bin/env bash
# Makes the container image: the static binary, then an image around it, as the archive target/image/regatta.tar (which
# `docker load`, `podman load`, `skopeo copy docker-archive:` and `ctr images import` read). Nothing is fetched for the image
# itself: it starts from scratch. Its name is localhost/regatta:<version>.

# shellcheck source-path=SCRIPTDIR source=../e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../e2e/lib.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts=$PWD/scripts

LIMIT=40000000
TRIPLE=$(uname -m)-unknown-linux-gnu
OUT=${CARGO_TARGET_DIR:-target}/image

"$scripts/install.sh" rust cc ca-certificates file jq skopeo

say "building the static binary: about 10 min the first time, seconds when nothing changed"
# With a --target of its own, build scripts and procedural macros stay dynamic, as they must.
# The flags go in by the target's own variable: one that the caller set for all builds would take their place.
flags=CARGO_TARGET_$(tr 'a-z-' 'A-Z_' <<<"$TRIPLE")_RUSTFLAGS
env -u RUSTFLAGS "$flags=-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs" cargo build --release --locked --quiet --bin regatta --target "$TRIPLE" --features "${REGATTA_FEATURES:-}"
binary=${CARGO_TARGET_DIR:-target}/$TRIPLE/release/regatta
file -L "$binary" | grep -Eq 'static(ally|-pie) linked' || die "$binary is not static: $(file -L "$binary")"

mkdir -p "$OUT"
context=$(mktemp -d "$OUT/context.XXXXXX")
storage=$(mktemp -d "$OUT/storage.XXXXXX")
trap 'rm -rf "$context" "$storage"' EXIT
install -m 0555 "$binary" "$context/regatta"
install -m 0444 /etc/ssl/certs/ca-certificates.crt "$context/ca-certificates.crt"

version=$(sed -nE '/^\[package\]/,/^\[/s/^version = "(.*)"/\1/p' Cargo.toml)
name=localhost/regatta
revision=$(git rev-parse HEAD 2>/dev/null || printf unknown)

with_docker() {
	docker build --quiet --network none --file Containerfile --build-arg "VERSION=$version" --build-arg "REVISION=$revision" \
		--tag "$name:$version" "$context" >/dev/null
	docker save --output "$OUT/regatta.tar.part" "$name:$version"
}

# A storage of its own beside the result, of the kind that needs no kernel's help: nothing of the user's is touched.
with_buildah() {
	local buildah=(buildah --root "$storage/root" --runroot "$storage/run" --storage-driver vfs)
	"${buildah[@]}" build --quiet --network none --pull=never --format docker --timestamp 0 --file Containerfile \
		--build-arg "VERSION=$version" --build-arg "REVISION=$revision" --tag "$name:$version" "$context" >/dev/null
	rm -f "$OUT/regatta.tar.part"
	"${buildah[@]}" push --quiet "$name:$version" "docker-archive:$OUT/regatta.tar.part:$name:$version"
}

if ! command -v buildah >/dev/null && docker info >/dev/null 2>&1; then
	say "building the image with Docker: seconds"
	with_docker
else
	"$scripts/install.sh" buildah
	say "building the image with buildah, without network: seconds"
	with_buildah
fi

size=$(stat -c %s "$OUT/regatta.tar.part")
[ "$size" -lt "$LIMIT" ] || die "the image has $size bytes; less than $LIMIT were promised"
mv "$OUT/regatta.tar.part" "$OUT/regatta.tar"
# The very program that is in the image, for use outside it.
install -m 0755 "$binary" "$OUT/regatta"
id=$(skopeo inspect --config --raw "docker-archive:$OUT/regatta.tar" | sha256sum | cut -d' ' -f1)
digest=$(skopeo inspect --format '{{.Digest}}' "docker-archive:$OUT/regatta.tar")
say "$OUT/regatta.tar: $name:$version, $((size / 1000000)).$((size / 100000 % 10)) MB, digest $digest, image id sha256:$id"
