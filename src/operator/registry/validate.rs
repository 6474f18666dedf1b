//! validate: from what a Registry's spec says to what is to be done. Pure.

pub(super) mod quantity;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;

use crate::api::conditions::reason;
use crate::api::{
    AccessMode, ClaimTemplate, DeletionPolicy, External, Managed, Registry, Resources, ServiceExposure, ServiceType,
};
use crate::operator::failure::Failure;
use crate::operator::labels;
use crate::operator::settings::Settings;

/// The port that clients are served on.
pub const SERVING_PORT: i32 = 5000;
/// The port of the admin API, always TLS.
pub const INTERNAL_PORT: i32 = 5443;
/// The port of `/metrics`.
pub const METRICS_PORT: i32 = 9090;
/// The port of `/healthz` and `/readyz`.
pub const HEALTH_PORT: i32 = 8081;

/// What is to be done about a Registry.
#[derive(Debug, Clone, PartialEq)]
pub enum Plan {
    /// Another cluster's operator looks after it.
    Delegated(ExternalPlan),
    /// It runs elsewhere.
    External(ExternalPlan),
    /// It is deployed here.
    Managed(Box<ManagedPlan>),
}

/// A registry that is only reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalPlan {
    /// Where.
    pub url: String,
    /// Whose it is, where it has a home.
    pub home: Option<String>,
    /// The Secret with user name and password.
    pub credentials: Option<String>,
    /// The Secret with the certificates to trust.
    pub authority: Option<String>,
    /// Plain HTTP, or certificates that do not verify.
    pub insecure: bool,
    /// `spec.suspend`
    pub suspend: bool,
}

/// A registry that is deployed.
#[derive(Debug, Clone, PartialEq)]
pub struct ManagedPlan {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Pods.
    pub replicas: i32,
    /// The image that the spec names.
    pub image: Option<String>,
    /// The operator's default image.
    pub default_image: Option<String>,
    /// The container's resources.
    pub resources: Resources,
    /// Where the data is kept.
    pub storage: StoragePlan,
    /// Whether the operator's own claim stays when the Registry is deleted.
    pub retain: bool,
    /// How it is reached from outside the cluster.
    pub service: ServicePlan,
    /// URLs that clients use; the first is the one that is shown.
    pub urls: Vec<String>,
    /// The Secret with the certificate.
    pub tls: Option<String>,
    /// The Secret with the users.
    pub htpasswd: Option<String>,
    /// Users who may do everything.
    pub admins: Vec<String>,
    /// Secrets with replicators' credentials.
    pub replicators: Vec<String>,
    /// `spec.suspend`
    pub suspend: bool,
}

/// Where the data is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoragePlan {
    /// In a claim that is there.
    Existing(String),
    /// In a claim that the operator makes.
    Template(ClaimTemplate),
}

/// How a registry is reached from outside the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServicePlan {
    /// Not by a Service.
    InCluster,
    /// By a port on every node.
    NodePort(Option<i32>),
    /// By a load balancer.
    LoadBalancer(Option<i32>),
}

impl ManagedPlan {
    /// The claim's name.
    pub fn claim(&self) -> String {
        match &self.storage {
            StoragePlan::Existing(name) => name.clone(),
            StoragePlan::Template(_) => labels::registry_child(&self.name),
        }
    }

    /// Where operator and replicator reach it in the cluster.
    pub fn internal_url(&self) -> String {
        format!("https://{}:{INTERNAL_PORT}", labels::server_name(&self.name, &self.namespace))
    }
}

/// Whether this operator manages the Registry.
pub fn is_managed_here(registry: &Registry, settings: &Settings) -> bool {
    registry.spec.managed.is_some() && is_home(registry, settings)
}

/// Whether the Registry has no home, or this cluster is it.
pub fn is_home(registry: &Registry, settings: &Settings) -> bool {
    registry.spec.home_cluster.is_none() || registry.spec.home_cluster == settings.cluster_name
}

