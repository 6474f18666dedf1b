//! Who may do what, over HTTP; the access document in force.

use std::sync::Arc;

use regatta::admin::{Problem, ProblemCode};
use regatta::auth::Configured;
use regatta::clock::{System, TimeSource};
use regatta::oci::Digest;
use regatta::server::documents::Refused;
use reqwest::{Method, StatusCode, header};
use serde_json::Value;

use crate::registry_support::{Fixture, document, without_id};

/// Every identity on every route, in one table; `401` is "say who you are".
#[tokio::test]
async fn each_identity_may_on_each_route_what_its_role_may() {
    let fixture = Fixture::start().await;
    let manifest = fixture.push_image("team/app", "v1", b"layer").await;
    fixture.push_image("open/app", "v1", b"layer").await;
    let blob = Digest::sha256(b"layer");
    let routes = [
        (Method::GET, format!("/v2/team/app/manifests/{manifest}")),
        (Method::HEAD, format!("/v2/team/app/blobs/{blob}")),
        (Method::GET, format!("/v2/team/app/referrers/{manifest}")),
        (Method::GET, "/v2/team/app/tags/list".to_owned()),
        (Method::POST, "/v2/team/app/blobs/uploads/".to_owned()),
        (Method::DELETE, "/v2/team/app/manifests/none".to_owned()),
        (Method::GET, "/v2/open/app/manifests/v1".to_owned()),
        (Method::POST, "/v2/open/app/blobs/uploads/".to_owned()),
        (Method::GET, "/v2/_catalog".to_owned()),
        (Method::GET, "/v2/".to_owned()),
        (Method::GET, "/v2/_regatta/replication/cursor/0123456789abcdef".to_owned()),
    ];
    let table = [
        ("", [401, 401, 401, 401, 401, 401, 200, 401, 401, 401, 401]),
        ("stranger", [403, 403, 403, 403, 403, 403, 200, 403, 200, 200, 403]),
        ("limited", [200, 200, 200, 403, 403, 403, 200, 403, 200, 200, 403]),
        ("guest", [200, 200, 200, 200, 403, 403, 200, 403, 200, 200, 403]),
        ("dev", [200, 200, 200, 200, 202, 403, 200, 403, 200, 200, 403]),
        ("robot", [200, 200, 200, 200, 202, 403, 200, 403, 200, 200, 403]),
        ("keeper", [200, 200, 200, 200, 202, 404, 200, 403, 200, 200, 403]),
        ("root", [200, 200, 200, 200, 202, 404, 200, 202, 200, 200, 403]),
    ];
    for (who, expected) in table {
        for ((method, path), status) in routes.iter().zip(expected) {
            assert_eq!(fixture.status(who, method.clone(), path).await, status, "{who:?} {method} {path}");
        }
    }
}

/// CVE-2020-29662 and its kin: what is not there and what may not be seen answer alike.
#[tokio::test]
async fn the_absent_and_the_forbidden_answer_alike() {
    let fixture = Fixture::start().await;
    fixture.push_image("secret/app", "v1", b"layer").await;
    let paths = |name: &str| {
        [
            format!("/v2/{name}/manifests/v1"),
            format!("/v2/{name}/tags/list"),
            format!("/v2/{name}/blobs/{}", Digest::sha256(b"layer")),
        ]
    };
    for (there, absent) in paths("secret/app").iter().zip(&paths("secret/none")) {
        for who in ["", "stranger", "dev"] {
            let (a, b) = (fixture.get(who, there).await, fixture.get(who, absent).await);
            assert_eq!(a.status(), b.status(), "{who} {there}");
            let challenge = |answer: &reqwest::Response| {
                answer
                    .headers()
                    .get(header::WWW_AUTHENTICATE)
                    .map(|v| v.to_str().unwrap().replace("secret/none", "secret/app"))
            };
            assert_eq!(challenge(&a), challenge(&b));
            assert_eq!(without_id(&a.text().await.unwrap()), without_id(&b.text().await.unwrap()), "{who} {there}");
        }
    }
    let catalog: Value = fixture.get("dev", "/v2/_catalog").await.json().await.unwrap();
    assert_eq!(catalog["repositories"], serde_json::json!([]));
}

