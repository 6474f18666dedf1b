//! Temporary objects: one request where they are small, in parts where they are large. While a part is sent the next one
//! is filled, where there is room for it.

use bytes::Bytes;
use opendal::options::WriteOptions;
use tokio::task::JoinHandle;

use super::room::{Taken, piece};
use super::{Bucket, failed};
use crate::store::{Answer, Durability, Key, StoreError, Writer};

/// How large a part is. There are at most 10,000 of them: a blob has at most 78 GiB.
pub(super) const PART: usize = 8 * 1024 * 1024;

/// Takes the bytes of one.
pub(super) struct BucketWriter {
    bucket: Bucket,
    key: Key,
    size: u64,
    sender: Sender,
    /// What there is of the next part.
    part: Vec<Bytes>,
    filled: usize,
    /// Parts that were handed on.
    sent: usize,
    /// Bytes in memory: those of the next part, and those that were handed on and are not sent yet.
    held: usize,
    room: Taken,
}

/// What puts the parts in their place.
enum Sender {
    Idle(opendal::Writer),
    /// A part is on its way, while the next one is filled.
    Busy(JoinHandle<(opendal::Writer, opendal::Result<()>)>),
    /// It is closed or has failed.
    Over,
}

impl Bucket {
    pub(super) async fn writer(&self, key: &Key) -> Result<BucketWriter, StoreError> {
        // Parts are made here: what the library would hold of them nobody could count.
        let opened = self.inner.operator.writer_options(key.as_str(), WriteOptions::default()).await;
        let writer = opened.map_err(|error| failed("creating", key, error))?;
        let (part, room) = Default::default();
        let (bucket, key, sender) = (self.clone(), key.clone(), Sender::Idle(writer));
        Ok(BucketWriter { bucket, key, size: 0, sender, part, filled: 0, sent: 0, held: 0, room })
    }
}

impl Sender {
    /// Waits for what is on its way.
    async fn rest(&mut self) -> opendal::Result<()> {
        let Self::Busy(task) = self else { return Ok(()) };
        let joined = task.await;
        let (writer, sent) = joined.map_err(|error| {
            *self = Self::Over;
            opendal::Error::new(opendal::ErrorKind::Unexpected, "a part's task ended").set_source(error)
        })?;
        *self = Self::Idle(writer);
        sent
    }

    fn take(&mut self) -> Self {
        std::mem::replace(self, Self::Over)
    }

    async fn abort(mut self) -> opendal::Result<()> {
        // Whatever became of the part.
        let _ = self.rest().await;
        match self {
            Self::Idle(mut writer) => writer.abort().await,
            Self::Busy(_) | Self::Over => Ok(()),
        }
    }
}

impl BucketWriter {
    async fn append(&mut self, mut bytes: Bytes) -> Result<(), StoreError> {
        if matches!(self.sender, Sender::Over) {
            return Err(self.over());
        }
        self.size += bytes.len() as u64;
        self.room.came(bytes.len());
        while !bytes.is_empty() {
            let piece = bytes.split_to(piece(self.filled, bytes.len()));
            self.reserve(piece.len()).await?;
            self.filled += piece.len();
            self.part.push(piece);
            if self.filled == PART {
                self.send().await?;
            }
        }
        Ok(())
    }

    /// Waits for room for so much more of the part that is being filled. Where there is none, what is on its way may leave
    /// some behind.
    async fn reserve(&mut self, more: usize) -> Result<(), StoreError> {
        let is_sending = matches!(self.sender, Sender::Busy(_));
        if is_sending && !self.room.try_hold(&self.bucket.inner.room, self.held + more) {
            self.rest().await?;
        }
        self.room.hold(&self.bucket.inner.room, self.held + more).await;
        self.held += more;
        Ok(())
    }

    /// Hands the part on that is full. The library keeps the first one back, and each later one until the next.
    async fn send(&mut self) -> Result<(), StoreError> {
        self.rest().await?;
        let part: opendal::Buffer = std::mem::take(&mut self.part).into();
        self.filled = 0;
        self.sent += 1;
        let Sender::Idle(mut writer) = self.sender.take() else { return Err(self.over()) };
        self.sender = Sender::Busy(tokio::spawn(async move {
            let sent = writer.write(part).await;
            (writer, sent)
        }));
        Ok(())
    }

    /// Waits for what is on its way.
    async fn rest(&mut self) -> Result<(), StoreError> {
        if !matches!(self.sender, Sender::Busy(_)) {
            return Ok(());
        }
        let rested = self.sender.rest().await;
        // The first one is held back by the library, and then each until the next.
        if self.sent > 1 {
            self.held = self.held.saturating_sub(PART);
        }
        self.room.keep(self.held);
        let Err(error) = rested else { return Ok(()) };
        self.give_up().await;
        Err(failed("writing", &self.key, error))
    }

    fn over(&self) -> StoreError {
        StoreError::io("writing", &self.key, std::io::Error::other("an earlier write failed"))
    }

    /// Parts that nobody puts together cost until the bucket's own rules remove them.
    async fn give_up(&mut self) {
        if let Err(error) = self.sender.take().abort().await {
            tracing::debug!(key = %self.key, error = %super::text(&error), "a multipart upload was left behind");
        }
    }

    async fn close(mut self) -> Result<u64, StoreError> {
        if self.filled > 0 {
            self.send().await?;
        }
        self.rest().await?;
        let Sender::Idle(writer) = &mut self.sender else { return Err(self.over()) };
        if let Err(error) = writer.close().await {
            // Its answer may have been lost, and then putting the parts together a second time is refused.
            let landed = self.bucket.meta(&self.key).await?.is_some_and(|meta| meta.size == self.size);
            if !landed {
                self.give_up().await;
                return Err(failed("writing", &self.key, error));
            }
        }
        self.sender = Sender::Over;
        Ok(self.size)
    }
}

impl Writer for BucketWriter {
    fn write(&mut self, bytes: Bytes) -> Answer<'_, ()> {
        Box::pin(self.append(bytes))
    }

    fn gives_way(&mut self) -> Answer<'_, ()> {
        Box::pin(async move {
            self.room.gives_way(&self.bucket.inner.room).await;
            Ok(())
        })
    }

    fn finish(self: Box<Self>, _: Durability) -> Answer<'static, u64> {
        Box::pin((*self).close())
    }
}

impl Drop for BucketWriter {
    /// A request that was given up in the middle has no one else to clear up after it.
    fn drop(&mut self) {
        let (sender, room) = (self.sender.take(), std::mem::take(&mut self.room));
        let is_open = !matches!(sender, Sender::Over);
        if let (true, Ok(runtime)) = (is_open, tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move {
                let _ = sender.abort().await;
                drop(room);
            });
        }
    }
}
