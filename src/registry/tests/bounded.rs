//! What must not grow with what there is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::{author, body, image, push_image, put, repository};
use crate::clock::System;
use crate::oci::{Digest, RepositoryName, Tag};
use crate::registry::register::to_json;
use crate::registry::{Register, Registry, RegistryError, journal, layout, versions};
use crate::store::faulty::{FaultyStore, Operation};
use crate::store::{Backend as _, Durability, memory::MemoryStore};

/// A registry, and how often its store is asked.
async fn counted(operation: Operation) -> (Registry, FaultyStore, Arc<AtomicUsize>) {
    counted_on(MemoryStore::default(), operation).await
}

async fn counted_on(memory: MemoryStore, operation: Operation) -> (Registry, FaultyStore, Arc<AtomicUsize>) {
    let count = Arc::<AtomicUsize>::default();
    let counting = Arc::clone(&count);
    let store = FaultyStore::new(Arc::new(memory), move |asked, _| {
        counting.fetch_add(usize::from(asked == operation), Ordering::Relaxed);
        true
    });
    (Registry::open(Arc::new(store.clone()), Arc::new(System)).await.unwrap(), store, count)
}

#[tokio::test]
async fn a_long_journal_is_trimmed_and_read_without_a_list_of_it() {
    let (registry, store, _) = counted(Operation::Read).await;
    let write = async |number: u64, at: u64| {
        let record = serde_json::json!({ "at": at, "nonce": "n" });
        let key = layout::journal_record("0123456789abcdef", number);
        store.put_new(&key, to_json(&record), Durability::Durable).await.unwrap();
    };
    let now = registry.clock().now_millis();
    for number in 1..=5_000 {
        write(number, if number <= 30 { 7 } else { now }).await;
    }
    assert_eq!(journal::trim(registry.store(), 1_000).await.unwrap(), 30);
    let read = journal::read(registry.store(), &registry.identity().identity, None, now).await.unwrap();
    assert_eq!(read.cursor.origins["0123456789abcdef"].seen, 5_000);
    registry.sweep().await.unwrap();
    assert!(store.longest_listing() <= 1_000, "{}", store.longest_listing());
}

#[tokio::test]
async fn many_leftovers_are_swept_without_a_list_of_them() {
    let (registry, store, _) = counted(Operation::Read).await;
    for number in 0..2_500 {
        let key = layout::temporaries().join(number);
        store.put_new(&key, Bytes::new(), Durability::Volatile).await.unwrap();
    }
    store.advance(Duration::from_hours(2));
    assert_eq!(registry.sweep().await.unwrap().temporaries, 2_500);
    assert!(store.longest_listing() <= 1_000, "{}", store.longest_listing());
}

#[tokio::test]
async fn the_hundredth_small_chunk_costs_what_the_second_does() {
    let (registry, _, reads) = counted(Operation::Read).await;
    let name = repository("a");
    let id = registry.begin_upload(&name, "me").await.unwrap().id().to_owned();
    let mut costs = Vec::new();
    for _ in 0..100 {
        reads.store(0, Ordering::Relaxed);
        let upload = registry.upload(&name, &id, "me").await.unwrap();
        registry.append(&upload, Some(upload.size()), Some(1), body(b"x")).await.unwrap();
        costs.push(reads.load(Ordering::Relaxed));
    }
    assert_eq!(costs[99], costs[1], "{costs:?}");
    let children = registry.store().children(&layout::upload(&id), None, usize::MAX).await.unwrap();
    let parts = children.iter().filter(|child| layout::is_upload_part(&child.name)).count();
    assert!(parts <= 2, "small chunks are put together as they come");
    let digest = Digest::sha256("x".repeat(100).as_bytes());
    let upload = registry.upload(&name, &id, "me").await.unwrap();
    assert_eq!(registry.close(&upload, None, None, body(b""), &digest, &author()).await.unwrap(), 100);
}

