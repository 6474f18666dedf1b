//! A long listing, page by page.
//!
//! Most services list from a name on, and a page costs the same wherever it begins. Azure, COS and OBS do not: there a
//! listing stays open for as long as one walk takes, or each page would be looked for from the front. It is one walk's
//! only: what another one sees is asked for anew.

use super::{Answer, Child, Key, Store, StoreError};

/// A listing that was begun, and goes on where it is.
pub trait Listing: Send {
    /// As many more as these at most, in key order; fewer are all that there are.
    fn next(&mut self, limit: usize) -> Answer<'_, Vec<Child>>;
}

/// Goes through what lies below a directory.
pub struct Walk {
    store: Store,
    directory: Key,
    after: Option<String>,
    listing: Option<Box<dyn Listing>>,
    begun: bool,
    /// What was told and is to be told once more.
    again: Vec<Child>,
}

impl Walk {
    /// Of those after `after` only.
    pub fn new(store: &Store, directory: Key, after: Option<String>) -> Self {
        Self { store: store.clone(), directory, after, listing: None, begun: false, again: Vec::new() }
    }

    /// The next names directly below the directory, as [`super::Backend::children`] tells them; fewer are the last ones.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn names(&mut self, limit: usize) -> Result<Vec<Child>, StoreError> {
        self.begin(false);
        if self.listing.is_some() {
            return self.listed(limit).await;
        }
        let page = self.store.children(&self.directory, self.after.as_deref(), limit).await?;
        Ok(self.told(page))
    }

    /// The next keys at any depth, as [`super::Backend::below`] tells them; `None` where it tells none.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn keys(&mut self, limit: usize) -> Result<Option<Vec<Child>>, StoreError> {
        self.begin(true);
        if self.listing.is_some() {
            return self.listed(limit).await.map(Some);
        }
        let Some(keys) = self.store.below(&self.directory, self.after.as_deref(), limit) else {
            self.begun = false;
            return Ok(None);
        };
        let page = keys.await?.into_iter().map(|name| Child { name, is_directory: false }).collect();
        Ok(Some(self.told(page)))
    }

    /// Goes on behind this name: a later one than was told last, or one of the last page, of which the rest is told again.
    pub fn go_on_behind(&mut self, name: String, page: Vec<Child>) {
        if self.listing.is_some() {
            self.again = page.into_iter().filter(|child| child.is_after(&name)).collect();
        }
        self.after = Some(name);
    }

    fn begin(&mut self, deep: bool) {
        if !self.begun {
            self.begun = true;
            self.listing = self.store.listing(&self.directory, self.after.as_deref(), deep);
        }
    }

    async fn listed(&mut self, limit: usize) -> Result<Vec<Child>, StoreError> {
        let Some(listing) = &mut self.listing else { return Ok(Vec::new()) };
        let mut page = std::mem::take(&mut self.again);
        let mut is_over = false;
        while page.len() < limit && !is_over {
            let wanted = limit - page.len();
            let more = listing.next(wanted).await?;
            is_over = more.len() < wanted;
            let after = self.after.as_deref();
            page.extend(more.into_iter().filter(|child| after.is_none_or(|after| child.is_after(after))));
        }
        Ok(self.told(page))
    }

    fn told(&mut self, page: Vec<Child>) -> Vec<Child> {
        if let Some(last) = page.last() {
            self.after = Some(last.as_start());
        }
        page
    }
}
