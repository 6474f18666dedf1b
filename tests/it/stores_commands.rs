//! `regatta registry` and `regatta gc` on a bucket, as processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use regatta::oci::Digest;
use reqwest::StatusCode;
use tempfile::TempDir;

use crate::program::{Program, eventually, regatta};
use crate::stores_support::{Fault, S3Server, client};

const PASSWORD: &str = "of-the-administrator";

/// A store file, its credentials beside it, and a password.
struct Files {
    directory: TempDir,
}

impl Files {
    fn new(url: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("keys")).unwrap();
        fs::write(at("keys/accessKeyId"), "for-tests").unwrap();
        fs::write(at("keys/secretAccessKey"), "for-tests-only\n").unwrap();
        fs::write(at("password"), PASSWORD).unwrap();
        let keys = at("keys");
        let text =
            format!("s3:\n  bucket: images\n  endpoint: {url}\n  credentials:\n    directory: {}\n", keys.display());
        fs::write(at("store.yaml"), text).unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

fn command(name: &str, store: &Path) -> Command {
    let mut command = regatta();
    command.arg(name).arg("--store").arg(store);
    command
}

struct Served {
    url: String,
    program: Program,
}

impl Served {
    async fn start(files: &Files) -> Self {
        let mut command = command("registry", &files.path("store.yaml"));
        command.args(["--listen", "127.0.0.1:0", "--grace-seconds", "1"]);
        command.arg("--admin-password-file").arg(files.path("password"));
        let (program, authority) = Program::serving(&mut command).await;
        let served = Self { url: format!("http://{authority}"), program };
        eventually("it is ready", async || match client().get(format!("{}/readyz", served.url)).send().await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        served
    }

    async fn push(&self, bytes: &'static [u8]) -> reqwest::Response {
        let digest = Digest::sha256(bytes);
        let request = client().post(format!("{}/v2/app/blobs/uploads/?digest={digest}", self.url));
        request.basic_auth("admin", Some(PASSWORD)).body(bytes).send().await.unwrap()
    }

    async fn get(&self, bytes: &'static [u8]) -> reqwest::Response {
        let digest = Digest::sha256(bytes);
        let request = client().get(format!("{}/v2/app/blobs/{digest}", self.url));
        request.basic_auth("admin", Some(PASSWORD)).send().await.unwrap()
    }

    /// Ends it as Kubernetes does.
    async fn end(mut self) {
        self.program.signal("TERM");
        assert!(self.program.end().await.success());
    }
}

fn collect(files: &Files) -> Output {
    command("gc", &files.path("store.yaml")).args(["--grace-period", "0s", "--undelete-window", "0s"]).output().unwrap()
}

#[tokio::test]
async fn a_registry_is_served_from_a_bucket_and_its_garbage_is_collected() {
    let server = S3Server::start().await;
    let files = Files::new(&server.url);
    // A collector makes no registry of a bucket that is none.
    let none = collect(&files);
    assert!(!none.status.success());
    let text = String::from_utf8(none.stderr).unwrap();
    assert!(text.contains("`s3 bucket images` is not the store of a registry"), "{text}");

    let first = Served::start(&files).await;
    assert_eq!(first.push(b"content").await.status(), StatusCode::CREATED);
    assert!(server.file("docker/registry/v2/blobs").exists(), "where Distribution puts it");
    first.end().await;
    let again = Served::start(&files).await;
    assert_eq!(again.get(b"content").await.text().await.unwrap(), "content");
    // No manifest needs the blob.
    let collected = collect(&files);
    assert!(collected.status.success(), "{}", String::from_utf8_lossy(&collected.stderr));
    let freed = String::from_utf8(collected.stdout).unwrap();
    assert!(freed.contains("purged: 0 manifests, 1 links, 1 blobs"), "{freed}");
    assert_eq!(again.get(b"content").await.status(), StatusCode::NOT_FOUND);
    assert_eq!(again.push(b"content").await.status(), StatusCode::CREATED);
    assert_eq!(again.get(b"content").await.text().await.unwrap(), "content");
    let log = again.program.text();
    assert!(!log.contains("one replica only"), "{log}");
    assert!(!log.contains("for-tests-only"), "a secret is in the log: {log}");
}

#[tokio::test]
async fn a_bucket_that_does_not_refuse_says_so_at_boot() {
    let server = S3Server::start().await;
    let proxy = server.proxy().await;
    proxy.plan(|head| if head.is_conditional() { Fault::Forget } else { Fault::None });
    let files = Files::new(&proxy.url);
    let registry = Served::start(&files).await;
    let log = registry.program.text();
    assert!(log.contains("one replica only, and collection only in read-only mode"), "{log}");
    assert_eq!(registry.push(b"content").await.status(), StatusCode::CREATED);
    assert_eq!(registry.get(b"content").await.text().await.unwrap(), "content");
    assert!(server.file("regatta/v1/sole").exists(), "its lease");
    registry.end().await;
}

#[tokio::test]
async fn a_store_file_that_is_wrong_is_refused_with_the_line() {
    let files = Files::new("http://127.0.0.1:1");
    let path = files.path("store.yaml");
    fs::write(&path, "s3:\n  bucket: images\n  buckets: images\n").unwrap();
    let mut program = Program::spawn(&mut command("registry", &path));
    assert!(!program.end().await.success());
    let text = program.text();
    assert!(text.contains("buckets") && text.contains("line 3"), "{text}");
}

const MEBIBYTE: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_blob_passes_through_in_bounded_memory() {
    const PIECES: usize = 384;
    let server = S3Server::start().await;
    let files = Files::new(&server.url);
    let registry = Served::start(&files).await;
    let piece = |number: usize| bytes::Bytes::from(vec![u8::try_from(number % 251).unwrap(); MEBIBYTE]);
    let mut hasher = regatta::oci::Hasher::new(regatta::oci::Algorithm::Sha256);
    (0..PIECES).for_each(|number| hasher.update(&piece(number)));
    let digest = hasher.finish();
    let idle = registry.program.peak_kib();

    let body = futures::stream::iter((0..PIECES).map(move |number| Ok::<_, std::io::Error>(piece(number))));
    let request = client().post(format!("{}/v2/app/blobs/uploads/?digest={digest}", registry.url));
    let request = request.basic_auth("admin", Some(PASSWORD)).body(reqwest::Body::wrap_stream(body));
    assert_eq!(request.send().await.unwrap().status(), StatusCode::CREATED);
    let pushed = registry.program.peak_kib();

    let request = client().get(format!("{}/v2/app/blobs/{digest}", registry.url));
    let mut answer = request.basic_auth("admin", Some(PASSWORD)).send().await.unwrap();
    let mut hasher = regatta::oci::Hasher::new(regatta::oci::Algorithm::Sha256);
    while let Some(chunk) = answer.chunk().await.unwrap() {
        hasher.update(&chunk);
    }
    assert_eq!(hasher.finish(), digest);
    let pulled = registry.program.peak_kib();
    println!("idle {idle} KiB, pushed {pushed} KiB, pulled {pulled} KiB");
    assert!(pulled - idle < 80 * 1024, "idle {idle} KiB, pushed {pushed} KiB, pulled {pulled} KiB");
}
