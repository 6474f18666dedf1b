//! OpenStack Swift itself: a proxy and servers of accounts, containers and objects, as e2e/swift/serve.py starts them.

use bytes::Bytes;
use futures::TryStreamExt as _;
use http::Method;
use regatta::store::bucket::Bucket;
use regatta::store::config::{Credentials, Secrets, Service, Swift};
use regatta::store::{Backend as _, Durability, Exclusive, Key, Published, StoreError};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::program::Program;
use crate::stores_emulators::{Emulator, check_bucket};
use crate::stores_support::{client, patience, program};

const CONTAINER: &str = "images";

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

/// A request to Keystone, with the answer's token and body.
async fn keystone(
    url: &str,
    method: Method,
    path: &str,
    token: Option<&str>,
    body: &Value,
) -> (StatusCode, String, Value) {
    let mut request = client().request(method, format!("{url}/v3/{path}")).json(body);
    if let Some(token) = token {
        request = request.header("x-auth-token", token);
    }
    let answer = request.send().await.unwrap();
    let token = answer.headers().get("x-subject-token").map(|token| token.to_str().unwrap().to_owned());
    (answer.status(), token.unwrap_or_default(), answer.json().await.unwrap_or_default())
}

/// A Swift with one container.
pub struct SwiftServer {
    emulator: Emulator,
    /// The account's storage URL.
    account: String,
    token: String,
}

impl SwiftServer {
    pub async fn start() -> Self {
        let emulator = Emulator::start(|port, home| {
            let mut command = std::process::Command::new(program("swift", "swift"));
            command.args(["--port", &port.to_string(), "--data"]).arg(home.path());
            command
        })
        .await;
        let login = client().get(format!("{}/auth/v1.0", emulator.url));
        let login = login.header("x-auth-user", "test:tester").header("x-auth-key", "testing").send().await.unwrap();
        assert_eq!(login.status(), StatusCode::OK);
        let header = |name: &str| login.headers()[name].to_str().unwrap().to_owned();
        let server = Self { emulator, account: header("x-storage-url"), token: header("x-auth-token") };
        assert_eq!(server.ask(Method::PUT, "").await.0, StatusCode::CREATED);
        server
    }

    /// One that believes Keystone; and the URL of that, and who may make application credentials there.
    async fn with_keystone() -> (Self, String, String) {
        let home = tempfile::tempdir().unwrap();
        let (process, [port, identity]) = Program::at_free_ports(|[port, identity]| {
            let mut command = std::process::Command::new(program("swift", "swift"));
            // A try whose ports were taken leaves its directory behind.
            let data = home.path().join(port.to_string());
            command.args(["--port", &port.to_string(), "--keystone", &identity.to_string(), "--data"]).arg(data);
            command
        })
        .await;
        let url = format!("http://127.0.0.1:{identity}");
        let domain = json!({"name": "Default"});
        let login = json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": {
                "name": "admin", "password": "testing", "domain": domain,
            }}},
            "scope": {"project": {"name": "admin", "domain": domain}},
        }});
        let (status, token, answer) = keystone(&url, Method::POST, "auth/tokens", None, &login).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
        let id = |what: &str| answer["token"][what]["id"].as_str().unwrap().to_owned();
        let swift = format!("http://127.0.0.1:{port}");
        let account = format!("{swift}/v1/AUTH_{}", id("project"));
        let server = Self { emulator: Emulator::over(swift, process, home), account, token };
        assert_eq!(server.ask(Method::PUT, "").await.0, StatusCode::CREATED);
        (server, url, id("user"))
    }

    /// A request about what the container has at a path (a slash first; none for itself).
    async fn ask(&self, method: Method, path: &str) -> (StatusCode, String) {
        let request = client().request(method, format!("{}/{CONTAINER}{path}", self.account));
        let answer = request.header("x-auth-token", &self.token).send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    }

    /// All objects of the container, those below `.segments/` among them.
    async fn objects(&self) -> Vec<String> {
        let (_, listing) = self.ask(Method::GET, "").await;
        listing.lines().map(str::to_owned).collect()
    }

    pub async fn bucket(&self) -> Bucket {
        self.open(&self.token).await.unwrap()
    }

    async fn open(&self, token: &str) -> Result<Bucket, StoreError> {
        self.open_with(None, Secrets { token: Some(token.into()), ..Secrets::default() }).await
    }

    async fn open_with(&self, auth_url: Option<&str>, secrets: Secrets) -> Result<Bucket, StoreError> {
        let service = Service::Swift(Swift {
            container: CONTAINER.parse().unwrap(),
            prefix: "city".parse().unwrap(),
            endpoint: self.account.parse().unwrap(),
            auth_url: auth_url.map(|url| url.parse().unwrap()),
            user_domain: "Default".into(),
            project: Some("admin".into()),
            project_domain: "Default".into(),
            credentials: Credentials::Directory("unused".into()),
            ca_file: None,
        });
        Bucket::open(&service, &secrets, client(), key("tmp"), patience()).await
    }

    /// The beginning of a conditional creation: its head is sent, and Swift has said that it wants the bytes.
    async fn begin_creation(&self, name: &str) -> TcpStream {
        let authority = self.emulator.url.strip_prefix("http://").unwrap();
        let path = self.account.strip_prefix(&self.emulator.url).unwrap();
        let mut stream = TcpStream::connect(authority).await.unwrap();
        let head = format!(
            "PUT {path}/{CONTAINER}/{name} HTTP/1.1\r\nhost: {authority}\r\nx-auth-token: {}\r\nif-none-match: *\r\n\
             content-length: 1\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n",
            self.token
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.unwrap());
        }
        assert!(answer.starts_with(b"HTTP/1.1 100 "), "{}", String::from_utf8_lossy(&answer));
        stream
    }
}

