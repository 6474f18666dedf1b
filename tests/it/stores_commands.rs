//! `regatta registry` and `regatta gc` on a bucket, as processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use regatta::oci::Digest;
use reqwest::StatusCode;
use serde_json::Value;
use tempfile::TempDir;

use crate::program::{Program, eventually, free_port, regatta};
use crate::protocol_process::write_certificate;
use crate::stores_support::{Fault, Proxy, S3Server, client};

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

    /// Adds to the store file.
    fn add(&self, lines: &str) {
        let path = self.path("store.yaml");
        fs::write(&path, format!("{}{lines}", fs::read_to_string(&path).unwrap())).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// Whoever mistyped the endpoint would otherwise learn only that something does not answer.
#[tokio::test]
async fn a_bucket_that_does_not_answer_is_named_with_the_cause_and_not_all_the_time() {
    let url = format!("http://127.0.0.1:{}", free_port());
    let files = Files::new(&url);
    let program = Program::spawn(command("registry", &files.path("store.yaml")).args(["--listen", "127.0.0.1:0"]));
    let waits = eventually("it says what it waits for", async || {
        let log = program.log();
        let waits = |line: &&Value| line["message"].as_str().is_some_and(|it| it.contains("waiting for it"));
        log.iter().find(waits).cloned().ok_or(log)
    })
    .await;
    assert_eq!(waits["place"], format!("s3 bucket images at {url}"), "{waits}");
    assert!(waits["cause"].as_str().is_some_and(|cause| cause.contains("refused")), "{waits}");
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
    assert!(log.contains("one replica only, and collections only while that is stopped"), "{log}");
    assert_eq!(registry.push(b"content").await.status(), StatusCode::CREATED);
    assert_eq!(registry.get(b"content").await.text().await.unwrap(), "content");
    assert!(server.file("regatta/v1/sole").exists(), "its lease");
    registry.end().await;
}

/// The next replica waited for two minutes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_listen_gives_back_the_lease_of_the_only_replica() {
    let server = S3Server::start().await;
    let proxy = server.proxy().await;
    proxy.plan(|head| if head.is_conditional() { Fault::Forget } else { Fault::None });
    let files = Files::new(&proxy.url);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = command("registry", &files.path("store.yaml"));
    command.args(["--listen", "127.0.0.1:0", "--internal-listen", &taken.local_addr().unwrap().to_string()]);
    write_certificate(files.path("").as_path());
    command.arg("--internal-tls-cert").arg(files.path("tls.crt")).arg("--internal-tls-key").arg(files.path("tls.key"));
    let mut program = Program::spawn(command.arg("--admin-password-file").arg(files.path("password")));
    assert!(!program.end().await.success());
    let leases = fs::read_dir(server.file("regatta/v1/sole")).unwrap().map(|entry| entry.unwrap().path());
    // The newest version is the first by name.
    let newest = fs::read(leases.min().unwrap_or_else(|| panic!("{}", program.text()))).unwrap();
    let newest: Value = serde_json::from_slice(&newest).unwrap();
    assert_eq!(newest["until"], 0, "{}", program.text());
}

/// Each finds out for itself what the bucket does: the one that may be the only one is heeded by those that think that they
/// may share it, before it writes anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_finds_that_it_must_be_alone_is_left_alone() {
    let server = S3Server::start().await;
    let proxy = server.proxy().await;
    proxy.plan(|head| if head.is_conditional() { Fault::Forget } else { Fault::None });
    let (straight, by_proxy) = (Files::new(&server.url), Files::new(&proxy.url));
    let first = Served::start(&straight).await;
    assert_eq!(first.push(b"content").await.status(), StatusCode::CREATED);
    let second = Served::start(&by_proxy).await;
    let refused = first.push(b"other").await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(first.get(b"content").await.status(), StatusCode::OK);
    let log = first.program.text();
    assert!(log.contains("another replica found that this store may have one replica only"), "{log}");
    assert_eq!(second.push(b"other").await.status(), StatusCode::CREATED);
    assert_eq!(first.get(b"other").await.status(), StatusCode::OK);
    second.end().await;
    eventually("the first writes again", async || match first.push(b"third").await.status() {
        StatusCode::CREATED => Ok(()),
        other => Err(other),
    })
    .await;
    first.end().await;
}

