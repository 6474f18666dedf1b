//! What all pods have in common: the restricted Pod Security level, mounts of Secrets, resources.

use k8s_openapi::api::core::v1::{
    Capabilities, Container, HTTPGetAction, KeyToPath, LocalObjectReference, PersistentVolumeClaimVolumeSource,
    PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ResourceRequirements, SeccompProfile, SecretVolumeSource,
    SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::api::Resources;
use crate::operator::labels::{self, Component};
use crate::operator::registry::validate::ManagedPlan;

/// The user and group of every pod, and the owner of what lies on the volume.
const USER: i64 = 65532;

/// Where the volume is mounted.
pub const DATA: &str = "/data";

/// Readable for the pod's group only.
const SECRET_MODE: i32 = 0o440;

/// A volume and where it is mounted.
#[derive(Debug, Clone)]
pub struct Mount {
    /// The volume.
    pub volume: Volume,
    /// Its place in the container.
    pub mount: VolumeMount,
}

impl Mount {
    /// A whole Secret, so that a change of it reaches the pod: a mount with a subPath never follows.
    pub fn secret(volume: &str, secret: &str, path: &str) -> Self {
        Self::some_keys(volume, secret, path, &[], false)
    }

    /// Some keys of a Secret, which may be absent.
    pub fn some_keys(volume: &str, secret: &str, path: &str, keys: &[&str], optional: bool) -> Self {
        let item = |key: &&str| KeyToPath { key: (*key).to_owned(), path: (*key).to_owned(), mode: None };
        let source = SecretVolumeSource {
            secret_name: Some(secret.to_owned()),
            default_mode: Some(SECRET_MODE),
            items: (!keys.is_empty()).then(|| keys.iter().map(item).collect()),
            optional: optional.then_some(true),
        };
        let volume_of = Volume { name: volume.to_owned(), secret: Some(source), ..Volume::default() };
        Self { volume: volume_of, mount: mount(volume, path, true) }
    }

    /// The claim with the data.
    pub fn data(claim: &str) -> Self {
        let source = PersistentVolumeClaimVolumeSource { claim_name: claim.to_owned(), read_only: None };
        let volume = Volume { name: "data".to_owned(), persistent_volume_claim: Some(source), ..Volume::default() };
        Self { volume, mount: mount("data", DATA, false) }
    }
}

fn mount(volume: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: volume.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}

/// A pod of one container. Nothing of the operator's version is in it, so that an upgrade rolls nothing.
pub fn template(plan: &ManagedPlan, component: Component, container: Container, mounts: &[Mount]) -> PodTemplateSpec {
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels::labels(&plan.name, &plan.uid, component)),
            ..ObjectMeta::default()
        }),
        spec: Some(spec(plan, container, mounts)),
    }
}

/// The spec of a pod of one container.
pub fn spec(plan: &ManagedPlan, container: Container, mounts: &[Mount]) -> PodSpec {
    PodSpec {
        service_account_name: Some(labels::registry_child(&plan.name)),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            fs_group: Some(USER),
            // A change of the whole volume's owner at each start takes hours on a large one.
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), ..SeccompProfile::default() }),
            ..PodSecurityContext::default()
        }),
        containers: vec![Container {
            volume_mounts: Some(mounts.iter().map(|mount| mount.mount.clone()).collect()),
            ..container
        }],
        volumes: Some(mounts.iter().map(|mount| mount.volume.clone()).collect()),
        image_pull_secrets: None::<Vec<LocalObjectReference>>,
        ..PodSpec::default()
    }
}

/// A container of the registry's image.
pub fn container(name: &str, image: &str, args: Vec<String>) -> Container {
    Container {
        name: name.to_owned(),
        image: Some(image.to_owned()),
        args: Some(args),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}

/// A probe of the health port.
pub fn probe(path: &str, period: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("health".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        failure_threshold: Some(failures),
        timeout_seconds: Some(5),
        ..Probe::default()
    }
}

/// The container's resources.
pub fn resources(resources: &Resources) -> Option<ResourceRequirements> {
    let filled = |map: &std::collections::BTreeMap<_, _>| (!map.is_empty()).then(|| map.clone());
    let (requests, limits) = (filled(&resources.requests), filled(&resources.limits));
    (requests.is_some() || limits.is_some()).then(|| ResourceRequirements {
        requests,
        limits,
        ..ResourceRequirements::default()
    })
}
