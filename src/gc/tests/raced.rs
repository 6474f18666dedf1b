//! Collections that are overtaken by writers whose records were made before.

use std::sync::{Arc, OnceLock};

use futures::FutureExt as _;
use tokio::sync::Mutex;

use super::{A_DAY, NOW, Options, run, settled};
use crate::clock::System;
use crate::oci::{Digest, MediaType};
use crate::registry::register::{Draft, Op, Permit};
use crate::registry::tests::{author, image, push_blob, push_image, put, repository};
use crate::registry::{Register, Registry, layout};
use crate::store::faulty::{FaultyStore, Operation};
use crate::store::{Durability, Key, memory::MemoryStore};

/// A registry, and what is done to it before the operation that is told.
struct Raced {
    registry: Registry,
    event: Arc<Mutex<Option<Event>>>,
}

struct Event {
    operation: Operation,
    key: Key,
    /// How many such operations come first.
    after: usize,
    act: Box<dyn FnOnce(&Registry) + Send>,
}

impl Raced {
    async fn open() -> Self {
        let event: Arc<Mutex<Option<Event>>> = Arc::default();
        let opened: Arc<OnceLock<Registry>> = Arc::default();
        let (waiting, used) = (Arc::clone(&event), Arc::clone(&opened));
        let store = FaultyStore::new(Arc::new(MemoryStore::default()), move |operation, key: &Key| {
            let mut slot = waiting.try_lock().unwrap();
            let Some(event) = slot.as_mut().filter(|event| event.operation == operation && event.key == *key) else {
                return true;
            };
            if event.after > 0 {
                event.after -= 1;
                return true;
            }
            let event = slot.take().unwrap();
            drop(slot);
            (event.act)(used.get().unwrap());
            true
        });
        let registry = Registry::open(Arc::new(store), Arc::new(System)).await.unwrap();
        opened.set(registry.clone()).unwrap();
        Self { registry, event }
    }

    fn before(&self, operation: Operation, key: Key, after: usize, act: impl FnOnce(&Registry) + Send + 'static) {
        *self.event.try_lock().unwrap() = Some(Event { operation, key, after, act: Box::new(act) });
    }

    /// At the end of survey number `n`, from 0.
    fn after_survey(&self, n: usize, act: impl FnOnce(&Registry) + Send + 'static) {
        self.before(Operation::Children, layout::trashed_blobs(crate::oci::Algorithm::Sha256), n, act);
    }

    fn assert_happened(&self) {
        assert!(self.event.try_lock().unwrap().is_none(), "the race never took place");
    }
}

/// Lands these ops one after the other; a store in memory never waits.
fn turn(registry: &Registry, register: &Register, ops: &[Op]) {
    let land = async {
        for op in ops {
            let head = registry.head(register).await.unwrap().unwrap();
            let draft = Draft::from_entry(&head.entry, *op);
            registry.land(register, Some(&head), &draft, &author(), Permit::Held).await.unwrap().unwrap();
        }
    };
    land.now_or_never().unwrap();
}

#[tokio::test]
async fn what_was_set_anew_after_it_was_surveyed_is_not_condemned() {
    let raced = Raced::open().await;
    let (registry, repository) = (&raced.registry, repository("a"));
    let digest = push_blob(registry, &repository, b"a blob that nothing names").await;
    settled(registry).await;
    let register = Register::Link(repository.clone(), digest);
    let again = register.clone();
    raced.after_survey(0, move |registry| turn(registry, &again, &[Op::Delete, Op::Set]));
    let outcome = run(registry, NOW, false).await;
    raced.assert_happened();
    assert_eq!((outcome.condemned.links, outcome.purged.links), (0, 0));
    let head = registry.head(&register).await.unwrap().unwrap();
    assert_eq!((head.version, head.entry.op), (3, Op::Set));
}

#[tokio::test]
async fn what_was_rescued_and_condemned_anew_after_it_was_surveyed_is_not_purged() {
    let raced = Raced::open().await;
    let (registry, repository) = (&raced.registry, repository("a"));
    let digest = push_blob(registry, &repository, b"a blob that nothing names").await;
    settled(registry).await;
    run(registry, Options { window_millis: A_DAY, ..NOW }, false).await;
    let register = Register::Link(repository.clone(), digest);
    let again = register.clone();
    raced.after_survey(1, move |registry| turn(registry, &again, &[Op::Set, Op::Condemn]));
    assert_eq!(run(registry, NOW, false).await.purged.links, 0);
    raced.assert_happened();
    let head = registry.head(&register).await.unwrap().unwrap();
    assert_eq!((head.version, head.entry.op), (4, Op::Condemn));
}

