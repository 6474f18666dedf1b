//! dereference: the Registry, its volume and image, other runs on it, and how this run ended.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use kube::runtime::reflector::ObjectRef;

use super::{build, status};
use crate::admin::CollectionSummary;
use crate::api::conditions::reason;
use crate::api::{
    AccessMode, CollectionRun, GarbageCollection, GarbageCollectionStatus, LABEL_REGISTRY, Registry, RunningCollection,
};
use crate::operator::context::Context;
use crate::operator::failure::Failure;
use crate::operator::labels::{self, Component, LABEL_COMPONENT};
use crate::operator::registry::rolling::image_of;
use crate::operator::registry::validate::{ManagedPlan, Plan, StoragePlan, plan, strategy, wanted_image};

/// What a run needs to know of its registry.
#[derive(Debug, Clone)]
pub struct Volume {
    /// The registry.
    pub plan: ManagedPlan,
    /// What the volume allows.
    pub mode: AccessMode,
    /// The image that the registry runs.
    pub image: String,
}

pub(super) fn registry(context: &Context, object: &GarbageCollection) -> Result<Registry, Failure> {
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
    Ok(Volume { plan, mode, image })
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

/// How a run ended; nothing while it has not.
pub(super) async fn outcome(
    context: &Context,
    object: &GarbageCollection,
    running: &RunningCollection,
) -> Result<Option<CollectionRun>, Failure> {
    let namespace = object.namespace().unwrap_or_default();
    let api = Api::<Job>::namespaced(context.client.clone(), &namespace);
    let Some(job) = api.get_opt(&running.job).await? else {
        let message = "its Job was deleted before its outcome was seen; annotate again to run it again";
        return Ok(Some(status::without_summary(running, None, message)));
    };
    let Some(complete) = ended(&job) else { return Ok(None) };
    let message = termination_message(context, &namespace, &running.job).await?;
    let summary = message.as_deref().and_then(|message| serde_json::from_str::<CollectionSummary>(message).ok());
    Ok(Some(match summary {
        Some(summary) => status::from_summary(running, complete, &summary),
        None => status::without_summary(running, Some(&job), message.as_deref().unwrap_or("its pod left no summary")),
    }))
}

async fn termination_message(context: &Context, namespace: &str, job: &str) -> Result<Option<String>, Failure> {
    let api = Api::<Pod>::namespaced(context.client.clone(), namespace);
    let pods = api.list(&ListParams::default().labels(&format!("batch.kubernetes.io/job-name={job}"))).await?;
    let message = |pod: &Pod| {
        let status = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
        status.state.as_ref()?.terminated.as_ref()?.message.clone()
    };
    Ok(pods.items.iter().find_map(message))
}
