//! Real registries as child processes, images to put into them, and `regatta replicate` to move them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc, Mutex, Once,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, Instant},
};

use regatta::{
    admin::{
        Deletions, Edge, EdgeStatus, EdgesDocument, Filters, KeySet, PolicyRef, Remote, Trigger,
        client::{Client as AdminClient, Credentials as AdminCredentials},
    },
    client::{Client, ClientConfig, Credentials},
    oci::{Digest, MediaType, RepositoryName},
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Longer than anything here may take, many times over: a busy machine is no defect.
pub const DEADLINE: Duration = Duration::from_mins(1);

const BINARY: &str = env!("CARGO_BIN_EXE_regatta");
pub const ADMIN_PASSWORD: &str = "the-admins-password";
const REPLICATOR: (&str, &str) = ("replicator+fleet+test", "the-replicators-password-of-32-characters");

/// The process's crypto provider: the binary's `main` installs it, tests have no `main`.
pub fn crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| drop(rustls::crypto::aws_lc_rs::default_provider().install_default()));
}

/// Waits until `found` answers something; fails with what was last seen.
pub async fn eventually<T, E: std::fmt::Debug>(what: &str, mut found: impl AsyncFnMut() -> Result<T, E>) -> T {
    let start = Instant::now();
    loop {
        match found().await {
            Ok(found) => {
                eprintln!("{what}: after {:?}", start.elapsed());
                return found;
            }
            Err(seen) => assert!(start.elapsed() < DEADLINE, "{what}: still {seen:?} after {DEADLINE:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A request as the access log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    pub method: String,
    pub path: String,
    pub status: u64,
}

impl Served {
    /// Whether this stored a blob.
    pub fn stored_blob(&self) -> bool {
        self.method == "PUT" && self.path.contains("/blobs/uploads/") && self.status == 201
    }

    /// Whether this changed, or tried to change, anything.
    pub fn writes(&self) -> bool {
        !matches!(self.method.as_str(), "GET" | "HEAD")
            && !self.path.contains("/_regatta/")
            && !self.path.starts_with("/admin/")
    }
}

/// A `regatta registry` of its own directory.
pub struct Registry {
    child: Child,
    files: Arc<TempDir>,
    root: PathBuf,
    pub url: String,
    pub internal_url: String,
    log: Arc<Mutex<Vec<Value>>>,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port below those that the system gives to outgoing connections, so that none of these takes it meanwhile.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + u16::try_from(std::process::id() % 100).unwrap() * 100;
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn copy_tree(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

fn write_secret(directory: &Path, username: &str, password: &str) {
    fs::create_dir_all(directory).unwrap();
    fs::write(directory.join("username"), username).unwrap();
    fs::write(directory.join("password"), password).unwrap();
}

/// The files that an operator would have made.
fn make_files() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    fs::write(path.join("admin-password"), ADMIN_PASSWORD).unwrap();
    fs::write(path.join("keys.json"), serde_json::to_vec(&KeySet::generate()).unwrap()).unwrap();
    write_secret(&path.join("replicators/own"), REPLICATOR.0, REPLICATOR.1);
    let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    fs::write(path.join("tls.crt"), certified.cert.pem()).unwrap();
    fs::write(path.join("tls.key"), certified.signing_key.serialize_pem()).unwrap();
    directory
}

impl Registry {
    /// Starts one on an empty directory.
    pub async fn start() -> Self {
        crypto();
        let files = Arc::new(make_files());
        let root = files.path().join("data-1");
        eventually("a registry has ports of its own", async || {
            let (port, internal) = (free_port(), free_port());
            Self::start_on(files.clone(), root.clone(), port, internal).await.ok_or((port, internal))
        })
        .await
    }

    /// `None` where it ended by itself: somebody else took one of the ports. That one would answer for it.
    async fn start_on(files: Arc<TempDir>, root: PathBuf, port: u16, internal: u16) -> Option<Self> {
        let at = |name: &str| files.path().join(name);
        let mut child = Command::new(BINARY)
            .arg("registry")
            .args(["--root".as_ref(), root.as_os_str()])
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .args(["--internal-listen", &format!("127.0.0.1:{internal}")])
            .args(["--internal-tls-cert".as_ref(), at("tls.crt").as_os_str()])
            .args(["--internal-tls-key".as_ref(), at("tls.key").as_os_str()])
            .args(["--keys-file".as_ref(), at("keys.json").as_os_str()])
            .args(["--replicators-dir".as_ref(), at("replicators").as_os_str()])
            .args(["--admin-password-file".as_ref(), at("admin-password").as_os_str()])
            .args(["--grace-seconds", "1"])
            .env("REGATTA_LOG", "info")
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let log = collect(&mut child);
        let mut registry = Self {
            child,
            files,
            root,
            url: format!("http://127.0.0.1:{port}"),
            internal_url: format!("https://127.0.0.1:{internal}"),
            log,
        };
        let serves = eventually("the registry serves or has ended", async || {
            let serves = registry.log.lock().unwrap().iter().any(|line| line["message"] == "serving");
            let ended = registry.child.try_wait().unwrap().is_some();
            if serves || ended { Ok(serves) } else { Err("neither") }
        })
        .await;
        if !serves {
            return None;
        }
        eventually("the registry is ready", async || {
            let ready = reqwest::get(format!("{}/readyz", registry.url)).await.map_err(|error| error.to_string())?;
            if ready.status().is_success() { Ok(()) } else { Err(ready.text().await.unwrap_or_default()) }
        })
        .await;
        Some(registry)
    }

    /// Another process on the same directory, with the same keys.
    pub async fn replica(&self) -> Self {
        eventually("a replica has ports of its own", async || {
            let (port, internal) = (free_port(), free_port());
            Self::start_on(self.files.clone(), self.root.clone(), port, internal).await.ok_or((port, internal))
        })
        .await
    }

    /// Sends it a signal, by its name without `SIG`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([format!("-{name}"), pid]).status().unwrap().success());
    }

    /// Ends it at once.
    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again at the same addresses.
    pub async fn restart(mut self) -> Self {
        self.stop();
        let root = self.root.clone();
        self.start_again(root).await
    }

    /// Starts it again on an empty directory: a fresh volume.
    pub async fn replace_volume(mut self) -> Self {
        self.stop();
        let root = self.files.path().join("data-2");
        self.start_again(root).await
    }

    /// Copies its data as it is now.
    pub fn back_up(&self) {
        copy_tree(&self.root, &self.files.path().join("backup"));
    }

    /// Starts it again on what was backed up.
    pub async fn restore(mut self) -> Self {
        self.stop();
        let root = self.files.path().join("backup");
        self.start_again(root).await
    }

    async fn start_again(&self, root: PathBuf) -> Self {
        let port = |url: &str| url.rsplit(':').next().unwrap().parse().unwrap();
        eventually("the registry has its ports again", async || {
            let (port, internal) = (port(&self.url), port(&self.internal_url));
            Self::start_on(self.files.clone(), root.clone(), port, internal).await.ok_or((port, internal))
        })
        .await
    }

    /// Where it keeps its data.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A file that an operator would have mounted.
    pub fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// What it has served so far.
    pub fn served(&self) -> Vec<Served> {
        let log = self.log.lock().unwrap();
        let text = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
        log.iter()
            .filter(|line| line["target"] == "regatta::access")
            .map(|line| Served {
                method: text(line, "method"),
                path: text(line, "path"),
                status: line["status"].as_u64().unwrap_or_default(),
            })
            .collect()
    }

    /// The admin API, as the operator uses it.
    pub fn operator(&self) -> AdminClient {
        let keys: KeySet = serde_json::from_slice(&fs::read(self.file("keys.json")).unwrap()).unwrap();
        let credentials = AdminCredentials::Operator { keys, registry_uid: "regatta".to_owned() };
        AdminClient::at(&self.internal_url, &fs::read(self.file("tls.crt")).unwrap(), credentials).unwrap()
    }

    /// Puts the edges that are to run here.
    pub async fn put_edges(&self, edges: Vec<Edge>) {
        let operator = self.operator();
        let generation = operator.edges(None, Duration::ZERO).await.unwrap().generation;
        let term = operator.term("test").await.unwrap().term;
        let document = EdgesDocument { generation: generation + 1, term, edges };
        operator.put_edges(generation, &document).await.unwrap();
    }

    /// How an edge stands.
    pub async fn status(&self, id: &str) -> Option<EdgeStatus> {
        self.operator().edge_statuses().await.unwrap().into_iter().find(|status| status.id == id)
    }

    /// A client with an admin's rights.
    pub fn client(&self) -> Client {
        let mut config = ClientConfig::new(self.url.parse().unwrap());
        let password = ADMIN_PASSWORD.to_owned().into();
        config.credentials = Some(Arc::new(Credentials { username: "admin".to_owned(), password }));
        config.basic = true;
        Client::new(config).unwrap()
    }

    async fn send(&self, method: Method, path: &str, media_type: &str, body: Vec<u8>) -> reqwest::Response {
        let url = format!("{}{path}", self.url);
        reqwest::Client::new()
            .request(method, url)
            .basic_auth("admin", Some(ADMIN_PASSWORD))
            .header("Content-Type", media_type)
            .body(body)
            .send()
            .await
            .unwrap()
    }

    /// Puts a blob.
    pub async fn push_blob(&self, repository: &str, media_type: &str, bytes: &[u8]) -> Value {
        let digest = Digest::sha256(bytes);
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        let answer = self.send(Method::POST, &path, "application/octet-stream", bytes.to_vec()).await;
        assert_eq!(answer.status(), StatusCode::CREATED, "{}", answer.text().await.unwrap());
        json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    }

    /// Puts a manifest.
    pub async fn push_manifest(&self, repository: &str, reference: &str, media_type: &str, manifest: &Value) -> Value {
        let bytes = serde_json::to_vec(manifest).unwrap();
        let path = format!("/v2/{repository}/manifests/{reference}");
        let answer = self.send(Method::PUT, &path, media_type, bytes.clone()).await;
        assert_eq!(answer.status(), StatusCode::CREATED, "{}", answer.text().await.unwrap());
        json!({ "mediaType": media_type, "digest": Digest::sha256(&bytes), "size": bytes.len() })
    }

    /// Pushes an image of these layers; answers its descriptor.
    pub async fn push_image(&self, repository: &str, reference: &str, layers: &[&[u8]]) -> Value {
        let manifest = self.image(repository, layers).await;
        self.push_manifest(repository, reference, MediaType::OCI_MANIFEST, &manifest).await
    }

    async fn image(&self, repository: &str, layers: &[&[u8]]) -> Value {
        let layers_of: Vec<Digest> = layers.iter().map(|layer| Digest::sha256(layer)).collect();
        let config = serde_json::to_vec(&json!({ "layers": layers_of })).unwrap();
        let config = self.push_blob(repository, "application/vnd.oci.image.config.v1+json", &config).await;
        let mut described = Vec::new();
        for layer in layers {
            described.push(self.push_blob(repository, "application/vnd.oci.image.layer.v1.tar", layer).await);
        }
        json!({
            "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "config": config, "layers": described,
        })
    }

    /// Pushes an index of these images, which are pushed by digest.
    pub async fn push_index(&self, repository: &str, tag: &str, images: &[&[&[u8]]]) -> Value {
        let mut children = Vec::new();
        for layers in images {
            let manifest = self.image(repository, layers).await;
            let digest = Digest::sha256(&serde_json::to_vec(&manifest).unwrap());
            children.push(self.push_manifest(repository, digest.as_str(), MediaType::OCI_MANIFEST, &manifest).await);
        }
        let index = json!({ "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": children });
        self.push_manifest(repository, tag, MediaType::OCI_INDEX, &index).await
    }

    /// Pushes something that refers to a manifest, by digest.
    pub async fn push_referrer(&self, repository: &str, subject: &Value, content: &[u8]) -> String {
        let config = self.push_blob(repository, MediaType::OCI_EMPTY, b"{}").await;
        let layer = self.push_blob(repository, "application/vnd.example.signature", content).await;
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "artifactType": "application/vnd.example.signature",
            "config": config, "layers": [layer], "subject": subject,
        });
        let digest = Digest::sha256(&serde_json::to_vec(&manifest).unwrap());
        self.push_manifest(repository, digest.as_str(), MediaType::OCI_MANIFEST, &manifest).await;
        digest.to_string()
    }

    /// Deletes a tag or a manifest.
    pub async fn delete(&self, repository: &str, reference: &str) {
        let answer =
            self.send(Method::DELETE, &format!("/v2/{repository}/manifests/{reference}"), "text/plain", vec![]).await;
        assert_eq!(answer.status(), StatusCode::ACCEPTED, "{}", answer.text().await.unwrap());
    }

    /// Everything that is tagged: `repository:tag` and digest.
    pub async fn tags(&self) -> BTreeMap<String, Digest> {
        let client = self.client();
        let mut found = BTreeMap::new();
        for repository in client.catalog().await.unwrap().unwrap_or_default() {
            for tag in client.tags(&repository).await.unwrap() {
                let digest = client.head_manifest(&repository, &tag.clone().into()).await.unwrap().unwrap();
                found.insert(format!("{repository}:{tag}"), digest);
            }
        }
        found
    }

    /// The referrers of a manifest.
    pub async fn referrers(&self, repository: &str, subject: &Value) -> BTreeSet<String> {
        let repository: RepositoryName = repository.parse().unwrap();
        let digest: Digest = subject["digest"].as_str().unwrap().parse().unwrap();
        match self.client().referrers(&repository, &digest).await.unwrap() {
            regatta::client::Referrers::Known(found) => found.iter().map(|found| found.digest.to_string()).collect(),
            regatta::client::Referrers::Unsupported => panic!("a Regatta has the referrers API"),
        }
    }
}

/// Reads a child's log, a JSON object a line.
fn collect(child: &mut Child) -> Arc<Mutex<Vec<Value>>> {
    let log = Arc::new(Mutex::new(Vec::new()));
    let (stderr, lines) = (child.stderr.take().unwrap(), log.clone());
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            match serde_json::from_str(&line) {
                Ok(value) => lines.lock().unwrap().push(value),
                Err(_) => eprintln!("child: {line}"),
            }
        }
    });
    log
}

