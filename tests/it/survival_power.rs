//! The power is cut: whatever of what was not synced is lost, what clients were told holds, nothing half-written is
//! served, and the server starts and takes the same push again. What is tested is the storage protocol's "201 means on
//! disk".

use std::sync::Arc;

use regatta::store::Store;
use tokio::sync::Notify;

use crate::survival_acts::Act;
use crate::survival_scene::Scene;
use crate::survival_seed::{Random, short_or_long};
use crate::survival_server::Node;
use crate::survival_store::{Forgetful, StopsBeforeSync, wrapped};

const BLOB: &[u8] = b"the bytes of a layer, of which a half is not the whole";
const OTHER: &[u8] = b"the bytes of another layer";
const REPOSITORY: &str = "team/app";

const PUSH: Act<'static> = Act::Blob(REPOSITORY, BLOB);
const MANIFEST: Act<'static> = Act::Manifest { repository: REPOSITORY, tag: "latest", blob: BLOB, note: "1" };

const REFERRER: Act<'static> = Act::Referrer { repository: REPOSITORY, blob: BLOB, note: "signature", subject: "1" };

/// Some acts of a client, after others that are on disk.
async fn scene(before: &[Act<'static>], acts: &[Act<'static>], wrap: impl Fn(Store) -> Store) -> Option<Scene> {
    let scene = Scene::new()?;
    let node = Node::start_with(scene.path(), wrap).await;
    for act in before {
        scene.act(&node, act).await;
    }
    scene.settle(&node).await;
    for act in acts {
        scene.act(&node, act).await;
    }
    scene.finish(&node).await;
    Some(scene)
}

