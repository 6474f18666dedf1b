//! Bringing children about: whose they are, how they are made, and when nothing need be sent.
//!
//! Server-side apply has no create-only and merges silently into strangers. So an object is read first; one that is
//! not ours is never applied to; one that is not there is applied without force; one that is ours is applied with
//! force and its UID, so that an object of the same name made meanwhile is refused by the API server. Secrets,
//! claims and Jobs are made by POST alone.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::context::{Context, forget, lock};
use super::failure::Failure;
use super::labels::MANAGER;
use crate::api::conditions::reason;

/// What was applied, and what the object looked like afterwards.
#[derive(Debug, Default)]
pub struct Applied {
    // The keys begin with the owner's UID.
    seen: Mutex<BTreeMap<String, Print>>,
}

/// What was asked for, and which state of the object answered it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Print {
    wanted: u64,
    uid: Option<String>,
    state: u64,
}

/// The object that children belong to.
#[derive(Debug, Clone)]
pub struct Owner {
    /// Namespace of the owner and its children.
    pub namespace: String,
    /// What is put into the children.
    pub reference: OwnerReference,
}

/// What is asked of a child's type.
pub trait Child:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned
{
}

impl<K> Child for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned
{
}

impl Owner {
    /// Whether an object is a child of this owner.
    pub fn owns(&self, meta: &ObjectMeta) -> bool {
        meta.owner_references.iter().flatten().any(|owner| owner.uid == self.reference.uid)
    }

    /// Whether an object is a child of an owner of the same name that is gone, and waits to be collected.
    fn inherits(&self, meta: &ObjectMeta) -> bool {
        meta.owner_references.iter().flatten().any(|owner| {
            owner.kind == self.reference.kind && owner.name == self.reference.name && owner.uid != self.reference.uid
        })
    }

    /// What to say of an object that has a child's name and is not one.
    pub fn conflict<K: Resource<DynamicType = ()>>(&self, meta: &ObjectMeta) -> Failure {
        let (kind, name) = (K::kind(&()), meta.name.as_deref().unwrap_or_default());
        if self.inherits(meta) {
            let message = format!(
                "{kind} {name} belongs to the former {} of this name and is being collected",
                self.reference.kind
            );
            return Failure::waiting(Duration::from_secs(2), reason::PROGRESSING, message);
        }
        let message = format!(
            "{kind} {name} exists and does not belong to this {}: rename or delete it, or choose another name for this {}",
            self.reference.kind, self.reference.kind
        );
        Failure::stalled(reason::NAME_CONFLICT, message)
    }
}

/// Applies a child by server-side apply, unless it is known to be as wanted. Hands back what the cluster has.
pub async fn apply<K: Child>(context: &Context, owner: &Owner, wanted: &K) -> Result<K, Failure> {
    let api = Api::<K>::namespaced(context.client.clone(), &owner.namespace);
    let name = wanted.meta().name.clone().unwrap_or_default();
    let found = api.get_opt(&name).await?;
    let mut body = serde_json::to_value(wanted)?;
    let hash = hash_of(&body);
    let mut params = PatchParams::apply(MANAGER);
    if let Some(found) = found {
        if !owner.owns(found.meta()) {
            return Err(owner.conflict::<K>(found.meta()));
        }
        if context.applied.is_current(&key::<K>(owner, &name), hash, found.meta()) {
            return Ok(found);
        }
        body["metadata"]["uid"] = serde_json::json!(found.meta().uid);
        params = params.force();
    }
    let applied = api.patch(&name, &params, &Patch::Apply(body)).await?;
    context.applied.note(key::<K>(owner, &name), hash, applied.meta());
    Ok(applied)
}

/// Makes a child that is not there; hands back what is there otherwise, if it is ours.
pub async fn create<K: Child>(context: &Context, owner: &Owner, wanted: &K) -> Result<K, Failure> {
    let api = Api::<K>::namespaced(context.client.clone(), &owner.namespace);
    let name = wanted.meta().name.clone().unwrap_or_default();
    let found = match api.get_opt(&name).await? {
        Some(found) => found,
        None => match api.create(&PostParams::default(), wanted).await {
            Ok(made) => return Ok(made),
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => api.get(&name).await?,
            Err(error) => return Err(error.into()),
        },
    };
    if owner.owns(found.meta()) { Ok(found) } else { Err(owner.conflict::<K>(found.meta())) }
}

/// Deletes a child that is not wanted any more, if it is there and ours.
pub async fn prune<K: Child>(context: &Context, owner: &Owner, name: &str) -> Result<(), Failure> {
    let api = Api::<K>::namespaced(context.client.clone(), &owner.namespace);
    let Some(found) = api.get_opt(name).await? else { return Ok(()) };
    if !owner.owns(found.meta()) || found.meta().deletion_timestamp.is_some() {
        return Ok(());
    }
    let params = DeleteParams {
        preconditions: Some(Preconditions { uid: found.meta().uid.clone(), resource_version: None }),
        ..DeleteParams::background()
    };
    match api.delete(name, &params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn key<K: Resource<DynamicType = ()>>(owner: &Owner, name: &str) -> String {
    format!("{}/{}/{name}", owner.reference.uid, K::kind(&()))
}

fn hash_of(body: &serde_json::Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    body.to_string().hash(&mut hasher);
    hasher.finish()
}

/// Of what changes with the object's spec, and where there is such a thing not with its status.
fn state_of(meta: &ObjectMeta) -> u64 {
    let mut hasher = DefaultHasher::new();
    match meta.generation {
        Some(generation) => {
            generation.hash(&mut hasher);
            // Labels and owners do not count up the generation.
            meta.labels.hash(&mut hasher);
            for owner in meta.owner_references.iter().flatten() {
                (&owner.uid, &owner.kind, &owner.name, owner.controller, owner.block_owner_deletion).hash(&mut hasher);
            }
        }
        None => meta.resource_version.hash(&mut hasher),
    }
    hasher.finish()
}

impl Applied {
    /// The owner of this UID is gone.
    pub fn forget(&self, uid: &str) {
        forget(&mut lock(&self.seen), uid);
    }

    fn is_current(&self, key: &str, wanted: u64, meta: &ObjectMeta) -> bool {
        let print = Print { wanted, uid: meta.uid.clone(), state: state_of(meta) };
        lock(&self.seen).get(key) == Some(&print)
    }

    fn note(&self, key: String, wanted: u64, meta: &ObjectMeta) {
        let print = Print { wanted, uid: meta.uid.clone(), state: state_of(meta) };
        lock(&self.seen).insert(key, print);
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Service;

    use super::*;
    use crate::api::Registry;
    use crate::operator::labels::owner_reference;

    #[test]
    fn children_of_an_owner_that_is_gone_are_forgotten() {
        let owner = |uid| Owner { namespace: "ns".to_owned(), reference: owner_reference::<Registry>("hq", uid) };
        let (applied, meta) = (Applied::default(), ObjectMeta::default());
        for uid in ["a", "b"] {
            applied.note(key::<Service>(&owner(uid), "one"), 1, &meta);
            applied.note(key::<Service>(&owner(uid), "two"), 1, &meta);
        }
        applied.forget("a");
        assert_eq!(lock(&applied.seen).len(), 2);
        assert!(applied.is_current(&key::<Service>(&owner("b"), "one"), 1, &meta));
    }
}
