//! The distribution specification as a table. Sections are those of distribution-spec 1.1.1 and of its main branch;
//! where the rule is HTTP's, of RFC 9110.

use reqwest::Method;
use serde_json::json;

use crate::protocol_table::{Row, row};
use crate::{protocol_rows_blobs, protocol_rows_manifests};

const GET: Method = Method::GET;
const HEAD: Method = Method::HEAD;
const PUT: Method = Method::PUT;
const POST: Method = Method::POST;
const DELETE: Method = Method::DELETE;

/// All of it, in order.
pub fn rows() -> Vec<Row> {
    [support(), protocol_rows_blobs::rows(), protocol_rows_manifests::rows(), paths()].into_iter().flatten().collect()
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