#[tokio::test]
async fn an_upload_has_only_so_many_parts_and_can_be_closed_then() {
    let (registry, ..) = counted(Operation::Read).await;
    let name = repository("a");
    let id = registry.begin_upload(&name, "me").await.unwrap().id().to_owned();
    let mut size = 0;
    let refused = loop {
        let upload = registry.upload(&name, &id, "me").await.unwrap();
        match registry.append(&upload, None, None, body(b"x")).await {
            Ok(grown) => size = grown.size(),
            Err(error) => break error,
        }
        assert!(size < 1_000, "there is no end to it");
    };
    assert!(!matches!(refused, RegistryError::Store(_) | RegistryError::UploadUnknown(_)), "{refused:?}");
    let digest = Digest::sha256("x".repeat(usize::try_from(size).unwrap()).as_bytes());
    let upload = registry.upload(&name, &id, "me").await.unwrap();
    assert_eq!(registry.close(&upload, None, None, body(b""), &digest, &author()).await.unwrap(), size);
}

/// A tag's register with one version, as it lies in the store.
async fn lay_tag(registry: &Registry, repository: &RepositoryName, tag: &str, op: &str) {
    let register = layout::tags(repository).join(format_args!("{tag}!"));
    for key in [register.join(versions::name(1)), register.join(format_args!("{}!{op}", versions::name(1)))] {
        registry.store().put_new(&key, Bytes::new(), Durability::Durable).await.unwrap();
    }
}

#[tokio::test]
async fn a_page_of_tags_costs_one_listing_once_they_are_known() {
    let (registry, _, listings) = counted(Operation::Children).await;
    let name = repository("a");
    push_image(&registry, &name, "v", b"layer").await;
    for number in 0..1_100 {
        lay_tag(&registry, &name, &format!("t{number:04}"), "set").await;
    }
    let mut costs = Vec::new();
    for _ in 0..2 {
        listings.store(0, Ordering::Relaxed);
        let (tags, next) = registry.tags(&name, None, 1_000).await.unwrap();
        assert_eq!((tags.len(), tags.last().cloned()), (1_000, next));
        costs.push(listings.load(Ordering::Relaxed));
    }
    assert_eq!(costs, [1 + 1_001, 1]);
}

#[tokio::test]
async fn a_page_of_tags_in_a_bucket_is_listed_by_names_alone() {
    let (registry, store, listings) = counted_on(MemoryStore::like_a_bucket(), Operation::Children).await;
    let name = repository("a");
    push_image(&registry, &name, "v", b"layer").await;
    for number in 0..1_100 {
        lay_tag(&registry, &name, &format!("t{number:04}"), if number % 10 == 9 { "del" } else { "set" }).await;
    }
    // Without its hint a version is read: it says itself what it did.
    let moved = layout::tags(&name).join("t0000!").join(format_args!("{}!set", versions::name(1)));
    store.delete(&moved).await.unwrap();
    let version = layout::tags(&name).join("t0000!").join(versions::name(2));
    let head = registry.head(&Register::Tag(name.clone(), "v".parse().unwrap())).await.unwrap().unwrap();
    store.put_new(&version, to_json(&head.entry), Durability::Durable).await.unwrap();
    listings.store(0, Ordering::Relaxed);
    let (mut all, mut last): (Vec<Tag>, Option<Tag>) = (Vec::new(), None);
    loop {
        let (tags, next) = registry.tags(&name, last.as_ref().map(Tag::as_str), 400).await.unwrap();
        all.extend(tags);
        match next {
            Some(next) => last = Some(next),
            None => break,
        }
    }
    let expected = (0..1_100).filter(|number| number % 10 != 9).map(|number| format!("t{number:04}"));
    let expected: Vec<String> = expected.chain(["v".to_owned()]).collect();
    assert_eq!(all.iter().map(Tag::as_str).collect::<Vec<_>>(), expected);
    assert!(listings.load(Ordering::Relaxed) <= 3 + 3 + 2, "{listings:?}");
    assert!(store.longest_listing() <= 1_000, "{}", store.longest_listing());
}

#[tokio::test]
async fn a_tag_that_was_only_listed_is_read_when_it_is_asked_for() {
    let (registry, ..) = counted(Operation::Children).await;
    let name = repository("a");
    let digest = push_image(&registry, &name, "v", b"layer").await;
    let tag: Tag = "v".parse().unwrap();
    for _ in 0..2 {
        assert_eq!(registry.tags(&name, None, 10).await.unwrap().0, std::slice::from_ref(&tag));
    }
    let current = registry.current(&Register::Tag(name.clone(), tag.clone())).await.unwrap().unwrap();
    assert_eq!(current.digest, digest);
    registry.delete_tag(&name, &tag, &author()).await.unwrap();
    assert_eq!(registry.tags(&name, None, 10).await.unwrap().0, []);
}

