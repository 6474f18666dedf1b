//! The driver that all kinds share: run the steps, write the status if it changed, say when to look again.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc::UnboundedReceiver;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Config, applier};
use kube::runtime::events::EventType;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::bus::Guarded;
use super::conditions::{self, StatusObject, Truth, find};
use super::context::Context;
use super::failure::Failure;
use super::labels::MANAGER;
use crate::api::conditions::{READY, RECONCILING, STALLED, reason};

/// When to look again at an object whose cached version was an old one.
const STALE: Duration = Duration::from_millis(200);

/// How an object stands after its steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Accepted and set up.
    Ready {
        /// For programs.
        reason: &'static str,
        /// For people.
        message: String,
    },
    /// On the way there.
    Progressing {
        /// Whether what was set up before is still good.
        ready: bool,
        /// For programs.
        reason: &'static str,
        /// For people.
        message: String,
    },
    /// A person must act.
    Stalled {
        /// Whether what was set up before is still good.
        ready: bool,
        /// For programs.
        reason: &'static str,
        /// For people.
        message: String,
    },
}

impl Standing {
    /// Accepted and set up, nothing more to say.
    pub fn ready(message: impl Into<String>) -> Self {
        Self::Ready { reason: reason::SUCCEEDED, message: message.into() }
    }
}

/// A standing, and when to look again.
#[derive(Debug, Clone)]
pub struct Settled {
    /// How it stands.
    pub standing: Standing,
    /// When to look again; the resync where absent.
    pub again: Option<Duration>,
}

impl From<Standing> for Settled {
    fn from(standing: Standing) -> Self {
        Self { standing, again: None }
    }
}

/// One of the five kinds, as the driver sees it.
pub trait Kind:
    Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static
{
    /// Its status.
    type Status: StatusObject + Send + Sync;

    /// The status that it has.
    fn status(&self) -> Option<&Self::Status>;

    /// The status without what changes by itself: only a difference in this is written at once.
    fn without_numbers(status: &Self::Status) -> Self::Status {
        status.clone()
    }

    /// Runs the steps, and notes in `status` what is to be said beside the three common conditions.
    fn steps(
        &self,
        context: &Context,
        status: &mut Self::Status,
    ) -> impl Future<Output = Result<Settled, Failure>> + Send;
}

/// What ends a reconciliation early; the driver has written it into the status already.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Unsettled {
    message: String,
    again: Duration,
    /// An error, and not a wait.
    error: bool,
}

impl Unsettled {
    fn error(message: String, again: Duration) -> Self {
        Self { message, again, error: true }
    }

    fn of(failure: &Failure, again: Duration) -> Self {
        let error = match failure {
            Failure::Stalled { .. } | Failure::Waiting { .. } => false,
            Failure::Kubernetes(_) | Failure::Registry(_) | Failure::Json(_) => true,
        };
        Self { message: failure.to_string(), again, error }
    }

    fn log(&self, kind: &str, object: &str) {
        if self.error {
            tracing::warn!(kind, object, message = self.message, "not settled, and tried again");
        } else {
            tracing::debug!(kind, object, message = self.message, "not settled yet");
        }
    }
}

/// One reconciliation under way.
type Reconciling = BoxFuture<'static, Result<Action, Unsettled>>;

/// Reconciles every object of a kind that the queue names, for ever.
pub async fn drive<K: Kind>(
    context: Arc<Context>,
    store: Store<Guarded<K>>,
    queue: UnboundedReceiver<ObjectRef<Guarded<K>>>,
) {
    run_loop(K::kind(&()).into_owned(), context, store, queue, |object, context| {
        async move { reconcile(&object, &context).await }.boxed()
    })
    .await;
}

/// A loop over some queue: bounded, and never stopped by an error.
pub async fn run_loop<K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static>(
    name: String,
    context: Arc<Context>,
    store: Store<Guarded<K>>,
    queue: UnboundedReceiver<ObjectRef<Guarded<K>>>,
    reconcile: fn(Arc<Guarded<K>>, Arc<Context>) -> Reconciling,
) {
    // A burst of changes of one object, as kubectl apply of a directory makes them, is one reconciliation.
    let config = Config::default().concurrency(context.settings.concurrency).debounce(Duration::from_millis(50));
    let metrics = Arc::clone(&context.metrics);
    let policy = |_: Arc<Guarded<K>>, error: &Unsettled, _: Arc<Context>| Action::requeue(error.again);
    let results = applier(reconcile, policy, context, store, queue.map(Ok::<_, std::convert::Infallible>), config);
    results
        .for_each(|result| {
            metrics.reconciled(&name, result.is_ok());
            if let Err(kube::runtime::controller::Error::ReconcilerFailed(error, object)) = result {
                error.log(&name, &object.to_string());
            }
            std::future::ready(())
        })
        .await;
}

