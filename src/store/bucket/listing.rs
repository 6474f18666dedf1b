//! A listing that stays open from page to page, where the service lists from no name on: Azure, COS, OBS.
//!
//! As with the others (see `list`), one page of the service's holds directories and objects apart, and all of it sorts before
//! the next one.

use std::cell::Cell;
use std::collections::VecDeque;

use futures::TryStreamExt as _;

use super::list::{child, key_below};
use super::transport::PAGES;
use super::{Bucket, failed};
use crate::store::{Answer, Child, Key, Listing, StoreError, in_key_order};

/// One that was begun.
pub(super) struct OpenListing {
    bucket: Bucket,
    directory: Key,
    after: Option<String>,
    deep: bool,
    lister: Option<opendal::Lister>,
    /// How many entries fill a page, where the service keeps to a limit.
    full_page: Option<usize>,
    /// Which page is read, and how many entries of it came.
    page: u64,
    in_page: usize,
    /// The first one of a page that is not read yet.
    next: Option<Child>,
    /// What is in order.
    ready: VecDeque<Child>,
    is_over: bool,
}

impl Bucket {
    /// None where the service lists from a name on.
    pub(super) fn open_listing(&self, directory: &Key, after: Option<&str>, deep: bool) -> Option<OpenListing> {
        if self.inner.findings.load().starts_after {
            return None;
        }
        Some(OpenListing {
            bucket: self.clone(),
            directory: directory.clone(),
            after: after.map(str::to_owned),
            deep,
            lister: None,
            full_page: None,
            page: 0,
            in_page: 0,
            next: None,
            ready: VecDeque::new(),
            is_over: false,
        })
    }
}

impl OpenListing {
    async fn take(&mut self, limit: usize) -> Result<Vec<Child>, StoreError> {
        while self.ready.len() < limit && !self.is_over {
            let read = PAGES.scope(Cell::new(self.page), self.read_page(limit)).await;
            let mut page = read.map_err(|error| failed("listing", &self.directory, error))?;
            page.sort_by(in_key_order);
            self.ready.extend(page);
        }
        let most = limit.min(self.ready.len());
        Ok(self.ready.drain(..most).collect())
    }

    /// What is left of one page of the service's. Which one an entry is of is known when it comes.
    async fn read_page(&mut self, limit: usize) -> opendal::Result<Vec<Child>> {
        let mut page: Vec<Child> = self.next.take().into_iter().collect();
        let prefix = format!("{}/", self.directory);
        let lister = match &mut self.lister {
            Some(lister) => lister,
            none @ None => {
                let (mut options, full_page) = self.bucket.list_options(&prefix, self.after.as_deref(), limit);
                options.recursive = self.deep;
                self.full_page = full_page;
                none.insert(self.bucket.inner.operator.lister_options(&prefix, options).await?)
            }
        };
        let of = if self.deep { key_below } else { child };
        loop {
            let Some(entry) = lister.try_next().await? else {
                self.is_over = true;
                return Ok(page);
            };
            let named = entry.path().strip_prefix(&prefix).and_then(of);
            let child = named.map(|(name, is_directory)| Child { name: name.to_owned(), is_directory });
            let child = child.filter(|child| self.after.as_ref().is_none_or(|after| child.is_after(after)));
            let current = PAGES.with(Cell::get);
            if current != self.page && std::mem::replace(&mut self.in_page, 1) > 0 {
                self.page = current;
                self.next = child;
                return Ok(page);
            }
            if current == self.page {
                self.in_page += 1;
            }
            self.page = current;
            page.extend(child);
            if self.full_page == Some(self.in_page) {
                self.in_page = 0;
                return Ok(page);
            }
        }
    }
}

impl Listing for OpenListing {
    fn next(&mut self, limit: usize) -> Answer<'_, Vec<Child>> {
        Box::pin(self.take(limit))
    }
}
