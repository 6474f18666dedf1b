//! A namespace of its own for each test, and operators that look at nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Client, Resource, ResourceExt};
use regatta::operator::lease::LeaseSettings;
use regatta::operator::metrics::Metrics;
use regatta::operator::{Health, OperatorError, Settings};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::layers::Control;
use super::{api_server, eventually, objects};

static COUNT: AtomicUsize = AtomicUsize::new(0);

/// A namespace and an administrator's client.
#[derive(Clone)]
pub struct World {
    pub client: Client,
    pub namespace: String,
}

/// An operator that runs until it is dropped.
pub struct Operator {
    task: JoinHandle<Result<(), OperatorError>>,
}

impl Operator {
    /// How it ended by itself.
    pub async fn ended(&mut self) -> Result<(), OperatorError> {
        (&mut self.task).await.expect("the operator does not panic")
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl World {
    /// A new namespace.
    pub async fn new(name: &str) -> Self {
        let client = api_server::client().await;
        let number = COUNT.fetch_add(1, Ordering::SeqCst);
        let namespace = format!("{name}-{number}");
        let mut object = Namespace::default();
        object.metadata.name = Some(namespace.clone());
        Api::all(client.clone()).create(&PostParams::default(), &object).await.expect("a namespace");
        Self { client, namespace }
    }

    /// The namespaced API of a type.
    pub fn api<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The API of one of the five kinds.
    pub fn kind(&self, kind: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &objects::resource(kind))
    }

    /// Makes an object of one of the five kinds.
    pub async fn create(&self, object: &DynamicObject) -> DynamicObject {
        self.try_create(object).await.unwrap_or_else(|error| panic!("{}: {error}", object.name_any()))
    }

    /// Tries to make one.
    pub async fn try_create(&self, object: &DynamicObject) -> Result<DynamicObject, kube::Error> {
        let kind = object.types.as_ref().expect("a kind").kind.clone();
        self.kind(&kind).create(&PostParams::default(), object).await
    }

    /// Changes an object by a merge patch.
    pub async fn patch(&self, kind: &str, name: &str, patch: Value) -> Result<DynamicObject, kube::Error> {
        self.kind(kind).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await
    }

    /// Deletes an object of one of the five kinds.
    pub async fn delete(&self, kind: &str, name: &str) {
        self.kind(kind).delete(name, &DeleteParams::default()).await.expect("it is there");
    }

    /// Settings of an operator for this namespace alone, with a Lease of their own.
    pub fn settings(&self, identity: &str) -> Settings {
        let lease = LeaseSettings {
            // Long, so that a busy machine costs no Lease; who has the same identity takes it at once.
            duration: Duration::from_secs(30),
            renew_deadline: Duration::from_secs(25),
            retry: Duration::from_millis(100),
            ..LeaseSettings::new(&self.namespace, "operator", identity)
        };
        Settings {
            cluster_name: Some("here".to_owned()),
            registry_image: Some("registry.example/regatta:1".to_owned()),
            namespace: Some(self.namespace.clone()),
            ..Settings::new(lease)
        }
    }

    /// An operator that nobody disturbs.
    pub async fn operator(&self) -> Operator {
        self.operator_with(&Control::counting(), self.settings("undisturbed")).await
    }

    /// An operator under control.
    pub async fn operator_with(&self, control: &Control, settings: Settings) -> Operator {
        Self::operator_as(control, settings, api_server::config().await)
    }

    /// An operator that is somebody in particular.
    pub fn operator_as(control: &Control, settings: Settings, config: kube::Config) -> Operator {
        let client = control.client(config);
        let control = control.clone();
        let task = tokio::spawn(async move {
            let run = regatta::operator::run(
                client,
                settings,
                Health::default(),
                Arc::new(Metrics::default()),
                std::future::pending(),
            );
            tokio::select! {
                result = run => {
                    println!("an operator ended: {result:?}");
                    result
                }
                () = control.ended() => Ok(()),
            }
        });
        Operator { task }
    }

    /// Waits until a condition of an object has this status and reason; hands back its message.
    pub async fn condition(&self, kind: &str, name: &str, condition: &str, status: &str, reason: &str) -> String {
        let api = self.kind(kind);
        eventually(&format!("{kind} {name} {condition}={status} {reason}"), || async {
            let object = api.get(name).await.map_err(|error| json!(error.to_string()))?;
            let generation = object.metadata.generation;
            let found = find_condition(&object, condition);
            match found {
                Some(found)
                    if found["status"] == status
                        && found["reason"] == reason
                        && object.data["status"]["observedGeneration"].as_i64() == generation =>
                {
                    Ok(found["message"].as_str().unwrap_or_default().to_owned())
                }
                _ => Err(object.data["status"].clone()),
            }
        })
        .await
    }

    /// Waits until a condition of an object has this status, whatever the reason.
    pub async fn holds(&self, kind: &str, name: &str, condition: &str, status: &str) {
        let api = self.kind(kind);
        eventually(&format!("{kind} {name} {condition}={status}"), || async {
            let object = api.get(name).await.map_err(|error| json!(error.to_string()))?;
            let generation = object.metadata.generation;
            let current = object.data["status"]["observedGeneration"].as_i64() == generation;
            let holds = find_condition(&object, condition).is_some_and(|found| found["status"] == status);
            if current && holds { Ok(()) } else { Err(object.data["status"].clone()) }
        })
        .await;
    }

    /// Waits until an object is Stalled; hands back the message.
    pub async fn stalled(&self, kind: &str, name: &str, reason: &str) -> String {
        self.condition(kind, name, "Stalled", "True", reason).await
    }

    /// Waits until an object is Ready.
    pub async fn ready(&self, kind: &str, name: &str) {
        self.condition(kind, name, "Ready", "True", "Succeeded").await;
    }

    /// Waits until there is an object of this name.
    pub async fn exists<K>(&self, name: &str) -> K
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned,
    {
        let api = self.api::<K>();
        eventually(&format!("{} {name} exists", K::kind(&())), || async {
            api.get_opt(name).await.map_err(|error| error.to_string())?.ok_or_else(|| "absent".to_owned())
        })
        .await
    }

    /// Says of a registry's Deployment that every pod runs as it wants them.
    pub async fn roll_out(&self, registry: &str) {
        let name = format!("{registry}-registry");
        let deployment: Deployment = self.exists(&name).await;
        let wanted = deployment.spec.and_then(|spec| spec.replicas).unwrap_or(1);
        let status = json!({ "status": {
            "observedGeneration": deployment.metadata.generation, "replicas": wanted, "updatedReplicas": wanted,
            "readyReplicas": wanted, "availableReplicas": wanted, "conditions": null,
        } });
        let api = self.api::<Deployment>();
        api.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await.expect("a status");
    }

    /// Asks for a look at an object now.
    pub async fn request(&self, kind: &str, name: &str, value: &str) {
        let annotation = json!({ "metadata": { "annotations": { "regatta.dev/requested-at": value } } });
        self.patch(kind, name, annotation).await.expect("annotated");
    }

    /// What the garbage collector would do: whatever belongs to an owner that is gone goes too.
    pub async fn collect_garbage(&self) {
        let owners = self.everything(&["Registry", "RoleBinding", "GarbageCollection"].map(objects::resource)).await;
        let living: Vec<&str> = owners.iter().filter_map(|owner| owner["metadata"]["uid"].as_str()).collect();
        let children = [
            ApiResource::erase::<Deployment>(&()),
            ApiResource::erase::<k8s_openapi::api::core::v1::Secret>(&()),
            ApiResource::erase::<k8s_openapi::api::core::v1::Service>(&()),
            ApiResource::erase::<k8s_openapi::api::core::v1::ServiceAccount>(&()),
            ApiResource::erase::<k8s_openapi::api::core::v1::PersistentVolumeClaim>(&()),
            ApiResource::erase::<k8s_openapi::api::policy::v1::PodDisruptionBudget>(&()),
            ApiResource::erase::<k8s_openapi::api::batch::v1::Job>(&()),
        ];
        for resource in children {
            let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
            for object in api.list(&kube::api::ListParams::default()).await.expect("a list").items {
                let owners = object.metadata.owner_references.clone().unwrap_or_default();
                if !owners.is_empty() && !owners.iter().any(|owner| living.contains(&owner.uid.as_str())) {
                    api.delete(&object.name_any(), &DeleteParams::background()).await.expect("deleted");
                }
            }
        }
    }

    /// Every object of these resources in the namespace, as JSON.
    pub async fn everything(&self, resources: &[ApiResource]) -> Vec<Value> {
        let mut all = vec![];
        for resource in resources {
            let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, resource);
            for mut object in api.list(&kube::api::ListParams::default()).await.expect("a list").items {
                object.types = Some(kube::api::TypeMeta {
                    api_version: resource.api_version.clone(),
                    kind: resource.kind.clone(),
                });
                all.push(serde_json::to_value(object).expect("JSON"));
            }
        }
        all
    }
}

/// A condition of an object.
pub fn find_condition<'a>(object: &'a DynamicObject, kind: &str) -> Option<&'a Value> {
    object.data["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}
