//! Whole collections over a registry.

mod interrupted;
mod raced;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::collect::{Outcome, collect};
use super::{CollectError, Counts, Options};
use crate::registry::tests::time::Hands;
use crate::registry::tests::{author, push_blob, push_image, registry, repository};
use crate::registry::{Registry, RegistryError, hold, journal};
use crate::store::faulty::{FaultyStore, Operation};
use crate::store::memory::MemoryStore;

const NOW: Options = Options { untagged: true, grace_millis: 0, window_millis: 0 };
const A_DAY: u64 = 24 * 3_600_000;

async fn run(registry: &Registry, options: Options, dry_run: bool) -> Outcome {
    let (outcome, result) = collect(registry, &options, dry_run, &CancellationToken::new()).await;
    result.unwrap();
    outcome
}

/// Waits until every record is settled: what is in flight counts as needed.
pub(crate) async fn settled(registry: &Registry) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    let identity = registry.identity().identity.clone();
    while !journal::read(registry.store(), &identity, None, registry.clock().now_millis())
        .await
        .unwrap()
        .unsettled
        .is_empty()
    {
        assert!(tokio::time::Instant::now() < deadline, "records stayed unsettled");
        // The bell may have rung already.
        let _ = tokio::time::timeout(Duration::from_millis(50), registry.journal().rung()).await;
    }
}

#[tokio::test]
async fn a_dry_run_says_exactly_what_the_real_one_does_and_a_second_one_finds_nothing() {
    let registry = registry().await;
    let repository = repository("team/app");
    let kept = push_image(&registry, &repository, "kept", b"kept layer").await;
    push_image(&registry, &repository, "gone", b"a layer that goes").await;
    registry.delete_tag(&repository, &"gone".parse().unwrap(), &author()).await.unwrap();
    push_blob(&registry, &repository, b"a blob that nothing names").await;
    settled(&registry).await;
    let dry = run(&registry, NOW, true).await;
    assert_eq!(dry.purged, Counts { manifests: 1, links: 2, blobs: 3 });
    let real = run(&registry, NOW, false).await;
    assert_eq!(
        (real.scanned, real.condemned, real.rescued, real.purged, real.bytes_freed),
        (dry.scanned, dry.condemned, dry.rescued, dry.purged, dry.bytes_freed)
    );
    assert!(real.bytes_freed > 42, "{}", real.bytes_freed);
    let (stored, object) = registry.open_manifest(&repository, &"kept".parse().unwrap()).await.unwrap();
    assert_eq!(stored.digest, kept);
    let manifest = object.read().await.unwrap();
    for blob in crate::oci::Manifest::parse(None, &manifest).unwrap().blobs() {
        registry.blob(&repository, &blob.digest).await.unwrap();
    }
    let again = run(&registry, NOW, false).await;
    assert_eq!((again.condemned, again.purged, again.bytes_freed), (Counts::default(), Counts::default(), 0));
}

#[tokio::test]
async fn what_is_younger_than_the_grace_period_is_left_alone() {
    let registry = registry().await;
    let repository = repository("a");
    push_blob(&registry, &repository, b"just uploaded").await;
    settled(&registry).await;
    let outcome = run(&registry, Options { grace_millis: A_DAY, ..NOW }, false).await;
    assert_eq!((outcome.condemned, outcome.purged), (Counts::default(), Counts::default()));
}

/// The second push finds a link that is fresh, and sets none: the link looks older than the 201 is.
#[tokio::test]
async fn a_blob_that_was_pushed_again_within_the_grace_period_is_left_alone() {
    let (store, hands) = (FaultyStore::new(Arc::new(MemoryStore::default()), |_, _| true), Arc::new(Hands::default()));
    let registry = Registry::open(Arc::new(store.clone()), Arc::clone(&hands) as _).await.unwrap();
    let repository = repository("a");
    let pass = |minutes| {
        store.advance(Duration::from_mins(minutes));
        hands.turn_wall(Duration::from_mins(minutes));
    };
    let five_minutes = Options { grace_millis: 5 * 60_000, ..NOW };
    let digest = push_blob(&registry, &repository, b"layer").await;
    pass(9);
    push_blob(&registry, &repository, b"layer").await;
    settled(&registry).await;
    pass(4);
    run(&registry, five_minutes, false).await;
    assert!(registry.blob(&repository, &digest).await.is_ok(), "it was pushed four minutes ago");
    pass(3);
    run(&registry, five_minutes, false).await;
    assert!(registry.blob(&repository, &digest).await.is_err());
    // Nothing at all is nothing.
    let digest = push_blob(&registry, &repository, b"layer").await;
    settled(&registry).await;
    run(&registry, NOW, false).await;
    assert!(registry.blob(&repository, &digest).await.is_err());
}

