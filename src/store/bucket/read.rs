//! Objects, streamed. Opening one begins to read it from its start: mostly that is all that is wanted, and it costs one
//! request. Who says that he wants less has its size by a look, and each part by a request of its own.

use std::io;

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _};
use opendal::options::ReaderOptions;
use opendal::{ErrorKind, FuturesBytesStream};

use super::failures::{failed, found, to_io};
use super::{Bucket, to_meta};
use crate::store::{Content, Key, Object, StoreError};

/// An object that is being read.
pub struct Remote {
    bucket: Bucket,
    key: Key,
    etag: Option<String>,
    /// Where it is being read already.
    from_start: Option<FuturesBytesStream>,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Bucket {
    pub(super) async fn open_object(&self, key: &Key) -> Result<Option<Object>, StoreError> {
        let open = async {
            let reader = self.inner.operator.reader(key.as_str()).await?;
            let mut from_start = reader.into_bytes_stream(..).await?;
            let meta = from_start.metadata().await?;
            Ok((from_start, meta))
        };
        let opened = found(open.await).map_err(|error| failed("opening", key, error))?;
        Ok(opened.map(|(from_start, meta)| self.object(key, &meta, Some(from_start))))
    }

    /// One of which nothing is read yet.
    pub(super) async fn look_at_object(&self, key: &Key) -> Result<Option<Object>, StoreError> {
        Ok(self.stat(key).await?.map(|meta| self.object(key, &meta, None)))
    }

    fn object(&self, key: &Key, meta: &opendal::Metadata, from_start: Option<FuturesBytesStream>) -> Object {
        let etag = meta.etag().map(str::to_owned);
        let remote = Remote { bucket: self.clone(), key: key.clone(), etag, from_start };
        Object { meta: to_meta(meta), content: Content::Remote(Box::new(remote)) }
    }
}

impl Remote {
    /// The bytes `start .. start + length`: exactly these, or an error.
    pub(in crate::store) fn stream(self, start: u64, length: u64) -> BoxStream<'static, io::Result<Bytes>> {
        match self.from_start {
            Some(from_start) if start == 0 && length > 0 => exactly(from_start.boxed(), length),
            Some(_) | None => Self { from_start: None, ..self }.part(start, length),
        }
    }

    /// The same, by a request of its own, which is sent when the stream is read.
    pub(in crate::store) fn part(&self, start: u64, length: u64) -> BoxStream<'static, io::Result<Bytes>> {
        if length == 0 {
            return futures::stream::empty().boxed();
        }
        let (bucket, key, etag) = (self.bucket.clone(), self.key.clone(), self.etag.clone());
        let ranged = async move { bucket.open_range(&key, etag, start, length).await };
        exactly(futures::stream::once(ranged).flat_map(flatten).boxed(), length)
    }
}

fn flatten(opened: io::Result<FuturesBytesStream>) -> BoxStream<'static, io::Result<Bytes>> {
    match opened {
        Ok(stream) => stream.boxed(),
        Err(error) => futures::stream::iter([Err(error)]).boxed(),
    }
}

impl Bucket {
    /// A range of the very object that was opened, if that is still there.
    async fn open_range(
        &self,
        key: &Key,
        etag: Option<String>,
        start: u64,
        length: u64,
    ) -> io::Result<FuturesBytesStream> {
        // Swift compares the condition for a copy of a large object with the tag of what was copied, and the copy has
        // another. So it is the answer's tag that is looked at there.
        let is_swift = self.inner.operator.info().scheme() == "swift";
        let if_match = etag.clone().filter(|_| self.capability().read_with_if_match && !is_swift);
        let options = ReaderOptions { if_match, ..ReaderOptions::default() };
        let open = async {
            let reader = self.inner.operator.reader_options(key.as_str(), options).await?;
            let mut stream = reader.into_bytes_stream(start..start + length).await?;
            // Nothing is asked for before.
            let meta = stream.metadata().await?;
            Ok((stream, meta))
        };
        let (stream, meta) = open.await.map_err(|error: opendal::Error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConditionNotMatch => io::Error::from(io::ErrorKind::NotFound),
            _ => to_io(&error),
        })?;
        if is_swift && meta.etag() != etag.as_deref() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(stream)
    }
}

/// So many bytes of a stream: a body that ends early is an error, never a clean end.
fn exactly(stream: BoxStream<'static, io::Result<Bytes>>, length: u64) -> BoxStream<'static, io::Result<Bytes>> {
    futures::stream::try_unfold((stream, length), |(mut stream, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let Some(chunk) = stream.next().await.transpose()? else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
        Ok(Some((chunk.slice(..wanted), (stream, left - wanted as u64))))
    })
    .boxed()
}