/// Sends the one byte that was announced; gives the status.
async fn end_creation(mut stream: TcpStream, byte: u8) -> String {
    stream.write_u8(byte).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swift_itself() {
    let server = SwiftServer::start().await;
    let bucket = server.bucket().await;
    assert!(matches!(bucket.abilities().exclusive, Exclusive::No(_)), "{:?}", bucket.abilities());
    assert_eq!(server.objects().await, [""; 0], "the probe leaves nothing behind");
    check_bucket(&bucket, 20_000_000).await;
}

/// Of a copy of a large object Swift serves no range to one who names its tag (`If-Match`): the condition is compared with
/// the tag of what was copied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_is_made_anew_in_swift_is_another() {
    let server = SwiftServer::start().await;
    let bucket = server.bucket().await;
    let (temporary, name) = (key("tmp/large"), key("data/large"));
    let mut writer = bucket.temporary(&temporary).await.unwrap();
    writer.write(vec![1; 9_000_000].into()).await.unwrap();
    writer.finish(Durability::Durable).await.unwrap();
    bucket.publish(&temporary, &name, Durability::Durable).await.unwrap();
    let [same, other] = [bucket.open(&name).await.unwrap().unwrap(), bucket.open(&name).await.unwrap().unwrap()];
    let range: Vec<Bytes> = same.stream(8_000_000, 500_000).try_collect().await.unwrap();
    assert!(range.concat() == vec![1; 500_000]);
    let anew = client().put(format!("{}/{CONTAINER}/city/data/large", server.account));
    let anew = anew.header("x-auth-token", &server.token).body(vec![2; 9_000_000]).send().await.unwrap();
    assert_eq!(anew.status(), StatusCode::CREATED);
    let range: std::io::Result<Vec<Bytes>> = other.stream(8_000_000, 500_000).try_collect().await;
    assert_eq!(range.unwrap_err().kind(), std::io::ErrorKind::NotFound);
}

/// Why no creation is left to it: it does take `If-None-Match: *`, but looks when the request begins and writes when it
/// ends. Whoever believed it would hold two different things for made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swift_tells_two_creators_that_they_made_it() {
    let server = SwiftServer::start().await;
    let (first, second) = (server.begin_creation("raced").await, server.begin_creation("raced").await);
    assert_eq!((end_creation(first, b'1').await, end_creation(second, b'2').await), ("201".into(), "201".into()));
    // One after the other they are told apart.
    let condition = client().put(format!("{}/{CONTAINER}/raced", server.account)).header("if-none-match", "*");
    let refused = condition.header("x-auth-token", &server.token).body("3").send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::PRECONDITION_FAILED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_objects_leave_nothing_in_swift() {
    let server = SwiftServer::start().await;
    let bucket = server.bucket().await;
    let (temporary, name) = (key("tmp/large"), key("data/large"));
    let mut writer = bucket.temporary(&temporary).await.unwrap();
    writer.write(vec![1; 20_000_000].into()).await.unwrap();
    writer.finish(Durability::Durable).await.unwrap();
    let parts = server.objects().await.iter().filter(|name| name.starts_with(".segments/")).count();
    assert_eq!(parts, 3, "it is sent in parts of 8 MiB");
    assert_eq!(bucket.publish(&temporary, &name, Durability::Durable).await.unwrap(), Published::Created);
    assert!(bucket.delete(&temporary).await.unwrap());
    assert_eq!(server.objects().await, ["city/data/large"], "its parts went with it, and the copy stands alone");
    assert_eq!(bucket.head(&name).await.unwrap().unwrap().size, 20_000_000);
    assert!(bucket.delete(&name).await.unwrap());
    assert_eq!(server.objects().await, [""; 0]);
    // What is given up leaves nothing either.
    let mut writer = bucket.temporary(&temporary).await.unwrap();
    writer.write(vec![1; 20_000_000].into()).await.unwrap();
    drop(writer);
    crate::program::eventually("nothing is left", async || {
        let left = server.objects().await;
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
}

/// Swift's 401 is no absence: nothing is taken for an empty store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_swift_does_not_know_is_refused_at_the_start() {
    let server = SwiftServer::start().await;
    let error = server.open("AUTH_tkunknown").await.unwrap_err().to_string();
    assert!(error.contains("it cannot be written: PermissionDenied"), "{error}");
}

/// Tokens come from Keystone itself, by a password or by an application credential.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swift_and_keystone_themselves() {
    let (server, url, user) = SwiftServer::with_keystone().await;
    let login = |password: &str| Secrets {
        username: Some("admin".into()),
        password: Some(password.into()),
        ..Secrets::default()
    };
    let bucket = server.open_with(Some(&url), login("testing")).await.unwrap();
    bucket.put_new(&key("a"), "1".into(), Durability::Durable).await.unwrap();
    let error = server.open_with(Some(&url), login("wrong")).await.unwrap_err().to_string();
    assert!(error.contains("Keystone answered 401 Unauthorized"), "{error}");

    let wanted = json!({"application_credential": {"name": "registry"}});
    let path = format!("users/{user}/application_credentials");
    let (status, _, made) = keystone(&url, Method::POST, &path, Some(&server.token), &wanted).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let field = |name: &str| Some(made["application_credential"][name].as_str().unwrap().to_owned().into());
    let secrets = Secrets {
        application_credential_id: field("id"),
        application_credential_secret: field("secret"),
        ..Secrets::default()
    };
    let bucket = server.open_with(Some(&url), secrets).await.unwrap();
    assert_eq!(bucket.read(&key("a")).await.unwrap().unwrap(), "1");
}
