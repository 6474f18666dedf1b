//! Rights at several replicas: what was revoked is refused at once where it was revoked, and within seconds everywhere,
//! whatever was remembered; and it does not come back.

use std::time::{Duration, Instant};

use axum::http::Method;
use regatta::server::documents::POLL;
use reqwest::StatusCode;
use serde_json::Value;

use crate::program::eventually;
use crate::registry_support::{Fixture, document};

const MANIFEST: &str = "/v2/team/app/manifests/v1";

/// How soon every replica knows: after two looks at the store at most.
const SOON: Duration = POLL.saturating_mul(2);

async fn with_token(replica: &Fixture, token: &str) -> StatusCode {
    replica.request("", Method::GET, MANIFEST).bearer_auth(token).send().await.unwrap().status()
}

async fn everywhere_soon(replicas: &[Fixture], token: &str, status: StatusCode) {
    let start = Instant::now();
    for replica in replicas {
        eventually("the replica knows", async || {
            let is = with_token(replica, token).await;
            if is == status { Ok(()) } else { Err(is) }
        })
        .await;
    }
    // A busy machine is no defect.
    assert!(start.elapsed() < 3 * SOON, "{:?}", start.elapsed());
    for replica in replicas.iter().cycle().take(30) {
        assert_eq!(with_token(replica, token).await, status, "it was so already");
    }
}

#[tokio::test]
async fn what_was_revoked_at_one_replica_is_refused_at_all_within_seconds_whatever_was_remembered() {
    let first = Fixture::start().await;
    let replicas = [first.replica().await, first.replica().await, first];
    replicas[0].push_image("team/app", "v1", b"layer").await;
    let ask = replicas[1].get("dev", "/token?service=x&scope=repository:team/app:pull").await;
    let token: Value = ask.json().await.unwrap();
    let token = token["token"].as_str().unwrap();
    everywhere_soon(&replicas, token, StatusCode::OK).await;
    for (round, generation) in (2..8).step_by(2).enumerate() {
        let mut revoked = document(generation, 1);
        revoked.projects[1].bindings.clear();
        let (at, later) = (&replicas[round % 3], &replicas[(round + 1) % 3]);
        at.put_access(&revoked).await.unwrap();
        assert_eq!(with_token(at, token).await, StatusCode::FORBIDDEN, "at once");
        everywhere_soon(&replicas, token, StatusCode::FORBIDDEN).await;
        later.put_access(&document(generation + 1, 1)).await.unwrap();
        everywhere_soon(&replicas, token, StatusCode::OK).await;
    }
}