#[tokio::test]
async fn within_the_window_a_deleted_image_is_rescued_by_a_push_that_names_it() {
    let registry = registry().await;
    let repository = repository("a");
    let digest = push_image(&registry, &repository, "v1", b"layer").await;
    registry.delete_tag(&repository, &"v1".parse().unwrap(), &author()).await.unwrap();
    settled(&registry).await;
    let outcome = run(&registry, Options { window_millis: A_DAY, ..NOW }, false).await;
    assert_eq!(outcome.condemned, Counts { manifests: 1, links: 2, blobs: 3 });
    assert_eq!((outcome.purged, outcome.bytes_freed), (Counts::default(), 0));
    assert!(registry.manifest(&repository, &digest.clone().into()).await.is_err(), "HEAD says no");
    assert!(registry.open_manifest(&repository, &digest.clone().into()).await.is_ok(), "GET still serves");
    assert_eq!(push_image(&registry, &repository, "v1", b"layer").await, digest);
    settled(&registry).await;
    let outcome = run(&registry, NOW, false).await;
    // The push brought its bytes again: what lay in the trash was spare.
    assert_eq!((outcome.purged.manifests, outcome.purged.links), (0, 0));
    assert!(registry.open_manifest(&repository, &"v1".parse().unwrap()).await.is_ok());
    registry.blob(&repository, &crate::oci::Digest::sha256(b"layer")).await.unwrap();
}

#[tokio::test]
async fn an_empty_repository_leaves_the_catalog() {
    let registry = registry().await;
    let repository = repository("a");
    let digest = push_image(&registry, &repository, "v1", b"layer").await;
    registry.delete_manifest(&repository, &digest, &author()).await.unwrap();
    settled(&registry).await;
    run(&registry, NOW, false).await;
    assert!(registry.repositories(None, 10).await.unwrap().is_empty());
    assert!(matches!(registry.tags(&repository, None, 1).await, Err(RegistryError::NameUnknown(_))));
}

#[tokio::test]
async fn pushes_go_on_after_a_collection_and_a_stopped_one_gives_its_hold_back() {
    let registry = registry().await;
    let repository = repository("a");
    push_image(&registry, &repository, "v1", b"layer").await;
    settled(&registry).await;
    let stop = CancellationToken::new();
    stop.cancel();
    registry.delete_tag(&repository, &"v1".parse().unwrap(), &author()).await.unwrap();
    let (_, result) = collect(&registry, &NOW, false, &stop).await;
    assert!(matches!(result, Err(CollectError::Stopped)), "{result:?}");
    assert!(!hold::is_held(registry.store(), registry.clock().now_millis()).await.unwrap());
    push_image(&registry, &repository, "v2", b"another layer").await;
    settled(&registry).await;
    run(&registry, NOW, false).await;
    assert!(registry.manifest(&repository, &"v2".parse().unwrap()).await.is_ok());
}

#[tokio::test]
async fn a_clock_that_is_half_a_minute_off_the_stores_collects_nothing() {
    let hands = Arc::new(Hands::default());
    let store = Arc::new(MemoryStore::default());
    let registry = Registry::open(store, Arc::clone(&hands) as _).await.unwrap();
    push_blob(&registry, &repository("a"), b"a blob that nothing names").await;
    settled(&registry).await;
    hands.turn_wall(Duration::from_secs(35));
    for dry_run in [true, false] {
        let (outcome, result) = collect(&registry, &NOW, dry_run, &CancellationToken::new()).await;
        assert!(matches!(result, Err(CollectError::ClockIsOff(34..=36))), "{result:?}");
        assert_eq!(outcome.condemned, Counts::default());
    }
    assert_eq!(hold::read(registry.store()).await.unwrap(), None, "no push was refused for it");
}

#[tokio::test]
async fn a_store_with_repositories_that_were_never_adopted_is_refused() {
    let registry = registry().await;
    let key = crate::store::Key::new("docker/registry/v2/repositories/a/_manifests/tags/v1/current/link").unwrap();
    registry.store().put_new(&key, "sha256:0".into(), crate::store::Durability::Durable).await.unwrap();
    let (_, result) = collect(&registry, &NOW, true, &CancellationToken::new()).await;
    assert!(matches!(result, Err(CollectError::ForeignRepositories)), "{result:?}");
}

/// Whoever has to leave writing to another has little time.
#[tokio::test]
async fn who_is_told_to_stop_ends_after_the_thing_that_is_under_way() {
    let (stop, told) = (CancellationToken::new(), CancellationToken::new());
    let (after, purges) = (Arc::new(AtomicU64::new(0)), told.clone());
    let (stops, counted) = (stop.clone(), Arc::clone(&after));
    let store = FaultyStore::new(Arc::new(MemoryStore::default()), move |operation, key| {
        if stops.is_cancelled() && operation.changes() && !key.as_str().contains("/hold/") {
            counted.fetch_add(1, Ordering::SeqCst);
        }
        // The first of what is purged.
        if purges.is_cancelled() && operation == Operation::Delete {
            stops.cancel();
        }
        true
    });
    let registry = Registry::open(Arc::new(store), Arc::new(Hands::default())).await.unwrap();
    for blob in [&b"one"[..], b"two", b"three", b"four", b"five"] {
        push_blob(&registry, &repository("a"), blob).await;
    }
    settled(&registry).await;
    told.cancel();
    let (outcome, result) = collect(&registry, &NOW, false, &stop).await;
    assert!(matches!(result, Err(CollectError::Stopped)), "{result:?}");
    assert_eq!((outcome.purged.blobs, after.load(Ordering::SeqCst)), (1, 0), "{outcome:?}");
}
