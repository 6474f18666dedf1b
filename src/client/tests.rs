//! The client against servers that answer as real ones sometimes do.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use wiremock::{
    Mock, MockServer, Request, ResponseTemplate,
    matchers::{any, header, header_exists, method, path, query_param},
};

use super::*;
use crate::oci::{Digest, RepositoryName, Tag};

fn client_with(url: &str, change: impl FnOnce(&mut ClientConfig)) -> Client {
    let mut config = ClientConfig::new(url.parse().unwrap());
    config.retry = RetryPolicy { attempts: 3, base: Duration::from_millis(1), cap: Duration::from_millis(5) };
    change(&mut config);
    Client::new(config).unwrap()
}

fn client(server: &MockServer) -> Client {
    client_with(&server.uri(), |_| ())
}

fn ann(config: &mut ClientConfig) {
    let credentials = Credentials { username: "ann".to_owned(), password: "secret".to_owned().into() };
    config.credentials = Some(Arc::new(credentials));
}

fn app() -> RepositoryName {
    "app".parse().unwrap()
}

fn tags(names: &[&str]) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({ "name": "app", "tags": names }))
}

#[tokio::test]
async fn an_overloaded_registry_is_asked_again_when_it_said_to_be() {
    let server = MockServer::start().await;
    let busy = ResponseTemplate::new(429).insert_header("Retry-After", "1");
    Mock::given(any()).respond_with(busy).up_to_n_times(1).mount(&server).await;
    Mock::given(any()).respond_with(tags(&["v1"])).mount(&server).await;
    let start = std::time::Instant::now();
    assert_eq!(client(&server).tags(&app()).await.unwrap().len(), 1);
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_registry_that_stays_away_is_an_error_that_may_pass() {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(503)).expect(3).mount(&server).await;
    let error = client(&server).tags(&app()).await.unwrap_err();
    assert!(error.is_transient() && error.is_about_the_registry(), "{error}");
}

#[tokio::test]
async fn a_list_is_read_to_its_last_page() {
    let server = MockServer::start().await;
    let first = tags(&["a"]).insert_header("Link", "</v2/app/tags/list?last=a&n=1>; rel=\"next\"");
    Mock::given(query_param("last", "a")).respond_with(tags(&["b", "-not a tag-"])).mount(&server).await;
    Mock::given(any()).respond_with(first).mount(&server).await;
    let found: Vec<Tag> = client(&server).tags(&app()).await.unwrap().into_iter().collect();
    assert_eq!(found, ["a", "b"].map(|tag| tag.parse::<Tag>().unwrap()));
}

/// A registry that wants a token of `/token`, and gives `given` there.
async fn token_server(given: Value) -> MockServer {
    let server = MockServer::start().await;
    let challenge = format!("Bearer realm=\"{}/token\",service=\"here\",scope=\"ignored\"", server.uri());
    Mock::given(path("/token"))
        .and(header("authorization", "Basic YW5uOnNlY3JldA=="))
        .and(query_param("service", "here"))
        .respond_with(ResponseTemplate::new(200).set_body_json(given))
        .mount(&server)
        .await;
    Mock::given(path("/token")).respond_with(ResponseTemplate::new(401)).mount(&server).await;
    Mock::given(header("authorization", "Bearer good")).respond_with(tags(&["v1"])).mount(&server).await;
    let refused = ResponseTemplate::new(401).insert_header("WWW-Authenticate", challenge.as_str());
    Mock::given(any()).respond_with(refused).mount(&server).await;
    server
}

async fn requests(server: &MockServer, at: &str) -> Vec<Request> {
    let received = server.received_requests().await.unwrap();
    received.into_iter().filter(|request| request.url.path() == at).collect()
}

#[tokio::test]
async fn one_token_is_fetched_for_a_scope_and_used_until_its_end() {
    let server = token_server(json!({ "token": "good", "expires_in": 300 })).await;
    let client = client_with(&server.uri(), ann);
    for _ in 0..3 {
        client.tags(&app()).await.unwrap();
    }
    let asked = requests(&server, "/token").await;
    assert_eq!(asked.len(), 1);
    assert!(asked[0].url.query().unwrap().contains("scope=repository%3Aapp%3Apull"), "{}", asked[0].url);
    client.tags(&"other".parse().unwrap()).await.unwrap();
    assert_eq!(requests(&server, "/token").await.len(), 2);
}

#[tokio::test]
async fn wrong_credentials_are_said_to_be_wrong_and_not_tried_for_ever() {
    let server = token_server(json!({ "token": "bad" })).await;
    for change in [ann as fn(&mut ClientConfig), |_| ()] {
        let error = client_with(&server.uri(), change).tags(&app()).await.unwrap_err();
        assert!(matches!(error, ClientError::Unauthorized { .. }), "{error}");
    }
    assert!(server.received_requests().await.unwrap().len() < 12);
}

#[tokio::test]
async fn a_realm_elsewhere_is_answered_with_basic_here_where_there_are_credentials() {
    let server = MockServer::start().await;
    Mock::given(header_exists("authorization")).respond_with(tags(&["v1"])).mount(&server).await;
    let challenge = "Bearer realm=\"https://elsewhere.example/token\"";
    Mock::given(any())
        .respond_with(ResponseTemplate::new(401).insert_header("WWW-Authenticate", challenge))
        .mount(&server)
        .await;
    assert_eq!(client_with(&server.uri(), ann).tags(&app()).await.unwrap().len(), 1);
    let error = client(&server).tags(&app()).await.unwrap_err();
    assert!(matches!(error, ClientError::ForeignRealm { .. }), "{error}");
}

