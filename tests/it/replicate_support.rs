//! Real registries as child processes, and `regatta replicate` between them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Arc,
    time::Duration,
};

use regatta::{
    admin::{
        Edge, EdgeStatus, EdgesDocument, KeySet,
        client::{Client as AdminClient, Credentials as AdminCredentials},
    },
    client::{Client, ClientConfig, Credentials},
};
use serde_json::Value;
use tempfile::TempDir;

use crate::program::{Program, eventually, free_port, like_main, regatta};

pub const ADMIN_PASSWORD: &str = "the-admins-password";
pub const REPLICATOR: (&str, &str) = ("replicator+fleet+test", "the-replicators-password-of-32-characters");

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
    program: Program,
    files: Arc<TempDir>,
    root: PathBuf,
    pub url: String,
    pub internal_url: String,
}

fn copy_tree(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

pub fn write_secret(directory: &Path, username: &str, password: &str) {
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
        like_main();
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
        let mut command = regatta();
        command
            .arg("registry")
            .args(["--root".as_ref(), root.as_os_str()])
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .args(["--internal-listen", &format!("127.0.0.1:{internal}")])
            .args(["--internal-tls-cert".as_ref(), at("tls.crt").as_os_str()])
            .args(["--internal-tls-key".as_ref(), at("tls.key").as_os_str()])
            .args(["--keys-file".as_ref(), at("keys.json").as_os_str()])
            .args(["--replicators-dir".as_ref(), at("replicators").as_os_str()])
            .args(["--admin-password-file".as_ref(), at("admin-password").as_os_str()])
            .args(["--grace-seconds", "1"]);
        let mut program = Program::spawn(&mut command);
        let authority = program.serves().await?;
        let registry = Self {
            program,
            files,
            root,
            url: format!("http://{authority}"),
            internal_url: format!("https://127.0.0.1:{internal}"),
        };
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
        self.program.signal(name);
    }

    /// Ends it at once.
    pub fn stop(&mut self) {
        self.program.stop();
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
        let log = self.program.log();
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
}

/// `regatta replicate --from --to`, with more arguments.
pub fn replicate_command(from: &str, to: &str, files: &Registry, more: &[&str]) -> Command {
    let password = files.file("admin-password");
    let mut command = regatta();
    command
        .args(["replicate", "--from", from, "--to", to])
        .args(["--from-username", "admin", "--to-username", "admin"])
        .args(["--from-password-file".as_ref(), password.as_os_str()])
        .args(["--to-password-file".as_ref(), password.as_os_str()])
        .args(more)
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
