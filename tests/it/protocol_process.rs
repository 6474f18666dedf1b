//! What only the whole program shows: what it logs, how it goes away, certificates that are replaced.

use std::path::Path;
use std::time::Duration;

use futures::StreamExt as _;
use regatta::auth::htpasswd::hash;
use regatta::oci::Digest;
use reqwest::{Client, Method, RequestBuilder, StatusCode, header};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::program::{Program, eventually, like_main, regatta};
use crate::registry_support::{OCI_MANIFEST, image};

const PASSWORD: &str = "the-admins-password";

/// `Basic` credentials of the administrator, for requests that are written by hand.
pub const LOGIN: &str = "Authorization: Basic YWRtaW46dGhlLWFkbWlucy1wYXNzd29yZA==";

/// A `regatta registry` with a directory of its own.
pub struct Process {
    pub program: Program,
    /// Its files; its store is `data`.
    pub files: TempDir,
    /// `host:port`
    pub authority: String,
}

impl Process {
    /// Serves at a port that the system chose.
    pub async fn start(args: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), args).await
    }

    async fn start_in(files: TempDir, args: &[&str]) -> Self {
        std::fs::write(files.path().join("password"), PASSWORD).unwrap();
        Self::run(files, &[["--admin-password-file", "password"].as_slice(), args].concat()).await
    }

    async fn run(files: TempDir, args: &[&str]) -> Self {
        like_main();
        let mut command = regatta();
        command.args(["registry", "--listen", "127.0.0.1:0", "--root", "data"]).args(args).current_dir(files.path());
        let (program, authority) = Program::serving(&mut command).await;
        Self { program, files, authority }
    }

    /// With these administrators, whose passwords are their names, beside `admin`.
    pub async fn start_with_people(people: &[String]) -> Self {
        let files = tempfile::tempdir().unwrap();
        let named = people.iter().map(|name| hash(name, name).unwrap());
        let lines: Vec<String> = named.chain([hash("admin", PASSWORD).unwrap()]).collect();
        std::fs::write(files.path().join("people"), lines.join("\n")).unwrap();
        let admins = people.iter().flat_map(|name| ["--admin", name]);
        let args: Vec<&str> = ["--htpasswd-file", "people", "--admin", "admin"].into_iter().chain(admins).collect();
        Self::run(files, &args).await
    }

    /// A request as the administrator.
    pub fn request(&self, client: &Client, method: Method, path: &str) -> RequestBuilder {
        client.request(method, format!("http://{}{path}", self.authority)).basic_auth("admin", Some(PASSWORD))
    }

    /// A blob in `team/app`.
    pub async fn push_blob(&self, client: &Client, bytes: Vec<u8>) -> Digest {
        let digest = Digest::sha256(&bytes);
        let path = format!("/v2/team/app/blobs/uploads/?digest={digest}");
        let answer = self.request(client, Method::POST, &path).body(bytes).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED);
        digest
    }
}

