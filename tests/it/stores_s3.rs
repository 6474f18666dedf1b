//! A bucket of a real S3 server, alone and with faults.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::TryStreamExt as _;
use http::Method;
use regatta::store::{Backend as _, Child, Durability, Exclusive, Key, Published, PutNew, Store};

use crate::program::eventually;
use crate::stores_suite::suite;
use crate::stores_support::{Fault, Head, S3Server, impatience, open, open_with, patience};

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

#[tokio::test]
async fn a_bucket_passes_the_suite() {
    let server = S3Server::start().await;
    let bucket = open(&server.url).await;
    assert_eq!(bucket.abilities().exclusive, Exclusive::Yes);
    assert_eq!(bucket.abilities().least_chunk, Some(5_242_880));
    suite::run(&(Arc::new(bucket) as Store)).await;
}

fn is_creation(head: &Head) -> bool {
    head.method == Method::PUT && head.is_conditional()
}

fn creations(seen: &[(Head, Fault)]) -> usize {
    seen.iter().filter(|(head, _)| is_creation(head)).count()
}

/// A creation that meets this fault once succeeds; how many creations were sent.
async fn create_despite(fault: Fault) -> usize {
    let server = S3Server::start().await;
    let proxy = server.proxy().await;
    let patience = if fault == Fault::Hang { impatience() } else { patience() };
    let bucket = open_with(&proxy.url, patience).await;
    proxy.calm();
    proxy.once(fault, is_creation);
    let name = key("registers/a");
    let created = bucket.put_new(&name, "mine".into(), Durability::Durable).await.unwrap();
    assert_eq!(created, PutNew::Created, "{fault:?}");
    let sent = creations(&proxy.calm());
    let other = bucket.put_new(&name, "yours".into(), Durability::Durable).await.unwrap();
    assert_eq!(other, PutNew::Exists("mine".into()), "{fault:?}");
    sent
}

#[tokio::test]
async fn a_creation_whose_answer_was_lost_is_ones_own() {
    assert_eq!(create_despite(Fault::Lose).await, 2);
}

#[tokio::test]
async fn a_creation_that_was_never_answered_is_ones_own() {
    assert_eq!(create_despite(Fault::Hang).await, 2);
}

#[tokio::test]
async fn a_creation_is_sent_again_after_500_and_503_and_409() {
    for fault in [
        Fault::Refuse(500, "InternalError"),
        Fault::Refuse(503, "SlowDown"),
        Fault::Refuse(409, "ConditionalRequestConflict"),
        Fault::Refuse(409, "OperationAborted"),
    ] {
        assert_eq!(create_despite(fault).await, 2, "{fault:?}");
    }
}

#[tokio::test]
async fn a_service_that_stays_busy_is_an_error_after_so_many_tries() {
    let server = S3Server::start().await;
    let proxy = server.proxy().await;
    let bucket = open(&proxy.url).await;
    proxy.calm();
    proxy.plan(|head| if is_creation(head) { Fault::Refuse(503, "SlowDown") } else { Fault::None });
    let refused = bucket.put_new(&key("registers/a"), "mine".into(), Durability::Durable).await;
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(creations(&proxy.calm()), 7, "one, and six more");
    assert_eq!(bucket.read(&key("registers/a")).await.unwrap(), None);
}

#[tokio::test]
async fn what_is_stored_decides_when_no_answer_ever_comes() {
    let server = S3Server::start().await;
    let proxy = server.proxy().await;
    let bucket = open(&proxy.url).await;
    proxy.plan(|head| if is_creation(head) { Fault::Lose } else { Fault::None });
    let name = key("registers/a");
    assert_eq!(bucket.put_new(&name, "mine".into(), Durability::Durable).await.unwrap(), PutNew::Created);
    let other = bucket.put_new(&name, "yours".into(), Durability::Durable).await.unwrap();
    assert_eq!(other, PutNew::Exists("mine".into()));
}

/// Bytes that differ from one place to the next.
fn content(size: usize) -> Bytes {
    (0..size).map(|at| u8::try_from((at / 7 + at / 65_536) % 251).unwrap()).collect::<Vec<u8>>().into()
}

