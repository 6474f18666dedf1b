//! The store in a directory: the suite, and what is its own.

use super::*;
use crate::store::{Store, suite};

fn open() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = FsStore::open(directory.path(), Key::of("tmp".into())).unwrap();
    (directory, Arc::new(store))
}

#[tokio::test]
async fn a_directory_passes_the_suite() {
    let (_directory, store) = open();
    suite::run(&store).await;
}

#[tokio::test]
async fn memory_passes_the_suite() {
    suite::run(&(Arc::new(crate::store::memory::MemoryStore::default()) as Store)).await;
}

/// Two processes on one directory.
#[tokio::test]
async fn what_another_process_made_is_synced_once_and_what_this_one_made_not_again() {
    let directory = tempfile::tempdir().unwrap();
    let open = || FsStore::open(directory.path(), Key::of("tmp".into())).unwrap();
    let (one, other) = (open(), open());
    let key = Key::new("a/b/c").unwrap();
    assert!(!other.make_durable(&key).await.unwrap());
    one.put_new(&key, "1".into(), Durability::Durable).await.unwrap();
    let synced = |store: &FsStore| store.inner.directories.synced();
    let (before, of_the_maker) = (synced(&other), synced(&one));
    assert!(other.make_durable(&key).await.unwrap());
    assert_eq!(synced(&other) - before, 3, "its directory, and the two above, which this process does not know");
    for store in [&one, &other] {
        assert!(store.make_durable(&key).await.unwrap());
    }
    assert_eq!((synced(&other) - before, synced(&one)), (3, of_the_maker));
    // The same name again, by another process: it is another file.
    one.delete(&key).await.unwrap();
    one.put_new(&key, "2".into(), Durability::Volatile).await.unwrap();
    assert!(other.make_durable(&key).await.unwrap());
    assert!(synced(&other) - before > 3);
}

#[tokio::test]
async fn an_answer_that_a_key_exists_comes_after_its_directory_is_synced() {
    let directory = tempfile::tempdir().unwrap();
    let open = || FsStore::open(directory.path(), Key::of("tmp".into())).unwrap();
    let (one, other) = (open(), open());
    let (key, temporary) = (Key::new("a/b").unwrap(), Key::new("tmp/part").unwrap());
    one.put_new(&key, "1".into(), Durability::Volatile).await.unwrap();
    let before = other.inner.directories.synced();
    other.put_new(&key, "2".into(), Durability::Durable).await.unwrap();
    let put = other.inner.directories.synced();
    other.temporary(&temporary).await.unwrap().finish(Durability::Volatile).await.unwrap();
    assert_eq!(other.publish(&temporary, &key, Durability::Durable).await.unwrap(), Published::Exists);
    assert!(before < put && put < other.inner.directories.synced());
}

#[test]
fn a_file_is_refused_as_a_root_with_the_reason() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = FsStore::open(file.path(), Key::of("tmp".into())).unwrap_err();
    assert!(error.to_string().contains("cannot hold a store"), "{error}");
}

#[tokio::test]
async fn what_a_filesystem_lays_into_its_directories_is_not_listed() {
    let (directory, store) = open();
    let key = Key::new("a/b").unwrap();
    store.put_new(&key, "1".into(), Durability::Durable).await.unwrap();
    // NFS keeps so what was deleted while somebody had it open; filers show snapshots.
    std::fs::write(directory.path().join("a/.nfs000000000001"), "").unwrap();
    std::fs::create_dir(directory.path().join("a/.snapshot")).unwrap();
    let listed = store.children(&Key::new("a").unwrap(), None, 1).await.unwrap();
    assert_eq!(listed.iter().map(|child| child.name.as_str()).collect::<Vec<_>>(), ["b"]);
    assert!(Key::new("a/.snapshot").is_err());
}

#[tokio::test]
async fn nothing_is_left_in_the_scratch_directory() {
    let (directory, store) = open();
    let key = Key::new("a/b").unwrap();
    store.put_new(&key, "1".into(), Durability::Durable).await.unwrap();
    store.put_new(&key, "2".into(), Durability::Durable).await.unwrap();
    store.now().await.unwrap();
    assert_eq!(std::fs::read_dir(directory.path().join("tmp")).unwrap().count(), 0);
}
