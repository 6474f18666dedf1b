//! What the operator watches: a cache a kind, and who is told of a change.
//!
//! Every cache is filled by one watch, whoever reads it. A status that only changed says nothing new to anybody, so
//! of our own kinds only a change of the spec, the annotations or of being deleted is passed on.

mod pump;
mod routes;
mod seen;
mod slim;

use std::ops::Deref;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::{ObjectRef, Store};

pub use pump::pumps;

use super::bus::Guarded;
use crate::api::{GarbageCollection, Project, Registry, ReplicationPolicy, RoleBinding};

/// What is known of the cluster.
#[derive(Debug, Clone)]
pub struct Caches {
    /// Registries.
    pub registries: Store<Guarded<Registry>>,
    /// Projects.
    pub projects: Store<Guarded<Project>>,
    /// Role bindings.
    pub bindings: Store<Guarded<RoleBinding>>,
    /// Replication policies.
    pub policies: Store<Guarded<ReplicationPolicy>>,
    /// Garbage collections.
    pub collections: Store<Guarded<GarbageCollection>>,
    /// Addresses of the registries' pods.
    pub slices: Store<EndpointSlice>,
    /// Deployments of registries and replicators; of their pods only the image.
    pub deployments: Store<Deployment>,
}

impl Caches {
    /// Waits until every cache has finished its first list. False where the watches ended before.
    pub async fn ready(&self) -> bool {
        let Self { registries, projects, bindings, policies, collections, slices, deployments } = self;
        let all: [Result<(), _>; 7] = tokio::join!(
            registries.wait_until_ready(),
            projects.wait_until_ready(),
            bindings.wait_until_ready(),
            policies.wait_until_ready(),
            collections.wait_until_ready(),
            slices.wait_until_ready(),
            deployments.wait_until_ready(),
        )
        .into();
        all.iter().all(Result::is_ok)
    }

    /// The Registry of this name, if it is there and readable.
    pub fn registry(&self, namespace: &str, name: &str) -> Option<Shared<Registry>> {
        Shared::of(self.registries.get(&ObjectRef::new(name).within(namespace))?)
    }

    /// The Project of this name, if it is there and readable.
    pub fn project(&self, namespace: &str, name: &str) -> Option<Shared<Project>> {
        Shared::of(self.projects.get(&ObjectRef::new(name).within(namespace))?)
    }

    /// The readable Registries of a namespace, by name.
    pub fn registries_in(&self, namespace: &str) -> Vec<Shared<Registry>> {
        readable(&self.registries, namespace)
    }

    /// The readable Projects of a namespace, by name.
    pub fn projects_in(&self, namespace: &str) -> Vec<Shared<Project>> {
        readable(&self.projects, namespace)
    }

    /// The readable RoleBindings of a namespace, by name.
    pub fn bindings_in(&self, namespace: &str) -> Vec<Shared<RoleBinding>> {
        readable(&self.bindings, namespace)
    }

    /// The readable ReplicationPolicies of a namespace, by name.
    pub fn policies_in(&self, namespace: &str) -> Vec<Shared<ReplicationPolicy>> {
        readable(&self.policies, namespace)
    }

    /// The readable GarbageCollections of a namespace, by name.
    pub fn collections_in(&self, namespace: &str) -> Vec<Shared<GarbageCollection>> {
        readable(&self.collections, namespace)
    }

    /// The EndpointSlices of a Service.
    pub fn slices_of(&self, namespace: &str, service: &str) -> Vec<Arc<EndpointSlice>> {
        let belongs = |slice: &&Arc<EndpointSlice>| {
            slice.namespace().as_deref() == Some(namespace)
                && slice.labels().get("kubernetes.io/service-name").is_some_and(|name| name == service)
        };
        self.slices.state().iter().filter(belongs).cloned().collect()
    }
}

/// A readable object that the cache has too: not a copy, of which a namespace's worth at each look would be many times
/// what the cache itself takes.
#[derive(Debug)]
pub struct Shared<K>(Arc<Guarded<K>>);

impl<K> Shared<K> {
    /// Nothing where it cannot be read.
    fn of(object: Arc<Guarded<K>>) -> Option<Self> {
        object.0.is_ok().then_some(Self(object))
    }
}

impl<K> From<K> for Shared<K> {
    fn from(object: K) -> Self {
        Self(Arc::new(DeserializeGuard(Ok(object))))
    }
}

impl<K> Clone for Shared<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K> Deref for Shared<K> {
    type Target = K;

    fn deref(&self) -> &K {
        match &self.0.0 {
            Ok(object) => object,
            Err(_) => unreachable!("what cannot be read is not shared"),
        }
    }
}

fn readable<K>(store: &Store<Guarded<K>>, namespace: &str) -> Vec<Shared<K>>
where
    K: kube::Resource<DynamicType = ()> + Clone + 'static,
{
    let in_namespace = |object: &&Arc<Guarded<K>>| object.meta_namespace() == Some(namespace);
    let all = store.state();
    let mut found: Vec<Shared<K>> = all.iter().filter(in_namespace).cloned().filter_map(Shared::of).collect();
    found.sort_by(|a, b| a.meta().name.cmp(&b.meta().name));
    found
}

/// The namespace of an object whether or not the rest of it can be read.
trait MetaNamespace {
    fn meta_namespace(&self) -> Option<&str>;
}

impl<K: kube::Resource> MetaNamespace for DeserializeGuard<K> {
    fn meta_namespace(&self) -> Option<&str> {
        kube::Resource::meta(self).namespace.as_deref()
    }
}