/// `regatta replicate --from --to`, with more arguments.
pub fn replicate_command(from: &str, to: &str, files: &Registry, more: &[&str]) -> Command {
    let password = files.file("admin-password");
    let mut command = Command::new(BINARY);
    command
        .args(["replicate", "--from", from, "--to", to])
        .args(["--from-username", "admin", "--to-username", "admin"])
        .args(["--from-password-file".as_ref(), password.as_os_str()])
        .args(["--to-password-file".as_ref(), password.as_os_str()])
        .args(more)
        .env("REGATTA_LOG", "info")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs it to its end.
pub async fn replicate(from: &Registry, to: &Registry, more: &[&str]) -> Output {
    let mut command = replicate_command(&from.url, &to.url, from, more);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// A follower of a registry.
pub struct Follower {
    child: Child,
    _remotes: TempDir,
    pub metrics: String,
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Follower {
    /// Starts one at `home`; it knows the credentials of the remote `destination`.
    pub async fn start(home: &Registry) -> Self {
        let remotes = tempfile::tempdir().unwrap();
        write_secret(&remotes.path().join("destination/credentials"), REPLICATOR.0, REPLICATOR.1);
        let (health, metrics) = (free_port(), free_port());
        let child = Command::new(BINARY)
            .args(["replicate", "--follow", "--internal-url", &home.internal_url])
            .args(["--internal-ca".as_ref(), home.file("tls.crt").as_os_str()])
            .args(["--credentials-dir".as_ref(), home.file("replicators/own").as_os_str()])
            .args(["--remotes-dir".as_ref(), remotes.path().as_os_str()])
            .args(["--health-listen", &format!("127.0.0.1:{health}")])
            .args(["--metrics-listen", &format!("127.0.0.1:{metrics}")])
            .env("REGATTA_LOG", "info")
            .spawn()
            .unwrap();
        let follower = Self { child, _remotes: remotes, metrics: format!("http://127.0.0.1:{metrics}/metrics") };
        eventually("the follower is ready", async || {
            let answer = reqwest::get(format!("http://127.0.0.1:{health}/readyz")).await;
            let answer = answer.map_err(|error| error.to_string())?;
            if answer.status().is_success() { Ok(()) } else { Err(answer.status().to_string()) }
        })
        .await;
        follower
    }

    /// Ends it with SIGTERM; whether it ended well.
    pub async fn terminate(mut self) -> bool {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        eventually("the follower has ended", async || self.child.try_wait().unwrap().ok_or("running")).await.success()
    }
}

/// An event edge over everything.
pub fn edge(id: &str, destination: &str) -> Edge {
    Edge {
        id: id.to_owned(),
        policy: PolicyRef { namespace: "fleet".to_owned(), name: "policy".to_owned(), generation: 1 },
        source: "source".to_owned(),
        destination: Remote { name: "destination".to_owned(), url: destination.to_owned(), insecure: true },
        filters: Filters::default(),
        deletions: Deletions::Propagate,
        trigger: Trigger::Event,
        suspend: false,
        requested_at: None,
        approved_plan: None,
    }
}

/// Waits for two registries to have the same tags.
pub async fn equal(source: &Registry, destination: &Registry) {
    eventually("both have the same", async || {
        let (ours, theirs) = (source.tags().await, destination.tags().await);
        if ours == theirs { Ok(()) } else { Err((ours, theirs)) }
    })
    .await;
}

/// Waits for an edge's status to be as `wanted` says.
pub async fn status(home: &Registry, id: &str, what: &str, wanted: impl Fn(&EdgeStatus) -> bool) -> EdgeStatus {
    eventually(what, async || {
        let status = home.status(id).await;
        status.clone().filter(|status| wanted(status)).ok_or(status)
    })
    .await
}
