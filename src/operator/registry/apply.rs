//! apply: bring the children about, then remove those that are not wanted any more.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::build::{Children, keys};
use super::validate::ManagedPlan;
use super::validate::quantity::billionths;
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
    /// Why the claim is not as large as it should be, where the API server does not let it grow.
    pub too_small: Option<String>,
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
    let claim = match &claim {
        Some(wanted) => self::claim(context, plan, wanted).await?,
        None => ClaimState { bound: true, too_small: None },
    };
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
    let unbound_claim = (!claim.bound).then(|| labels::registry_child(&plan.name));
    Ok(AppliedChildren { deployment, replicator, unbound_claim, too_small: claim.too_small })
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

/// How the operator's own claim is.
struct ClaimState {
    /// It has a volume.
    bound: bool,
    /// Why it does not grow.
    too_small: Option<String>,
}

/// The claim is made by POST; one that the operator made before for a Registry of this name is taken over.
async fn claim(context: &Context, plan: &ManagedPlan, wanted: &PersistentVolumeClaim) -> Result<ClaimState, Failure> {
    let api = Api::<PersistentVolumeClaim>::namespaced(context.client.clone(), &plan.namespace);
    let name = wanted.name_any();
    let Some(found) = api.get_opt(&name).await? else {
        api.create(&PostParams::default(), wanted).await?;
        return Ok(ClaimState { bound: false, too_small: None });
    };
    if !is_ours(plan, &found) {
        return Err(owner(plan).conflict::<PersistentVolumeClaim>(&found.metadata));
    }
    if found.metadata.deletion_timestamp.is_some() {
        let message = format!("the claim {name} is being deleted; a new one is made once it is gone");
        return Err(Failure::waiting(Duration::from_secs(2), reason::PROGRESSING, message));
    }
    let found = adopt(&api, plan, found, wanted).await?;
    let bound = found.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound");
    // The API server lets no claim grow that has no volume: that is done once it has one.
    let too_small = if bound { grow(&api, &found, wanted).await? } else { None };
    Ok(ClaimState { bound, too_small })
}

/// Made by an operator for a Registry of this name, whatever that one's UID was.
fn is_ours(plan: &ManagedPlan, claim: &PersistentVolumeClaim) -> bool {
    claim.labels().get(LABEL_REGISTRY) == Some(&plan.name)
        && claim.labels().get(LABEL_MANAGED_BY).is_some_and(|manager| manager == MANAGER)
}

/// Owner and labels are what may change of a claim at any time; the resourceVersion sees to it that nothing is overrun.
async fn adopt(
    api: &Api<PersistentVolumeClaim>,
    plan: &ManagedPlan,
    found: PersistentVolumeClaim,
    wanted: &PersistentVolumeClaim,
) -> Result<PersistentVolumeClaim, Failure> {
    let owners = wanted.metadata.owner_references.clone().unwrap_or_default();
    let same_owner = found.owner_references() == owners.as_slice();
    if same_owner && found.labels().get(LABEL_REGISTRY_UID) == Some(&plan.uid) {
        return Ok(found);
    }
    let meta = json!({
        "resourceVersion": found.resource_version(),
        "ownerReferences": owners,
        "labels": { LABEL_REGISTRY_UID: plan.uid },
    });
    Ok(change(api, &found, &json!({ "metadata": meta })).await?)
}

/// Sees to it that the claim is as large as it should be; why it is not, where a person must act. A larger one was made
/// so by somebody who may, and no claim can shrink.
async fn grow(
    api: &Api<PersistentVolumeClaim>,
    found: &PersistentVolumeClaim,
    wanted: &PersistentVolumeClaim,
) -> Result<Option<String>, Failure> {
    let asked = size(wanted);
    if asked.and_then(billionths) <= size(found).and_then(billionths) {
        return Ok(None);
    }
    let patch = json!({
        "metadata": { "resourceVersion": found.resource_version() },
        "spec": { "resources": { "requests": { "storage": asked } } },
    });
    match change(api, found, &patch).await.map_err(Failure::from) {
        Ok(_) => Ok(None),
        // The rest of the Registry is not to wait for that.
        Err(Failure::Stalled { reason: reason::CHILD_REFUSED, message }) => Ok(Some(message)),
        Err(failure) => Err(failure),
    }
}

async fn change(
    api: &Api<PersistentVolumeClaim>,
    found: &PersistentVolumeClaim,
    patch: &Value,
) -> Result<PersistentVolumeClaim, kube::Error> {
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    api.patch(&found.name_any(), &params, &Patch::Merge(patch)).await
}

fn size(claim: &PersistentVolumeClaim) -> Option<&str> {
    let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
    requests.get("storage").map(|size| size.0.as_str())
}
