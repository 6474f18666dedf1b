//! The Services of a registry.
//!
//! Two, because a node port or a load balancer opens every port of its Service, and the internal one is not for the
//! world.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::metadata;
use crate::operator::labels::{self, Component};
use crate::operator::registry::validate::{INTERNAL_PORT, ManagedPlan, SERVING_PORT, ServicePlan};

/// The name of the internal port in Services and EndpointSlices.
pub const INTERNAL: &str = "internal";

pub(super) fn in_cluster(plan: &ManagedPlan) -> Service {
    let ports = vec![port("registry", SERVING_PORT, None), port(INTERNAL, INTERNAL_PORT, None)];
    service(plan, labels::registry_child(&plan.name), "ClusterIP", ports)
}

pub(super) fn external(plan: &ManagedPlan) -> Service {
    let (kind, node_port) = match plan.service {
        ServicePlan::InCluster => ("ClusterIP", None),
        ServicePlan::NodePort(node_port) => ("NodePort", node_port),
        ServicePlan::LoadBalancer(node_port) => ("LoadBalancer", node_port),
    };
    let ports = vec![port("registry", SERVING_PORT, node_port)];
    service(plan, labels::external_service(&plan.name), kind, ports)
}

fn service(plan: &ManagedPlan, name: String, kind: &str, ports: Vec<ServicePort>) -> Service {
    Service {
        metadata: metadata(plan, name, Component::Registry),
        spec: Some(ServiceSpec {
            type_: Some(kind.to_owned()),
            selector: Some(labels::selector(&plan.name, Component::Registry)),
            ports: Some(ports),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

fn port(name: &str, number: i32, node_port: Option<i32>) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: number,
        target_port: Some(IntOrString::String(name.to_owned())),
        protocol: Some("TCP".to_owned()),
        node_port,
        ..ServicePort::default()
    }
}
