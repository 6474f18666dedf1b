//! The serving Deployment.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{Container, ContainerPort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::metadata;
use super::pod::{self, Mount};
use crate::api::AccessMode;
use crate::operator::labels::{self, Component};
use crate::operator::registry::validate::{HEALTH_PORT, INTERNAL_PORT, METRICS_PORT, ManagedPlan, SERVING_PORT};

/// Where the keys are mounted.
const KEYS: &str = "/etc/regatta/keys";
/// Where the certificate is mounted.
const TLS: &str = "/etc/regatta/tls";
/// Where the users are mounted.
const HTPASSWD: &str = "/etc/regatta/htpasswd";
/// Where replicators' credentials are mounted, a directory each.
const REPLICATORS: &str = "/etc/regatta/replicators";

/// How long a pod may take to go. Since 1.33 the namespace controller looks again at a namespace with pods in it only
/// after half of the longest grace of them: with ten minutes a namespace would take five to go.
const GRACE_SECONDS: i64 = 70;

/// Open requests may take what is left of it after the time in which load balancers learn that the pod is going.
const OPEN_REQUESTS: &str = "--grace-seconds=55";

/// The serving Deployment.
pub fn deployment(plan: &ManagedPlan, mode: AccessMode, image: &str) -> Deployment {
    let mounts = mounts(plan);
    let mut template = pod::template(plan, Component::Registry, container(plan, image), &mounts);
    if let Some(spec) = &mut template.spec {
        spec.termination_grace_period_seconds = Some(GRACE_SECONDS);
    }
    Deployment {
        metadata: metadata(plan, labels::registry_child(&plan.name), Component::Registry),
        spec: Some(DeploymentSpec {
            replicas: Some(plan.replicas),
            selector: LabelSelector {
                match_labels: Some(labels::selector(&plan.name, Component::Registry)),
                ..LabelSelector::default()
            },
            strategy: Some(strategy(mode)),
            template,
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}

fn strategy(mode: AccessMode) -> DeploymentStrategy {
    match mode {
        AccessMode::ReadWriteMany => DeploymentStrategy {
            type_: Some("RollingUpdate".to_owned()),
            rolling_update: Some(RollingUpdateDeployment {
                max_surge: Some(IntOrString::Int(1)),
                max_unavailable: Some(IntOrString::Int(0)),
            }),
        },
        // The volume cannot be mounted by a second node's pod while the first is there.
        AccessMode::ReadWriteOnce => DeploymentStrategy { type_: Some("Recreate".to_owned()), rolling_update: None },
    }
}

fn container(plan: &ManagedPlan, image: &str) -> Container {
    Container {
        ports: Some(vec![
            port("registry", SERVING_PORT),
            port("internal", INTERNAL_PORT),
            port("health", HEALTH_PORT),
            port("metrics", METRICS_PORT),
        ]),
        liveness_probe: Some(pod::probe("/healthz", 10, 6)),
        readiness_probe: Some(pod::probe("/readyz", 2, 2)),
        resources: pod::resources(&plan.resources),
        ..pod::container("registry", image, args(plan))
    }
}

fn port(name: &str, number: i32) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: number,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

fn args(plan: &ManagedPlan) -> Vec<String> {
    let mut args = vec![
        "registry".to_owned(),
        format!("--root={}", pod::DATA),
        format!("--listen=0.0.0.0:{SERVING_PORT}"),
        format!("--internal-listen=0.0.0.0:{INTERNAL_PORT}"),
        format!("--internal-tls-cert={KEYS}/tls.crt"),
        format!("--internal-tls-key={KEYS}/tls.key"),
        format!("--health-listen=0.0.0.0:{HEALTH_PORT}"),
        format!("--metrics-listen=0.0.0.0:{METRICS_PORT}"),
        format!("--keys-file={KEYS}/keys.json"),
        format!("--registry-uid={}", plan.uid),
        format!("--replicators-dir={REPLICATORS}"),
        // While load balancers learn that the pod is going, it still takes what they send.
        "--drain-seconds=10".to_owned(),
        OPEN_REQUESTS.to_owned(),
    ];
    args.extend(plan.urls.iter().map(|url| format!("--external-url={url}")));
    // Who asks at the internal port is sent to the internal port for a token.
    args.push(format!("--external-url={}", plan.internal_url()));
    if plan.tls.is_some() {
        args.push(format!("--tls-cert={TLS}/tls.crt"));
        args.push(format!("--tls-key={TLS}/tls.key"));
    }
    if plan.htpasswd.is_some() {
        args.push(format!("--htpasswd-file={HTPASSWD}/htpasswd"));
    }
    args.extend(plan.admins.iter().map(|admin| format!("--admin={admin}")));
    args
}

fn mounts(plan: &ManagedPlan) -> Vec<Mount> {
    let mut mounts = vec![
        Mount::data(&plan.claim()),
        Mount::some_keys("keys", &labels::keys_secret(&plan.name), KEYS, &["keys.json", "tls.crt", "tls.key"], false),
        Mount::secret("replicator", &labels::replicator_child(&plan.name), &format!("{REPLICATORS}/own")),
    ];
    if let Some(secret) = &plan.tls {
        mounts.push(Mount::secret("tls", secret, TLS));
    }
    if let Some(secret) = &plan.htpasswd {
        mounts.push(Mount::secret("htpasswd", secret, HTPASSWD));
    }
    for (place, secret) in plan.replicators.iter().enumerate() {
        // A replicator whose Secret is not there yet must not keep the registry from starting.
        let path = format!("{REPLICATORS}/{place}");
        let keys = &["username", "password"];
        mounts.push(Mount::some_keys(&format!("replicator-{place}"), secret, &path, keys, true));
    }
    mounts
}