#[tokio::test]
async fn a_registry_without_the_referrers_api_is_asked_once_and_its_tags_are_read() {
    let server = MockServer::start().await;
    let (subject, referrer) = (Digest::sha256(b"subject"), Digest::sha256(b"referrer"));
    let index = json!({ "schemaVersion": 2, "manifests": [
        { "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": referrer, "size": 8 }
    ] });
    let tag = referrers::referrers_tag(&subject).unwrap();
    Mock::given(path(format!("/v2/app/manifests/{tag}")))
        .respond_with(
            ResponseTemplate::new(200).set_body_raw(index.to_string(), "application/vnd.oci.image.index.v1+json"),
        )
        .mount(&server)
        .await;
    Mock::given(any()).respond_with(ResponseTemplate::new(404)).mount(&server).await;
    let client = client(&server);
    for _ in 0..2 {
        assert_eq!(client.referrers(&app(), &subject).await.unwrap(), Referrers::Unsupported);
    }
    assert_eq!(server.received_requests().await.unwrap().len(), 1);
    assert_eq!(client.tagged_referrers(&app(), &subject).await.unwrap()[0].digest, referrer);
}

#[tokio::test]
async fn a_registry_that_answers_anything_to_everybody_is_no_regatta() {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(200).set_body_string("<html>")).mount(&server).await;
    let client = client(&server);
    assert_eq!(client.extension_get::<Vec<String>>("replication/cursor/x").await.unwrap(), None);
    assert!(!client.is_regatta());
}

#[tokio::test]
async fn a_registry_that_does_not_delete_says_so() {
    let server = MockServer::start().await;
    Mock::given(method("DELETE")).respond_with(ResponseTemplate::new(405)).mount(&server).await;
    let reference = "v1".parse().unwrap();
    assert_eq!(client(&server).delete_manifest(&app(), &reference).await.unwrap(), Deleted::Unsupported);
}

/// Answers one connection after the other with these texts, then hangs up; tells what it was asked.
async fn scripted(answers: Vec<Vec<u8>>) -> (String, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let mut asked = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                stream.read_buf(&mut request).await.unwrap();
            }
            asked.push(String::from_utf8(request).unwrap().to_lowercase());
            stream.write_all(&answer).await.unwrap();
            stream.shutdown().await.unwrap();
        }
        asked
    });
    (url, task)
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n\r\n").as_bytes(), body].concat()
}

async fn read_all(client: &Client, digest: &Digest, size: u64) -> Result<Vec<u8>, ClientError> {
    let mut reader = BlobReader::new(client, &app(), digest, size);
    let mut all = Vec::new();
    while let Some(chunk) = reader.next(u64::MAX).await? {
        all.extend_from_slice(&chunk);
    }
    Ok(all)
}

#[tokio::test]
async fn a_blob_that_breaks_off_goes_on_where_it_broke() {
    let blob = b"0123456789";
    let (url, server) = scripted(vec![
        answer("200 OK", "Content-Length: 10", &blob[..4]),
        answer("206 Partial Content", "Content-Length: 6\r\nContent-Range: bytes 4-9/10", &blob[4..7]),
        // Without ranges: everything once more.
        answer("200 OK", "Content-Length: 10", blob),
    ])
    .await;
    let found = read_all(&client_with(&url, |_| ()), &Digest::sha256(blob), 10).await.unwrap();
    assert_eq!(found, blob);
    let asked = server.await.unwrap();
    assert!(!asked[0].contains("range:") && asked[1].contains("range: bytes=4-"), "{asked:#?}");
    assert!(asked[2].contains("range: bytes=7-"), "{asked:#?}");
}

#[tokio::test]
async fn the_end_of_a_wrong_blob_is_not_handed_out() {
    let (url, _server) = scripted(vec![answer("200 OK", "Content-Length: 10", b"0123456780")]).await;
    let client = client_with(&url, |_| ());
    let digest = Digest::sha256(b"0123456789");
    let mut reader = BlobReader::new(&client, &app(), &digest, 10);
    assert_eq!(reader.next(9).await.unwrap().unwrap().len(), 9);
    assert!(matches!(reader.next(1).await, Err(ClientError::DigestMismatch { .. })));
}

#[tokio::test]
async fn a_range_that_was_not_asked_for_is_refused() {
    let blob = b"0123456789";
    let (url, _server) = scripted(vec![
        answer("200 OK", "Content-Length: 10", &blob[..4]),
        answer("206 Partial Content", "Content-Length: 7\r\nContent-Range: bytes 3-9/10", &blob[3..]),
    ])
    .await;
    let read = read_all(&client_with(&url, |_| ()), &Digest::sha256(blob), 10).await;
    assert!(matches!(read, Err(ClientError::Protocol { .. })), "{read:?}");
}

#[tokio::test]
async fn a_redirect_to_a_metadata_address_is_refused() {
    let server = MockServer::start().await;
    let redirect = ResponseTemplate::new(307).insert_header("Location", "http://169.254.169.254/latest/meta-data");
    Mock::given(any()).respond_with(redirect).mount(&server).await;
    let error = client(&server).tags(&app()).await.unwrap_err();
    assert!(matches!(error, ClientError::ForbiddenAddress { .. }), "{error}");
}
