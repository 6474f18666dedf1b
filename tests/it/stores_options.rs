//! What the options of a store file do: on the wire, as the proxy before an S3 server sees it, and to clients.

use std::sync::Arc;

use http::{Method, header};
use regatta::oci::Digest;
use regatta::registry::layout;
use regatta::store::bucket::Bucket;
use regatta::store::config::{
    Azure, AzureEncryption, Credentials, CustomerKey, Prefix, S3, S3Encryption, Secrets, Service,
};
use regatta::store::{Backend as _, Durability, Key};

use crate::registry_support::Fixture;
use crate::stores_support::{Fault, Head, S3Server, client, open, patience, s3, secrets};

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

/// What objects are encrypted with where the service is given a key: 32 bytes.
const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
/// Its MD5, which Amazon has beside it.
const KEY_MD5: &str = "hRasmdxgYDKV3nvbahU1MA==";

/// What was asked while a small and a large object were made, published, listed, read and deleted.
async fn asked(configure: impl Fn(S3) -> S3) -> Vec<Head> {
    let server = S3Server::start().await;
    let proxy = server.proxy().await;
    let service = Service::S3(configure(s3(&proxy.url)));
    let secrets = Secrets { encryption_key: Some(KEY.into()), ..secrets() };
    let bucket = Bucket::open(&service, &secrets, client(), key("tmp"), patience()).await.unwrap();
    proxy.calm();
    bucket.put_new(&key("small/a"), "value".into(), Durability::Durable).await.unwrap();
    let mut writer = bucket.temporary(&key("tmp/large")).await.unwrap();
    writer.write(vec![7; 17_000_000].into()).await.unwrap();
    writer.finish(Durability::Durable).await.unwrap();
    bucket.publish(&key("tmp/large"), &key("data/large"), Durability::Durable).await.unwrap();
    bucket.publish(&key("small/a"), &key("data/small"), Durability::Durable).await.unwrap();
    assert_eq!(bucket.children(&key("data"), None, 10).await.unwrap().len(), 2);
    assert_eq!(bucket.read(&key("data/small")).await.unwrap().unwrap(), "value");
    bucket.delete(&key("tmp/large")).await.unwrap();
    proxy.calm().into_iter().map(|(head, _)| head).collect()
}

/// Whether a request makes an object, or begins to: what says how it is encrypted.
fn makes(head: &Head) -> bool {
    match head.method {
        Method::PUT => !head.target.contains("uploadId="),
        Method::POST => head.target.contains("?uploads"),
        _ => false,
    }
}

#[tokio::test]
async fn a_prefix_is_before_every_key() {
    let asked = asked(|s3| S3 { prefix: "some/city".parse().unwrap(), ..s3 }).await;
    for head in &asked {
        let lists = head.target.contains("list-type=2") && head.target.contains("prefix=some/city/data/");
        assert!(head.target.starts_with("/images/some/city/") || lists, "{head:?}");
    }
    assert!(asked.len() > 10, "{asked:?}");
}

#[tokio::test]
async fn everything_that_is_made_says_how_it_is_encrypted() {
    let kms = S3Encryption::Kms { key: Some("arn:aws:kms:eu-central-1:1:key/2".into()) };
    let default = S3Encryption::Kms { key: None };
    for (encryption, algorithm, id) in [
        (S3Encryption::Aes256, "AES256", None),
        (default, "aws:kms", None),
        (kms, "aws:kms", Some("arn:aws:kms:eu-central-1:1:key/2")),
    ] {
        let asked = asked(|s3| S3 { encryption: Some(encryption.clone()), ..s3 }).await;
        let made: Vec<&Head> = asked.iter().filter(|head| makes(head)).collect();
        assert!(made.len() >= 4, "{asked:?}");
        for head in made {
            let value = |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap());
            assert_eq!(value("x-amz-server-side-encryption"), Some(algorithm), "{head:?}");
            assert_eq!(value("x-amz-server-side-encryption-aws-kms-key-id"), id, "{head:?}");
        }
    }
    let plain = asked(|s3| s3).await;
    assert!(plain.iter().all(|head| !head.headers.contains_key("x-amz-server-side-encryption")));
}

/// Whatever makes an object, reads it, looks at it or copies it: the service keeps no key.
#[tokio::test]
async fn amazon_is_given_a_customers_key_with_each_request_that_needs_it() {
    let customer = S3Encryption::Customer(CustomerKey { key_file: "unused".into() });
    let asked = asked(|s3| S3 { encryption: Some(customer.clone()), ..s3 }).await;
    let needs = |head: &&Head| {
        let lists = head.target.contains("list-type=2");
        !lists && head.method != Method::DELETE && (head.method != Method::POST || head.target.contains("?uploads"))
    };
    let (mut parts, mut copies) = (0, 0);
    for head in asked.iter().filter(needs) {
        let value = |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap());
        let given = |prefix: &str| {
            ["algorithm", "key", "key-md5"]
                .map(|field| value(&format!("{prefix}server-side-encryption-customer-{field}")))
        };
        assert_eq!(given("x-amz-"), [Some("AES256"), Some(KEY), Some(KEY_MD5)], "{head:?}");
        let is_copy = value("x-amz-copy-source").is_some();
        let source = if is_copy { [Some("AES256"), Some(KEY), Some(KEY_MD5)] } else { [None; 3] };
        assert_eq!(given("x-amz-copy-source-"), source, "{head:?}");
        parts += usize::from(head.target.contains("partNumber="));
        copies += usize::from(is_copy);
    }
    assert!(parts > 0 && copies > 0, "{asked:?}");
}

