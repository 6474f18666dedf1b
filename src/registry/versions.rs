//! Numbered versions in a directory: the mechanism under every register, access document, term and cursor.
//!
//! Version n is the key `<directory>/<inverted n>`, so that the newest is listed first; creating version n+1 is the
//! only way to change anything, and of two writers that try, the store lets one.

use std::time::Duration;

use bytes::Bytes;

use super::Result;
use crate::store::{Child, Durability, Key, PutNew, Store};

/// A writer that meets more versions than this clears away old ones.
const COMPACT_EVERY: u64 = 64;

/// How long a superseded version is kept.
const KEPT: Duration = Duration::from_hours(24);

/// How long a superseded version of what is said again and again is kept: longer than a listing may be old.
pub const KEPT_OF_REPORTS: Duration = Duration::from_mins(10);

/// The newest version of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newest {
    /// 1, 2, 3 ...
    pub number: u64,
    /// What it says.
    pub value: Bytes,
}

/// No register comes to so many; the number after the last one would not be any more.
const LAST: u64 = u64::MAX / 2;

/// The number of a version, from its name.
pub fn number(name: &str) -> Option<u64> {
    if name.len() != 16 || !name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let number = u64::MAX - u64::from_str_radix(name, 16).ok()?;
    (1..=LAST).contains(&number).then_some(number)
}

/// The name of a version.
pub fn name(number: u64) -> String {
    format!("{:016x}", u64::MAX - number)
}

/// The newest version's number and hint, by one listing.
pub async fn newest_number(store: &Store, directory: &Key) -> Result<Option<(u64, Option<String>)>> {
    let mut children = store.children(directory, None, 2).await?;
    let is_version = |child: &Child| number(&child.name).is_some();
    if children.first().is_some_and(|child| !is_version(child)) {
        // Whatever somebody laid there: what is behind it is not lost.
        children = store.children(directory, None, usize::MAX).await?;
        children = children.into_iter().skip_while(|child| !is_version(child)).collect();
    }
    let Some(number) = children.first().and_then(|child| number(&child.name)) else { return Ok(None) };
    let hint =
        children.get(1).and_then(|child| child.name.strip_prefix(&format!("{}!", name(number))).map(str::to_owned));
    Ok(Some((number, hint)))
}

/// The newest version, by one listing and one read.
pub async fn newest(store: &Store, directory: &Key) -> Result<Option<Newest>> {
    // A version that is compacted between listing and reading has a newer one in its place: look again.
    for _ in 0..16 {
        let Some((number, _)) = newest_number(store, directory).await? else { return Ok(None) };
        if let Some(value) = store.read(&directory.join(name(number))).await? {
            return Ok(Some(Newest { number, value }));
        }
    }
    Err(super::RegistryError::Corrupt { key: directory.to_string(), why: "its newest version cannot be read".into() })
}

/// As [`newest`], by somebody who knows that version `least` is there, since he could not create it. A listing may be
/// older than that: clients of network filesystems remember. Versions are dense, so that later ones are found by name.
pub async fn newest_from(store: &Store, directory: &Key, least: u64) -> Result<Option<Newest>> {
    let mut found = newest(store, directory).await?;
    if found.as_ref().map_or(0, |newest| newest.number) < least {
        for number in least.. {
            let Some(value) = store.read(&directory.join(name(number))).await? else { break };
            found = Some(Newest { number, value });
        }
    }
    Ok(found)
}

/// All versions, newest first.
pub async fn all(store: &Store, directory: &Key) -> Result<Vec<Newest>> {
    let mut versions = Vec::new();
    for number in numbers(&store.children(directory, None, usize::MAX).await?) {
        if let Some(value) = store.read(&directory.join(name(number))).await? {
            versions.push(Newest { number, value });
        }
    }
    Ok(versions)
}

fn numbers(children: &[Child]) -> Vec<u64> {
    children.iter().filter_map(|child| number(&child.name)).collect()
}

/// Creates version `number`; false where another writer was first.
pub async fn land(store: &Store, directory: &Key, number: u64, value: Bytes, durability: Durability) -> Result<bool> {
    land_keeping(store, directory, number, value, durability, KEPT).await
}

async fn land_keeping(
    store: &Store,
    directory: &Key,
    number: u64,
    value: Bytes,
    durability: Durability,
    kept: Duration,
) -> Result<bool> {
    let landed = match store.put_new(&directory.join(name(number)), value, durability).await? {
        PutNew::Created => true,
        PutNew::Exists(_) => false,
    };
    // What has landed has landed, whatever becomes of the old ones: who is second to come to such a number tries again.
    if landed
        && number.is_multiple_of(COMPACT_EVERY)
        && let Err(error) = compact(store, directory, number, kept).await
    {
        tracing::warn!(register = %directory, error = %error, "old versions could not be cleared away");
    }
    Ok(landed)
}

