//! Several objects put together to one by the service: a multipart upload whose parts are copied there (what speaks like
//! Amazon's; the library offers it for no other).
//!
//! Each part but the last has a least size. What is smaller would make a part together with the beginning of what follows
//! it, and so might all that comes behind: it would pass through this process. So the last piece only may be small.

use opendal::options::WriteOptions;
use tokio::sync::oneshot;

use super::room::Taken;
use super::{Bucket, failed, text};
use crate::store::{Key, Piece, StoreError};

/// What one request copies at most: more would take longer than a request may.
const LARGEST: u64 = 256 * 1024 * 1024;

/// How many parts an object may have.
const MOST_PARTS: u64 = 10_000;

/// How many parts are copied at once. It costs this process nothing, and the service little.
const AT_ONCE: usize = 8;

impl Bucket {
    /// Whether the service can put these together, and next to nothing of them would be sent again.
    pub(super) fn can_compose(&self, pieces: &[Piece]) -> bool {
        let (true, Some((_, others))) = (self.capability().write_can_copy_from, pieces.split_last()) else {
            return false;
        };
        let least = self.least_part();
        let is_large = others.iter().all(|piece| piece.size >= least);
        let parts: u64 = pieces.iter().map(|piece| requests_for(piece.size)).sum();
        // One that stands alone and is small would be sent as a whole.
        !others.is_empty() && is_large && parts <= MOST_PARTS
    }

    /// Who waits for it may give up: what was begun is then cleared away.
    pub(super) async fn put_together(&self, pieces: &[Piece], whole: &Key) -> Result<(), StoreError> {
        let (answer, asked) = oneshot::channel();
        let (bucket, pieces, key) = (self.clone(), pieces.to_vec(), whole.clone());
        // The library's writer cannot be ended in the middle of a request.
        tokio::spawn(async move {
            let composed = bucket.compose_while(|| !answer.is_closed(), &pieces, &key).await;
            if let Err(Ok(())) = answer.send(composed) {
                let deleted = bucket.inner.operator.delete(key.as_str()).await;
                if let Err(error) = deleted {
                    tracing::debug!(%key, error = %text(&error), "an object that nobody waits for was left behind");
                }
            }
        });
        let ended = |source| StoreError::io("putting together", whole, std::io::Error::other(source));
        asked.await.map_err(ended)?.map_err(|error| failed("putting together", whole, error))
    }

    async fn compose_while(&self, wanted: impl Fn() -> bool, pieces: &[Piece], whole: &Key) -> opendal::Result<()> {
        // The last piece is sent where it is less than a part.
        let mut room = Taken::default();
        if pieces.iter().any(|piece| piece.size < self.least_part()) {
            room.hold(&self.inner.room, super::write::PART).await;
        }
        let options = WriteOptions { concurrent: AT_ONCE, ..WriteOptions::default() };
        let mut writer = self.inner.operator.writer_options(whole.as_str(), options).await?;
        if let Err(error) = copy_all(&mut writer, wanted, pieces).await {
            // The answer to the last request may have been lost, and to make it a second time is refused then.
            if self.require_whole(pieces, whole).await.is_ok() {
                return Ok(());
            }
            if let Err(error) = writer.abort().await {
                tracing::debug!(key = %whole, error = %text(&error), "a multipart upload was left behind");
            }
            return Err(error);
        }
        self.require_whole(pieces, whole).await
    }

    /// It has the length of all of them: neither was one of them shorter than is known of it, nor was anything left out.
    async fn require_whole(&self, pieces: &[Piece], whole: &Key) -> opendal::Result<()> {
        let expected: u64 = pieces.iter().map(|piece| piece.size).sum();
        let found = self.inner.operator.stat(whole.as_str()).await?.content_length();
        if found == expected {
            return Ok(());
        }
        let text = format!("put together it has {found} bytes rather than {expected}");
        Err(opendal::Error::new(opendal::ErrorKind::Unexpected, text))
    }

    fn least_part(&self) -> u64 {
        self.capability().write_multi_min_size.and_then(|size| u64::try_from(size).ok()).unwrap_or_default()
    }
}

async fn copy_all(writer: &mut opendal::Writer, wanted: impl Fn() -> bool, pieces: &[Piece]) -> opendal::Result<()> {
    for Piece { key, size } in pieces {
        // In equal shares, so that none is too small.
        let share = size.div_ceil(requests_for(*size).max(1));
        let mut at = 0;
        while at < *size {
            if !wanted() {
                return Err(opendal::Error::new(opendal::ErrorKind::Unexpected, "nobody waits for it any more"));
            }
            let end = (at + share).min(*size);
            writer.copy_from(key.as_str(), at..end).await?;
            at = end;
        }
    }
    writer.close().await.map(drop)
}

fn requests_for(size: u64) -> u64 {
    size.div_ceil(LARGEST)
}
