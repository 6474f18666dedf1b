//! Classes of defect that registries have had (docs/explanation/threats.md): existence leaks, verbs and scopes, paths.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use regatta::oci::Digest;
use regatta::server::Settings;
use reqwest::{Method, StatusCode, header};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::program::DEADLINE;
use crate::protocol_store::CountingStore;
use crate::protocol_support::{Backend, World};
use crate::registry_support::{OCI_MANIFEST, image, without_id};

/// What a route needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Needs {
    Pull,
    List,
    Push,
    Delete,
}

/// Every route of a repository by every method that it has, and what that needs: the one table of verbs and
/// scopes.
const ROUTES: [(Method, &str, Needs); 27] = [
    (Method::GET, "manifests/v1", Needs::Pull),
    (Method::HEAD, "manifests/v1", Needs::Pull),
    (Method::PUT, "manifests/v1", Needs::Push),
    (Method::DELETE, "manifests/v1", Needs::Delete),
    (Method::GET, "manifests/{manifest}", Needs::Pull),
    (Method::HEAD, "manifests/{manifest}", Needs::Pull),
    (Method::PUT, "manifests/{manifest}", Needs::Push),
    (Method::PUT, "manifests/{manifest}?tag=a", Needs::Push),
    (Method::DELETE, "manifests/{manifest}", Needs::Delete),
    (Method::GET, "blobs/{blob}", Needs::Pull),
    (Method::HEAD, "blobs/{blob}", Needs::Pull),
    (Method::DELETE, "blobs/{blob}", Needs::Delete),
    (Method::POST, "blobs/uploads/", Needs::Push),
    (Method::POST, "blobs/uploads/?digest={blob}", Needs::Push),
    (Method::POST, "blobs/uploads/?mount={blob}", Needs::Push),
    (Method::POST, "blobs/uploads/?mount={blob}&from=open/app", Needs::Push),
    (Method::POST, "blobs/uploads/?digest-algorithm=sha512", Needs::Push),
    (Method::GET, "blobs/uploads/0123456789abcdef0123456789abcdef", Needs::Push),
    (Method::PATCH, "blobs/uploads/0123456789abcdef0123456789abcdef", Needs::Push),
    (Method::PUT, "blobs/uploads/0123456789abcdef0123456789abcdef?digest={blob}", Needs::Push),
    (Method::DELETE, "blobs/uploads/0123456789abcdef0123456789abcdef", Needs::Push),
    (Method::GET, "tags/list", Needs::List),
    (Method::HEAD, "tags/list", Needs::List),
    (Method::GET, "referrers/{manifest}", Needs::Pull),
    (Method::HEAD, "referrers/{manifest}", Needs::Pull),
    (Method::GET, "_oci/ext/discover", Needs::Pull),
    (Method::HEAD, "_oci/ext/discover", Needs::Pull),
];

/// What each may in the private project `team`; in the public one everybody may what a guest may, and nobody else more.
const ROLES: [(&str, Option<Needs>); 8] = [
    ("", None),
    ("stranger", None),
    ("limited", Some(Needs::Pull)),
    ("guest", Some(Needs::List)),
    ("dev", Some(Needs::Push)),
    ("robot", Some(Needs::Push)),
    ("keeper", Some(Needs::Delete)),
    ("root", Some(Needs::Delete)),
];

fn may(who: &str, of_team: Option<Needs>, project: &str, needs: Needs) -> bool {
    match (who, project) {
        ("root", _) => true,
        (_, "team") => of_team.is_some_and(|most| needs <= most),
        (_, "open") => needs <= Needs::List,
        (_, _) => false,
    }
}

/// With what is there in each project, and the digests of it.
async fn filled(world: &World) -> (Digest, Digest) {
    let mut found = None;
    for project in ["team", "open", "secret"] {
        let blob = world.push_blob(&format!("{project}/app"), "a blob").await;
        world.push_blob(&format!("{project}/app"), "{}").await;
        let manifest = image(&Digest::sha256(b"{}"), &[&blob]);
        found = Some((world.put_manifest(&format!("{project}/app"), "v1", &manifest).await, blob));
    }
    found.unwrap()
}