/// Containerd opens `bytes=N-` and hangs up after a chunk: that is no failure, and is told from a whole answer. An id
/// that a client was told is found in the log.
#[tokio::test]
async fn the_access_log_tells_who_hung_up_and_has_the_ids_of_errors() {
    let registry = Process::start(&["--trusted-proxy", "127.0.0.0/8"]).await;
    let client = Client::new();
    let blob = registry.push_blob(&client, vec![7; 64 * 1024 * 1024]).await;
    let mut stream = TcpStream::connect(&registry.authority).await.unwrap();
    let target = format!("/v2/team/app/blobs/{blob}");
    let head =
        format!("GET {target} HTTP/1.1\r\nHost: x\r\n{LOGIN}\r\nRange: bytes=1000-\r\nUser-Agent: hasty\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.read_exact(&mut [0; 1000]).await.unwrap();
    drop(stream);
    let hung_up = registry.program.line("who hung up is logged", |line| line["agent"] == "hasty").await;
    assert_eq!((&hung_up["status"], &hung_up["level"]), (&206.into(), &"INFO".into()), "{hung_up}");
    assert!(hung_up["message"].as_str().unwrap().contains("the client had enough"), "{hung_up}");
    assert!(hung_up["sent"].as_u64().unwrap() < 64 * 1024 * 1024 - 1000, "{hung_up}");

    let request = registry.request(&client, Method::GET, &format!("{target}?secret=s3cr3t"));
    let whole = request.header(header::USER_AGENT, "patient").header("x-forwarded-for", "6.6.6.6, 192.0.2.7");
    assert_eq!(whole.send().await.unwrap().bytes().await.unwrap().len(), 64 * 1024 * 1024);
    let served = registry.program.line("who took all is logged", |line| line["agent"] == "patient").await;
    assert_eq!((&served["message"], &served["client"]), (&"served".into(), &"192.0.2.7".into()), "{served}");
    assert_eq!(served["sent"], 64 * 1024 * 1024, "{served}");
    assert!(!served.to_string().contains("s3cr3t"), "{served}");

    let answer = registry.request(&client, Method::GET, "/v2/team/app/manifests/none").send().await.unwrap();
    let header = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    let error: Value = answer.json().await.unwrap();
    let id = error["errors"][0]["detail"]["requestId"].as_str().unwrap().to_owned();
    assert_eq!(id, header);
    let logged = registry.program.line("the error is logged", |line| line["id"] == *id).await;
    assert_eq!((&logged["status"], &logged["path"]), (&404.into(), &"/v2/team/app/manifests/none".into()));
}

#[tokio::test]
async fn the_access_log_says_who_asked() {
    let registry = Process::start(&[]).await;
    let client = Client::new();
    let ask = |agent: &str, path: &str| {
        client.get(format!("http://{}{path}", registry.authority)).header(header::USER_AGENT, agent)
    };
    let token = ask("password", "/token").basic_auth("admin", Some(PASSWORD)).send().await.unwrap();
    let token: Value = token.json().await.unwrap();
    ask("token", "/v2/").bearer_auth(token["token"].as_str().unwrap()).send().await.unwrap();
    ask("nothing", "/v2/").send().await.unwrap();
    ask("wrong", "/v2/").basic_auth("admin", Some("s3cr3t")).send().await.unwrap();
    for (agent, identity) in [
        ("password", Value::from("htpasswd:admin")),
        ("token", "htpasswd:admin".into()),
        ("nothing", "anonymous".into()),
        ("wrong", Value::Null),
    ] {
        let line = registry.program.line(agent, |line| line["agent"] == agent).await;
        assert_eq!(line["identity"], identity, "{line}");
    }
    let log = registry.program.text();
    assert!(!log.contains(PASSWORD) && !log.contains("s3cr3t") && !log.contains(token["token"].as_str().unwrap()));
}

/// The cause was logged without the id, and the id without the cause.
#[tokio::test]
async fn what_is_behind_a_failure_is_logged_with_the_id_that_the_client_was_told() {
    let registry = Process::start(&[]).await;
    let client = Client::new();
    let blob = registry.push_blob(&client, vec![7; 2_000_000]).await;
    // Not what the link says: it is not served.
    let hex = blob.hex();
    let data = format!("data/docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]);
    std::fs::write(registry.files.path().join(data), "more than was pushed").unwrap();
    let path = format!("/v2/team/app/blobs/{blob}");
    let answer = registry.request(&client, Method::GET, &path).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let error: Value = answer.json().await.unwrap();
    let id = error["errors"][0]["detail"]["requestId"].as_str().unwrap().to_owned();
    let said = registry.program.line("the failure is logged", |line| line["message"] == "a request failed").await;
    assert_eq!((&said["id"], &said["level"]), (&id.into(), &"ERROR".into()), "{said}");
    assert!(said["error"].as_str().unwrap().contains(hex), "{said}");
}

/// Some were stored, and in no log and no metric: hyper drops the request of a client that has gone.
#[tokio::test]
async fn a_request_whose_client_does_not_wait_is_logged_and_counted() {
    const PUTS: usize = 50;
    let registry = Process::start(&[]).await;
    let client = Client::new();
    let config = registry.push_blob(&client, b"{}".to_vec()).await;
    let manifest = image(&config, &[]).to_string();
    for number in 0..PUTS {
        let head = format!(
            "PUT /v2/team/app/manifests/tag-{number} HTTP/1.1\r\nHost: x\r\n{LOGIN}\r\nContent-Type: {OCI_MANIFEST}\r\nContent-Length: {}\r\n\r\n",
            manifest.len()
        );
        let mut stream = TcpStream::connect(&registry.authority).await.unwrap();
        stream.write_all(format!("{head}{manifest}").as_bytes()).await.unwrap();
    }
    // Some are never begun: it is seen before that their clients have gone.
    let puts = || registry.program.log().into_iter().filter(|line| line["method"] == "PUT").collect::<Vec<_>>();
    let lines = eventually("what was stored has its line", async || {
        let list = registry.request(&client, Method::GET, "/v2/team/app/tags/list").send().await.unwrap();
        let tags: Value = list.json().await.unwrap();
        let lines = puts();
        let has_line = |tag: &Value| {
            let path = format!("/v2/team/app/manifests/{}", tag.as_str().unwrap());
            lines.iter().any(|line| line["path"] == path)
        };
        match tags["tags"].as_array() {
            Some(tags) if tags.iter().all(has_line) => Ok(lines),
            other => Err(format!("{other:?} and {} lines", lines.len())),
        }
    })
    .await;
    for line in &lines {
        match line["status"].as_u64().unwrap() {
            201 => assert_eq!(line["message"], "served"),
            499 => assert_eq!(line["message"], "the connection ended before the answer"),
            _ => panic!("{line}"),
        }
    }
    eventually("each line is counted", async || {
        let metrics = registry.request(&client, Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
        let counted = metrics
            .lines()
            .filter(|line| line.starts_with("regatta_registry_requests_total{") && line.contains("method=\"PUT\""))
            .map(|line| line.rsplit_once(' ').unwrap().1.parse::<usize>().unwrap());
        let (counted, logged) = (counted.sum::<usize>(), puts().len());
        if counted == logged { Ok(()) } else { Err((counted, logged)) }
    })
    .await;
}

/// A push to this repository of a blob of so many bytes, of which none has come yet: the registry waits for them.
async fn begin_push(registry: &Process, repository: &str, digest: &Digest, length: usize) -> TcpStream {
    let mut stream = TcpStream::connect(&registry.authority).await.unwrap();
    let target = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: x\r\n{LOGIN}\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100", "it waits for the body");
    stream
}

/// A push that is under way when the server is told to go away comes to its end; whoever comes later goes elsewhere.
/// Probes and metrics were refused meanwhile.
#[tokio::test]
async fn a_server_that_goes_away_finishes_what_it_began_and_answers_probes_until_then() {
    let apart = ["--health-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"];
    let mut registry = Process::start(&[["--grace-seconds", "60"].as_slice(), &apart].concat()).await;
    let client = Client::new();
    let mut ports = registry.program.ports();
    ports.retain(|port| !registry.authority.ends_with(&format!(":{port}")));
    assert_eq!(ports.len(), 2, "health and metrics: {ports:?}");
    let ask = async |path: &str| {
        let mut found = Vec::new();
        for port in &ports {
            let answer =
                client.get(format!("http://127.0.0.1:{port}{path}")).header("Connection", "close").send().await;
            match answer.map(|answer| answer.status()) {
                Ok(StatusCode::NOT_FOUND) => {}
                other => found.push(other.map_err(|error| format!("{error:?}"))),
            }
        }
        found
    };
    assert_eq!(ask("/readyz").await, [Ok(StatusCode::OK)]);
    let mut stream = begin_push(&registry, "team/app", &Digest::sha256(b"0123456789"), 10).await;
    registry.program.signal("TERM");
    eventually("nobody else is let in", async || match registry.request(&client, Method::GET, "/v2/").send().await {
        Err(error) if error.is_connect() => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    for (path, status) in [("/healthz", 200), ("/readyz", 503), ("/metrics", 200)] {
        assert_eq!(ask(path).await, [Ok(StatusCode::from_u16(status).unwrap())], "{path}");
    }
    assert!(registry.program.ended().is_none(), "it waits for the push");
    stream.write_all(b"0123456789").await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    let rest = String::from_utf8(rest).unwrap();
    assert!(rest.contains("HTTP/1.1 201"), "{rest}");
    assert!(rest.to_lowercase().contains("connection: close"), "{rest}");
    assert!(registry.program.end().await.success());
    registry.program.line("it says so", |line| line["message"] == "all requests are finished").await;
}

/// All were said to be finished, and which of them had a line in the access log was a race with the end of the process.
#[tokio::test]
async fn requests_that_are_left_behind_when_the_grace_is_over_are_told_and_logged() {
    const PUSHES: usize = 8;
    let mut registry = Process::start(&["--grace-seconds", "2"]).await;
    let client = Client::new();
    let digest = Digest::sha256(b"0123456789");
    let mut streams = Vec::new();
    for number in 0..PUSHES {
        streams.push(begin_push(&registry, &format!("team/app-{number}"), &digest, 10_000).await);
    }
    let multiplexed = Client::builder().http2_prior_knowledge().build().unwrap();
    let path = format!("/v2/team/app-{PUSHES}/blobs/uploads/?digest={digest}");
    let body = futures::stream::iter([Ok::<_, std::io::Error>("0")]).chain(futures::stream::pending());
    let push = registry.request(&multiplexed, Method::POST, &path).body(reqwest::Body::wrap_stream(body));
    let push = tokio::spawn(push.send());
    eventually("the push over HTTP/2 is under way too", async || {
        let metrics = registry.request(&client, Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
        let open = metrics.lines().find_map(|line| line.strip_prefix("regatta_registry_requests_in_flight ")).unwrap();
        if open == (PUSHES + 1).to_string() { Ok(()) } else { Err(open.to_owned()) }
    })
    .await;
    registry.program.signal("TERM");
    let status = eventually("it ends, however they trickle", async || {
        for stream in &mut streams {
            // It may have ended meanwhile.
            let _ = stream.write_all(b"0").await;
        }
        registry.program.ended().ok_or("it runs")
    })
    .await;
    assert!(status.success());
    assert!(push.await.unwrap().is_err(), "nobody has answered it");
    let log = registry.program.log();
    let left = log.iter().find(|line| line["connections"].is_u64()).unwrap_or_else(|| panic!("{log:#?}"));
    assert_eq!((&left["connections"], &left["seconds"]), (&(PUSHES + 1).into(), &2.into()), "{left}");
    assert!(!log.iter().any(|line| line["message"] == "all requests are finished"), "{}", registry.program.text());
    for number in 0..=PUSHES {
        let path = format!("/v2/team/app-{number}/blobs/uploads/");
        let line = log.iter().find(|line| line["path"] == *path).unwrap_or_else(|| panic!("{path}: {log:#?}"));
        assert_eq!((&line["status"], &line["method"]), (&499.into(), &"POST".into()), "{line}");
    }
}

/// A fresh certificate for 127.0.0.1, and its key: `tls.crt` and `tls.key`.
pub fn write_certificate(directory: &Path) -> reqwest::Certificate {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    for (name, text) in [("tls.key", made.signing_key.serialize_pem()), ("tls.crt", made.cert.pem())] {
        // As a mounted Secret changes: all at once.
        std::fs::write(directory.join("new"), text).unwrap();
        std::fs::rename(directory.join("new"), directory.join(name)).unwrap();
    }
    reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap()
}

#[tokio::test]
async fn a_new_certificate_is_served_and_open_connections_go_on() {
    let files = tempfile::tempdir().unwrap();
    let trusting = |root| Client::builder().tls_certs_only([root]).timeout(Duration::from_secs(30)).build().unwrap();
    like_main();
    let old = trusting(write_certificate(files.path()));
    let registry = Process::start_in(files, &["--tls-cert", "tls.crt", "--tls-key", "tls.key"]).await;
    let url = format!("https://{}/v2/", registry.authority);
    let first = old.get(&url).send().await.unwrap();
    assert_eq!((first.status(), first.version()), (StatusCode::UNAUTHORIZED, reqwest::Version::HTTP_2), "by ALPN");
    let new = trusting(write_certificate(registry.files.path()));
    eventually("the new certificate is served", async || new.get(&url).send().await.map(drop)).await;
    assert_eq!(old.get(&url).send().await.unwrap().status(), StatusCode::UNAUTHORIZED, "on its old connection");
}

/// The setting `--sparse` reaches the server.
#[tokio::test]
async fn the_program_takes_sparse_manifests_only_if_it_is_told_to() {
    for (args, status) in [(&["--sparse"][..], 201), (&[], 400)] {
        let registry = Process::start(args).await;
        let manifest = image(&Digest::sha256(b"{}"), &[]).to_string();
        let request = registry.request(&Client::new(), Method::PUT, "/v2/team/app/manifests/v1");
        let answer = request.header(header::CONTENT_TYPE, OCI_MANIFEST).body(manifest).send().await.unwrap();
        assert_eq!(answer.status(), status);
    }
}
