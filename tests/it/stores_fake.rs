//! Object stores that cannot run here, each as far as its vendor's reference says how it is spoken to: a few hundred lines
//! that keep objects in memory, refuse what they were told to refuse, and write down what they were asked.

#[path = "stores_fake_answers.rs"]
mod answers;
#[path = "stores_fake_lists.rs"]
mod lists;
#[path = "stores_fake_parts.rs"]
mod parts;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use serde_json::json;
use tokio::task::JoinHandle;

use self::answers::{answer, gcs_object, missing, object, refused};

/// Pages are this long at most, so that there are many of them.
const PAGE: usize = 3;

const DATE: &str = "Sat, 21 Nov 2026 12:00:00 GMT";
const ISO_DATE: &str = "2026-11-21T12:00:00.000Z";

/// Which service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Gcs,
    Azure,
    Oss,
    Cos,
    Obs,
    Swift,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: Method,
    pub host: String,
    pub path: String,
    pub query: BTreeMap<String, String>,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Asked {
    /// Method, host and path, decoded.
    pub fn line(&self) -> String {
        format!("{} {}{}", self.method, self.host, self.path)
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    fn query(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }
}

/// What it means.
enum Action {
    Put {
        key: String,
        if_new: bool,
        body: Bytes,
    },
    /// Google's: the next request, to the URL that is answered, has the bytes.
    BeginResumable,
    Copy {
        from: String,
        to: String,
        if_new: bool,
    },
    /// A part of an object, its beginning or its end.
    Multipart(parts::Step),
    /// Swift's: an object that is others one after the other.
    Assemble {
        key: String,
        list: Bytes,
    },
    /// Swift's: such an object with the others.
    DeleteLarge(String),
    Get(String),
    Head(String),
    Delete(String),
    List {
        prefix: String,
        limit: Option<usize>,
        after: String,
        inclusive: bool,
    },
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Bytes>,
    asked: Vec<Asked>,
    uploads: parts::Uploads,
    /// Swift's objects that are others, by name.
    large: BTreeMap<String, Vec<String>>,
    /// Whether a condition is forgotten.
    careless: bool,
}

/// A service, reached as a proxy: whatever host is asked for, it answers.
pub struct Fake {
    address: String,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fake {
    pub async fn start(dialect: Dialect) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let state = Arc::clone(&shared);
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let state = Arc::clone(&state);
                        async move { Ok::<_, Infallible>(serve(dialect, &state, request).await) }
                    });
                    let _ =
                        auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address, state, task }
    }

    /// A client whose every request comes here.
    pub fn client(&self) -> reqwest::Client {
        crate::program::like_main();
        let proxy = reqwest::Proxy::all(&self.address).unwrap();
        reqwest::Client::builder().proxy(proxy).redirect(reqwest::redirect::Policy::none()).build().unwrap()
    }

    /// From now on conditions are forgotten.
    pub fn forget_conditions(&self) {
        self.state.lock().unwrap().careless = true;
    }

    /// What is there, and whether no upload is open.
    pub fn left(&self) -> (Vec<String>, bool) {
        let state = self.state.lock().unwrap();
        (state.objects.keys().cloned().collect(), state.uploads.are_none())
    }

    /// What was asked since the last call.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }
}

async fn serve(dialect: Dialect, state: &Mutex<State>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let decode = |text: &str| percent_decode_str(text).decode_utf8().unwrap().into_owned();
    let pairs = parts.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name), decode(value))
    };
    let asked = Asked {
        method: parts.method,
        host: parts.uri.host().unwrap_or_default().to_owned(),
        path: decode(parts.uri.path()),
        query: pairs.map(pair).collect(),
        headers: parts.headers,
        body: body.collect().await.unwrap().to_bytes(),
    };
    let mut state = state.lock().unwrap();
    state.asked.push(asked.clone());
    if dialect == Dialect::Swift && asked.path == "/v3/auth/tokens" {
        return keystone();
    }
    let Some(action) = understand(dialect, &asked) else {
        return answer(501, &[], format!("the fake does not know {asked:?}"));
    };
    perform(dialect, &mut state, &asked, action)
}

fn keystone() -> Response<Full<Bytes>> {
    let body = json!({"token": {"expires_at": "2999-01-01T00:00:00.000000Z"}});
    answer(201, &[("x-subject-token", "made-by-keystone")], body.to_string())
}

