//! Floods of HTTP/2 frames that cost their sender little (CVE-2023-44487, CVE-2024-27316): the connection is ended, and others
//! are served.

use std::time::Duration;

use reqwest::{Client, Method};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::protocol_http2 as http2;
use crate::protocol_process::Process;

/// ENHANCE_YOUR_CALM (RFC 9113, section 7).
const CALM: u32 = 11;

/// Far more than is borne; all of it at once is a megabyte or two.
const FRAMES: u32 = 20_000;

/// Sends these frames as long as they are taken, and answers with which code the connection was ended.
async fn flood(registry: &Process, frames: Vec<u8>) -> Option<u32> {
    let stream = TcpStream::connect(&registry.authority).await.unwrap();
    let (reader, mut writer) = stream.into_split();
    let sends = async {
        writer.write_all(&http2::opening(65_536)).await?;
        writer.write_all(&frames).await
    };
    let both = async { tokio::join!(sends, http2::read_code(reader)).1 };
    let code = tokio::time::timeout(Duration::from_secs(30), both).await.expect("the connection goes on");
    let answer = registry.request(&Client::new(), Method::GET, "/v2/").send().await.unwrap();
    assert!(answer.status().is_success(), "others are served: {}", answer.status());
    code
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2023_44487_requests_that_are_taken_back_at_once_end_the_connection() {
    let registry = Process::start(&[]).await;
    let frames = (0..FRAMES).flat_map(|number| {
        let stream = 2 * number + 1;
        [http2::get(stream, "/v2/"), http2::reset(stream)].concat()
    });
    assert_eq!(flood(&registry, frames.collect()).await, Some(CALM));
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2024_27316_a_head_that_goes_on_and_on_ends_the_connection() {
    let registry = Process::start(&[]).await;
    let head = http2::endless_head(1).into_iter().chain((0..FRAMES).flat_map(|_| http2::more_head(1)));
    assert_eq!(flood(&registry, head.collect()).await, Some(CALM));
}