fn path(project: &str, name: &str, route: &str, manifest: &Digest, blob: &Digest) -> String {
    let route = route.replace("{manifest}", manifest.as_str()).replace("{blob}", blob.as_str());
    format!("/v2/{project}/{name}/{route}")
}

/// Verbs and scopes: method x route x role x project, from one table. Reads first, so that what is deleted was asked for before.
#[tokio::test]
async fn every_method_on_every_route_needs_what_the_table_says_of_every_role() {
    let world = World::usual().await;
    let (manifest, blob) = filled(&world).await;
    let mut routes = ROUTES.to_vec();
    routes.sort_by_key(|(_, _, needs)| *needs);
    for (method, route, needs) in &routes {
        for project in ["team", "open", "secret"] {
            for (who, of_team) in ROLES {
                let path = path(project, "app", route, &manifest, &blob);
                let status = world.status(who, method.clone(), &path).await;
                let refused = if who.is_empty() { 401 } else { 403 };
                if may(who, of_team, project, *needs) {
                    assert!(![401, 403, 405].contains(&status) && status < 500, "{who:?} {method} {path}: {status}");
                } else {
                    assert_eq!(status, refused, "{who:?} {method} {path}");
                }
            }
        }
    }
}

/// Verbs and scopes: a token narrows, whatever its owner may.
#[tokio::test]
async fn a_token_is_good_for_what_it_says_and_for_nothing_beside_it() {
    let world = World::usual().await;
    let (manifest, blob) = filled(&world).await;
    let base = world.get("", "/v2/").await.headers()[header::WWW_AUTHENTICATE].to_str().unwrap().to_owned();
    for (actions, granted) in
        [("pull", vec![Needs::Pull, Needs::List]), ("push", vec![Needs::Push]), ("delete", vec![Needs::Delete])]
    {
        let token = world.token("keeper", &format!("{base},scope=\"repository:team/app:{actions}\"")).await;
        let mut routes = ROUTES.to_vec();
        routes.sort_by_key(|(_, _, needs)| *needs);
        for (method, route, needs) in routes {
            for (project, name) in [("team", "app"), ("team", "other"), ("open", "app")] {
                let path = path(project, name, route, &manifest, &blob);
                let answer = world.request("", method.clone(), &path).bearer_auth(&token).send().await.unwrap();
                let status = answer.status().as_u16();
                let what = format!("{actions}: {method} {path}: {status}");
                let in_scope = name == "app" && project == "team" && granted.contains(&needs);
                if in_scope && route.ends_with("from=open/app") {
                    assert_eq!(status, 401, "{what}: the source is not in it");
                } else if in_scope {
                    assert!(![401, 403].contains(&status), "{what}");
                } else {
                    let expected = if project == "open" && needs > Needs::List { 403 } else { 401 };
                    assert_eq!(status, expected, "{what}");
                    if expected == 401 {
                        let challenge = answer.headers()[header::WWW_AUTHENTICATE].to_str().unwrap();
                        assert!(challenge.contains("error=\"insufficient_scope\""), "{what}: {challenge}");
                    }
                }
            }
        }
    }
}

/// Verbs and scopes: a token of one registry is nothing to another.
#[tokio::test]
async fn a_token_of_another_registry_is_refused() {
    let (one, other) = (World::usual().await, World::usual().await);
    let challenge = one.get("", "/v2/").await.headers()[header::WWW_AUTHENTICATE].to_str().unwrap().to_owned();
    let token = one.token("root", &challenge).await;
    assert_eq!(one.request("", Method::GET, "/v2/").bearer_auth(&token).send().await.unwrap().status(), StatusCode::OK);
    let refused = other.request("", Method::GET, "/v2/").bearer_auth(&token).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
}

