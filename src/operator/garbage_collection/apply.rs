//! apply: the Job by POST, and those that ended long ago go.

use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use crate::api::{GarbageCollection, LABEL_COLLECTION};
use crate::operator::apply::{Owner, create, prune};
use crate::operator::context::Context;
use crate::operator::failure::Failure;
use crate::operator::labels::owner_reference;

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

/// Three good and one failed Job are kept.
pub(super) async fn tidy(context: &Context, object: &GarbageCollection) -> Result<(), Failure> {
    let api = Api::<Job>::namespaced(context.client.clone(), &object.namespace().unwrap_or_default());
    let label: String = object.name_any().chars().take(63).collect();
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
