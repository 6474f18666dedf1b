//! Collections that are killed anywhere, and run again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::NOW;
use crate::gc::collect::Outcome;
use crate::gc::{Counts, Survey, collect, survey};
use crate::oci::{Digest, MediaType};
use crate::registry::tests::time::Hands;
use crate::registry::tests::{author, image, push_blob, push_image, put, repository};
use crate::registry::{Register, Registry};
use crate::store::faulty::FaultyStore;
use crate::store::memory::MemoryStore;

/// A store that does so many changes more and is dead then, with a registry on it that sees a time of the test's.
struct Mortal {
    registry: Registry,
    changes_left: Arc<AtomicU64>,
}

impl Mortal {
    async fn open(memory: &MemoryStore, ahead: Duration) -> Self {
        let changes_left = Arc::new(AtomicU64::new(u64::MAX));
        let left = Arc::clone(&changes_left);
        let store = FaultyStore::new(Arc::new(memory.clone()), move |operation, _| {
            let needed = u64::from(operation.changes());
            left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                // Dead is dead: it cannot be read either.
                if left == 0 { None } else { Some(left - needed) }
            })
            .is_ok()
        });
        store.advance(ahead);
        let hands = Hands::default();
        hands.turn_wall(ahead);
        let registry = Registry::open(Arc::new(store), Arc::new(hands)).await.unwrap();
        Self { registry, changes_left }
    }
}

/// What stays, what goes, what a client deleted, and a repository in which nothing stays.
async fn fill(registry: &Registry) {
    let (team, gone) = (repository("team/app"), repository("gone"));
    push_image(registry, &team, "kept", b"kept layer").await;
    let subject = push_image(registry, &team, "ended", b"a layer that goes").await;
    let config = push_blob(registry, &team, b"{}").await;
    for name in ["one", "two"] {
        let mut signature: serde_json::Value = serde_json::from_slice(&image(&config, &[])).unwrap();
        signature["subject"] = serde_json::json!({"mediaType": MediaType::OCI_MANIFEST, "digest": subject, "size": 1});
        signature["annotations"] = serde_json::json!({"name": name});
        let bytes = bytes::Bytes::from(signature.to_string());
        let digest = Digest::sha256(&bytes);
        put(registry, &team, digest.as_str(), bytes).await.unwrap();
        if name == "one" {
            registry.delete_manifest(&team, &digest, &author()).await.unwrap();
        }
    }
    registry.delete_tag(&team, &"ended".parse().unwrap(), &author()).await.unwrap();
    push_image(registry, &gone, "v1", b"another layer").await;
    registry.delete_tag(&gone, &"v1".parse().unwrap(), &author()).await.unwrap();
    push_blob(registry, &gone, b"a blob that nothing names").await;
}

/// Everything but numbers, times and nonces.
async fn state(registry: &Registry) -> BTreeMap<String, String> {
    let Survey { repositories, catalog, data, trash, unsettled: _, errors } = survey(registry, |_| {}).await.unwrap();
    let mut state = BTreeMap::from([
        ("catalog".to_owned(), format!("{catalog:?}")),
        ("data".to_owned(), format!("{:?}", data.keys())),
        ("trash".to_owned(), format!("{:?}", trash.iter().map(|trashed| &trashed.digest).collect::<Vec<_>>())),
        ("errors".to_owned(), format!("{errors:?}")),
    ]);
    for (name, repository) in repositories {
        let mut registers = Vec::new();
        let manifests = registry.all_manifests(&name).await.unwrap();
        registers.extend(manifests.into_iter().map(|digest| Register::Manifest(name.clone(), digest)));
        let links = registry.all_links(&name).await.unwrap();
        registers.extend(links.into_iter().map(|digest| Register::Link(name.clone(), digest)));
        for register in registers {
            let op = registry.head(&register).await.unwrap().unwrap().entry.op;
            state.insert(format!("{register:?}"), format!("{op:?}"));
        }
        let hints: Vec<_> = repository.hints.iter().map(|hint| (&hint.subject, &hint.referrer)).collect();
        state.insert(format!("hints of {name}"), format!("{hints:?}"));
    }
    state
}

const LATER: Duration = Duration::from_hours(2);
const AFTER_THE_LEASE: Duration = Duration::from_hours(3);

/// Fills a store, kills a collection after so many changes, and lets another one run. The state after it, with what both
/// say that they did, and whether the first one came to its end.
async fn killed_after(changes: u64) -> (BTreeMap<String, String>, bool) {
    let memory = MemoryStore::default();
    fill(&Mortal::open(&memory, Duration::ZERO).await.registry).await;
    // No record counts as unsettled any more.
    let first = Mortal::open(&memory, LATER).await;
    first.changes_left.store(changes, Ordering::SeqCst);
    let (before, killed) = collect(&first.registry, &NOW, false, &CancellationToken::new()).await;
    let second = Mortal::open(&memory, AFTER_THE_LEASE).await;
    let (after, ended) = collect(&second.registry, &NOW, false, &CancellationToken::new()).await;
    ended.unwrap();
    let mut state = state(&second.registry).await;
    let told = |outcome: &Outcome| {
        let Counts { manifests, links, blobs } = outcome.purged;
        let condemned = outcome.condemned;
        [manifests, links, blobs, condemned.manifests, condemned.links, condemned.blobs, outcome.bytes_freed]
    };
    let sums: Vec<u64> = told(&before).iter().zip(told(&after)).map(|(before, after)| before + after).collect();
    state.insert("counts".to_owned(), format!("{sums:?}"));
    (state, killed.is_ok())
}

#[tokio::test]
async fn killed_after_any_change_and_run_again_a_collection_ends_as_if_it_had_not_been() {
    let (undisturbed, ended) = killed_after(u64::MAX).await;
    assert!(ended);
    assert_eq!(undisturbed["catalog"], "{RepositoryName(\"team/app\")}");
    assert_eq!((undisturbed["hints of team/app"].as_str(), undisturbed["trash"].as_str()), ("[]", "[]"));
    for changes in 0.. {
        let (state, ended) = killed_after(changes).await;
        assert_eq!(state, undisturbed, "killed after {changes} changes");
        if ended {
            assert!(changes > 30, "{changes} changes are no collection");
            return;
        }
    }
}
