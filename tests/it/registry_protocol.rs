//! The distribution specification over HTTP. Sections are those of distribution-spec 1.1.1.

use regatta::oci::Digest;
use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};

use crate::registry_support::{Fixture, OCI_MANIFEST, code, descriptor, image};

fn location(answer: &reqwest::Response) -> String {
    answer.headers()[header::LOCATION].to_str().unwrap().to_owned()
}

async fn begin(fixture: &Fixture, name: &str) -> String {
    let answer = fixture.request("root", Method::POST, &format!("/v2/{name}/blobs/uploads/")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let location = location(&answer);
    assert!(location.starts_with(&format!("/v2/{name}/blobs/uploads/")), "path-absolute: {location}");
    location
}

async fn patch(fixture: &Fixture, location: &str, range: Option<&str>, bytes: &'static [u8]) -> reqwest::Response {
    let mut request = fixture.request("root", Method::PATCH, location).body(bytes);
    if let Some(range) = range {
        request = request.header(header::CONTENT_RANGE, range);
    }
    request.send().await.unwrap()
}

/// "Pushing a blob monolithically" and "in chunks".
#[tokio::test]
async fn a_blob_is_pushed_in_one_request_in_two_and_in_chunks() {
    let fixture = Fixture::start().await;
    let one = fixture.push_blob("team/app", b"in one").await;
    let two = Digest::sha256(b"in two");
    let place = begin(&fixture, "team/app").await;
    let put = fixture.request("root", Method::PUT, &format!("{place}?digest={two}")).body("in two");
    let answer = put.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED);
    assert_eq!(answer.headers()["docker-content-digest"], two.as_str());
    assert_eq!(location(&answer), format!("/v2/team/app/blobs/{two}"));

    let place = begin(&fixture, "team/app").await;
    let first = patch(&fixture, &place, Some("0-2"), b"in ").await;
    assert_eq!((first.status(), &first.headers()[header::RANGE]), (StatusCode::ACCEPTED, &"0-2".parse().unwrap()));
    // Out of order: told where to go on, by range and by status.
    let ahead = patch(&fixture, &place, Some("5-7"), b"xyz").await;
    assert_eq!(
        (ahead.status(), &ahead.headers()[header::RANGE]),
        (StatusCode::RANGE_NOT_SATISFIABLE, &"0-2".parse().unwrap())
    );
    let misfit = patch(&fixture, &place, Some("3-9"), b"xyz").await;
    assert_eq!(misfit.status(), StatusCode::BAD_REQUEST);
    let status = fixture.get("root", &place).await;
    assert_eq!((status.status(), &status.headers()[header::RANGE]), (StatusCode::NO_CONTENT, &"0-2".parse().unwrap()));
    assert_eq!(patch(&fixture, &place, Some("3-8"), b"chunks").await.status(), StatusCode::ACCEPTED);
    let chunks = Digest::sha256(b"in chunks");
    assert_eq!(fixture.status("root", Method::PUT, &format!("{place}?digest={chunks}")).await, 201);
    for digest in [one, two, chunks] {
        let answer = fixture.get("root", &format!("/v2/team/app/blobs/{digest}")).await;
        assert_eq!(Digest::sha256(&answer.bytes().await.unwrap()), digest);
    }
}