/// What a request means, by the service's reference; none for what is not in it.
fn understand(dialect: Dialect, asked: &Asked) -> Option<Action> {
    match dialect {
        Dialect::Gcs => gcs(asked),
        Dialect::Azure => azure(asked),
        Dialect::Oss | Dialect::Cos | Dialect::Obs => like_s3(dialect, asked),
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
        return Some(Action::List { prefix: asked.query("prefix")?.to_owned(), limit, after, inclusive });
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
        return Some(Action::List { prefix: asked.query("prefix")?.to_owned(), limit, after, inclusive: false });
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
fn like_s3(dialect: Dialect, asked: &Asked) -> Option<Action> {
    let (vendor, host) = match dialect {
        Dialect::Oss => ("oss", "images.oss.example.test"),
        Dialect::Cos => ("cos", "images.cos.example.test"),
        _ => ("obs", "images.example.test"),
    };
    assert_eq!(asked.host, host);
    assert!(!asked.header("authorization").is_empty(), "{asked:?}");
    let key = asked.path.trim_start_matches('/').to_owned();
    if key.is_empty() {
        let token = asked.query("continuation-token").or(asked.query("marker"));
        let after = token.or(asked.query("start-after")).unwrap_or_default().to_owned();
        let limit = asked.query("max-keys").map(|limit| limit.parse().unwrap());
        return Some(Action::List { prefix: asked.query("prefix")?.to_owned(), limit, after, inclusive: false });
    }
    let if_new = asked.header(&format!("x-{vendor}-forbid-overwrite")) == "true";
    if asked.query("uploads").is_some() || asked.query("uploadId").is_some() {
        return parts::understand(asked, &key, if_new);
    }
    let source = asked.header(&format!("x-{vendor}-copy-source"));
    match asked.method {
        Method::PUT if !source.is_empty() => {
            let source = percent_decode_str(source).decode_utf8().unwrap();
            let from = source.split_once("images").and_then(|(_, rest)| rest.split_once('/'))?.1.to_owned();
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
        return Some(Action::List { prefix: asked.query("prefix")?.to_owned(), limit, after, inclusive: false });
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

fn plain(asked: &Asked, key: String) -> Option<Action> {
    match asked.method {
        Method::GET => Some(Action::Get(key)),
        Method::HEAD => Some(Action::Head(key)),
        Method::DELETE => Some(Action::Delete(key)),
        _ => None,
    }
}

fn perform(dialect: Dialect, state: &mut State, asked: &Asked, action: Action) -> Response<Full<Bytes>> {
    match action {
        Action::Put { key, if_new, body } => put(dialect, state, key, if_new, body),
        Action::BeginResumable => begin_resumable(asked),
        Action::Copy { from, to, if_new } => copy(dialect, state, &from, to, if_new),
        Action::Multipart(step) => parts::perform(dialect, state, step),
        Action::Assemble { key, list } => parts::assemble(state, key, &list),
        Action::DeleteLarge(key) => parts::delete_large(state, &key),
        Action::Get(key) => match state.objects.get(&key) {
            None => missing(dialect),
            Some(body) => object(asked, body),
        },
        Action::Head(key) => match state.objects.get(&key) {
            None => missing(dialect),
            Some(body) if dialect == Dialect::Gcs => answer(200, &[], gcs_object(&key, body).to_string()),
            Some(body) => {
                let mut response = object(asked, body);
                if state.large.contains_key(&key) {
                    response.headers_mut().insert("x-static-large-object", "True".parse().unwrap());
                }
                response
            }
        },
        Action::Delete(key) => delete(dialect, state, &key),
        Action::List { prefix, limit, after, inclusive } => {
            let limit = limit.unwrap_or(PAGE).min(PAGE);
            let page = lists::page(&state.objects, &prefix, limit, &after, inclusive, dialect == Dialect::Swift);
            answer(200, &[], lists::listing(dialect, &page))
        }
    }
}

fn put(dialect: Dialect, state: &mut State, key: String, if_new: bool, body: Bytes) -> Response<Full<Bytes>> {
    if if_new && !state.careless && state.objects.contains_key(&key) {
        return refused(dialect);
    }
    let etag = [("etag", "\"made\"")];
    let response = match dialect {
        Dialect::Gcs => answer(200, &[], gcs_object(&key, &body).to_string()),
        Dialect::Azure | Dialect::Swift => answer(201, &etag, ""),
        Dialect::Oss | Dialect::Cos | Dialect::Obs => answer(200, &etag, ""),
    };
    state.objects.insert(key, body);
    response
}

fn begin_resumable(asked: &Asked) -> Response<Full<Bytes>> {
    let encoded = |text: &str| percent_encode(text.as_bytes(), NON_ALPHANUMERIC).to_string();
    let pairs: Vec<String> = asked.query.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    let location = format!("http://{}{}?{}&upload_id=1", asked.host, asked.path, pairs.join("&"));
    answer(200, &[("location", &location)], "")
}

fn copy(dialect: Dialect, state: &mut State, from: &str, to: String, if_new: bool) -> Response<Full<Bytes>> {
    let Some(body) = state.objects.get(from).cloned() else { return missing(dialect) };
    if if_new && !state.careless && state.objects.contains_key(&to) {
        return refused(dialect);
    }
    let response = match dialect {
        Dialect::Gcs => {
            let object = gcs_object(&to, &body);
            let size = object["size"].clone();
            let body = json!({"kind": "storage#rewriteResponse", "done": true, "totalBytesRewritten": size,
                "objectSize": size, "resource": object});
            answer(200, &[], body.to_string())
        }
        Dialect::Azure => answer(202, &[("x-ms-copy-status", "success"), ("etag", "\"made\"")], ""),
        Dialect::Swift => answer(201, &[("etag", "\"made\"")], ""),
        Dialect::Oss | Dialect::Cos | Dialect::Obs => {
            let date = format!("<LastModified>{ISO_DATE}</LastModified>");
            answer(200, &[], format!("<CopyObjectResult><ETag>\"made\"</ETag>{date}</CopyObjectResult>"))
        }
    };
    state.objects.insert(to, body);
    response
}

fn delete(dialect: Dialect, state: &mut State, key: &str) -> Response<Full<Bytes>> {
    let existed = state.objects.remove(key).is_some();
    state.large.remove(key);
    match dialect {
        Dialect::Azure if existed => answer(202, &[], ""),
        Dialect::Gcs | Dialect::Azure | Dialect::Swift if !existed => missing(dialect),
        _ => answer(204, &[], ""),
    }
}
