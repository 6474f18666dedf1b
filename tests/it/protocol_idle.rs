//! Denial of service: connections on which nothing is asked end, and whoever waits for their room is served.

use std::time::Duration;

use reqwest::{Client, Method};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::protocol_http2 as http2;
use crate::protocol_process::{LOGIN, Process};

/// The deadline of a head, a look, and some for two busy processors.
const SERVED_WITHIN: Duration = Duration::from_secs(35);

/// How many connections the listener has.
const MOST: usize = 4;

/// What is sent at first, and whether the answer is waited for.
async fn open(authority: &str, first: &[u8], answered: bool) -> TcpStream {
    let mut stream = TcpStream::connect(authority).await.unwrap();
    stream.write_all(first).await.unwrap();
    if answered {
        stream.read_exact(&mut [0; 9]).await.unwrap();
    }
    stream
}

/// Fills a listener with connections of one kind; then somebody else comes.
async fn others_are_served(what: &str, first: Vec<u8>, answered: bool, pings: bool) {
    let most = MOST.to_string();
    let registry = Process::start(&["--max-connections", &most]).await;
    let mut held = Vec::new();
    for _ in 0..MOST {
        let stream = open(&registry.authority, &first, answered).await;
        held.push(tokio::spawn(
            async move { if pings { http2::answer_pings(stream).await } else { hold(stream).await } },
        ));
    }
    let asked = registry.request(&Client::new(), Method::GET, "/v2/").send();
    let answer = tokio::time::timeout(SERVED_WITHIN, asked).await;
    let answer = answer.unwrap_or_else(|_| panic!("{what}: others wait for ever")).unwrap();
    assert!(answer.status().is_success(), "{what}");
    held.iter().for_each(tokio::task::JoinHandle::abort);
}

/// Reads as long as there is something, and sends nothing.
async fn hold(mut stream: TcpStream) {
    while stream.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {}
}

/// 600 connections that sent nothing, at 500 there may be, were the end of the registry: hyper waits for ever for the
/// first bytes, by which it tells HTTP/1 from HTTP/2, and for requests on a connection whose pings are answered.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_nothing_makes_room_for_others() {
    let request = format!("GET /v2/ HTTP/1.1\r\nHost: x\r\n{LOGIN}\r\n\r\n");
    let asked = [http2::opening(65_535), http2::get(1, "/v2/")].concat();
    tokio::join!(
        others_are_served("nothing", Vec::new(), false, false),
        others_are_served("the beginning of HTTP/2's preface", b"PRI * HT".to_vec(), false, false),
        others_are_served("half a head", b"GET /v2/ HTTP/1.1\r\nHo".to_vec(), false, false),
        others_are_served("one request, then nothing", request.into_bytes(), true, false),
        others_are_served("HTTP/2 without a request", http2::opening(65_535), false, true),
        others_are_served("HTTP/2 with one request, then pings", asked, false, true),
    );
}

/// Clients in Go keep a connection for 90 seconds; they found it ended after 15, sometimes under a request.
#[tokio::test]
async fn a_connection_between_two_requests_outlives_the_deadline_of_a_head() {
    let registry = Process::start(&[]).await;
    let request = format!("GET /v2/ HTTP/1.1\r\nHost: x\r\n{LOGIN}\r\n\r\n");
    let mut stream = TcpStream::connect(&registry.authority).await.unwrap();
    for _ in 0..2 {
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"{}") {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "the connection ended");
        }
        let ended = tokio::time::timeout(Duration::from_secs(22), stream.read_u8()).await;
        assert!(ended.is_err(), "the connection ended between two requests");
    }
}