/// Existence leaks: for every route and every identity that may not, what is there and what is not answer alike, in
/// status, headers and body; and in time, since the store is not asked at all.
#[tokio::test]
async fn what_is_absent_and_what_is_forbidden_answer_alike_on_every_route() {
    let store = CountingStore::default();
    let world = World::unwatched(Backend::over("counting", Arc::new(store.clone()))).await;
    let (manifest, blob) = filled(&world).await;
    let seen = async |who: &str, method: &Method, name: &str, route: &str| {
        let path = path("secret", name, route, &manifest, &blob);
        let asked = store.asked();
        let answer = world.request(who, method.clone(), &path).send().await.unwrap();
        let status = answer.status().as_u16();
        let headers: Vec<(String, String)> = answer
            .headers()
            .iter()
            .filter(|(name, _)| !["x-request-id", "date", "content-length"].contains(&name.as_str()))
            .map(|(key, value)| (key.to_string(), value.to_str().unwrap().replace(name, "app")))
            .collect();
        let body = answer.text().await.unwrap().replace(name, "app");
        let body = if body.is_empty() { serde_json::Value::Null } else { without_id(&body) };
        (status, headers, body, store.asked() - asked)
    };
    for (method, route, _) in ROUTES {
        world.server.poll_documents().await.unwrap();
        for who in ["", "stranger", "dev", "robot"] {
            let there = seen(who, &method, "app", route).await;
            let absent = seen(who, &method, "none", route).await;
            assert_eq!(there, absent, "{who:?} {method} {route}");
            assert_eq!(there.0, if who.is_empty() { 401 } else { 403 }, "{who:?} {method} {route}");
            assert_eq!(there.3, 0, "the store was asked: {who:?} {method} {route}");
        }
    }
    let catalog: serde_json::Value = world.get("dev", "/v2/_catalog").await.json().await.unwrap();
    assert_eq!(catalog["repositories"], serde_json::json!(["open/app", "team/app"]));
    // A blob that is only where the caller may not look, and one that is nowhere: the same look-ups.
    let hidden = world.push_blob("secret/app", "hidden").await;
    let mount = async |digest: &Digest| {
        let asked = store.asked();
        let status = world.status("dev", Method::POST, &format!("/v2/team/app/blobs/uploads/?mount={digest}")).await;
        (status, store.asked() - asked)
    };
    assert_eq!(mount(&hidden).await, mount(&Digest::sha256(b"nowhere")).await);
    let source = async |from: &str| {
        let asked = store.asked();
        let path = format!("/v2/team/app/blobs/uploads/?mount={hidden}&from={from}");
        (world.status("dev", Method::POST, &path).await, store.asked() - asked)
    };
    assert_eq!(source("secret/app").await, source("secret/none").await);
}

/// A request exactly as it stands: clients mend paths before they send them.
async fn raw(world: &World, request: &str) -> String {
    let mut stream = TcpStream::connect(&world.authority).await.unwrap();
    let login = "Authorization: Basic cm9vdDpyb290";
    let text = format!(
        "{request} HTTP/1.1\r\nHost: registry\r\n{login}\r\nContent-Type: {OCI_MANIFEST}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}"
    );
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A reset after the answer is the end of it as well.
    let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("an answer in time");
    String::from_utf8_lossy(&answer).into_owned()
}

fn names_below(directory: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
        found.insert(entry.path().display().to_string());
        if entry.file_type().unwrap().is_dir() {
            names_below(&entry.path(), found);
        }
    }
}

/// What would be a path, wherever a name, a digest, a tag or an upload's id is expected.
const EVIL: [&str; 44] = [
    "..",
    ".",
    "...",
    "../..",
    "../../secret",
    "..%2fsecret",
    "%2e%2e/%2e%2e/secret",
    "%2e%2e%2fsecret",
    "..%5csecret",
    "..\\secret",
    "%00",
    "a%00b",
    "secret%00",
    "%c0%ae%c0%ae/secret",
    "%252e%252e%252fsecret",
    "_uploads",
    "_tags",
    "!",
    "a!",
    "a/_manifests",
    "a/../b",
    "a//b",
    "/a",
    "a/",
    "%20",
    "%0d%0aX: y",
    "é",
    "%c3%a9",
    "%ff",
    "A",
    "a..b",
    "~",
    "*",
    "a;b",
    "a%3Fb",
    "CON",
    "a%2f..%2fb",
    "sha256:",
    "sha256:..",
    "sha256:../../secret",
    "sha256:%2e%2e",
    "sha256-x",
    "sha512:%00",
    "md5:d41d8cd98f00b204e9800998ecf8427e",
];

