//! What is seen only on the wire: 100-continue, refused bodies, slow clients, large heads, HTTP/2, IPv6.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use regatta::oci::Digest;
use regatta::server::limits::{Limits, Rate};
use regatta::server::listen::Listener;
use regatta::server::{Settings, dispatch};
use reqwest::{Method, StatusCode, header};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::program::{DEADLINE, eventually};
use crate::protocol_support::{World, filesystem};
use crate::registry_support::code;

/// A connection to a server, of which every byte is ours.
struct Wire<S = TcpStream> {
    stream: S,
    read: Vec<u8>,
}

impl Wire {
    async fn to(world: &World) -> Self {
        Self { stream: TcpStream::connect(&world.authority).await.unwrap(), read: Vec::new() }
    }
}

impl Wire<TlsStream<TcpStream>> {
    async fn over_tls(world: &World) -> Self {
        let trusted = CertificateDer::from_pem_slice(world.certificate.as_ref().unwrap().as_bytes()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(trusted).unwrap();
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let stream = TcpStream::connect(&world.authority).await.unwrap();
        let name = "127.0.0.1".try_into().unwrap();
        Self { stream: TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap(), read: Vec::new() }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// The head of a request, as somebody.
    async fn begin(&mut self, who: &str, request: &str, headers: &[(&str, &str)]) {
        let mut lines = vec![format!("{request} HTTP/1.1"), "Host: registry".to_owned()];
        if !who.is_empty() {
            lines.push(format!("Authorization: Basic {}", STANDARD.encode(format!("{who}:{who}"))));
        }
        lines.extend(headers.iter().map(|(name, value)| format!("{name}: {value}")));
        self.write(format!("{}\r\n\r\n", lines.join("\r\n")).as_bytes()).await;
    }

    async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    async fn more(&mut self) -> bool {
        let read = tokio::time::timeout(DEADLINE, self.stream.read_buf(&mut self.read)).await;
        read.expect("an answer in time").unwrap_or(0) > 0
    }

    /// The head of the next answer; what is behind it stays.
    async fn head(&mut self) -> String {
        loop {
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                let rest = self.read.split_off(end + 4);
                return String::from_utf8(std::mem::replace(&mut self.read, rest)).unwrap();
            }
            let seen = String::from_utf8_lossy(&self.read).into_owned();
            assert!(self.more().await, "the connection ended within a head: {seen}");
        }
    }

    /// Everything until the connection ends.
    async fn rest(mut self) -> Vec<u8> {
        while self.more().await {}
        self.read
    }
}

fn limited(limits: Limits) -> Settings {
    Settings { limits, ..Settings::default() }
}

/// RFC 9110, 10.1.1: rights are decided before anything of the body is asked for.
#[tokio::test]
async fn who_waits_for_100_continue_learns_of_a_refusal_at_once() {
    let world = World::usual().await;
    let digest = Digest::sha256(b"0123456789");
    let path = format!("/v2/team/app/blobs/uploads/?digest={digest}");
    for (who, path, status) in [
        ("", path.clone(), "401"),
        ("guest", path.clone(), "403"),
        ("dev", path.replace("/app/", "/APP/"), "400"),
        ("dev", "/v2/team/app/manifests/.bad".to_owned(), "404"),
    ] {
        let mut wire = Wire::to(&world).await;
        let headers = [("Expect", "100-continue"), ("Content-Length", "10")];
        wire.begin(who, &format!("POST {path}"), &headers).await;
        let head = wire.head().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{who} {path}: {head}");
    }
    let mut wire = Wire::to(&world).await;
    wire.begin("dev", &format!("POST {path}"), &[("Expect", "100-continue"), ("Content-Length", "10")]).await;
    assert!(wire.head().await.starts_with("HTTP/1.1 100"));
    wire.write(b"0123456789").await;
    assert!(wire.head().await.starts_with("HTTP/1.1 201"));
}

/// A socket that is closed with bytes unread resets, and the answer is lost.
#[tokio::test]
async fn who_sends_at_once_sees_the_refusal_and_no_reset() {
    let world = World::usual().await;
    let mut wire = Wire::to(&world).await;
    let body = vec![b'x'; 200 * 1024];
    let length = body.len().to_string();
    wire.begin("guest", "POST /v2/team/app/blobs/uploads/", &[("Content-Length", &length)]).await;
    wire.write(&body).await;
    let head = wire.head().await;
    assert!(head.starts_with("HTTP/1.1 403"), "{head}");
    assert!(!head.to_lowercase().contains("connection: close"), "all of it was read: {head}");
    // Out of order: known before the body is read, too.
    let begun = world.request("dev", Method::POST, "/v2/team/app/blobs/uploads/").send().await.unwrap();
    let place = begun.headers()[header::LOCATION].to_str().unwrap().to_owned();
    let range = format!("7-{}", 6 + body.len());
    let mut wire = Wire::to(&world).await;
    wire.begin("dev", &format!("PATCH {place}"), &[("Content-Length", &length), ("Content-Range", &range)]).await;
    wire.write(&body).await;
    assert!(wire.head().await.starts_with("HTTP/1.1 416"));
}

/// Whoever sends all of a body before reading anything would learn of a broken pipe, and not of what is wrong.
#[tokio::test]
async fn who_sends_all_of_a_large_body_before_reading_sees_the_refusal_and_no_reset() {
    async fn sees(mut wire: Wire<impl AsyncRead + AsyncWrite + Unpin>, refused: (&str, &str, &[u8], &str)) {
        let (who, request, body, status) = refused;
        wire.begin(who, request, &[("Content-Length", &body.len().to_string())]).await;
        wire.write(body).await;
        let head = wire.head().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {head}");
        assert!(String::from_utf8(wire.rest().await).unwrap().contains("\"requestId\""), "{request}");
    }
    let plain = World::usual().await;
    let encrypted = World::start(filesystem(), Settings::default(), true, "127.0.0.1:0").await;
    let large = vec![b'x'; 20 * 1024 * 1024];
    let manifest = vec![b' '; 4 * 1024 * 1024 + 1];
    for refused in [
        ("guest", "POST /v2/team/app/blobs/uploads/", &large[..], "403"),
        ("dev", "PUT /v2/team/app/manifests/v1", &manifest, "413"),
        ("dev", "PUT /v2/team/app/manifests/.bad", &large, "400"),
    ] {
        sees(Wire::to(&plain).await, refused).await;
        sees(Wire::over_tls(&encrypted).await, refused).await;
    }
}

/// Nobody makes the server read without end what it does not want.
#[tokio::test]
async fn of_a_refused_body_only_so_much_is_read() {
    let limits = Limits { drained_bytes: 10_000, drained_for: Duration::from_millis(200), ..Limits::default() };
    let world = World::plain(filesystem(), limited(limits)).await;
    for sent in [0, 5_000, 100_000] {
        let mut wire = Wire::to(&world).await;
        wire.begin("guest", "POST /v2/team/app/blobs/uploads/", &[("Content-Length", "1000000000")]).await;
        wire.write(&vec![b'x'; sent]).await;
        let head = wire.head().await;
        assert!(head.starts_with("HTTP/1.1 403"), "{sent}: {head}");
        assert!(head.to_lowercase().contains("connection: close"), "{sent}: {head}");
    }
}

/// Denial of service: slow bodies are ended; what came of an upload counts when it is asked for.
#[tokio::test]
async fn a_body_that_comes_too_slowly_is_408_and_its_upload_goes_on() {
    let least = Rate { bytes: 1_000, within: Duration::from_millis(200) };
    let world = World::plain(filesystem(), limited(Limits { least, ..Limits::default() })).await;
    let begun = world.request("dev", Method::POST, "/v2/team/app/blobs/uploads/").send().await.unwrap();
    let place = begun.headers()[header::LOCATION].to_str().unwrap().to_owned();
    let mut wire = Wire::to(&world).await;
    wire.begin("dev", &format!("PATCH {place}"), &[("Content-Length", "1000000")]).await;
    wire.write(&[b'x'; 300]).await;
    let head = wire.head().await;
    assert!(head.starts_with("HTTP/1.1 408") && head.to_lowercase().contains("connection: close"), "{head}");
    let status = world.get("dev", &place).await;
    assert_eq!(status.headers()[header::RANGE], "0-299");
    let mut wire = Wire::to(&world).await;
    wire.begin("dev", "PUT /v2/team/app/manifests/v1", &[("Content-Length", "1000"), ("Content-Type", "a/b")]).await;
    assert!(wire.head().await.starts_with("HTTP/1.1 408"), "manifests too");
    assert!(String::from_utf8(wire.rest().await).unwrap().contains("MANIFEST_INVALID"));
}

/// There is no total time-out: a client that is slow, but fast enough, may take as many windows as it needs. It would have
/// to be held up for a whole one to be ended here.
#[tokio::test]
async fn a_body_that_comes_just_fast_enough_may_take_as_long_as_it_needs() {
    const PIECE: [u8; 500] = [b'y'; 500];
    let least = Rate { bytes: 1_000, within: Duration::from_secs(3) };
    let world = World::plain(filesystem(), limited(Limits { least, ..Limits::default() })).await;
    let begun = world.request("dev", Method::POST, "/v2/team/app/blobs/uploads/").send().await.unwrap();
    let place = begun.headers()[header::LOCATION].to_str().unwrap().to_owned();
    let mut wire = Wire::to(&world).await;
    wire.begin("dev", &format!("PATCH {place}"), &[("Transfer-Encoding", "chunked")]).await;
    let (start, mut sent) = (Instant::now(), 0);
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    while start.elapsed() < 2 * least.within {
        ticks.tick().await;
        wire.write(b"1f4\r\n").await;
        wire.write(&PIECE).await;
        wire.write(b"\r\n").await;
        sent += PIECE.len();
    }
    wire.write(b"0\r\n\r\n").await;
    let head = wire.head().await;
    assert!(head.starts_with("HTTP/1.1 202"), "{head}");
    assert!(head.to_lowercase().contains(&format!("range: 0-{}\r\n", sent - 1)), "{sent}: {head}");
}

/// Serves over a listener of its own, and goes away as soon as `client` has come. It gives open requests an hour: what this
/// gives ends sooner only if something ends them.
async fn going(world: &World, least: Rate, client: impl AsyncFnOnce(SocketAddr)) -> JoinHandle<usize> {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), None).await.unwrap();
    let (listener, stop) = (listener.at_least(least), CancellationToken::new());
    let address = listener.address().unwrap();
    let router = axum::Router::new().fallback(dispatch::serve).with_state(world.server.clone());
    let serving = tokio::spawn(listener.serve(router, stop.clone(), Duration::from_hours(1)));
    client(address).await;
    stop.cancel();
    serving
}

