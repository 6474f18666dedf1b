//! Where the replicator's document, what it reports, and the cursors of edges that end here are kept, as bytes.

use bytes::Bytes;

use super::versions::{self, Newest};
use super::{Registry, Result, layout, register::is_torn};
use crate::store::Durability;

/// Whether a text can be an edge's id, and so a key's component.
pub fn is_edge_id(text: &str) -> bool {
    (16..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

impl Registry {
    /// The newest document of edges.
    pub async fn edges_document(&self) -> Result<Option<Newest>> {
        versions::newest(&self.inner.store, &layout::edges()).await
    }

    /// Stores a document as this generation; false where another is that already.
    pub async fn put_edges_document(&self, generation: u64, document: Bytes) -> Result<bool> {
        versions::land(&self.inner.store, &layout::edges(), generation, document, Durability::Durable).await
    }

    /// What every edge reported last, by id. A report is not synced: one that a power cut tore is left out.
    pub async fn edge_statuses(&self) -> Result<Vec<(String, Bytes)>> {
        let mut statuses = Vec::new();
        for child in self.inner.store.children(&layout::edge_statuses(), None, usize::MAX).await? {
            let newest = versions::newest(&self.inner.store, &layout::edge_status(&child.name)).await?;
            if let Some(newest) = newest.filter(|newest| !is_torn(&newest.value)) {
                statuses.push((child.name, newest.value));
            }
        }
        Ok(statuses)
    }

    /// Keeps what an edge reports. The id must be one: see [`is_edge_id`].
    pub async fn put_edge_status(&self, id: &str, status: Bytes) -> Result<()> {
        let directory = layout::edge_status(id);
        // It comes every few seconds, and of an earlier one nobody wants to know: a day's worth of them would be files by
        // the ten thousand, and each compaction would look at every one.
        let (durability, kept) = (Durability::Volatile, versions::KEPT_OF_REPORTS);
        versions::append_keeping(&self.inner.store, &directory, durability, kept, |_| status.clone()).await?;
        Ok(())
    }

    /// Where an edge that ends here is.
    pub async fn edge_cursor(&self, id: &str) -> Result<Option<Bytes>> {
        let newest = versions::newest(&self.inner.store, &layout::edge_cursor(id)).await?;
        Ok(newest.map(|newest| newest.value))
    }

    /// Keeps where an edge that ends here is.
    pub async fn put_edge_cursor(&self, id: &str, cursor: Bytes) -> Result<()> {
        let directory = layout::edge_cursor(id);
        versions::append(&self.inner.store, &directory, Durability::Durable, |_| cursor.clone()).await?;
        Ok(())
    }
}
