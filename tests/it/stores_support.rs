//! A real S3 server over a directory, and a proxy before it that fails on command.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use regatta::registry::layout;
use regatta::store::bucket::{Bucket, Patience};
use regatta::store::config::{Credentials, Prefix, S3, Secrets, Service};
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::program::{Program, like_main};

pub const BUCKET: &str = "images";
pub const ACCESS_KEY: &str = "for-tests";
pub const SECRET_KEY: &str = "for-tests-only";

/// A program of e2e/parts.sh, by its target and its name; built where it is not there yet.
pub fn program(target: &'static str, name: &'static str) -> PathBuf {
    static MADE: Mutex<BTreeMap<&str, PathBuf>> = Mutex::new(BTreeMap::new());
    let make = || {
        let parts = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/parts.sh");
        let made = Command::new(&parts).arg(target).status().unwrap();
        assert!(made.success(), "e2e/parts.sh {target}");
        let path = Command::new(&parts).args(["path", name]).output().unwrap().stdout;
        PathBuf::from(String::from_utf8(path).unwrap().trim())
    };
    MADE.lock().unwrap().entry(name).or_insert_with(make).clone()
}

/// An S3 server with one bucket.
pub struct S3Server {
    pub url: String,
    _process: Program,
    root: TempDir,
}

impl S3Server {
    pub async fn start() -> Self {
        Self::start_with("http", |_| {}).await
    }

    /// Over TLS, with a certificate that no public authority signed.
    pub async fn over_tls(certificate: &Path, key: &Path) -> Self {
        let arguments = |command: &mut Command| {
            command.arg("--cert").arg(certificate).arg("--key").arg(key);
        };
        Self::start_with("https", arguments).await
    }

    async fn start_with(scheme: &str, arguments: impl Fn(&mut Command)) -> Self {
        like_main();
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join(BUCKET)).unwrap();
        let (process, [port]) = Program::at_free_ports(|[port]| {
            let mut command = Command::new(program("versitygw", "versitygw"));
            command.args(["--quiet", "--port", &format!("127.0.0.1:{port}")]);
            arguments(&mut command);
            command.arg("posix").arg(root.path());
            command.env("ROOT_ACCESS_KEY", ACCESS_KEY).env("ROOT_SECRET_KEY", SECRET_KEY);
            command
        })
        .await;
        Self { url: format!("{scheme}://127.0.0.1:{port}"), root, _process: process }
    }

    /// Where an object lies on the disk.
    pub fn file(&self, key: &str) -> PathBuf {
        self.root.path().join(BUCKET).join(key)
    }

    /// A proxy before it that lets everything through for now.
    pub async fn proxy(&self) -> Proxy {
        Proxy::start(self.url.clone(), self.root.path().to_path_buf()).await
    }
}

/// As many tries as in earnest, with short pauses between them: tests wait for failures.
pub fn patience() -> Patience {
    Patience {
        request: Duration::from_mins(1),
        retries: 6,
        first_pause: Duration::from_millis(5),
        longest_pause: Duration::from_millis(100),
    }
}

/// For services that never answer. Nowhere else: on a busy machine an answer takes longer than this now and then, and is
/// asked for once more.
pub fn impatience() -> Patience {
    Patience { request: Duration::from_secs(5), ..patience() }
}

