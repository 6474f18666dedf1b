//! Whether the cluster's CRDs are as new as this operator.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::Api;
use kube::{Client, CustomResourceExt, ResourceExt};

use crate::api::schema::SCHEMA_VERSION;
use crate::api::{ANNOTATION_SCHEMA_VERSION, GarbageCollection, Project, Registry, ReplicationPolicy, RoleBinding};

/// What is wrong with the cluster's CRDs, and what to run; nothing where nothing is.
pub(super) async fn outdated(client: &Client) -> Result<Option<String>, kube::Error> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let names = [
        Registry::crd_name(),
        Project::crd_name(),
        RoleBinding::crd_name(),
        ReplicationPolicy::crd_name(),
        GarbageCollection::crd_name(),
    ];
    for name in names {
        let version = api.get_opt(name).await?.map(|found| version_of(&found));
        let what = match version {
            None => "is missing".to_owned(),
            Some(version) if version < SCHEMA_VERSION => format!("has schema version {version}"),
            Some(_) => continue,
        };
        return Ok(Some(format!(
            "the custom resource definition {name} {what}, this operator needs {SCHEMA_VERSION}: run `regatta crds | \
             kubectl apply --server-side -f -`, or upgrade the chart with crds.enabled"
        )));
    }
    Ok(None)
}

fn version_of(definition: &CustomResourceDefinition) -> u32 {
    definition.annotations().get(ANNOTATION_SCHEMA_VERSION).and_then(|text| text.parse().ok()).unwrap_or_default()
}