/// Beside a replica that counts on being the only writer, a collection claimed its journals and ended versions that it was
/// writing; nobody refused either of the two.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_collected_beside_a_replica_that_must_be_alone() {
    let server = S3Server::start().await;
    let proxy = server.proxy().await;
    proxy.plan(|head| if head.is_conditional() { Fault::Forget } else { Fault::None });
    let (straight, by_proxy) = (Files::new(&server.url), Files::new(&proxy.url));
    let registry = Served::start(&by_proxy).await;
    assert_eq!(registry.push(b"content").await.status(), StatusCode::CREATED);
    // Whatever it finds out itself of the bucket.
    for files in [&straight, &by_proxy] {
        let refused = collect(files);
        let text = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success(), "{text}");
        assert!(text.contains("end that replica") && text.contains("s3 bucket images"), "{text}");
        let dry =
            command("gc", &files.path("store.yaml")).args(["--grace-period", "0s", "--dry-run"]).output().unwrap();
        assert!(dry.status.success(), "{}", String::from_utf8_lossy(&dry.stderr));
    }
    assert_eq!(registry.get(b"content").await.status(), StatusCode::OK);
    assert_eq!(registry.push(b"other").await.status(), StatusCode::CREATED, "no hold was put");
    registry.end().await;
    let collected = collect(&by_proxy);
    let text = String::from_utf8_lossy(&collected.stderr);
    assert!(collected.status.success(), "{text}");
    assert!(text.contains("taking the lease of the only replica"), "{text}");
    assert!(String::from_utf8_lossy(&collected.stdout).contains("2 blobs"), "{collected:?}");
    // It has given back the lease: nobody waits for its end.
    let registry = Served::start(&by_proxy).await;
    assert_eq!(registry.get(b"content").await.status(), StatusCode::NOT_FOUND);
    registry.end().await;
}

/// A collection of a bucket that any number may write to, which answers nothing any more from the first deletion of bytes on.
struct Paused {
    files: Files,
    proxy: Proxy,
    program: Program,
    _server: S3Server,
}

impl Paused {
    async fn begin() -> Self {
        let server = S3Server::start().await;
        let proxy = server.proxy().await;
        let files = Files::new(&proxy.url);
        let registry = Served::start(&files).await;
        assert_eq!(registry.push(b"content").await.status(), StatusCode::CREATED);
        registry.end().await;
        let mut silent = false;
        proxy.plan(move |head| {
            // Not those of the probe.
            silent |= head.method == http::Method::DELETE && head.target.contains("/docker/registry/v2/blobs/");
            if silent { Fault::Hang } else { Fault::None }
        });
        let mut command = command("gc", &files.path("store.yaml"));
        command.args(["--grace-period", "0s", "--undelete-window", "0s", "--run", "paused", "--summary"]);
        let program = Program::spawn(command.arg(files.path("summary.json")));
        let line = program.line("it pauses", |line| says(line, "the collection pauses")).await;
        assert_eq!(line["cause"], "the store did not answer", "{line}");
        Self { files, proxy, program, _server: server }
    }

    /// How often it changed something, or tried to, from the first deletion on; the bucket answers again.
    fn changes(&self) -> usize {
        let seen = self.proxy.calm();
        seen.iter().filter(|(head, fault)| *fault == Fault::Hang && !head.method.is_safe()).count()
    }

    fn summary(&self) -> Value {
        serde_json::from_slice(&fs::read(self.files.path("summary.json")).unwrap()).unwrap()
    }
}

fn says(line: &Value, text: &str) -> bool {
    line["message"].as_str().is_some_and(|message| message.contains(text))
}