/// CVE-2024-39897: a blob is read through the repository that links it, or not at all.
#[tokio::test]
async fn a_digest_that_lies_in_another_repository_is_not_here() {
    let fixture = Fixture::start().await;
    let digest = fixture.push_blob("secret/app", b"hidden").await;
    for method in [Method::GET, Method::HEAD] {
        assert_eq!(fixture.status("dev", method, &format!("/v2/team/app/blobs/{digest}")).await, 404);
    }
}

async fn token(fixture: &Fixture, who: &str, scope: &str) -> (StatusCode, Value) {
    let answer = fixture.get(who, &format!("/token?service=x&scope={scope}")).await;
    (answer.status(), answer.json().await.unwrap())
}

async fn with_token(fixture: &Fixture, token: &Value, method: Method, path: &str) -> reqwest::Response {
    let request = fixture.request("", method, path).bearer_auth(token["token"].as_str().unwrap());
    request.send().await.unwrap()
}

#[tokio::test]
async fn the_token_flow_narrows_and_challenges_as_docker_does() {
    let fixture = Fixture::start().await;
    fixture.push_image("team/app", "v1", b"layer").await;
    let path = "/v2/team/app/manifests/v1";
    let challenge = fixture.get("", path).await.headers()[header::WWW_AUTHENTICATE].to_str().unwrap().to_owned();
    let url = &fixture.url;
    let expected =
        format!("Bearer realm=\"{url}/token\",service=\"uid-of-the-registry\",scope=\"repository:team/app:pull\"");
    assert_eq!(challenge, expected);
    let (status, pull) = token(&fixture, "dev", "repository:team/app:pull").await;
    assert_eq!(status, StatusCode::OK);
    assert!(pull["expires_in"].as_u64().unwrap() >= 60 && pull["access_token"] == pull["token"]);
    assert_eq!(with_token(&fixture, &pull, Method::GET, path).await.status(), 200);
    let narrow = with_token(&fixture, &pull, Method::POST, "/v2/team/app/blobs/uploads/").await;
    assert_eq!(narrow.status(), StatusCode::UNAUTHORIZED);
    assert!(narrow.headers()[header::WWW_AUTHENTICATE].to_str().unwrap().contains("error=\"insufficient_scope\""));
    // What is asked for beyond one's rights is not granted, and not an error.
    let (status, guest) = token(&fixture, "guest", "repository:team/app:pull,push").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(with_token(&fixture, &guest, Method::GET, path).await.status(), 200);
    assert_eq!(with_token(&fixture, &guest, Method::POST, "/v2/team/app/blobs/uploads/").await.status(), 403);
}

#[tokio::test]
async fn wrong_credentials_are_never_an_anonymous_token() {
    let fixture = Fixture::start().await;
    for (login, password) in
        [("dev", "wrong"), ("nobody", "x"), ("robot+apps+ci", "wrong"), ("robot+other+ci", "robots-secret"), ("", "")]
    {
        let request =
            fixture.request("", Method::GET, "/token?scope=repository:open/app:pull").basic_auth(login, Some(password));
        assert_eq!(request.send().await.unwrap().status(), StatusCode::UNAUTHORIZED, "{login}");
    }
    let form = |password: &str| {
        format!("grant_type=password&username=dev&password={password}&service=x&scope=repository:team/app:pull")
    };
    for (password, status) in [("dev", 200), ("wrong", 401)] {
        let answer = fixture.request("", Method::POST, "/token").body(form(password)).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status);
    }
    // An anonymous token is scoped to what is public.
    let (status, anonymous) = token(&fixture, "", "repository:open/app:pull%20repository:team/app:pull").await;
    assert_eq!(status, StatusCode::OK);
    fixture.push_image("open/app", "v1", b"layer").await;
    assert_eq!(with_token(&fixture, &anonymous, Method::GET, "/v2/open/app/manifests/v1").await.status(), 200);
    assert_eq!(with_token(&fixture, &anonymous, Method::GET, "/v2/team/app/manifests/v1").await.status(), 401);
    // A token buys no other token: it would live for ever.
    let (_, pull) = token(&fixture, "dev", "repository:team/app:pull").await;
    assert_eq!(with_token(&fixture, &pull, Method::GET, "/token?scope=repository:team/app:push").await.status(), 401);
}