/// Every place in which a client can put such a text.
fn requests_with(text: &str) -> [String; 22] {
    let digest = Digest::sha256(b"x");
    [
        format!("GET /v2/{text}/manifests/v1"),
        format!("GET /v2/team/{text}/tags/list"),
        format!("GET /v2/team/app/manifests/{text}"),
        format!("GET /v2/team/app/blobs/{text}"),
        format!("GET /v2/team/app/referrers/{text}"),
        format!("GET /v2/team/app/blobs/uploads/{text}"),
        format!("GET /v2/team/app/tags/list?last={text}"),
        format!("GET /v2/_catalog?last={text}&n=1"),
        format!("GET /{text}"),
        format!("GET /v2/{text}"),
        format!("PUT /v2/{text}/manifests/v1"),
        format!("PUT /v2/team/app/manifests/{text}"),
        format!("PUT /v2/team/app/manifests/{digest}?tag={text}"),
        format!("PUT /v2/team/app/blobs/uploads/{text}?digest={digest}"),
        format!("PATCH /v2/team/app/blobs/uploads/{text}"),
        format!("POST /v2/{text}/blobs/uploads/"),
        format!("POST /v2/team/app/blobs/uploads/?digest={text}"),
        format!("POST /v2/team/app/blobs/uploads/?mount={text}&from=team/app"),
        format!("DELETE /v2/team/app/manifests/{text}"),
        format!("DELETE /v2/team/app/blobs/{text}"),
        format!("DELETE /v2/team/app/blobs/uploads/{text}"),
        format!("GET /v2/_regatta/replication/cursor/{text}"),
    ]
}

/// Paths: names, digests, tags and upload ids that would be paths.
#[tokio::test]
async fn no_path_leads_out_of_the_store_or_makes_anything_in_it() {
    const CANARY: &str = "canary-0f9a";
    let outer = tempfile::tempdir().unwrap();
    std::fs::write(outer.path().join("secret"), CANARY).unwrap();
    let root = outer.path().join("root");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("inside"), CANARY).unwrap();
    let store = regatta::store::fs::FsStore::open(&root, regatta::registry::layout::temporaries()).unwrap();
    let world = World::plain(Backend::over("filesystem", Arc::new(store)), Settings::default()).await;
    let (hex, long) = ("a".repeat(64), "a".repeat(5_000));
    let absolute = outer.path().join("secret").display().to_string();
    let made = [
        long,
        absolute.clone(),
        format!("sha256:{hex}/../x"),
        format!("sha256:{}", hex.to_uppercase()),
        format!("sha256:{hex}%00"),
    ];
    let (mut before, mut after) = (BTreeSet::new(), BTreeSet::new());
    names_below(outer.path(), &mut before);
    let evil = EVIL.into_iter().chain(made.iter().map(String::as_str));
    let requests: Vec<String> = evil.flat_map(requests_with).collect();
    for request in &requests {
        let answer = raw(&world, request).await;
        let status = answer.split(' ').nth(1).unwrap_or_default();
        // Lists are read from wherever one likes; names that are good ones after all may be looked for, or begun with.
        let harmless = ["200", "400", "401", "403", "404", "405", "414", "416"].contains(&status)
            || (status == "202" && request.starts_with("POST"));
        assert!(harmless, "{request}: {answer}");
        assert!(!answer.contains(CANARY), "{request}: {answer}");
        assert!(
            !answer.contains(&outer.path().display().to_string()) || request.contains(&absolute),
            "{request}: {answer}"
        );
    }
    names_below(outer.path(), &mut after);
    let kept = format!("{}/regatta/v1/", root.display());
    let made: Vec<&String> = after.difference(&before).filter(|path| !path.starts_with(&kept)).collect();
    assert_eq!(made, Vec::<&String>::new());
    let uploads = format!("{kept}uploads");
    let made: Vec<&String> = after.difference(&before).filter(|path| !path.starts_with(&uploads)).collect();
    assert_eq!(made, Vec::<&String>::new(), "only uploads of good names were begun");
    assert!(requests.len() > 1_000);
}