/// It ended with an error, and a Job with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_pauses_while_the_bucket_does_not_answer_and_goes_on_then() {
    let mut paused = Paused::begin().await;
    assert_eq!(paused.changes(), 1);
    assert!(paused.program.end().await.success(), "{}", paused.program.text());
    let log = paused.program.log();
    let said = |text| log.iter().filter(|line| says(line, text)).count();
    assert_eq!((said("the collection pauses"), said("the collection goes on")), (1, 1), "{log:?}");
    let summary = paused.summary();
    assert_eq!((&summary["purged"]["links"], &summary["purged"]["blobs"]), (&1.into(), &1.into()), "{summary}");
    let again = String::from_utf8(collect(&paused.files).stdout).unwrap();
    assert!(again.contains("scanned: 0 manifests, 0 links, 0 blobs"), "{again}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_that_pauses_is_stopped_by_a_signal_and_writes_nothing() {
    let mut paused = Paused::begin().await;
    paused.program.signal("TERM");
    assert!(!paused.program.end().await.success());
    assert_eq!(paused.changes(), 1, "neither its hold nor its summary");
    let summary = paused.summary();
    assert_eq!(summary["succeeded"], false);
    let message = summary["message"].as_str().unwrap();
    assert!(message.contains("it was told to stop") && message.contains("bucket images"), "{message}");
}

