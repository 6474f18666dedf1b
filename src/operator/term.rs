//! This process's term of office at each registry, which the registry's store allocates: access documents and edges
//! documents carry it, and those of a lower term than the greatest are refused.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use super::context::{Context, lock};
use super::failure::Failure;
use super::lease;
use super::reach::{Pod, Target};
use crate::admin::client::ClientError;
use crate::admin::{AccessState, ProblemCode};
use crate::api::conditions::reason;

/// When to look again.
const SOON: Duration = Duration::from_secs(1);

/// This process's terms, by the Registry's UID.
#[derive(Debug, Default)]
pub struct Terms {
    known: Mutex<HashMap<String, u64>>,
}

impl Terms {
    /// The registry is gone.
    pub(in crate::operator) fn forget(&self, uid: &str) {
        lock(&self.known).remove(uid);
    }
}

/// This process's term at this registry: asked for once, and again where the store does not know it any more.
pub(super) async fn of(context: &Context, target: &Target, pods: &[Pod], state: &AccessState) -> Result<u64, Failure> {
    let known = lock(&context.terms.known).get(&target.uid).copied();
    if let Some(term) = known.filter(|term| state.stored_term >= *term) {
        return Ok(term);
    }
    // A process that was paused and wakes late must not come by a term that is greater than its successor's.
    if !lease::is_held(&context.client, &context.settings.lease).await? {
        context.end("another process holds the Lease");
        return Err(Failure::waiting(SOON, reason::RETRYING, "this operator does not lead any more"));
    }
    let mut last = None;
    for pod in pods {
        match pod.client.term(&context.holder).await {
            Ok(term) => {
                lock(&context.terms.known).insert(target.uid.clone(), term.term);
                return Ok(term.term);
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.map_or_else(no_pods, |error| refused(context, error)))
}

/// A registry that knows a greater term than this process's ends it: nobody leads twice.
pub(super) fn refused(context: &Context, error: ClientError) -> Failure {
    let stale = error.code() == Some(ProblemCode::StaleTerm);
    let failure = Failure::Registry(error);
    if stale {
        context.end(&format!("a registry knows a newer leader: {failure}"));
    }
    failure
}

pub(super) fn no_pods() -> Failure {
    Failure::waiting(SOON, reason::NO_PODS, "no pod of the registry is there yet")
}
