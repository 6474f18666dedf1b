//! What the table of the specification cannot say in one row: several identities, replicas, settings, stores.

use std::sync::Arc;

use regatta::gc;
use regatta::oci::{Digest, MediaType};
use regatta::registry::register::{Draft, Permit};
use regatta::registry::{Author, Cause, Op, Register};
use regatta::server::Settings;
use regatta::server::limits::Limits;
use regatta::server::metrics;
use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::program::eventually;
use crate::protocol_store::CountingStore;
use crate::protocol_support::{Backend, World, backends, filesystem};
use crate::registry_support::{OCI_MANIFEST, code, descriptor, image};

fn location(answer: &reqwest::Response) -> String {
    answer.headers()[header::LOCATION].to_str().unwrap().to_owned()
}

async fn bytes(answer: reqwest::Response) -> Value {
    answer.json().await.unwrap()
}

/// The setting `sparse`: what a manifest names may come later, and is then the manifest's.
#[tokio::test]
async fn a_sparse_manifest_is_taken_where_that_is_set_and_keeps_what_it_names() {
    for backend in backends().await {
        let world = World::plain(backend, Settings { sparse: true, ..Settings::default() }).await;
        let (config, layer) = (Digest::sha256(b"{}"), Digest::sha256(b"late"));
        let sparse = world.put_manifest("team/app", "sparse", &image(&config, &[&layer])).await;
        assert_eq!(world.status("guest", Method::GET, "/v2/team/app/manifests/sparse").await, 200);
        world.push_blob("team/app", "late").await;
        world.push_blob("team/app", "nobody's").await;
        let registry = world.server.registry();
        let survey = gc::survey(registry, |_| {}).await.unwrap();
        let options = gc::Options { untagged: true, grace_millis: 0, window_millis: 0 };
        let plan = gc::plan(&survey, &options, registry.clock().now_millis() + 1_000);
        let unneeded = Register::Link("team/app".parse().unwrap(), Digest::sha256(b"nobody's"));
        let condemned: Vec<_> = plan.condemn.into_iter().map(|turn| turn.register).collect();
        assert_eq!(condemned, [unneeded], "and neither {layer} nor {sparse}");
    }
}