async fn write(bucket: &impl regatta::store::Backend, name: &Key, bytes: &Bytes) {
    let mut writer = bucket.temporary(name).await.unwrap();
    for chunk in bytes.chunks(1_000_000) {
        writer.write(bytes.slice_ref(chunk)).await.unwrap();
    }
    assert_eq!(writer.finish(Durability::Durable).await.unwrap(), bytes.len() as u64);
}

async fn read_range(
    bucket: &impl regatta::store::Backend,
    name: &Key,
    start: u64,
    length: u64,
) -> std::io::Result<Vec<u8>> {
    let object = bucket.open(name).await.map_err(std::io::Error::other)?.unwrap();
    let chunks: Vec<Bytes> = object.stream(start, length).try_collect().await?;
    Ok(chunks.concat())
}

#[tokio::test]
async fn a_body_that_breaks_off_is_continued_or_an_error_never_a_clean_end() {
    let server = S3Server::start().await;
    let proxy = server.proxy().await;
    let bucket = open(&proxy.url).await;
    let (name, bytes) = (key("data/a"), content(3_000_000));
    write(&bucket, &name, &bytes).await;
    let is_read = |head: &Head| head.method == Method::GET && head.target.contains("/data/a");
    for (start, length) in [(0, 3_000_000), (0, 1_000), (1_234_567, 1_000_000)] {
        proxy.once(Fault::Truncate(100_000), is_read);
        let read = read_range(&bucket, &name, start, length).await.unwrap();
        let range = usize::try_from(start).unwrap()..usize::try_from(start + length).unwrap();
        assert!(read == bytes[range], "{start}, {length}");
    }
    proxy.once(Fault::Truncate(1_000), is_read);
    assert!(bucket.read(&name).await.unwrap().unwrap() == bytes);
    proxy.plan(move |head| if is_read(head) { Fault::Truncate(10) } else { Fault::None });
    assert!(read_range(&bucket, &name, 0, 3_000_000).await.is_err());
    assert!(bucket.read(&name).await.is_err());
}

#[tokio::test]
async fn a_large_object_is_written_and_published_in_parts_despite_faults() {
    let server = S3Server::start().await;
    let proxy = server.proxy().await;
    let bucket = open(&proxy.url).await;
    proxy.calm();
    let bytes = content(20_000_000);
    let mut count = 0;
    proxy.plan(move |_| {
        count += 1;
        match count % 4 {
            1 => Fault::Refuse(503, "SlowDown"),
            3 => Fault::Lose,
            _ => Fault::None,
        }
    });
    let (temporary, name) = (key("tmp/part"), key("data/large"));
    write(&bucket, &temporary, &bytes).await;
    bucket.publish(&temporary, &name, Durability::Durable).await.unwrap();
    let seen = proxy.calm();
    assert!(seen.iter().any(|(head, fault)| head.target.contains("partNumber") && *fault == Fault::Lose));
    assert!(
        seen.iter().any(|(head, _)| head.headers.contains_key("x-amz-copy-source")),
        "copied there, not sent again"
    );
    assert!(bucket.read(&name).await.unwrap().unwrap() == bytes);
    // Never written over, small or large.
    for other in [content(10), content(6_000_000)] {
        bucket.delete(&temporary).await.unwrap();
        write(&bucket, &temporary, &other).await;
        assert_eq!(bucket.publish(&temporary, &name, Durability::Durable).await.unwrap(), Published::Exists);
    }
    assert!(bucket.read(&name).await.unwrap().unwrap() == bytes);
}

#[tokio::test]
async fn a_publication_whose_answer_was_lost_has_happened() {
    let server = S3Server::start().await;
    let proxy = server.proxy().await;
    let bucket = open(&proxy.url).await;
    for size in [10, 6_000_000] {
        let (temporary, name, bytes) = (key("tmp/part"), key(&format!("data/{size}")), content(size));
        write(&bucket, &temporary, &bytes).await;
        let target = name.to_string();
        // The answer to the last request, every time.
        proxy.plan(move |head| {
            let completes = head.method == Method::POST && head.target.contains("uploadId");
            let puts = head.method == Method::PUT && !head.target.contains("uploadId");
            if head.target.contains(&target) && (completes || puts) { Fault::Lose } else { Fault::None }
        });
        bucket.publish(&temporary, &name, Durability::Durable).await.unwrap();
        proxy.calm();
        assert!(bucket.read(&name).await.unwrap().unwrap() == bytes);
        bucket.delete(&temporary).await.unwrap();
    }
    assert!(bucket.publish(&key("tmp/part"), &key("data/none"), Durability::Durable).await.is_err());
}

