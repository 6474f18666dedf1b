//! A stand-in for controllers and kubelet: for each serving Deployment it runs a real registry with the keys of its
//! Secret, and writes EndpointSlices and Deployment status as a cluster would.

use std::collections::BTreeMap;
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams};
use regatta::admin::KeySet;
use regatta::admin::client::{Client, Credentials};
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::world::World;

/// Runs what Deployments ask for until it is dropped.
pub struct Kubelet {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    world: World,
    pods: Mutex<BTreeMap<String, Pod>>,
    volumes: Mutex<BTreeMap<String, Arc<TempDir>>>,
}

/// A registry's process.
struct Pod {
    process: Child,
    port: u16,
    serving: u16,
    uid: String,
    keys: String,
    _files: TempDir,
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Kubelet {
    /// Begins.
    pub fn start(world: &World) -> Self {
        let shared = Arc::new(Shared { world: world.clone(), pods: Mutex::default(), volumes: Mutex::default() });
        let task = tokio::spawn({
            let shared = Arc::clone(&shared);
            async move {
                loop {
                    if let Err(error) = shared.look().await {
                        println!("the stand-in kubelet: {error}");
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        });
        Self { shared, task }
    }

    /// Ends the pods of a registry; its volume stays.
    pub fn end(&self, registry: &str) {
        self.shared.pods.lock().unwrap().remove(registry);
    }

    /// Where clients of a registry are served.
    pub fn serving(&self, registry: &str) -> String {
        let pods = self.shared.pods.lock().unwrap();
        format!("http://{}:{}", address(), pods.get(registry).expect("a running registry").serving)
    }

    /// Speaks to the internal port of a registry as its operator would.
    pub async fn admin(&self, registry: &str) -> Client {
        let world = &self.shared.world;
        let secret: Secret = world.api::<Secret>().get(&format!("{registry}-registry-keys")).await.expect("the keys");
        let data = secret.data.expect("data");
        let keys: KeySet = serde_json::from_slice(&data["keys.json"].0).expect("keys");
        let (uid, port) = {
            let pods = self.shared.pods.lock().unwrap();
            let pod = pods.get(registry).expect("a running registry");
            (pod.uid.clone(), pod.port)
        };
        let name = format!("{registry}-registry.{}.svc", world.namespace);
        let credentials = Credentials::Operator { keys, registry_uid: uid };
        Client::pinned(&name, (address(), port).into(), &data["ca.crt"].0, credentials).expect("a client")
    }
}

impl Shared {
    async fn look(&self) -> Result<(), kube::Error> {
        let api = self.world.api::<Deployment>();
        for deployment in api.list(&ListParams::default()).await?.items {
            let labels = deployment.labels();
            let (Some(registry), Some(component)) =
                (labels.get("regatta.dev/registry"), labels.get("app.kubernetes.io/component"))
            else {
                continue;
            };
            if component == "registry" {
                self.run(registry, &deployment).await?;
            }
            self.report(&api, &deployment).await?;
        }
        Ok(())
    }

    async fn run(&self, registry: &str, deployment: &Deployment) -> Result<(), kube::Error> {
        let uid = deployment.labels()["regatta.dev/registry-uid"].clone();
        let secret = self.world.api::<Secret>().get(&format!("{registry}-registry-keys")).await?;
        let keys = secret.uid().unwrap_or_default();
        let same = |pod: &Pod| pod.uid == uid && pod.keys == keys;
        if self.pods.lock().unwrap().get(registry).is_some_and(same) {
            return Ok(());
        }
        let root = {
            let mut volumes = self.volumes.lock().unwrap();
            Arc::clone(volumes.entry(registry.to_owned()).or_insert_with(|| Arc::new(tempfile::tempdir().unwrap())))
        };
        self.pods.lock().unwrap().remove(registry);
        let pod = start(root.path(), &secret, &uid, keys);
        let port = pod.port;
        self.pods.lock().unwrap().insert(registry.to_owned(), pod);
        self.publish(registry, port).await
    }

    async fn publish(&self, registry: &str, port: u16) -> Result<(), kube::Error> {
        let name = format!("{registry}-registry-slice");
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": { "name": name, "labels": {
                "kubernetes.io/service-name": format!("{registry}-registry"),
                "regatta.dev/registry": registry,
            } },
            "addressType": "IPv4",
            "endpoints": [{ "addresses": [address()], "conditions": { "ready": true, "serving": true } }],
            "ports": [{ "name": "internal", "port": port, "protocol": "TCP" }],
        });
        let api = self.world.api::<EndpointSlice>();
        api.patch(&name, &PatchParams::apply("kubelet").force(), &Patch::Apply(slice)).await.map(drop)
    }

    async fn report(&self, api: &Api<Deployment>, deployment: &Deployment) -> Result<(), kube::Error> {
        let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        let generation = deployment.metadata.generation;
        if deployment.status.as_ref().is_some_and(|status| status.observed_generation == generation) {
            return Ok(());
        }
        let status = json!({ "status": {
            "observedGeneration": generation,
            "replicas": replicas,
            "updatedReplicas": replicas,
            "readyReplicas": replicas,
            "availableReplicas": replicas,
        } });
        api.patch_status(&deployment.name_any(), &PatchParams::default(), &Patch::Merge(status)).await.map(drop)
    }
}

fn start(root: &Path, secret: &Secret, uid: &str, keys: String) -> Pod {
    let files = tempfile::tempdir().expect("a directory");
    for (name, content) in secret.data.iter().flatten() {
        std::fs::write(files.path().join(name), &content.0).expect("a file");
    }
    let htpasswd = files.path().join("htpasswd");
    std::fs::write(&htpasswd, "").expect("a file");
    let (port, serving, health) = (free_port(), free_port(), free_port());
    let file = |name: &str| -> PathBuf { files.path().join(name) };
    let process = Command::new(env!("CARGO_BIN_EXE_regatta"))
        .arg("registry")
        .arg("--root")
        .arg(root)
        .arg(format!("--listen={}:{serving}", address()))
        .arg(format!("--internal-listen={}:{port}", address()))
        .arg("--internal-tls-cert")
        .arg(file("tls.crt"))
        .arg("--internal-tls-key")
        .arg(file("tls.key"))
        .arg("--keys-file")
        .arg(file("keys.json"))
        .arg(format!("--registry-uid={uid}"))
        .arg("--htpasswd-file")
        .arg(&htpasswd)
        .arg(format!("--health-listen=127.0.0.1:{health}"))
        .arg(format!("--metrics-listen=127.0.0.1:{}", free_port()))
        .env("REGATTA_LOG", "warn")
        .stdin(Stdio::null())
        .spawn()
        .expect("a registry");
    Pod { process, port, serving, uid: uid.to_owned(), keys, _files: files }
}

/// An address of this machine that is not loopback: EndpointSlices refuse those. Nothing is sent.
fn address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    let found = socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr()).map(|address| address.ip());
    found.ok().filter(|ip| !ip.is_loopback()).unwrap_or_else(given_address)
}

/// Without any network an address is put on the loopback interface.
fn given_address() -> IpAddr {
    let ip = IpAddr::from([10, 213, 255, 1]);
    let _ = Command::new("ip").args(["address", "add", &format!("{ip}/32"), "dev", "lo"]).stderr(Stdio::null()).status();
    ip
}

fn free_port() -> u16 {
    TcpListener::bind((address(), 0)).expect("a port").local_addr().expect("its number").port()
}
