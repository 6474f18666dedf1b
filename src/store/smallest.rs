//! The first names of a listing, in memory for that many only.

use std::collections::BinaryHeap;

use super::{Child, in_key_order};

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
        in_key_order(&self.0, &other.0)
    }
}

impl<'a> Smallest<'a> {
    /// At most `limit` of those after `after`.
    pub(super) fn new(after: Option<&'a str>, limit: usize) -> Self {
        Self { after, limit, heap: BinaryHeap::new() }
    }

    /// Shows it one.
    pub(super) fn see(&mut self, child: Child) {
        if self.after.is_some_and(|after| !child.is_after(after)) {
            return;
        }
        self.heap.push(Ordered(child));
        if self.heap.len() > self.limit {
            self.heap.pop();
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