/// An adopted manifest of Docker's schema 1 is there, and served to nobody.
#[tokio::test]
async fn a_stored_manifest_of_schema_1_is_404_and_named() {
    let world = World::usual().await;
    let digest = world.push_blob("team/app", r#"{"schemaVersion":1}"#).await;
    let media_type: MediaType = "application/vnd.docker.distribution.manifest.v1+prettyjws".parse().unwrap();
    let draft = Draft { op: Op::Set, digest: digest.clone(), media_type: Some(media_type), size: 19 };
    let author = Author { actor: "adoption".into(), cause: Cause::Client };
    let name: regatta::oci::RepositoryName = "team/app".parse().unwrap();
    let registers =
        [Register::Manifest(name.clone(), digest.clone()), Register::Tag(name.clone(), "old".parse().unwrap())];
    for register in &registers {
        world.server.registry().land(register, None, &draft, &author, Permit::Held).await.unwrap().unwrap();
    }
    for reference in ["old", digest.as_str()] {
        let path = format!("/v2/team/app/manifests/{reference}");
        let answer = world.get("guest", &path).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
        let error = &bytes(answer).await["errors"][0];
        assert_eq!(error["code"], "MANIFEST_UNKNOWN");
        assert!(error["message"].as_str().unwrap().contains("schema 1"), "{error}");
        assert_eq!(world.status("guest", Method::HEAD, &path).await, 404);
    }
}

fn referrer(config: &Digest, subject: &Digest, number: u32) -> Value {
    let mut referrer = image(config, &[]);
    referrer["subject"] = descriptor(OCI_MANIFEST, subject);
    referrer["artifactType"] = format!("example/kind+{}", number % 2).into();
    referrer["annotations"] = json!({ "number": number.to_string() });
    referrer
}

/// All of a list, page by page; each page's Link is a path.
async fn pages(world: &World, first: &str) -> Vec<Vec<String>> {
    let (mut pages, mut next) = (Vec::new(), Some(first.to_owned()));
    while let Some(path) = next {
        assert!(path.starts_with("/v2/"), "{path}");
        let answer = world.get("limited", &path).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let link = answer.headers().get(header::LINK).map(|link| link.to_str().unwrap().to_owned());
        next = link.map(|link| link.strip_prefix('<').unwrap().split_once(">; rel=\"next\"").unwrap().0.to_owned());
        let body = bytes(answer).await;
        let manifests = body["manifests"].as_array().unwrap().iter();
        pages.push(manifests.map(|manifest| manifest["digest"].as_str().unwrap().to_owned()).collect());
        assert!(pages.len() < 100, "pages without end");
    }
    pages
}

/// "Listing Referrers": the list may come in pages. "Enabling the Referrers API": those that only the tag schema knows
/// are in it.
#[tokio::test]
async fn referrers_come_in_pages_and_with_those_of_the_tag_schema() {
    for backend in backends().await {
        let world = World::plain(backend, Settings::default()).await;
        let config = world.push_blob("team/app", "{}").await;
        let subject = world.put_manifest("team/app", "v1", &image(&config, &[])).await;
        let mut all = Vec::new();
        for number in 0..7 {
            all.push(world.put_manifest("team/app", "", &referrer(&config, &subject, number)).await);
        }
        let stranger = world.put_manifest("team/app", "", &referrer(&config, &config, 8)).await;
        // As if they had been pushed before there was a referrers API: two of them, and what is no referrer, are
        // listed by tag alone.
        let name = "team/app".parse().unwrap();
        let registry = world.server.registry();
        let hints = registry.all_hints(&name).await.unwrap();
        for early in hints.iter().filter(|hint| [&all[2], &all[3]].contains(&&hint.referrer)) {
            assert!(registry.forget_hint(&name, early).await.unwrap());
        }
        let listed = [&all[3], &all[2], &all[5], &stranger, &subject];
        let index = json!({
            "schemaVersion": 2,
            "mediaType": MediaType::OCI_INDEX,
            "manifests": listed.map(|digest| descriptor(OCI_MANIFEST, digest)),
        });
        let first = format!("/v2/team/app/referrers/{subject}");
        assert_eq!(pages(&world, &first).await[0].len(), 5, "without the tag");
        world.put_manifest("team/app", &subject.as_str().replace(':', "-"), &index).await;
        all.sort();
        let all: Vec<String> = all.iter().map(ToString::to_string).collect();
        assert_eq!(pages(&world, &first).await, std::slice::from_ref(&all));
        for limit in [1, 2, 3, 7] {
            let found = pages(&world, &format!("{first}?n={limit}")).await;
            assert!(found.iter().all(|page| page.len() <= limit), "{limit}: {found:?}");
            assert_eq!(found.concat(), all, "{limit}");
        }
        let odd = pages(&world, &format!("{first}?n=1&artifactType=example/kind%2B1")).await;
        assert_eq!(odd.concat().len(), 3, "the filter goes from page to page");
        let early = bytes(world.get("limited", &format!("{first}?artifactType=example/kind%2B0")).await).await;
        let numbers: Vec<_> =
            early["manifests"].as_array().unwrap().iter().map(|found| found["annotations"]["number"].clone()).collect();
        assert_eq!(numbers.len(), 4, "{numbers:?}: with types and annotations of their own");
    }
}

/// Annotations are as long as their manifest lets them: a page is cut before clients cannot read it.
#[tokio::test]
async fn a_page_of_referrers_is_no_longer_than_clients_read() {
    let world = World::usual().await;
    let config = world.push_blob("team/app", "{}").await;
    let subject = world.put_manifest("team/app", "v1", &image(&config, &[])).await;
    for number in 0..3 {
        let mut referrer = referrer(&config, &subject, number);
        referrer["annotations"]["long"] = "x".repeat(2 * 1024 * 1024).into();
        world.put_manifest("team/app", "", &referrer).await;
    }
    let sizes: Vec<usize> =
        pages(&world, &format!("/v2/team/app/referrers/{subject}")).await.iter().map(Vec::len).collect();
    assert_eq!(sizes, [1, 1, 1]);
}

async fn mount(world: &World, who: &str, digest: &Digest, query: &str) -> u16 {
    world.status(who, Method::POST, &format!("/v2/team/other/blobs/uploads/?mount={digest}{query}")).await
}

/// Blobs across repositories: a mount needs pull on a repository that links the blob, be it named or not.
#[tokio::test]
async fn a_blob_is_mounted_without_from_only_out_of_what_the_caller_may_pull() {
    for backend in backends().await {
        let world = World::plain(backend, Settings::default()).await;
        let near = world.push_blob("team/a/b/c", "near").await;
        let open = world.push_blob("open/app", "open").await;
        let hidden = world.push_blob("secret/app", "hidden").await;
        let gone = world.push_blob("team/app", "gone").await;
        assert_eq!(world.status("keeper", Method::DELETE, &format!("/v2/team/app/blobs/{gone}")).await, 202);
        for (digest, status) in [(&near, 201), (&open, 201), (&hidden, 202), (&gone, 202)] {
            assert_eq!(mount(&world, "dev", digest, "").await, status, "{digest}");
            assert_eq!(mount(&world, "robot", digest, "&from=").await, status, "{digest}");
        }
        assert_eq!(world.status("dev", Method::HEAD, &format!("/v2/team/other/blobs/{hidden}")).await, 404);
        assert_eq!(mount(&world, "guest", &near, "").await, 403);
        assert_eq!(mount(&world, "root", &hidden, "").await, 201);
        // Admins need a link too, and where they say from where, there.
        for query in ["", "&from=does/not-exist", "&from=team/app"] {
            assert_eq!(mount(&world, "root", &gone, query).await, 202, "{query}");
        }
        assert_eq!(mount(&world, "root", &open, "&from=secret/app").await, 202);
        for query in ["&from=open/app", "&from=team/other", ""] {
            assert_eq!(mount(&world, "root", &open, query).await, 201, "{query}");
        }
        assert_eq!(world.status("root", Method::GET, &format!("/v2/team/other/blobs/{gone}")).await, 404);
    }
}

/// Docker's token specification: what a mount needs is asked for at once, and a token that covers half of it again.
#[tokio::test]
async fn the_challenge_of_a_mount_asks_for_its_source_too() {
    let world = World::usual().await;
    let digest = world.push_blob("team/app", "shared").await;
    let path = format!("/v2/team/other/blobs/uploads/?mount={digest}&from=team/app");
    let post = async |token: Option<&str>| {
        let request = world.request("", Method::POST, &path);
        let answer =
            token.map_or(request.try_clone().unwrap(), |token| request.bearer_auth(token)).send().await.unwrap();
        let challenge = answer.headers().get(header::WWW_AUTHENTICATE).map(|value| value.to_str().unwrap().to_owned());
        (answer.status().as_u16(), challenge.unwrap_or_default())
    };
    let (status, challenge) = post(None).await;
    assert_eq!(status, 401);
    assert!(challenge.contains("scope=\"repository:team/other:pull,push repository:team/app:pull\""), "{challenge}");
    let narrow = challenge.replace(" repository:team/app:pull", "");
    let narrow = world.token("dev", &narrow).await;
    let (status, again) = post(Some(&narrow)).await;
    assert_eq!(status, 401, "a token that is too narrow");
    assert!(again.contains("error=\"insufficient_scope\"") && again.contains("repository:team/app:pull"), "{again}");
    let both = world.token("dev", &again).await;
    assert_eq!(post(Some(&both)).await.0, 201);
    // A token cannot cover what its client does not know: what the identity may pull counts.
    let elsewhere = world.push_blob("open/app", "elsewhere").await;
    let anywhere = format!("/v2/team/other/blobs/uploads/?mount={elsewhere}");
    let answer = world.request("", Method::POST, &anywhere).bearer_auth(&narrow).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED);
}