#[tokio::test]
async fn a_bucket_behind_an_authority_of_ones_own_is_reached_with_its_certificate() {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = (directory.path().join("tls.crt"), directory.path().join("tls.key"));
    fs::write(&certificate, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let server = S3Server::over_tls(&certificate, &key).await;
    let files = Files::new(&server.url);
    files.add(&format!("  caFile: {}\n", certificate.display()));
    let registry = Served::start(&files).await;
    assert_eq!(registry.push(b"content").await.status(), StatusCode::CREATED);
    assert!(server.file("docker/registry/v2/blobs").exists());
    registry.end().await;
}

/// As EKS Pod Identity gives them: from an address of the node's, for a token.
#[tokio::test]
async fn credentials_come_from_the_platform() {
    use wiremock::matchers::{any, header, method, path};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    let (platform, bucket) = (MockServer::start().await, MockServer::start().await);
    let given = serde_json::json!({
        "AccessKeyId": "of-the-platform", "SecretAccessKey": "canary", "Token": "session-of-the-platform",
        "Expiration": "2999-01-01T00:00:00Z",
    });
    let asked =
        Mock::given(method("GET")).and(path("/v1/credentials")).and(header("authorization", "token-of-the-pod"));
    asked.respond_with(ResponseTemplate::new(200).set_body_json(given)).expect(1..).mount(&platform).await;
    // The S3 server knows no sessions: that the bucket is asked with what was given is of interest here.
    Mock::given(any()).respond_with(ResponseTemplate::new(403)).mount(&bucket).await;
    let files = Files::new(&bucket.uri());
    let store = files.path("store.yaml");
    fs::write(&store, format!("s3:\n  bucket: images\n  endpoint: {}\n", bucket.uri())).unwrap();
    let mut command = command("registry", &store);
    command.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{}/v1/credentials", platform.uri()));
    command.env("AWS_CONTAINER_AUTHORIZATION_TOKEN", "token-of-the-pod");
    command.args(["--listen", "127.0.0.1:0"]);
    let mut program = Program::spawn(&mut command);
    assert!(!program.end().await.success());
    let first = bucket.received_requests().await.unwrap().swap_remove(0);
    let header = |name: &str| first.headers[name].to_str().unwrap();
    assert_eq!(header("x-amz-security-token"), "session-of-the-platform");
    assert!(header("authorization").contains("Credential=of-the-platform/"), "{first:?}");
    assert!(!program.text().contains("canary"));
}

#[tokio::test]
async fn a_key_to_encrypt_with_is_neither_logged_nor_printed() {
    use wiremock::matchers::any;
    use wiremock::{Mock, MockServer, ResponseTemplate};

    const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    let bucket = MockServer::start().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(403)).mount(&bucket).await;
    let files = Files::new(&bucket.uri());
    fs::write(files.path("key"), format!("{KEY}\n")).unwrap();
    fs::write(files.path("keys.yaml"), "accountKey: Y2FuYXJ5\n").unwrap();
    let [key, keys] = ["key", "keys.yaml"].map(|name| files.path(name).display().to_string());
    let text = format!(
        "azure:\n  container: images\n  account: account\n  endpoint: {}\n  encryption:\n    customer:\n      keyFile: {key}\n  \
         credentials:\n    file: {keys}\n",
        bucket.uri()
    );
    let store = files.path("store.yaml");
    fs::write(&store, text).unwrap();
    let printed = command("registry", &store).arg("--print-config").output().unwrap();
    let printed = String::from_utf8([printed.stdout, printed.stderr].concat()).unwrap();
    assert!(printed.contains("store.yaml") && !printed.contains(KEY), "{printed}");
    let mut command = command("registry", &store);
    let mut program = Program::spawn(command.env("REGATTA_LOG", "trace").args(["--listen", "127.0.0.1:0"]));
    assert!(!program.end().await.success());
    let asked = bucket.received_requests().await.unwrap();
    assert!(
        asked.iter().any(|asked| asked.headers.get("x-ms-encryption-key").is_some_and(|key| key == KEY)),
        "{asked:?}"
    );
    let text = program.text();
    assert!(!text.contains(KEY) && !text.contains("0123456789abcdef"), "{text}");
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

/// A body of which so much comes, and then nothing for ever; how much of it was taken is counted.
fn stalling(piece: &bytes::Bytes, pieces: usize, taken: &Arc<AtomicUsize>) -> reqwest::Body {
    use futures::StreamExt as _;
    let (piece, taken) = (piece.clone(), Arc::clone(taken));
    let bytes = futures::stream::iter(0..pieces).map(move |_| {
        taken.fetch_add(piece.len(), Ordering::SeqCst);
        Ok::<_, std::io::Error>(piece.clone())
    });
    reqwest::Body::wrap_stream(bytes.chain(futures::stream::pending()))
}

/// Parts that are not full yet were held without a bound.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_uploads_that_stall_are_held_in_bounded_memory() {
    const UPLOADS: usize = 60;
    let server = S3Server::start().await;
    let files = Files::new(&server.url);
    let registry = Served::start(&files).await;
    let idle = registry.program.peak_kib();
    let (piece, taken) = (bytes::Bytes::from(vec![7; MEBIBYTE / 4]), Arc::new(AtomicUsize::new(0)));
    let mut stalled = Vec::new();
    for _ in 0..UPLOADS {
        let begun = client().post(format!("{}/v2/app/blobs/uploads/", registry.url));
        let begun = begun.basic_auth("admin", Some(PASSWORD)).send().await.unwrap();
        let location = begun.headers()["location"].to_str().unwrap().to_owned();
        let patch = client().patch(format!("{}{location}", registry.url)).basic_auth("admin", Some(PASSWORD));
        stalled.push(tokio::spawn(patch.body(stalling(&piece, 30, &taken)).send()));
    }
    let (mut last, mut since) = (0, std::time::Instant::now());
    eventually("no more is taken", async || {
        let now = taken.load(Ordering::SeqCst);
        if now != last {
            (last, since) = (now, std::time::Instant::now());
        }
        if now > UPLOADS * MEBIBYTE / 4 && since.elapsed() > std::time::Duration::from_secs(3) {
            Ok(())
        } else {
            Err(now)
        }
    })
    .await;
    let held = registry.program.peak_kib();
    println!("idle {idle} KiB, with {UPLOADS} uploads that stall {held} KiB; {last} bytes were taken");
    assert!(held - idle < 190 * 1024, "idle {idle} KiB, then {held} KiB");
    // Others are served meanwhile.
    assert_eq!(registry.push(b"content").await.status(), StatusCode::CREATED);
    stalled.iter().for_each(tokio::task::JoinHandle::abort);
    // And what they held is free again.
    let large: &'static [u8] = vec![9; 20 * MEBIBYTE].leak();
    assert_eq!(registry.push(large).await.status(), StatusCode::CREATED);
}

