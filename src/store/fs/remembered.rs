//! What is remembered of many paths, in little memory.
//!
//! A path is remembered by its hash, with a key of this process' own: some 35 bytes each rather than 300. Two paths of one
//! hash displace each other, which costs an fsync; what is remembered of one is not taken for the other's, since it says
//! which file or directory it is of.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Something about each of the paths that were met last.
#[derive(Debug)]
pub(super) struct Remembered<T> {
    most: usize,
    hasher: RandomState,
    known: Mutex<HashMap<u64, T>>,
}

impl<T: PartialEq> Remembered<T> {
    /// Of so many paths at most; then all is forgotten.
    pub(super) fn of(most: usize) -> Self {
        Self { most, hasher: RandomState::new(), known: Mutex::default() }
    }

    /// Whether this is what is remembered of a path.
    pub(super) fn knows(&self, path: &Path, what: &T) -> bool {
        self.known().get(&self.hash(path)) == Some(what)
    }

    pub(super) fn remember(&self, path: &Path, what: T) {
        let mut known = self.known();
        if known.len() >= self.most {
            known.clear();
        }
        known.insert(self.hash(path), what);
    }

    pub(super) fn forget(&self, path: &Path) {
        self.known().remove(&self.hash(path));
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.known().is_empty()
    }

    fn hash(&self, path: &Path) -> u64 {
        // Not as a path, which is hashed component by component.
        self.hasher.hash_one(path.as_os_str())
    }

    fn known(&self) -> MutexGuard<'_, HashMap<u64, T>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_of_a_path_is_known_until_it_changes_or_is_forgotten() {
        let remembered = Remembered::of(2);
        let (one, other) = (Path::new("a/one"), Path::new("a/other"));
        remembered.remember(one, 1);
        assert!(remembered.knows(one, &1) && !remembered.knows(one, &2) && !remembered.knows(other, &1));
        remembered.remember(one, 2);
        assert!(remembered.knows(one, &2) && !remembered.knows(one, &1));
        remembered.forget(one);
        assert!(!remembered.knows(one, &2) && remembered.is_empty());
    }

    #[test]
    fn no_more_is_remembered_than_there_is_room_for() {
        let remembered = Remembered::of(10);
        for number in 0..1_000 {
            let path = format!("a/{number}");
            remembered.remember(Path::new(&path), number);
            assert!(remembered.knows(Path::new(&path), &number));
            assert!(remembered.known().len() <= 10);
        }
    }
}
