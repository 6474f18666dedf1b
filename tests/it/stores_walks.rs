//! What long listings cost in the services that list from no name on: pages of one walk are not looked for from the front.

use std::sync::Arc;

use http::Method;
use regatta::store::bucket::Bucket;
use regatta::store::{Backend as _, Child, Key, Store, Walk};
use serde_json::Value;

use crate::registry_support::Fixture;
use crate::stores_fake::{Dialect, Fake};
use crate::stores_services::open;

/// Azure, COS and OBS, and one that lists from a name on.
const DIALECTS: [Dialect; 4] = [Dialect::Azure, Dialect::Cos, Dialect::Obs, Dialect::Oss];

async fn lists(bucket: &Bucket, work: impl Future<Output = ()>) -> u64 {
    let before = bucket.requests();
    work.await;
    bucket.requests().since(&before).list
}

fn texts(children: &[Child]) -> Vec<String> {
    children.iter().map(Child::as_start).collect()
}

/// Names in all kinds of order, and directories.
fn names() -> impl Iterator<Item = String> {
    (0..4_500).map(|n| match n % 4 {
        0 => format!("n{n:05}!/x"),
        1 => format!("n{n:05}/x"),
        _ => format!("n{n:05}"),
    })
}

#[tokio::test]
async fn a_walk_of_many_pages_lists_each_once() {
    for dialect in DIALECTS {
        let fake = Fake::start(dialect).await;
        fake.with_pages_of(1_000);
        let bucket = open(&fake, dialect).await;
        fake.fill(names().map(|name| format!("city/many/{name}")));
        let (store, directory) = (Arc::new(bucket.clone()) as Store, Key::new("many").unwrap());
        let whole = bucket.children(&directory, None, usize::MAX).await.unwrap();
        assert_eq!(whole.len(), 4_500);
        let keys = bucket.below(&directory, None, usize::MAX).unwrap().await.unwrap();
        for page in [1_000, 700, 1_001, 10_000] {
            let cost = lists(&bucket, async {
                let (mut walk, mut walked) = (Walk::new(&store, directory.clone(), None), Vec::new());
                loop {
                    let names = walk.names(page).await.unwrap();
                    let is_last = names.len() < page;
                    walked.extend(names);
                    if is_last {
                        break;
                    }
                }
                assert_eq!(texts(&walked), texts(&whole), "{dialect:?}, pages of {page}");
            });
            let cost = cost.await;
            println!("{dialect:?}: 4,500 names in pages of {page}: {cost} listings");
            assert!(cost <= 9, "{dialect:?}, pages of {page}: {cost} listings");
            let cost = lists(&bucket, async {
                let from = Some("n01000".to_owned());
                let (mut walk, mut walked) = (Walk::new(&store, directory.clone(), from), Vec::new());
                while let Some(keys) = walk.keys(page).await.unwrap().filter(|keys| !keys.is_empty()) {
                    walked.extend(keys.iter().map(Child::as_start));
                    // Some are asked for once more.
                    if keys.len() == page {
                        let (name, again) = (keys[page - 3].as_start(), keys.clone());
                        walked.truncate(walked.len() - 2);
                        walk.go_on_behind(name, again);
                    }
                }
                let expected: Vec<&String> = keys.iter().filter(|key| key.as_str() > "n01000").collect();
                assert!(walked.iter().eq(expected), "{dialect:?}, pages of {page}");
            });
            let cost = cost.await;
            assert!(cost <= 10, "{dialect:?}, keys in pages of {page}: {cost} listings");
        }
    }
}

/// A page of the service's may be shorter than it was asked for.
#[tokio::test]
async fn a_walk_over_short_pages_misses_nothing() {
    for dialect in DIALECTS {
        let fake = Fake::start(dialect).await;
        let bucket = open(&fake, dialect).await;
        fake.fill(names().take(40).map(|name| format!("city/many/{name}")));
        let (store, directory) = (Arc::new(bucket.clone()) as Store, Key::new("many").unwrap());
        let whole = texts(&bucket.children(&directory, None, usize::MAX).await.unwrap());
        for page in [1, 2, 3, 4, 7, 50] {
            for from in [None, Some(whole[5].clone())] {
                let after = from.as_ref().map_or(0, |_| 6);
                let (mut walk, mut walked) = (Walk::new(&store, directory.clone(), from), Vec::new());
                loop {
                    let names = walk.names(page).await.unwrap();
                    walked.extend(texts(&names));
                    if names.len() < page {
                        break;
                    }
                }
                assert_eq!(walked, whole[after..], "{dialect:?}, pages of {page}");
            }
        }
    }
}

/// Tags, whose keys are listed; each page began from the front. Most of them have ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_are_walked_in_as_many_listings_as_they_have_pages() {
    const TAGS: usize = 3_000;
    for dialect in [Dialect::Azure, Dialect::Cos, Dialect::Oss] {
        let fake = Fake::start(dialect).await;
        fake.with_pages_of(1_000);
        let bucket = open(&fake, dialect).await;
        let fixture = Fixture::unwatched_over(Arc::new(bucket.clone())).await;
        let digest = fixture.push_image("team/app", "v0000", b"layer").await;
        let (keys, _) = fake.left();
        let of_tag: Vec<&String> = keys.iter().filter(|key| key.contains("/_tags/v0000")).collect();
        assert_eq!(of_tag.len(), 2, "a version and its hint: {keys:?}");
        let ended = |key: &str, n: usize| {
            let key = key.replace("/v0000", &format!("/v{n:04}"));
            key.strip_suffix("set").map(|hint| format!("{hint}del")).unwrap_or(key)
        };
        fake.fill((1..TAGS).flat_map(|n| of_tag.iter().map(move |key| ended(key, n))));
        fixture.server.poll_documents().await.unwrap();
        let listed = lists(&bucket, async {
            let listed: Value = fixture.get("root", "/v2/team/app/tags/list").await.json().await.unwrap();
            assert_eq!(listed["tags"], serde_json::json!(["v0000"]));
        });
        let listed = listed.await;
        let deleted = lists(&bucket, async {
            let path = format!("/v2/team/app/manifests/{digest}");
            assert_eq!(fixture.status("root", Method::DELETE, &path).await, 202);
        });
        let deleted = deleted.await;
        println!(
            "{dialect:?}: {TAGS} tags of which one is set: {listed} listings, and {deleted} to delete what it names"
        );
        // Two keys of each: six pages, and one that ends with the beginning of a tag. A deletion looks twice.
        assert!(listed <= 7 && deleted <= 24, "{dialect:?}: {listed} and {deleted} listings");
    }
}