#[tokio::test]
async fn a_revoked_role_is_gone_with_the_next_request_whatever_the_token_says() {
    let fixture = Fixture::start().await;
    fixture.push_image("team/app", "v1", b"layer").await;
    let (_, pull) = token(&fixture, "dev", "repository:team/app:pull").await;
    assert_eq!(with_token(&fixture, &pull, Method::GET, "/v2/team/app/manifests/v1").await.status(), 200);
    let mut revoked = document(2, 1);
    revoked.projects[1].bindings.clear();
    revoked.robots.clear();
    fixture.put_access(&revoked).await.unwrap();
    assert_eq!(with_token(&fixture, &pull, Method::GET, "/v2/team/app/manifests/v1").await.status(), 403);
    assert_eq!(fixture.status("robot", Method::GET, "/v2/").await, 401);
    assert_eq!(fixture.status("root", Method::GET, "/v2/team/app/manifests/v1").await, 200);
}

/// docs/explanation/access.md, "Who is asking": every request is decided from the identity of now.
#[tokio::test]
async fn a_token_of_somebody_who_is_no_more_is_refused() {
    let fixture = Fixture::start().await;
    let (_, catalog) = token(&fixture, "root", "registry:catalog:*").await;
    assert_eq!(with_token(&fixture, &catalog, Method::GET, "/v2/_catalog").await.status(), 200);
    fixture.server.configure(fixture.keys.clone(), Configured::default()).await;
    assert_eq!(with_token(&fixture, &catalog, Method::GET, "/v2/_catalog").await.status(), 401);
}

#[tokio::test]
async fn without_a_document_only_the_configured_admins_are_let_in() {
    let fixture = Fixture::start_bare().await;
    fixture.push_image("team/app", "v1", b"layer").await;
    assert_eq!(fixture.status("dev", Method::GET, "/v2/team/app/manifests/v1").await, 403);
    assert!(fixture.server.readiness().await.is_ok(), "an empty store has no document to wait for");
}

fn refused(outcome: Result<(), Refused>) -> ProblemCode {
    match outcome {
        Err(Refused::Problem(Problem { code, .. })) => code,
        Err(Refused::Registry(error)) => panic!("{error}"),
        Ok(()) => panic!("it was taken"),
    }
}

/// Terms t and t+1, the older operator waking late: nothing is un-revoked.
#[tokio::test]
async fn an_older_operator_that_wakes_late_revokes_and_un_revokes_nothing() {
    let fixture = Fixture::start_bare().await;
    let registry = fixture.server.registry();
    let (old, new) = (registry.take_term("old").await.unwrap(), registry.take_term("new").await.unwrap());
    let mut revoking = document(1, new);
    revoking.projects[1].bindings.clear();
    fixture.put_access(&revoking).await.unwrap();
    // It compiled generation 1 before the new one did; then it even reads afresh.
    assert_eq!(refused(fixture.put_access(&document(1, old)).await), ProblemCode::StaleTerm);
    assert_eq!(refused(fixture.put_access(&document(2, old)).await), ProblemCode::StaleTerm);
    assert_eq!(fixture.status("dev", Method::POST, "/v2/team/app/blobs/uploads/").await, 403);
    // Two of one term: the second reads again.
    assert_eq!(refused(fixture.put_access(&document(1, new)).await), ProblemCode::GenerationMismatch);
    fixture.put_access(&document(2, new)).await.unwrap();
    assert_eq!(fixture.status("dev", Method::POST, "/v2/team/app/blobs/uploads/").await, 202);
}

