//! One API server for the whole process, and others where that one must not be disturbed, started by
//! `e2e/api-server.sh run`: it ends when this process does, however that ends, because it waits for the other end of a
//! pipe.

use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// An API server, until it is dropped.
pub struct Server {
    kubeconfig: PathBuf,
    _process: Child,
}

impl Server {
    /// An administrator's.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    fn kubectl(&self, arguments: &[&str]) {
        self.kubectl_with_input(arguments, String::new());
    }

    /// Runs `kubectl`, which must succeed, with this on its standard input.
    pub fn kubectl_with_input(&self, arguments: &[&str], input: String) {
        let path = Command::new(root().join("e2e/parts.sh")).args(["path", "kubectl"]).output();
        let path = String::from_utf8(path.expect("e2e/parts.sh runs").stdout).expect("a path is text");
        let mut kubectl = Command::new(path.trim());
        kubectl.arg("--kubeconfig").arg(&self.kubeconfig).args(arguments);
        kubectl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = kubectl.spawn().expect("kubectl runs");
        process.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
        let output = process.wait_with_output().expect("it ends");
        assert!(output.status.success(), "kubectl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

static SERVER: OnceLock<Server> = OnceLock::new();

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The server that all tests share, with the definitions of the tree.
fn shared() -> Server {
    let server = start();
    let crds = root().join("crds").display().to_string();
    server.kubectl(&["apply", "--server-side", "--filename", &crds]);
    server.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "--filename", &crds]);
    server
}

/// A server with nothing in it.
pub fn start() -> Server {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut process = Command::new(root().join("e2e/api-server.sh"))
        .arg("run")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("e2e/api-server.sh can be started");
    let mut line = String::new();
    let out = process.stdout.take().expect("its output is a pipe");
    BufReader::new(out).read_line(&mut line).expect("it says where its kubeconfig is");
    let kubeconfig = PathBuf::from(line.trim());
    assert!(kubeconfig.is_file(), "the API server did not start: {line:?}");
    Server { kubeconfig, _process: process }
}

/// The kubeconfig of the API server, which is started if it is not there yet.
pub fn kubeconfig() -> PathBuf {
    SERVER.get_or_init(shared).kubeconfig.clone()
}

/// How to reach the API server, as an administrator.
pub async fn config() -> Config {
    let path = tokio::task::spawn_blocking(kubeconfig).await.expect("the API server starts");
    let kubeconfig = Kubeconfig::read_from(path).expect("the kubeconfig can be read");
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.expect("the kubeconfig is complete")
}

/// A client of an administrator.
pub async fn client() -> Client {
    Client::try_from(config().await).expect("a client")
}
