//! Exchanges with OSS, COS and OBS as their vendors have published them (exchanges/README.md): each is played to the store,
//! whose request must be the published one, and who must read the published answer as the port says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bytes::Bytes;
use futures::TryStreamExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, header};
use http_body_util::Full;
use percent_encoding::percent_decode_str;
use regatta::store::bucket::Bucket;
use regatta::store::config::{Cos, Credentials, Obs, Oss, Prefix, Secrets, Service};
use regatta::store::{Backend as _, Durability, Key, Published, PutNew};

use crate::stores_fake::{Asked, Dialect, Fake};
use crate::stores_support::patience;

/// The headers that decide what a request does, or for whom.
const DECIDING: [&str; 8] = [
    "range",
    "if-match",
    "x-oss-forbid-overwrite",
    "x-cos-forbid-overwrite",
    "x-cos-copy-source",
    "x-obs-copy-source",
    "x-oss-storage-class",
    "x-cos-storage-class",
];

/// The queries that make another request of one for the same path.
const OTHER_REQUEST: [&str; 3] = ["uploads", "uploadId", "partNumber"];

/// A request, and what was answered.
#[derive(Debug, Clone)]
pub struct Exchange {
    pub name: String,
    method: Method,
    /// Decoded.
    path: String,
    query: BTreeMap<String, String>,
    asked: HeaderMap,
    sent: String,
    /// Headers and queries that are others in each request.
    any: BTreeSet<String>,
    /// Those that the store adds.
    ours: BTreeSet<String>,
    status: u16,
    headers: HeaderMap,
    body: String,
}

/// A message: its first line, its headers, its body.
fn message(text: &str) -> (&str, HeaderMap, &str) {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let (first, lines) = head.split_once('\n').unwrap_or((head, ""));
    let header = |line: &str| {
        let (name, value) = line.split_once(':').unwrap();
        let name = HeaderName::from_bytes(name.to_ascii_lowercase().as_bytes()).unwrap();
        (name, HeaderValue::from_str(value.trim()).unwrap())
    };
    (first, lines.lines().map(header).collect(), body.trim_end())
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8().unwrap().into_owned()
}

impl Exchange {
    /// One of tests/it/exchanges.
    fn read(dialect: Dialect, name: &str) -> Self {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/exchanges");
        let name = format!("{}/{name}.http", format!("{dialect:?}").to_lowercase());
        let text = std::fs::read_to_string(directory.join(&name)).unwrap();
        let (about, rest) = text.split_once("=== request\n").unwrap();
        let (request, answer) = rest.split_once("\n=== answer\n").unwrap();
        let listed = |what: &str| {
            let lines =
                about.lines().filter_map(|line| line.strip_prefix("# ")?.strip_prefix(what)?.strip_prefix(": "));
            lines.flat_map(str::split_whitespace).map(str::to_owned).collect()
        };
        let (line, asked, sent) = message(request);
        let (method, target) = line.split_once(' ').unwrap();
        let target = target.strip_suffix(" HTTP/1.1").unwrap();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        };
        let (status, headers, body) = message(answer);
        Self {
            name,
            method: method.parse().unwrap(),
            path: decoded(path),
            query: query.split('&').filter(|pair| !pair.is_empty()).map(pair).collect(),
            asked,
            sent: sent.to_owned(),
            any: listed("any"),
            ours: listed("ours too"),
            status: status.split(' ').nth(1).unwrap().parse().unwrap(),
            headers,
            body: body.to_owned(),
        }
    }

    fn host(&self) -> &str {
        self.asked[header::HOST].to_str().unwrap()
    }

    fn key(&self) -> Key {
        Key::new(self.path.trim_start_matches('/')).unwrap()
    }

    /// Whether it is for this request, as it should be or not.
    pub fn is_about(&self, asked: &Asked) -> bool {
        let kind = |query: &BTreeMap<String, String>| OTHER_REQUEST.map(|name| query.contains_key(name));
        (&self.method, self.path.as_str(), kind(&self.query)) == (&asked.method, &asked.path, kind(&asked.query))
    }

    /// Where the request is another than the published one.
    pub fn differences(&self, asked: &Asked) -> Vec<String> {
        let mut differences = Vec::new();
        let mut compare = |what: &str, published: Option<&str>, sent: Option<&str>| {
            let fits = match (published, sent) {
                (None, Some(_)) if self.ours.contains(what) => true,
                (Some(_), Some(_)) | (Some(_) | None, None) if self.any.contains(what) => true,
                _ => published == sent && !self.ours.contains(what),
            };
            if !fits {
                differences.push(format!("{}: {what} was {published:?}, and is {sent:?}", self.name));
            }
        };
        compare("host", Some(self.host()), Some(&asked.host));
        let queries: BTreeSet<&String> = self.query.keys().chain(asked.query.keys()).collect();
        for name in queries {
            compare(name, self.query.get(name).map(String::as_str), asked.query.get(name).map(String::as_str));
        }
        for name in DECIDING {
            let value = |headers: &HeaderMap| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
            compare(name, value(&self.asked).as_deref(), value(&asked.headers).as_deref());
        }
        differences
    }

    /// The bytes of an object, of which the pages only say how many there are.
    fn content(&self) -> Bytes {
        let digits: String = self.body.chars().filter(char::is_ascii_digit).collect();
        match digits.parse() {
            Ok(length) if self.body.to_ascii_lowercase().contains(" bytes ") => vec![b'x'; length].into(),
            _ => Bytes::from(self.body.clone()),
        }
    }

    /// The published answer. Its length is that of the body: the pages have laid out anew what had one line.
    pub fn answer(&self, asked: &Asked) -> Response<Full<Bytes>> {
        let mut response = Response::builder().status(self.status);
        for (name, value) in &self.headers {
            let keeps_length = asked.method == Method::HEAD || *name != header::CONTENT_LENGTH;
            if keeps_length && *name != header::CONNECTION {
                response = response.header(name, value);
            }
        }
        response.body(Full::new(self.content())).unwrap()
    }
}

