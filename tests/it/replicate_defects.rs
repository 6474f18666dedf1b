//! Sources that lie, and sources that ask for what is not theirs.

use regatta::oci::{Digest, MediaType};
use serde_json::json;
use wiremock::{
    Mock, MockServer, Request, ResponseTemplate,
    matchers::{any, method, path, path_regex},
};

use crate::program::like_main;
use crate::replicate_support::{Registry, replicate_command};

/// A registry with one image of one layer, which answers the layer as `layer` says.
async fn source_with(layer: &[u8], answer: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    let config = b"{}";
    let descriptor = |media_type: &str, bytes: &[u8]| json!({ "mediaType": media_type, "digest": Digest::sha256(bytes), "size": bytes.len() });
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
    });
    let manifest = serde_json::to_vec(&manifest).unwrap();
    let mount = |at: String, answer: ResponseTemplate| Mock::given(path(at)).respond_with(answer).mount(&server);
    mount("/v2/_catalog".into(), ResponseTemplate::new(200).set_body_json(json!({ "repositories": ["app"] }))).await;
    mount("/v2/app/tags/list".into(), ResponseTemplate::new(200).set_body_json(json!({ "tags": ["v1"] }))).await;
    let answered = ResponseTemplate::new(200)
        .insert_header("Docker-Content-Digest", Digest::sha256(&manifest).as_str())
        .set_body_raw(manifest, MediaType::OCI_MANIFEST);
    mount("/v2/app/manifests/v1".into(), answered).await;
    let config_at = format!("/v2/app/blobs/{}", Digest::sha256(config));
    mount(config_at, ResponseTemplate::new(200).set_body_bytes(config)).await;
    mount(format!("/v2/app/blobs/{}", Digest::sha256(layer)), answer).await;
    server
}

async fn run(from: &str, to: &Registry) -> (bool, String) {
    like_main();
    let mut command = replicate_command(from, &to.url, to, &[]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_not_what_their_digest_says_are_an_error_and_never_stored() {
    let destination = Registry::start().await;
    let source =
        source_with(b"what it should be", ResponseTemplate::new(200).set_body_bytes(b"what it is not...")).await;
    let (success, said) = run(&source.uri(), &destination).await;
    assert!(!success);
    assert!(said.contains("expected sha256:"), "{said}");
    assert!(destination.tags().await.is_empty());
    let repository = "app".parse().unwrap();
    for wrong in [b"what it should be", b"what it is not..."] {
        assert!(!destination.client().has_blob(&repository, &Digest::sha256(wrong)).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_of_another_size_is_an_error() {
    let destination = Registry::start().await;
    let source = source_with(b"what it should be", ResponseTemplate::new(200).set_body_bytes(b"short")).await;
    let (success, said) = run(&source.uri(), &destination).await;
    assert!(!success);
    assert!(said.contains("bytes, got"), "{said}");
    assert!(destination.tags().await.is_empty());
}

/// A server at another host name than `127.0.0.1`, and what it was sent.
async fn elsewhere(answer: ResponseTemplate) -> (MockServer, String) {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(answer).mount(&server).await;
    let url = server.uri().replace("127.0.0.1", "localhost");
    (server, url)
}

async fn authorizations(server: &MockServer) -> Vec<Request> {
    let received = server.received_requests().await.unwrap();
    received.into_iter().filter(|request| request.headers.contains_key("authorization")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2026_33540_credentials_are_not_sent_to_a_realm_on_another_host() {
    let destination = Registry::start().await;
    let (other, realm) = elsewhere(ResponseTemplate::new(200).set_body_json(json!({ "token": "t" }))).await;
    let source = MockServer::start().await;
    let challenge = format!("Bearer realm=\"{realm}/token\",service=\"s\"");
    Mock::given(any())
        .respond_with(ResponseTemplate::new(401).insert_header("WWW-Authenticate", challenge.as_str()))
        .mount(&source)
        .await;
    let (success, _) = run(&source.uri(), &destination).await;
    assert!(!success);
    assert!(other.received_requests().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2020_15157_a_redirect_drops_the_credentials() {
    let destination = Registry::start().await;
    let layer = b"a layer that lies elsewhere";
    let (other, url) = elsewhere(ResponseTemplate::new(200).set_body_bytes(layer)).await;
    let redirect = ResponseTemplate::new(307).insert_header("Location", format!("{url}/layer").as_str());
    let source = source_with(layer, redirect).await;
    // Whoever does not prove who he is, is asked to.
    Mock::given(path_regex("^/v2/"))
        .and(|request: &Request| !request.headers.contains_key("authorization"))
        .respond_with(ResponseTemplate::new(401).insert_header("WWW-Authenticate", "Basic realm=\"r\""))
        .with_priority(1)
        .mount(&source)
        .await;
    let (success, said) = run(&source.uri(), &destination).await;
    assert!(success, "{said}");
    assert!(!authorizations(&source).await.is_empty());
    assert_eq!(other.received_requests().await.unwrap().len(), 1);
    assert!(authorizations(&other).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn urls_of_a_descriptor_are_never_followed() {
    let destination = Registry::start().await;
    let (other, url) = elsewhere(ResponseTemplate::new(200)).await;
    let source = MockServer::start().await;
    let layer = b"foreign";
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST,
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": Digest::sha256(b"{}"), "size": 2 },
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar", "digest": Digest::sha256(layer),
            "size": layer.len(), "urls": [format!("{url}/layer")],
        }],
    }))
    .unwrap();
    let json = |value| ResponseTemplate::new(200).set_body_json(value);
    let mount = |at: &str, answer| Mock::given(path(at)).respond_with(answer).mount(&source);
    mount("/v2/_catalog", json(json!({ "repositories": ["app"] }))).await;
    mount("/v2/app/tags/list", json(json!({ "tags": ["v1"] }))).await;
    mount("/v2/app/manifests/v1", ResponseTemplate::new(200).set_body_raw(manifest, MediaType::OCI_MANIFEST)).await;
    let config_at = format!("/v2/app/blobs/{}", Digest::sha256(b"{}"));
    Mock::given(method("GET"))
        .and(path(config_at))
        .respond_with(ResponseTemplate::new(200).set_body_bytes(b"{}"))
        .mount(&source)
        .await;
    let (success, said) = run(&source.uri(), &destination).await;
    assert!(success, "{said}");
    assert!(other.received_requests().await.unwrap().is_empty());
}