/// Denial of service: uploads that an identity may have open.
#[tokio::test]
async fn an_identity_has_only_so_many_uploads_open() {
    let limits = Limits { open_uploads: 3, ..Limits::default() };
    let world = World::plain(filesystem(), Settings { limits, ..Settings::default() }).await;
    let begin = async |who: &str| world.request(who, Method::POST, "/v2/team/app/blobs/uploads/").send().await.unwrap();
    let mut places = Vec::new();
    for _ in 0..3 {
        places.push(location(&begin("dev").await));
    }
    let refused = begin("dev").await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()[header::RETRY_AFTER], "60");
    assert_eq!(code(refused).await, "TOOMANYREQUESTS");
    assert_eq!(begin("keeper").await.status(), StatusCode::ACCEPTED, "others are not concerned");
    let whole =
        world.request("dev", Method::POST, &format!("/v2/team/app/blobs/uploads/?digest={}", Digest::sha256(b"x")));
    assert_eq!(whole.body("x").send().await.unwrap().status(), StatusCode::CREATED, "nor is what opens none");
    assert_eq!(world.status("dev", Method::DELETE, &places[0]).await, 204);
    places[0] = location(&begin("dev").await);
    let close = format!("{}?digest={}", places[1], Digest::sha256(b""));
    assert_eq!(world.status("dev", Method::PUT, &close).await, 201);
    places[1] = location(&begin("dev").await);
    assert_eq!(begin("dev").await.status(), StatusCode::TOO_MANY_REQUESTS);
    // Ended at another replica, which this one is not told of.
    let registry = world.server.registry();
    let id = places[2].rsplit('/').next().unwrap();
    let upload = registry.upload(&"team/app".parse().unwrap(), id, "htpasswd:dev").await.unwrap();
    registry.cancel(&upload).await.unwrap();
    assert_eq!(begin("dev").await.status(), StatusCode::ACCEPTED);
    assert_eq!(begin("dev").await.status(), StatusCode::TOO_MANY_REQUESTS);
}

