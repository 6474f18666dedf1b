//! The distribution specification as a table. Sections are those of distribution-spec 1.1.1 and of its main branch;
//! where the rule is HTTP's, of RFC 9110.

use reqwest::Method;
use serde_json::{Value, json};

use crate::protocol_table::{Row, Run, row};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const ARTIFACT: &str = "application/vnd.oci.artifact.manifest.v1+json";
const SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
const GET: Method = Method::GET;
const HEAD: Method = Method::HEAD;
const PUT: Method = Method::PUT;
const POST: Method = Method::POST;
const PATCH: Method = Method::PATCH;
const DELETE: Method = Method::DELETE;

fn described(media_type: &str, bytes: &str) -> Value {
    json!({ "mediaType": media_type, "digest": regatta::oci::Digest::sha256(bytes.as_bytes()), "size": bytes.len() })
}

fn image(config: &str, layers: &[&str]) -> Value {
    let layer = |layer: &&str| described("application/vnd.oci.image.layer.v1.tar", layer);
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": described("application/vnd.oci.image.config.v1+json", config),
        "layers": layers.iter().map(layer).collect::<Vec<_>>(),
    })
}

/// What rows send.
pub fn prepare(run: &mut Run<'_>) {
    for (name, text) in [
        ("empty", ""),
        ("digits", "0123456789"),
        ("config", "{}"),
        ("layer", "a layer"),
        ("none", "nowhere"),
        ("other", "another"),
    ] {
        run.content(name, text);
    }
    let plain = image("{}", &["a layer"]);
    // Byte for byte: nobody would write it like this.
    let odd = format!("\n {}\n\n", plain.to_string().replace(',', " ,\t"));
    run.content("odd", odd);
    run.content("image", plain.to_string());
    run.content("no-layers", image("{}", &[]).to_string());
    run.content("missing", image("{}", &["nowhere", "a layer"]).to_string());
    let mut foreign = image("{}", &[]);
    foreign["layers"] = json!([
        described("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "foreign"),
        described("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "non-distributable"),
    ]);
    run.content("foreign", foreign.to_string());
    let mut both = image("{}", &["a layer"]);
    both["manifests"] = json!([]);
    run.content("both", both.to_string());
    let text = plain.to_string();
    let index = |manifests: Vec<Value>| json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
    let inner = index(vec![described(MANIFEST, &text)]);
    run.content("index", inner.to_string());
    run.content("nested", index(vec![described(INDEX, &inner.to_string())]).to_string());
    // BuildKit's cache: an index that lists layers.
    run.content(
        "build-cache",
        index(vec![described("application/vnd.oci.image.layer.v1.tar+gzip", "a layer")]).to_string(),
    );
    run.content("no-children", index(vec![]).to_string());
    let artifact =
        json!({ "mediaType": ARTIFACT, "artifactType": "example/a", "blobs": [described("example/x", "a layer")] });
    run.content("artifact", artifact.to_string());
    let unheard =
        json!({ "mediaType": "application/vnd.example.unheard+json", "layers": [described("example/x", "a layer")] });
    run.content("unheard", unheard.to_string());
    for (name, kind, note) in
        [("sbom", Some("example/sbom"), "1"), ("signature", Some("example/signature"), "2"), ("untyped", None, "3")]
    {
        let mut referrer = image("{}", &[]);
        referrer["subject"] = described(MANIFEST, &text);
        referrer["annotations"] = json!({ "note": note });
        if let Some(kind) = kind {
            referrer["artifactType"] = kind.into();
        }
        run.content(name, referrer.to_string());
    }
    let mut index_of = index(vec![]);
    index_of["subject"] = described(MANIFEST, &text);
    run.content("referring-index", index_of.to_string());
    let mut early = image("{}", &[]);
    early["subject"] = described(MANIFEST, "a manifest that nobody has");
    run.content("early", early.to_string());
    run.content("nobody", "a manifest that nobody has");
    let mut fields = image("{}", &["a layer"]);
    fields["x-custom"] = json!({ "a": [1, 2, { "b": null }] });
    fields["layers"][0]["data"] = "YSBsYXllcg==".into();
    run.content("custom", fields.to_string());
    run.content("schema-1", r#"{"schemaVersion":1,"name":"a","tag":"b","fsLayers":[]}"#);
    run.content("no-json", "{");
    run.content("deep", format!("{{\"schemaVersion\":2,\"x\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000)));
    run.content("too-long", " ".repeat(4 * 1024 * 1024 + 1));
    let mut long = image("{}", &["a layer"]);
    long["annotations"] = json!({ "long": "x".repeat(4 * 1024 * 1024 - 1024) });
    run.content("long", long.to_string());
}

/// All of it, in order.
pub fn rows() -> Vec<Row> {
    [
        support(),
        blobs(),
        chunks(),
        cancelled(),
        ranges(),
        mounts(),
        manifests(),
        refused(),
        tags(),
        referrers(),
        deletes(),
        paths(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn support() -> Vec<Row> {
    let section = "Determining Support";
    vec![
        row(section, "who says who he is learns that this is a registry", GET, "/v2/", 200).for_members().is("{{}}"),
        row(section, "also by HEAD", HEAD, "/v2/", 200).for_members(),
        row(section, "nothing else can be done with it", POST, "/v2/", 405)
            .header("allow", "GET, HEAD")
            .code("UNSUPPORTED"),
        row("extensions/_oci.md", "extensions are listed", GET, "/v2/_oci/ext/discover", 200)
            .for_members()
            .json("/extensions/0/name", || json!("_oci")),
        row("extensions/_oci.md", "also of a repository", GET, "/v2/{project}/app/_oci/ext/discover", 200)
            .json("/extensions/0/endpoints", || json!(["_oci/ext/discover"])),
    ]
}

fn blobs() -> Vec<Row> {
    let (single, post_put, pull) = ("Single POST", "POST then PUT", "Pulling blobs");
    vec![
        row(pull, "a blob that is not there", GET, "/v2/{project}/app/blobs/{digits}", 404).code("BLOB_UNKNOWN"),
        row(single, "a blob in one request", POST, "/v2/{project}/app/blobs/uploads/?digest={digits}", 201)
            .sends("digits")
            .header("location", "/v2/{project}/app/blobs/{digits}")
            .header("docker-content-digest", "{digits}"),
        row(pull, "a blob", GET, "/v2/{project}/app/blobs/{digits}", 200)
            .body_is("digits")
            .header("content-length", "10")
            .header("content-type", "application/octet-stream")
            .header("docker-content-digest", "{digits}")
            .header("etag", "\"{digits}\"")
            .header("accept-ranges", "bytes")
            .header("cache-control", "{cache}, max-age=31536000, immutable"),
        row(pull, "HEAD is GET without the bytes", HEAD, "/v2/{project}/app/blobs/{digits}", 200)
            .is("")
            .header("content-length", "10")
            .header("docker-content-digest", "{digits}")
            .header("etag", "\"{digits}\"")
            .header("cache-control", "{cache}, max-age=31536000, immutable"),
        row(pull, "a blob is never compressed", GET, "/v2/{project}/app/blobs/{digits}", 200)
            .with("accept-encoding", "gzip")
            .no_header("content-encoding")
            .body_is("digits"),
        row("Registry Proxying", "ns is ignored", GET, "/v2/{project}/app/blobs/{digits}?ns=docker.io", 200)
            .no_header("oci-namespace")
            .body_is("digits"),
        row("RFC 9110, 13.1.2", "what a client has is not sent again", GET, "/v2/{project}/app/blobs/{digits}", 304)
            .with("if-none-match", "\"x\", \"{digits}\"")
            .header("etag", "\"{digits}\"")
            .header("cache-control", "{cache}, max-age=31536000, immutable"),
        row("RFC 9110, 13.1.2", "also by HEAD", HEAD, "/v2/{project}/app/blobs/{digits}", 304)
            .with("if-none-match", "*"),
        row("RFC 9110, 13.1.2", "another tag", GET, "/v2/{project}/app/blobs/{digits}", 200)
            .with("if-none-match", "\"x\""),
        row(single, "another digest than the bytes'", POST, "/v2/{project}/app/blobs/uploads/?digest={none}", 400)
            .sends("digits")
            .code("DIGEST_INVALID"),
        row("Pushing blobs", "a digest that is none", POST, "/v2/{project}/app/blobs/uploads/?digest=sha256:x", 400)
            .sends("digits")
            .code("DIGEST_INVALID"),
        row(
            "Pushing blobs",
            "an algorithm that nobody has",
            POST,
            "/v2/{project}/app/blobs/uploads/?digest=md5:00",
            400,
        )
        .sends("digits")
        .code("DIGEST_INVALID"),
        row(single, "by SHA-512", POST, "/v2/{project}/app/blobs/uploads/?digest={digits512}", 201)
            .sends("digits")
            .header("docker-content-digest", "{digits512}"),
        row(pull, "by SHA-512", GET, "/v2/{project}/app/blobs/{digits512}", 200).body_is("digits"),
        row(post_put, "an upload begins", POST, "/v2/{project}/app/blobs/uploads/", 202)
            .header("range", "0-0")
            .saves("at", "location")
            .saves("id", "docker-upload-uuid"),
        row(post_put, "its place is a path", GET, "/v2/{project}/app/blobs/uploads/{id}", 204)
            .for_members()
            .header("location", "{at}"),
        row(post_put, "its bytes", PUT, "{at}?digest={layer}", 201)
            .sends("layer")
            .header("location", "/v2/{project}/app/blobs/{layer}")
            .header("docker-content-digest", "{layer}"),
        row(post_put, "once more, as after a lost answer", PUT, "{at}?digest={layer}", 201).sends("layer"),
        row(post_put, "an empty blob", POST, "/v2/{project}/app/blobs/uploads/", 202).saves("at", "location"),
        row(post_put, "an empty blob", PUT, "{at}?digest={empty}", 201),
        row(post_put, "without a digest", POST, "/v2/{project}/app/blobs/uploads/", 202).saves("at", "location"),
        row(post_put, "without a digest", PUT, "{at}", 400).sends("layer").code("DIGEST_INVALID"),
        row(post_put, "with another digest", PUT, "{at}?digest={none}", 400).sends("layer").code("DIGEST_INVALID"),
        row(
            "Error Codes",
            "an upload that nobody began",
            PUT,
            "/v2/{project}/app/blobs/uploads/{none}?digest={none}",
            404,
        )
        .code("BLOB_UPLOAD_UNKNOWN"),
        row(single, "a config", POST, "/v2/{project}/app/blobs/uploads/?digest={config}", 201).sends("config"),
    ]
}

fn chunks() -> Vec<Row> {
    let section = "Pushing a blob in chunks";
    let begin = |query: &'static str| row(section, "an upload begins", POST, query, 202).saves("at", "location");
    let goes_on = |row: Row, range: &'static str| {
        row.header("range", range).header("location", "{at}").saves("id", "docker-upload-uuid")
    };
    vec![
        begin("/v2/{project}/app/blobs/uploads/"),
        goes_on(
            row(section, "the first chunk", PATCH, "{at}", 202).with("content-range", "0-3").sends_part("digits", 0..4),
            "0-3",
        ),
        goes_on(
            row(section, "one that is ahead", PATCH, "{at}", 416)
                .with("content-range", "5-9")
                .sends_part("digits", 5..10),
            "0-3",
        )
        .code("BLOB_UPLOAD_INVALID")
        .json("/errors/0/detail/offset", || json!(4)),
        goes_on(
            row(section, "one that is there already", PATCH, "{at}", 416)
                .with("content-range", "0-3")
                .sends_part("digits", 0..4),
            "0-3",
        ),
        row(section, "one that is longer than it says", PATCH, "{at}", 400)
            .with("content-range", "4-5")
            .sends_part("digits", 4..10)
            .code("BLOB_UPLOAD_INVALID"),
        row(section, "one of which nobody knows the length, that is longer than it says", PATCH, "{at}", 400)
            .with("content-range", "4-5")
            .sends_chunked("layer")
            .code("SIZE_INVALID"),
        row(section, "a range that is none", PATCH, "{at}", 400).with("content-range", "x").sends_part("digits", 4..10),
        goes_on(row(section, "where it stands", GET, "{at}", 204).for_members(), "0-3"),
        goes_on(
            row(section, "the closing PUT out of order", PUT, "{at}?digest={digits}", 416)
                .with("content-range", "9-9")
                .sends_part("digits", 9..10),
            "0-3",
        ),
        row(section, "the closing PUT that does not fit", PUT, "{at}?digest={digits}", 400)
            .with("content-range", "4-9")
            .sends_part("digits", 4..5),
        goes_on(
            row(section, "the next chunk", PATCH, "{at}", 202).with("content-range", "4-6").sends_part("digits", 4..7),
            "0-6",
        ),
        row(section, "the last one closes", PUT, "{at}?digest={digits}", 201)
            .with("content-range", "7-9")
            .sends_part("digits", 7..10),
        row(section, "what was closed goes on no more", PATCH, "{at}", 416).sends_part("digits", 0..1),
        begin("/v2/{project}/app/blobs/uploads/"),
        row(section, "chunks without a range are appended", PATCH, "{at}", 202)
            .sends_part("digits", 0..5)
            .header("range", "0-4"),
        row(section, "chunks without a length are appended", PATCH, "{at}", 202)
            .sends_chunked("layer")
            .header("range", "0-11"),
        row(section, "cancelled", DELETE, "{at}", 204),
        begin("/v2/{project}/app/blobs/uploads/?digest-algorithm=sha512"),
        row("end-4c", "chunks by SHA-512", PATCH, "{at}", 202).with("content-range", "0-4").sends_part("digits", 0..5),
        row("end-4c", "chunks by SHA-512", PATCH, "{at}", 202).with("content-range", "5-8").sends_part("digits", 5..9),
        row("end-4c", "closed by SHA-512", PUT, "{at}?digest={digits512}", 201).sends_part("digits", 9..10),
        begin("/v2/{project}/app/blobs/uploads/?digest-algorithm=sha512"),
        row("end-4c", "begun for SHA-512", PATCH, "{at}", 202).sends_part("digits", 0..5),
        row("end-4c", "and closed by SHA-256 all the same", PUT, "{at}?digest={digits}", 201)
            .sends_part("digits", 5..10),
        row(
            "end-4c",
            "an algorithm that nobody has",
            POST,
            "/v2/{project}/app/blobs/uploads/?digest-algorithm=md5",
            400,
        )
        .code("DIGEST_INVALID"),
    ]
}

fn cancelled() -> Vec<Row> {
    let section = "Cancel a blob upload";
    vec![
        row(section, "an upload", POST, "/v2/{project}/app/blobs/uploads/", 202).saves("at", "location"),
        row(section, "is cancelled", DELETE, "{at}", 204).is(""),
        row(section, "and gone", GET, "{at}", 404).for_members().code("BLOB_UPLOAD_UNKNOWN"),
        row(section, "for all", PUT, "{at}?digest={digits}", 404).sends("digits").code("BLOB_UPLOAD_UNKNOWN"),
        row(section, "once", DELETE, "{at}", 404).code("BLOB_UPLOAD_UNKNOWN"),
    ]
}

fn ranges() -> Vec<Row> {
    let part = |what, range: &'static str, content_range, text| {
        row("RFC 9110, 14.2", what, GET, "/v2/{project}/app/blobs/{digits}", 206)
            .with("range", range)
            .header("content-range", content_range)
            .header("docker-content-digest", "{digits}")
            .is(text)
    };
    let none = |range| {
        row("RFC 9110, 15.5.17", "nothing lies there", GET, "/v2/{project}/app/blobs/{digits}", 416)
            .with("range", range)
            .header("content-range", "bytes */10")
            .code("RANGE_INVALID")
    };
    let whole = |section, what, range: &'static str| {
        row(section, what, GET, "/v2/{project}/app/blobs/{digits}", 200).with("range", range).body_is("digits")
    };
    let several = "RFC 9110, 14.6";
    vec![
        part("from to", "bytes=2-4", "bytes 2-4/10", "234"),
        part("from", "bytes=8-", "bytes 8-9/10", "89"),
        part("the last", "bytes=-3", "bytes 7-9/10", "789"),
        part("beyond its end", "bytes=8-100", "bytes 8-9/10", "89"),
        part("all of it", "bytes=0-", "bytes 0-9/10", "0123456789"),
        none("bytes=10-"),
        none("bytes=500-0"),
        none("bytes=-0"),
        none("bytes=20-30,40-50"),
        whole("RFC 9110, 14.2", "another unit", "lines=1-2"),
        whole("RFC 9110, 14.2", "what is no range", "bytes=a-b"),
        row("RFC 9110, 14.2", "HEAD has no ranges", HEAD, "/v2/{project}/app/blobs/{digits}", 200).with("range", "bytes=2-4"),
        row("RFC 9110, 14.2", "an empty blob has no part", GET, "/v2/{project}/app/blobs/{empty}", 200)
            .with("range", "bytes=0-5")
            .header("content-length", "0")
            .is(""),
        part("several that touch", "bytes=4-5,2-3", "bytes 2-5/10", "2345"),
        row(several, "several", GET, "/v2/{project}/app/blobs/{digits}", 206)
            .with("range", "bytes=8-8,0-1,-1")
            .no_header("content-range")
            .has("Content-Range: bytes 0-1/10\r\n\r\n01\r\n--")
            .has("Content-Range: bytes 8-9/10\r\n\r\n89\r\n--"),
        row(several, "more than anybody needs", GET, "/v2/{project}/app/blobs/{digits}", 400)
            .with("range", "bytes=0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0")
            .code("RANGE_INVALID"),
        row(several, "one of which is none", GET, "/v2/{project}/app/blobs/{digits}", 400).with("range", "bytes=0-1,x-y").code("RANGE_INVALID"),
        part("of this very content", "bytes=2-4", "bytes 2-4/10", "234").with("if-range", "\"{digits}\""),
        whole("RFC 9110, 13.1.5", "of another content", "bytes=2-4").with("if-range", "\"{layer}\""),
        whole("RFC 9110, 13.1.5", "by a weak tag", "bytes=2-4").with("if-range", "W/\"{digits}\""),
        whole("RFC 9110, 13.1.5", "by a date, of which there is none", "bytes=2-4").with("if-range", "Wed, 21 Oct 2015 07:28:00 GMT"),
    ]
}

fn mounts() -> Vec<Row> {
    let section = "Mounting a blob from another repository";
    vec![
        row(
            section,
            "from where it is",
            POST,
            "/v2/{project}/second/blobs/uploads/?mount={digits}&from={project}/app",
            201,
        )
        .header("location", "/v2/{project}/second/blobs/{digits}")
        .header("docker-content-digest", "{digits}"),
        row(section, "it is there then", HEAD, "/v2/{project}/second/blobs/{digits}", 200),
        row(
            section,
            "from where it is not",
            POST,
            "/v2/{project}/second/blobs/uploads/?mount={other}&from={project}/none",
            202,
        )
        .saves("at", "location"),
        row(section, "the upload goes on", PUT, "{at}?digest={other}", 201).sends("other"),
        row(section, "from wherever it is", POST, "/v2/{project}/third/blobs/uploads/?mount={digits}", 201)
            .header("location", "/v2/{project}/third/blobs/{digits}"),
        row(section, "from nowhere", POST, "/v2/{project}/third/blobs/uploads/?mount={none}", 202),
        row(section, "a digest that is none", POST, "/v2/{project}/third/blobs/uploads/?mount=x", 400)
            .code("DIGEST_INVALID"),
    ]
}

fn manifests() -> Vec<Row> {
    let (push, pull) = ("Pushing Manifests", "Pulling manifests");
    let put = |what, path, media_type: &'static str, content| {
        row(push, what, PUT, path, 201).with("content-type", media_type).sends(content)
    };
    vec![
        put("by tag", "/v2/{project}/app/manifests/v1", MANIFEST, "image")
            .header("location", "/v2/{project}/app/manifests/{image}")
            .header("docker-content-digest", "{image}")
            .no_header("oci-tag")
            .no_header("oci-subject"),
        put("as it came", "/v2/{project}/app/manifests/odd", MANIFEST, "odd").header("docker-content-digest", "{odd}"),
        row(pull, "as it came, whatever is accepted", GET, "/v2/{project}/app/manifests/odd", 200)
            .with("accept", SCHEMA_1)
            .with("accept-encoding", "gzip")
            .body_is("odd")
            .no_header("content-encoding")
            .header("content-type", MANIFEST)
            .header("content-length", "{odd-length}")
            .header("docker-content-digest", "{odd}")
            .header("etag", "\"{odd}\"")
            .header("cache-control", "{cache}, no-cache"),
        row(pull, "by digest", GET, "/v2/{project}/app/manifests/{odd}", 200)
            .body_is("odd")
            .header("cache-control", "{cache}, max-age=31536000, immutable"),
        row(pull, "HEAD", HEAD, "/v2/{project}/app/manifests/odd", 200)
            .header("content-length", "{odd-length}")
            .header("docker-content-digest", "{odd}")
            .header("content-type", MANIFEST),
        row("RFC 9110, 13.1.2", "what a client has", GET, "/v2/{project}/app/manifests/odd", 304)
            .with("if-none-match", "W/\"{odd}\""),
        row("RFC 9110, 13.1.2", "what a client has", HEAD, "/v2/{project}/app/manifests/odd", 304)
            .with("if-none-match", "\"{odd}\""),
        row(pull, "a tag that is not", GET, "/v2/{project}/app/manifests/none", 404).code("MANIFEST_UNKNOWN"),
        row(pull, "a digest that is not", GET, "/v2/{project}/app/manifests/{none}", 404).code("MANIFEST_UNKNOWN"),
        row(pull, "a digest that is none", GET, "/v2/{project}/app/manifests/sha256:x", 400).code("DIGEST_INVALID"),
        row(pull, "a repository that is not", GET, "/v2/{project}/never/manifests/v1", 404).code("MANIFEST_UNKNOWN"),
        put("by digest", "/v2/{project}/app/manifests/{no-layers}", MANIFEST, "no-layers"),
        put("by SHA-512", "/v2/{project}/app/manifests/{image512}", MANIFEST, "image")
            .header("docker-content-digest", "{image512}"),
        row(pull, "by SHA-512", GET, "/v2/{project}/app/manifests/{image512}", 200).body_is("image"),
        put(
            "parameters of the type are ignored",
            "/v2/{project}/app/manifests/v1",
            "application/vnd.oci.image.manifest.v1+json; charset=utf-8",
            "image",
        ),
        put("an index", "/v2/{project}/app/manifests/index", INDEX, "index"),
        put("an index of indexes", "/v2/{project}/app/manifests/nested", INDEX, "nested"),
        put("an index of nothing", "/v2/{project}/app/manifests/no-children", INDEX, "no-children"),
        put(
            "an index that lists layers, as BuildKit's cache",
            "/v2/{project}/app/manifests/cache",
            INDEX,
            "build-cache",
        ),
        put("layers that registries need not have", "/v2/{project}/app/manifests/foreign", MANIFEST, "foreign"),
        put("an artifact manifest", "/v2/{project}/app/manifests/artifact", ARTIFACT, "artifact"),
        put(
            "a type that nobody has heard of",
            "/v2/{project}/app/manifests/unheard",
            "application/vnd.example.unheard+json",
            "unheard",
        ),
        row(pull, "is served with it", GET, "/v2/{project}/app/manifests/unheard", 200)
            .header("content-type", "application/vnd.example.unheard+json")
            .body_is("unheard"),
        put("data and fields of one's own", "/v2/{project}/app/manifests/custom", MANIFEST, "custom"),
        row(pull, "are kept", GET, "/v2/{project}/app/manifests/custom", 200).body_is("custom"),
        put("one of 4 MiB", "/v2/{project}/app/manifests/long", MANIFEST, "long"),
        row(pull, "one of 4 MiB", GET, "/v2/{project}/app/manifests/long", 200).body_is("long"),
        row(
            "end-7b",
            "by digest with tags",
            PUT,
            "/v2/{project}/app/manifests/{image}?tag=1.2.3&tag=1.2&tag=1&tag=1",
            201,
        )
        .with("content-type", MANIFEST)
        .sends("image")
        .header("oci-tag", "1.2.3, 1.2, 1"),
        row("end-7b", "are set", HEAD, "/v2/{project}/app/manifests/1.2", 200)
            .header("docker-content-digest", "{image}"),
        row("end-7b", "by SHA-512 with tags", PUT, "/v2/{project}/app/manifests/{image512}?tag=strong", 201)
            .with("content-type", MANIFEST)
            .sends("image")
            .header("oci-tag", "strong"),
        row("end-7b", "by SHA-512 with tags", HEAD, "/v2/{project}/app/manifests/strong", 200)
            .header("docker-content-digest", "{image512}"),
        row("end-7b", "a tag that is none", PUT, "/v2/{project}/app/manifests/{image}?tag=good&tag=.bad", 400)
            .with("content-type", MANIFEST)
            .sends("image")
            .code("TAG_INVALID"),
        row("end-7b", "sets none", GET, "/v2/{project}/app/manifests/good", 404),
    ]
}

fn refused() -> Vec<Row> {
    let section = "Pushing Manifests";
    let refuse = |what, media_type: &'static str, content, code| {
        row(section, what, PUT, "/v2/{project}/app/manifests/refused", 400)
            .with("content-type", media_type)
            .sends(content)
            .code(code)
    };
    vec![
        refuse("names what is missing", MANIFEST, "missing", "MANIFEST_BLOB_UNKNOWN").has("{none}"),
        refuse("no JSON", MANIFEST, "no-json", "MANIFEST_INVALID"),
        refuse("both image and index (CVE-2021-41190)", MANIFEST, "both", "MANIFEST_INVALID"),
        refuse("another type than its own (CVE-2021-41190)", INDEX, "image", "MANIFEST_INVALID"),
        refuse("Docker's schema 1, by its type", SCHEMA_1, "schema-1", "MANIFEST_INVALID").has("schema 1"),
        refuse("Docker's schema 1, by its version", MANIFEST, "schema-1", "MANIFEST_INVALID").has("schema 1"),
        refuse("nested without end", MANIFEST, "deep", "MANIFEST_INVALID"),
        row(section, "more than 4 MiB", PUT, "/v2/{project}/app/manifests/refused", 413)
            .with("content-type", MANIFEST)
            .sends("too-long")
            .code("MANIFEST_INVALID"),
        row(section, "another digest", PUT, "/v2/{project}/app/manifests/{none}", 400)
            .with("content-type", MANIFEST)
            .sends("image")
            .code("DIGEST_INVALID"),
        row(section, "a tag that is none", PUT, "/v2/{project}/app/manifests/.bad", 400)
            .with("content-type", MANIFEST)
            .sends("image")
            .code("TAG_INVALID"),
        row(section, "nothing of it is there", GET, "/v2/{project}/app/manifests/refused", 404),
    ]
}

fn tags() -> Vec<Row> {
    let section = "Listing Tags";
    vec![
        row(section, "a repository that is not", GET, "/v2/{project}/never/tags/list", 404).code("NAME_UNKNOWN"),
        row(section, "in lexical order", GET, "/v2/{project}/app/tags/list", 200)
            .header("content-type", "application/json")
            .header("vary", "Accept-Encoding")
            .no_header("link")
            .json("/tags", || {
                json!([
                    "1",
                    "1.2",
                    "1.2.3",
                    "artifact",
                    "cache",
                    "custom",
                    "foreign",
                    "index",
                    "long",
                    "nested",
                    "no-children",
                    "odd",
                    "strong",
                    "unheard",
                    "v1"
                ])
            }),
        row(section, "some", GET, "/v2/{project}/app/tags/list?n=2", 200)
            .header("link", "</v2/{project}/app/tags/list?n=2&last=1.2>; rel=\"next\"")
            .json("/tags", || json!(["1", "1.2"])),
        row(section, "after one", GET, "/v2/{project}/app/tags/list?n=2&last=nested", 200)
            .json("/tags", || json!(["no-children", "odd"])),
        row(section, "after one that is not there", GET, "/v2/{project}/app/tags/list?last=ux", 200)
            .json("/tags", || json!(["v1"])),
        row(section, "the last page", GET, "/v2/{project}/app/tags/list?n=2&last=strong", 200)
            .no_header("link")
            .json("/tags", || json!(["unheard", "v1"])),
        row(section, "none", GET, "/v2/{project}/app/tags/list?n=0", 200).no_header("link").json("/tags", || json!([])),
        row(
            "CVE-2017-11468",
            "more than there are numbers",
            GET,
            "/v2/{project}/app/tags/list?n=18446744073709551615",
            200,
        ),
        row(section, "no number", GET, "/v2/{project}/app/tags/list?n=-1", 400).code("PAGINATION_NUMBER_INVALID"),
        row("RFC 9110, 12.5.3", "compressed for who takes that", GET, "/v2/{project}/app/tags/list", 200)
            .with("accept-encoding", "br, gzip;q=0.5")
            .header("content-encoding", "gzip")
            .header("vary", "Accept-Encoding"),
        row("RFC 9110, 12.5.3", "and for nobody else", GET, "/v2/{project}/app/tags/list", 200)
            .with("accept-encoding", "gzip;q=0")
            .no_header("content-encoding")
            .header("vary", "Accept-Encoding"),
        row("end-8 of Docker", "the catalog", GET, "/v2/_catalog", 200)
            .for_members()
            .header("vary", "Accept-Encoding")
            .has("{project}/app"),
        row("end-8 of Docker", "none of the catalog", GET, "/v2/_catalog?n=0", 200)
            .for_members()
            .no_header("link")
            .is("{{\"repositories\":[]}}"),
    ]
}

fn referrers() -> Vec<Row> {
    let (push, list) = ("Pushing Manifests with Subject", "Listing Referrers");
    let put = |content, path| {
        row(push, "a referrer", PUT, path, 201)
            .with("content-type", MANIFEST)
            .sends(content)
            .header("oci-subject", "{image}")
    };
    let listed =
        |what, path| row(list, what, GET, path, 200).header("content-type", INDEX).header("vary", "Accept-Encoding");
    vec![
        listed("nobody refers", "/v2/{project}/app/referrers/{image}")
            .json("/manifests", || json!([]))
            .no_header("oci-filters-applied"),
        listed("in a repository that is not", "/v2/{project}/never/referrers/{image}").json("/manifests", || json!([])),
        put("sbom", "/v2/{project}/app/manifests/{sbom}"),
        put("signature", "/v2/{project}/app/manifests/{signature}"),
        put("untyped", "/v2/{project}/app/manifests/{untyped}"),
        row(push, "an index refers", PUT, "/v2/{project}/app/manifests/{referring-index}", 201)
            .with("content-type", INDEX)
            .sends("referring-index")
            .header("oci-subject", "{image}"),
        row(push, "to what is not there yet", PUT, "/v2/{project}/app/manifests/{early}", 201)
            .with("content-type", MANIFEST)
            .sends("early")
            .header("oci-subject", "{nobody}"),
        listed("of what is not there", "/v2/{project}/app/referrers/{nobody}").has("{early}"),
        listed("with their types and annotations", "/v2/{project}/app/referrers/{image}")
            .has("{sbom}")
            .has("{signature}")
            .has("{untyped}")
            .has("{referring-index}")
            .has("\"artifactType\":\"application/vnd.oci.image.config.v1+json\"")
            .has("\"annotations\":{{\"note\":\"1\"}}"),
        listed("of one type", "/v2/{project}/app/referrers/{image}?artifactType=example/sbom")
            .header("oci-filters-applied", "artifactType")
            .json("/manifests/0/artifactType", || json!("example/sbom"))
            .json("/manifests/0/annotations/note", || json!("1"))
            .has("{sbom}"),
        listed("of no such type", "/v2/{project}/app/referrers/{image}?artifactType=example/none")
            .header("oci-filters-applied", "artifactType")
            .json("/manifests", || json!([])),
        listed("none", "/v2/{project}/app/referrers/{image}?n=0").no_header("link").json("/manifests", || json!([])),
        row(list, "a digest that is none", GET, "/v2/{project}/app/referrers/sha256:x", 400).code("DIGEST_INVALID"),
        row(list, "a tag is no digest", GET, "/v2/{project}/app/referrers/v1", 400).code("DIGEST_INVALID"),
    ]
}

fn deletes() -> Vec<Row> {
    let (tag, manifest, blob) = ("Deleting tags", "Deleting Manifests", "Deleting Blobs");
    vec![
        row(tag, "a tag", DELETE, "/v2/{project}/app/manifests/1.2", 202),
        row(tag, "is gone", GET, "/v2/{project}/app/manifests/1.2", 404).code("MANIFEST_UNKNOWN"),
        row(tag, "what it named is not", GET, "/v2/{project}/app/manifests/{image}", 200),
        row(tag, "once", DELETE, "/v2/{project}/app/manifests/1.2", 404).code("MANIFEST_UNKNOWN"),
        row(manifest, "a referrer", DELETE, "/v2/{project}/app/manifests/{sbom}", 202),
        row(manifest, "refers no more", GET, "/v2/{project}/app/referrers/{image}?artifactType=example/sbom", 200)
            .json("/manifests", || json!([])),
        row(manifest, "a manifest", DELETE, "/v2/{project}/app/manifests/{image}", 202),
        row(manifest, "its tags go with it", GET, "/v2/{project}/app/manifests/1.2.3", 404).code("MANIFEST_UNKNOWN"),
        row(manifest, "its tags go with it", GET, "/v2/{project}/app/manifests/v1", 404),
        row(manifest, "it is gone", HEAD, "/v2/{project}/app/manifests/{image}", 404),
        row(manifest, "those that refer to it are not", GET, "/v2/{project}/app/referrers/{image}", 200)
            .has("{signature}"),
        row(manifest, "once", DELETE, "/v2/{project}/app/manifests/{image}", 404).code("MANIFEST_UNKNOWN"),
        row(manifest, "in a repository that is not", DELETE, "/v2/{project}/never/manifests/{image}", 404),
        row(blob, "a blob", DELETE, "/v2/{project}/app/blobs/{digits}", 202),
        row(blob, "is gone", GET, "/v2/{project}/app/blobs/{digits}", 404).code("BLOB_UNKNOWN"),
        row(blob, "from this repository only", GET, "/v2/{project}/second/blobs/{digits}", 200).body_is("digits"),
        row(blob, "once", DELETE, "/v2/{project}/app/blobs/{digits}", 404).code("BLOB_UNKNOWN"),
        row(blob, "may come again", POST, "/v2/{project}/app/blobs/uploads/?digest={digits}", 201).sends("digits"),
        row(blob, "may come again", GET, "/v2/{project}/app/blobs/{digits}", 200).body_is("digits"),
    ]
}

fn paths() -> Vec<Row> {
    let section = "Endpoints";
    let wrong = |method, path, allow| {
        row(section, "another method", method, path, 405).header("allow", allow).code("UNSUPPORTED")
    };
    vec![
        wrong(POST, "/v2/{project}/app/tags/list", "GET, HEAD"),
        wrong(DELETE, "/v2/{project}/app/referrers/{image}", "GET, HEAD"),
        wrong(PUT, "/v2/{project}/app/blobs/{digits}", "GET, HEAD, DELETE"),
        wrong(POST, "/v2/{project}/app/manifests/v1", "GET, HEAD, PUT, DELETE"),
        wrong(PUT, "/v2/{project}/app/blobs/uploads/", "POST"),
        wrong(PUT, "/v2/_catalog", "GET, HEAD"),
        row(section, "no such path", GET, "/v2/{project}/app/nothing/here", 404).code("UNSUPPORTED"),
        row("Error Codes", "a name that is none", GET, "/v2/{project}/APP/tags/list", 400).code("NAME_INVALID"),
    ]
}