#[tokio::test]
async fn tags_of_which_most_have_ended_are_paged() {
    let (registry, store, _) = counted(Operation::Children).await;
    let name = repository("a");
    push_image(&registry, &name, "z", b"layer").await;
    for number in 0..11_000 {
        lay_tag(&registry, &name, &format!("t{number:05}"), "del").await;
    }
    let (tags, next) = registry.tags(&name, None, 10).await.unwrap();
    assert_eq!(tags, []);
    let next = next.expect("the page ends before it is full");
    let (tags, next) = registry.tags(&name, Some(next.as_str()), 10).await.unwrap();
    assert_eq!((tags, next), (vec!["z".parse().unwrap()], None));
    assert!(store.longest_listing() <= 1_001, "{}", store.longest_listing());
}

#[tokio::test]
async fn what_lies_among_tags_and_is_none_ends_no_list() {
    let (registry, ..) = counted(Operation::Children).await;
    let name = repository("a");
    push_image(&registry, &name, "z", b"layer").await;
    for number in 0..150 {
        lay_tag(&registry, &name, &format!("t{number:03}"), "set").await;
    }
    let stray = layout::tags(&name).join("t050.orig").join("file");
    registry.store().put_new(&stray, Bytes::new(), Durability::Durable).await.unwrap();
    let (tags, next) = registry.tags(&name, None, 120).await.unwrap();
    assert_eq!((tags.len(), next.as_ref().map(Tag::as_str)), (120, Some("t119")));
    assert_eq!(registry.tags(&name, Some("t119"), 120).await.unwrap().0.len(), 31);
}

#[tokio::test]
async fn a_digest_is_deleted_with_two_looks_at_each_tag() {
    let (registry, _, listings) = counted(Operation::Children).await;
    let name = repository("a");
    let digest = push_image(&registry, &name, "v1", b"layer").await;
    for number in 0..50 {
        push_image(&registry, &name, &format!("other{number}"), b"another layer").await;
    }
    listings.store(0, Ordering::Relaxed);
    registry.delete_manifest(&name, &digest, &author()).await.unwrap();
    let listings = listings.load(Ordering::Relaxed);
    assert!(listings < 2 * 51 + 20, "{listings}");
}

#[tokio::test]
async fn what_a_manifest_names_again_and_again_is_looked_at_once() {
    let (registry, _, listings) = counted(Operation::Children).await;
    let name = repository("a");
    push_image(&registry, &name, "v", b"layer").await;
    let layer = Digest::sha256(b"layer");
    let mut costs = Vec::new();
    for layers in [1, 2_000] {
        listings.store(0, Ordering::Relaxed);
        put(&registry, &name, &format!("of-{layers}"), image(&layer, &vec![&layer; layers])).await.unwrap();
        costs.push(listings.load(Ordering::Relaxed));
    }
    assert_eq!(costs[0], costs[1]);
}

#[tokio::test]
async fn a_manifest_that_names_more_than_is_looked_for_is_refused() {
    let (registry, _, listings) = counted(Operation::Children).await;
    let name = repository("a");
    push_image(&registry, &name, "v", b"layer").await;
    let layers: Vec<Digest> = (0..10_001).map(|number: u32| Digest::sha256(&number.to_le_bytes())).collect();
    listings.store(0, Ordering::Relaxed);
    let refused = put(&registry, &name, "much", image(&layers[0], &layers.iter().collect::<Vec<_>>())).await;
    assert!(matches!(refused, Err(RegistryError::TooManyReferences { named: 10_001, .. })), "{refused:?}");
    assert_eq!(listings.load(Ordering::Relaxed), 0);
    let refused = put(&registry, &name, "much", image(&layers[0], &layers[1..5_000].iter().collect::<Vec<_>>())).await;
    let Err(RegistryError::ReferencesUnknown { missing, .. }) = refused else { panic!("{refused:?}") };
    assert!((1_000..1_100).contains(&missing.len()), "{}", missing.len());
}
