//! Syncs that fail: of a disk that dies, and of NFS, which says only then that a quota is used up. The kernel tells once, takes
//! the bytes for written, and lets the next sync of the same file succeed (fsync(2)): who relied on that would answer 201 for
//! bytes that are on no disk.

use axum::http::{Method, StatusCode};
use bytes::Bytes;
use fuser::Errno;
use regatta::oci::Digest;

use crate::survival_acts::Act;
use crate::survival_fuse::Faults;
use crate::survival_scene::Scene;
use crate::survival_server::{Ask as _, Node};
use crate::survival_volume::is_error;

const REPOSITORY: &str = "team/app";
const BLOB: &[u8] = b"the bytes of a layer, of which a half is not the whole";
const OTHER: &[u8] = b"the bytes of another layer";
const PUSH: Act<'static> = Act::Blob(REPOSITORY, BLOB);
const MANIFEST: Act<'static> = Act::Manifest { repository: REPOSITORY, tag: "latest", blob: BLOB, note: "1" };

/// What a volume says, and what a client is told.
fn errors() -> [(Errno, StatusCode); 3] {
    [
        (Errno::EIO, StatusCode::INTERNAL_SERVER_ERROR),
        (Errno::ENOSPC, StatusCode::INSUFFICIENT_STORAGE),
        (Errno::EDQUOT, StatusCode::INSUFFICIENT_STORAGE),
    ]
}

fn failing(part: &str, error: Errno) -> Faults {
    Faults { sync_fails: Some((part.to_owned(), error)), ..Faults::default() }
}

/// A server over a disk on which these acts are durable.
async fn begun(acts: &[Act<'static>]) -> Option<(Scene, Node)> {
    let scene = Scene::new()?;
    let node = Node::start(scene.path()).await;
    for act in acts {
        scene.act(&node, act).await;
    }
    scene.settle(&node).await;
    Some((scene, node))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_synced_is_refused_and_written_anew_by_who_tries_again() {
    for (error, status) in errors() {
        // The bytes of a blob, those of a manifest, and the versions of registers.
        for (part, before, act) in
            [("/uploads/", &[][..], PUSH), ("v1/tmp/", &[PUSH][..], MANIFEST), ("v1/tmp/", &[][..], PUSH)]
        {
            let Some((scene, node)) = begun(before).await else { return };
            scene.fail(failing(part, error));
            let refused = act.send(&node).await;
            assert_eq!(refused, Some(status), "{act:?} with {error:?} at {part}");
            scene.fail(Faults::default());
            scene.act(&node, &act).await;
            scene.finish(&node).await;
            scene.check(&format!("{act:?} after {error:?} at {part}")).await;
        }
    }
}

/// The bytes came with an earlier request: they cannot be written anew, and so the client has to send them again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_whose_bytes_could_not_be_synced_is_not_closed_by_trying_again() {
    let Some((scene, node)) = begun(&[]).await else { return };
    let uploads = format!("/v2/{REPOSITORY}/blobs/uploads/");
    let begun = node.ask(Method::POST, &uploads, "text/plain", Bytes::new()).await.unwrap();
    let place = begun.header("location").to_owned();
    let answer = node.ask(Method::PATCH, &place, "application/octet-stream", BLOB.into()).await.unwrap();
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    let close = format!("{place}?digest={}", Digest::sha256(BLOB));
    scene.fail(failing("/uploads/", Errno::EIO));
    let refused = node.ask(Method::PUT, &close, "", Bytes::new()).await.unwrap();
    is_error(&refused, StatusCode::INTERNAL_SERVER_ERROR);
    scene.fail(Faults::default());
    for _ in 0..2 {
        let again = node.ask(Method::PUT, &close, "", Bytes::new()).await.unwrap();
        is_error(&again, StatusCode::NOT_FOUND);
    }
    let blob = format!("/v2/{REPOSITORY}/blobs/{}", Digest::sha256(BLOB));
    assert_eq!(node.get(&blob).await.unwrap().status, StatusCode::NOT_FOUND, "nothing of it is served");
    scene.act(&node, &Act::Pieces(REPOSITORY, BLOB)).await;
    scene.finish(&node).await;
    scene.check("an upload whose bytes could not be synced").await;
}

/// They have their name, and another process has put them there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_in_place_that_cannot_be_synced_are_replaced_by_who_pushes_them_again() {
    let Some((scene, _node)) = begun(&[PUSH, Act::Blob(REPOSITORY, OTHER)]).await else { return };
    let other = Node::start(scene.path()).await;
    let data = format!("{}/data", Digest::sha256(BLOB).hex());
    scene.fail(failing(&data, Errno::EIO));
    assert_eq!(MANIFEST.send(&other).await, Some(StatusCode::INTERNAL_SERVER_ERROR));
    scene.fail(Faults::default());
    // Nobody knows whether they are on disk.
    assert_eq!(MANIFEST.send(&other).await, Some(StatusCode::INTERNAL_SERVER_ERROR));
    scene.act(&other, &PUSH).await;
    scene.act(&other, &MANIFEST).await;
}
