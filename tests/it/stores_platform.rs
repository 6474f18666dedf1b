//! Credentials that the platform gives a workload, as processes take them: what the identity service is asked for, that the
//! bucket is asked with what it handed out, and that this is renewed before it ends.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hmac::{Hmac, KeyInit as _, Mac as _};
use percent_encoding::percent_decode_str;
use regatta::oci::Digest;
use serde_json::json;
use tempfile::TempDir;
use wiremock::matchers::{any, method, path};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use crate::program::{Program, eventually, regatta};

/// A platform with an identity service, and a bucket that answers nothing but that it is busy, so that it is asked again
/// and again.
struct Platform {
    identity: MockServer,
    bucket: MockServer,
    home: TempDir,
    granted: Arc<AtomicU64>,
}

impl Platform {
    async fn start() -> Self {
        let (identity, bucket) = (MockServer::start().await, MockServer::start().await);
        Mock::given(any()).respond_with(ResponseTemplate::new(503)).mount(&bucket).await;
        Self { identity, bucket, home: tempfile::tempdir().unwrap(), granted: Arc::default() }
    }

    /// The identity service answers a request with the how-manieth grant this is and how many seconds it lasts: the first
    /// ends soon.
    async fn grants(
        &self,
        verb: &str,
        at: &str,
        soon: u64,
        answer: impl Fn(u64, u64) -> ResponseTemplate + Send + Sync + 'static,
    ) {
        let granted = Arc::clone(&self.granted);
        let answer = move |_: &Request| {
            let number = granted.fetch_add(1, Ordering::SeqCst) + 1;
            answer(number, if number == 1 { soon } else { 3600 })
        };
        Mock::given(method(verb)).and(path(at)).respond_with(answer).mount(&self.identity).await;
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let file = self.home.path().join(name);
        std::fs::write(&file, text).unwrap();
        file
    }

    /// `regatta registry` on the bucket of this store file, in this environment and no other.
    fn registry(&self, store: &str, environment: &[(&str, &str)]) -> Command {
        let mut command = regatta();
        command.env_clear().env("HOME", self.home.path()).env("REGATTA_LOG", "info");
        command.envs(environment.iter().copied());
        command.args(["registry", "--listen", "127.0.0.1:0", "--store"]).arg(self.file("store.yaml", store));
        command
    }

    /// Runs it until what `credential` finds in the bucket's requests has been renewed, and gives what was asked of both.
    async fn renewed(
        &self,
        command: &mut Command,
        credential: impl Fn(&Request) -> String,
    ) -> (Vec<Request>, Vec<Request>) {
        let program = Program::spawn(command);
        eventually("the second credentials are used, again and again", async || {
            let asked = self.bucket.received_requests().await.unwrap();
            let used: Vec<String> = asked.iter().map(&credential).collect();
            if used.iter().filter(|used| used.ends_with("-2")).count() > 3 {
                Ok(())
            } else {
                Err((used, program.text()))
            }
        })
        .await;
        assert!(!program.text().contains("canary"), "a secret is in the log: {}", program.text());
        drop(program);
        let asked = self.bucket.received_requests().await.unwrap();
        let used: Vec<String> = asked.iter().map(&credential).collect();
        assert!(used.iter().any(|used| used.ends_with("-1")), "{used:?}");
        assert!(used.iter().all(|used| used.ends_with("-1") || used.ends_with("-2")), "{used:?}");
        assert_eq!(self.granted.load(Ordering::SeqCst), 2, "what lasts is used until it ends");
        (asked, self.identity.received_requests().await.unwrap())
    }
}

fn header<'a>(request: &'a Request, name: &str) -> &'a str {
    request.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
}

/// A form's fields.
fn form(body: &[u8]) -> BTreeMap<String, String> {
    let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8().unwrap().into_owned();
    let text = std::str::from_utf8(body).unwrap();
    text.split('&').filter_map(|pair| pair.split_once('=')).map(|(name, value)| (decode(name), decode(value))).collect()
}

fn fields<'a>(form: &'a BTreeMap<String, String>, names: &[&str]) -> Vec<&'a str> {
    names.iter().map(|name| form.get(*name).map(String::as_str).unwrap_or_default()).collect()
}

