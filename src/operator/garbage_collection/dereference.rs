//! dereference: the Registry, its volume and image, other runs on it, and how this run ended.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use kube::runtime::reflector::ObjectRef;

use super::summary::{self, Ended, Outcome};
use super::{POLL, build, start, status};
use crate::api::conditions::reason;
use crate::api::{
    ANNOTATION_GIVEN_UP, AccessMode, CollectionRun, GarbageCollection, GarbageCollectionStatus, LABEL_REGISTRY,
    Registry, RunningCollection,
};
use crate::operator::caches::Shared;
use crate::operator::context::Context;
use crate::operator::failure::Failure;
use crate::operator::labels::{self, Component, LABEL_COMPONENT};
use crate::operator::registry::rolling::image_of;
use crate::operator::registry::validate::{ManagedPlan, Plan, StoragePlan, plan, strategy, wanted_image};
use crate::operator::waiting::age;

/// What a run needs to know of its registry.
#[derive(Debug, Clone)]
pub struct Volume {
    /// The registry.
    pub plan: ManagedPlan,
    /// What the volume allows.
    pub mode: AccessMode,
    /// The image that the registry runs.
    pub image: String,
    /// Whether the registry has pods, or is about to: without any there is no node beside which a run could be.
    pub has_pods: bool,
}

/// How far a run is.
pub(super) enum Progress {
    /// It has ended.
    Ended(Box<CollectionRun>),
    /// It runs, or is about to.
    UnderWay {
        /// When it should be looked at again.
        again: Duration,
    },
    /// It has ended, and how is known to a registry that cannot be asked now.
    Unheard {
        /// When it should be asked again.
        again: Duration,
    },
    /// It has not started for longer than that should take.
    Pending {
        /// Its Job.
        job: Box<Job>,
        /// Why.
        why: String,
        /// Whether it has been waited for long enough.
        give_up: bool,
    },
}

pub(super) fn registry(context: &Context, object: &GarbageCollection) -> Result<Shared<Registry>, Failure> {
    let name = &object.spec.registry_ref.name;
    let key = format!("{}/registry", object.uid().unwrap_or_default());
    let Some(found) = context.caches.registry(&object.namespace().unwrap_or_default(), name) else {
        let message =
            format!("spec.registryRef names the Registry {name}, which does not exist in this namespace: make it");
        return Err(context.missing(&key, reason::REFERENCE_NOT_FOUND, message));
    };
    context.found(&key);
    Ok(found)
}

pub(super) async fn volume(context: &Context, registry: &Registry) -> Result<Volume, Failure> {
    let plan = match plan(registry, &context.settings)? {
        Plan::Managed(plan) => *plan,
        Plan::External(_) | Plan::Delegated(_) => return Err(status::not_managed(registry)),
    };
    let claim = match &plan.storage {
        StoragePlan::Template(_) => None,
        StoragePlan::Existing(name) => {
            let api = Api::<PersistentVolumeClaim>::namespaced(context.client.clone(), &plan.namespace);
            api.get_opt(name).await?
        }
    };
    let mode = strategy(&plan, claim.as_ref())?;
    let key = ObjectRef::new(&labels::registry_child(&plan.name)).within(&plan.namespace);
    let deployment = context.caches.deployments.get(&key);
    let current = deployment.as_deref().and_then(image_of).map(str::to_owned);
    let image = match current {
        Some(image) => image,
        None => wanted_image(&plan)?.to_owned(),
    };
    let replicas = deployment.as_ref().and_then(|deployment| deployment.spec.as_ref()?.replicas);
    let has_pods = replicas.unwrap_or(plan.replicas) > 0;
    Ok(Volume { plan, mode, image, has_pods })
}

/// Whether the registry has no pods, and none are to come.
pub(super) fn has_no_pods(context: &Context, registry: &Registry) -> bool {
    let key =
        ObjectRef::new(&labels::registry_child(&registry.name_any())).within(&registry.namespace().unwrap_or_default());
    let deployment = context.caches.deployments.get(&key);
    let running = deployment.as_deref().and_then(|deployment| deployment.spec.as_ref()?.replicas);
    let wanted = registry.spec.managed.as_ref().map(|managed| managed.replicas);
    wanted == Some(0) && running.unwrap_or_default() == 0
}

