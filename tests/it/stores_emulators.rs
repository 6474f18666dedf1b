//! Emulators of the services that cannot run here, where there is one: fake-gcs-server of Google Cloud Storage, Azurite
//! (Microsoft's own) of Azure Blob Storage.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::TryStreamExt as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use regatta::store::bucket::Bucket;
use regatta::store::config::{Azure, AzureEncryption, Credentials, CustomerKey, Gcs, Secrets, Service};
use regatta::store::{Backend as _, Durability, Exclusive, Key, Published, Store};
use sha2::Digest as _;
use tempfile::TempDir;

use crate::program::Program;
use crate::stores_suite::suite;
use crate::stores_support::{Proxy, client, patience, program};

const ACCOUNT: &str = "account";
const ACCOUNT_KEY: &[u8] = b"for-tests-only";

/// A program that answers on a port.
pub struct Emulator {
    pub url: String,
    _process: Program,
    _home: TempDir,
}

impl Emulator {
    /// Starts what `command` makes for a port and a directory.
    pub async fn start(command: impl Fn(u16, &TempDir) -> Command) -> Self {
        let home = tempfile::tempdir().unwrap();
        let (process, [port]) = Program::at_free_ports(|[port]| {
            let mut command = command(port, &home);
            command.current_dir(home.path());
            command
        })
        .await;
        Self::over(format!("http://127.0.0.1:{port}"), process, home)
    }

    /// One that runs.
    pub fn over(url: String, process: Program, home: TempDir) -> Self {
        Self { url, _process: process, _home: home }
    }
}

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

async fn check(service: Service, secrets: Secrets, size: usize) {
    let bucket = Bucket::open(&service, &secrets, client(), key("tmp"), patience()).await.unwrap();
    assert_eq!(bucket.abilities().exclusive, Exclusive::Yes);
    check_bucket(&bucket, size).await;
}

/// What the suite does, and what only long listings and an object of this many bytes show.
pub async fn check_bucket(bucket: &Bucket, size: usize) {
    suite::run(&(Arc::new(bucket.clone()) as Store)).await;
    a_large_object_is_published_once(bucket, size).await;
    long_listings_are_paged(bucket).await;
}

async fn a_large_object_is_published_once(bucket: &Bucket, size: usize) {
    let (temporary, name) = (key("tmp/large"), key("data/large"));
    let content: Vec<u8> = (0..size).map(|at| u8::try_from((at / 7 + at / 65_536) % 251).unwrap()).collect();
    let mut writer = bucket.temporary(&temporary).await.unwrap();
    for chunk in content.chunks(1_000_000) {
        writer.write(Bytes::copy_from_slice(chunk)).await.unwrap();
    }
    assert_eq!(writer.finish(Durability::Durable).await.unwrap(), content.len() as u64);
    assert_eq!(bucket.publish(&temporary, &name, Durability::Durable).await.unwrap(), Published::Created);
    assert_eq!(bucket.publish(&temporary, &name, Durability::Durable).await.unwrap(), Published::Exists);
    for (start, length) in [(0, size as u64), (1_234_567, 5_000_000)] {
        let object = bucket.open(&name).await.unwrap().unwrap();
        let chunks: Vec<Bytes> = object.stream(start, length).try_collect().await.unwrap();
        let range = usize::try_from(start).unwrap()..usize::try_from(start + length).unwrap();
        assert!(chunks.concat() == content[range], "{start}, {length}");
    }
}

async fn long_listings_are_paged(bucket: &Bucket) {
    let names: Vec<String> = (0..120).map(|n| format!("n{n:03}")).collect();
    for name in &names {
        bucket.put_new(&key(&format!("many/{name}!/x")), "".into(), Durability::Volatile).await.unwrap();
    }
    let (mut listed, mut after) = (Vec::new(), None::<String>);
    loop {
        let page = bucket.children(&key("many"), after.as_deref(), 50).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(format!("{}/", last.name));
        listed.extend(page.into_iter().map(|child| child.name.trim_end_matches('!').to_owned()));
    }
    assert_eq!(listed, names);
}

/// fake-gcs-server with a bucket, and how it is reached.
pub async fn google() -> (Emulator, Service, Secrets) {
    let emulator = Emulator::start(|port, home| {
        let bucket = home.path().join("images");
        std::fs::create_dir_all(bucket).unwrap();
        let mut command = Command::new(program("emulators", "fake-gcs-server"));
        command.args(["-scheme", "http", "-host", "127.0.0.1", "-backend", "memory", "-port", &port.to_string()]);
        command.args(["-external-url", &format!("http://127.0.0.1:{port}")]).arg("-data").arg(home.path());
        command
    })
    .await;
    let service = Service::Gcs(Gcs {
        bucket: "images".parse().unwrap(),
        prefix: "city".parse().unwrap(),
        endpoint: Some(emulator.url.parse().unwrap()),
        credentials: Credentials::Directory("unused".into()),
        ca_file: None,
        redirect: false,
    });
    (emulator, service, Secrets { token: Some("for-tests".into()), ..Secrets::default() })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emulator_of_google_cloud_storage() {
    let (_emulator, service, secrets) = google().await;
    // Not in parts: the emulator does not know the XML API's multipart uploads.
    check(service, secrets, 7_000_000).await;
}

/// Azurite with a container, and how it is reached.
pub async fn azure() -> (Emulator, Service, Secrets) {
    azure_with(&[]).await
}

async fn azure_with(arguments: &[&str]) -> (Emulator, Service, Secrets) {
    let emulator = Emulator::start(|port, _| {
        let mut command = Command::new(program("emulators", "azurite"));
        command.args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string()]);
        command.args(["--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--silent"]);
        command.args(arguments).env("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{}", STANDARD.encode(ACCOUNT_KEY)));
        command
    })
    .await;
    let endpoint = format!("{}/{ACCOUNT}", emulator.url);
    create_container(&endpoint).await;
    let service = Service::Azure(Azure {
        container: "images".parse().unwrap(),
        account: ACCOUNT.parse().unwrap(),
        prefix: "city".parse().unwrap(),
        endpoint: Some(endpoint.parse().unwrap()),
        encryption: None,
        credentials: Credentials::Directory("unused".into()),
        ca_file: None,
        redirect: false,
    });
    let secrets = Secrets { account_key: Some(STANDARD.encode(ACCOUNT_KEY).into()), ..Secrets::default() };
    (emulator, service, secrets)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emulator_of_azure_blob_storage() {
    let (_emulator, service, secrets) = azure().await;
    check(service.clone(), secrets.clone(), 20_000_000).await;
    clients_may_read_one_blob(service, &secrets).await;
}

