//! GarbageCollection: a Job on the registry's volume when one is asked for, and what it reported.
//!
//! A Job's name is a hash of the object's UID and the request, and it is made by POST: AlreadyExists is success, so
//! no request runs twice, whenever the operator ends. A request is handled once its Job has ended and its outcome is in
//! the status; only then may the Job go. One whose pod does not start is given up in the end: it has the registry, and
//! no other could run.

mod apply;
pub mod build;
mod dereference;
mod start;
mod status;
mod summary;
pub mod validate;

use std::time::Duration;

use kube::ResourceExt;

use super::conditions::requested_at;
use super::context::Context;
use super::driver::{Kind, Settled, Standing};
use super::failure::Failure;
use super::project::{Whose, whose};
use crate::api::conditions::reason;
use crate::api::{GarbageCollection, GarbageCollectionStatus, Registry, RunningCollection};
use dereference::Progress;

/// When to look again at what has just been written.
const SOON: Duration = Duration::from_secs(1);

/// How often a run is looked at, should its Job's events get lost.
const POLL: Duration = Duration::from_secs(30);

impl Kind for GarbageCollection {
    type Status = GarbageCollectionStatus;

    fn status(&self) -> Option<&Self::Status> {
        self.status.as_ref()
    }

    async fn steps(&self, context: &Context, status: &mut Self::Status) -> Result<Settled, Failure> {
        let run = validate::run(&self.spec)?;
        let registry = dereference::registry(context, self)?;
        let registry = match whose(context, &registry) {
            Whose::Delegated { home } => {
                let message = format!("looked after by the operator of cluster {home}");
                return Ok(Standing::Ready { reason: reason::DELEGATED, message }.into());
            }
            Whose::External => return Err(status::not_managed(&registry)),
            Whose::Ours(registry) => registry,
        };
        if let Some(running) = status.running.clone() {
            return follow(self, context, &registry, running, status).await;
        }
        let Some(request) = unanswered(self, status) else {
            apply::tidy(context, self).await?;
            return Ok(status::idle(self).into());
        };
        if self.spec.suspend {
            let message = "spec.suspend is true: no run is started".to_owned();
            return Ok(Standing::Ready { reason: reason::SUSPENDED, message }.into());
        }
        if let Some(newer) = dereference::answered_meanwhile(context, self, &request).await? {
            *status = newer;
            return Ok(Settled { standing: status::idle(self), again: Some(SOON) });
        }
        let volume = dereference::volume(context, &registry).await?;
        if let Some(other) = dereference::active_job(context, self, &registry, &request).await? {
            return Ok(status::busy(&registry, &other));
        }
        let job = build::job(self, &registry, &volume, &run, &request);
        let name = apply::job(context, self, &job).await?;
        status::begun(self, context, RunningCollection { job: name, request }, status);
        // It may have ended before the cache shows that it began.
        Ok(Settled { standing: status::running(), again: Some(SOON) })
    }
}

/// The newest request that no run has answered yet.
fn unanswered(object: &GarbageCollection, status: &GarbageCollectionStatus) -> Option<String> {
    let request = requested_at(object.annotations())?;
    (status.last_handled_request.as_ref() != Some(&request)).then_some(request)
}

async fn follow(
    object: &GarbageCollection,
    context: &Context,
    registry: &Registry,
    running: RunningCollection,
    status: &mut GarbageCollectionStatus,
) -> Result<Settled, Failure> {
    match dereference::progress(context, object, registry, &running).await? {
        Progress::UnderWay { again } => Ok(Settled { standing: status::running(), again: Some(again) }),
        Progress::Unheard { again } => Ok(Settled { standing: status::unheard(), again: Some(again) }),
        Progress::Pending { job, why, give_up } => {
            let deadline = context.settings.start_deadline;
            if give_up {
                apply::give_up(context, &job, &status::given_up(&why, deadline)).await?;
            }
            Ok(Settled { standing: status::pending(&running.job, &why, deadline), again: Some(POLL) })
        }
        Progress::Ended(run) => {
            status::ended(object, context, *run, status);
            // Not tidied here: the status must be written first.
            Ok(Settled { standing: status::idle(object), again: Some(SOON) })
        }
    }
}