/// The bucket whose host this is.
fn service(dialect: Dialect, host: &str) -> Service {
    let (bucket, endpoint) = host.split_once('.').unwrap();
    let (bucket, endpoint, prefix) =
        (bucket.parse().unwrap(), format!("http://{endpoint}").parse().unwrap(), Prefix::default());
    let credentials = Credentials::Directory("unused".into());
    let (ca_file, redirect) = (None, false);
    match dialect {
        Dialect::Oss => {
            let (path_style, encryption) = (false, None);
            Service::Oss(Oss { bucket, prefix, endpoint, path_style, encryption, credentials, ca_file, redirect })
        }
        Dialect::Cos => Service::Cos(Cos { bucket, prefix, endpoint, credentials, ca_file, redirect }),
        _ => Service::Obs(Obs { bucket, prefix, endpoint, credentials, ca_file, redirect }),
    }
}

/// A bucket, which was probed, and the exchanges that are to be played to it.
struct Scene {
    fake: Fake,
    bucket: Bucket,
    exchanges: Vec<Exchange>,
}

impl Scene {
    async fn of(dialect: Dialect, names: &[&str]) -> Self {
        let exchanges: Vec<Exchange> = names.iter().map(|name| Exchange::read(dialect, name)).collect();
        let host = exchanges[0].host();
        let fake = Fake::start_at(dialect, host).await;
        let secrets = Secrets {
            access_key_id: Some("id".into()),
            secret_access_key: Some("secret".into()),
            ..Secrets::default()
        };
        let scratch = Key::new("tmp").unwrap();
        let bucket = Bucket::open(&service(dialect, host), &secrets, fake.client(), scratch, patience()).await.unwrap();
        Self { fake, bucket, exchanges }
    }

    /// The key that the first exchange is about.
    fn key(&self) -> Key {
        self.exchanges[0].key()
    }

    /// From now on these are played; gives what was asked before.
    fn play(&self) -> Vec<Asked> {
        self.fake.play(self.exchanges.clone());
        self.fake.asked()
    }

    /// What was asked meanwhile, which was what was published.
    fn played(&self) -> Vec<Asked> {
        self.fake.assert_played();
        self.fake.asked()
    }
}