#[tokio::test]
async fn every_replica_acknowledges_the_same_document_and_a_missed_one_comes_by_the_poll() {
    let one = Fixture::start().await;
    let (other, third) = (one.replica().await, one.unwatched_replica().await);
    assert_eq!(other.server.gate().generation, 1, "a pod starts from the greatest document");
    let mut second = document(2, 1);
    second.projects[1].bindings.clear();
    one.put_access(&second).await.unwrap();
    other.put_access(&second).await.unwrap();
    assert_eq!(other.server.access_state().await.unwrap().hash, one.server.access_state().await.unwrap().hash);
    assert_eq!(third.server.gate().generation, 1);
    third.server.poll_documents().await.unwrap();
    assert_eq!(third.server.gate().generation, 2);
    assert_eq!(third.status("dev", Method::POST, "/v2/team/app/blobs/uploads/").await, 403);
}

#[tokio::test]
async fn the_store_of_another_registry_is_taken_over_only_when_that_is_said() {
    let before = Fixture::start().await;
    let again = before.made_again().await;
    // The old document is signed with a key that is gone: nobody but the admins is let in by it.
    assert_eq!(again.server.gate().generation, 0);
    assert!(again.server.readiness().await.is_err());
    again.put_access(&document(2, 1)).await.unwrap();
    assert_eq!(again.server.gate().generation, 2);

    let foreign = Fixture::start_bare().await;
    let mut other = document(1, 1);
    other.registry_uid = "another".into();
    let text = serde_json::to_vec(&other.sign(&foreign.keys).unwrap()).unwrap();
    assert!(foreign.server.registry().put_access_document(1, text.into()).await.unwrap());
    assert_eq!(refused(foreign.put_access(&document(2, 1)).await), ProblemCode::StoreOwnedByAnother);
    let mut taking = document(2, 1);
    taking.take_over = Some("another".into());
    foreign.put_access(&taking).await.unwrap();
    assert_eq!(foreign.server.gate().generation, 2);
}

/// docs/explanation/storage.md, "Write-once keys": a clock that runs wrong reorders nothing; one that is far off writes
/// nothing.
#[tokio::test]
async fn a_server_whose_clock_is_off_serves_and_writes_nothing() {
    let fixture = Fixture::start_at(Arc::new(Ahead)).await;
    assert_eq!(fixture.status("dev", Method::POST, "/v2/team/app/blobs/uploads/").await, 202);
    fixture.server.check_clock().await.unwrap();
    assert_eq!(fixture.status("dev", Method::POST, "/v2/team/app/blobs/uploads/").await, 503);
    assert_eq!(fixture.status("dev", Method::GET, "/v2/team/app/tags/list").await, 404);
    assert!(fixture.server.readiness().await.is_err());
}

/// An hour ahead.
#[derive(Debug)]
struct Ahead;

impl TimeSource for Ahead {
    fn now_millis(&self) -> u64 {
        System.now_millis() + 3_600_000
    }
}

/// Who can write the store is not thereby admin.
#[tokio::test]
async fn a_document_that_somebody_put_into_the_store_is_not_taken() {
    let fixture = Fixture::start().await;
    let mut forged = document(2, 9);
    forged.projects[1].bindings[1].grant.role = regatta::admin::Role::ProjectAdmin;
    let text = serde_json::to_vec(&forged.sign(&regatta::admin::KeySet::generate()).unwrap()).unwrap();
    assert!(fixture.server.registry().put_access_document(2, text.into()).await.unwrap());
    fixture.server.poll_documents().await.unwrap();
    assert_eq!(fixture.server.gate().generation, 1);
    assert_eq!(fixture.status("guest", Method::POST, "/v2/team/app/blobs/uploads/").await, 403);
    assert!(fixture.server.readiness().await.is_err(), "it is behind the store's newest, and says so");
}
