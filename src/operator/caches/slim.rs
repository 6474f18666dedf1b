//! What is not kept of objects, because nobody reads it: the operator is to be small beside ten thousand of them. Pure.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::Resource;

/// Who set which field, and what was applied last, are often half of an object and mean nothing to us.
pub(super) fn any<K: Resource>(object: &mut K) {
    let meta = object.meta_mut();
    meta.managed_fields = None;
    if let Some(annotations) = &mut meta.annotations {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
}

/// Of the pods only the image counts; what a Deployment is to be like is compared with the API server's own.
pub(super) fn deployment(deployment: &mut Deployment) {
    any(deployment);
    let Some(spec) = &mut deployment.spec else { return };
    let pod = std::mem::take(&mut spec.template).spec.unwrap_or_default();
    let containers = pod.containers.into_iter();
    let containers = containers.map(|Container { name, image, .. }| Container { name, image, ..Container::default() });
    spec.template = PodTemplateSpec {
        metadata: None,
        spec: Some(PodSpec { containers: containers.collect(), ..PodSpec::default() }),
    };
}

/// Addresses, and whether they serve.
pub(super) fn slice(slice: &mut EndpointSlice) {
    any(slice);
    for endpoint in &mut slice.endpoints {
        let Endpoint { addresses, conditions, .. } = std::mem::take(endpoint);
        *endpoint = Endpoint { addresses, conditions, ..Endpoint::default() };
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn of_a_deployment_its_state_and_its_image_are_kept() {
        let pod = json!({
            "containers": [{ "name": "registry", "image": "i:1", "args": ["registry"], "env": [{ "name": "A" }] }],
            "volumes": [{ "name": "data" }],
        });
        let mut object: Deployment = serde_json::from_value(json!({
            "metadata": { "name": "d", "generation": 2, "managedFields": [{}], "labels": { "a": "b" }, "annotations": {
                "kubectl.kubernetes.io/last-applied-configuration": "{}", "mine": "1",
            } },
            "spec": { "replicas": 3, "selector": {}, "template": { "metadata": { "labels": { "a": "b" } }, "spec": pod } },
            "status": { "observedGeneration": 2, "readyReplicas": 3 },
        }))
        .unwrap();
        deployment(&mut object);
        let left: Value = serde_json::to_value(&object).unwrap();
        assert_eq!(
            left["metadata"],
            json!({ "name": "d", "generation": 2, "labels": { "a": "b" }, "annotations": { "mine": "1" } })
        );
        assert_eq!(
            left["spec"]["template"],
            json!({ "spec": { "containers": [{ "name": "registry", "image": "i:1" }] } })
        );
        assert_eq!((&left["spec"]["replicas"], &left["status"]["readyReplicas"]), (&json!(3), &json!(3)));
    }

    #[test]
    fn of_a_slice_addresses_ports_and_conditions_are_kept() {
        let mut object: EndpointSlice = serde_json::from_value(json!({
            "addressType": "IPv4", "ports": [{ "name": "internal", "port": 5443 }],
            "endpoints": [{
                "addresses": ["10.0.0.1"], "conditions": { "serving": true }, "nodeName": "n", "zone": "z",
                "targetRef": { "kind": "Pod", "name": "p" },
            }],
        }))
        .unwrap();
        slice(&mut object);
        let left = serde_json::to_value(&object).unwrap();
        assert_eq!(left["endpoints"], json!([{ "addresses": ["10.0.0.1"], "conditions": { "serving": true } }]));
        assert_eq!(left["ports"], json!([{ "name": "internal", "port": 5443 }]));
    }
}
