//! build: the children of a managed Registry. Pure.

pub mod deployment;
pub mod keys;
pub mod pod;
pub mod replicator;
mod services;
mod storage;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::validate::{ManagedPlan, ServicePlan};
use crate::api::{AccessMode, Registry};
use crate::operator::labels::{self, Component};
use crate::operator::replication_policy::RemoteMount;

/// Everything that a managed Registry consists of, its Secrets aside: those are made once, with random content.
#[derive(Debug, Clone)]
pub struct Children {
    /// The claim, where the operator makes it.
    pub claim: Option<PersistentVolumeClaim>,
    /// The pods' identity: without any right, and its token is not mounted.
    pub account: ServiceAccount,
    /// The Service in the cluster, which the internal certificate is for.
    pub service: Service,
    /// The Service for clients from outside.
    pub external: Option<Service>,
    /// The serving pods.
    pub deployment: Deployment,
    /// Where there is more than one pod.
    pub budget: Option<PodDisruptionBudget>,
    /// Where an event edge runs here.
    pub replicator: Option<Deployment>,
}

/// The children.
pub fn children(plan: &ManagedPlan, mode: AccessMode, image: &str, remotes: &[RemoteMount]) -> Children {
    Children {
        claim: storage::claim(plan),
        account: account(plan),
        service: services::in_cluster(plan),
        external: (plan.service != ServicePlan::InCluster).then(|| services::external(plan)),
        deployment: deployment::deployment(plan, mode, image),
        budget: (mode == AccessMode::ReadWriteMany && plan.replicas > 1).then(|| storage::budget(plan)),
        replicator: (!remotes.is_empty()).then(|| replicator::deployment(plan, image, remotes)),
    }
}

/// Metadata of a child that goes with its Registry.
pub fn metadata(plan: &ManagedPlan, name: String, component: Component) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(plan.namespace.clone()),
        labels: Some(labels::labels(&plan.name, &plan.uid, component)),
        owner_references: Some(vec![labels::owner_reference::<Registry>(&plan.name, &plan.uid)]),
        ..ObjectMeta::default()
    }
}

fn account(plan: &ManagedPlan) -> ServiceAccount {
    ServiceAccount {
        metadata: metadata(plan, labels::registry_child(&plan.name), Component::Registry),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
