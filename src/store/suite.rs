//! What every backend must do, whatever it is made of.

use bytes::Bytes;
use futures::TryStreamExt as _;

use super::{Child, Durability, Key, Published, PutNew, Store};

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

/// The whole suite, on a fresh store.
pub async fn run(store: &Store) {
    a_key_is_created_once(store).await;
    of_many_creators_one_wins(store).await;
    names_are_listed_in_key_order(store).await;
    keys_are_listed_at_any_depth(store).await;
    a_temporary_is_published_once(store).await;
    a_key_is_moved_only_to_a_free_name(store).await;
    ranges_are_streamed(store).await;
    deleting_answers_whether_there_was_one(store).await;
    making_durable_answers_whether_there_is_one(store).await;
}

async fn a_key_is_created_once(store: &Store) {
    let name = key("once/a");
    assert_eq!(store.read(&name).await.unwrap(), None);
    assert_eq!(store.put_new(&name, "1".into(), Durability::Durable).await.unwrap(), PutNew::Created);
    assert_eq!(store.put_new(&name, "2".into(), Durability::Durable).await.unwrap(), PutNew::Exists("1".into()));
    // The same value again is one's own retry.
    assert_eq!(store.put_new(&name, "1".into(), Durability::Durable).await.unwrap(), PutNew::Created);
    assert_eq!(store.read(&name).await.unwrap().unwrap(), "1");
    assert_eq!(store.head(&name).await.unwrap().unwrap().size, 1);
    // A directory is not a key.
    assert_eq!(store.read(&key("nothing/here")).await.unwrap(), None);
    assert_eq!(store.head(&key("once")).await.unwrap(), None);
}

async fn of_many_creators_one_wins(store: &Store) {
    let name = key("race/to/the/deep");
    let tries = (0..16).map(|n| {
        let (store, name) = (store.clone(), name.clone());
        tokio::spawn(
            async move { store.put_new(&name, Bytes::from(n.to_string()), Durability::Durable).await.unwrap() },
        )
    });
    let outcomes = futures::future::join_all(tries).await;
    let won = outcomes.iter().filter(|outcome| matches!(outcome, Ok(PutNew::Created))).count();
    assert_eq!(won, 1, "{outcomes:?}");
}

async fn names_are_listed_in_key_order(store: &Store) {
    for name in ["list/b", "list/a!/1", "list/a-b!/1", "list/a.b!/1", "list/a/x", "list/c/d/e"] {
        store.put_new(&key(name), "".into(), Durability::Volatile).await.unwrap();
    }
    let names = |children: Vec<Child>| children.into_iter().map(|c| (c.name, c.is_directory)).collect::<Vec<_>>();
    let all = names(store.children(&key("list"), None, 100).await.unwrap());
    let expected = [("a!", true), ("a-b!", true), ("a.b!", true), ("a", true), ("b", false), ("c", true)];
    assert_eq!(all, expected.map(|(name, directory)| (name.to_owned(), directory)));
    let page = names(store.children(&key("list"), Some("a.b!/"), 1).await.unwrap());
    assert_eq!(page, [("a".to_owned(), true)]);
    assert_eq!(store.children(&key("absent"), None, 10).await.unwrap(), []);
}

/// By the stores that can.
async fn keys_are_listed_at_any_depth(store: &Store) {
    let all = ["a!/1", "a!/1!set", "a!/2", "a-b!/1", "b", "c/d/e"];
    for name in all {
        store.put_new(&key("deep").join(name), "".into(), Durability::Volatile).await.unwrap();
    }
    store.put_new(&key("deeper/x"), "".into(), Durability::Volatile).await.unwrap();
    let deep = key("deep");
    let Some(listed) = store.below(&deep, None, 100) else { return };
    assert_eq!(listed.await.unwrap(), all);
    let below = async |directory: &str, after| store.below(&key(directory), after, 2).unwrap().await.unwrap();
    assert_eq!(below("deep", None).await, all[..2]);
    assert_eq!(below("deep", Some("a!/~")).await, all[3..5]);
    assert_eq!(below("absent", None).await, [""; 0]);
}

async fn a_temporary_is_published_once(store: &Store) {
    let (temporary, name) = (key("tmp/part"), key("published/data"));
    let mut writer = store.temporary(&temporary).await.unwrap();
    for _ in 0..3 {
        writer.write(Bytes::from(vec![7; 700_000])).await.unwrap();
    }
    assert_eq!(writer.finish(Durability::Durable).await.unwrap(), 2_100_000);
    assert_eq!(store.publish(&temporary, &name, Durability::Durable).await.unwrap(), Published::Created);
    store.delete(&temporary).await.unwrap();
    assert_eq!(store.head(&name).await.unwrap().unwrap().size, 2_100_000);
    let mut other = store.temporary(&temporary).await.unwrap();
    other.write("other".into()).await.unwrap();
    other.finish(Durability::Durable).await.unwrap();
    assert_eq!(store.publish(&temporary, &name, Durability::Durable).await.unwrap(), Published::Exists);
    assert_eq!(store.head(&name).await.unwrap().unwrap().size, 2_100_000, "never written over");
    store.delete(&temporary).await.unwrap();
    assert!(store.publish(&temporary, &key("published/none"), Durability::Durable).await.is_err());
}

async fn a_key_is_moved_only_to_a_free_name(store: &Store) {
    let (from, to) = (key("move/from"), key("move/trash/to"));
    assert!(!store.rename(&from, &to).await.unwrap());
    store.put_new(&from, "1".into(), Durability::Durable).await.unwrap();
    assert!(store.rename(&from, &to).await.unwrap());
    assert_eq!(store.read(&from).await.unwrap(), None);
    store.put_new(&from, "2".into(), Durability::Durable).await.unwrap();
    assert!(!store.rename(&from, &to).await.unwrap());
    assert_eq!(store.read(&to).await.unwrap().unwrap(), "1");
}

async fn ranges_are_streamed(store: &Store) {
    let name = key("ranges/data");
    let content: Vec<u8> = (0..=255).cycle().take(600_000).collect();
    store.put_new(&name, content.clone().into(), Durability::Durable).await.unwrap();
    for (start, length) in [(0, 600_000), (0, 0), (5, 1), (262_143, 300_001), (599_999, 1)] {
        let object = store.open(&name).await.unwrap().unwrap();
        let chunks: Vec<Bytes> = object.stream(start, length).try_collect().await.unwrap();
        let range = usize::try_from(start).unwrap()..usize::try_from(start + length).unwrap();
        assert_eq!(chunks.concat(), content[range]);
    }
    // What is open is read to its end.
    let object = store.open(&name).await.unwrap().unwrap();
    store.delete(&name).await.unwrap();
    assert_eq!(object.read().await.unwrap(), content);
}

async fn deleting_answers_whether_there_was_one(store: &Store) {
    let name = key("gone/a");
    assert!(!store.delete(&name).await.unwrap());
    store.put_new(&name, "".into(), Durability::Durable).await.unwrap();
    assert!(store.delete(&name).await.unwrap());
    assert_eq!(store.put_new(&name, "2".into(), Durability::Durable).await.unwrap(), PutNew::Created);
}

async fn making_durable_answers_whether_there_is_one(store: &Store) {
    let name = key("durable/a/b");
    assert!(!store.make_durable(&name).await.unwrap());
    store.put_new(&name, "1".into(), Durability::Volatile).await.unwrap();
    assert!(store.make_durable(&name).await.unwrap());
    assert!(!store.make_durable(&key("durable/a")).await.unwrap(), "a directory is not a key");
}
