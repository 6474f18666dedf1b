//! An operator that meets older definitions, against an API server of its own.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::{api_server, eventually};

/// `regatta operator` on loopback, until it is dropped.
struct Operator {
    process: Child,
    health: String,
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Operator {
    fn start(kubeconfig: &Path, log: &Path) -> Self {
        let free = || {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
            listener.local_addr().expect("its number")
        };
        let (health, metrics) = (free(), free());
        let process = Command::new(env!("CARGO_BIN_EXE_regatta"))
            .arg("operator")
            .arg(format!("--health-listen={health}"))
            .arg(format!("--metrics-listen={metrics}"))
            .env("KUBECONFIG", kubeconfig)
            .env("REGATTA_LOG", "info")
            .stdin(Stdio::null())
            .stderr(File::create(log).expect("a file"))
            .spawn()
            .expect("an operator");
        Self { process, health: format!("http://{health}") }
    }

    /// Once it answers: one that another process was quicker with a port of is started again.
    async fn answering(kubeconfig: &Path, log: &Path) -> Self {
        eventually("the operator has its ports", || async {
            let mut operator = Self::start(kubeconfig, log);
            loop {
                if operator.get("/healthz").await.is_ok() {
                    return Ok(operator);
                }
                if operator.process.try_wait().is_ok_and(|ended| ended.is_some()) {
                    return Err(std::fs::read_to_string(log).unwrap_or_default());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await
    }

    async fn get(&self, path: &str) -> Result<(u16, String), String> {
        let answer = reqwest::get(format!("{}{path}", self.health)).await.map_err(|error| error.to_string())?;
        Ok((answer.status().as_u16(), answer.text().await.map_err(|error| error.to_string())?))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_meets_older_definitions_is_not_ready_and_says_what_to_run() {
    let server = tokio::task::spawn_blocking(api_server::start).await.expect("an API server");
    let definitions = Command::new(env!("CARGO_BIN_EXE_regatta")).arg("crds").output().expect("regatta crds").stdout;
    let definitions = String::from_utf8(definitions).expect("text");
    let apply = |text: String| server.kubectl_with_input(&["apply", "--server-side", "-f", "-"], text);
    let version = "regatta.dev/schema-version: \"1\"";
    assert_eq!(definitions.matches(version).count(), 5, "each definition has its version");
    let at = definitions.find("name: registryprojects.regatta.dev").expect("the definition of Projects");
    let begins = definitions[..at].rfind(version).expect("its version");
    let mut older = definitions.clone();
    older.replace_range(begins..begins + version.len(), "regatta.dev/schema-version: \"0\"");
    apply(older);

    let directory = tempfile::tempdir().expect("a directory");
    let log = directory.path().join("log");
    let operator = Operator::answering(server.kubeconfig(), &log).await;
    let says = "registryprojects.regatta.dev has schema version 0, this operator needs 1: run `regatta crds | kubectl apply \
                --server-side -f -`";
    eventually("it says what to run", || async {
        let said = std::fs::read_to_string(&log).expect("a log");
        if said.contains(says) { Ok(()) } else { Err(said) }
    })
    .await;
    let (status, body) = operator.get("/readyz").await.expect("it answers");
    assert!(status == 503 && body.contains("too old"), "{status} {body}");
    assert_eq!(operator.get("/healthz").await.expect("it answers").0, 200, "it is not to be restarted");

    apply(definitions);
    eventually("it is ready", || async {
        let answer = operator.get("/readyz").await?;
        if answer.0 == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
}