#[tokio::test]
async fn no_client_is_sent_to_what_only_the_registrys_key_opens() {
    let customer = || CustomerKey { key_file: "unused".into() };
    let s3 = S3 { redirect: true, encryption: Some(S3Encryption::Customer(customer())), ..s3("http://127.0.0.1:1") };
    let azure = Azure {
        container: "images".parse().unwrap(),
        account: "account".parse().unwrap(),
        prefix: Prefix::default(),
        endpoint: Some("http://127.0.0.1:1".parse().unwrap()),
        encryption: Some(AzureEncryption::Customer(customer())),
        credentials: Credentials::Directory("unused".into()),
        ca_file: None,
        redirect: true,
    };
    let secrets = Secrets { encryption_key: Some(KEY.into()), account_key: Some("Y2FuYXJ5".into()), ..secrets() };
    for service in [Service::S3(s3), Service::Azure(azure)] {
        let refused = Bucket::open(&service, &secrets, client(), key("tmp"), patience()).await.unwrap_err().to_string();
        assert!(refused.contains("`redirect`") && refused.contains("`encryption.customer`"), "{refused}");
        assert!(!refused.contains(KEY), "{refused}");
    }
}

/// The bucket is in the host's name where nobody says otherwise and no endpoint is given, and where that is asked for.
#[tokio::test]
async fn the_bucket_is_in_the_path_or_in_the_hosts_name() {
    let server = S3Server::start().await;
    let proxy = server.proxy().await;
    let address = proxy.url.trim_start_matches("http://").parse().unwrap();
    for (path_style, host, path) in
        [(None, "s3.example.test", "/images/tmp/"), (Some(false), "images.s3.example.test", "/tmp/")]
    {
        // What is asked is of interest here, and not what is answered: the first answer ends it.
        proxy.calm();
        proxy.plan(|_| Fault::Refuse(403, "AccessDenied"));
        let client = reqwest::Client::builder().resolve(host, address).build().unwrap();
        let service = Service::S3(S3 { path_style, ..s3("http://s3.example.test") });
        let refused = Bucket::open(&service, &secrets(), client, key("tmp"), patience()).await;
        assert!(refused.is_err());
        let asked = proxy.calm();
        let (first, _) = asked.first().unwrap();
        assert!(first.target.starts_with(path), "{first:?}");
        assert_eq!(first.headers[header::HOST], host, "{first:?}");
    }
}

/// By whoever may read it here, and only where that was asked for.
#[tokio::test]
async fn clients_are_redirected_for_the_bytes_of_blobs_only() {
    let server = S3Server::start().await;
    let service = Service::S3(S3 { redirect: true, ..s3(&server.url) });
    let bucket = Bucket::open(&service, &secrets(), client(), layout::temporaries(), patience()).await.unwrap();
    let fixture = Fixture::over(Arc::new(bucket)).await;
    let digest = fixture.push_image("team/app", "v1", b"content").await;
    let path = format!("/v2/team/app/blobs/{}", Digest::sha256(b"content"));
    let ask = async |who: &str, method: Method, path: &str| {
        let url = format!("{}{path}", fixture.url);
        let request = client().request(method, url);
        if who.is_empty() { request } else { request.basic_auth(who, Some(who)) }.send().await.unwrap()
    };
    let redirected = ask("root", Method::GET, &path).await;
    assert_eq!(redirected.status(), 307);
    let header = |name: &str| redirected.headers()[name].to_str().unwrap();
    assert_eq!(header("docker-content-digest"), Digest::sha256(b"content").as_str());
    assert_eq!(header("cache-control"), "no-store");
    let url = header("location");
    assert!(url.starts_with(&server.url), "{url}");
    assert_eq!(client().get(url).send().await.unwrap().text().await.unwrap(), "content");
    let has_it = |who: &'static str| {
        let request = client().get(format!("{}{path}", fixture.url)).basic_auth(who, Some(who));
        request.header("if-none-match", format!("\"{}\"", Digest::sha256(b"content"))).send()
    };
    assert_eq!(has_it("root").await.unwrap().status(), 304);
    assert_eq!(has_it("stranger").await.unwrap().status(), 403);
    assert_eq!(ask("root", Method::HEAD, &path).await.status(), 200);
    assert_eq!(ask("", Method::GET, &path).await.status(), 401);
    assert_eq!(ask("stranger", Method::GET, &path).await.status(), 403);
    assert_eq!(ask("root", Method::GET, &format!("/v2/team/app/manifests/{digest}")).await.status(), 200);
    assert_eq!(ask("root", Method::DELETE, &path).await.status(), 202);
    assert_eq!(ask("root", Method::GET, &path).await.status(), 404);

    let plain = fixture.replica_over(Arc::new(open(&server.url).await)).await;
    plain.push_blob("team/app", b"content").await;
    let answer = client().get(format!("{}{path}", plain.url)).basic_auth("root", Some("root")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn clients_are_told_how_long_a_chunk_should_be() {
    let server = S3Server::start().await;
    let fixture = Fixture::over(Arc::new(open(&server.url).await)).await;
    let begin = async |fixture: &Fixture| {
        let answer = fixture.request("root", Method::POST, "/v2/team/app/blobs/uploads/").send().await.unwrap();
        answer.headers().get("oci-chunk-min-length").map(|length| length.to_str().unwrap().to_owned())
    };
    assert_eq!(begin(&fixture).await.as_deref(), Some("5242880"));
    assert_eq!(begin(&Fixture::start().await).await, None);
}
