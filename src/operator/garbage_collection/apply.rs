//! apply: the Job by POST, and those that ended long ago go.

use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;

use crate::api::{ANNOTATION_GIVEN_UP, GarbageCollection, LABEL_COLLECTION};
use crate::operator::apply::{Owner, create, prune};
use crate::operator::context::Context;
use crate::operator::failure::Failure;
use crate::operator::labels::{MANAGER, label_value, owner_reference};

/// How many good ones stay.
const GOOD: usize = 3;
/// How many failed ones stay.
const FAILED: usize = 1;

fn owner(object: &GarbageCollection) -> Owner {
    Owner {
        namespace: object.namespace().unwrap_or_default(),
        reference: owner_reference::<GarbageCollection>(&object.name_any(), &object.uid().unwrap_or_default()),
    }
}

/// Makes the Job, or finds it made; its name.
pub(super) async fn job(context: &Context, object: &GarbageCollection, wanted: &Job) -> Result<String, Failure> {
    create(context, &owner(object), wanted).await.map(|made| made.name_any())
}

/// Ends a run whose pod does not start. The cluster fails the Job for its deadline and takes its pods away; why it came
/// to that is written down with it, so that nothing depends on this process seeing the end. One that has changed
/// meanwhile is left alone: it may have started.
pub(super) async fn give_up(context: &Context, job: &Job, why: &str) -> Result<(), Failure> {
    let api = Api::<Job>::namespaced(context.client.clone(), &job.namespace().unwrap_or_default());
    let patch = json!({
        "metadata": {
            "resourceVersion": job.resource_version(),
            "annotations": { ANNOTATION_GIVEN_UP: why },
        },
        "spec": { "activeDeadlineSeconds": 1 },
    });
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    match api.patch(&job.name_any(), &params, &Patch::Merge(patch)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Three good and one failed Job are kept.
pub(super) async fn tidy(context: &Context, object: &GarbageCollection) -> Result<(), Failure> {
    let api = Api::<Job>::namespaced(context.client.clone(), &object.namespace().unwrap_or_default());
    let label = label_value(&object.name_any());
    let jobs = api.list(&ListParams::default().labels(&format!("{LABEL_COLLECTION}={label}"))).await?;
    for name in surplus(jobs.items) {
        prune::<Job>(context, &owner(object), &name).await?;
    }
    Ok(())
}

/// The Jobs that ended and are more than are kept, oldest first to go.
fn surplus(mut jobs: Vec<Job>) -> Vec<String> {
    jobs.sort_by_key(|job| std::cmp::Reverse(job.creation_timestamp()));
    let count = |job: &Job| {
        let status = job.status.clone().unwrap_or_default();
        (status.succeeded.unwrap_or_default(), status.failed.unwrap_or_default())
    };
    let good = jobs.iter().filter(|job| count(job).0 > 0).skip(GOOD);
    let failed = jobs.iter().filter(|job| count(job).0 == 0 && count(job).1 > 0).skip(FAILED);
    good.chain(failed).map(ResourceExt::name_any).collect()
}