/// They were counted where they began until the bound was reached.
#[tokio::test]
async fn uploads_that_ended_at_another_replica_are_open_no_more() {
    let world = World::usual().await;
    let mut ids = Vec::new();
    for who in ["dev", "dev", "keeper"] {
        let begun = world.request(who, Method::POST, "/v2/team/app/blobs/uploads/").send().await.unwrap();
        ids.push(location(&begun).rsplit('/').next().unwrap().to_owned());
    }
    let open = async || {
        let request = http::Request::get("/metrics").body(axum::body::Body::empty()).unwrap();
        let answer = metrics::router(world.server.clone()).oneshot(request).await.unwrap();
        let bytes = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("regatta_registry_open_uploads "));
        line.unwrap().parse::<usize>().unwrap()
    };
    assert_eq!(open().await, 3);
    // By a registry of the same store, as another replica would.
    let registry = world.server.registry();
    for (id, who) in ids.iter().zip(["htpasswd:dev", "htpasswd:dev", "htpasswd:keeper"]).skip(1) {
        let upload = registry.upload(&"team/app".parse().unwrap(), id, who).await.unwrap();
        registry.cancel(&upload).await.unwrap();
    }
    world.server.look_at_open_uploads().await.unwrap();
    assert_eq!(open().await, 1, "the one that nobody ended");
}

