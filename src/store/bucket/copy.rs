//! Giving an object another name: a copy that is refused where the name is taken.
//!
//! On the server's side where that can be conditional: by a copy (Azure, COS, Google, Amazon), or by a multipart upload
//! whose parts are copied and whose completion is conditional (what speaks like Amazon's). Elsewhere the bytes go through
//! this process.

use std::time::Instant;

use opendal::options::{CopyOptions, WriteOptions};
use opendal::{ErrorKind, Operator};

use super::probe::Copies;
use super::{Bucket, ROUNDS, failed, is_refusal, text};
use crate::store::{Key, Published, StoreError};

/// What one request copies at most: more would take longer than a request may.
const PIECE: u64 = 1 << 30;

/// The same for the library.
const PIECE_SIZE: usize = 1 << 30;

/// How many pieces are copied at once.
const AT_ONCE: usize = 4;

impl Bucket {
    /// Copies an object to a name that is free.
    pub(super) async fn copy_new(&self, from: &Key, to: &Key) -> Result<Published, StoreError> {
        let findings = self.inner.findings.load_full();
        if !findings.creates {
            let _turn = self.turn(to).await;
            if self.meta(to).await?.is_some() {
                self.require(from).await?;
                return Ok(Published::Exists);
            }
            let copied = self.copy(from, to, findings.copies, false).await;
            return copied.map(|()| Published::Created).map_err(|error| failed("publishing", to, error));
        }
        let mut round = 0;
        loop {
            let Err(error) = self.copy(from, to, findings.copies, true).await else { return Ok(Published::Created) };
            if is_refusal(&error) {
                return Ok(Published::Exists);
            }
            let missing = error.kind() == ErrorKind::NotFound && self.meta(from).await?.is_none();
            // Its answer may have been lost.
            if !missing && self.meta(to).await?.is_some() {
                return Ok(Published::Exists);
            }
            if missing || error.kind() != ErrorKind::Conflict || round >= ROUNDS {
                return Err(failed("publishing", from, error));
            }
            self.pause(round).await;
            round += 1;
        }
    }

    async fn require(&self, key: &Key) -> Result<(), StoreError> {
        match self.meta(key).await? {
            Some(_) => Ok(()),
            None => Err(StoreError::io("publishing", key, std::io::ErrorKind::NotFound.into())),
        }
    }

    async fn copy(&self, from: &Key, to: &Key, how: Copies, if_new: bool) -> opendal::Result<()> {
        let mut round = 0;
        loop {
            let copied = copy(&self.inner.operator, from, to, how, if_new).await;
            // The library asks once only for a copy that is one request, and calls every failure of it final.
            let asked_once = how == Copies::Request && !self.capability().copy_can_multi;
            match copied {
                Err(error) if asked_once && may_pass(&error) && round < ROUNDS => {
                    tracing::debug!(error = %text(&error), "a copy in the bucket is asked for again");
                }
                copied => return copied,
            }
            self.pause(round).await;
            round += 1;
        }
    }

    /// Moves an object to a name that is free: a copy, then a deletion.
    ///
    /// The deletion is sent once and only soon after the copy: one that came late could hit an object that was made
    /// there again.
    pub(super) async fn move_new(&self, from: &Key, to: &Key) -> Result<bool, StoreError> {
        if self.meta(from).await?.is_none() {
            return Ok(false);
        }
        let began = Instant::now();
        match self.copy_new(from, to).await? {
            Published::Created => {}
            Published::Exists => return Ok(false),
        }
        let copied = began.elapsed();
        let late = |why: &str| StoreError::io("renaming", from, std::io::Error::other(why.to_owned()));
        if self.meta(to).await?.is_none() {
            return Err(late("the copy is gone"));
        }
        if began.elapsed() > copied + self.inner.patience.request * 2 {
            return Err(late("this process stood still between the copy and the deletion"));
        }
        let deleted = self.inner.once.delete(from.as_str()).await;
        deleted.map(|()| true).map_err(|error| failed("renaming", from, error))
    }
}

/// Whether it may be another the next time: neither refused nor forbidden, nor is anything missing.
fn may_pass(error: &opendal::Error) -> bool {
    matches!(error.kind(), ErrorKind::Unexpected | ErrorKind::RateLimited)
}

/// Copies in one of the three ways, refused where the name is taken if it is to be new.
pub(super) async fn copy(operator: &Operator, from: &Key, to: &Key, how: Copies, if_new: bool) -> opendal::Result<()> {
    match how {
        Copies::Request => {
            operator.copy_options(from.as_str(), to.as_str(), copy_options(operator, if_new)).await.map(drop)
        }
        // Without a size of parts, what is copied over there is copied in pieces as large as they come.
        Copies::Parts => write(operator, from, to, None, if_new).await,
        Copies::Bytes => write(operator, from, to, Some(super::write::PART), if_new).await,
    }
}

fn copy_options(operator: &Operator, if_new: bool) -> CopyOptions {
    let capability = operator.info().capability();
    let mut options = CopyOptions { concurrent: AT_ONCE, ..CopyOptions::default() };
    if capability.copy_can_multi {
        options.chunk = Some(PIECE_SIZE);
    }
    if if_new && capability.copy_with_if_not_exists {
        options.if_not_exists = true;
    } else if if_new {
        // Google's: the generation of what does not exist.
        options.if_version_match = Some("0".to_owned());
    }
    options
}

/// The library copies ranges on the server's side where that can be done, and streams them elsewhere.
async fn write(operator: &Operator, from: &Key, to: &Key, chunk: Option<usize>, if_new: bool) -> opendal::Result<()> {
    let size = operator.stat(from.as_str()).await?.content_length();
    let options = WriteOptions { if_not_exists: if_new, chunk, concurrent: AT_ONCE, ..WriteOptions::default() };
    let mut writer = operator.writer_options(to.as_str(), options).await?;
    let written = async {
        let mut at = 0;
        while at < size {
            let end = size.min(at + PIECE);
            writer.copy_from(from.as_str(), at..end).await?;
            at = end;
        }
        writer.close().await.map(drop)
    };
    let written = written.await;
    if written.is_err() {
        let _ = writer.abort().await;
    }
    written
}
