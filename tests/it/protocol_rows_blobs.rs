//! Rows of the distribution specification about blobs: pushed whole and in chunks, pulled whole and in parts, mounted.

use reqwest::Method;
use serde_json::json;

use crate::protocol_table::{Row, row};

const GET: Method = Method::GET;
const HEAD: Method = Method::HEAD;
const PUT: Method = Method::PUT;
const POST: Method = Method::POST;
const PATCH: Method = Method::PATCH;
const DELETE: Method = Method::DELETE;

const CHUNKS: &str = "Pushing a blob in chunks";

/// All of them, in order.
pub fn rows() -> Vec<Row> {
    [whole(), refused(), opened(), chunks(), appended(), cancelled(), ranges(), mounts()]
        .into_iter()
        .flatten()
        .collect()
}

fn whole() -> Vec<Row> {
    let (single, pull) = ("Single POST", "Pulling blobs");
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
            .with("if-none-match", "*")
            .no_header("content-length"),
        row("RFC 9110, 13.1.2", "another tag", GET, "/v2/{project}/app/blobs/{digits}", 200)
            .with("if-none-match", "\"x\""),
        row(single, "a config", POST, "/v2/{project}/app/blobs/uploads/?digest={config}", 201).sends("config"),
    ]
}

fn refused() -> Vec<Row> {
    let (single, pull) = ("Single POST", "Pulling blobs");
    vec![
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
    ]
}

/// An upload that is begun, and closed with all of its bytes.
fn opened() -> Vec<Row> {
    let post_put = "POST then PUT";
    vec![
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
    ]
}

fn begin(query: &'static str) -> Row {
    row(CHUNKS, "an upload begins", POST, query, 202).saves("at", "location")
}

fn chunks() -> Vec<Row> {
    let section = CHUNKS;
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
        row(section, "what was closed goes on no more", PATCH, "{at}", 404).sends_part("digits", 0..1),
        row(section, "nor is it asked for", GET, "{at}", 404).for_members(),
        row(section, "nor cancelled", DELETE, "{at}", 404),
        row(section, "nor closed as something else", PUT, "{at}?digest={none}", 404),
        row(section, "who closes it again is told that it is there", PUT, "{at}?digest={digits}", 201),
    ]
}

/// Chunks that do not say where they belong, or whose upload is by another algorithm.
fn appended() -> Vec<Row> {
    let section = CHUNKS;
    vec![
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
            .code("SIZE_INVALID")
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
            .code("SIZE_INVALID"),
        row(several, "one of which is none", GET, "/v2/{project}/app/blobs/{digits}", 400).with("range", "bytes=0-1,x-y").code("SIZE_INVALID"),
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
