//! The first names of a listing, in memory for that many only.

use std::collections::BinaryHeap;

use super::{Child, SortKey, end_of};

/// Keeps the smallest children of those that it is shown, in key order.
#[derive(Debug)]
pub(super) struct Smallest<'a> {
    after: Option<&'a str>,
    limit: usize,
    heap: BinaryHeap<Ordered>,
}

#[derive(Debug)]
struct Ordered(Child);

impl PartialEq for Ordered {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Ordered {}
impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.sort_key().cmp(&other.0.sort_key())
    }
}

impl<'a> Smallest<'a> {
    /// At most `limit` of those after `after`.
    pub(super) fn new(after: Option<&'a str>, limit: usize) -> Self {
        Self { after, limit, heap: BinaryHeap::new() }
    }

    /// Shows it one. Of a long listing most are not kept, and cost a comparison.
    pub(super) fn see(&mut self, name: &str, is_directory: bool) {
        let key = SortKey { name: name.as_bytes(), end: end_of(is_directory) };
        if self.after.is_some_and(|after| key <= SortKey::of(after)) {
            return;
        }
        let child = || Ordered(Child { name: name.to_owned(), is_directory });
        if self.heap.len() < self.limit {
            self.heap.push(child());
        } else if let Some(mut largest) = self.heap.peek_mut()
            && key < largest.0.sort_key()
        {
            *largest = child();
        }
    }

    /// Whether it has as many as it may keep.
    pub(super) fn is_full(&self) -> bool {
        self.heap.len() >= self.limit
    }

    /// What it kept, in key order.
    pub(super) fn into_children(self) -> Vec<Child> {
        self.heap.into_sorted_vec().into_iter().map(|ordered| ordered.0).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against whole keys as texts, sorted.
        #[test]
        fn what_is_kept_is_the_beginning_of_the_sorted_list(
            names in prop::collection::btree_map("[ab!.-]{1,3}", any::<bool>(), 0..30),
            after in prop::option::of("[ab!.-]{1,2}/?"),
            limit in 0_usize..10,
        ) {
            let text = |(name, is_directory): (&String, &bool)| format!("{name}{}", if *is_directory { "/" } else { "" });
            let mut expected: Vec<String> = names.iter().map(text).collect();
            expected.retain(|name| after.as_ref().is_none_or(|after| name > after));
            expected.sort();
            expected.truncate(limit);
            let mut kept = Smallest::new(after.as_deref(), limit);
            for (name, is_directory) in &names {
                kept.see(name, *is_directory);
            }
            prop_assert_eq!(kept.is_full(), expected.len() == limit);
            let kept: Vec<String> = kept.into_children().iter().map(Child::as_start).collect();
            prop_assert_eq!(kept, expected);
        }
    }
}
