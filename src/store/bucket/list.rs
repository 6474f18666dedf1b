//! Names below a directory, in key order, from services that page them each in its own way.
//!
//! A page holds directories and objects apart, each in order; and all of one page sorts before all of the next. So the
//! order is made here, and reading may end only where a page does.

use std::cell::Cell;

use futures::TryStreamExt as _;
use opendal::options::ListOptions;

use super::transport::PAGES;
use super::{Bucket, failed};
use crate::store::smallest::Smallest;
use crate::store::{Child, Key, StoreError};

/// The largest page that every service gives.
const PAGE: usize = 1_000;

impl Bucket {
    pub(super) async fn list(
        &self,
        directory: &Key,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Child>, StoreError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let read = PAGES.scope(Cell::new(0), self.read_pages(directory, after, limit, child));
        read.await.map_err(|error| failed("listing", directory, error))
    }

    /// Keys at any depth, as [`Self::list`].
    pub(super) async fn list_below(
        &self,
        directory: &Key,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StoreError> {
        let read = PAGES.scope(Cell::new(0), self.read_pages(directory, after, limit, key_below));
        let read = read.await.map_err(|error| failed("listing", directory, error))?;
        Ok(read.into_iter().map(|child| child.name).collect())
    }

    /// What `of` makes of what follows the directory's name is listed; all keys, where it takes those with a slash.
    async fn read_pages(
        &self,
        directory: &Key,
        after: Option<&str>,
        limit: usize,
        of: fn(&str) -> Option<(&str, bool)>,
    ) -> opendal::Result<Vec<Child>> {
        let prefix = format!("{directory}/");
        let (mut options, full_page) = self.list_options(&prefix, after, limit);
        options.recursive = of("a/b").is_some();
        let mut entries = self.inner.operator.lister_options(&prefix, options).await?;
        let mut kept = Smallest::new(after, limit);
        let (mut page, mut in_page) = (0, 0);
        while let Some(entry) = entries.try_next().await? {
            let current = PAGES.with(Cell::get);
            if current != page {
                // The page before is at its end, and holds what sorts first.
                if kept.is_full() {
                    break;
                }
                (page, in_page) = (current, 0);
            }
            in_page += 1;
            if let Some((name, is_directory)) = entry.path().strip_prefix(&prefix).and_then(of) {
                kept.see(name, is_directory);
            }
            if full_page == Some(in_page) && kept.is_full() {
                break;
            }
        }
        Ok(kept.into_children())
    }

    /// Also how many entries fill a page, where the service keeps to a limit.
    pub(super) fn list_options(&self, prefix: &str, after: Option<&str>, limit: usize) -> (ListOptions, Option<usize>) {
        let findings = self.inner.findings.load();
        let start_after = after.filter(|_| findings.starts_after).map(|after| format!("{prefix}{after}"));
        // One more: some services begin with the directory that they were to begin after.
        let extra = usize::from(start_after.is_some());
        let skips = after.is_some() && start_after.is_none();
        let page = (findings.keeps_limits && !skips).then(|| limit.saturating_add(extra).min(PAGE));
        (ListOptions { limit: page, start_after, ..ListOptions::default() }, page)
    }
}

/// A key as it follows the directory's; none for what only marks a directory.
pub(super) fn key_below(rest: &str) -> Option<(&str, bool)> {
    (!rest.is_empty() && !rest.ends_with('/')).then_some((rest, false))
}

/// A name as it follows the directory's; none for the directory itself.
pub(super) fn child(rest: &str) -> Option<(&str, bool)> {
    let (name, is_directory) = match rest.strip_suffix('/') {
        Some(name) => (name, true),
        None => (rest, false),
    };
    (!name.is_empty() && !name.contains('/')).then_some((name, is_directory))
}
