//! dereference: fetch what a Registry refers to, and say what is missing.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret};
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
        let message =
            format!("spec.managed.storage.existingClaim names the claim {name}, which does not exist: make it");
        return Err(context.missing(&key, reason::CLAIM_MISSING, message));
    };
    context.found(&key);
    Ok(claim)
}

/// Whether the Secrets that the pods mount are there and have what is needed. Their content is the pods' business; but
/// an admin whom nobody can log in as is worth a remark, which is handed back.
pub async fn managed_secrets(context: &Context, plan: &ManagedPlan) -> Result<Option<String>, Failure> {
    let (namespace, uid) = (&plan.namespace, &plan.uid);
    if let Some(name) = &plan.tls {
        look(context, namespace, uid, name, "managed.tls.secretRef", &["tls.crt", "tls.key"]).await?;
    }
    let mut remark = None;
    if let Some(name) = &plan.htpasswd {
        let users = look(context, namespace, uid, name, "managed.auth.htpasswdSecretRef", &["htpasswd"]).await?;
        remark = strangers(plan, name, &users);
    }
    for (place, name) in plan.replicators.iter().enumerate() {
        let field = format!("managed.auth.replicators[{place}].secretRef");
        look(context, namespace, uid, name, &field, &["username", "password"]).await?;
    }
    Ok(remark)
}

/// The admins who are no users.
fn strangers(plan: &ManagedPlan, name: &str, users: &Secret) -> Option<String> {
    let file = String::from_utf8_lossy(secrets::value(users, "htpasswd")?).into_owned();
    let is_user =
        |admin: &str| file.lines().any(|line| line.trim().split_once(':').is_some_and(|(user, _)| user == admin));
    let strangers: Vec<&str> = plan.admins.iter().map(String::as_str).filter(|admin| !is_user(admin)).collect();
    (!strangers.is_empty())
        .then(|| format!("spec.managed.auth.admins names {}, not in the Secret {name}", strangers.join(", ")))
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
) -> Result<Secret, Failure> {
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
    Ok(secret)
}