async fn check(name: &str, before: &[Act<'static>], acts: &[Act<'static>]) {
    if let Some(scene) = scene(before, acts, |store| store).await {
        scene.check(name).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_that_was_pushed_survives_a_power_cut() {
    check("a blob", &[Act::Blob("other/app", OTHER)], &[PUSH]).await;
    check("a blob in pieces", &[Act::Blob(REPOSITORY, OTHER)], &[Act::Pieces(REPOSITORY, BLOB)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_that_was_put_survives_a_power_cut() {
    check("a manifest", &[PUSH], &[MANIFEST]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_with_several_tags_survives_a_power_cut() {
    let tags = Act::ManifestWithTags { repository: REPOSITORY, tags: &["a", "b"], blob: BLOB, note: "1" };
    check("two tags", &[PUSH], &[tags]).await;
    check(
        "two tags moved",
        &[PUSH, MANIFEST],
        &[Act::Manifest { repository: REPOSITORY, tag: "a", blob: BLOB, note: "2" }, tags],
    )
    .await;
}

/// Whether the subject is there already, or comes afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_with_a_subject_survives_a_power_cut_and_stays_in_its_list() {
    check("a referrer", &[PUSH, MANIFEST], &[REFERRER]).await;
    check("a referrer before its subject", &[PUSH], &[REFERRER, MANIFEST]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_was_put_survives_a_power_cut() {
    let other = Act::ManifestByDigest { repository: REPOSITORY, blob: BLOB, note: "2" };
    let index = Act::Index { repository: REPOSITORY, tag: "all", blob: BLOB, notes: &["1", "2"] };
    check("an index", &[PUSH, MANIFEST, other], &[index]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_by_sha512_survives_a_power_cut() {
    check("sha512", &[PUSH], &[Act::BlobBySha512(REPOSITORY, BLOB)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_that_was_moved_survives_a_power_cut() {
    let moved = Act::Manifest { repository: REPOSITORY, tag: "latest", blob: BLOB, note: "2" };
    check("a tag moved", &[PUSH, MANIFEST], &[moved]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_deleted_stays_deleted_after_a_power_cut() {
    let before = [PUSH, Act::Blob(REPOSITORY, OTHER), MANIFEST];
    check("a tag deleted", &before, &[Act::DeleteTag { repository: REPOSITORY, tag: "latest" }]).await;
    let manifest = Act::DeleteManifest { repository: REPOSITORY, blob: BLOB, note: "1", tags: &["latest"] };
    check("a manifest deleted", &before, &[manifest]).await;
    check("a blob deleted", &before, &[Act::DeleteBlob(REPOSITORY, OTHER)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mount_survives_a_power_cut() {
    let mount = Act::Mount { from: REPOSITORY, to: "other/app", bytes: BLOB };
    check("a mount", &[PUSH], &[mount]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_push_into_an_empty_store_survives_a_power_cut() {
    check("a new repository", &[], &[PUSH, MANIFEST]).await;
}

/// The directory of the bytes is removed when they are condemned, and made again: it may get the number that it had.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_that_is_pushed_again_after_it_was_condemned_survives_a_power_cut() {
    check("pushed again", &[PUSH], &[Act::Condemn(BLOB), PUSH]).await;
    check("mounted again", &[PUSH, MANIFEST], &[Act::Condemn(BLOB), MANIFEST]).await;
}

/// Another replica has linked an entry, and has not come to sync it when this one is asked for the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_replica_has_not_yet_synced_is_synced_before_it_is_answered() {
    let mut wrong = Vec::new();
    for (part, before, slowly, act) in [
        ("_links/", &[][..], PUSH, PUSH),
        ("blobs/sha256/", &[][..], PUSH, PUSH),
        ("_links/", &[][..], PUSH, Act::MountFromAnywhere("other/app", BLOB)),
        ("_tags/", &[PUSH][..], MANIFEST, MANIFEST),
        ("_manifests/", &[PUSH][..], MANIFEST, MANIFEST),
        ("catalog/", &[PUSH][..], MANIFEST, MANIFEST),
        ("_referrers/", &[PUSH][..], REFERRER, REFERRER),
    ] {
        let Some(scene) = scene(before, &[], |store| store).await else { return };
        let stopped = Arc::new(Notify::new());
        let between = StopsBeforeSync { root: scene.path().to_path_buf(), part, stopped: Arc::clone(&stopped) };
        let slow = Node::start_with(scene.path(), |store| wrapped(store, between)).await;
        scene.begin(&slowly);
        let stuck = tokio::spawn(async move { slowly.send(&slow).await });
        stopped.notified().await;
        let node = Node::start(scene.path()).await;
        scene.act(&node, &act).await;
        stuck.abort();
        wrong.extend(
            scene.losses(part, short_or_long(16, 1024)).await.into_iter().map(|wrong| format!("{part}: {wrong}")),
        );
    }
    assert!(
        wrong.is_empty(),
        "{} wrongs: {:#?}",
        wrong.len(),
        wrong.iter().step_by(1 + wrong.len() / 10).collect::<Vec<_>>()
    );
}

/// That the tests above can fail.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_does_not_sync_is_found_out() {
    for (what, part) in [("registers", "regatta/v1/"), ("bytes", "/blobs/sha256/")] {
        let forget = move |store| wrapped(store, Forgetful(part));
        let Some(scene) = scene(&[PUSH], &[MANIFEST], forget).await else { return };
        let wrong = scene.losses(&format!("{what} that are not synced"), 32).await;
        assert!(wrong.len() > 10, "{what}: {wrong:?}");
    }
}

/// Clients that push, move and delete at the same time, in one repository and across, of one blob and of several.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_many_clients_were_told_at_once_survives_a_power_cut() {
    let mut random = Random::announced("many clients");
    for _ in 0..short_or_long(1, 15) {
        let Some(scene) = Scene::new() else { return };
        let node = Node::start(scene.path()).await;
        scene.act(&node, &PUSH).await;
        scene.settle(&node).await;
        let clients = CLIENTS.map(|(repository, tag)| {
            let (scene, node, mut random) = (scene.clone(), node.clone(), random.fork());
            tokio::spawn(async move {
                for act in client(repository, tag, &mut random) {
                    scene.act(&node, &act).await;
                }
            })
        });
        for client in clients {
            client.await.unwrap();
        }
        scene.finish(&node).await;
        let wrong = scene.losses("many clients", short_or_long(3, 24)).await;
        assert!(wrong.is_empty(), "{} wrongs, the first: {:#?}", wrong.len(), &wrong[..wrong.len().min(5)]);
    }
}

const CLIENTS: [(&str, &str); 3] = [(REPOSITORY, "one"), (REPOSITORY, "two"), ("other/app", "three")];

/// What one client does: tags and manifests of its own, blobs that others push too.
fn client(repository: &'static str, tag: &'static str, random: &mut Random) -> Vec<Act<'static>> {
    let blob = [BLOB, OTHER][random.below(2)];
    let mut acts = vec![
        [Act::Blob(repository, blob), Act::Pieces(repository, blob)][random.below(2)],
        Act::Manifest { repository, tag, blob, note: tag },
    ];
    acts.push(match random.below(3) {
        0 => Act::DeleteTag { repository, tag },
        1 => Act::DeleteManifest { repository, blob, note: tag, tags: tags_of(tag) },
        _ => Act::Manifest { repository, tag, blob, note: "moved" },
    });
    acts
}

fn tags_of(tag: &'static str) -> &'static [&'static str] {
    match tag {
        "one" => &["one"],
        "two" => &["two"],
        _ => &["three"],
    }
}