pub fn client() -> reqwest::Client {
    like_main();
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

pub fn s3(url: &str) -> S3 {
    S3 {
        bucket: BUCKET.parse().unwrap(),
        prefix: Prefix::default(),
        endpoint: Some(url.parse().unwrap()),
        region: "us-east-1".parse().unwrap(),
        path_style: None,
        encryption: None,
        sts_endpoint: None,
        credentials: Credentials::Directory("unused".into()),
        ca_file: None,
        redirect: false,
    }
}

pub fn secrets() -> Secrets {
    Secrets { access_key_id: Some(ACCESS_KEY.into()), secret_access_key: Some(SECRET_KEY.into()), ..Secrets::default() }
}

/// Opens the bucket by way of a URL.
pub async fn open(url: &str) -> Bucket {
    open_with(url, patience()).await
}

pub async fn open_with(url: &str, patience: Patience) -> Bucket {
    let service = Service::S3(s3(url));
    Bucket::open(&service, &secrets(), client(), layout::temporaries(), patience).await.unwrap()
}

/// What is done to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// It is not passed on, and answered with this status and code.
    Refuse(u16, &'static str),
    /// It is passed on, and the connection ends before the answer.
    Lose,
    /// It is passed on, and never answered.
    Hang,
    /// Its answer's body ends after so many bytes.
    Truncate(usize),
    /// Its condition is not kept: what is there goes first.
    Forget,
    /// It is passed on when this is opened, and not before.
    Late(Gate),
}

/// Keeps a request until it is opened.
#[derive(Debug, Clone, Copy)]
pub struct Gate(&'static Semaphore);

impl Gate {
    /// One that is closed.
    pub fn closed() -> Self {
        Self(Box::leak(Box::new(Semaphore::new(0))))
    }

    pub fn open(self) {
        self.0.add_permits(1);
    }
}

impl PartialEq for Gate {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl Eq for Gate {}

/// A request as the proxy sees it.
#[derive(Debug, Clone)]
pub struct Head {
    pub method: Method,
    /// With the query.
    pub target: String,
    pub headers: HeaderMap,
}

impl Head {
    /// Whether it creates only what is absent.
    pub fn is_conditional(&self) -> bool {
        self.headers.get(header::IF_NONE_MATCH).is_some_and(|value| value == "*")
    }

    fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

type Plan = Box<dyn FnMut(&Head) -> Fault + Send>;
type Body = UnsyncBoxBody<Bytes, io::Error>;

struct Inner {
    upstream: String,
    root: PathBuf,
    plan: Mutex<Plan>,
    seen: Mutex<Vec<(Head, Fault)>>,
    client: reqwest::Client,
}

/// A proxy that fails on command.
pub struct Proxy {
    pub url: String,
    inner: Arc<Inner>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// Before a server whose objects are files below `root`, as far as they are any.
    pub async fn start(upstream: String, root: PathBuf) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let inner = Arc::new(Inner {
            upstream,
            root,
            plan: Mutex::new(Box::new(|_| Fault::None)),
            seen: Mutex::default(),
            client: client(),
        });
        let shared = Arc::clone(&inner);
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let inner = Arc::clone(&shared);
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let inner = Arc::clone(&inner);
                        async move { inner.serve(request).await }
                    });
                    let _ =
                        auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { url, inner, task }
    }

    /// From now on this decides what is done to each request.
    pub fn plan(&self, plan: impl FnMut(&Head) -> Fault + Send + 'static) {
        *self.inner.plan.lock().unwrap() = Box::new(plan);
    }

    /// Does this to the first request that is meant, once.
    pub fn once(&self, fault: Fault, meant: impl Fn(&Head) -> bool + Send + 'static) {
        let mut done = false;
        self.plan(move |head| {
            if done || !meant(head) {
                return Fault::None;
            }
            done = true;
            fault
        });
    }

    /// Everything is let through again. What was seen since the last call, with what was done to it.
    pub fn calm(&self) -> Vec<(Head, Fault)> {
        self.plan(|_| Fault::None);
        std::mem::take(&mut *self.inner.seen.lock().unwrap())
    }
}

impl Inner {
    async fn serve(&self, request: Request<Incoming>) -> io::Result<Response<Body>> {
        let (parts, body) = request.into_parts();
        let target = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
        let head = Head { method: parts.method, target, headers: parts.headers };
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let fault = (self.plan.lock().unwrap())(&head);
        self.seen.lock().unwrap().push((head.clone(), fault));
        match fault {
            Fault::None => self.forward(&head, body, None).await,
            Fault::Refuse(status, code) => Ok(refusal(status, code)),
            Fault::Lose => {
                self.forward(&head, body, None).await?;
                Err(io::ErrorKind::ConnectionReset.into())
            }
            Fault::Hang => {
                self.forward(&head, body, None).await?;
                std::future::pending().await
            }
            Fault::Truncate(after) => self.forward(&head, body, Some(after)).await,
            Fault::Late(gate) => {
                let _is_open = gate.0.acquire().await.map_err(io::Error::other)?;
                self.forward(&head, body, None).await
            }
            Fault::Forget => {
                let path = head.path().trim_start_matches('/');
                let _ = std::fs::remove_file(self.root.join(path));
                self.forward(&head, body, None).await
            }
        }
    }

    async fn forward(&self, head: &Head, body: Bytes, cut: Option<usize>) -> io::Result<Response<Body>> {
        let request = self.client.request(head.method.clone(), format!("{}{}", self.upstream, head.target));
        // The host too: it is signed.
        let answer = request.headers(head.headers.clone()).body(body).send().await.map_err(io::Error::other)?;
        let mut response = Response::builder().status(answer.status());
        for (name, value) in answer.headers() {
            if *name != header::CONNECTION && *name != header::TRANSFER_ENCODING {
                response = response.header(name, value);
            }
        }
        let stream = answer.bytes_stream().map(|chunk| chunk.map_err(io::Error::other));
        let body = match cut {
            None => StreamBody::new(stream.map(|chunk| chunk.map(Frame::data)).boxed()).boxed_unsync(),
            Some(after) => {
                let whole: Vec<Bytes> = stream.map(Result::unwrap).collect().await;
                let whole = whole.concat();
                let start = Bytes::copy_from_slice(&whole[..after.min(whole.len())]);
                let broken = [Ok(Frame::data(start)), Err(io::ErrorKind::ConnectionReset.into())];
                StreamBody::new(futures::stream::iter(broken)).boxed_unsync()
            }
        };
        Ok(response.body(body).unwrap())
    }
}

fn refusal(status: u16, code: &str) -> Response<Body> {
    let text = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>by the test</Message></Error>");
    let body = Full::new(Bytes::from(text)).map_err(|never: Infallible| match never {}).boxed_unsync();
    let status = StatusCode::from_u16(status).unwrap();
    Response::builder().status(status).header(header::CONTENT_TYPE, "application/xml").body(body).unwrap()
}
