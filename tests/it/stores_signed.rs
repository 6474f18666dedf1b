//! Google Cloud Storage with the key of a service account: what its tokens are asked for with, and that the URLs which
//! clients are sent to are signed as Google's reference says.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use percent_encoding::percent_decode_str;
use rcgen::{KeyPair, PKCS_RSA_SHA256, PublicKeyData as _, RsaKeySize};
use regatta::oci::Digest;
use regatta::registry::layout;
use regatta::store::bucket::Bucket;
use regatta::store::config::{Credentials, Gcs, Secrets, Service};
use regatta::store::{Backend as _, Durability, Key};
use serde_json::{Value, json};

use crate::registry_support::Fixture;
use crate::stores_fake::{Dialect, Fake};
use crate::stores_support::{client, patience};

const EMAIL: &str = "registry@project.iam.gserviceaccount.com";

/// A service account: its key, and whether something is signed with that.
struct Account {
    key: KeyPair,
}

impl Account {
    fn new() -> Self {
        crate::program::like_main();
        Self { key: KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap() }
    }

    fn secrets(&self) -> Secrets {
        let key = json!({"type": "service_account", "client_email": EMAIL, "private_key": self.key.serialize_pem(),
            "token_uri": "http://oauth2.example.test/token"});
        Secrets { service_account_key: Some(key.to_string().into()), ..Secrets::default() }
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256.
    fn has_signed(&self, message: &str, signature: &[u8]) -> bool {
        let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
        let rsa = rustls::SignatureScheme::RSA_PKCS1_SHA256;
        let (_, algorithms) = algorithms.mapping.iter().find(|(scheme, _)| *scheme == rsa).unwrap();
        algorithms.iter().any(|it| it.verify_signature(self.key.der_bytes(), message.as_bytes(), signature).is_ok())
    }

    /// "V4 signing process with your own program" of the reference.
    fn assert_signed(&self, url: &str, path: &str, encoded: &str) {
        let (place, query) = url.split_once('?').unwrap();
        assert_eq!(place, format!("http://storage.example.test{path}"));
        let mut pairs: Vec<&str> = query.split('&').collect();
        let at = pairs.iter().position(|pair| pair.starts_with("X-Goog-Signature=")).expect("it is signed");
        let signature = pairs.remove(at).trim_start_matches("X-Goog-Signature=");
        pairs.sort_unstable();
        let value = |name: &str| {
            let found = pairs.iter().find_map(|pair| pair.strip_prefix(&format!("{name}="))).unwrap_or_default();
            percent_decode_str(found).decode_utf8().unwrap().into_owned()
        };
        assert_eq!(value("X-Goog-Algorithm"), "GOOG4-RSA-SHA256");
        assert_eq!(value("X-Goog-SignedHeaders"), "host", "a client sends none of ours");
        assert_eq!(value("X-Goog-Expires"), "600");
        let date = value("X-Goog-Date");
        let credential = value("X-Goog-Credential");
        let (email, scope) = credential.split_once('/').unwrap();
        assert_eq!((email, scope), (EMAIL, format!("{}/auto/storage/goog4_request", &date[..8]).as_str()));
        let written: jiff::civil::DateTime = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", &date).unwrap();
        let age = jiff::Timestamp::now().duration_since(written.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp());
        assert!(age.as_secs().abs() < 60, "{date}");
        let canonical =
            ["GET", encoded, &pairs.join("&"), "host:storage.example.test", "", "host", "UNSIGNED-PAYLOAD"].join("\n");
        let digest = Digest::sha256(canonical.as_bytes());
        let hashed = digest.as_str().trim_start_matches("sha256:");
        let signed = ["GOOG4-RSA-SHA256", &date, scope, hashed].join("\n");
        let bytes: Vec<u8> = (0..signature.len() / 2)
            .map(|at| u8::from_str_radix(&signature[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        assert!(self.has_signed(&signed, &bytes), "{canonical}");
        assert!(!self.has_signed(&format!("{signed} "), &bytes), "whoever signs anything");
    }
}

fn service() -> Service {
    Service::Gcs(Gcs {
        bucket: "images".parse().unwrap(),
        prefix: "city".parse().unwrap(),
        endpoint: Some("http://storage.example.test".parse().unwrap()),
        credentials: Credentials::Directory("unused".into()),
        ca_file: None,
        redirect: true,
    })
}

#[tokio::test]
async fn clients_are_sent_to_google_by_a_url_that_the_service_account_signed() {
    let (fake, account) = (Fake::start(Dialect::Gcs).await, Account::new());
    let open = async || {
        Bucket::open(&service(), &account.secrets(), fake.client(), layout::temporaries(), patience()).await.unwrap()
    };
    let fixture = Fixture::over(Arc::new(open().await)).await;
    let digest = fixture.push_blob("team/app", b"content").await;
    let path = format!("/v2/team/app/blobs/{digest}");
    let answer = client().get(format!("{}{path}", fixture.url)).basic_auth("root", Some("root")).send().await.unwrap();
    assert_eq!(answer.status(), 307);
    let hex = digest.as_str().trim_start_matches("sha256:");
    let object = format!("/images/city/docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]);
    account.assert_signed(answer.headers()["location"].to_str().unwrap(), &object, &object);
    assert_eq!(fixture.request("root", Method::HEAD, &path).send().await.unwrap().status(), 200);
    // What a URL may have as it is, and is signed encoded.
    let url = open().await.redirect(&Key::new("data/a+b~c").unwrap()).await.unwrap().unwrap();
    account.assert_signed(&url, "/images/city/data/a+b~c", "/images/city/data/a%2Bb~c");
}

/// It was asked for before each request, which doubled what a request costs.
#[tokio::test]
async fn a_token_for_a_service_account_is_asked_for_once() {
    let (fake, account) = (Fake::start(Dialect::Gcs).await, Account::new());
    let bucket = Bucket::open(&service(), &account.secrets(), fake.client(), Key::new("tmp").unwrap(), patience())
        .await
        .unwrap();
    for name in ["a", "b", "c"] {
        bucket.put_new(&Key::new(name).unwrap(), "value".into(), Durability::Durable).await.unwrap();
    }
    let (tokens, asked): (Vec<_>, Vec<_>) =
        fake.asked().into_iter().partition(|asked| asked.host == "oauth2.example.test");
    assert_eq!(tokens.len(), 1, "{tokens:?}");
    // The URL of an upload that was begun is its own leave.
    let signed: Vec<_> = asked.iter().filter(|asked| !asked.query.contains_key("upload_id")).collect();
    assert!(signed.len() > 10, "{asked:?}");
    assert!(signed.iter().all(|asked| asked.header("authorization") == "Bearer made-by-oauth2"), "{signed:?}");
    let body = String::from_utf8(tokens[0].body.to_vec()).unwrap();
    assert!(body.starts_with("grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&"), "{body}");
    let (signed, signature) = body.split_once("assertion=").unwrap().1.rsplit_once('.').unwrap();
    assert!(account.has_signed(signed, &URL_SAFE_NO_PAD.decode(signature).unwrap()));
    let claims = URL_SAFE_NO_PAD.decode(signed.split_once('.').unwrap().1).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["iss"], EMAIL);
    assert!(claims["scope"].as_str().unwrap().contains("devstorage.read_write"), "{claims}");
}
