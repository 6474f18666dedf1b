//! Denial of service: ten thousand hostile requests, most of them at once, leave the server's memory under its ceiling and other
//! clients served.

use std::time::{Duration, Instant};

use reqwest::{Client, Method, StatusCode, header};
use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::program::DEADLINE;
use crate::protocol_http2 as http2;
use crate::protocol_process::{LOGIN, Process};
use crate::registry_support::{OCI_MANIFEST, image};

/// What the process may have resident at any time, with 4,000 connections open: 1.2 GB before there were bounds. Without
/// optimisation the program alone takes more than a released one.
const CEILING_KIB: u64 = 384 * 1024;

/// How long anybody else waits for an answer at most, on two processors that are busy with nothing else. Three times that
/// is given.
const PATIENCE: Duration = Duration::from_secs(10);

/// The connections that stay open have both their ends on this machine, this one's in the process of the tests.
fn needs_files() {
    let most = getrlimit(Resource::Nofile).current;
    assert!(
        most.is_none_or(|most| most >= 8_192),
        "this process may have {most:?} files open, and needs 8192: ulimit -Hn says what it may be given, and \
         /etc/security/limits.conf changes that"
    );
}

/// Requests of one kind.
#[derive(Clone)]
struct Attack {
    what: &'static str,
    count: usize,
    bytes: Vec<u8>,
    /// Whether the connection stays open, with nothing more sent and nothing more read, until all attacks have begun.
    lingers: bool,
}

impl Attack {
    fn new(what: &'static str, count: usize, bytes: impl Into<Vec<u8>>) -> Self {
        Self { what, count, bytes: bytes.into(), lingers: false }
    }

    fn lingering(self) -> Self {
        Self { lingers: true, ..self }
    }

    /// The first line of the answer; none where the server says nothing yet.
    async fn run(self, authority: String) -> (Option<TcpStream>, &'static str, Option<String>) {
        let Ok(mut stream) = TcpStream::connect(&authority).await else { return (None, self.what, None) };
        // The server may hang up before all is sent.
        let _ = tokio::time::timeout(DEADLINE, stream.write_all(&self.bytes)).await;
        if self.lingers {
            return (Some(stream), self.what, None);
        }
        let mut head = Vec::new();
        let _ = tokio::time::timeout(DEADLINE, async {
            while !head.contains(&b'\n') && stream.read_buf(&mut head).await.is_ok_and(|read| read > 0) {}
        })
        .await;
        let line = String::from_utf8_lossy(&head).lines().next().map(str::to_owned);
        (None, self.what, line)
    }
}