/// Denial of service: readers that take nothing are ended, and a blob that nobody reads is not held for ever.
#[tokio::test]
async fn a_reader_that_takes_nothing_is_ended() {
    let world = World::usual().await;
    let digest = world.push_blob("open/app", vec![7_u8; 32 * 1024 * 1024]).await;
    let request = format!("GET /v2/open/app/blobs/{digest} HTTP/1.1\r\nHost: registry\r\n\r\n");
    let strict = Rate { bytes: 1_000, within: Duration::from_millis(300) };
    let patient = Rate { bytes: 1_000, within: Duration::from_hours(1) };
    let (mut held, mut other) = (None, None);
    let open = async |address: SocketAddr| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.read_exact(&mut [0; 12]).await.unwrap();
        stream
    };
    let patient = going(&world, patient, async |address| held = Some(open(address).await)).await;
    let strict = going(&world, strict, async |address| other = Some(open(address).await)).await;
    tokio::time::timeout(DEADLINE, strict).await.expect("its reader is ended").unwrap();
    assert!(!patient.is_finished(), "this one came earlier, and nothing else ends it");
    patient.abort();
}

/// Tokens of people in many groups are long.
#[tokio::test]
async fn a_header_of_32_kib_is_read_and_much_more_is_431() {
    let world = World::usual().await;
    let with = async |length: usize| {
        let request = world.request("", Method::GET, "/v2/").bearer_auth("x".repeat(length));
        request.send().await.unwrap()
    };
    let long = with(32 * 1024).await;
    assert_eq!((long.status(), code(long).await.as_str()), (StatusCode::UNAUTHORIZED, "UNAUTHORIZED"));
    let longer = with(50 * 1024).await;
    assert_eq!(longer.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    assert_eq!(code(longer).await, "UNSUPPORTED");
    assert_eq!(with(200 * 1024).await.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    let target = format!("/v2/open/app/tags/list?last={}", "x".repeat(20 * 1024));
    assert_eq!(world.status("", Method::GET, &target).await, 414);
    let tags = "&tag=x".repeat(101);
    let put = world.request("dev", Method::PUT, &format!("/v2/team/app/manifests/{}?{tags}", Digest::sha256(b"")));
    assert_eq!(put.send().await.unwrap().status(), StatusCode::URI_TOO_LONG);
}

#[tokio::test]
async fn http_2_is_spoken_with_prior_knowledge_too() {
    let world = World::usual().await;
    let digest = world.push_blob("open/app", vec![7_u8; 3_000_000]).await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let answer = client.get(format!("{}/v2/open/app/blobs/{digest}", world.url)).send().await.unwrap();
    assert_eq!((answer.version(), answer.status()), (reqwest::Version::HTTP_2, StatusCode::OK));
    assert_eq!(Digest::sha256(&answer.bytes().await.unwrap()), digest);
    // HTTP/2 has no Host, and a challenge all the same; a refused body is answered.
    let answer = client.post(format!("{}/v2/team/app/blobs/uploads/", world.url)).body(vec![0; 500_000]).send().await;
    let answer = answer.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    let challenge = answer.headers()[header::WWW_AUTHENTICATE].to_str().unwrap();
    assert!(challenge.starts_with(&format!("Bearer realm=\"{}/token\"", world.url)), "{challenge}");
}

#[tokio::test]
async fn a_registry_listens_at_ipv6_addresses() {
    let world = World::start(filesystem(), Settings::default(), false, "[::1]:0").await;
    assert!(world.url.starts_with("http://[::1]:"), "{}", world.url);
    let digest = world.push_blob("open/app", "six").await;
    assert_eq!(world.get("", &format!("/v2/open/app/blobs/{digest}")).await.text().await.unwrap(), "six");
    let challenge = world.get("", "/v2/").await.headers()[header::WWW_AUTHENTICATE].to_str().unwrap().to_owned();
    assert!(challenge.contains(&format!("realm=\"{}/token\"", world.url)), "{challenge}");
    assert!(!world.token("dev", &challenge).await.is_empty());
}

/// A client that opens a range and takes a part of it, as containerd does, disturbs nobody.
#[tokio::test]
async fn a_client_that_had_enough_hangs_up_and_others_go_on() {
    let world = World::usual().await;
    let digest = world.push_blob("open/app", vec![7_u8; 8 * 1024 * 1024]).await;
    for _ in 0..20 {
        let mut wire = Wire::to(&world).await;
        wire.begin("", &format!("GET /v2/open/app/blobs/{digest}"), &[("Range", "bytes=1000000-")]).await;
        assert!(wire.head().await.starts_with("HTTP/1.1 206"));
    }
    let mut wire = Wire::to(&world).await;
    wire.begin("", &format!("GET /v2/open/app/blobs/{digest}"), &[("Range", "bytes=-5"), ("Connection", "close")])
        .await;
    assert!(wire.head().await.starts_with("HTTP/1.1 206"));
    assert_eq!(wire.rest().await, [7; 5]);
}

/// What was kept of a broken body counts only if the next request says where it goes on, or follows a question: a client
/// that sends everything again, as containerd does, begins anew.
#[tokio::test]
async fn a_broken_body_counts_only_for_who_goes_on_from_where_it_broke() {
    const ALL: &[u8] = b"0123456789";
    let world = World::usual().await;
    let digest = Digest::sha256(ALL);
    for (what, asks, range, from, closes) in [
        ("sends all again", false, None, 0, false),
        ("goes on by range", false, Some("4-9"), 4, false),
        ("asks, and goes on", true, None, 4, false),
        ("asks, and goes on by range", true, Some("4-9"), 4, false),
        ("closes with all of it", false, None, 0, true),
        ("closes with the rest, by range", false, Some("4-9"), 4, true),
        ("asks, and closes with the rest", true, None, 4, true),
    ] {
        let begun = world.request("dev", Method::POST, "/v2/team/app/blobs/uploads/").send().await.unwrap();
        let place = begun.headers()[header::LOCATION].to_str().unwrap().to_owned();
        let mut wire = Wire::to(&world).await;
        wire.begin("dev", &format!("PATCH {place}"), &[("Content-Length", "10")]).await;
        wire.write(&ALL[..4]).await;
        drop(wire);
        let id = place.rsplit('/').next().unwrap();
        eventually("what came is kept", async || {
            let upload =
                world.server.registry().upload(&"team/app".parse().unwrap(), id, "htpasswd:dev").await.unwrap();
            if upload.size() == 4 { Ok(()) } else { Err(upload.size()) }
        })
        .await;
        if asks {
            assert_eq!(world.get("dev", &place).await.headers()[header::RANGE], "0-3", "{what}");
        }
        let close = format!("{place}?digest={digest}");
        let (method, path) = if closes { (Method::PUT, &close) } else { (Method::PATCH, &place) };
        let mut request = world.request("dev", method, path).body(&ALL[from..]);
        if let Some(range) = range {
            request = request.header(header::CONTENT_RANGE, range);
        }
        let answer = request.send().await.unwrap();
        if closes {
            assert_eq!(answer.status(), StatusCode::CREATED, "{what}");
            continue;
        }
        let range = answer.headers()[header::RANGE].to_str().unwrap();
        assert_eq!((answer.status().as_u16(), range), (202, "0-9"), "{what}");
        assert_eq!(world.status("dev", Method::PUT, &close).await, 201, "{what}");
    }
}

/// Whatever a client says of itself: the realm is the configured one, and names are not taken from headers.
#[tokio::test]
async fn a_challenge_is_never_made_from_what_the_client_sent() {
    let world = World::usual().await;
    for (name, value) in [
        ("Host", "evil.example"),
        ("X-Forwarded-Host", "evil.example"),
        ("X-Forwarded-Proto", "gopher"),
        ("Forwarded", "host=evil.example;proto=gopher"),
        ("X-Original-URL", "/v2/evil.example"),
    ] {
        let answer = world.request("", Method::GET, "/v2/").header(name, value).send().await.unwrap();
        let challenge = answer.headers()[header::WWW_AUTHENTICATE].to_str().unwrap().to_owned();
        assert!(challenge.starts_with(&format!("Bearer realm=\"{}/token\",", world.url)), "{name}: {challenge}");
        let begun = world.request("dev", Method::POST, "/v2/team/app/blobs/uploads/").header(name, value).send().await;
        let place = begun.unwrap().headers()[header::LOCATION].to_str().unwrap().to_owned();
        assert!(place.starts_with("/v2/team/app/blobs/uploads/"), "{name}: {place}");
    }
}

/// RFC 9112, 3.2: what is before a registry may take a request for another's that does not say once whom it is for.
#[tokio::test]
async fn a_request_without_a_host_or_with_two_is_400() {
    let world = World::usual().await;
    let login = format!("Authorization: Basic {}\r\n", STANDARD.encode("dev:dev"));
    for (request, status) in [
        ("GET /v2/ HTTP/1.1\r\n", "HTTP/1.1 400"),
        ("GET /v2/ HTTP/1.1\r\nHost: a\r\nHost: a\r\n", "HTTP/1.1 400"),
        ("GET /v2/ HTTP/1.1\r\nHost: a b\r\n", "HTTP/1.1 400"),
        ("GET /token HTTP/1.1\r\n", "HTTP/1.1 400"),
        ("GET /v2/ HTTP/1.1\r\nHost: a\r\n", "HTTP/1.1 200"),
        ("GET /v2/ HTTP/1.0\r\n", "HTTP/1.0 200"),
    ] {
        let mut wire = Wire::to(&world).await;
        wire.write(format!("{request}Connection: close\r\n{login}\r\n").as_bytes()).await;
        let head = wire.head().await;
        assert!(head.starts_with(status), "{request}: {head}");
        if status.ends_with("400") {
            let body: Value = serde_json::from_slice(&wire.rest().await).unwrap();
            assert_eq!(body["errors"][0]["code"], "UNSUPPORTED", "{request}");
        }
    }
}

/// RFC 9110, 8.6: the length of what a client has already is not zero.
#[tokio::test]
async fn a_304_says_no_length() {
    let world = World::usual().await;
    let digest = world.push_blob("open/app", b"0123456789".to_vec()).await;
    for method in ["GET", "HEAD"] {
        let mut wire = Wire::to(&world).await;
        wire.begin("", &format!("{method} /v2/open/app/blobs/{digest}"), &[("If-None-Match", "*")]).await;
        let head = wire.head().await.to_lowercase();
        assert!(head.starts_with("http/1.1 304") && !head.contains("content-length"), "{method}: {head}");
        // The connection goes on behind it.
        wire.begin("", &format!("HEAD /v2/open/app/blobs/{digest}"), &[]).await;
        let head = wire.head().await.to_lowercase();
        assert!(head.starts_with("http/1.1 200") && head.contains("content-length: 10\r\n"), "{method}: {head}");
    }
}

#[tokio::test]
async fn who_authenticates_in_another_way_is_told_which_are_taken() {
    let world = World::usual().await;
    for value in ["Negotiate x", "Digest username=\"dev\"", "x"] {
        let answer = world.request("", Method::GET, "/v2/").header(header::AUTHORIZATION, value).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        assert!(answer.headers().contains_key(header::WWW_AUTHENTICATE));
        let body = answer.text().await.unwrap();
        assert!(body.contains("`Basic`") && body.contains("`Bearer`"), "{value}: {body}");
    }
}

/// Denial of service: what connections take is bounded by their number; whoever comes later waits, and is served then.
#[tokio::test]
async fn a_listener_has_only_so_many_connections_and_others_wait_for_their_end() {
    let world = World::usual().await;
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), None).await.unwrap();
    let address = listener.address().unwrap();
    let router = axum::Router::new().fallback(dispatch::serve).with_state(world.server.clone());
    let stop = CancellationToken::new();
    let _ends = stop.clone().drop_guard();
    tokio::spawn(listener.at_most(2).serve(router, stop, Duration::from_secs(1)));
    let request = b"GET /v2/ HTTP/1.1\r\nHost: registry\r\n\r\n";
    let ask = async || {
        let mut wire = Wire { stream: TcpStream::connect(address).await.unwrap(), read: Vec::new() };
        wire.write(request).await;
        wire
    };
    let (mut one, mut other, mut late) = (ask().await, ask().await, ask().await);
    // Those that came first are served again and again.
    for _ in 0..50 {
        for wire in [&mut one, &mut other] {
            assert!(wire.head().await.starts_with("HTTP/1.1 401"));
            wire.read.clear();
            wire.write(request).await;
        }
    }
    let waits = late.stream.try_read(&mut [0]);
    assert!(waits.is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "the third one waits");
    drop(one);
    assert!(late.head().await.starts_with("HTTP/1.1 401"));
}
