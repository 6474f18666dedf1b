//! The follower, between real registries.

use regatta::admin::{EdgeState, WithheldReason};

use crate::program::eventually;
use crate::replicate_follower::{Follower, edge, status};
use crate::replicate_images::equal;
use crate::replicate_support::Registry;

const EDGE: &str = "0123456789abcdef";

#[tokio::test(flavor = "multi_thread")]
async fn pushes_moves_and_deletions_arrive_and_the_status_says_so() {
    let (source, destination) = (Registry::start().await, Registry::start().await);
    source.push_image("team/app", "v1", &[b"base", b"one"]).await;
    source.put_edges(vec![edge(EDGE, &destination.url)]).await;
    let follower = Follower::start(&source).await;
    equal(&source, &destination).await;
    status(&source, EDGE, "following", |s| s.state == EdgeState::Following && s.last_sync.is_some()).await;

    let image = source.push_image("team/app", "v2", &[b"base", b"two"]).await;
    source.push_index("tools", "multi", &[&[b"amd64"], &[b"arm64"]]).await;
    equal(&source, &destination).await;
    let signature = source.push_referrer("team/app", &image, b"signature").await;
    eventually("the signature is there", async || {
        let found = destination.referrers("team/app", &image).await;
        if found.contains(&signature) { Ok(()) } else { Err(found) }
    })
    .await;
    source.push_image("team/app", "v1", &[b"moved"]).await;
    equal(&source, &destination).await;
    source.delete("team/app", &signature).await;
    eventually("the signature is gone", async || {
        let found = destination.referrers("team/app", &image).await;
        if found.is_empty() { Ok(()) } else { Err(found) }
    })
    .await;
    source.delete("team/app", "v1").await;
    equal(&source, &destination).await;

    // The status comes behind what it tells: an earlier one has nothing open either.
    let settled = status(&source, EDGE, "all is done and told", |s| {
        let told = s.totals.tags_set >= 4 && s.totals.deleted >= 2;
        told && s.pending + s.in_flight + s.failed == 0 && s.lag_seconds == 0
    })
    .await;
    assert_eq!((settled.totals.drift_corrected, &settled.last_error), (0, &None));
    let metrics = reqwest::get(&follower.metrics).await.unwrap().text().await.unwrap();
    assert!(metrics.contains(&format!("regatta_replication_lag_seconds{{edge=\"{EDGE}\"}} 0")), "{metrics}");
    assert!(follower.terminate().await);
    let cursor = source.status(EDGE).await.unwrap().cursor.unwrap();
    assert!(cursor.compared);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_moves_nothing_and_a_change_at_the_destination_is_put_right_and_counted() {
    let (source, destination) = (Registry::start().await, Registry::start().await);
    source.push_image("app", "v1", &[b"one"]).await;
    source.push_image("app", "v2", &[b"two"]).await;
    source.put_edges(vec![edge(EDGE, &destination.url)]).await;
    let follower = Follower::start(&source).await;
    equal(&source, &destination).await;
    status(&source, EDGE, "the cursor is kept", |s| s.cursor.is_some()).await;
    assert!(follower.terminate().await);

    let before = destination.served().len();
    let compared = source.status(EDGE).await.unwrap().last_compare;
    let follower = Follower::start(&source).await;
    status(&source, EDGE, "compared again", |s| s.last_compare > compared).await;
    let wrote: Vec<_> = destination.served()[before..].iter().filter(|served| served.writes()).cloned().collect();
    assert!(wrote.is_empty(), "{wrote:#?}");

    destination.delete("app", "v1").await;
    destination.push_image("app", "v2", &[b"somebody else's"]).await;
    destination.push_image("app", "v3", &[b"of nobody"]).await;
    let mut requested = edge(EDGE, &destination.url);
    requested.requested_at = Some("once".to_owned());
    source.put_edges(vec![requested]).await;
    let status = status(&source, EDGE, "handled", |s| s.last_handled_request.as_deref() == Some("once")).await;
    equal(&source, &destination).await;
    assert_eq!(status.totals.drift_corrected, 3, "{status:?}");
    assert_eq!(status.recent_drift.len(), 3, "{status:?}");
    drop(follower);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_compare_deletes_only_what_a_person_approved() {
    let (source, destination) = (Registry::start().await, Registry::start().await);
    source.push_image("app", "v1", &[b"one"]).await;
    destination.push_image("app", "precious", &[b"precious"]).await;
    source.put_edges(vec![edge(EDGE, &destination.url)]).await;
    let _follower = Follower::start(&source).await;
    let withheld =
        status(&source, EDGE, "withheld", |s| s.state == EdgeState::DeletionsWithheld).await.withheld.unwrap();
    assert_eq!((withheld.reason, withheld.deletions), (WithheldReason::FirstCompare, 1));
    assert_eq!(withheld.sample, ["app:precious"]);
    eventually("sets go on", async || {
        let found = destination.tags().await;
        if found.len() == 2 { Ok(()) } else { Err(found) }
    })
    .await;
    // Following goes on too, and deletes nothing.
    source.push_image("app", "v2", &[b"two"]).await;
    eventually("what is new arrives", async || {
        let found = destination.tags().await;
        if found.len() == 3 { Ok(()) } else { Err(found) }
    })
    .await;
    let mut approved = edge(EDGE, &destination.url);
    approved.approved_plan = Some(withheld.plan_hash);
    source.put_edges(vec![approved]).await;
    equal(&source, &destination).await;
    status(&source, EDGE, "following", |s| s.state == EdgeState::Following && s.withheld.is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_volume_at_the_source_empties_no_destination() {
    let (source, destination) = (Registry::start().await, Registry::start().await);
    source.push_image("app", "v1", &[b"one"]).await;
    source.put_edges(vec![edge(EDGE, &destination.url)]).await;
    let follower = Follower::start(&source).await;
    equal(&source, &destination).await;
    eventually("the destination keeps a cursor", async || {
        let kept = destination.served().into_iter().any(|s| s.method == "PUT" && s.path.contains("/_regatta/"));
        if kept { Ok(()) } else { Err("none") }
    })
    .await;
    let source = source.replace_volume().await;
    source.put_edges(vec![edge(EDGE, &destination.url)]).await;
    let status = status(&source, EDGE, "withheld", |s| s.state == EdgeState::DeletionsWithheld).await;
    assert_eq!(status.withheld.unwrap().reason, WithheldReason::SourceStoreChanged);
    assert_eq!(destination.tags().await.len(), 1);
    drop(follower);
}

#[tokio::test(flavor = "multi_thread")]
async fn suspended_nothing_moves_and_resumed_nothing_was_lost() {
    let (source, destination) = (Registry::start().await, Registry::start().await);
    source.push_image("app", "v1", &[b"one"]).await;
    source.put_edges(vec![edge(EDGE, &destination.url)]).await;
    let _follower = Follower::start(&source).await;
    equal(&source, &destination).await;
    let mut suspended = edge(EDGE, &destination.url);
    suspended.suspend = true;
    source.put_edges(vec![suspended]).await;
    status(&source, EDGE, "suspended", |s| s.state == EdgeState::Suspended).await;
    let before = destination.served().len();
    source.push_image("app", "v2", &[b"two"]).await;
    source.delete("app", "v1").await;
    source.put_edges(vec![edge(EDGE, &destination.url)]).await;
    equal(&source, &destination).await;
    assert!(destination.served().len() > before);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_broken_image_holds_nobody_up_and_is_listed() {
    let (source, destination) = (Registry::start().await, Registry::start().await);
    let broken = vec![7_u8; 5000];
    source.push_image("app", "broken", &[&broken]).await;
    let digest = regatta::oci::Digest::sha256(&broken);
    let data = find(source.root(), digest.hex()).expect("the blob's bytes are a file");
    std::fs::write(&data, vec![8_u8; 5000]).unwrap();
    source.put_edges(vec![edge(EDGE, &destination.url)]).await;
    let _follower = Follower::start(&source).await;
    let failed = status(&source, EDGE, "one failed", |s| s.failed == 1).await;
    let error = failed.last_error.unwrap();
    assert!(error.contains("app:broken") && error.contains("expected sha256:"), "{error}");
    source.push_image("app", "fine", &[b"fine"]).await;
    eventually("the other arrives", async || {
        let found = destination.tags().await;
        if found.contains_key("app:fine") { Ok(()) } else { Err(found) }
    })
    .await;
    let lagging = status(&source, EDGE, "the lag is told", |s| s.lag_seconds > 0).await;
    assert_eq!((lagging.state, lagging.failed), (EdgeState::Following, 1));
    std::fs::write(&data, &broken).unwrap();
    equal(&source, &destination).await;
    status(&source, EDGE, "nothing is open", |s| s.failed == 0 && s.lag_seconds == 0 && s.last_error.is_none()).await;
}

/// The data file below a directory whose path has this digest.
fn find(directory: &std::path::Path, hex: &str) -> Option<std::path::PathBuf> {
    let mut open = vec![directory.to_owned()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).ok()?.flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.ends_with(format!("{hex}/data")) {
                return Some(path);
            }
        }
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_is_away_makes_the_edge_failing_until_it_is_back() {
    let (source, destination) = (Registry::start().await, Registry::start().await);
    source.push_image("app", "v1", &[b"one"]).await;
    let mut nowhere = edge(EDGE, "http://127.0.0.1:1");
    source.put_edges(vec![nowhere.clone()]).await;
    let _follower = Follower::start(&source).await;
    let failing = status(&source, EDGE, "failing", |s| s.state == EdgeState::Failing).await;
    assert!(failing.last_error.unwrap().contains("destination"), "the side is named");
    nowhere.destination.url.clone_from(&destination.url);
    source.put_edges(vec![nowhere]).await;
    equal(&source, &destination).await;
    status(&source, EDGE, "following", |s| s.state == EdgeState::Following && s.last_error.is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_while_the_destination_was_away_arrives_when_it_is_back() {
    let (source, mut destination) = (Registry::start().await, Registry::start().await);
    source.push_image("app", "v0", &[b"zero"]).await;
    source.put_edges(vec![edge(EDGE, &destination.url)]).await;
    let _follower = Follower::start(&source).await;
    equal(&source, &destination).await;
    destination.stop();
    for n in 0..8_u8 {
        source.push_image("app", &format!("v{n}"), &[b"new", &[n]]).await;
    }
    let away = status(&source, EDGE, "failing", |s| s.state == EdgeState::Failing && s.lag_seconds > 0).await;
    assert!(away.pending + away.failed + away.in_flight > 0, "{away:?}");
    let destination = destination.restart().await;
    equal(&source, &destination).await;
    status(&source, EDGE, "following", |s| s.state == EdgeState::Following && s.failed == 0 && s.lag_seconds == 0)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_was_restored_from_a_backup_takes_nothing_back_unasked() {
    let (source, destination) = (Registry::start().await, Registry::start().await);
    source.push_image("app", "v1", &[b"one"]).await;
    source.put_edges(vec![edge(EDGE, &destination.url)]).await;
    let follower = Follower::start(&source).await;
    equal(&source, &destination).await;
    source.back_up();
    source.push_image("app", "v1", &[b"one, mended"]).await;
    source.push_image("app", "v2", &[b"two"]).await;
    equal(&source, &destination).await;
    let settled = destination.tags().await;
    assert!(follower.terminate().await);

    let source = source.restore().await;
    let _follower = Follower::start(&source).await;
    let withheld = status(&source, EDGE, "withheld", |s| s.state == EdgeState::DeletionsWithheld).await;
    let withheld = withheld.withheld.unwrap();
    assert_eq!((withheld.reason, withheld.deletions), (WithheldReason::SourceRestored, 2));
    assert_eq!(destination.tags().await, settled);
    // What is new goes on.
    source.push_image("app", "v3", &[b"three"]).await;
    eventually("what is new arrives", async || {
        let found = destination.tags().await;
        if found.contains_key("app:v3") { Ok(()) } else { Err(found) }
    })
    .await;
    let mut approved = edge(EDGE, &destination.url);
    approved.approved_plan = Some(withheld.plan_hash);
    source.put_edges(vec![approved]).await;
    equal(&source, &destination).await;
}
