//! apply: robots' Secrets. One that is there and not ours is input; otherwise it is created, never force-applied; what
//! is ours is changed by a merge patch that names the version it was planned on.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use super::build::PullSecret;
use crate::api::conditions::reason;
use crate::api::{Registry, RoleBinding};
use crate::operator::access::robots::{self, DOCKER_CONFIG, DOCKER_CONFIG_TYPE, LEAST_LENGTH};
use crate::operator::context::Context;
use crate::operator::failure::Failure;
use crate::operator::labels::{LABEL_MANAGED_BY, MANAGER, owner_reference};
use crate::operator::secrets;

/// Sees to it that each robot has its Secret; hands back the fingerprints of what is in them.
pub(super) async fn pull_secrets(
    context: &Context,
    binding: &RoleBinding,
    registry: &Registry,
    wanted: Vec<PullSecret>,
) -> Result<BTreeMap<(String, String), Vec<String>>, Failure> {
    let namespace = binding.namespace().unwrap_or_default();
    let mut fingerprints = BTreeMap::new();
    let mut changed = false;
    for wanted in wanted {
        let (value, made) = pull_secret(context, binding, &namespace, &wanted).await?;
        changed |= made;
        fingerprints.insert((namespace.clone(), wanted.robot), vec![robots::fingerprint(&value)]);
    }
    if changed {
        // The document is compiled from what the Secrets hold.
        context.bus.access(&namespace, &registry.name_any());
    }
    Ok(fingerprints)
}

async fn pull_secret(
    context: &Context,
    binding: &RoleBinding,
    namespace: &str,
    wanted: &PullSecret,
) -> Result<(String, bool), Failure> {
    let found = secrets::get(context, namespace, &wanted.secret).await?;
    let Some(found) = found else { return make(context, binding, namespace, wanted).await };
    if found.metadata.deletion_timestamp.is_some() {
        let message = format!("the Secret {} is being deleted; a new one is made once it is gone", wanted.secret);
        return Err(Failure::waiting(Duration::from_secs(1), reason::PROGRESSING, message));
    }
    let value = robots::read(&found, &wanted.login).ok_or_else(|| unusable(wanted))?;
    if value.len() < LEAST_LENGTH {
        return Err(too_short(wanted));
    }
    if is_ours(binding, &found) && robots::hosts(&found) != sorted(&wanted.hosts) {
        rewrite(context, namespace, &found, wanted, &value).await?;
    }
    Ok((value, false))
}

fn sorted(hosts: &[String]) -> Vec<String> {
    let mut hosts = hosts.to_vec();
    hosts.sort();
    hosts
}

fn is_ours(binding: &RoleBinding, secret: &Secret) -> bool {
    secret.owner_references().iter().any(|owner| Some(&owner.uid) == binding.metadata.uid.as_ref())
}

async fn make(
    context: &Context,
    binding: &RoleBinding,
    namespace: &str,
    wanted: &PullSecret,
) -> Result<(String, bool), Failure> {
    let value = robots::generate().map_err(|error| Failure::invalid(format!("no random bytes: {error}")))?;
    let config = robots::docker_config(&wanted.hosts, &wanted.login, &value).to_string();
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(wanted.secret.clone()),
            namespace: Some(namespace.to_owned()),
            labels: Some(BTreeMap::from([(LABEL_MANAGED_BY.to_owned(), MANAGER.to_owned())])),
            owner_references: Some(vec![owner_reference::<RoleBinding>(
                &binding.name_any(),
                &binding.uid().unwrap_or_default(),
            )]),
            ..ObjectMeta::default()
        },
        type_: Some(DOCKER_CONFIG_TYPE.to_owned()),
        data: Some(BTreeMap::from([(DOCKER_CONFIG.to_owned(), ByteString(config.into_bytes()))])),
        ..Secret::default()
    };
    let api = Api::<Secret>::namespaced(context.client.clone(), namespace);
    match api.create(&PostParams::default(), &secret).await {
        Ok(_) => Ok((value, true)),
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {
            let message = format!("the Secret {} was made meanwhile and is looked at again", wanted.secret);
            Err(Failure::waiting(Duration::from_millis(200), reason::PROGRESSING, message))
        }
        Err(error) => Err(error.into()),
    }
}

/// The registry's addresses changed: the same credentials for the new ones.
async fn rewrite(
    context: &Context,
    namespace: &str,
    found: &Secret,
    wanted: &PullSecret,
    value: &str,
) -> Result<(), Failure> {
    let config = robots::docker_config(&wanted.hosts, &wanted.login, value).to_string();
    let patch = json!({
        "metadata": { "resourceVersion": found.resource_version() },
        "data": { DOCKER_CONFIG: ByteString(config.into_bytes()) },
    });
    let api = Api::<Secret>::namespaced(context.client.clone(), namespace);
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    api.patch(&wanted.secret, &params, &Patch::Merge(patch)).await?;
    Ok(())
}

fn unusable(wanted: &PullSecret) -> Failure {
    let message = format!(
        "{}: the Secret {} has neither a {DOCKER_CONFIG} with an entry for {} nor a password: correct it, or name a \
         Secret that does not exist and it is made",
        wanted.field, wanted.secret, wanted.login
    );
    Failure::stalled(reason::SECRET_INVALID, message)
}

fn too_short(wanted: &PullSecret) -> Failure {
    let message = format!(
        "{}: the password of {} in the Secret {} is shorter than {LEAST_LENGTH} characters: choose a longer one",
        wanted.field, wanted.login, wanted.secret
    );
    Failure::stalled(reason::SECRET_INVALID, message)
}
