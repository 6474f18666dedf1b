//! Requests to registries that are processes of their own, and to whichever of them is alive.

use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use axum::http::Method;
use bytes::Bytes;
use tempfile::TempDir;

use crate::program::{Program, eventually, free_port, like_main, regatta};
use crate::replicate_support::ADMIN_PASSWORD;
use crate::survival_server::{Answer, Ask};

/// A client of a process that may end, or hang, at any time.
#[derive(Clone)]
pub struct Remote {
    http: reqwest::Client,
    pub url: String,
    patience: Duration,
}

impl Remote {
    pub fn new(url: &str) -> Self {
        like_main();
        Self { http: reqwest::Client::new(), url: url.to_owned(), patience: Duration::from_mins(1) }
    }

    /// The same, hanging up on who takes longer than this.
    #[must_use]
    pub fn with_patience(&self, patience: Duration) -> Self {
        Self { patience, ..self.clone() }
    }
}

/// Whether a body comes to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    Not,
    AfterHalf,
}

impl Remote {
    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        // The server names its own places path-absolute.
        let request = self.http.request(method, format!("{}{path}", self.url));
        request.basic_auth("admin", Some(ADMIN_PASSWORD)).timeout(self.patience)
    }

    /// A piece of an upload that goes to this place.
    pub async fn patch(&self, place: &str, at: usize, piece: &[u8], broken: Broken) -> Option<Answer> {
        let range = format!("{at}-{}", at + piece.len() - 1);
        let body: reqwest::Body = match broken {
            Broken::Not => piece.to_vec().into(),
            Broken::AfterHalf => {
                let half = Bytes::copy_from_slice(&piece[..piece.len() / 2]);
                let end = std::io::Error::other("the connection breaks");
                reqwest::Body::wrap_stream(futures::stream::iter([Ok(half), Err(end)]))
            }
        };
        let request = self.request(Method::PATCH, place).header("content-range", range);
        let request = request.header("content-length", piece.len()).body(body);
        answer(request).await
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Option<Answer> {
    let response = request.send().await.ok()?;
    let (status, headers) = (response.status(), response.headers().clone());
    Some(Answer { status, headers, body: response.bytes().await.ok()? })
}

impl Ask for Remote {
    async fn ask(&self, method: Method, path: &str, media_type: &str, body: Bytes) -> Option<Answer> {
        answer(self.request(method, path).header("content-type", media_type).body(body)).await
    }
}

/// A registry process on any directory, with its health apart.
pub struct Process {
    program: Program,
    _files: TempDir,
    pub remote: Remote,
    health: String,
}

fn command(root: &Path, files: &TempDir, [port, health]: [u16; 2]) -> Command {
    let mut command = regatta();
    command
        .arg("registry")
        .args(["--root".as_ref(), root.as_os_str()])
        .args(["--listen", &format!("127.0.0.1:{port}")])
        .args(["--health-listen", &format!("127.0.0.1:{health}")])
        .args(["--admin-password-file".as_ref(), files.path().join("password").as_os_str()])
        .args(["--grace-seconds", "1"])
        .env("REGATTA_LOG", "warn");
    command
}

fn password() -> TempDir {
    let files = tempfile::tempdir().unwrap();
    std::fs::write(files.path().join("password"), ADMIN_PASSWORD).unwrap();
    files
}

impl Process {
    fn new(program: Program, files: TempDir, [port, health]: [u16; 2]) -> Self {
        let remote = Remote::new(&format!("http://127.0.0.1:{port}"));
        Self { program, _files: files, remote, health: format!("http://127.0.0.1:{health}") }
    }

    /// Starts it, and waits for nothing: its volume may be of a kind that it never listens.
    pub fn spawn(root: &Path) -> Self {
        let (files, ports) = (password(), [free_port(), free_port()]);
        Self::new(Program::spawn(&mut command(root, &files, ports)), files, ports)
    }

    /// Starts it, and waits until it is ready.
    pub async fn start(root: &Path) -> Self {
        let files = password();
        let (program, ports) = Program::at_free_ports(|ports| command(root, &files, ports)).await;
        let process = Self::new(program, files, ports);
        process.becomes_ready().await;
        process
    }

    pub async fn becomes_ready(&self) {
        eventually("the process is ready", async || match self.health("/readyz").await {
            Some((200, _)) => Ok(()),
            other => Err(other),
        })
        .await;
    }

    /// What its health says: status and text. `None` where it does not say anything in time.
    pub async fn health(&self, path: &str) -> Option<(u16, String)> {
        let request = self.remote.http.get(format!("{}{path}", self.health)).timeout(Duration::from_secs(10));
        let answer = request.send().await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.program.text()
    }

    /// How it ends.
    pub async fn end(&mut self) -> ExitStatus {
        self.program.end().await
    }

    /// A number from its `/proc/<pid>/status`.
    pub fn status(&self, name: &str) -> u64 {
        self.program.status(name)
    }
}