#[tokio::test]
async fn an_abandoned_upload_leaves_no_parts() {
    let server = S3Server::start().await;
    let proxy = server.proxy().await;
    let bucket = open(&proxy.url).await;
    proxy.calm();
    let mut writer = bucket.temporary(&key("tmp/part")).await.unwrap();
    writer.write(content(20_000_000)).await.unwrap();
    drop(writer);
    let is_abort = |(head, _): &(Head, Fault)| head.method == Method::DELETE && head.target.contains("uploadId");
    eventually("the upload is aborted", async || {
        let seen = proxy.calm();
        if seen.iter().any(is_abort) { Ok(()) } else { Err(seen.len()) }
    })
    .await;
}

#[tokio::test]
async fn long_listings_are_paged_in_key_order_despite_faults() {
    let server = S3Server::start().await;
    let proxy = server.proxy().await;
    let bucket = open(&proxy.url).await;
    let name = |n: usize| if n.is_multiple_of(3) { format!("n{n:05}!/x") } else { format!("n{n:05}") };
    for n in 0..2_300 {
        let file = server.file(&format!("many/{}", name(n)));
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, "").unwrap();
    }
    let mut count = 0;
    proxy.plan(move |_| {
        count += 1;
        if count % 2 == 0 { Fault::Refuse(500, "InternalError") } else { Fault::None }
    });
    let directory = key("many");
    let whole = bucket.children(&directory, None, usize::MAX).await.unwrap();
    assert_eq!(whole.len(), 2_300);
    let ends = |child: &Child| if child.is_directory { format!("{}/", child.name) } else { child.name.clone() };
    assert!(whole.is_sorted_by_key(ends));
    for page in [1, 7, 700, 1_000, 1_700] {
        let (mut paged, mut after) = (Vec::new(), None::<String>);
        loop {
            let more = bucket.children(&directory, after.as_deref(), page).await.unwrap();
            let Some(last) = more.last() else { break };
            after = Some(ends(last));
            paged.extend(more);
            if page == 1 && paged.len() == 20 {
                break;
            }
        }
        assert_eq!(paged, whole[..paged.len()], "pages of {page}");
    }
}

#[tokio::test]
async fn a_page_costs_one_request() {
    let server = S3Server::start().await;
    let bucket = open(&server.url).await;
    for n in 0..30 {
        bucket.put_new(&key(&format!("some/d{n:02}/x")), "".into(), Durability::Volatile).await.unwrap();
    }
    let before = bucket.requests();
    let page = bucket.children(&key("some"), Some("d04/"), 10).await.unwrap();
    let cost = bucket.requests().since(&before);
    assert_eq!((page.len(), page[0].name.as_str()), (10, "d05"));
    assert_eq!((cost.list, cost.total()), (1, 1));
}

#[tokio::test]
async fn a_server_that_ignores_the_condition_is_found_out() {
    let server = S3Server::start().await;
    let proxy = server.proxy().await;
    proxy.plan(|head| if is_creation(head) { Fault::Forget } else { Fault::None });
    let bucket = open(&proxy.url).await;
    let Exclusive::No(why) = bucket.abilities().exclusive else { panic!("the probe noticed nothing") };
    assert!(why.contains("creator") || why.contains("second time"), "{why}");
    // Within this process the promise holds.
    suite::run(&(Arc::new(bucket.clone()) as Store)).await;
    // A bucket whose settings were mended is found to be.
    proxy.calm();
    bucket.probe().await.unwrap();
    assert_eq!(bucket.abilities().exclusive, Exclusive::Yes);
}

#[tokio::test]
async fn a_server_that_does_not_know_the_condition_is_found_out() {
    let server = S3Server::start().await;
    let proxy = server.proxy().await;
    proxy.plan(|head| if is_creation(head) { Fault::Refuse(501, "NotImplemented") } else { Fault::None });
    let bucket = open(&proxy.url).await;
    let Exclusive::No(why) = bucket.abilities().exclusive else { panic!("the probe noticed nothing") };
    assert!(why.contains("NotImplemented"), "{why}");
    assert_eq!(bucket.put_new(&key("a"), "1".into(), Durability::Durable).await.unwrap(), PutNew::Created);
}

