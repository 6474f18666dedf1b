//! Looking into Secrets by name: the operator may not list or watch them.

use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;

use super::context::Context;
use super::failure::Failure;

/// The Secret of this name, if it is there.
pub async fn get(context: &Context, namespace: &str, name: &str) -> Result<Option<Secret>, Failure> {
    Ok(Api::<Secret>::namespaced(context.client.clone(), namespace).get_opt(name).await?)
}

/// The value of a key, if it is there and not empty.
pub fn value<'a>(secret: &'a Secret, key: &str) -> Option<&'a [u8]> {
    let value = secret.data.as_ref()?.get(key)?;
    (!value.0.is_empty()).then_some(value.0.as_slice())
}

/// The first of `keys` that the Secret lacks.
pub fn lacks<'k>(secret: &Secret, keys: &[&'k str]) -> Option<&'k str> {
    keys.iter().copied().find(|key| value(secret, key).is_none())
}