/// Creates the next version, whatever the newest is by then. The value is made from the newest.
pub async fn append(
    store: &Store,
    directory: &Key,
    durability: Durability,
    value: impl FnMut(Option<&Newest>) -> Bytes,
) -> Result<u64> {
    append_keeping(store, directory, durability, KEPT, value).await
}

/// As [`append`], where superseded versions are kept for so long.
pub async fn append_keeping(
    store: &Store,
    directory: &Key,
    durability: Durability,
    kept: Duration,
    mut value: impl FnMut(Option<&Newest>) -> Bytes,
) -> Result<u64> {
    let mut least = 0;
    loop {
        let head = newest_from(store, directory, least).await?;
        let next = head.as_ref().map_or(1, |head| head.number + 1);
        if land_keeping(store, directory, next, value(head.as_ref()), durability, kept).await? {
            return Ok(next);
        }
        least = next;
    }
}

/// Deletes versions that have been superseded for as long as they are kept, with their hints. The newest stays.
async fn compact(store: &Store, directory: &Key, newest: u64, kept: Duration) -> Result<()> {
    let now = store.now().await?;
    let children = store.children(directory, None, usize::MAX).await?;
    let mut superseded_long_ago = false;
    for child in &children {
        let Some(number) = child.name.get(..16).and_then(number) else { continue };
        let key = directory.join(&child.name);
        if superseded_long_ago && number < newest {
            store.delete(&key).await?;
        } else if let Some(meta) = store.head(&key).await? {
            // All older ones were superseded when this one was made, or earlier.
            superseded_long_ago = now.duration_since(meta.modified).is_ok_and(|age| age > kept);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::memory::MemoryStore;

    #[test]
    fn newer_versions_have_smaller_names() {
        assert!(name(2) < name(1));
        assert_eq!(number(&name(7)), Some(7));
        assert_eq!(number("part-0123456789abcdef"), None);
        assert_eq!(number("fffffffffffffffe!set"), None);
        for no_version in ["ffffffffffffffff", "0000000000000000", "+fffffffffffffff", "FFFFFFFFFFFFFFFE"] {
            assert_eq!(number(no_version), None, "{no_version}");
        }
    }

    #[tokio::test]
    async fn what_somebody_laid_beside_the_versions_hides_none() {
        let store: Store = Arc::new(MemoryStore::default());
        let directory = Key::new("a").unwrap();
        for name in ["0-notes", "0000000000000000", "README"] {
            store.put_new(&directory.join(name), Bytes::new(), Durability::Durable).await.unwrap();
        }
        assert_eq!(newest_number(&store, &directory).await.unwrap(), None);
        append(&store, &directory, Durability::Durable, |_| "1".into()).await.unwrap();
        append(&store, &directory, Durability::Durable, |_| "2".into()).await.unwrap();
        assert_eq!(newest(&store, &directory).await.unwrap(), Some(Newest { number: 2, value: "2".into() }));
    }

    #[tokio::test]
    async fn every_append_gets_a_number_of_its_own() {
        let store: Store = Arc::new(MemoryStore::default());
        let directory = Key::new("a").unwrap();
        let appends = (0..20).map(|n| {
            let (store, directory) = (store.clone(), directory.clone());
            tokio::spawn(async move {
                append(&store, &directory, Durability::Durable, |_| Bytes::from(n.to_string())).await.unwrap()
            })
        });
        let mut numbers: Vec<u64> = futures::future::join_all(appends).await.into_iter().map(Result::unwrap).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
        assert_eq!(newest(&store, &directory).await.unwrap().unwrap().number, 20);
    }

    #[tokio::test]
    async fn what_is_said_again_and_again_does_not_pile_up() {
        let store: Store = Arc::new(MemoryStore::default());
        let directory = Key::new("a").unwrap();
        for n in 1..=4 * COMPACT_EVERY {
            let value = |_: Option<&Newest>| Bytes::from(n.to_string());
            append_keeping(&store, &directory, Durability::Volatile, Duration::ZERO, value).await.unwrap();
        }
        let left = store.children(&directory, None, usize::MAX).await.unwrap().len() as u64;
        assert!(left <= COMPACT_EVERY, "{left} versions are left");
        let newest = newest(&store, &directory).await.unwrap().unwrap();
        assert_eq!(newest.value, (4 * COMPACT_EVERY).to_string());
    }
}
