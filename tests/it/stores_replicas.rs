//! Replicas on one bucket: what one wrote the others see at once, whatever they keep in memory.

use std::sync::Arc;

use http::Method;
use regatta::oci::Digest;
use reqwest::StatusCode;

use crate::registry_support::Fixture;
use crate::stores_support::{S3Server, open};

async fn replicas(server: &S3Server) -> [Fixture; 3] {
    let store = async || Arc::new(open(&server.url).await);
    let first = Fixture::over(store().await).await;
    let (second, third) = (first.replica_over(store().await).await, first.replica_over(store().await).await);
    [first, second, third]
}

/// Every replica answers a GET this way, also the second time, when it remembers the first.
async fn all_answer(replicas: &[Fixture; 3], path: &str, expected: Option<&Digest>) {
    for replica in replicas {
        for _ in 0..2 {
            let answer = replica.get("root", path).await;
            let digest =
                answer.headers().get("docker-content-digest").map(|digest| digest.to_str().unwrap().to_owned());
            match expected {
                Some(expected) => {
                    assert_eq!(
                        (answer.status(), digest.as_deref()),
                        (StatusCode::OK, Some(expected.as_str())),
                        "{path}"
                    );
                    assert_eq!(Digest::sha256(&answer.bytes().await.unwrap()), *expected);
                }
                None => assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}"),
            }
        }
    }
}

#[tokio::test]
async fn a_tag_that_is_moved_or_deleted_at_one_is_moved_or_gone_at_all() {
    let server = S3Server::start().await;
    let replicas = replicas(&server).await;
    let tag = "/v2/team/app/manifests/v1";
    for (writer, layer) in replicas.iter().zip([b"layer 1", b"layer 2", b"layer 3"]) {
        let digest = writer.push_image("team/app", "v1", layer).await;
        all_answer(&replicas, tag, Some(&digest)).await;
        let by_digest = format!("/v2/team/app/manifests/{digest}");
        all_answer(&replicas, &by_digest, Some(&digest)).await;
        assert_eq!(writer.status("root", Method::DELETE, &by_digest).await, 202);
        all_answer(&replicas, &by_digest, None).await;
        all_answer(&replicas, tag, None).await;
    }
}

#[tokio::test]
async fn a_blob_that_is_deleted_at_one_is_gone_at_all_until_it_is_pushed_again() {
    let server = S3Server::start().await;
    let replicas = replicas(&server).await;
    for (pusher, deleter) in [(0, 1), (1, 2), (2, 0)] {
        let digest = replicas[pusher].push_blob("team/app", b"content").await;
        let path = format!("/v2/team/app/blobs/{digest}");
        all_answer(&replicas, &path, Some(&digest)).await;
        assert_eq!(replicas[deleter].status("root", Method::DELETE, &path).await, 202);
        all_answer(&replicas, &path, None).await;
    }
}

#[tokio::test]
async fn an_upload_is_continued_and_closed_at_others() {
    let server = S3Server::start().await;
    let replicas = replicas(&server).await;
    let chunks = ["one ".repeat(3_000_000), "two ".repeat(2_500_000), "three".to_owned()];
    let whole = chunks.concat();
    let digest = Digest::sha256(whole.as_bytes());
    let begun = replicas[0].request("root", Method::POST, "/v2/team/app/blobs/uploads/").send().await.unwrap();
    assert_eq!(begun.status(), StatusCode::ACCEPTED);
    let location = begun.headers()["location"].to_str().unwrap().to_owned();
    for (replica, chunk) in replicas.iter().skip(1).zip(&chunks[..2]) {
        let answer = replica.request("root", Method::PATCH, &location).body(chunk.clone()).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
    }
    let close = format!("{location}?digest={digest}");
    let closed = replicas[0].request("root", Method::PUT, &close).body(chunks[2].clone()).send().await.unwrap();
    assert_eq!(closed.status(), StatusCode::CREATED);
    all_answer(&replicas, &format!("/v2/team/app/blobs/{digest}"), Some(&digest)).await;
}