/// "Pushing a blob in chunks", and a store that serves by itself: for GET only.
#[tokio::test]
async fn a_store_may_say_the_least_chunk_and_send_clients_to_itself() {
    let world = World::plain(Backend::over("bucket", Arc::new(CountingStore::bucket())), Settings::default()).await;
    let begun = world.request("dev", Method::POST, "/v2/team/app/blobs/uploads/").send().await.unwrap();
    assert_eq!(begun.headers()["oci-chunk-min-length"], "5242880");
    let plain = World::usual().await.request("dev", Method::POST, "/v2/team/app/blobs/uploads/").send().await.unwrap();
    assert!(!plain.headers().contains_key("oci-chunk-min-length"), "a directory does not care");
    let digest = world.push_blob("team/app", "in a bucket").await;
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let ask = async |who: &str, method: Method, digest: &Digest| {
        let url = format!("{}/v2/team/app/blobs/{digest}", world.url);
        client.request(method, url).basic_auth(who, Some(who)).send().await.unwrap()
    };
    let sent_away = ask("guest", Method::GET, &digest).await;
    assert_eq!(sent_away.status(), StatusCode::TEMPORARY_REDIRECT);
    assert!(location(&sent_away).starts_with("https://bucket.example/docker/registry/v2/blobs/sha256/"));
    assert_eq!(sent_away.headers()["docker-content-digest"], digest.as_str());
    assert_eq!(sent_away.headers()[header::CACHE_CONTROL], "no-store");
    let head = ask("guest", Method::HEAD, &digest).await;
    assert_eq!((head.status(), head.headers()[header::CONTENT_LENGTH].to_str().unwrap()), (StatusCode::OK, "11"));
    assert_eq!(ask("guest", Method::GET, &Digest::sha256(b"none")).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(ask("stranger", Method::GET, &digest).await.status(), StatusCode::FORBIDDEN);
}

/// A multipart answer is what its headers say, also where its parts are read from files.
#[tokio::test]
async fn several_ranges_of_a_large_blob_come_whole() {
    for backend in backends().await {
        let world = World::plain(backend, Settings::default()).await;
        let content: Vec<u8> = (0..3_000_000_u32).map(|n| b"0123456789abcdef"[(n / 7 % 16) as usize]).collect();
        let digest = world.push_blob("team/app", content.clone()).await;
        let request = world.request("guest", Method::GET, &format!("/v2/team/app/blobs/{digest}"));
        let answer = request.header(header::RANGE, "bytes=0-99,1000000-2499999,-1").send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::PARTIAL_CONTENT);
        let kind = answer.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
        let length: usize = answer.headers()[header::CONTENT_LENGTH].to_str().unwrap().parse().unwrap();
        let boundary = kind.strip_prefix("multipart/byteranges; boundary=").unwrap();
        let body = String::from_utf8(answer.bytes().await.unwrap().to_vec()).unwrap();
        assert_eq!(body.len(), length);
        let delimiter = format!("\r\n--{boundary}");
        let mut parts = body.split(&delimiter);
        assert_eq!(parts.next(), Some(""));
        for (start, end) in [(0, 99), (1_000_000, 2_499_999), (2_999_999, 2_999_999)] {
            let (head, bytes) = parts.next().unwrap().split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("Content-Range: bytes {start}-{end}/3000000")), "{head}");
            assert_eq!(bytes.as_bytes(), &content[start..=end]);
        }
        assert_eq!(parts.next(), Some("--\r\n"));
    }
}

/// Compressed lists are the same lists.
#[tokio::test]
async fn a_compressed_list_is_the_list() {
    use std::io::Read as _;
    let world = World::usual().await;
    let config = world.push_blob("team/app", "{}").await;
    for tag in 0..50 {
        world.put_manifest("team/app", &format!("v{tag}"), &image(&config, &[])).await;
    }
    let plain = world.get("guest", "/v2/team/app/tags/list").await.bytes().await.unwrap();
    let request = world.request("guest", Method::GET, "/v2/team/app/tags/list").header(header::ACCEPT_ENCODING, "gzip");
    let packed = request.send().await.unwrap().bytes().await.unwrap();
    assert!(packed.len() < plain.len() / 2, "{} of {}", packed.len(), plain.len());
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).unwrap();
    assert_eq!(unpacked, plain);
}

/// docs/explanation/collection.md: what is condemned is 404 for who asks whether it is there, so that it is pushed again,
/// and is still served to who is in the middle of a pull.
#[tokio::test]
async fn what_is_condemned_is_not_there_for_pushers_and_still_there_for_pullers() {
    for backend in backends().await {
        let world = World::plain(backend, Settings::default()).await;
        let config = world.push_blob("team/app", "{}").await;
        let image = world.put_manifest("team/app", "v1", &image(&config, &[])).await;
        assert_eq!(world.status("keeper", Method::DELETE, "/v2/team/app/manifests/v1").await, 202);
        let registry = world.server.registry();
        let options = gc::Options { untagged: true, grace_millis: 0, window_millis: 24 * 3_600_000 };
        eventually("both are condemned", async || {
            let (outcome, result) = gc::collect(registry, &options, false, &CancellationToken::new()).await;
            result.map_err(|error| error.to_string())?;
            let gone = world.status("guest", Method::HEAD, &format!("/v2/team/app/blobs/{config}")).await;
            if gone == 404 { Ok(()) } else { Err(format!("{:?}", outcome.condemned)) }
        })
        .await;
        let (blob, manifest) = (format!("/v2/team/app/blobs/{config}"), format!("/v2/team/app/manifests/{image}"));
        assert_eq!(world.status("guest", Method::HEAD, &manifest).await, 404);
        for path in [&blob, &manifest] {
            assert_eq!(world.status("guest", Method::GET, path).await, 200, "{path}");
        }
        assert_eq!(mount(&world, "dev", &config, "&from=team/app").await, 202);
        assert_eq!(mount(&world, "dev", &config, "").await, 202);
        world.push_blob("team/app", "{}").await;
        assert_eq!(world.status("guest", Method::HEAD, &blob).await, 200);
    }
}