/// The newest status, where it knows of the request already: the cache may not show it yet, and no request runs twice.
pub(super) async fn answered_meanwhile(
    context: &Context,
    object: &GarbageCollection,
    request: &str,
) -> Result<Option<GarbageCollectionStatus>, Failure> {
    let api = Api::<GarbageCollection>::namespaced(context.client.clone(), &object.namespace().unwrap_or_default());
    let newest = api.get_opt(&object.name_any()).await?.and_then(|newest| newest.status);
    Ok(newest.filter(|status| status.last_handled_request.as_deref() == Some(request) || status.running.is_some()))
}

/// A run of anybody that has the registry now, this request's own aside. Asked of the API server, not the cache: what
/// another object's run made a moment ago counts.
pub(super) async fn active_job(
    context: &Context,
    object: &GarbageCollection,
    registry: &Registry,
    request: &str,
) -> Result<Option<String>, Failure> {
    let api = Api::<Job>::namespaced(context.client.clone(), &object.namespace().unwrap_or_default());
    let selector =
        format!("{LABEL_REGISTRY}={},{LABEL_COMPONENT}={}", registry.name_any(), Component::Collector.as_str());
    let own = build::job_name(object, request);
    let jobs = api.list(&ListParams::default().labels(&selector)).await?;
    Ok(jobs.items.iter().filter(|job| !has_ended(job)).map(ResourceExt::name_any).find(|name| *name != own))
}

fn has_ended(job: &Job) -> bool {
    ended(job).is_some()
}

/// True: complete. False: failed.
fn ended(job: &Job) -> Option<bool> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let holds = |kind: &str| conditions.iter().any(|condition| condition.type_ == kind && condition.status == "True");
    if holds("Complete") {
        Some(true)
    } else if holds("Failed") {
        Some(false)
    } else {
        None
    }
}

/// How far a run is.
pub(super) async fn progress(
    context: &Context,
    object: &GarbageCollection,
    registry: &Registry,
    running: &RunningCollection,
) -> Result<Progress, Failure> {
    let namespace = object.namespace().unwrap_or_default();
    let api = Api::<Job>::namespaced(context.client.clone(), &namespace);
    let outcome = match api.get_opt(&running.job).await? {
        None => summary::of_deleted(context, registry, running).await,
        Some(job) => match ended(&job) {
            None => return under_way(context, &namespace, job).await,
            Some(complete) => {
                let pods = pods(context, &namespace, &running.job).await?;
                summary::of_ended(context, registry, running, &Ended { job: &job, complete, pods: &pods }).await
            }
        },
    };
    Ok(match outcome {
        Outcome::Known(run) => Progress::Ended(run),
        Outcome::Unheard(again) => Progress::Unheard { again },
    })
}

async fn under_way(context: &Context, namespace: &str, job: Job) -> Result<Progress, Failure> {
    let age = age(job.metadata.creation_timestamp.as_ref(), context.now());
    let patience = context.settings.start_patience;
    let is_ready = job.status.as_ref().and_then(|status| status.ready).unwrap_or_default() > 0;
    if is_ready || age < patience {
        let again = patience.checked_sub(age).filter(|_| !is_ready).unwrap_or(POLL).min(POLL);
        return Ok(Progress::UnderWay { again });
    }
    let pods = pods(context, namespace, &job.name_any()).await?;
    Ok(match start::obstacle(&job.name_any(), &pods) {
        None => Progress::UnderWay { again: POLL },
        Some(why) => {
            let give_up = age >= context.settings.start_deadline && given_up(&job).is_none();
            Progress::Pending { job: Box::new(job), why, give_up }
        }
    })
}

/// What was written down when the run was given up.
pub(super) fn given_up(job: &Job) -> Option<&str> {
    job.annotations().get(ANNOTATION_GIVEN_UP).map(String::as_str)
}

async fn pods(context: &Context, namespace: &str, job: &str) -> Result<Vec<Pod>, Failure> {
    let api = Api::<Pod>::namespaced(context.client.clone(), namespace);
    let selector = format!("batch.kubernetes.io/job-name={job}");
    Ok(api.list(&ListParams::default().labels(&selector)).await?.items)
}