/// What is to be done about a Registry.
pub fn plan(registry: &Registry, settings: &Settings) -> Result<Plan, Failure> {
    let spec = &registry.spec;
    let home = spec.home_cluster.as_deref();
    if !is_home(registry, settings) {
        let external = spec.external.as_ref().ok_or_else(|| {
            Failure::invalid(
                "spec.external is missing: spec.homeCluster is another cluster, so set where it is reached",
            )
        })?;
        return Ok(Plan::Delegated(external_plan(external, home, spec.suspend)));
    }
    match (&spec.managed, &spec.external) {
        (Some(managed), _) => Ok(Plan::Managed(Box::new(managed_plan(registry, managed, settings)?))),
        (None, Some(external)) => Ok(Plan::External(external_plan(external, home, spec.suspend))),
        (None, None) => Err(Failure::invalid("set spec.managed or spec.external")),
    }
}

fn external_plan(external: &External, home: Option<&str>, suspend: bool) -> ExternalPlan {
    ExternalPlan {
        url: external.url.trim_end_matches('/').to_owned(),
        home: home.map(str::to_owned),
        credentials: external.credentials_secret_ref.as_ref().map(|reference| reference.name.clone()),
        authority: external.ca_secret_ref.as_ref().map(|reference| reference.name.clone()),
        insecure: external.insecure,
        suspend,
    }
}

fn managed_plan(registry: &Registry, managed: &Managed, settings: &Settings) -> Result<ManagedPlan, Failure> {
    let (namespace, name) = (registry.namespace().unwrap_or_default(), registry.name_any());
    let auth = managed.auth.clone().unwrap_or_default();
    let exposure = managed.expose.as_ref().and_then(|expose| expose.service.as_ref());
    Ok(ManagedPlan {
        urls: urls(registry, managed, &namespace, &name),
        uid: registry.uid().unwrap_or_default(),
        replicas: managed.replicas,
        image: managed.image.clone(),
        default_image: settings.registry_image.clone(),
        resources: resources(managed)?,
        storage: storage(managed)?,
        retain: registry.spec.deletion_policy == DeletionPolicy::Retain,
        service: exposure.map_or(ServicePlan::InCluster, service),
        tls: managed.tls.as_ref().map(|tls| tls.secret_ref.name.clone()),
        htpasswd: auth.htpasswd_secret_ref.map(|reference| reference.name),
        admins: auth.admins,
        replicators: auth.replicators.into_iter().map(|replicator| replicator.secret_ref.name).collect(),
        suspend: registry.spec.suspend,
        namespace,
        name,
    })
}

/// The API server answers with an error of its own, and none of the spec's, to a child with such a quantity.
fn resources(managed: &Managed) -> Result<Resources, Failure> {
    let resources = managed.resources.clone().unwrap_or_default();
    for (field, map) in [("requests", &resources.requests), ("limits", &resources.limits)] {
        if let Some((name, value)) = map.iter().find(|(_, value)| !quantity::is_amount(&value.0)) {
            let message = format!(
                "spec.managed.resources.{field}.{name} is {:?}, which is no quantity: write one such as 500m or 512Mi",
                value.0
            );
            return Err(Failure::invalid(message));
        }
    }
    Ok(resources)
}

fn storage(managed: &Managed) -> Result<StoragePlan, Failure> {
    match (&managed.storage.existing_claim, &managed.storage.claim_template) {
        (Some(claim), None) => Ok(StoragePlan::Existing(claim.name.clone())),
        (None, Some(template)) => Ok(StoragePlan::Template(template.clone())),
        (Some(_), Some(_)) | (None, None) => Err(Failure::invalid(
            "set exactly one of spec.managed.storage.existingClaim and spec.managed.storage.claimTemplate",
        )),
    }
}

fn service(exposure: &ServiceExposure) -> ServicePlan {
    match exposure.service_type {
        ServiceType::ClusterIP => ServicePlan::InCluster,
        ServiceType::NodePort => ServicePlan::NodePort(exposure.node_port),
        ServiceType::LoadBalancer => ServicePlan::LoadBalancer(exposure.node_port),
    }
}