/// When something ends, as services write it.
fn ends(seconds: u64) -> String {
    let end = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(i64::try_from(seconds).unwrap());
    end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn sha256(bytes: &[u8]) -> String {
    Digest::sha256(bytes).as_str().trim_start_matches("sha256:").to_owned()
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

/// The signature that a request has, and the one that it is to have by this secret: Signature Version 4, as Amazon's
/// reference computes it.
fn signatures(request: &Request, secret: &str) -> (String, String) {
    let authorization = header(request, "authorization");
    let part = |name: &str| {
        let (_, rest) = authorization.split_once(&format!("{name}=")).unwrap();
        rest.split(',').next().unwrap().to_owned()
    };
    let (credential, names) = (part("Credential"), part("SignedHeaders"));
    let scope = credential.split_once('/').unwrap().1.to_owned();
    let headers: Vec<_> = names.split(';').map(|name| format!("{name}:{}\n", header(request, name).trim())).collect();
    let headers = headers.concat();
    let mut query: Vec<&str> = request.url.query().unwrap_or_default().split('&').filter(|it| !it.is_empty()).collect();
    query.sort_unstable();
    let content = header(request, "x-amz-content-sha256");
    let canonical =
        [request.method.as_str(), request.url.path(), &query.join("&"), &headers, &names, content].join("\n");
    let date = header(request, "x-amz-date");
    let signed = ["AWS4-HMAC-SHA256", date, &scope, &sha256(canonical.as_bytes())].join("\n");
    let start = format!("AWS4{secret}").into_bytes();
    let key = scope.split('/').fold(start, |key, part| mac(&key, part));
    (part("Signature"), hex(&mac(&key, &signed)))
}

fn s3(platform: &Platform) -> String {
    format!("s3:\n  bucket: images\n  endpoint: {}\n", platform.bucket.uri())
}

fn sts_answer(number: u64, lasts: u64) -> ResponseTemplate {
    let credentials = format!(
        "<AccessKeyId>key-{number}</AccessKeyId><SecretAccessKey>canary-{number}</SecretAccessKey>\
         <SessionToken>session-{number}</SessionToken><Expiration>{}</Expiration>",
        ends(lasts)
    );
    let result = format!(
        "<AssumeRoleWithWebIdentityResult><Credentials>{credentials}</Credentials></AssumeRoleWithWebIdentityResult>"
    );
    let text = format!("<AssumeRoleWithWebIdentityResponse>{result}</AssumeRoleWithWebIdentityResponse>");
    ResponseTemplate::new(200).set_body_string(text)
}

/// What the webhook of EKS puts into a pod (IRSA), and where STS is asked otherwise: as for MinIO and Ceph.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_web_identity_of_a_service_account_is_exchanged_for_a_role_of_amazons() {
    for by_file in [false, true] {
        let platform = Platform::start().await;
        platform.grants("POST", "/sts", 60, sts_answer).await;
        let token = platform.file("token", "canary-web-identity\n");
        let sts = format!("{}/sts", platform.identity.uri());
        let mut environment = vec![
            ("AWS_ROLE_ARN", "arn:aws:iam::1:role/registry"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()),
            ("AWS_REGION", "eu-central-1"),
            ("AWS_STS_REGIONAL_ENDPOINTS", "regional"),
            ("AWS_ENDPOINT_URL_STS", if by_file { "http://127.0.0.1:1" } else { &sts }),
        ];
        let mut store = s3(&platform);
        if by_file {
            store = format!("{store}  stsEndpoint: {sts}\n");
            environment.retain(|(name, _)| *name != "AWS_STS_REGIONAL_ENDPOINTS");
        }
        let key = |request: &Request| {
            let (_, rest) = header(request, "authorization").split_once("Credential=").unwrap();
            rest.split('/').next().unwrap().to_owned()
        };
        let (asked, exchanged) = platform.renewed(&mut platform.registry(&store, &environment), key).await;
        for request in &asked {
            let number = key(request).trim_start_matches("key-").to_owned();
            assert_eq!(header(request, "x-amz-security-token"), format!("session-{number}"));
            let (is, expected) = signatures(request, &format!("canary-{number}"));
            assert_eq!(is, expected, "{request:?}");
        }
        let form = form(&exchanged[0].body);
        assert_eq!(
            fields(&form, &["Action", "RoleArn", "WebIdentityToken"]),
            ["AssumeRoleWithWebIdentity", "arn:aws:iam::1:role/registry", "canary-web-identity"]
        );
    }
}

/// The library tried other sources then, and told in the end only that there are no credentials.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_an_identity_service_refuses_is_told() {
    let platform = Platform::start().await;
    let refusal = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>canary</Message></Error></ErrorResponse>";
    let refused = ResponseTemplate::new(403).set_body_string(refusal);
    Mock::given(any()).respond_with(refused).mount(&platform.identity).await;
    let (token, sts) = (platform.file("token", "canary-web-identity"), platform.identity.uri());
    let environment = [
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/registry"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()),
        ("AWS_ENDPOINT_URL_STS", &sts),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    let mut program = Program::spawn(&mut platform.registry(&s3(&platform), &environment));
    let told = program.line("it is told", |line| line["status"] == 403).await;
    assert!(told["place"].as_str().unwrap().starts_with("127.0.0.1:"), "{told}");
    assert!(!program.end().await.success());
    let text = program.text();
    assert!(!text.contains("canary"), "{text}");
    assert!(platform.bucket.received_requests().await.unwrap().is_empty(), "nothing is asked without credentials");
}

#[tokio::test]
async fn an_address_of_an_sts_that_is_none_is_refused() {
    let platform = Platform::start().await;
    let environment = [("AWS_ENDPOINT_URL_STS", "sts.example.test")];
    let mut program = Program::spawn(&mut platform.registry(&s3(&platform), &environment));
    assert!(!program.end().await.success());
    assert!(program.text().contains("AWS_ENDPOINT_URL_STS: expected a URL"), "{}", program.text());
}

fn bearer(request: &Request) -> String {
    header(request, "authorization").trim_start_matches("Bearer ").to_owned()
}

/// Workload identity federation: a token of the cluster's for one of Google's, by a file that names the places; with a
/// service account that is impersonated, and without.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_external_account_of_googles_is_exchanged() {
    const AUDIENCE: &str = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/k";
    for impersonates in [false, true] {
        let platform = Platform::start().await;
        let token = platform.file("token", "canary-subject");
        let url = platform.identity.uri();
        let mut account = json!({
            "type": "external_account", "audience": AUDIENCE, "token_url": format!("{url}/v1/token"),
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "credential_source": {"file": token, "format": {"type": "text"}},
        });
        let impersonation = "/v1/projects/-/serviceAccounts/registry@p.iam.gserviceaccount.com:generateAccessToken";
        if impersonates {
            account["service_account_impersonation_url"] = format!("{url}{impersonation}").into();
            let answer = json!({"access_token": "canary-of-sts", "token_type": "Bearer", "expires_in": 3600});
            let answer = ResponseTemplate::new(200).set_body_json(answer);
            Mock::given(path("/v1/token")).respond_with(answer).mount(&platform.identity).await;
            let answer = |number, lasts| {
                let answer = json!({"accessToken": format!("canary-{number}"), "expireTime": ends(lasts)});
                ResponseTemplate::new(200).set_body_json(answer)
            };
            platform.grants("POST", impersonation, 60, answer).await;
        } else {
            let answer = |number, lasts| {
                let token = format!("canary-{number}");
                let answer = json!({"access_token": token, "token_type": "Bearer", "expires_in": lasts});
                ResponseTemplate::new(200).set_body_json(answer)
            };
            platform.grants("POST", "/v1/token", 60, answer).await;
        }
        let file = platform.file("account.json", &account.to_string());
        let environment = [("GOOGLE_APPLICATION_CREDENTIALS", file.to_str().unwrap())];
        let store = format!("gcs:\n  bucket: images\n  endpoint: {}\n", platform.bucket.uri());
        let (_, exchanged) = platform.renewed(&mut platform.registry(&store, &environment), bearer).await;
        let form = form(&exchanged[0].body);
        assert_eq!(
            fields(&form, &["grant_type", "audience", "subject_token", "subject_token_type"]),
            [
                "urn:ietf:params:oauth:grant-type:token-exchange",
                AUDIENCE,
                "canary-subject",
                "urn:ietf:params:oauth:token-type:jwt"
            ]
        );
        if impersonates {
            assert_eq!(form["scope"], "https://www.googleapis.com/auth/iam");
            assert_eq!(bearer(&exchanged[1]), "canary-of-sts");
            assert!(String::from_utf8_lossy(&exchanged[1].body).contains("devstorage.read_write"), "{exchanged:?}");
        } else {
            assert!(form["scope"].contains("devstorage.read_write"), "{form:?}");
        }
    }
}

