//! A blob on its way: hashed, and taken up again where it broke.
//!
//! The last bytes are handed out only once the whole has the digest that was asked for. So a destination that counts
//! the bytes never ends up with a whole blob of wrong bytes, and a mismatch is an error here, not there.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::Stream;
use tokio::sync::Mutex;

use super::{
    Client, ClientError,
    blobs::OpenBlob,
    retry::{self, jittered},
    transport::next_chunk,
};
use crate::oci::{Digest, Hasher, RepositoryName};

/// How often in a row a read may break without a byte in between.
const BREAKS: u32 = 4;

/// Reads one blob of one repository.
pub struct BlobReader {
    client: Client,
    repository: RepositoryName,
    digest: Digest,
    size: u64,
    /// Bytes handed out, all of which `hasher` has seen.
    offset: u64,
    hasher: Hasher,
    open: Option<OpenBlob>,
    /// Received and not yet handed out.
    pending: Bytes,
    /// How often in a row it broke.
    breaks: u32,
    /// Why it ended early; the writer at the other end only sees its own request fail.
    failure: Option<ClientError>,
}

/// A place to go back to.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    offset: u64,
    hasher: Hasher,
}

impl Checkpoint {
    /// How many bytes were handed out before.
    pub fn offset(&self) -> u64 {
        self.offset
    }
}

impl BlobReader {
    /// Of a blob with this digest and size. Nothing is asked yet.
    pub fn new(client: &Client, repository: &RepositoryName, digest: &Digest, size: u64) -> Self {
        Self {
            client: client.clone(),
            repository: repository.clone(),
            digest: digest.clone(),
            size,
            offset: 0,
            hasher: Hasher::new(digest.algorithm()),
            open: None,
            pending: Bytes::new(),
            breaks: 0,
            failure: None,
        }
    }

    /// The blob's size.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The place of now.
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint { offset: self.offset, hasher: self.hasher.clone() }
    }

    /// Goes back to a place.
    pub fn rewind(&mut self, checkpoint: Checkpoint) {
        let Checkpoint { offset, hasher } = checkpoint;
        (self.offset, self.hasher) = (offset, hasher);
        (self.open, self.pending, self.failure) = (None, Bytes::new(), None);
    }

    /// Why the stream ended early, where it was this side.
    pub fn take_failure(&mut self) -> Option<ClientError> {
        self.failure.take()
    }

    /// Reads and hashes bytes that need not be sent again.
    pub async fn pass_over(&mut self, mut bytes: u64) -> Result<(), ClientError> {
        while bytes > 0 {
            let Some(chunk) = self.next(bytes).await? else { return Ok(()) };
            bytes -= chunk.len() as u64;
        }
        Ok(())
    }

    /// The next bytes, at most `most`; `None` at the blob's end.
    pub async fn next(&mut self, most: u64) -> Result<Option<Bytes>, ClientError> {
        if self.size == 0 {
            self.verify(self.hasher.clone())?;
        }
        if self.offset == self.size || most == 0 {
            return Ok(None);
        }
        while self.pending.is_empty() {
            self.receive().await?;
        }
        let length = usize::try_from(most).unwrap_or(usize::MAX).min(self.pending.len());
        let chunk = self.pending.split_to(length);
        self.hasher.update(&chunk);
        if self.offset + chunk.len() as u64 == self.size {
            self.verify(self.hasher.clone())?;
        }
        self.offset += chunk.len() as u64;
        Ok(Some(chunk))
    }

    fn what(&self) -> String {
        format!("blob {} of {} at {}", self.digest, self.repository, self.client.endpoint())
    }

    fn verify(&self, hasher: Hasher) -> Result<(), ClientError> {
        let actual = hasher.finish();
        if actual == self.digest {
            return Ok(());
        }
        Err(ClientError::DigestMismatch { what: self.what(), expected: self.digest.clone(), actual })
    }

    /// Gets some bytes, and connects again where the connection broke.
    async fn receive(&mut self) -> Result<(), ClientError> {
        match self.try_receive().await {
            Ok(()) => {
                self.breaks = 0;
                Ok(())
            }
            Err(error) if error.is_transient() && self.breaks < BREAKS => {
                self.open = None;
                self.breaks += 1;
                let pause = jittered(Duration::from_millis(200), Duration::from_secs(5), self.breaks, retry::random());
                tracing::debug!(error = error.chain(), offset = self.offset, ?pause, "a blob's transfer broke off");
                tokio::time::sleep(pause).await;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn try_receive(&mut self) -> Result<(), ClientError> {
        if self.open.is_none() {
            let open = self.client.open_blob(&self.repository, &self.digest, self.offset).await?;
            self.check_size(open.size)?;
            self.open = Some(open);
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        let Some(mut chunk) = next_chunk(&mut open.answer).await? else {
            // The end came before the blob's: as good as a broken connection, unless it is always so.
            self.open = None;
            self.breaks += 1;
            let actual = self.offset;
            return if self.breaks > BREAKS {
                Err(ClientError::SizeMismatch { what: self.what(), expected: self.size, actual })
            } else {
                Ok(())
            };
        };
        let passed = open.skip.min(chunk.len() as u64);
        open.skip -= passed;
        drop(chunk.split_to(usize::try_from(passed).unwrap_or(usize::MAX)));
        let actual = self.offset + chunk.len() as u64;
        if actual > self.size {
            return Err(ClientError::SizeMismatch { what: self.what(), expected: self.size, actual });
        }
        self.pending = chunk;
        Ok(())
    }

    fn check_size(&self, size: Option<u64>) -> Result<(), ClientError> {
        match size {
            Some(actual) if actual != self.size => {
                Err(ClientError::SizeMismatch { what: self.what(), expected: self.size, actual })
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// The next `length` bytes as a stream. A failure ends the stream and is kept in the reader.
pub fn stream(
    reader: Arc<Mutex<BlobReader>>,
    length: u64,
) -> impl Stream<Item = Result<Bytes, ClientError>> + Send + 'static {
    futures::stream::unfold(Some((reader, length)), |state| async move {
        let (reader, remaining) = state?;
        let mut guard = reader.lock().await;
        match guard.next(remaining).await {
            Ok(None) => None,
            Ok(Some(chunk)) => {
                drop(guard);
                let remaining = remaining - chunk.len() as u64;
                Some((Ok(chunk), Some((reader, remaining))))
            }
            Err(error) => {
                let shown = ClientError::Missing { what: "the rest of the blob".to_owned() };
                guard.failure = Some(error);
                Some((Err(shown), None))
            }
        }
    })
}