/// A manifest that refers to an image; the digests of both.
async fn push_signed(registry: &Registry) -> (Digest, Digest, bytes::Bytes) {
    let repository = repository("a");
    let subject = push_image(registry, &repository, "v1", b"layer").await;
    let config = push_blob(registry, &repository, b"{}").await;
    let mut signature: serde_json::Value = serde_json::from_slice(&image(&config, &[])).unwrap();
    signature["subject"] = serde_json::json!({"mediaType": MediaType::OCI_MANIFEST, "digest": subject, "size": 1});
    let bytes = bytes::Bytes::from(signature.to_string());
    let digest = Digest::sha256(&bytes);
    put(registry, &repository, digest.as_str(), bytes.clone()).await.unwrap();
    (subject, digest, bytes)
}

#[tokio::test]
async fn a_referrer_that_is_pushed_anew_while_it_is_purged_keeps_its_hint() {
    let raced = Raced::open().await;
    let (registry, repository) = (&raced.registry, repository("a"));
    let (subject, digest, _) = push_signed(registry).await;
    registry.delete_tag(&repository, &"v1".parse().unwrap(), &author()).await.unwrap();
    settled(registry).await;
    let register = Register::Manifest(repository.clone(), digest.clone());
    // 1 is set, 2 condemned, 3 deleted: the hint of 1 goes when that has landed.
    let old = layout::referrer(&repository, &subject, &digest, 1);
    let hint = layout::referrer(&repository, &subject, &digest, 4);
    let descriptor = serde_json::json!({"mediaType": MediaType::OCI_MANIFEST, "digest": digest, "size": 1}).to_string();
    let (again, made) = (register.clone(), hint.clone());
    raced.before(Operation::Delete, old, 0, move |registry| {
        let made = registry.store().put_new(&made, descriptor.into(), Durability::Durable);
        made.now_or_never().unwrap().unwrap();
        turn(registry, &again, &[Op::Set]);
    });
    run(registry, NOW, false).await;
    raced.assert_happened();
    assert_eq!(registry.head(&register).await.unwrap().unwrap().version, 4);
    let hints = registry.all_hints(&repository).await.unwrap();
    assert_eq!(
        hints.iter().map(|hint| hint.version).collect::<Vec<_>>(),
        [4],
        "the old one is gone, the new one stays"
    );
    assert_eq!(registry.referrers(&repository, &subject).await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_hint_of_a_referrer_that_a_client_deleted_is_collected() {
    let raced = Raced::open().await;
    let (registry, repository) = (&raced.registry, repository("a"));
    let (subject, digest, bytes) = push_signed(registry).await;
    registry.delete_manifest(&repository, &digest, &author()).await.unwrap();
    settled(registry).await;
    assert_eq!(registry.all_hints(&repository).await.unwrap().len(), 1);
    run(registry, NOW, false).await;
    assert_eq!(registry.all_hints(&repository).await.unwrap(), []);
    push_blob(registry, &repository, b"{}").await;
    put(registry, &repository, digest.as_str(), bytes).await.unwrap();
    assert_eq!(registry.referrers(&repository, &subject).await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_hint_of_a_referrer_that_never_came_goes_once_it_cannot_come_any_more() {
    let raced = Raced::open().await;
    let (registry, repository) = (&raced.registry, repository("a"));
    let subject = push_image(registry, &repository, "v1", b"layer").await;
    let digest = Digest::sha256(b"never came");
    let register = Register::Manifest(repository.clone(), digest.clone());
    let ticket = registry.journal().record(vec![register.clone()]).await.unwrap();
    let hint = layout::referrer(&repository, &subject, &digest, 1);
    registry.store().put_new(&hint, "{}".into(), Durability::Durable).await.unwrap();
    run(registry, NOW, false).await;
    assert_eq!(registry.all_hints(&repository).await.unwrap().len(), 1, "it may land yet");
    ticket.settle(&Ok(()));
    settled(registry).await;
    run(registry, NOW, false).await;
    assert_eq!(registry.all_hints(&repository).await.unwrap(), []);
    // The name of that hint is nobody's any more.
    assert_eq!(
        registry.head(&register).await.unwrap().map(|head| (head.version, head.entry.op)),
        Some((1, Op::Delete))
    );
}

#[tokio::test]
async fn the_catalog_is_made_to_agree_with_the_registers() {
    let raced = Raced::open().await;
    let (registry, full, empty) = (&raced.registry, repository("full"), repository("empty"));
    push_image(registry, &full, "v1", b"layer").await;
    settled(registry).await;
    registry.store().delete(&layout::catalog_entry(&full)).await.unwrap();
    registry.enter(&empty).await.unwrap();
    run(registry, NOW, false).await;
    assert_eq!(registry.repositories(None, 10).await.unwrap(), [full]);
}