/// Workload identity on GKE: the metadata server of the node gives tokens for the pod's service account.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_metadata_server_of_googles_gives_tokens() {
    let platform = Platform::start().await;
    let at = "/computeMetadata/v1/instance/service-accounts/default/token";
    let answer = |number, lasts| {
        let answer = json!({"access_token": format!("canary-{number}"), "token_type": "Bearer", "expires_in": lasts});
        ResponseTemplate::new(200).set_body_json(answer)
    };
    platform.grants("GET", at, 60, answer).await;
    let host = platform.identity.uri().trim_start_matches("http://").to_owned();
    let store = format!("gcs:\n  bucket: images\n  endpoint: {}\n", platform.bucket.uri());
    let mut command = platform.registry(&store, &[("GCE_METADATA_HOST", &host)]);
    let (_, asked) = platform.renewed(&mut command, bearer).await;
    assert_eq!(header(&asked[0], "metadata-flavor"), "Google");
    let scopes = asked[0].url.query_pairs().find(|(name, _)| name == "scopes").unwrap().1.into_owned();
    assert!(scopes.contains("devstorage.read_write"), "{scopes}");
}

/// What the webhook of Azure workload identity puts into a pod.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_federated_token_is_exchanged_at_azures_authority() {
    let platform = Platform::start().await;
    let answer = |number, lasts| {
        let answer = json!({"access_token": format!("canary-{number}"), "token_type": "Bearer", "expires_in": lasts});
        ResponseTemplate::new(200).set_body_json(answer)
    };
    // A token is used until it has twenty seconds to live.
    platform.grants("POST", "/tenant/oauth2/v2.0/token", 22, answer).await;
    let (token, authority) = (platform.file("token", "canary-federated\n"), format!("{}/", platform.identity.uri()));
    let environment = [
        ("AZURE_CLIENT_ID", "client"),
        ("AZURE_TENANT_ID", "tenant"),
        ("AZURE_FEDERATED_TOKEN_FILE", token.to_str().unwrap()),
        ("AZURE_AUTHORITY_HOST", &authority),
    ];
    let uri = platform.bucket.uri();
    let store = format!("azure:\n  container: images\n  account: account\n  endpoint: {uri}/account\n");
    let (asked, exchanged) = platform.renewed(&mut platform.registry(&store, &environment), bearer).await;
    assert!(asked.iter().all(|request| !header(request, "x-ms-version").is_empty()), "needed beside a token");
    let form = form(&exchanged[0].body);
    assert_eq!(
        fields(&form, &["grant_type", "client_id", "client_assertion", "client_assertion_type", "scope"]),
        [
            "client_credentials",
            "client",
            "canary-federated",
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "https://storage.azure.com/.default"
        ]
    );
}

