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
    /// Whether its address is known to the cluster.
    published: bool,
    _files: TempDir,
}

impl Running {
    fn runs(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }
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
    pub async fn freeze(&self, registry: &str) {
        self.signal(registry, "-STOP").await;
    }

    /// Lets it go on.
    pub async fn thaw(&self, registry: &str) {
        self.signal(registry, "-CONT").await;
    }

    async fn signal(&self, registry: &str, signal: &str) {
        self.of_running(registry, |pod| {
            let sent = Command::new("kill").args([signal, &pod.process.id().to_string()]).status().expect("kill runs");
            assert!(sent.success());
        })
        .await;
    }

    /// Where clients of a registry are served.
    pub async fn serving(&self, registry: &str) -> String {
        self.of_running(registry, |pod| format!("http://{}:{}", address(), pod.serving)).await
    }

    /// The directory that is a registry's volume.
    pub fn volume(&self, registry: &str) -> PathBuf {
        self.shared.volumes.lock().unwrap().get(registry).expect("a registry that has run").path().to_path_buf()
    }

    /// What is asked of a registry's process, as soon as there is one that has not ended: it is started again where it
    /// lost one of its ports.
    async fn of_running<T>(&self, registry: &str, ask: impl Fn(&mut Running) -> T) -> T {
        super::eventually(&format!("the registry {registry} runs"), || async {
            let mut pods = self.shared.pods.lock().unwrap();
            let Some(pod) = pods.get_mut(registry) else { return Err("it was not started yet") };
            if pod.runs() { Ok(ask(pod)) } else { Err("it has ended") }
        })
        .await
    }

    /// Speaks to the internal port of a registry as its operator would, once it answers.
    pub async fn admin(&self, registry: &str) -> Client {
        super::eventually(&format!("the registry {registry} answers"), || async {
            let client = self.client(registry).await?;
            client.access().await.map(|_| client.clone()).map_err(|error| format!("{error:?}"))
        })
        .await
    }

    /// A client for where the registry is now, whether it answers or not.
    pub async fn client(&self, registry: &str) -> Result<Client, String> {
        let world = &self.shared.world;
        let found = world.api::<Secret>().get(&format!("{registry}-registry-keys")).await;
        let secret: Secret = found.map_err(|error| error.to_string())?;
        let data = secret.data.ok_or("the keys are empty")?;
        let keys: KeySet = serde_json::from_slice(&data["keys.json"].0).map_err(|error| error.to_string())?;
        let (uid, port) = {
            let pods = self.shared.pods.lock().unwrap();
            let pod = pods.get(registry).ok_or("the registry does not run")?;
            (pod.uid.clone(), pod.port)
        };
        let name = format!("{registry}-registry.{}.svc", world.namespace);
        let credentials = Credentials::Operator { keys, registry_uid: uid };
        Client::pinned(&name, (address(), port).into(), &data["ca.crt"].0, credentials)
            .map_err(|error| error.to_string())
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
        let same = |pod: &mut Running| pod.uid == uid && pod.keys == keys && pod.runs();
        if !self.pods.lock().unwrap().get_mut(registry).is_some_and(same) {
            self.start(registry, &secret, &uid, keys);
        }
        self.publish(registry).await
    }

    /// Starts a registry in the place of the one before it, if there was one: whoever asks meets one of the two.
    fn start(&self, registry: &str, secret: &Secret, uid: &str, keys: String) {
        let root = {
            let mut volumes = self.volumes.lock().unwrap();
            Arc::clone(volumes.entry(registry.to_owned()).or_insert_with(|| Arc::new(tempfile::tempdir().unwrap())))
        };
        let pod = start(root.path(), secret, uid, keys);
        let before = self.pods.lock().unwrap().insert(registry.to_owned(), pod);
        drop(before);
    }

    /// Tells the cluster where a registry is, until that has come about once.
    async fn publish(&self, registry: &str) -> Result<(), kube::Error> {
        let port = match self.pods.lock().unwrap().get(registry) {
            Some(pod) if !pod.published => pod.port,
            Some(_) | None => return Ok(()),
        };
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
        api.patch(&name, &PatchParams::apply("kubelet").force(), &Patch::Apply(slice)).await?;
        // Only this task starts registries: it is still the same.
        if let Some(pod) = self.pods.lock().unwrap().get_mut(registry) {
            pod.published = true;
        }
        Ok(())
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
    Running { process, port, serving, uid: uid.to_owned(), keys, published: false, _files: files }
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