fn request(line: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("{line} HTTP/1.1\r\nHost: x\r\n{LOGIN}\r\nConnection: close\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

fn put(name: &str, body: &str) -> Vec<u8> {
    let headers = format!("Content-Type: {OCI_MANIFEST}\r\nContent-Length: {}\r\n", body.len());
    request(&format!("PUT /v2/team/app/manifests/{name}"), &headers, body.as_bytes())
}

fn attacks(blob: &str) -> Vec<Attack> {
    let long = "x".repeat(60 * 1024);
    let longest = "x".repeat(300 * 1024);
    let fields = |one: &str, size: usize| one.repeat(size / one.len());
    let notes = |size| format!("{{\"schemaVersion\":2,\"annotations\":{{{}\"z\":\"\"}}}}", fields("\"a\":\"\",", size));
    let platform = format!(
        "{{\"schemaVersion\":2,\"manifests\":[{{\"mediaType\":\"a/b\",\"digest\":\"{blob}\",\"size\":1,\"platform\":[{}0]}}]}}",
        fields("0,", 3 * 1024 * 1024)
    );
    let slow = |name: &str, sent: usize| {
        let headers = format!("Content-Type: {OCI_MANIFEST}\r\nContent-Length: 4000000\r\n");
        request(&format!("PUT /v2/team/app/manifests/{name}"), &headers, &vec![b' '; sent])
    };
    let upload = format!("POST /v2/team/app/blobs/uploads/?digest={blob}");
    vec![
        Attack::new("slow bodies", 1_200, request(&upload, "Content-Length: 1000000000\r\n", &[7; 100])).lingering(),
        Attack::new("slow readers", 1_200, request(&format!("GET /v2/team/app/blobs/{blob}"), "", b"")).lingering(),
        Attack::new(
            "slow readers of many parts",
            300,
            request(&format!("GET /v2/team/app/blobs/{blob}"), "Range: bytes=0-9999999,20000000-29999999\r\n", b""),
        )
        .lingering(),
        Attack::new("heads without an end", 600, format!("GET /v2/ HTTP/1.1\r\nX: {long}")).lingering(),
        Attack::new("connections on which nothing comes", 600, "").lingering(),
        Attack::new("huge heads", 800, request("GET /v2/", &format!("X-Long: {longest}\r\n"), b"")),
        Attack::new("huge targets", 800, request(&format!("GET /v2/{long}"), "", b"")),
        Attack::new("giant n", 1_000, request("GET /v2/_catalog?n=99999999999999999999", "", b"")),
        Attack::new("giant n of tags", 1_000, request("GET /v2/team/app/tags/list?n=18446744073709551615", "", b"")),
        Attack::new("deep JSON", 700, put("deep", &format!("{{\"x\":{}", "[".repeat(100_000)))),
        Attack::new("wide JSON", 60, put("wide", &notes(4_000_000))),
        Attack::new("wide platforms", 40, put("platform", &platform)),
        Attack::new("slow manifests", 100, slow("slow", 1_000_000)).lingering(),
        Attack::new("open uploads", 1_200, request("POST /v2/team/app/blobs/uploads/", "Content-Length: 0\r\n", b"")),
        Attack::new(
            "unasked bodies",
            400,
            [
                b"POST /v2/team/app/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n"
                    .as_slice(),
                &[7; 400 * 1024],
            ]
            .concat(),
        ),
    ]
}

/// What an ordinary client does, and how long its longest wait was.
async fn pull_and_push(registry: &Process, number: usize) -> Duration {
    let client = Client::new();
    let mut longest = Duration::ZERO;
    let config = format!("{{\"number\":{number}}}");
    let start = Instant::now();
    let digest = registry.push_blob(&client, config.into_bytes()).await;
    longest = longest.max(start.elapsed());
    let path = "/v2/team/app/manifests/good";
    for method in [Method::PUT, Method::GET] {
        let start = Instant::now();
        let request = registry.request(&client, method.clone(), path).header(header::CONTENT_TYPE, OCI_MANIFEST);
        let answer = request.body(image(&digest, &[]).to_string()).send().await.unwrap();
        let status = answer.status();
        assert!(status.is_success(), "{method}: {status} {}", answer.text().await.unwrap());
        longest = longest.max(start.elapsed());
    }
    longest
}

/// How much more may be resident for ten connections over HTTP/2 that open their windows wide and read nothing: they took
/// 170 MiB.
const UNREAD_KIB: u64 = 48 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_much_over_http_2_and_reads_nothing_makes_the_server_hold_little() {
    let registry = Process::start(&[]).await;
    let blob = registry.push_blob(&Client::new(), vec![7; 20 * 1024 * 1024]).await;
    // What pushing takes is taken before.
    pull_and_push(&registry, 0).await;
    let before = registry.program.peak_kib();
    let target = format!("/v2/team/app/blobs/{blob}");
    let requests: Vec<u8> = (0..128).flat_map(|number| http2::get(2 * number + 1, &target)).collect();
    let mut held = Vec::new();
    for _ in 0..10 {
        let mut stream = TcpStream::connect(&registry.authority).await.unwrap();
        stream.write_all(&http2::opening(0x7fff_ffff)).await.unwrap();
        stream.write_all(&requests).await.unwrap();
        held.push(stream);
    }
    // The kernel's buffers are full, and the server has nothing more to read for them, when others were served.
    for number in 1..6 {
        assert!(pull_and_push(&registry, number).await < 3 * PATIENCE);
    }
    let peak = registry.program.peak_kib();
    println!("before {before} KiB, at most {peak} KiB");
    assert!(peak - before < UNREAD_KIB, "{before} KiB, then {peak} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_hostile_requests_leave_memory_under_the_ceiling_and_others_served() {
    let registry = Process::start(&[]).await;
    needs_files();
    let blob = registry.push_blob(&Client::new(), vec![7; 64 * 1024 * 1024]).await;
    let before = registry.program.peak_kib();
    let attacks = attacks(blob.as_str());
    assert_eq!(attacks.iter().map(|attack| attack.count).sum::<usize>(), 10_000);
    let (mut running, mut held, mut answers) = (JoinSet::new(), Vec::new(), std::collections::BTreeMap::new());
    let mut longest = Duration::ZERO;
    for (number, attack) in attacks.into_iter().enumerate() {
        let (what, lingers) = (attack.what, attack.lingers);
        for _ in 0..attack.count {
            // As many of one kind at once, or the test's own memory would be what is measured.
            if running.len() >= 200 {
                let (stream, what, line) = running.join_next().await.unwrap().unwrap();
                held.extend(stream);
                *answers.entry((what, line)).or_insert(0) += 1;
            }
            running.spawn(attack.clone().run(registry.authority.clone()));
        }
        let waited = pull_and_push(&registry, number).await;
        println!(
            "{what}: others waited for {waited:?}; at most {} KiB so far (lingering: {lingers})",
            registry.program.peak_kib()
        );
        longest = longest.max(waited);
    }
    while let Some(ended) = running.join_next().await {
        let (stream, what, line) = ended.unwrap();
        held.extend(stream);
        *answers.entry((what, line)).or_insert(0) += 1;
    }
    longest = longest.max(pull_and_push(&registry, 1_000).await);
    for ((what, line), count) in &answers {
        println!("{what}: {count} times {line:?}");
    }
    let peak = registry.program.peak_kib();
    println!(
        "{} connections are open; before {before} KiB, at most {peak} KiB; others waited for {longest:?}",
        held.len()
    );
    let told = |what: &str| answers.iter().filter(|((kind, line), _)| *kind == what && line.is_some()).count();
    assert!(["deep JSON", "unasked bodies"].iter().all(|what| told(what) > 0), "whose head was whole is answered");
    assert!(held.len() > 3_000);
    assert!(peak < CEILING_KIB, "{peak} KiB");
    assert!(longest < 3 * PATIENCE, "{longest:?}");
    let ready = reqwest::get(format!("http://{}/readyz", registry.authority)).await.unwrap();
    assert_eq!(ready.status(), StatusCode::OK);
}
