//! A stand-in for controllers and kubelet: for each serving Deployment it runs a real registry with the keys of its
//! Secret, and writes EndpointSlices and Deployment status as a cluster would.

use std::collections::BTreeMap;
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Secret, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams};
use regatta::admin::KeySet;
use regatta::admin::client::{Client, Credentials};
use serde_json::{Value, json};
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
    pods: Mutex<BTreeMap<String, Running>>,
    volumes: Mutex<BTreeMap<String, Arc<TempDir>>>,
}

/// A registry's process.
struct Running {
    process: Child,
    port: u16,
    serving: u16,
    uid: String,
    keys: String,
    _files: TempDir,
}

impl Drop for Running {
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

    /// Whether a registry's pod runs.
    pub fn is_running(&self, registry: &str) -> bool {
        self.shared.pods.lock().unwrap().contains_key(registry)
    }

    /// Stops a registry as it is: it keeps its addresses and answers nobody.
    pub fn freeze(&self, registry: &str) {
        self.signal(registry, "-STOP");
    }

    /// Lets it go on.
    pub fn thaw(&self, registry: &str) {
        self.signal(registry, "-CONT");
    }

    fn signal(&self, registry: &str, signal: &str) {
        let pods = self.shared.pods.lock().unwrap();
        let process = pods.get(registry).expect("a running registry").process.id();
        let sent = Command::new("kill").args([signal, &process.to_string()]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// Where clients of a registry are served.
    pub fn serving(&self, registry: &str) -> String {
        let pods = self.shared.pods.lock().unwrap();
        format!("http://{}:{}", address(), pods.get(registry).expect("a running registry").serving)
    }

    /// Speaks to the internal port of a registry as its operator would, once it answers.
    pub async fn admin(&self, registry: &str) -> Client {
        super::eventually(&format!("the registry {registry} answers"), || async {
            let client = self.client(registry).await;
            client.access().await.map(|_| client.clone()).map_err(|error| format!("{error:?}"))
        })
        .await
    }

    async fn client(&self, registry: &str) -> Client {
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
        self.finish_jobs().await
    }

    /// Every Job succeeds at once, and its pod says what a collector would.
    async fn finish_jobs(&self) -> Result<(), kube::Error> {
        let (jobs, pods) = (self.world.api::<Job>(), self.world.api::<Pod>());
        for job in jobs.list(&ListParams::default()).await?.items {
            if job.status.as_ref().is_some_and(|status| status.completion_time.is_some()) {
                continue;
            }
            let name = job.name_any();
            let mut pod = json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": { "name": name, "labels": { "batch.kubernetes.io/job-name": name } },
                "spec": job.spec.as_ref().map(|spec| &spec.template.spec),
            });
            pod["spec"]["serviceAccountName"] = json!("default");
            pod["spec"]["serviceAccount"] = json!("default");
            self.default_account().await?;
            let params = PatchParams::apply("kubelet").force();
            pods.patch(&name, &params, &Patch::Apply(&pod)).await?;
            pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(terminated())).await?;
            jobs.patch_status(&name, &PatchParams::default(), &Patch::Merge(completed())).await?;
        }
        Ok(())
    }

    async fn default_account(&self) -> Result<(), kube::Error> {
        let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "default" } });
        let params = PatchParams::apply("kubelet").force();
        self.world.api::<ServiceAccount>().patch("default", &params, &Patch::Apply(account)).await.map(drop)
    }

    async fn run(&self, registry: &str, deployment: &Deployment) -> Result<(), kube::Error> {
        let uid = deployment.labels()["regatta.dev/registry-uid"].clone();
        let secret = self.world.api::<Secret>().get(&format!("{registry}-registry-keys")).await?;
        let keys = secret.uid().unwrap_or_default();
        // One that ended is started again: another test may have been quicker with one of its ports.
        let runs = |pod: &mut Running| matches!(pod.process.try_wait(), Ok(None));
        let same = |pod: &mut Running| pod.uid == uid && pod.keys == keys && runs(pod);
        if self.pods.lock().unwrap().get_mut(registry).is_some_and(same) {
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

/// What a pod's status has when its container ended well.
fn terminated() -> Value {
    let counts = json!({ "manifests": 1, "links": 2, "blobs": 3 });
    let summary = json!({
        "succeeded": true, "dryRun": false,
        "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:01Z",
        "scanned": counts, "condemned": counts, "rescued": counts, "purged": counts,
        "bytesFreed": 42, "errors": 0,
    });
    let terminated = json!({ "exitCode": 0, "message": summary.to_string() });
    let container = json!({
        "name": "collector", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": { "terminated": terminated },
    });
    json!({ "status": { "phase": "Succeeded", "containerStatuses": [container] } })
}

/// What a Job's status has when it is complete.
fn completed() -> Value {
    let now = jiff::Timestamp::now();
    let now = jiff::Timestamp::from_second(now.as_second()).expect("a time").to_string();
    let condition = |kind: &str| {
        json!({
            "type": kind, "status": "True", "reason": "CompletionsReached", "lastProbeTime": now, "lastTransitionTime": now,
        })
    };
    json!({ "status": {
        "startTime": now, "completionTime": now, "succeeded": 1,
        "conditions": [condition("SuccessCriteriaMet"), condition("Complete")],
    } })
}

fn start(root: &Path, secret: &Secret, uid: &str, keys: String) -> Running {
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
    Running { process, port, serving, uid: uid.to_owned(), keys, _files: files }
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
    let _ =
        Command::new("ip").args(["address", "add", &format!("{ip}/32"), "dev", "lo"]).stderr(Stdio::null()).status();
    ip
}

fn free_port() -> u16 {
    TcpListener::bind((address(), 0)).expect("a port").local_addr().expect("its number").port()
}
