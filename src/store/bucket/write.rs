//! Temporary objects: one request where they are small, in parts where they are large.

use bytes::Bytes;
use opendal::options::WriteOptions;

use super::{Bucket, failed};
use crate::store::{Answer, Durability, Key, StoreError, Writer};

/// How large a part is. There are at most 10,000 of them: a blob has at most 78 GiB.
pub(super) const PART: usize = 8 * 1024 * 1024;

/// How many parts are on their way at once.
const AT_ONCE: usize = 2;

/// Takes the bytes of one.
pub(super) struct BucketWriter {
    bucket: Bucket,
    key: Key,
    size: u64,
    /// None when it is closed or has failed.
    writer: Option<opendal::Writer>,
}

impl Bucket {
    pub(super) async fn writer(&self, key: &Key) -> Result<BucketWriter, StoreError> {
        let options = WriteOptions { chunk: Some(PART), concurrent: AT_ONCE, ..WriteOptions::default() };
        let opened = self.inner.operator.writer_options(key.as_str(), options).await;
        let writer = opened.map_err(|error| failed("creating", key, error))?;
        Ok(BucketWriter { bucket: self.clone(), key: key.clone(), size: 0, writer: Some(writer) })
    }
}

impl BucketWriter {
    async fn append(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        self.size += bytes.len() as u64;
        let Some(writer) = &mut self.writer else { return Err(self.over()) };
        let Err(error) = writer.write(bytes).await else { return Ok(()) };
        self.give_up().await;
        Err(failed("writing", &self.key, error))
    }

    fn over(&self) -> StoreError {
        StoreError::io("writing", &self.key, std::io::Error::other("an earlier write failed"))
    }

    /// Parts that nobody puts together cost until the bucket's own rules remove them.
    async fn give_up(&mut self) {
        if let Some(mut writer) = self.writer.take()
            && let Err(error) = writer.abort().await
        {
            tracing::debug!(key = %self.key, error = %super::text(&error), "a multipart upload was left behind");
        }
    }

    async fn close(mut self) -> Result<u64, StoreError> {
        let Some(writer) = &mut self.writer else { return Err(self.over()) };
        if let Err(error) = writer.close().await {
            // Its answer may have been lost, and then putting the parts together a second time is refused.
            let landed = self.bucket.meta(&self.key).await?.is_some_and(|meta| meta.size == self.size);
            if !landed {
                self.give_up().await;
                return Err(failed("writing", &self.key, error));
            }
        }
        self.writer = None;
        Ok(self.size)
    }
}

impl Writer for BucketWriter {
    fn write(&mut self, bytes: Bytes) -> Answer<'_, ()> {
        Box::pin(self.append(bytes))
    }

    fn finish(self: Box<Self>, _: Durability) -> Answer<'static, u64> {
        Box::pin((*self).close())
    }
}

impl Drop for BucketWriter {
    /// A request that was given up in the middle has no one else to clear up after it.
    fn drop(&mut self) {
        if let (Some(mut writer), Ok(runtime)) = (self.writer.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move {
                let _ = writer.abort().await;
            });
        }
    }
}