#[tokio::test]
async fn a_bucket_that_is_not_there_or_not_ours_is_refused_with_the_reason() {
    use regatta::store::StoreError;
    use regatta::store::bucket::Bucket;
    use regatta::store::config::{S3, Service};

    use crate::stores_support::{client, s3, secrets};

    let server = S3Server::start().await;
    let absent = Service::S3(S3 { bucket: "absent".parse().unwrap(), ..s3(&server.url) });
    let refused = Bucket::open(&absent, &secrets(), client(), key("tmp"), patience()).await;
    let Err(StoreError::Unsuitable { path, why }) = refused else { panic!("{refused:?}") };
    assert_eq!(path, "s3 bucket absent");
    assert!(why.contains("NoSuchBucket"), "{why}");
    let mut wrong = secrets();
    wrong.secret_access_key = Some("canary-secret".into());
    let refused = Bucket::open(&Service::S3(s3(&server.url)), &wrong, client(), key("tmp"), patience()).await;
    let Err(error) = refused else { panic!("opened with a wrong key") };
    let text = format!("{error:?} {error}");
    assert!(text.contains("SignatureDoesNotMatch") && !text.contains("canary-secret"), "{text}");
}

#[tokio::test]
async fn busy_times_at_boot_are_waited_out() {
    let server = S3Server::start().await;
    let proxy = server.proxy().await;
    let mut count = 0;
    proxy.plan(move |_| {
        count += 1;
        if count < 40 && count % 3 != 0 { Fault::Refuse(503, "SlowDown") } else { Fault::None }
    });
    assert_eq!(open(&proxy.url).await.abilities().exclusive, Exclusive::Yes);
}

#[tokio::test]
async fn the_deletion_of_a_move_is_sent_once() {
    let server = S3Server::start().await;
    let proxy = server.proxy().await;
    let bucket = open(&proxy.url).await;
    let (from, to) = (key("move/from"), key("move/to"));
    bucket.put_new(&from, "1".into(), Durability::Durable).await.unwrap();
    proxy.calm();
    proxy.plan(|head| if head.method == Method::DELETE { Fault::Lose } else { Fault::None });
    assert!(bucket.rename(&from, &to).await.is_err(), "nobody knows whether it happened");
    assert_eq!(proxy.calm().iter().filter(|(head, _)| head.method == Method::DELETE).count(), 1);
    assert_eq!(bucket.read(&to).await.unwrap().unwrap(), "1", "nothing is lost");
}

#[tokio::test]
async fn the_services_clock_is_read_from_its_answers() {
    // In whole seconds, and the server may have looked at its own a while ago.
    const COARSE: Duration = Duration::from_secs(3);
    let server = S3Server::start().await;
    let bucket = open(&server.url).await;
    let before = bucket.requests();
    let began = SystemTime::now();
    let now = bucket.now().await.unwrap();
    let ended = SystemTime::now();
    assert_eq!(bucket.requests().since(&before).total(), 1);
    assert!(began - COARSE <= now && now <= ended + COARSE, "{began:?} {now:?} {ended:?}");
}

#[tokio::test]
async fn clients_are_sent_away_only_where_that_was_asked_for() {
    use regatta::store::bucket::Bucket;
    use regatta::store::config::{S3, Service};

    use crate::stores_support::{client, s3, secrets};

    let server = S3Server::start().await;
    let (name, bucket) = (key("data/a"), open(&server.url).await);
    bucket.put_new(&name, "content".into(), Durability::Durable).await.unwrap();
    assert_eq!(bucket.redirect(&name).await.unwrap(), None);
    let service = Service::S3(S3 { redirect: true, ..s3(&server.url) });
    let bucket = Bucket::open(&service, &secrets(), client(), key("tmp"), patience()).await.unwrap();
    let url = bucket.redirect(&name).await.unwrap().unwrap();
    let answer = client().get(&url).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "content");
    assert!(!url.contains("for-tests-only"), "{url}");
    let (unsigned, query) = url.split_once('?').unwrap();
    assert_eq!(client().get(unsigned).send().await.unwrap().status(), 403);
    for refused in
        [client().delete(&url), client().put(&url).body("other"), client().get(format!("{unsigned}b?{query}"))]
    {
        assert_eq!(refused.send().await.unwrap().status(), 403);
    }
}
