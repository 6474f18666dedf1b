//! A namespace for a test, and what is usually in it.

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine as _;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim, Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::{Client, Resource};
use regatta::auth::htpasswd::hash;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::client::Remote;
use super::cluster::{Cluster, Role, SYSTEM, namespace};
use super::process::{kubectl, succeed, succeed_with_input};
use super::waiting::{when, within};

/// How soon a registry serves once it is applied.
pub const SERVES: Duration = Duration::from_mins(1);

/// The five kinds, for kubectl.
pub const KINDS: &str = "registries.regatta.dev,registryprojects.regatta.dev,registryrolebindings.regatta.dev,\
    replicationpolicies.regatta.dev,garbagecollections.regatta.dev";

/// Users of every registry here. Everybody's password is `password-of-<name>`; `admin` is the administrator.
const USERS: [&str; 3] = ["admin", "dora", "gustav"];

pub fn password(user: &str) -> String {
    format!("password-of-{user}")
}

/// A namespace of its own for a test, which goes with it.
pub struct Stage {
    pub cluster: &'static Cluster,
    pub namespace: String,
    pub client: Client,
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.describe();
        }
        let mut delete = kubectl(&self.cluster.kubeconfig);
        let _ = delete.args(["delete", "namespace", &self.namespace, "--ignore-not-found", "--wait=false"]).output();
    }
}

impl Stage {
    pub async fn new(role: Role, name: &str) -> Self {
        let cluster = tokio::task::spawn_blocking(move || role.cluster()).await.unwrap();
        let client = cluster.client().await;
        let stage = Self { cluster, namespace: name.to_owned(), client };
        let namespaces: Api<Namespace> = Api::all(stage.client.clone());
        let apply = PatchParams::apply("test").force();
        namespaces.patch(name, &apply, &Patch::Apply(namespace(name))).await.unwrap();
        stage.apply(&users());
        stage
    }

    /// `kubectl` in this namespace.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        succeed(kubectl(&self.cluster.kubeconfig).args(["--namespace", &self.namespace]).args(arguments))
    }

    /// Applies a manifest, as people do.
    pub fn apply(&self, manifest: &Value) {
        self.apply_text(&manifest.to_string());
    }

    /// Applies manifests in YAML.
    pub fn apply_text(&self, manifests: &str) {
        let mut apply = kubectl(&self.cluster.kubeconfig);
        apply.args(["--namespace", &self.namespace, "apply", "--server-side", "-f", "-"]);
        succeed_with_input(&mut apply, manifests);
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// One object.
    pub async fn get<K>(&self, name: &str) -> K
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        self.api().get(name).await.unwrap()
    }

    /// An object of one of the five kinds, as JSON: what kubectl shows.
    pub async fn object(&self, plural: &str, name: &str) -> Value {
        let path = format!("/apis/regatta.dev/v1alpha1/namespaces/{}/{plural}/{name}", self.namespace);
        let request = http::Request::get(path).body(vec![]).unwrap();
        self.client.request(request).await.unwrap_or_default()
    }

    /// Waits until a condition of an object, which is about its present spec, has this status.
    pub async fn condition(&self, promise: Duration, plural: &str, name: &str, condition: &str, status: &str) {
        within(promise, &format!("{plural}/{name} is {condition}={status}"), async || {
            let object = self.object(plural, name).await;
            let current = object["status"]["observedGeneration"] == object["metadata"]["generation"];
            let found = condition_of(&object, condition);
            when(current && found.is_some_and(|found| found.status == status), &object["status"])
        })
        .await;
    }

    /// Waits until a registry is ready and its access document in force.
    pub async fn serving(&self, registry: &str) {
        self.condition(SERVES, "registries", registry, "Ready", "True").await;
        self.condition(SERVES, "registries", registry, "AccessInForce", "True").await;
    }

    /// The same, and until its NodePort leads to it: that is kube-proxy's to see to, a second later or so.
    pub async fn serving_at(&self, registry: &str, port: u16) {
        self.serving(registry).await;
        let remote = self.remote(port, "admin");
        within(Duration::from_secs(10), &format!("{registry} answers at {}", remote.url), async || {
            let answer = remote.request(reqwest::Method::GET, "/v2/").send().await;
            let status = answer.map_err(|error| format!("{error:?}"))?.status();
            when(status.is_success(), status)
        })
        .await;
    }

    /// Pods by a selector.
    pub async fn pods(&self, selector: &str) -> Vec<Pod> {
        self.api::<Pod>().list(&ListParams::default().labels(selector)).await.unwrap().items
    }

    /// The serving pods of a registry.
    pub async fn registry_pods(&self, registry: &str) -> Vec<Pod> {
        self.pods(&format!("regatta.dev/registry={registry},app.kubernetes.io/component=registry")).await
    }

    /// Where the data of a registry is on this machine.
    pub async fn data(&self, registry: &str) -> PathBuf {
        self.cluster.data_of(&self.get::<PersistentVolumeClaim>(&format!("{registry}-registry")).await)
    }

    /// The registry at a NodePort, as this user.
    pub fn remote(&self, port: u16, user: &str) -> Remote {
        Remote::new(format!("http://{}:{port}", self.cluster.address), user, &password(user))
    }

    /// The robot's user and password in a pull secret.
    pub async fn robot(&self, secret: &str) -> (String, String) {
        let secret: Secret = self.get(secret).await;
        let config: Value = serde_json::from_slice(&secret.data.unwrap()[".dockerconfigjson"].0).unwrap();
        let login = config["auths"].as_object().unwrap().values().next().unwrap();
        let both = base64::engine::general_purpose::STANDARD.decode(login["auth"].as_str().unwrap()).unwrap();
        let both = String::from_utf8(both).unwrap();
        let (user, password) = both.split_once(':').unwrap();
        (user.to_owned(), password.to_owned())
    }

    /// Asks for a run, and waits for its end; what the status says of it.
    pub async fn collect(&self, promise: Duration, collection: &str, request: &str) -> Value {
        let annotation = format!("regatta.dev/requested-at={request}");
        self.kubectl(&["annotate", "--overwrite", &format!("garbagecollection/{collection}"), &annotation]);
        let ended = within(promise, &format!("the collection {collection} has run"), async || {
            let status = self.object("garbagecollections", collection).await["status"].take();
            when(status["lastHandledRequest"] == request, &status).map(|()| status)
        })
        .await;
        ended["lastRun"].clone()
    }

    /// What a person would look at first.
    fn describe(&self) {
        let in_namespace = |arguments: &[&str]| {
            let mut command = kubectl(&self.cluster.kubeconfig);
            let output = command.args(["--namespace", &self.namespace]).args(arguments).output();
            output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
        };
        println!("=== {} in {}", self.namespace, self.cluster.name);
        println!("{}", in_namespace(&["get", KINDS, "-o", "wide"]));
        println!("{}", in_namespace(&["get", "pods,deployments,jobs,pvc", "-o", "wide"]));
        println!("{}", in_namespace(&["get", "events", "--sort-by=.lastTimestamp"]));
        let operator = ["--namespace", SYSTEM, "logs", "--selector=app.kubernetes.io/name=regatta", "--tail=40"];
        println!("{}", in_namespace(&operator));
    }
}