/// Collectors that destroy data: what any kind of manifest names is kept, however little of it is known here.
#[tokio::test]
async fn the_collector_keeps_what_manifests_of_any_kind_name() {
    let world = World::usual().await;
    let config = world.push_blob("team/app", "{}").await;
    let mut layers = Vec::new();
    for number in 0..6 {
        let digest = world.push_blob("team/app", format!("layer {number}")).await;
        layers.push(descriptor("example/layer", &digest));
    }
    let index =
        |manifests: Value| json!({ "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": manifests });
    let inner = world.put_manifest("team/app", "", &index(json!([layers[0]]))).await;
    world.put_manifest("team/app", "nested", &index(json!([descriptor(MediaType::OCI_INDEX, &inner)]))).await;
    let artifact = "application/vnd.oci.artifact.manifest.v1+json";
    world.put_manifest("team/app", "artifact", &json!({ "mediaType": artifact, "blobs": [layers[1]] })).await;
    let unheard = "application/vnd.example.unheard+json";
    let of_its_own = json!({ "mediaType": unheard, "config": layers[2], "layers": [layers[3]], "blobs": [layers[4]] });
    let of_its_own = world.put_manifest("team/app", "", &of_its_own).await;
    let listing = json!({ "mediaType": unheard, "manifests": [descriptor(unheard, &of_its_own)] });
    world.put_manifest("team/app", "unheard", &listing).await;
    let subject = world.put_manifest("team/app", "subject", &image(&config, &[])).await;
    let mut referrer = image(&config, &[]);
    referrer["layers"] = json!([layers[5]]);
    referrer["subject"] = descriptor(OCI_MANIFEST, &subject);
    world.put_manifest("team/app", "", &referrer).await;
    let stray = world.push_blob("team/app", "stray").await;
    let registry = world.server.registry();
    let survey = gc::survey(registry, |_| {}).await.unwrap();
    let options = gc::Options { untagged: true, grace_millis: 0, window_millis: 0 };
    let plan = gc::plan(&survey, &options, registry.clock().now_millis() + 1_000);
    let condemned: Vec<_> = plan.condemn.into_iter().map(|turn| turn.register).collect();
    assert_eq!(condemned, [Register::Link("team/app".parse().unwrap(), stray)]);
}

/// "Pushing Manifests": each missing thing is named, so that a client can push what it forgot.
#[tokio::test]
async fn every_missing_thing_is_named_at_once() {
    let world = World::usual().await;
    let layer = world.push_blob("team/app", "here").await;
    let missing = [Digest::sha256(b"config"), Digest::sha256(b"one"), Digest::sha256(b"two")];
    let manifest = image(&missing[0], &[&missing[1], &layer, &missing[2]]);
    let request = world.request("dev", Method::PUT, "/v2/team/app/manifests/v1");
    let answer = request.header(header::CONTENT_TYPE, OCI_MANIFEST).body(manifest.to_string()).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    let errors = bytes(answer).await;
    assert!(errors["errors"].as_array().unwrap().iter().all(|error| error["code"] == "MANIFEST_BLOB_UNKNOWN"));
    let text = errors.to_string();
    assert!(missing.iter().all(|digest| text.contains(digest.as_str())), "{text}");
    assert!(!text.contains(layer.as_str()), "{text}");
}
