//! Requests to registries that are processes of their own, and to whichever of them is alive.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use axum::http::Method;
use bytes::Bytes;
use tempfile::TempDir;

use crate::replicate_support::{ADMIN_PASSWORD, crypto, eventually, free_port};
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
        crypto();
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
    child: Option<Child>,
    files: TempDir,
    pub remote: Remote,
    pub health: String,
}

impl Drop for Process {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let _ = child.kill();
        // While its volume hangs it does not end; the volume's end comes after this.
        std::thread::spawn(move || child.wait());
    }
}

impl Process {
    /// Starts it, and waits for nothing.
    pub fn spawn(root: &Path) -> Self {
        let files = tempfile::tempdir().unwrap();
        let password = files.path().join("password");
        std::fs::write(&password, ADMIN_PASSWORD).unwrap();
        let (port, health) = (free_port(), free_port());
        let child = Command::new(env!("CARGO_BIN_EXE_regatta"))
            .arg("registry")
            .args(["--root".as_ref(), root.as_os_str()])
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .args(["--health-listen", &format!("127.0.0.1:{health}")])
            .args(["--admin-password-file".as_ref(), password.as_os_str()])
            .args(["--grace-seconds", "1"])
            .env("REGATTA_LOG", "warn")
            .stdout(Stdio::null())
            .stderr(File::create(files.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let remote = Remote::new(&format!("http://127.0.0.1:{port}"));
        Self { child: Some(child), files, remote, health: format!("http://127.0.0.1:{health}") }
    }

    /// Starts it, and waits until it is ready.
    pub async fn start(root: &Path) -> Self {
        let process = Self::spawn(root);
        eventually("the process is ready", async || match process.health("/readyz").await {
            Some((200, _)) => Ok(()),
            other => Err(other),
        })
        .await;
        process
    }

    /// What its health says: status and text. `None` where it does not say anything within a second.
    pub async fn health(&self, path: &str) -> Option<(u16, String)> {
        let request = self.remote.http.get(format!("{}{path}", self.health)).timeout(Duration::from_secs(1));
        let answer = request.send().await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.files.path().join("log")).unwrap()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().unwrap().try_wait().unwrap()
    }

    /// A number from its `/proc/<pid>/status`.
    pub fn status(&self, name: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.as_ref().unwrap().id())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }
}
