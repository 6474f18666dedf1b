//! What is served from caches and by sendfile is what is there: whole, in order, and no longer than it is there.

use std::fmt::Write as _;
use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use regatta::oci::Digest;
use reqwest::{Method, StatusCode};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::registry_support::{Fixture, image};

/// More than one window, and no multiple of one.
const LARGE: usize = 5 * 1024 * 1024 + 77;

fn large() -> &'static [u8] {
    let bytes: Vec<u8> = (0..LARGE).map(|n| u8::try_from((n * 31 + n / 251) % 256).unwrap()).collect();
    bytes.leak()
}

fn get(path: &str, headers: &str) -> String {
    let login = STANDARD.encode("root:root");
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {login}\r\n{headers}\r\n")
}

async fn connect(fixture: &Fixture) -> BufReader<TcpStream> {
    BufReader::new(TcpStream::connect(fixture.url.trim_start_matches("http://")).await.unwrap())
}

/// The head of an answer: its status and its length.
async fn head(connection: &mut BufReader<TcpStream>) -> (u16, usize) {
    let (mut status, mut length) = (0, 0);
    loop {
        let mut line = String::new();
        connection.read_line(&mut line).await.unwrap();
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(rest) = line.strip_prefix("http/1.1 ") {
            status = rest[..3].parse().unwrap();
        } else if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        } else if line.is_empty() {
            return (status, length);
        }
    }
}

async fn answer(connection: &mut BufReader<TcpStream>) -> (u16, Vec<u8>) {
    let (status, length) = head(connection).await;
    let mut body = vec![0; length];
    connection.read_exact(&mut body).await.unwrap();
    (status, body)
}

#[tokio::test]
async fn large_and_small_answers_keep_their_order_on_one_connection() {
    let fixture = Fixture::start().await;
    let large = large();
    let blob = fixture.push_blob("team/app", large).await;
    let small = fixture.push_image("team/app", "v1", b"layer").await;
    let blob_path = format!("/v2/team/app/blobs/{blob}");
    let manifest_path = format!("/v2/team/app/manifests/{small}");

    // All requests at once: the answers to the later ones wait behind spans of the earlier ones.
    let mut requests = String::new();
    for round in 0..3 {
        let from = 1_000_003 * round;
        requests += &get(&manifest_path, "");
        requests += &get(&blob_path, "");
        requests += &get(&blob_path, &format!("Range: bytes={from}-\r\n"));
        let _ = write!(requests, "{}", get(&blob_path, "Range: bytes=4194300-4194310\r\n"));
        requests += &get("/v2/", "").replace("GET", "HEAD");
        requests += &get(&blob_path, "").replace("GET", "HEAD");
    }
    let mut connection = connect(&fixture).await;
    connection.get_mut().write_all(requests.as_bytes()).await.unwrap();
    for round in 0..3 {
        let from = 1_000_003 * round;
        let (status, body) = answer(&mut connection).await;
        assert_eq!((status, Digest::sha256(&body)), (200, small.clone()));
        let (status, body) = answer(&mut connection).await;
        assert!(status == 200 && body == large, "round {round}: {status}, {} bytes", body.len());
        let (status, body) = answer(&mut connection).await;
        assert!(status == 206 && body == large[from..], "round {round}: {status}, {} bytes", body.len());
        let (status, body) = answer(&mut connection).await;
        assert!(status == 206 && body == large[4_194_300..=4_194_310]);
        assert_eq!(head(&mut connection).await.0, 200);
        assert_eq!(head(&mut connection).await, (200, LARGE));
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_in_the_middle_disturbs_nobody() {
    let fixture = Fixture::start().await;
    let large = large();
    let blob = fixture.push_blob("team/app", large).await;
    let path = format!("/v2/team/app/blobs/{blob}");
    for _ in 0..20 {
        let mut connection = connect(&fixture).await;
        connection.get_mut().write_all(get(&path, "").as_bytes()).await.unwrap();
        let mut some = vec![0; 100_000];
        connection.read_exact(&mut some).await.unwrap();
    }
    let whole = fixture.get("root", &path).await.bytes().await.unwrap();
    assert_eq!(Digest::sha256(&whole), blob);
}

#[tokio::test]
async fn a_file_that_becomes_shorter_ends_the_connection_rather_than_the_answer() {
    const SIZE: usize = 48 * 1024 * 1024;
    let fixture = Fixture::start().await;
    let blob = fixture.push_blob("team/app", vec![7; SIZE].leak()).await;
    let mut connection = connect(&fixture).await;
    let path = format!("/v2/team/app/blobs/{blob}");
    connection.get_mut().write_all(get(&path, "").as_bytes()).await.unwrap();
    assert_eq!(head(&mut connection).await, (200, SIZE));
    // More than the sockets' buffers hold is still to come.
    let hex = blob.hex();
    let file = fixture.root().join(format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]));
    std::fs::OpenOptions::new().write(true).open(file).unwrap().set_len(1).unwrap();
    let mut rest = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(30), connection.read_to_end(&mut rest)).await;
    let read = read.expect("the connection ends");
    assert!(rest.len() < SIZE, "{read:?}: all {SIZE} bytes came");
}

/// Blobs across repositories (CVE-2026-35172, CVE-2024-39897): a delete is seen at every replica, whatever it had in memory.
#[tokio::test]
async fn what_another_replica_changed_is_seen_at_once() {
    let one = Fixture::start().await;
    let two = one.replica().await;
    let layer: &[u8] = b"a layer that is kept in memory";
    let first = one.push_image("team/app", "v1", layer).await;
    let config = one.push_blob("team/app", b"{}").await;
    let other = one.push_blob("team/app", b"another").await;
    let link = Digest::sha256(layer);
    let tag = "/v2/team/app/manifests/v1";
    let digest_of = async |answer: reqwest::Response| Digest::sha256(&answer.bytes().await.unwrap());
    for _ in 0..3 {
        assert_eq!(digest_of(one.get("root", tag).await).await, first);
        assert_eq!(one.get("root", &format!("/v2/team/app/blobs/{link}")).await.status(), StatusCode::OK);
    }
    for round in 0..70 {
        let layers: &[&Digest] = if round % 2 == 0 { &[&other] } else { &[&link] };
        let moved = two.put_manifest("team/app", "v1", &image(&config, layers)).await;
        assert_eq!(digest_of(one.get("root", tag).await).await, moved, "round {round}");
        assert_eq!(one.get("root", &format!("/v2/team/app/manifests/{moved}")).await.status(), StatusCode::OK);
    }
    assert_eq!(two.status("root", Method::DELETE, &format!("/v2/team/app/blobs/{link}")).await, 202);
    for method in [Method::GET, Method::HEAD] {
        assert_eq!(one.status("root", method, &format!("/v2/team/app/blobs/{link}")).await, 404);
    }
    assert_eq!(two.status("root", Method::DELETE, tag).await, 202);
    assert_eq!(one.status("root", Method::GET, tag).await, 404);
    assert_eq!(two.status("root", Method::DELETE, &format!("/v2/team/app/manifests/{first}")).await, 202);
    assert_eq!(one.status("root", Method::GET, &format!("/v2/team/app/manifests/{first}")).await, 404);
}
