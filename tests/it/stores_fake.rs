//! Object stores that cannot run here, each as far as its vendor's reference says how it is spoken to: a few hundred lines
//! that keep objects in memory, refuse what they were told to refuse, and write down what they were asked.

#[path = "stores_fake_answers.rs"]
mod answers;
#[path = "stores_fake_lists.rs"]
mod lists;
#[path = "stores_fake_parts.rs"]
mod parts;
#[path = "stores_fake_requests.rs"]
mod requests;

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

use crate::stores_exchanges::Exchange;

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
        /// Up to the next `/` only.
        rolled_up: bool,
    },
}

#[derive(Default)]
struct State {
    /// The host of the bucket, where that has one of its own.
    host: String,
    objects: BTreeMap<String, Bytes>,
    asked: Vec<Asked>,
    uploads: parts::Uploads,
    /// Swift's objects that are others, by name.
    large: BTreeMap<String, Vec<String>>,
    /// How long pages are at most, where they are longer than [`PAGE`].
    page: Option<usize>,
    /// Whether a condition is forgotten.
    careless: bool,
    /// Whether the next request that is answered before it is carried out comes to nothing.
    fails_late: bool,
    /// What is played, rather than answered as the reference says.
    exchanges: Vec<Exchange>,
    /// Where requests were others than those that were published.
    differences: Vec<String>,
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
        let host = match dialect {
            Dialect::Oss => "images.oss.example.test",
            Dialect::Cos => "images.cos.example.test",
            _ => "images.example.test",
        };
        Self::start_at(dialect, host).await
    }

    /// Of a bucket whose host this is.
    pub async fn start_at(dialect: Dialect, host: &str) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State { host: host.to_owned(), ..State::default() }));
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

    /// From now on pages are so long.
    pub fn with_pages_of(&self, entries: usize) {
        self.state.lock().unwrap().page = Some(entries);
    }

    /// Puts empty objects there.
    pub fn fill(&self, keys: impl Iterator<Item = String>) {
        self.state.lock().unwrap().objects.extend(keys.map(|key| (key, Bytes::new())));
    }

    /// The next request that is answered before it is carried out (a copy; in Swift the deletion of a large object) comes to
    /// nothing, and only the body of its 200 says so.
    pub fn fail_late(&self) {
        self.state.lock().unwrap().fails_late = true;
    }

    /// Plays these, each once, to the requests that they are about.
    pub fn play(&self, exchanges: Vec<Exchange>) {
        self.state.lock().unwrap().exchanges = exchanges;
    }

    /// Everything was played, and was asked for in the way that was published.
    pub fn assert_played(&self) {
        let state = self.state.lock().unwrap();
        assert!(state.differences.is_empty(), "{:#?}", state.differences);
        let left: Vec<&str> = state.exchanges.iter().map(|exchange| exchange.name.as_str()).collect();
        assert!(left.is_empty(), "nobody asked for {left:?}");
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
    if let Some(at) = state.exchanges.iter().position(|exchange| exchange.is_about(&asked)) {
        let exchange = state.exchanges.remove(at);
        state.differences.extend(exchange.differences(&asked));
        return exchange.answer(&asked);
    }
    if dialect == Dialect::Gcs && asked.host == "oauth2.example.test" {
        let body = json!({"access_token": "made-by-oauth2", "token_type": "Bearer", "expires_in": 3599});
        return answer(200, &[], body.to_string());
    }
    let Some(action) = requests::understand(dialect, &state.host, &asked) else {
        return answer(501, &[], format!("the fake does not know {asked:?}"));
    };
    perform(dialect, &mut state, &asked, action)
}

fn keystone() -> Response<Full<Bytes>> {
    let body = json!({"token": {"expires_at": "2999-01-01T00:00:00.000000Z"}});
    answer(201, &[("x-subject-token", "made-by-keystone")], body.to_string())
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
        Action::List { prefix, limit, after, inclusive, rolled_up } => {
            let most = state.page.unwrap_or(PAGE);
            let limit = limit.unwrap_or(most).min(most);
            let from = lists::From { after: &after, inclusive, after_is_over: dialect == Dialect::Swift };
            let page = lists::page(&state.objects, &prefix, limit, &from, rolled_up);
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
    if std::mem::take(&mut state.fails_late) {
        return answer(
            200,
            &[],
            "<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>",
        );
    }
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
