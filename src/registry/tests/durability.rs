//! What another replica made, and has not yet put on disk.

use std::sync::{Arc, Mutex};

use super::{author, body, image, push_blob, put, repository};
use crate::clock::System;
use crate::oci::Digest;
use crate::registry::{Register, Registry, layout, versions};
use crate::store::Key;
use crate::store::faulty::{FaultyStore, Operation};
use crate::store::memory::MemoryStore;

/// Two replicas, and what the second one was asked to make durable.
async fn replicas() -> (Registry, Registry, Arc<Mutex<Vec<Key>>>) {
    let (memory, asked) = (MemoryStore::default(), Arc::<Mutex<Vec<Key>>>::default());
    let told = Arc::clone(&asked);
    let watched = FaultyStore::new(Arc::new(memory.clone()), move |operation, key: &Key| {
        if operation == Operation::MakeDurable {
            told.lock().unwrap().push(key.clone());
        }
        true
    });
    let one = Registry::open(Arc::new(memory), Arc::new(System)).await.unwrap();
    let other = Registry::open(Arc::new(watched), Arc::new(System)).await.unwrap();
    (one, other, asked)
}

fn link(repository: &str, digest: &Digest) -> Key {
    Register::Link(repository.parse().unwrap(), digest.clone()).key().join(versions::name(1))
}

#[tokio::test]
async fn a_201_on_a_link_that_another_replica_just_made_is_on_disk() {
    let (one, other, asked) = replicas().await;
    let digest = push_blob(&one, &repository("a"), b"layer").await;
    other.put_blob(&repository("a"), &digest, None, body(b"layer"), &author()).await.unwrap();
    let mut asked = asked.lock().unwrap().split_off(0);
    asked.sort();
    assert_eq!(asked, [layout::blob_data(&digest), link("a", &digest)]);
}

#[tokio::test]
async fn a_mount_of_bytes_that_another_replica_just_published_is_on_disk() {
    let (one, other, asked) = replicas().await;
    let digest = push_blob(&one, &repository("a"), b"layer").await;
    assert!(other.mount(&repository("b"), &repository("a"), &digest, &author()).await.unwrap());
    assert_eq!(asked.lock().unwrap().split_off(0), [layout::blob_data(&digest)]);
    assert!(other.mount_from_anywhere(&repository("c"), &digest, &author()).await.unwrap());
    assert_eq!(asked.lock().unwrap().split_off(0), [layout::blob_data(&digest)]);
}

#[tokio::test]
async fn a_manifest_is_put_only_upon_what_is_on_disk() {
    let (one, other, asked) = replicas().await;
    let repository = repository("a");
    let (config, layer) = (push_blob(&one, &repository, b"{}").await, push_blob(&one, &repository, b"layer").await);
    one.enter(&repository).await.unwrap();
    put(&other, &repository, "v1", image(&config, &[&layer])).await.unwrap();
    let asked = asked.lock().unwrap().split_off(0);
    let named = [&config, &layer].map(|digest| [link("a", digest), layout::blob_data(digest)]);
    for key in named.as_flattened().iter().chain([&layout::catalog_entry(&repository)]) {
        assert!(asked.contains(key), "{key}: {asked:#?}");
    }
}
