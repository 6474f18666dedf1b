//! apply: bring the children about, then remove those that are not wanted any more.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use super::build::{Children, keys};
use super::validate::ManagedPlan;
use crate::api::conditions::reason;
use crate::api::{LABEL_REGISTRY, LABEL_REGISTRY_UID, Registry};
use crate::operator::apply::{Owner, apply, create, prune};
use crate::operator::context::Context;
use crate::operator::failure::Failure;
use crate::operator::labels::{self, LABEL_MANAGED_BY, MANAGER};
use crate::operator::secrets;

/// What the cluster has now.
pub struct AppliedChildren {
    /// The serving Deployment.
    pub deployment: Deployment,
    /// The replicator.
    pub replicator: Option<Deployment>,
    /// The claim, where it has no volume yet.
    pub unbound_claim: Option<String>,
}

/// The owner that children of a Registry refer to.
pub fn owner(plan: &ManagedPlan) -> Owner {
    Owner { namespace: plan.namespace.clone(), reference: labels::owner_reference::<Registry>(&plan.name, &plan.uid) }
}

/// Everything, in the order in which pods need it.
pub async fn all(context: &Context, plan: &ManagedPlan, children: Children) -> Result<AppliedChildren, Failure> {
    // Without `..`: a child that is forgotten here does not compile.
    let Children { claim, account, service, external, deployment, budget, replicator } = children;
    let owner = owner(plan);
    secret(context, &owner, &labels::keys_secret(&plan.name), || keys::keys(plan)).await?;
    secret(context, &owner, &labels::replicator_child(&plan.name), || keys::replicator(plan)).await?;
    let mut unbound_claim = None;
    if let Some(wanted) = claim
        && !self::claim(context, plan, &wanted).await?
    {
        unbound_claim = Some(wanted.name_any());
    }
    apply(context, &owner, &account).await?;
    apply(context, &owner, &service).await?;
    match external {
        Some(external) => drop(apply(context, &owner, &external).await?),
        None => prune::<Service>(context, &owner, &labels::external_service(&plan.name)).await?,
    }
    match budget {
        Some(budget) => drop(apply(context, &owner, &budget).await?),
        None => prune::<PodDisruptionBudget>(context, &owner, &labels::registry_child(&plan.name)).await?,
    }
    let deployment = apply(context, &owner, &deployment).await?;
    let replicator = if let Some(replicator) = replicator {
        Some(apply(context, &owner, &replicator).await?)
    } else {
        prune::<Deployment>(context, &owner, &labels::replicator_child(&plan.name)).await?;
        None
    };
    Ok(AppliedChildren { deployment, replicator, unbound_claim })
}

/// A Secret is made once; its content is random, so it is only made where there is none.
async fn secret(
    context: &Context,
    owner: &Owner,
    name: &str,
    make: impl FnOnce() -> Result<Secret, Failure>,
) -> Result<(), Failure> {
    match secrets::get(context, &owner.namespace, name).await? {
        Some(found) if owner.owns(&found.metadata) => Ok(()),
        Some(found) => Err(owner.conflict::<Secret>(&found.metadata)),
        None => create(context, owner, &make()?).await.map(drop),
    }
}

/// The claim is made by POST; one that the operator made before for a Registry of this name is taken over. Whether it
/// has a volume.
async fn claim(context: &Context, plan: &ManagedPlan, wanted: &PersistentVolumeClaim) -> Result<bool, Failure> {
    let api = Api::<PersistentVolumeClaim>::namespaced(context.client.clone(), &plan.namespace);
    let name = wanted.name_any();
    let Some(found) = api.get_opt(&name).await? else {
        api.create(&PostParams::default(), wanted).await?;
        return Ok(false);
    };
    if !is_ours(plan, &found) {
        return Err(owner(plan).conflict::<PersistentVolumeClaim>(&found.metadata));
    }
    if found.metadata.deletion_timestamp.is_some() {
        let message = format!("the claim {name} is being deleted; a new one is made once it is gone");
        return Err(Failure::waiting(Duration::from_secs(2), reason::PROGRESSING, message));
    }
    adjust(&api, plan, &found, wanted).await?;
    Ok(found.status.and_then(|status| status.phase).as_deref() == Some("Bound"))
}

/// Made by an operator for a Registry of this name, whatever that one's UID was.
fn is_ours(plan: &ManagedPlan, claim: &PersistentVolumeClaim) -> bool {
    claim.labels().get(LABEL_REGISTRY) == Some(&plan.name)
        && claim.labels().get(LABEL_MANAGED_BY).is_some_and(|manager| manager == MANAGER)
}

/// Owner, labels and size are what may change of a claim; the resourceVersion sees to it that nothing is overrun.
async fn adjust(
    api: &Api<PersistentVolumeClaim>,
    plan: &ManagedPlan,
    found: &PersistentVolumeClaim,
    wanted: &PersistentVolumeClaim,
) -> Result<(), Failure> {
    let owners = wanted.metadata.owner_references.clone().unwrap_or_default();
    let same_owner = found.owner_references() == owners.as_slice();
    let same_uid = found.labels().get(LABEL_REGISTRY_UID) == Some(&plan.uid);
    let (asked, has) = (size(wanted), size(found));
    let same_size = asked == has;
    if same_owner && same_uid && same_size {
        return Ok(());
    }
    let mut patch = json!({
        "metadata": {
            "resourceVersion": found.resource_version(),
            "ownerReferences": owners,
            "labels": { LABEL_REGISTRY_UID: plan.uid },
        },
    });
    if !same_size {
        patch["spec"] = json!({ "resources": { "requests": { "storage": asked } } });
    }
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    api.patch(&found.name_any(), &params, &Patch::Merge(patch)).await?;
    Ok(())
}

fn size(claim: &PersistentVolumeClaim) -> Option<&str> {
    let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
    requests.get("storage").map(|size| size.0.as_str())
}