const VENDORS: [Dialect; 3] = [Dialect::Oss, Dialect::Cos, Dialect::Obs];

#[tokio::test]
async fn an_object_is_created_as_published() {
    for dialect in VENDORS {
        let scene = Scene::of(dialect, &["create"]).await;
        scene.play();
        let content = Bytes::from(scene.exchanges[0].sent.clone());
        let created = scene.bucket.put_new(&scene.key(), content, Durability::Durable).await.unwrap();
        assert_eq!(created, PutNew::Created, "{dialect:?}");
        scene.played();
    }
}

#[tokio::test]
async fn an_object_is_looked_at_as_published() {
    for (dialect, size, modified) in [
        (Dialect::Oss, 344_606, "2012-02-24T06:07:48Z"),
        (Dialect::Cos, 16, "2020-04-10T18:17:25Z"),
        (Dialect::Obs, 4_572, "2015-07-01T01:19:21Z"),
    ] {
        let scene = Scene::of(dialect, &["head"]).await;
        scene.play();
        let meta = scene.bucket.head(&scene.key()).await.unwrap().unwrap();
        let modified: jiff::Timestamp = modified.parse().unwrap();
        assert_eq!((meta.size, meta.modified), (size, modified.into()), "{dialect:?}");
        scene.played();
    }
}

#[tokio::test]
async fn an_object_is_read_as_published() {
    for (dialect, start, length) in [(Dialect::Oss, 100, 801), (Dialect::Cos, 8, 7), (Dialect::Obs, 20, 11)] {
        let scene = Scene::of(dialect, &["get"]).await;
        scene.play();
        assert_eq!(
            scene.bucket.read(&scene.key()).await.unwrap().unwrap(),
            scene.exchanges[0].content(),
            "{dialect:?}"
        );
        scene.played();
        let scene = Scene::of(dialect, &["get", "get-range"]).await;
        scene.play();
        let object = scene.bucket.open(&scene.key()).await.unwrap().unwrap();
        let chunks: Vec<Bytes> = object.stream(start, length).try_collect().await.unwrap();
        assert_eq!(chunks.concat(), scene.exchanges[1].content(), "{dialect:?}");
        scene.played();
    }
}

/// OBS's page has the body of a 404, and no exchange.
#[tokio::test]
async fn what_is_not_there_is_absent() {
    for dialect in [Dialect::Oss, Dialect::Cos] {
        let scene = Scene::of(dialect, &["get-missing"]).await;
        scene.play();
        assert_eq!(scene.bucket.read(&scene.key()).await.unwrap(), None, "{dialect:?}");
        scene.played();
    }
}

#[tokio::test]
async fn what_is_refused_is_not_absent() {
    let scene = Scene::of(Dialect::Cos, &["get-forbidden"]).await;
    scene.play();
    let error = scene.bucket.read(&scene.key()).await.unwrap_err();
    let why = std::error::Error::source(&error).unwrap().to_string();
    assert!(why.contains("InvalidObjectState"), "{error}: {why}");
    scene.played();
}

/// A range of an object that was made anew after it was opened: another one, so this one is gone.
#[tokio::test]
async fn an_object_that_changed_is_gone() {
    for dialect in [Dialect::Cos, Dialect::Obs] {
        let scene = Scene::of(dialect, &["get", "get-changed"]).await;
        scene.play();
        let object = scene.bucket.open(&scene.key()).await.unwrap().unwrap();
        let chunks: std::io::Result<Vec<Bytes>> = object.stream(8, 7).try_collect().await;
        assert_eq!(chunks.unwrap_err().kind(), std::io::ErrorKind::NotFound, "{dialect:?}");
        scene.played();
    }
}

#[tokio::test]
async fn an_object_is_deleted_as_published() {
    for dialect in VENDORS {
        let scene = Scene::of(dialect, &["delete"]).await;
        scene.bucket.put_new(&scene.key(), "1".into(), Durability::Durable).await.unwrap();
        scene.play();
        assert!(scene.bucket.delete(&scene.key()).await.unwrap(), "{dialect:?}");
        scene.played();
    }
}