/// A managed identity, of those of the machine the one that is named.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_metadata_server_of_azures_gives_tokens() {
    let platform = Platform::start().await;
    let answer = |number, lasts: u64| {
        let end = jiff::Timestamp::now().as_second() + i64::try_from(lasts).unwrap();
        let answer = json!({"access_token": format!("canary-{number}"), "expires_on": end.to_string()});
        ResponseTemplate::new(200).set_body_json(answer)
    };
    platform.grants("GET", "/metadata/identity/oauth2/token", 22, answer).await;
    let endpoint = format!("{}/metadata/identity/oauth2/token", platform.identity.uri());
    let uri = platform.bucket.uri();
    let store = format!("azure:\n  container: images\n  account: account\n  endpoint: {uri}/account\n");
    let environment = [("AZURE_IMDS_ENDPOINT", endpoint.as_str()), ("AZURE_CLIENT_ID", "client")];
    let (_, asked) = platform.renewed(&mut platform.registry(&store, &environment), bearer).await;
    assert_eq!(header(&asked[0], "metadata"), "true");
    let query: BTreeMap<String, String> = asked[0].url.query_pairs().into_owned().collect();
    assert_eq!(fields(&query, &["resource", "client_id"]), ["https://storage.azure.com/", "client"]);
}

/// RAM roles for service accounts (RRSA).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_oidc_token_is_exchanged_for_a_role_of_alibabas() {
    let platform = Platform::start().await;
    let answer = |number, lasts| {
        let credentials = json!({"AccessKeyId": format!("key-{number}"), "AccessKeySecret": format!("canary-{number}"),
            "SecurityToken": format!("session-{number}"), "Expiration": ends(lasts)});
        ResponseTemplate::new(200).set_body_json(json!({ "Credentials": credentials }))
    };
    platform.grants("GET", "/", 60, answer).await;
    let (token, sts) = (platform.file("token", "canary-oidc"), platform.identity.uri());
    let environment = [
        ("ALIBABA_CLOUD_ROLE_ARN", "acs:ram::1:role/registry"),
        ("ALIBABA_CLOUD_OIDC_PROVIDER_ARN", "acs:ram::1:oidc-provider/ack"),
        ("ALIBABA_CLOUD_OIDC_TOKEN_FILE", token.to_str().unwrap()),
        ("ALIBABA_CLOUD_STS_ENDPOINT", &sts),
    ];
    let store = format!("oss:\n  bucket: images\n  pathStyle: true\n  endpoint: {}\n", platform.bucket.uri());
    let session = |request: &Request| header(request, "x-oss-security-token").to_owned();
    let (asked, exchanged) = platform.renewed(&mut platform.registry(&store, &environment), session).await;
    for request in &asked {
        let key = session(request).replace("session", "key");
        assert!(header(request, "authorization").contains(&key), "{request:?}");
    }
    let query: BTreeMap<String, String> = exchanged[0].url.query_pairs().into_owned().collect();
    assert_eq!(
        fields(&query, &["Action", "RoleArn", "OIDCProviderArn", "OIDCToken"]),
        ["AssumeRoleWithOIDC", "acs:ram::1:role/registry", "acs:ram::1:oidc-provider/ack", "canary-oidc"]
    );
}
