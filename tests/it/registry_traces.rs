//! Spans of requests reach a collector, below the span that the client names, and say nothing of its credentials.

use wiremock::matchers::{header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::program::{Program, eventually, like_main, regatta};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// Whether these bytes are somewhere in there.
fn has(body: &[u8], wanted: &[u8]) -> bool {
    body.windows(wanted.len()).any(|window| window == wanted)
}

#[tokio::test]
async fn a_request_is_a_span_below_its_clients_with_route_and_request_id() {
    let collector = MockServer::start().await;
    let export =
        Mock::given(method("POST")).and(path("/v1/traces")).and(header("content-type", "application/x-protobuf"));
    export.respond_with(ResponseTemplate::new(200)).mount(&collector).await;
    let directory = tempfile::tempdir().unwrap();
    let mut command = regatta();
    command.args(["registry", "--listen", "127.0.0.1:0", "--root"]).arg(directory.path());
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.uri()).env("OTEL_BSP_SCHEDULE_DELAY", "50");
    let (_program, authority) = Program::serving(&mut command).await;
    like_main();
    let url = format!("http://{authority}/v2/a/b/manifests/v1?secret=query");
    let request = reqwest::Client::new().get(url).header("traceparent", format!("00-{TRACE}-{PARENT}-01"));
    let answer = request.basic_auth("ada", Some("canary")).send().await.unwrap();
    let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();

    let body = eventually("the span is exported", async || {
        let exports = collector.received_requests().await.unwrap();
        exports
            .into_iter()
            .find(|export| has(&export.body, b"GET manifest"))
            .ok_or("it is not")
            .map(|export| export.body)
    })
    .await;
    assert!(has(&body, &hex::decode(TRACE).unwrap()), "it is not of the client's trace");
    assert!(has(&body, &hex::decode(PARENT).unwrap()), "it is not below the client's span");
    for wanted in [&id, "manifest", "/v2/a/b/manifests/v1", "http.response.status_code", "regatta"] {
        assert!(has(&body, wanted.as_bytes()), "{wanted} is not in it");
    }
    assert!(!has(&body, b"secret=query") && !has(&body, b"canary"), "it says too much");
}