/// OBS's page lists no directory.
#[tokio::test]
async fn a_directory_is_listed_as_published() {
    let example = ["example-object-1.jpg", "example-object-2.jpg", "sub-folder-1/", "sub-folder-2/"];
    for (dialect, directory, names) in
        [(Dialect::Oss, "a", &["b", "b/"][..]), (Dialect::Cos, "example-folder-1", &example[..])]
    {
        let scene = Scene::of(dialect, &["list"]).await;
        scene.play();
        let children = scene.bucket.children(&Key::new(directory).unwrap(), None, 10).await.unwrap();
        let listed =
            children.iter().map(|child| format!("{}{}", child.name, if child.is_directory { "/" } else { "" }));
        assert_eq!(listed.collect::<Vec<_>>(), names, "{dialect:?}");
        scene.played();
    }
}

#[tokio::test]
async fn an_object_is_copied_as_published() {
    for (dialect, header, source) in [
        (Dialect::Cos, "x-cos-copy-source", "/destinationbucket-1250000000/srcobject"),
        (Dialect::Obs, "x-obs-copy-source", "/examplebucket/srcobject"),
    ] {
        let scene = Scene::of(dialect, &["copy"]).await;
        let from = Key::new("srcobject").unwrap();
        scene.bucket.put_new(&from, "1".into(), Durability::Durable).await.unwrap();
        scene.play();
        let published = scene.bucket.publish(&from, &scene.key(), Durability::Durable).await.unwrap();
        assert_eq!(published, Published::Created, "{dialect:?}");
        let asked = scene.played();
        let copy = asked.iter().find(|asked| asked.method == Method::PUT).unwrap();
        assert_eq!(copy.header(header), source, "{dialect:?}");
    }
}

/// Two parts, one after the other in the list by which they are put together.
async fn upload(scene: &Scene) -> Vec<Asked> {
    scene.play();
    let mut writer = scene.bucket.temporary(&scene.key()).await.unwrap();
    writer.write(vec![1; 9_000_000].into()).await.unwrap();
    assert_eq!(writer.finish(Durability::Durable).await.unwrap(), 9_000_000);
    let asked = scene.played();
    let complete = asked.last().unwrap();
    let list = String::from_utf8(complete.body.to_vec()).unwrap();
    let part = scene.exchanges.iter().find(|exchange| exchange.query.contains_key("partNumber")).unwrap();
    let tag = part.headers["etag"].to_str().unwrap();
    let part = |number: u32| format!("<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>");
    let list = list.replace("&quot;", "\"");
    assert_eq!(list, format!("<CompleteMultipartUpload>{}{}</CompleteMultipartUpload>", part(1), part(2)));
    asked
}

#[tokio::test]
async fn an_object_is_uploaded_in_parts_as_published() {
    for dialect in [Dialect::Oss, Dialect::Cos] {
        let scene = Scene::of(dialect, &["begin", "part", "part", "complete"]).await;
        let asked = upload(&scene).await;
        // One upload, with the id that the first answer gave.
        let (_, rest) = scene.exchanges[0].body.split_once("<UploadId>").unwrap();
        let id = rest.split_once('<').unwrap().0;
        let ids: Vec<&str> = asked.iter().filter_map(|asked| Some(asked.query.get("uploadId")?.as_str())).collect();
        assert_eq!(ids, [id; 3], "{dialect:?}");
    }
    // The page for its first request has another object.
    let scene = Scene::of(Dialect::Obs, &["part", "part", "complete"]).await;
    upload(&scene).await;
    let scene = Scene::of(Dialect::Obs, &["begin"]).await;
    scene.play();
    let mut writer = scene.bucket.temporary(&scene.key()).await.unwrap();
    writer.write(vec![1; 9_000_000].into()).await.unwrap();
    assert!(writer.finish(Durability::Durable).await.is_err(), "the fake has no such upload");
    let part = scene.played().into_iter().find(|asked| asked.method == Method::PUT).unwrap();
    assert_eq!(part.query["uploadId"], "DCD2FC98B4F70000013DF578ACA318E7");
}
