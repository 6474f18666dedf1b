//! What last went wrong of something that is tried again and waited for, told to whoever waits.

use std::sync::{Arc, Mutex, PoisonError};

tokio::task_local! {
    static LAST: Trouble;
}

/// What last went wrong.
#[derive(Debug, Clone, Default)]
pub struct Trouble(Arc<Mutex<Option<String>>>);

impl Trouble {
    /// Runs what may have trouble, and hears of it.
    pub async fn of<T>(&self, work: impl Future<Output = T>) -> T {
        LAST.scope(self.clone(), work).await
    }

    /// What last went wrong, if anything did.
    pub fn last(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Notes for who waits, if anybody does, why something is tried again.
pub(super) fn note(error: String) {
    // Most of the time nobody waits.
    let _ = LAST.try_with(|trouble| *trouble.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error));
}