/// Whatever makes a blob, reads it or looks at it. Nothing is copied on Azure's side, which takes no key for that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn azure_is_given_a_customers_key_with_each_request_that_needs_it() {
    // The emulator encrypts nothing, and takes no key unless it is told not to mind.
    let (emulator, service, secrets) = azure_with(&["--loose"]).await;
    let proxy = Proxy::start(emulator.url.clone(), PathBuf::new()).await;
    let Service::Azure(azure) = service else { panic!("{service:?}") };
    let endpoint = Some(format!("{}/{ACCOUNT}", proxy.url).parse().unwrap());
    let encryption = Some(AzureEncryption::Customer(CustomerKey { key_file: "unused".into() }));
    let key = [7; 32];
    let (encoded, hash) = (STANDARD.encode(key), STANDARD.encode(sha2::Sha256::digest(key)));
    let secrets = Secrets { encryption_key: Some(encoded.clone().into()), ..secrets };
    check(Service::Azure(Azure { endpoint, encryption, ..azure }), secrets, 20_000_000).await;
    let mut parts = 0;
    for (head, _) in proxy.calm() {
        assert!(!head.headers.contains_key("x-ms-copy-source"), "{head:?}");
        if head.method == http::Method::DELETE || head.target.contains("restype=container") {
            continue;
        }
        let value = |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap());
        assert_eq!(value("x-ms-encryption-key"), Some(encoded.as_str()), "{head:?}");
        assert_eq!(value("x-ms-encryption-key-sha256"), Some(hash.as_str()), "{head:?}");
        assert_eq!(value("x-ms-encryption-algorithm"), Some("AES256"), "{head:?}");
        parts += usize::from(head.target.contains("comp=block"));
    }
    assert!(parts > 2, "{parts}");
}

/// Where they are sent to, and nothing else.
async fn clients_may_read_one_blob(service: Service, secrets: &Secrets) {
    let Service::Azure(azure) = service else { panic!("{service:?}") };
    let service = Service::Azure(Azure { redirect: true, ..azure });
    let bucket = Bucket::open(&service, secrets, client(), key("tmp"), patience()).await.unwrap();
    let name = key("data/redirected");
    bucket.put_new(&name, "content".into(), Durability::Durable).await.unwrap();
    bucket.put_new(&key("data/other"), "content".into(), Durability::Durable).await.unwrap();
    let url = bucket.redirect(&name).await.unwrap().unwrap();
    assert!(!url.contains(&STANDARD.encode(ACCOUNT_KEY)));
    assert_eq!(client().get(&url).send().await.unwrap().text().await.unwrap(), "content");
    let (path, query) = url.split_once('?').unwrap();
    let container = path.strip_suffix("/city/data/redirected").unwrap();
    let refused = [
        client().delete(&url),
        client().put(&url).header("x-ms-blob-type", "BlockBlob").body("other"),
        client().get(format!("{container}/city/data/other?{query}")),
        client().get(format!("{container}?restype=container&comp=list&{query}")),
        client().get(path),
    ];
    for request in refused {
        let asked = format!("{request:?}");
        let status = request.send().await.unwrap().status().as_u16();
        assert!([401, 403, 404].contains(&status), "{status}: {asked}");
    }
    assert_eq!(bucket.read(&name).await.unwrap().unwrap(), "content");
}

/// Signed with the account's key ("Authorize with Shared Key" of the REST reference): nothing of ours makes containers.
async fn create_container(endpoint: &str) {
    let date = jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let (version, empty) = ("2021-12-02", "\n".repeat(12));
    let signed =
        format!("PUT{empty}x-ms-date:{date}\nx-ms-version:{version}\n/{ACCOUNT}/{ACCOUNT}/images\nrestype:container");
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(ACCOUNT_KEY).unwrap();
    mac.update(signed.as_bytes());
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    let request = client().put(format!("{endpoint}/images?restype=container")).header("x-ms-date", date);
    let request = request.header("x-ms-version", version).header("content-length", "0");
    let answer = request.header("authorization", format!("SharedKey {ACCOUNT}:{signature}")).send().await.unwrap();
    assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
}
