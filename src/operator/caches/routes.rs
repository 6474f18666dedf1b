//! Who must look again when an object changes.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt};

use super::Caches;
use crate::api::{GarbageCollection, LABEL_REGISTRY, Project, Registry, ReplicationPolicy, RoleBinding};
use crate::operator::bus::{Bus, Guarded};

/// Who must look again when an object changes.
#[derive(Clone)]
pub(super) struct Routes {
    pub(super) caches: Caches,
    pub(super) bus: Bus,
}

fn key(meta: &ObjectMeta) -> (&str, &str) {
    (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
}

impl Routes {
    /// A Registry: itself, and what refers to it.
    pub(super) fn registry(&self, registry: &Guarded<Registry>) {
        let (namespace, name) = key(registry.meta());
        self.whole_registry(namespace, name);
        let projects = self.caches.projects_in(namespace).into_iter();
        let projects = projects.filter(|project| project.spec.registry_ref.name == name);
        self.projects_and_bindings(namespace, projects.map(|project| project.name_any()).collect());
        // Its address is in the edges of others, its credentials in their replicators.
        self.replication(namespace);
        for collection in self.caches.collections_in(namespace) {
            if collection.spec.registry_ref.name == name {
                self.bus.collection(namespace, &collection.name_any());
            }
        }
    }

    /// A Project: itself, its bindings, and its registry's document.
    pub(super) fn project(&self, project: &Guarded<Project>) {
        let (namespace, name) = key(project.meta());
        self.projects_and_bindings(namespace, BTreeSet::from([name.to_owned()]));
        if let Ok(readable) = &project.0 {
            self.bus.access(namespace, &readable.spec.registry_ref.name);
        }
    }

    /// A RoleBinding: itself, those that share a robot with it, and its registry's document.
    pub(super) fn binding(&self, binding: &Guarded<RoleBinding>) {
        let (namespace, name) = key(binding.meta());
        self.bus.binding(namespace, name);
        let Ok(readable) = &binding.0 else { return };
        let robots: Vec<&str> = robots(readable).collect();
        if !robots.is_empty() {
            let others = self.caches.bindings_in(namespace);
            for other in others.iter().filter(|other| self::robots(other).any(|robot| robots.contains(&robot))) {
                self.bus.binding(namespace, &other.name_any());
            }
        }
        if let Some(project) = self.caches.project(namespace, &readable.spec.project_ref.name) {
            self.bus.access(namespace, &project.spec.registry_ref.name);
        }
    }

    /// A ReplicationPolicy: itself, every registry that it may touch or may have touched, and every other policy: one
    /// that yielded to it may have its destination now, or the other way round.
    pub(super) fn policy(&self, policy: &Guarded<ReplicationPolicy>) {
        let (namespace, name) = key(policy.meta());
        self.bus.policy(namespace, name);
        for other in self.caches.policies_in(namespace).iter().filter(|other| other.name_any() != name) {
            self.bus.policy(namespace, &other.name_any());
        }
        for registry in self.caches.registries_in(namespace) {
            self.bus.registry(namespace, &registry.name_any());
            self.bus.edges(namespace, &registry.name_any());
        }
    }

    /// A GarbageCollection: itself.
    pub(super) fn collection(&self, collection: &Guarded<GarbageCollection>) {
        let (namespace, name) = key(collection.meta());
        self.bus.collection(namespace, name);
    }

    /// Addresses: whoever speaks to the registry's pods.
    pub(super) fn slice(&self, slice: &EndpointSlice) {
        let namespace = slice.namespace().unwrap_or_default();
        if let Some(registry) = slice.labels().get(LABEL_REGISTRY) {
            self.bus.access(&namespace, registry);
            self.bus.edges(&namespace, registry);
        }
    }

    /// A Deployment: its Registry, and those that wait for their turn to roll.
    pub(super) fn deployment(&self, deployment: &Deployment) {
        self.child(&deployment.metadata);
    }

    /// A Job: its GarbageCollection, and those that wait for the registry.
    pub(super) fn job(&self, job: &ObjectMeta) {
        let namespace = job.namespace.as_deref().unwrap_or_default();
        let owners = job.owner_references.iter().flatten();
        for owner in owners.filter(|owner| owner.kind == GarbageCollection::kind(&())) {
            self.bus.collection(namespace, &owner.name);
        }
        let Some(registry) = job.labels.as_ref().and_then(|labels| labels.get(LABEL_REGISTRY)) else { return };
        for collection in self.caches.collections_in(namespace) {
            if &collection.spec.registry_ref.name == registry {
                self.bus.collection(namespace, &collection.name_any());
            }
        }
    }

    /// Any other child: its Registry.
    pub(super) fn child(&self, meta: &ObjectMeta) {
        let registry = meta.labels.as_ref().and_then(|labels| labels.get(LABEL_REGISTRY));
        if let Some(registry) = registry {
            self.bus.registry(meta.namespace.as_deref().unwrap_or_default(), registry);
        }
    }

    fn whole_registry(&self, namespace: &str, name: &str) {
        self.bus.registry(namespace, name);
        self.bus.access(namespace, name);
        self.bus.edges(namespace, name);
    }

    fn replication(&self, namespace: &str) {
        for policy in self.caches.policies_in(namespace) {
            self.bus.policy(namespace, &policy.name_any());
        }
        if self.caches.policies_in(namespace).is_empty() {
            return;
        }
        for registry in self.caches.registries_in(namespace) {
            self.bus.registry(namespace, &registry.name_any());
            self.bus.edges(namespace, &registry.name_any());
        }
    }

    fn projects_and_bindings(&self, namespace: &str, projects: BTreeSet<String>) {
        for project in &projects {
            self.bus.project(namespace, project);
        }
        let bindings = self.caches.bindings_in(namespace);
        for binding in bindings.iter().filter(|binding| projects.contains(&binding.spec.project_ref.name)) {
            self.bus.binding(namespace, &binding.name_any());
        }
    }
}

fn robots(binding: &RoleBinding) -> impl Iterator<Item = &str> {
    binding.spec.subjects.iter().filter_map(|subject| subject.robot.as_ref()).map(|robot| robot.name.as_str())
}