async fn reconcile<K: Kind>(object: &Guarded<K>, context: &Context) -> Result<Action, Unsettled> {
    match &object.0 {
        Ok(object) => reconcile_readable(object, context).await,
        Err(invalid) => {
            let message = format!("this object cannot be read: {}; correct the field", invalid.error);
            stall_unreadable::<K>(object, &message, context).await
        }
    }
}

async fn reconcile_readable<K: Kind>(object: &K, context: &Context) -> Result<Action, Unsettled> {
    if object.meta().deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let key = key_of(object);
    let old = object.status().cloned().unwrap_or_default();
    let mut status = old.clone();
    let outcome = object.steps(context, &mut status).await;
    let again = conclude(object, context, &key, &mut status, &outcome);
    let again = match write(object, context, &key, &old, &status).await {
        Ok(hold) => hold.map_or(again, |hold| hold.min(again)),
        // Changed meanwhile: what was seen here was old, and the cache is about to know.
        Err(kube::Error::Api(refusal)) if refusal.code == 409 => STALE,
        // Gone.
        Err(kube::Error::Api(refusal)) if refusal.code == 404 => return Ok(Action::await_change()),
        Err(error) => {
            return Err(Unsettled::error(format!("the status cannot be written: {error}"), context.failed(&key)));
        }
    };
    match outcome {
        Ok(_) => Ok(Action::requeue(again)),
        Err(failure) => Err(Unsettled::of(&failure, again)),
    }
}

fn key_of<K: Resource<DynamicType = ()>>(object: &K) -> String {
    format!("{}/{}", object.meta().uid.as_deref().unwrap_or_default(), K::kind(&()))
}

/// Turns the outcome of the steps into the three common conditions, and says when to look again.
fn conclude<K: Kind>(
    object: &K,
    context: &Context,
    key: &str,
    status: &mut K::Status,
    outcome: &Result<Settled, Failure>,
) -> Duration {
    let generation = object.meta().generation.unwrap_or_default();
    let was_ready = conditions::was_ready(object.status(), object.meta().generation);
    status.observe(generation);
    let (standing, again) = match outcome {
        Ok(settled) => {
            context.succeeded(key);
            (settled.standing.clone(), settled.again.unwrap_or_else(|| context.resync()))
        }
        Err(Failure::Stalled { reason, message }) => {
            context.succeeded(key);
            (Standing::Stalled { ready: false, reason, message: message.clone() }, context.resync())
        }
        Err(Failure::Waiting { after, reason, message }) => {
            (waiting(status.conditions(), generation, reason, message.clone()), *after)
        }
        Err(failure @ (Failure::Kubernetes(_) | Failure::Registry(_) | Failure::Json(_))) => {
            let standing =
                Standing::Progressing { ready: was_ready, reason: reason::RETRYING, message: failure.to_string() };
            (standing, context.failed(key))
        }
    };
    apply_standing(status.conditions_mut(), &standing, generation, context.now());
    again
}

/// What is waited for may be on its way; but what another process has called a person's business already, of this
/// very generation and for this very reason, stays that until it is there.
fn waiting(conditions: &[Condition], generation: i64, reason: &'static str, message: String) -> Standing {
    let same = |stalled: &Condition| {
        stalled.status == "True" && stalled.reason == reason && stalled.observed_generation == Some(generation)
    };
    if find(conditions, STALLED).is_some_and(same) {
        return Standing::Stalled { ready: false, reason, message };
    }
    Standing::Progressing { ready: false, reason, message }
}

fn apply_standing(list: &mut Vec<Condition>, standing: &Standing, generation: i64, now: jiff::Timestamp) {
    let mut put =
        |kind, truth, reason, message: &str| conditions::set(list, kind, truth, reason, message, generation, now);
    match standing {
        Standing::Ready { reason, message } => {
            put(READY, Truth::True, reason, message);
            conditions::clear(list, RECONCILING);
            conditions::clear(list, STALLED);
        }
        Standing::Progressing { ready, reason, message } => {
            put(READY, Truth::from(*ready), reason, message);
            put(RECONCILING, Truth::True, reason, message);
            conditions::clear(list, STALLED);
        }
        Standing::Stalled { ready, reason, message } => {
            put(READY, Truth::from(*ready), reason, message);
            put(STALLED, Truth::True, reason, message);
            conditions::clear(list, RECONCILING);
        }
    }
}

/// Writes the status if it changed, and tells of the change. Where only numbers changed too soon after the last
/// write, says how long to wait.
async fn write<K: Kind>(
    object: &K,
    context: &Context,
    key: &str,
    old: &K::Status,
    new: &K::Status,
) -> Result<Option<Duration>, kube::Error> {
    if old == new {
        return Ok(None);
    }
    if K::without_numbers(old) == K::without_numbers(new)
        && let Some(hold) = context.hold_numbers(key)
    {
        return Ok(Some(hold));
    }
    patch_status::<K>(object.meta(), context, &json!(new)).await?;
    context.note_written(key);
    announce(object, context, old, new).await;
    Ok(None)
}

