//! dereference: fetch what a Registry refers to, and say what is missing.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;
use kube::api::Api;
use kube::runtime::reflector::ObjectRef;

use super::validate::{ExternalPlan, ManagedPlan, StoragePlan};
use crate::api::Registry;
use crate::api::conditions::reason;
use crate::operator::context::Context;
use crate::operator::failure::Failure;
use crate::operator::labels;
use crate::operator::secrets;

/// What was found.
pub struct Found {
    /// The claim that is used, if it exists.
    pub claim: Option<PersistentVolumeClaim>,
    /// The serving Deployment as it is.
    pub deployment: Option<Deployment>,
}

/// What a managed Registry needs to be built.
pub async fn managed(context: &Context, plan: &ManagedPlan) -> Result<Found, Failure> {
    let api = Api::<PersistentVolumeClaim>::namespaced(context.client.clone(), &plan.namespace);
    let claim = match &plan.storage {
        StoragePlan::Template(_) => None,
        StoragePlan::Existing(name) => Some(existing_claim(context, plan, name, api.get_opt(name).await?)?),
    };
    let key = ObjectRef::new(&labels::registry_child(&plan.name)).within(&plan.namespace);
    let deployment = context.caches.deployments.get(&key).map(|found| (*found).clone());
    Ok(Found { claim, deployment })
}

fn existing_claim(
    context: &Context,
    plan: &ManagedPlan,
    name: &str,
    found: Option<PersistentVolumeClaim>,
) -> Result<PersistentVolumeClaim, Failure> {
    let key = format!("{}/claim", plan.uid);
    let Some(claim) = found else {
        let message = format!("managed.storage.existingClaim names the claim {name}, which does not exist: make it");
        return Err(context.missing(&key, reason::CLAIM_MISSING, message));
    };
    context.found(&key);
    Ok(claim)
}

/// Whether the Secrets that the pods mount are there and have what is needed. Their content is the pods' business.
pub async fn managed_secrets(context: &Context, plan: &ManagedPlan) -> Result<(), Failure> {
    let mut wanted: Vec<(&str, String, &[&str])> = vec![];
    if let Some(name) = &plan.tls {
        wanted.push((name, "managed.tls.secretRef".to_owned(), &["tls.crt", "tls.key"]));
    }
    if let Some(name) = &plan.htpasswd {
        wanted.push((name, "managed.auth.htpasswdSecretRef".to_owned(), &["htpasswd"]));
    }
    for (place, name) in plan.replicators.iter().enumerate() {
        let field = format!("managed.auth.replicators[{place}].secretRef");
        wanted.push((name, field, &["username", "password"]));
    }
    for (name, field, keys) in wanted {
        look(context, &plan.namespace, &plan.uid, name, &field, keys).await?;
    }
    Ok(())
}

/// Whether the Secrets of an external Registry are there.
pub async fn external(context: &Context, registry: &Registry, plan: &ExternalPlan) -> Result<(), Failure> {
    let (namespace, uid) = (registry.namespace().unwrap_or_default(), registry.uid().unwrap_or_default());
    if let Some(name) = &plan.credentials {
        look(context, &namespace, &uid, name, "external.credentialsSecretRef", &["username", "password"]).await?;
    }
    if let Some(name) = &plan.authority {
        look(context, &namespace, &uid, name, "external.caSecretRef", &["ca.crt"]).await?;
    }
    Ok(())
}

async fn look(
    context: &Context,
    namespace: &str,
    uid: &str,
    name: &str,
    field: &str,
    keys: &[&str],
) -> Result<(), Failure> {
    let key = format!("{uid}/secret/{name}");
    let Some(secret) = secrets::get(context, namespace, name).await? else {
        let message = format!("spec.{field} names the Secret {name}, which does not exist: make it");
        return Err(context.missing(&key, reason::SECRET_MISSING, message));
    };
    if let Some(lacking) = secrets::lacks(&secret, keys) {
        let message = format!("spec.{field} names the Secret {name}, which has no key {lacking}: add it");
        return Err(context.missing(&key, reason::SECRET_INVALID, message));
    }
    context.found(&key);
    Ok(())
}
