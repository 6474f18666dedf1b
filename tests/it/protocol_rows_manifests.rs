//! Rows of the distribution specification about manifests: put, pulled, refused, listed by tag and by subject, deleted.

use reqwest::Method;
use serde_json::json;

use crate::protocol_contents::{ARTIFACT, INDEX, MANIFEST, SCHEMA_1};
use crate::protocol_table::{Row, row};

const GET: Method = Method::GET;
const HEAD: Method = Method::HEAD;
const PUT: Method = Method::PUT;
const POST: Method = Method::POST;
const DELETE: Method = Method::DELETE;

const PUSH: &str = "Pushing Manifests";
const PULL: &str = "Pulling manifests";

/// All of them, in order.
pub fn rows() -> Vec<Row> {
    [put_and_pulled(), kinds(), with_tags(), refused(), tags(), compressed(), referrers(), deletes()]
        .into_iter()
        .flatten()
        .collect()
}

fn put(what: &'static str, path: &'static str, media_type: &'static str, content: &'static str) -> Row {
    row(PUSH, what, PUT, path, 201).with("content-type", media_type).sends(content)
}

fn put_and_pulled() -> Vec<Row> {
    let pull = PULL;
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
            .header("cache-control", "{cache}, no-cache")
            .header("x-content-type-options", "nosniff"),
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
            .with("if-none-match", "\"{odd}\"")
            .no_header("content-length"),
        row(pull, "a tag that is not", GET, "/v2/{project}/app/manifests/none", 404).code("MANIFEST_UNKNOWN"),
        row(pull, "a digest that is not", GET, "/v2/{project}/app/manifests/{none}", 404).code("MANIFEST_UNKNOWN"),
        row(pull, "a digest that is none", GET, "/v2/{project}/app/manifests/sha256:x", 400).code("DIGEST_INVALID"),
        row(pull, "a repository that is not", GET, "/v2/{project}/never/manifests/v1", 404).code("MANIFEST_UNKNOWN"),
        put("by digest", "/v2/{project}/app/manifests/{no-layers}", MANIFEST, "no-layers"),
        put("by SHA-512", "/v2/{project}/app/manifests/{image512}", MANIFEST, "image")
            .header("docker-content-digest", "{image512}"),
        row(pull, "by SHA-512", GET, "/v2/{project}/app/manifests/{image512}", 200).body_is("image"),
    ]
}

/// Manifests of all kinds are taken, and served as what they are.
fn kinds() -> Vec<Row> {
    let pull = PULL;
    vec![
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
        put("a type that browsers show", "/v2/{project}/app/manifests/page", "text/html", "page"),
        row(pull, "runs nothing there", GET, "/v2/{project}/app/manifests/page", 200)
            .header("content-type", "text/html")
            .header("x-content-type-options", "nosniff")
            .header("content-security-policy", "default-src 'none'; sandbox")
            .body_is("page"),
        put("data and fields of one's own", "/v2/{project}/app/manifests/custom", MANIFEST, "custom"),
        row(pull, "are kept", GET, "/v2/{project}/app/manifests/custom", 200).body_is("custom"),
        put("an annotation that is null", "/v2/{project}/app/manifests/null", MANIFEST, "null annotation"),
        put("foreign layers in an index", "/v2/{project}/app/manifests/foreign.child", INDEX, "foreign-child"),
        put("one of 4 MiB", "/v2/{project}/app/manifests/long", MANIFEST, "long"),
        row(pull, "one of 4 MiB", GET, "/v2/{project}/app/manifests/long", 200).body_is("long"),
    ]
}

