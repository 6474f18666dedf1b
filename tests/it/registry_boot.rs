//! A registry whose store does not answer while it starts: in a cluster it may wait for minutes.

use std::path::Path;
use std::time::Duration;

use reqwest::Client;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::program::{Program, eventually, like_main, regatta};
use crate::protocol_process::write_certificate;
use crate::stores_support::{ACCESS_KEY, BUCKET, S3Server, SECRET_KEY};

/// Before a bucket: takes connections, and lets nothing through until it is opened.
struct Gate {
    url: String,
    open: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Gate {
    async fn before(server: &S3Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (open, is_open) = watch::channel(false);
        let behind = server.url.strip_prefix("http://").unwrap().to_owned();
        let task = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (mut is_open, behind) = (is_open.clone(), behind.clone());
                tokio::spawn(async move {
                    is_open.wait_for(|open| *open).await.ok()?;
                    let mut server = TcpStream::connect(behind).await.ok()?;
                    tokio::io::copy_bidirectional(&mut client, &mut server).await.ok()
                });
            }
        });
        Self { url, open, task }
    }
}

/// A registry on a bucket, with TLS, and its health apart.
async fn begin(bucket: &str, files: &Path) -> (Program, String) {
    let at = |name: &str| files.join(name);
    std::fs::create_dir_all(at("keys")).unwrap();
    std::fs::write(at("keys/accessKeyId"), ACCESS_KEY).unwrap();
    std::fs::write(at("keys/secretAccessKey"), SECRET_KEY).unwrap();
    std::fs::write(at("password"), "the-admins-password").unwrap();
    let store = format!("s3:\n  bucket: {BUCKET}\n  endpoint: {bucket}\n  credentials:\n    directory: keys\n");
    std::fs::write(at("store.yaml"), store).unwrap();
    let (program, [health]) = Program::at_free_ports(|[health]| {
        let mut command = regatta();
        command.args(["registry", "--store", "store.yaml", "--listen", "127.0.0.1:0"]);
        command.args(["--health-listen", &format!("127.0.0.1:{health}")]);
        command.args(["--tls-cert", "tls.crt", "--tls-key", "tls.key", "--admin-password-file", "password"]);
        command.current_dir(files);
        command
    })
    .await;
    (program, format!("http://127.0.0.1:{health}"))
}

async fn probe(url: &str, path: &str) -> (u16, String) {
    let answer = reqwest::get(format!("{url}{path}")).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
async fn who_waits_for_a_store_is_alive_and_not_ready_and_ends_when_told_to() {
    like_main();
    let (server, files) = (S3Server::start().await, TempDir::new().unwrap());
    let gate = Gate::before(&server).await;
    write_certificate(files.path());
    let (mut program, health) = begin(&gate.url, files.path()).await;
    assert_eq!(probe(&health, "/healthz").await.0, 200);
    let (status, why) = probe(&health, "/readyz").await;
    assert!(status == 503 && why.contains("is starting"), "{status}: {why}");
    program.signal("TERM");
    assert!(program.end().await.success());
    assert!(program.text().contains("told to end before it served"));
}

#[tokio::test]
async fn a_certificate_that_is_replaced_while_the_store_is_waited_for_is_served() {
    like_main();
    let (server, files) = (S3Server::start().await, TempDir::new().unwrap());
    let gate = Gate::before(&server).await;
    write_certificate(files.path());
    let (mut program, health) = begin(&gate.url, files.path()).await;
    let trusted = write_certificate(files.path());
    gate.open.send_replace(true);
    let authority = program.serves().await.expect("it serves once the store answers");
    let client = Client::builder().tls_certs_only([trusted]).timeout(Duration::from_secs(30)).build().unwrap();
    eventually("the new certificate is served", async || client.get(format!("https://{authority}/v2/")).send().await)
        .await;
    eventually("it is ready", async || match probe(&health, "/readyz").await {
        (200, _) => Ok(()),
        other => Err(other),
    })
    .await;
}

/// Helper endpoints left open: there is no listener that nobody asked for.
#[tokio::test]
async fn a_registry_listens_where_it_is_told_to_and_nowhere_else() {
    like_main();
    let files = TempDir::new().unwrap();
    write_certificate(files.path());
    let names = ["--listen", "--internal-listen", "--health-listen", "--metrics-listen"];
    let (program, ports) = Program::at_free_ports(|ports: [u16; 4]| {
        let mut command = regatta();
        command.args(["registry", "--root", "data"]).current_dir(files.path());
        command.args(["--internal-tls-cert", "tls.crt", "--internal-tls-key", "tls.key"]);
        for (name, port) in names.iter().zip(ports) {
            command.arg(name).arg(format!("127.0.0.1:{port}"));
        }
        command
    })
    .await;
    assert_eq!(program.ports(), ports.into());
    let (alone, authority) = Program::serving(
        regatta().args(["registry", "--root", "alone", "--listen", "127.0.0.1:0"]).current_dir(files.path()),
    )
    .await;
    let port: u16 = authority.rsplit_once(':').unwrap().1.parse().unwrap();
    assert_eq!(alone.ports(), [port].into());
}
