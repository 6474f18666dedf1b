//! One API server for the whole process, started by `e2e/api-server.sh run`: it ends when this process does, however
//! that ends, because it waits for the other end of a pipe.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

struct Server {
    kubeconfig: PathBuf,
    _process: Child,
}

static SERVER: OnceLock<Server> = OnceLock::new();

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn start() -> Server {
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
    apply_crds(&kubeconfig);
    Server { kubeconfig, _process: process }
}

fn apply_crds(kubeconfig: &Path) {
    let kubectl =
        Command::new(root().join("e2e/parts.sh")).args(["path", "kubectl"]).output().expect("e2e/parts.sh runs");
    let kubectl = String::from_utf8(kubectl.stdout).expect("a path is text");
    let run = |args: &[&str]| {
        let output =
            Command::new(kubectl.trim()).arg("--kubeconfig").arg(kubeconfig).args(args).output().expect("kubectl runs");
        assert!(output.status.success(), "kubectl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let crds = root().join("crds").display().to_string();
    run(&["apply", "--server-side", "--filename", &crds]);
    run(&["wait", "--for=condition=Established", "--timeout=60s", "--filename", &crds]);
}

/// The kubeconfig of the API server, which is started if it is not there yet.
pub fn kubeconfig() -> PathBuf {
    SERVER.get_or_init(start).kubeconfig.clone()
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