/// Server-side apply of the whole status, of the very version of the object that it was computed from.
async fn patch_status<K: Resource<DynamicType = ()>>(
    meta: &ObjectMeta,
    context: &Context,
    status: &serde_json::Value,
) -> Result<(), kube::Error> {
    let name = meta.name.as_deref().unwrap_or_default();
    let patch = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {
            "name": name,
            "namespace": meta.namespace,
            "uid": meta.uid,
            "resourceVersion": meta.resource_version,
        },
        "status": status,
    });
    let api = dynamic::<K>(meta, context);
    api.patch_status(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(patch)).await.map(drop)
}

/// Not the typed API: the answer of an object that cannot be read as its kind must not be an error.
fn dynamic<K: Resource<DynamicType = ()>>(meta: &ObjectMeta, context: &Context) -> Api<DynamicObject> {
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    Api::namespaced_with(context.client.clone(), namespace, &ApiResource::erase::<K>(&()))
}

async fn announce<K: Kind>(object: &K, context: &Context, old: &K::Status, new: &K::Status) {
    let (before, after) = (find(old.conditions(), READY), find(new.conditions(), READY));
    let Some(after) = after else { return };
    let same = before.is_some_and(|before| before.status == after.status && before.reason == after.reason);
    if !same {
        let stalled = conditions::is_true(new.conditions(), STALLED);
        let kind = if stalled { EventType::Warning } else { EventType::Normal };
        context.event(&object.object_ref(&()), kind, &after.reason, &after.message).await;
    }
}

/// An object that cannot be read gets a status of the common conditions only.
async fn stall_unreadable<K: Kind>(
    object: &DeserializeGuard<K>,
    message: &str,
    context: &Context,
) -> Result<Action, Unsettled> {
    let meta = Resource::meta(object);
    let key = key_of(object);
    if context.hold_numbers(&key).is_some() {
        return Ok(Action::requeue(context.resync()));
    }
    context.metrics.unreadable(&K::kind(&()));
    context.note_written(&key);
    match write_unreadable::<K>(meta, message, context).await {
        Ok(()) => Ok(Action::requeue(context.resync())),
        Err(error) => {
            let message = format!("{} cannot be read, and its status cannot be written: {error}", object.name_any());
            Err(Unsettled::error(message, context.failed(&key)))
        }
    }
}

/// Writes that an object cannot be read, unless it says so already: the cache has nothing of such an object but its
/// metadata, so what it says is asked of the API server.
async fn write_unreadable<K: Kind>(meta: &ObjectMeta, message: &str, context: &Context) -> Result<(), kube::Error> {
    let found = dynamic::<K>(meta, context).get_opt(meta.name.as_deref().unwrap_or_default()).await?;
    let before = found.map(|found| found.data["status"].clone()).unwrap_or_default();
    let mut status = K::Status::default();
    let conditions: Vec<Condition> = serde_json::from_value(before["conditions"].clone()).unwrap_or_default();
    *status.conditions_mut() = conditions.into_iter().filter(|it| [READY, STALLED].contains(&&*it.type_)).collect();
    let generation = meta.generation.unwrap_or_default();
    status.observe(generation);
    let standing = Standing::Stalled { ready: false, reason: reason::UNREADABLE, message: message.to_owned() };
    apply_standing(status.conditions_mut(), &standing, generation, context.now());
    let status = json!(status);
    if status == before { Ok(()) } else { patch_status::<K>(meta, context, &status).await }
}

/// For loops that are not of a kind: turns a failure into a pause.
pub(super) fn unsettled(context: &Context, key: &str, failure: &Failure) -> Unsettled {
    let again = match failure {
        Failure::Stalled { .. } => context.resync(),
        Failure::Waiting { after, .. } => *after,
        Failure::Kubernetes(_) | Failure::Registry(_) | Failure::Json(_) => context.failed(key),
    };
    Unsettled::of(failure, again)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether what waits for this reason is Stalled, where it was Stalled for another reason of another generation.
    fn check(was: (&str, i64), is: (&'static str, i64)) -> bool {
        let mut conditions = vec![];
        conditions::set(&mut conditions, STALLED, Truth::True, was.0, "", was.1, jiff::Timestamp::UNIX_EPOCH);
        matches!(waiting(&conditions, is.1, is.0, String::new()), Standing::Stalled { ready: false, .. })
    }

    #[test]
    fn what_is_stalled_stays_so_for_the_same_reason_of_the_same_generation_only() {
        let (missing, other) = (reason::SECRET_MISSING, reason::REFERENCE_NOT_FOUND);
        assert!(check((missing, 2), (missing, 2)));
        assert!(!check((missing, 1), (missing, 2)));
        assert!(!check((other, 2), (missing, 2)));
        assert!(matches!(waiting(&[], 2, missing, String::new()), Standing::Progressing { ready: false, .. }));
    }
}
