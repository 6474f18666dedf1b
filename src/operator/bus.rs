//! Who is to look again, and why: what the caches see is turned into requests to the loops.

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use kube::core::DeserializeGuard;
use kube::runtime::reflector::ObjectRef;

use crate::api::{GarbageCollection, Project, Registry, ReplicationPolicy, RoleBinding};

/// An object that may turn out not to be readable as its kind.
pub type Guarded<K> = DeserializeGuard<K>;

/// The loops' inputs.
#[derive(Debug, Clone)]
pub struct Bus {
    registries: UnboundedSender<ObjectRef<Guarded<Registry>>>,
    access: UnboundedSender<ObjectRef<Guarded<Registry>>>,
    edges: UnboundedSender<ObjectRef<Guarded<Registry>>>,
    projects: UnboundedSender<ObjectRef<Guarded<Project>>>,
    bindings: UnboundedSender<ObjectRef<Guarded<RoleBinding>>>,
    policies: UnboundedSender<ObjectRef<Guarded<ReplicationPolicy>>>,
    collections: UnboundedSender<ObjectRef<Guarded<GarbageCollection>>>,
    gone: UnboundedSender<String>,
}

/// The other ends.
#[derive(Debug)]
pub struct Queues {
    /// Registries whose children are to be looked at.
    pub registries: UnboundedReceiver<ObjectRef<Guarded<Registry>>>,
    /// Registries whose access document is to be looked at.
    pub access: UnboundedReceiver<ObjectRef<Guarded<Registry>>>,
    /// Registries whose edges are to be looked at.
    pub edges: UnboundedReceiver<ObjectRef<Guarded<Registry>>>,
    /// Projects.
    pub projects: UnboundedReceiver<ObjectRef<Guarded<Project>>>,
    /// Role bindings.
    pub bindings: UnboundedReceiver<ObjectRef<Guarded<RoleBinding>>>,
    /// Replication policies.
    pub policies: UnboundedReceiver<ObjectRef<Guarded<ReplicationPolicy>>>,
    /// Garbage collections.
    pub collections: UnboundedReceiver<ObjectRef<Guarded<GarbageCollection>>>,
    /// UIDs of objects that are gone.
    pub gone: UnboundedReceiver<String>,
}

/// A bus and its queues.
pub fn bus() -> (Bus, Queues) {
    let (registries, for_registries) = unbounded();
    let (access, for_access) = unbounded();
    let (edges, for_edges) = unbounded();
    let (projects, for_projects) = unbounded();
    let (bindings, for_bindings) = unbounded();
    let (policies, for_policies) = unbounded();
    let (collections, for_collections) = unbounded();
    let (gone, for_gone) = unbounded();
    let queues = Queues {
        registries: for_registries,
        access: for_access,
        edges: for_edges,
        projects: for_projects,
        bindings: for_bindings,
        policies: for_policies,
        collections: for_collections,
        gone: for_gone,
    };
    (Bus { registries, access, edges, projects, bindings, policies, collections, gone }, queues)
}

// A closed queue means that the operator is ending: there is nobody left to tell.
impl Bus {
    /// Look at this Registry's children.
    pub fn registry(&self, namespace: &str, name: &str) {
        let _ = self.registries.unbounded_send(ObjectRef::new(name).within(namespace));
    }

    /// Look at this Registry's access document.
    pub fn access(&self, namespace: &str, name: &str) {
        let _ = self.access.unbounded_send(ObjectRef::new(name).within(namespace));
    }

    /// Look at this Registry's edges.
    pub fn edges(&self, namespace: &str, name: &str) {
        let _ = self.edges.unbounded_send(ObjectRef::new(name).within(namespace));
    }

    /// Look at this Project.
    pub fn project(&self, namespace: &str, name: &str) {
        let _ = self.projects.unbounded_send(ObjectRef::new(name).within(namespace));
    }

    /// Look at this RoleBinding.
    pub fn binding(&self, namespace: &str, name: &str) {
        let _ = self.bindings.unbounded_send(ObjectRef::new(name).within(namespace));
    }

    /// Look at this ReplicationPolicy.
    pub fn policy(&self, namespace: &str, name: &str) {
        let _ = self.policies.unbounded_send(ObjectRef::new(name).within(namespace));
    }

    /// Look at this GarbageCollection.
    pub fn collection(&self, namespace: &str, name: &str) {
        let _ = self.collections.unbounded_send(ObjectRef::new(name).within(namespace));
    }

    /// The object of this UID is gone: nothing of it need be remembered.
    pub fn gone(&self, uid: String) {
        let _ = self.gone.unbounded_send(uid);
    }
}