fn with_tags() -> Vec<Row> {
    vec![
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
        row("end-7b", "tags beside a tag", PUT, "/v2/{project}/app/manifests/v1?tag=other", 400)
            .with("content-type", MANIFEST)
            .sends("image"),
        row("end-7b", "a tag that is none", PUT, "/v2/{project}/app/manifests/{image}?tag=good&tag=.bad", 400)
            .with("content-type", MANIFEST)
            .sends("image")
            .code("MANIFEST_INVALID"),
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
        refuse("both, by a key in another case (CVE-2021-41190)", MANIFEST, "almost both", "MANIFEST_INVALID")
            .has("Manifests"),
        refuse("another type than its own (CVE-2021-41190)", INDEX, "image", "MANIFEST_INVALID"),
        refuse("Docker's schema 1, by its type", SCHEMA_1, "schema-1", "MANIFEST_INVALID").has("schema 1"),
        refuse("Docker's schema 1, by its version", MANIFEST, "schema-1", "MANIFEST_INVALID").has("schema 1"),
        refuse("Docker's schema 1, as JSON", "application/json", "schema-1", "MANIFEST_INVALID").has("schema 1"),
        refuse("Docker's schema 1, as text", "text/plain", "schema-1", "MANIFEST_INVALID").has("schema 1"),
        refuse("nested without end", MANIFEST, "deep", "MANIFEST_INVALID"),
        row(section, "more than 4 MiB", PUT, "/v2/{project}/app/manifests/refused", 413)
            .with("content-type", MANIFEST)
            .sends("too-long")
            .code("MANIFEST_INVALID"),
        row(section, "another digest", PUT, "/v2/{project}/app/manifests/{none}", 400)
            .with("content-type", MANIFEST)
            .sends("image")
            .code("DIGEST_INVALID"),
        refuse("put only where nothing is (RFC 9110, 13.1)", MANIFEST, "image", "UNSUPPORTED")
            .with("if-none-match", "*")
            .has("if-none-match"),
        row(
            section,
            "deleted only where nobody has moved it (RFC 9110, 13.1)",
            DELETE,
            "/v2/{project}/app/manifests/v1",
            400,
        )
        .with("if-match", "\"{none}\"")
        .code("UNSUPPORTED"),
        row(section, "a tag that is none", PUT, "/v2/{project}/app/manifests/.bad", 400)
            .with("content-type", MANIFEST)
            .sends("image")
            .code("MANIFEST_INVALID"),
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
            .header("cache-control", "{cache}, no-cache")
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
                    "foreign.child",
                    "index",
                    "long",
                    "nested",
                    "no-children",
                    "null",
                    "odd",
                    "page",
                    "strong",
                    "unheard",
                    "v1"
                ])
            }),
        row(section, "some", GET, "/v2/{project}/app/tags/list?n=2", 200)
            .header("link", "</v2/{project}/app/tags/list?n=2&last=1.2>; rel=\"next\"")
            .json("/tags", || json!(["1", "1.2"])),
        row(section, "after one", GET, "/v2/{project}/app/tags/list?n=2&last=nested", 200)
            .json("/tags", || json!(["no-children", "null"])),
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
        row(section, "no number", GET, "/v2/{project}/app/tags/list?n=-1", 400).code("UNSUPPORTED"),
    ]
}

/// Lists for who takes them compressed, and of repositories.
fn compressed() -> Vec<Row> {
    vec![
        row("RFC 9110, 12.5.3", "compressed for who takes that", GET, "/v2/{project}/app/tags/list", 200)
            .with("accept-encoding", "br, gzip;q=0.5")
            .header("content-encoding", "gzip")
            .header("vary", "Accept-Encoding"),
        row("RFC 9110, 12.5.3", "and for nobody else", GET, "/v2/{project}/app/tags/list", 200)
            .with("accept-encoding", "gzip;q=0")
            .no_header("content-encoding")
            .header("vary", "Accept-Encoding"),
        row("end-8 of Docker", "the catalog", GET, "/v2/_catalog", 200)
            .header("cache-control", "private, no-cache")
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
            .header("cache-control", "{cache}, no-cache")
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
        listed(
            "of a type with a plus that nobody encoded",
            "/v2/{project}/app/referrers/{image}?artifactType=application/vnd.oci.image.config.v1+json",
        )
        .header("oci-filters-applied", "artifactType")
        .has("{untyped}"),
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