#[tokio::test]
async fn an_upload_with_another_digest_is_refused_and_a_cancelled_one_is_gone() {
    let fixture = Fixture::start().await;
    let place = begin(&fixture, "team/app").await;
    let wrong = Digest::sha256(b"something else");
    let put = fixture.request("root", Method::PUT, &format!("{place}?digest={wrong}")).body("bytes");
    let answer = put.send().await.unwrap();
    assert_eq!((answer.status(), code(answer).await.as_str()), (StatusCode::BAD_REQUEST, "DIGEST_INVALID"));
    assert_eq!(fixture.status("root", Method::HEAD, &format!("/v2/team/app/blobs/{wrong}")).await, 404);
    let place = begin(&fixture, "team/app").await;
    assert_eq!(fixture.status("root", Method::DELETE, &place).await, 204);
    let gone = fixture.get("root", &place).await;
    assert_eq!((gone.status(), code(gone).await.as_str()), (StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN"));
    assert_eq!(fixture.status("root", Method::PUT, &place).await, 404);
}

/// CVE-2026-32589: another's upload session.
#[tokio::test]
async fn an_upload_is_nobodys_but_its_own() {
    let fixture = Fixture::start().await;
    let begun = fixture.request("dev", Method::POST, "/v2/team/app/blobs/uploads/").send().await.unwrap();
    let place = location(&begun);
    assert_eq!(fixture.status("keeper", Method::GET, &place).await, 404);
    assert_eq!(fixture.status("dev", Method::GET, &place.replace("team/app", "team/other")).await, 404);
    assert_eq!(fixture.status("dev", Method::GET, &place).await, 204);
}

/// "Pulling blobs", RFC 9110 section 14.
#[tokio::test]
async fn blobs_are_served_whole_in_part_and_not_again() {
    let fixture = Fixture::start().await;
    let digest = fixture.push_blob("team/app", b"0123456789").await;
    let path = format!("/v2/team/app/blobs/{digest}");
    let ranged = async |range: &str| {
        let answer = fixture.request("root", Method::GET, &path).header(header::RANGE, range).send().await.unwrap();
        let content_range = answer.headers().get(header::CONTENT_RANGE).map(|value| value.to_str().unwrap().to_owned());
        (answer.status().as_u16(), content_range.unwrap_or_default(), answer.text().await.unwrap())
    };
    assert_eq!(ranged("bytes=2-4").await, (206, "bytes 2-4/10".into(), "234".into()));
    assert_eq!(ranged("bytes=-3").await, (206, "bytes 7-9/10".into(), "789".into()));
    assert_eq!(ranged("bytes=8-").await, (206, "bytes 8-9/10".into(), "89".into()));
    assert_eq!(ranged("Bytes=2-4").await.0, 206, "units are told apart without regard to case");
    for (range, status) in [("bytes=10-", 416), ("bytes=500-0", 416)] {
        let (found, content_range, _) = ranged(range).await;
        assert_eq!((found, content_range.as_str()), (status, "bytes */10"), "{range}");
    }
    let whole = fixture.get("root", &path).await;
    let etag = whole.headers()[header::ETAG].clone();
    assert_eq!(whole.headers()["docker-content-digest"], digest.as_str());
    assert_eq!(whole.text().await.unwrap(), "0123456789");
    for lines in [vec![etag.clone()], vec!["\"other\"".parse().unwrap(), etag]] {
        let again = lines.into_iter().fold(fixture.request("root", Method::GET, &path), |request, line| {
            request.header(header::IF_NONE_MATCH, line)
        });
        assert_eq!(again.send().await.unwrap().status(), StatusCode::NOT_MODIFIED);
    }
    let head = fixture.request("root", Method::HEAD, &path).send().await.unwrap();
    assert_eq!((head.status(), &head.headers()[header::CONTENT_LENGTH]), (StatusCode::OK, &"10".parse().unwrap()));
}

#[tokio::test]
async fn an_empty_blob_with_a_range_is_whole() {
    let fixture = Fixture::start().await;
    let digest = fixture.push_blob("team/app", b"").await;
    let request = fixture.request("root", Method::GET, &format!("/v2/team/app/blobs/{digest}"));
    let answer = request.header(header::RANGE, "bytes=0-5").send().await.unwrap();
    assert_eq!((answer.status(), answer.text().await.unwrap()), (StatusCode::OK, String::new()));
}

/// "Mounting a blob from another repository".
#[tokio::test]
async fn a_blob_is_mounted_from_where_the_caller_may_pull_and_nowhere_else() {
    let fixture = Fixture::start().await;
    let digest = fixture.push_blob("team/app", b"shared").await;
    let hidden = fixture.push_blob("secret/app", b"hidden").await;
    let mount = async |who: &str, digest: &Digest, from: &str| {
        fixture.status(who, Method::POST, &format!("/v2/team/other/blobs/uploads/?mount={digest}&from={from}")).await
    };
    assert_eq!(mount("dev", &digest, "team/app").await, 201);
    assert_eq!(fixture.status("dev", Method::HEAD, &format!("/v2/team/other/blobs/{digest}")).await, 200);
    // What the caller may not read and what is not there look alike: an upload begins.
    assert_eq!(mount("dev", &hidden, "secret/app").await, 202);
    assert_eq!(mount("dev", &hidden, "team/none").await, 202);
    assert_eq!(fixture.status("dev", Method::HEAD, &format!("/v2/team/other/blobs/{hidden}")).await, 404);
}

/// "Pushing manifests": byte-exact, and only with everything that they name.
#[tokio::test]
async fn a_manifest_is_served_as_it_came_whatever_the_client_accepts() {
    let fixture = Fixture::start().await;
    let config = fixture.push_blob("team/app", b"{}").await;
    let odd = format!("\n  {}  \n", image(&config, &[]));
    let digest = Digest::sha256(odd.as_bytes());
    let put = fixture.put("team/app", "odd", OCI_MANIFEST, odd.clone()).await;
    assert_eq!((put.status(), location(&put)), (StatusCode::CREATED, format!("/v2/team/app/manifests/{digest}")));
    for reference in ["odd", digest.as_str()] {
        let request = fixture.request("guest", Method::GET, &format!("/v2/team/app/manifests/{reference}"));
        let answer = request
            .header(header::ACCEPT, "application/vnd.docker.distribution.manifest.v1+json")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.headers()[header::CONTENT_TYPE], OCI_MANIFEST);
        assert_eq!(answer.headers()["docker-content-digest"], digest.as_str());
        assert_eq!(answer.text().await.unwrap(), odd);
    }
}

#[tokio::test]
async fn manifests_that_cannot_be_are_refused_with_the_reason() {
    let fixture = Fixture::start().await;
    let config = fixture.push_blob("team/app", b"{}").await;
    let missing = Digest::sha256(b"missing");
    let check = async |reference: &str, media_type: &str, text: String, status: u16, expected: &str| {
        let answer = fixture.put("team/app", reference, media_type, text.clone()).await;
        assert_eq!((answer.status().as_u16(), code(answer).await.as_str()), (status, expected), "{text}");
    };
    let good = image(&config, &[]).to_string();
    check("v1", OCI_MANIFEST, image(&config, &[&missing]).to_string(), 400, "MANIFEST_BLOB_UNKNOWN").await;
    check("v1", OCI_MANIFEST, "{".into(), 400, "MANIFEST_INVALID").await;
    check("v1", "application/vnd.oci.image.index.v1+json", good.clone(), 400, "MANIFEST_INVALID").await;
    check("v1", "application/vnd.docker.distribution.manifest.v1+json", good.clone(), 400, "MANIFEST_INVALID").await;
    check(missing.as_str(), OCI_MANIFEST, good.clone(), 400, "DIGEST_INVALID").await;
    check(".bad", OCI_MANIFEST, good.clone(), 400, "MANIFEST_INVALID").await;
    check("v1", OCI_MANIFEST, " ".repeat(5 * 1024 * 1024), 413, "MANIFEST_INVALID").await;
    let both = json!({ "schemaVersion": 2, "layers": [], "manifests": [] }).to_string();
    check("v1", OCI_MANIFEST, both, 400, "MANIFEST_INVALID").await;
    assert_eq!(fixture.status("root", Method::GET, "/v2/team/app/manifests/v1").await, 404);
    // A foreign layer need not be here.
    let mut foreign = image(&config, &[]);
    foreign["layers"] = json!([descriptor("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", &missing)]);
    fixture.put_manifest("team/app", "foreign", &foreign).await;
}

#[tokio::test]
async fn deleting_by_digest_ends_its_tags_and_deleting_a_tag_leaves_its_digest() {
    let fixture = Fixture::start().await;
    let digest = fixture.push_image("team/app", "v1", b"layer").await;
    fixture.push_image("team/app", "v2", b"layer").await;
    let path = |reference: &str| format!("/v2/team/app/manifests/{reference}");
    assert_eq!(fixture.status("keeper", Method::DELETE, &path("v1")).await, 202);
    assert_eq!(fixture.status("guest", Method::GET, &path("v1")).await, 404);
    assert_eq!(fixture.status("guest", Method::GET, &path(digest.as_str())).await, 200);
    assert_eq!(fixture.status("keeper", Method::DELETE, &path(digest.as_str())).await, 202);
    assert_eq!(fixture.status("guest", Method::GET, &path("v2")).await, 404);
    assert_eq!(fixture.status("keeper", Method::DELETE, &path("v2")).await, 404);
}

/// "Listing tags": lexical, paged by `n` and `last`, path-absolute links.
#[tokio::test]
async fn tags_and_the_catalog_are_paged_in_lexical_order() {
    let fixture = Fixture::start().await;
    for tag in ["b", "a", "c"] {
        fixture.push_image("team/app", tag, b"layer").await;
    }
    fixture.push_image("secret/app", "v1", b"layer").await;
    fixture.push_image("team/other", "v1", b"layer").await;
    let page = fixture.get("guest", "/v2/team/app/tags/list?n=2").await;
    assert_eq!(page.headers()[header::LINK], "</v2/team/app/tags/list?n=2&last=b>; rel=\"next\"");
    assert_eq!(page.json::<Value>().await.unwrap(), json!({ "name": "team/app", "tags": ["a", "b"] }));
    let rest = fixture.get("guest", "/v2/team/app/tags/list?n=2&last=b").await;
    assert!(!rest.headers().contains_key(header::LINK));
    assert_eq!(rest.json::<Value>().await.unwrap()["tags"], json!(["c"]));
    let none = fixture.get("guest", "/v2/team/app/tags/list?n=0").await;
    assert!(!none.headers().contains_key(header::LINK));
    assert_eq!(none.json::<Value>().await.unwrap()["tags"], json!([]));
    let bad = fixture.get("guest", "/v2/team/app/tags/list?n=many").await;
    assert_eq!((bad.status(), code(bad).await.as_str()), (StatusCode::BAD_REQUEST, "UNSUPPORTED"));
    let page = fixture.get("guest", "/v2/_catalog?n=1").await;
    let next = page.headers()[header::LINK].to_str().unwrap().to_owned();
    assert_eq!(page.json::<Value>().await.unwrap(), json!({ "repositories": ["team/app"] }));
    let next = next.trim_start_matches('<').split('>').next().unwrap();
    assert_eq!(
        fixture.get("guest", next).await.json::<Value>().await.unwrap(),
        json!({ "repositories": ["team/other"] })
    );
    let unknown = fixture.get("guest", "/v2/team/none/tags/list").await;
    assert_eq!((unknown.status(), code(unknown).await.as_str()), (StatusCode::NOT_FOUND, "NAME_UNKNOWN"));
}

/// "Listing referrers": never 404, filtered by artifactType.
#[tokio::test]
async fn referrers_are_listed_filtered_and_never_missing() {
    let fixture = Fixture::start().await;
    let subject = fixture.push_image("team/app", "v1", b"layer").await;
    let config = fixture.push_blob("team/app", b"{}").await;
    let mut referrer = image(&config, &[]);
    referrer["artifactType"] = "application/vnd.example.sbom".into();
    referrer["subject"] = descriptor(OCI_MANIFEST, &subject);
    let text = referrer.to_string();
    let digest = Digest::sha256(text.as_bytes());
    let put = fixture.put("team/app", digest.as_str(), OCI_MANIFEST, text).await;
    assert_eq!(put.headers()["oci-subject"], subject.as_str());
    let list = async |digest: &Digest, query: &str| {
        let answer = fixture.get("limited", &format!("/v2/team/app/referrers/{digest}{query}")).await;
        let filtered = answer.headers().contains_key("oci-filters-applied");
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/vnd.oci.image.index.v1+json");
        (answer.json::<Value>().await.unwrap()["manifests"].as_array().unwrap().len(), filtered)
    };
    assert_eq!(list(&subject, "").await, (1, false));
    assert_eq!(list(&subject, "?artifactType=application/vnd.example.sbom").await, (1, true));
    assert_eq!(list(&subject, "?artifactType=application/vnd.example.other").await, (0, true));
    assert_eq!(list(&Digest::sha256(b"nobody"), "").await, (0, false));
    let bad = fixture.get("limited", "/v2/team/app/referrers/sha256:x").await;
    assert_eq!((bad.status(), code(bad).await.as_str()), (StatusCode::BAD_REQUEST, "DIGEST_INVALID"));
}

#[tokio::test]
async fn paths_that_mean_nothing_and_names_that_cannot_be_are_told_apart() {
    let fixture = Fixture::start().await;
    for (path, status, expected) in [
        ("/v2/team/app/nothing/here", 404, "UNSUPPORTED"),
        ("/v2/TEAM/app/tags/list", 400, "NAME_INVALID"),
        ("/v2/team/app/blobs/sha256:x", 400, "DIGEST_INVALID"),
        ("/v2/team/app/manifests/.bad", 404, "MANIFEST_UNKNOWN"),
        ("/v2/team/..%2f..%2fapp/tags/list", 404, "UNSUPPORTED"),
    ] {
        let answer = fixture.get("root", path).await;
        assert_eq!((answer.status().as_u16(), code(answer).await.as_str()), (status, expected), "{path}");
    }
    let post = fixture.request("root", Method::POST, "/v2/team/app/tags/list").send().await.unwrap();
    assert_eq!(
        (post.status(), &post.headers()[header::ALLOW]),
        (StatusCode::METHOD_NOT_ALLOWED, &"GET, HEAD".parse().unwrap())
    );
}

/// A connection that is closed while it is idle may be closed under a request that is on its way.
#[tokio::test]
async fn a_server_that_goes_away_tells_its_clients_with_their_answers() {
    let fixture = Fixture::start().await;
    let before = fixture.get("root", "/v2/").await;
    assert!(!before.headers().contains_key(header::CONNECTION));
    fixture.server.drain();
    let draining = fixture.get("root", "/v2/").await;
    assert_eq!(
        (draining.status(), &draining.headers()[header::CONNECTION]),
        (StatusCode::OK, &"close".parse().unwrap())
    );
    assert!(fixture.server.readiness().await.is_err());
}

/// docs/explanation/storage.md: any replica continues what another began, and sees at once what it wrote.
#[tokio::test]
async fn two_replicas_on_one_directory_are_one_registry() {
    let one = Fixture::start().await;
    let other = one.replica().await;
    let place = begin(&one, "team/app").await;
    assert_eq!(patch(&other, &place, None, b"abc").await.status(), StatusCode::ACCEPTED);
    assert_eq!(patch(&one, &place, None, b"def").await.status(), StatusCode::ACCEPTED);
    let digest = Digest::sha256(b"abcdef");
    assert_eq!(other.status("root", Method::PUT, &format!("{place}?digest={digest}")).await, 201);
    assert_eq!(one.status("root", Method::HEAD, &format!("/v2/team/app/blobs/{digest}")).await, 200);
    let image = one.push_image("team/app", "v1", b"layer").await;
    assert_eq!(other.status("keeper", Method::DELETE, &format!("/v2/team/app/manifests/{image}")).await, 202);
    assert_eq!(one.status("guest", Method::GET, "/v2/team/app/manifests/v1").await, 404);
}
