//! Bytes in the store that are not as long as they were when they were linked.

use bytes::Bytes;

use super::{author, body, image, push_blob, put, repository};
use crate::clock::System;
use crate::oci::Digest;
use crate::registry::{Registry, RegistryError, layout};
use crate::store::{Backend as _, Durability, Store, fs::FsStore, memory::MemoryStore};
use std::sync::Arc;

async fn on_memory() -> (Registry, MemoryStore) {
    let memory = MemoryStore::default();
    (Registry::open(Arc::new(memory.clone()), Arc::new(System)).await.unwrap(), memory)
}

async fn shorten(memory: &MemoryStore, digest: &Digest) {
    let key = layout::blob_data(digest);
    let bytes = memory.read(&key).await.unwrap().unwrap();
    memory.delete(&key).await.unwrap();
    memory.put_new(&key, bytes.slice(..bytes.len() - 1), Durability::Durable).await.unwrap();
}

static LAYER: [u8; 40_000] = [7; 40_000];

#[tokio::test]
async fn a_blob_that_lost_bytes_is_neither_served_nor_named_nor_mounted_and_is_mended_by_a_push() {
    let (registry, memory) = on_memory().await;
    let (name, other) = (repository("a"), repository("b"));
    let (config, layer) = (push_blob(&registry, &name, b"{}").await, push_blob(&registry, &name, &LAYER).await);
    shorten(&memory, &layer).await;
    assert!(registry.open_blob(&name, &layer).await.is_err());
    assert!(matches!(registry.blob(&name, &layer).await, Err(RegistryError::BlobUnknown { .. })), "to be pushed again");
    let refused = put(&registry, &name, "v1", image(&config, &[&layer])).await;
    assert!(matches!(refused, Err(RegistryError::ReferencesUnknown { .. })), "{refused:?}");
    assert!(!registry.mount(&other, &name, &layer, &author()).await.unwrap());
    assert!(!registry.mount_from_anywhere(&other, &layer, &author()).await.unwrap());

    push_blob(&registry, &name, &LAYER).await;
    assert_eq!(registry.open_blob(&name, &layer).await.unwrap().read().await.unwrap(), LAYER.as_slice());
    assert_eq!(registry.blob(&name, &layer).await.unwrap().size, 40_000);
    put(&registry, &name, "v1", image(&config, &[&layer])).await.unwrap();
}

#[tokio::test]
async fn a_close_that_is_repeated_does_not_answer_for_bytes_that_were_lost_since() {
    let (registry, memory) = on_memory().await;
    let name = repository("a");
    let upload = registry.begin_upload(&name, "me").await.unwrap();
    let digest = Digest::sha256(&LAYER);
    registry.close(&upload, None, None, body(&LAYER), &digest, &author()).await.unwrap();
    shorten(&memory, &digest).await;
    let closed = registry.upload(&name, upload.id(), "me").await.unwrap();
    assert!(registry.close(&closed, None, None, body(b""), &digest, &author()).await.is_err());
}

#[tokio::test]
async fn a_manifest_that_lost_bytes_is_an_error_and_is_mended_by_a_push() {
    let (registry, memory) = on_memory().await;
    let name = repository("a");
    let config = push_blob(&registry, &name, b"{}").await;
    let bytes = image(&config, &[]);
    let digest = put(&registry, &name, "v1", bytes.clone()).await.unwrap();
    shorten(&memory, &digest).await;
    let opened = registry.open_manifest(&name, &digest.clone().into()).await;
    assert!(!matches!(opened, Ok(_) | Err(RegistryError::ManifestUnknown { .. })), "{opened:?}");
    put(&registry, &name, "v1", bytes.clone()).await.unwrap();
    let (_, object) = registry.open_manifest(&name, &digest.into()).await.unwrap();
    assert_eq!(object.read().await.unwrap(), bytes);
}

/// What is being read when it is replaced is read to its end; what is whole stays the very file that it was.
#[tokio::test]
async fn in_a_directory_only_what_lost_bytes_is_replaced() {
    use std::os::unix::fs::MetadataExt as _;
    let root = tempfile::tempdir().unwrap();
    let store: Store = Arc::new(FsStore::open(root.path(), layout::temporaries()).unwrap());
    let registry = Registry::open(store, Arc::new(System)).await.unwrap();
    let name = repository("a");
    let digest = push_blob(&registry, &name, &LAYER).await;
    let path = root.path().join(layout::blob_data(&digest).as_str());
    let inode = || std::fs::metadata(&path).unwrap().ino();
    let before = inode();
    push_blob(&registry, &name, &LAYER).await;
    assert_eq!(inode(), before);
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(30_000).unwrap();
    assert!(registry.open_blob(&name, &digest).await.is_err());
    push_blob(&registry, &name, &LAYER).await;
    let read: Bytes = registry.open_blob(&name, &digest).await.unwrap().read().await.unwrap();
    assert_eq!(read, LAYER.as_slice());
    let left = std::fs::read_dir(root.path().join(layout::temporaries().as_str())).unwrap().count();
    assert_eq!(left, 0, "nothing is left behind");
}
