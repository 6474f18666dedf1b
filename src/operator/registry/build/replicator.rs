//! The replicator's Deployment: there while an event edge runs at this registry.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy};
use k8s_openapi::api::core::v1::{Container, ContainerPort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::metadata;
use super::pod::{self, Mount};
use crate::operator::labels::{self, Component};
use crate::operator::registry::validate::{HEALTH_PORT, METRICS_PORT, ManagedPlan};
use crate::operator::replication_policy::RemoteMount;

const INTERNAL_CA: &str = "/etc/regatta/internal";
const CREDENTIALS: &str = "/etc/regatta/credentials";
const REMOTES: &str = "/etc/regatta/remotes";

/// The replicator's Deployment. What it does is a document in its registry; only credentials are mounted.
pub fn deployment(plan: &ManagedPlan, image: &str, remotes: &[RemoteMount]) -> Deployment {
    let mounts = mounts(plan, remotes);
    Deployment {
        metadata: metadata(plan, labels::replicator_child(&plan.name), Component::Replicator),
        spec: Some(DeploymentSpec {
            replicas: Some(1),
            selector: LabelSelector {
                match_labels: Some(labels::selector(&plan.name, Component::Replicator)),
                ..LabelSelector::default()
            },
            // Two at once would move every blob twice.
            strategy: Some(DeploymentStrategy { type_: Some("Recreate".to_owned()), rolling_update: None }),
            template: pod::template(plan, Component::Replicator, container(plan, image), &mounts),
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}

fn container(plan: &ManagedPlan, image: &str) -> Container {
    let args = vec![
        "replicate".to_owned(),
        "--follow".to_owned(),
        format!("--internal-url={}", plan.internal_url()),
        format!("--internal-ca={INTERNAL_CA}/ca.crt"),
        format!("--credentials-dir={CREDENTIALS}"),
        format!("--remotes-dir={REMOTES}"),
        format!("--health-listen=0.0.0.0:{HEALTH_PORT}"),
        format!("--metrics-listen=0.0.0.0:{METRICS_PORT}"),
    ];
    let port = |name: &str, number| ContainerPort {
        name: Some(name.to_owned()),
        container_port: number,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    Container {
        ports: Some(vec![port("health", HEALTH_PORT), port("metrics", METRICS_PORT)]),
        liveness_probe: Some(pod::probe("/healthz", 10, 6)),
        readiness_probe: Some(pod::probe("/readyz", 5, 3)),
        ..pod::container("replicator", image, args)
    }
}

fn mounts(plan: &ManagedPlan, remotes: &[RemoteMount]) -> Vec<Mount> {
    let mut mounts = vec![
        // Never the keys themselves: who has them is the operator.
        Mount::some_keys("internal", &labels::keys_secret(&plan.name), INTERNAL_CA, &["ca.crt"], false),
        Mount::secret("credentials", &labels::replicator_child(&plan.name), CREDENTIALS),
    ];
    for remote in remotes {
        if let Some(secret) = &remote.credentials {
            let path = format!("{REMOTES}/{}/credentials", remote.name);
            let volume = format!("{}-credentials", remote.name);
            mounts.push(Mount::some_keys(&volume, secret, &path, &["username", "password"], true));
        }
        if let Some(secret) = &remote.authority {
            let path = format!("{REMOTES}/{}/ca", remote.name);
            let volume = format!("{}-ca", remote.name);
            mounts.push(Mount::some_keys(&volume, secret, &path, &["ca.crt"], true));
        }
    }
    mounts
}
