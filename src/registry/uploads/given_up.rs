//! Clears up after requests that are given up in the middle: a client that resets its stream ends the work where it
//! is, and nobody else would look for what it left before a week is over.

use super::{Done, Upload};
use crate::registry::Registry;
use crate::store::Key;

/// What is to be cleared away if this is dropped before it is told otherwise.
#[derive(Debug)]
pub(super) struct GivenUp(Option<(Registry, Leftover)>);

#[derive(Debug)]
enum Leftover {
    File(Key),
    Upload(Box<Upload>),
}

impl GivenUp {
    /// There is nothing to clear away.
    pub(super) fn nothing() -> Self {
        Self(None)
    }

    /// A part that is not landed yet.
    pub(super) fn file(registry: &Registry, key: Key) -> Self {
        Self(Some((registry.clone(), Leftover::File(key))))
    }

    /// An upload whose id nobody knows.
    pub(super) fn upload(registry: &Registry, upload: &Upload) -> Self {
        Self(Some((registry.clone(), Leftover::Upload(Box::new(upload.clone())))))
    }

    /// It has come to its end, one way or the other.
    pub(super) fn forget(&mut self) {
        self.0 = None;
    }
}

impl Drop for GivenUp {
    fn drop(&mut self) {
        let (Some((registry, leftover)), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) else {
            return;
        };
        runtime.spawn(async move {
            match leftover {
                Leftover::File(key) => registry.discard(&key).await,
                Leftover::Upload(upload) => {
                    if let Err(error) = registry.end_upload(&upload, Done::Cancel).await {
                        tracing::debug!(error = %error, "an upload that was given up is left to be swept");
                    }
                }
            }
        });
    }
}