/// `expose.externalURL`, `external.url`, and the Service's name in the cluster.
fn urls(registry: &Registry, managed: &Managed, namespace: &str, name: &str) -> Vec<String> {
    let scheme = if managed.tls.is_some() { "https" } else { "http" };
    let in_cluster = format!("{scheme}://{}:{SERVING_PORT}", labels::server_name(name, namespace));
    let exposed = managed.expose.as_ref().and_then(|expose| expose.external_url.clone());
    let external = registry.spec.external.as_ref().map(|external| external.url.clone());
    let mut urls: Vec<String> = vec![];
    for url in [exposed, external, Some(in_cluster)].into_iter().flatten() {
        let url = url.trim_end_matches('/').to_owned();
        if !urls.contains(&url) {
            urls.push(url);
        }
    }
    urls
}

/// How pods are replaced, from what the volume allows. The claim is given where it exists already.
pub fn strategy(plan: &ManagedPlan, claim: Option<&PersistentVolumeClaim>) -> Result<AccessMode, Failure> {
    let (modes, field) = match &plan.storage {
        StoragePlan::Template(template) => {
            (template.access_modes.clone(), "spec.managed.storage.claimTemplate.accessModes")
        }
        StoragePlan::Existing(_) => {
            let spec = claim.and_then(|claim| claim.spec.as_ref());
            (
                spec.and_then(|spec| spec.access_modes.clone()).unwrap_or_default(),
                "the claim of spec.managed.storage.existingClaim",
            )
        }
    };
    let has = |mode: &str| modes.iter().any(|found| found == mode);
    if has("ReadWriteMany") {
        return Ok(AccessMode::ReadWriteMany);
    }
    if has("ReadWriteOnce") {
        return if plan.replicas > 1 { Err(too_many(plan, field)) } else { Ok(AccessMode::ReadWriteOnce) };
    }
    let message = format!(
        "{field} has neither ReadWriteMany nor ReadWriteOnce: a registry needs one of them (with ReadWriteOncePod no \
         collection could ever run, and a read-only volume takes no push)"
    );
    Err(Failure::stalled(reason::ACCESS_MODE, message))
}

fn too_many(plan: &ManagedPlan, field: &str) -> Failure {
    let message = format!(
        "spec.managed.replicas is {}, but {field} has ReadWriteOnce only: use a ReadWriteMany volume, or one replica",
        plan.replicas
    );
    Failure::stalled(reason::ACCESS_MODE, message)
}

/// The image that pods are to run by the spec and the operator's default.
pub fn wanted_image(plan: &ManagedPlan) -> Result<&str, Failure> {
    plan.image.as_deref().or(plan.default_image.as_deref()).ok_or_else(|| {
        let message =
            "spec.managed.image is missing, and the operator has no default: set it, or the chart's registry image";
        Failure::stalled(reason::IMAGE_UNKNOWN, message)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

    use super::*;
    use crate::api::{RegistrySpec, Storage};
    use crate::operator::lease::LeaseSettings;

    #[test]
    fn what_is_no_quantity_is_stalled_with_its_field() {
        let limits = BTreeMap::from([("memory".to_owned(), Quantity("lots".to_owned()))]);
        let managed = Managed {
            resources: Some(Resources { limits, ..Resources::default() }),
            storage: Storage { claim_template: Some(ClaimTemplate::default()), ..Storage::default() },
            ..Managed::default()
        };
        let registry = Registry::new("hq", RegistrySpec { managed: Some(managed), ..RegistrySpec::default() });
        let failure = plan(&registry, &Settings::new(LeaseSettings::new("ns", "lease", "me"))).unwrap_err();
        let Failure::Stalled { reason, message } = failure else { panic!("{failure:?}") };
        assert_eq!(reason, reason::INVALID_SPEC);
        assert!(message.starts_with("spec.managed.resources.limits.memory is \"lots\""), "{message}");
    }
}
