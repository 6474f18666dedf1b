//! What requests mean, as each service's reference has it.

use http::Method;
use percent_encoding::percent_decode_str;

use super::{Action, Asked, Dialect, parts};

/// What a request means, by the service's reference; none for what is not in it.
pub(super) fn understand(dialect: Dialect, host: &str, asked: &Asked) -> Option<Action> {
    match dialect {
        Dialect::Gcs => gcs(asked),
        Dialect::Azure => azure(asked),
        Dialect::Oss | Dialect::Cos | Dialect::Obs => like_s3(dialect, host, asked),
        Dialect::Swift => swift(asked),
    }
}

/// Cloud Storage JSON API, version 1.
fn gcs(asked: &Asked) -> Option<Action> {
    assert_eq!(asked.host, "storage.example.test");
    let if_new = asked.query("ifGenerationMatch") == Some("0");
    if asked.path == "/upload/storage/v1/b/images/o" {
        let begins = asked.query("uploadType") == Some("resumable") && asked.method == Method::POST;
        let put = Action::Put { key: asked.query("name")?.to_owned(), if_new, body: asked.body.clone() };
        return Some(if begins { Action::BeginResumable } else { put });
    }
    if let Some(key) = asked.path.strip_prefix("/images/") {
        return parts::understand(asked, key, false);
    }
    let rest = asked.path.strip_prefix("/storage/v1/b/images/o")?;
    let Some(rest) = rest.strip_prefix('/') else {
        let after = asked.query("pageToken").or(asked.query("startOffset")).unwrap_or_default().to_owned();
        let inclusive = asked.query("pageToken").is_none();
        let limit = asked.query("maxResults").map(|limit| limit.parse().unwrap());
        return Some(Action::List {
            prefix: asked.query("prefix")?.to_owned(),
            limit,
            after,
            inclusive,
            rolled_up: rolled_up(asked),
        });
    };
    if let Some((from, to)) = rest.split_once("/rewriteTo/b/images/o/") {
        assert_eq!(asked.method, Method::POST);
        return Some(Action::Copy { from: from.to_owned(), to: to.to_owned(), if_new });
    }
    match asked.method {
        Method::GET if asked.query("alt") == Some("media") => Some(Action::Get(rest.to_owned())),
        Method::GET => Some(Action::Head(rest.to_owned())),
        Method::DELETE => Some(Action::Delete(rest.to_owned())),
        _ => None,
    }
}

/// Blob Service REST API.
fn azure(asked: &Asked) -> Option<Action> {
    assert_eq!(asked.host, "account.blob.example.test");
    assert!(asked.header("authorization").starts_with("SharedKey account:"), "{asked:?}");
    assert!(!asked.header("x-ms-version").is_empty());
    let if_new = asked.header("if-none-match") == "*";
    let rest = asked.path.strip_prefix("/images")?;
    let Some(key) = rest.strip_prefix('/').map(str::to_owned) else {
        assert_eq!((asked.query("restype"), asked.query("comp")), (Some("container"), Some("list")));
        let limit = asked.query("maxresults").map(|limit| limit.parse().unwrap());
        let after = asked.query("marker").unwrap_or_default().to_owned();
        return Some(Action::List {
            prefix: asked.query("prefix")?.to_owned(),
            limit,
            after,
            inclusive: false,
            rolled_up: rolled_up(asked),
        });
    };
    match asked.method {
        Method::PUT if !asked.header("x-ms-copy-source").is_empty() => {
            let (_, from) = asked.header("x-ms-copy-source").split_once("/images/")?;
            Some(Action::Copy { from: percent_decode_str(from).decode_utf8().unwrap().into(), to: key, if_new })
        }
        Method::PUT => {
            assert_eq!(asked.header("x-ms-blob-type"), "BlockBlob");
            Some(Action::Put { key, if_new, body: asked.body.clone() })
        }
        _ => plain(asked, key),
    }
}

/// OSS, COS and OBS: the bucket is in the host name, and each has headers of its own.
fn like_s3(dialect: Dialect, host: &str, asked: &Asked) -> Option<Action> {
    let vendor = match dialect {
        Dialect::Oss => "oss",
        Dialect::Cos => "cos",
        _ => "obs",
    };
    assert_eq!(asked.host, host);
    assert!(!asked.header("authorization").is_empty(), "{asked:?}");
    let key = asked.path.trim_start_matches('/').to_owned();
    if key.is_empty() {
        let token = asked.query("continuation-token").or(asked.query("marker"));
        let after = token.or(asked.query("start-after")).unwrap_or_default().to_owned();
        let limit = asked.query("max-keys").map(|limit| limit.parse().unwrap());
        return Some(Action::List {
            prefix: asked.query("prefix")?.to_owned(),
            limit,
            after,
            inclusive: false,
            rolled_up: rolled_up(asked),
        });
    }
    let if_new = asked.header(&format!("x-{vendor}-forbid-overwrite")) == "true";
    if asked.query("uploads").is_some() || asked.query("uploadId").is_some() {
        return parts::understand(asked, &key, if_new);
    }
    let source = asked.header(&format!("x-{vendor}-copy-source"));
    match asked.method {
        Method::PUT if !source.is_empty() => {
            let source = percent_decode_str(source).decode_utf8().unwrap();
            let from = source.trim_start_matches('/').split_once('/')?.1.to_owned();
            Some(Action::Copy { from, to: key, if_new })
        }
        Method::PUT => Some(Action::Put { key, if_new, body: asked.body.clone() }),
        _ => plain(asked, key),
    }
}

/// Object Store API, version 1.
fn swift(asked: &Asked) -> Option<Action> {
    assert_eq!(asked.host, "swift.example.test");
    assert_eq!(asked.header("x-auth-token"), "made-by-keystone");
    let key = asked.path.strip_prefix("/v1/AUTH_project/images/")?.to_owned();
    if key.is_empty() {
        assert_eq!(asked.query("format"), Some("json"));
        let limit = asked.query("limit").map(|limit| limit.parse().unwrap());
        let after = asked.query("marker").unwrap_or_default().to_owned();
        return Some(Action::List {
            prefix: asked.query("prefix")?.to_owned(),
            limit,
            after,
            inclusive: false,
            rolled_up: rolled_up(asked),
        });
    }
    match (&asked.method, asked.query("multipart-manifest")) {
        (&Method::PUT, Some("put")) => return Some(Action::Assemble { key, list: asked.body.clone() }),
        (&Method::DELETE, Some("delete")) => return Some(Action::DeleteLarge(key)),
        _ => {}
    }
    let source = asked.header("x-copy-from");
    match asked.method {
        Method::PUT if !source.is_empty() => {
            let from = source.trim_start_matches('/').strip_prefix("images/")?;
            Some(Action::Copy { from: percent_decode_str(from).decode_utf8().unwrap().into(), to: key, if_new: false })
        }
        Method::PUT => Some(Action::Put { key, if_new: false, body: asked.body.clone() }),
        _ => plain(asked, key),
    }
}

fn rolled_up(asked: &Asked) -> bool {
    asked.query("delimiter").is_some_and(|delimiter| !delimiter.is_empty())
}

fn plain(asked: &Asked, key: String) -> Option<Action> {
    match asked.method {
        Method::GET => Some(Action::Get(key)),
        Method::HEAD => Some(Action::Head(key)),
        Method::DELETE => Some(Action::Delete(key)),
        _ => None,
    }
}