/// A condition of an object.
pub fn condition_of(object: &Value, kind: &str) -> Option<Condition> {
    let conditions: Vec<Condition> = serde_json::from_value(object["status"]["conditions"].clone()).ok()?;
    conditions.into_iter().find(|condition| condition.type_ == kind)
}

/// The Secret with everybody's password.
fn users() -> Value {
    static LINES: OnceLock<String> = OnceLock::new();
    let lines = LINES.get_or_init(|| USERS.map(|user| hash(user, &password(user)).unwrap()).join("\n"));
    json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "users" }, "stringData": { "htpasswd": lines } })
}

/// A Registry whose NodePort is this; `more` is merged into `spec.managed`.
pub fn registry(stage: &Stage, name: &str, port: u16, more: &Value) -> Value {
    let mut managed = json!({
        "replicas": 2,
        "storage": { "claimTemplate": {
            "accessModes": ["ReadWriteMany"], "resources": { "requests": { "storage": "1Gi" } },
        } },
        "expose": {
            "service": { "type": "NodePort", "nodePort": port },
            "externalURL": format!("http://{}:{port}", stage.cluster.address),
        },
        "auth": { "htpasswdSecretRef": { "name": "users" }, "admins": ["admin"] },
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        managed[key] = value.clone();
    }
    object("Registry", name, &json!({ "managed": managed }))
}

/// The project `shop` of a registry.
pub fn project(registry: &str) -> Value {
    object("Project", "shop", &json!({ "registryRef": { "name": registry }, "name": "shop" }))
}

/// Gustav and the robot `puller`, whose pull secret is `pull`, may pull.
pub fn guests() -> Value {
    let robot = json!({ "robot": { "name": "puller", "secret": { "name": "pull" } } });
    let subjects = json!([{ "user": { "name": "gustav" } }, robot]);
    object("RoleBinding", "guests", &json!({ "projectRef": { "name": "shop" }, "role": "guest", "subjects": subjects }))
}

/// A collection that spares nothing.
pub fn collection(registry: &str) -> Value {
    let spec = json!({
        "registryRef": { "name": registry }, "mode": "ReadOnly", "untagged": true,
        "gracePeriod": "0s", "undeleteWindow": "0s",
    });
    object("GarbageCollection", "tidy", &spec)
}

/// What is pushed to one registry goes to the other.
pub fn replication(source: &str, destination: &str) -> Value {
    let topology = json!({ "fanOut": { "source": { "name": source }, "destinations": [{ "name": destination }] } });
    object("ReplicationPolicy", "follow", &json!({ "topology": topology, "trigger": { "event": {} } }))
}

/// An object of one of the five kinds.
pub fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({ "apiVersion": "regatta.dev/v1alpha1", "kind": kind, "metadata": { "name": name }, "spec": spec })
}