/// A body of which so much comes at once, and then some bytes now and then, for ever.
fn trickling(piece: &bytes::Bytes, pieces: usize, taken: &Arc<AtomicUsize>) -> reqwest::Body {
    use futures::StreamExt as _;
    let (piece, taken) = (piece.clone(), Arc::clone(taken));
    let bytes = futures::stream::iter(0..pieces).map(move |_| {
        taken.fetch_add(piece.len(), Ordering::SeqCst);
        Ok::<_, std::io::Error>(piece.clone())
    });
    let some = bytes::Bytes::from_static(&[7; 1_000]);
    let trickle = futures::stream::unfold((), move |()| {
        let some = some.clone();
        async move {
            tokio::time::sleep(std::time::Duration::from_millis(250)).await;
            Some((Ok(some), ()))
        }
    });
    reqwest::Body::wrap_stream(bytes.chain(trickle))
}

/// Each had room for a part once a little of it had come, however slowly the rest came: some dozens of them stopped all
/// others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_that_trickle_keep_nobody_from_uploading() {
    const UPLOADS: usize = 120;
    let server = S3Server::start().await;
    let files = Files::new(&server.url);
    let registry = Served::start(&files).await;
    let idle = registry.program.peak_kib();
    let (piece, taken) = (bytes::Bytes::from(vec![7; MEBIBYTE / 4]), Arc::new(AtomicUsize::new(0)));
    let (mut trickling_ones, mut locations) = (Vec::new(), Vec::new());
    for _ in 0..UPLOADS {
        let begun = client().post(format!("{}/v2/app/blobs/uploads/", registry.url));
        let begun = begun.basic_auth("admin", Some(PASSWORD)).send().await.unwrap();
        let location = format!("{}{}", registry.url, begun.headers()["location"].to_str().unwrap());
        let patch = client().patch(&location).basic_auth("admin", Some(PASSWORD));
        trickling_ones.push(tokio::spawn(patch.body(trickling(&piece, 5, &taken)).send()));
        locations.push(location);
    }
    eventually("most have sent what they send at once", async || match taken.load(Ordering::SeqCst) {
        most if most > UPLOADS * MEBIBYTE / 2 => Ok(()),
        few => Err(few),
    })
    .await;
    let large: &'static [u8] = vec![9; 50_000_000].leak();
    let began = std::time::Instant::now();
    let pushed = tokio::time::timeout(std::time::Duration::from_secs(90), registry.push(large)).await;
    assert_eq!(pushed.expect("others are kept waiting").status(), StatusCode::CREATED);
    println!("50 MB beside {UPLOADS} uploads that trickle: {:.1} s", began.elapsed().as_secs_f64());
    let held = registry.program.peak_kib();
    println!("idle {idle} KiB, then {held} KiB");
    assert!(held - idle < 190 * 1024, "idle {idle} KiB, then {held} KiB");
    // Who gave way is told so, and what came of his is kept.
    let gave_way = trickling_ones.iter().position(tokio::task::JoinHandle::is_finished).expect("somebody gave way");
    let answer = trickling_ones.swap_remove(gave_way).await.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT);
    let status = client().get(&locations[gave_way]).basic_auth("admin", Some(PASSWORD)).send().await.unwrap();
    assert_eq!(status.status(), StatusCode::NO_CONTENT);
    let range = status.headers()["range"].to_str().unwrap().to_owned();
    let end: usize = range.strip_prefix("0-").unwrap().parse().unwrap();
    assert!(end > MEBIBYTE / 2, "{range}");
    trickling_ones.iter().for_each(tokio::task::JoinHandle::abort);
}
