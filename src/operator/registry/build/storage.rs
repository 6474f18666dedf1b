//! The claim and the disruption budget.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::metadata;
use crate::operator::labels::{self, Component};
use crate::operator::registry::validate::{ManagedPlan, StoragePlan};

/// The claim that the operator makes. Only with `deletionPolicy: Delete` does it belong to the Registry.
pub(super) fn claim(plan: &ManagedPlan) -> Option<PersistentVolumeClaim> {
    let template = match &plan.storage {
        StoragePlan::Existing(_) => return None,
        StoragePlan::Template(template) => template,
    };
    let mut meta = metadata(plan, labels::registry_child(&plan.name), Component::Registry);
    if plan.retain {
        meta.owner_references = None;
    }
    let size = Quantity(template.resources.requests.storage.clone());
    Some(PersistentVolumeClaim {
        metadata: meta,
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(template.access_modes.clone()),
            storage_class_name: template.storage_class_name.clone(),
            volume_name: template.volume_name.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".to_owned(), size)])),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    })
}

/// A drain takes one pod at a time.
pub(super) fn budget(plan: &ManagedPlan) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: metadata(plan, labels::registry_child(&plan.name), Component::Registry),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(LabelSelector {
                match_labels: Some(labels::selector(&plan.name, Component::Registry)),
                ..LabelSelector::default()
            }),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }
}
