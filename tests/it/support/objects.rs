//! Objects as people write them.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ApiResource, DynamicObject};
use regatta::api::{GarbageCollection, Project, Registry, ReplicationPolicy, RoleBinding};
use serde_json::{Value, json};

/// The resource of one of the five kinds.
pub fn resource(kind: &str) -> ApiResource {
    match kind {
        "Registry" => ApiResource::erase::<Registry>(&()),
        "Project" => ApiResource::erase::<Project>(&()),
        "RoleBinding" => ApiResource::erase::<RoleBinding>(&()),
        "ReplicationPolicy" => ApiResource::erase::<ReplicationPolicy>(&()),
        "GarbageCollection" => ApiResource::erase::<GarbageCollection>(&()),
        other => panic!("{other} is none of the five kinds"),
    }
}

/// An object of one of the five kinds.
pub fn of_kind(kind: &str, name: &str, spec: Value) -> DynamicObject {
    let mut object = DynamicObject::new(name, &resource(kind)).data(json!({ "spec": spec }));
    object.metadata.name = Some(name.to_owned());
    object
}

/// A managed Registry of one replica.
pub fn registry(name: &str) -> DynamicObject {
    of_kind(
        "Registry",
        name,
        json!({ "managed": { "storage": { "claimTemplate": {
            "accessModes": ["ReadWriteMany"],
            "resources": { "requests": { "storage": "1Gi" } },
        } } } }),
    )
}

/// A Registry that runs elsewhere.
pub fn external(name: &str) -> DynamicObject {
    of_kind("Registry", name, json!({ "external": { "url": format!("https://{name}.example") } }))
}

/// A Project.
pub fn project(name: &str, registry: &str, prefix: &str) -> DynamicObject {
    of_kind("Project", name, json!({ "registryRef": { "name": registry }, "name": prefix }))
}

/// A RoleBinding for a robot with a Secret of the same name.
pub fn robot(name: &str, project: &str) -> DynamicObject {
    let subjects = json!([{ "robot": { "name": name, "secret": { "name": name } } }]);
    of_kind(
        "RoleBinding",
        name,
        json!({ "projectRef": { "name": project }, "role": "developer", "subjects": subjects }),
    )
}

/// A Secret with text in it.
pub fn secret(name: &str, data: &[(&str, &str)]) -> Secret {
    let mut secret = Secret::default();
    secret.metadata.name = Some(name.to_owned());
    let data = data.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec())));
    secret.data = Some(data.collect());
    secret
}
