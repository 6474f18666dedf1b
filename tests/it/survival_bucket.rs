//! Three replicas on one bucket of a real S3 server, each behind a proxy that fails: answers that are lost after the write
//! landed or that never come, 500, 503, bodies that end early, 409 on a conditional write, now and then and for a while.
//! Each tag and each manifest is one variable all the same. What is answered with 5xx, or not in time, may have been done.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::{Method, StatusCode, header};
use bytes::Bytes;
use regatta::registry::layout;
use regatta::store::Store;
use regatta::store::bucket::Patience;

use crate::registry_support::Looks;
use crate::stores_support::{Fault, Gate, Head, Proxy, S3Server, open_with, patience};
use crate::survival_acts::Act;
use crate::survival_history::History;
use crate::survival_late::Late;
use crate::survival_ledger::Thing;
use crate::survival_seed::{Random, short_or_long};
use crate::survival_server::{Answer, Ask, Node};

const REPOSITORY: &str = "team/app";
const LAYER: &[u8] = b"the layer that all manifests name";
const TAGS: [&str; 2] = ["one", "two"];

/// So few tries that some requests fail.
const SHORT: Patience = Patience {
    request: Duration::from_secs(2),
    retries: 3,
    first_pause: Duration::from_millis(2),
    longest_pause: Duration::from_millis(20),
};

/// A replica, as a client sees it that waits so long.
struct Replica {
    node: Node,
    patience: Duration,
}

impl Ask for Replica {
    async fn ask(&self, method: Method, path: &str, media_type: &str, body: Bytes) -> Option<Answer> {
        let has_body = method != Method::HEAD;
        let answer =
            tokio::time::timeout(self.patience, self.node.ask(method, path, media_type, body)).await.ok()??;
        let length = answer.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let is_whole = !has_body || length.is_none_or(|length: usize| length == answer.body.len());
        (is_whole && !answer.status.is_server_error()).then_some(answer)
    }
}

/// What a proxy does to requests: some fail, and now and then all fail in one way for a while.
fn faults(mut random: Random) -> impl FnMut(&Head) -> Fault + Send + 'static {
    let mut left = 0;
    let mut storm = Fault::None;
    move |head| {
        if left > 0 {
            left -= 1;
            return storm;
        }
        let fault = match random.below(1000) {
            0..=9 => Fault::Lose,
            10..=19 => Fault::Refuse(500, "InternalError"),
            20..=29 => Fault::Refuse(503, "SlowDown"),
            30..=39 => Fault::Truncate(random.below(100)),
            40..=49 if head.is_conditional() => Fault::Refuse(409, "ConditionalRequestConflict"),
            50 => return Fault::Hang,
            _ => return Fault::None,
        };
        if random.below(10) == 0 {
            (left, storm) = (random.below(12), fault);
        }
        fault
    }
}

/// Three of them that have the layer, each with a proxy of its own, which lets everything through for now.
async fn replicas(server: &S3Server, patience: Patience) -> (Vec<Node>, Vec<Proxy>) {
    let (mut nodes, mut proxies) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let proxy = server.proxy().await;
        let store: Store = Arc::new(open_with(&proxy.url, patience).await);
        let node = Node::over(store, Looks::Always).await;
        assert_eq!(Act::Blob(REPOSITORY, LAYER).send(&node).await, Some(StatusCode::CREATED));
        proxy.calm();
        nodes.push(node);
        proxies.push(proxy);
    }
    (nodes, proxies)
}

/// What clients have put of late.
type Notes = Arc<Mutex<Vec<String>>>;

async fn client(nodes: Vec<Node>, history: Arc<History>, put: Notes, number: usize, mut random: Random) {
    for request in 0..30 {
        let wait = if random.below(20) == 0 { 1 + random.below(40) } else { 60_000 };
        let patience = Duration::from_millis(u64::try_from(wait).unwrap());
        let to = Replica { node: nodes[random.below(nodes.len())].clone(), patience };
        let tag = TAGS[random.below(TAGS.len())];
        let thing = Thing::Tag(REPOSITORY.into(), tag.into());
        let new = format!("{number}-{request}");
        let recent = {
            let put = put.lock().unwrap();
            put.iter().rev().nth(random.below(4)).cloned().unwrap_or_default()
        };
        let chance = random.below(20);
        if chance < 8 {
            put.lock().unwrap().push(new.clone());
        }
        let act = match chance {
            0..=3 => Act::Manifest { repository: REPOSITORY, tag, blob: LAYER, note: &new },
            4..=7 => Act::ManifestWithTags { repository: REPOSITORY, tags: &TAGS, blob: LAYER, note: &new },
            8 | 9 => Act::DeleteTag { repository: REPOSITORY, tag },
            10 | 11 => Act::DeleteManifest { repository: REPOSITORY, blob: LAYER, note: &recent, tags: &TAGS },
            12 | 13 => {
                history.head(&to, &thing).await;
                continue;
            }
            14 => {
                let manifest = Act::ManifestByDigest { repository: REPOSITORY, blob: LAYER, note: &recent };
                history.get(&to, &manifest.changes().pop().unwrap().0).await;
                continue;
            }
            _ => {
                history.get(&to, &thing).await;
                continue;
            }
        };
        history.act(&to, &act).await;
    }
}

/// What several clients asked and were answered.
async fn recorded(random: &mut Random) -> Arc<History> {
    let server = S3Server::start().await;
    let (nodes, proxies) = replicas(&server, SHORT).await;
    for proxy in &proxies {
        proxy.plan(faults(random.fork()));
    }
    let (history, put) = (Arc::new(History::default()), Notes::default());
    let clients = (0..6).map(|number| {
        let (nodes, history, put) = (nodes.clone(), Arc::clone(&history), Arc::clone(&put));
        tokio::spawn(client(nodes, history, put, number, random.fork()))
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    let seen: Vec<(Head, Fault)> = proxies.iter().flat_map(Proxy::calm).collect();
    let met = seen.iter().filter(|(_, fault)| *fault != Fault::None).count();
    println!("{} requests came to the bucket, of which {met} met a fault", seen.len());
    // What holds when all is well again: every replica says the same of every tag.
    for node in &nodes {
        for tag in TAGS {
            history.get(node, &Thing::Tag(REPOSITORY.into(), tag.into())).await;
        }
    }
    history
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_tag_is_one_variable_at_all_replicas_on_a_bucket_that_fails() {
    let mut random = Random::announced("bucket");
    for _ in 0..short_or_long(1, 40) {
        recorded(&mut random).await.check();
    }
}

fn sets_both(note: &str) -> Act<'_> {
    Act::ManifestWithTags { repository: REPOSITORY, tags: &TAGS, blob: LAYER, note }
}

/// Who sets two tags, and loses the second one to somebody else, tries again: the first one stays what others have made
/// of it since.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn who_tries_again_sets_no_tag_twice() {
    let server = S3Server::start().await;
    let (nodes, proxies) = replicas(&server, patience()).await;
    let history = Arc::new(History::default());
    let tag = Thing::Tag(REPOSITORY.into(), TAGS[0].into());
    // The second tag is late, and another sets both meanwhile.
    let (gate, (came, comes)) = (Gate::closed(), tokio::sync::oneshot::channel());
    let mut came = Some(came);
    proxies[0].plan(move |head| {
        let is_meant = head.is_conditional() && head.target.contains("/_tags/two");
        match came.take_if(|_| is_meant) {
            Some(came) => {
                let _ = came.send(());
                Fault::Late(gate)
            }
            None => Fault::None,
        }
    });
    let meanwhile = async {
        comes.await.unwrap();
        history.get(&nodes[1], &tag).await;
        history.act(&nodes[1], &sets_both("other")).await;
        history.get(&nodes[1], &tag).await;
        gate.open();
    };
    let mine = sets_both("mine");
    let (set, ()) = tokio::join!(history.act(&nodes[0], &mine), meanwhile);
    assert_eq!(set, Some(StatusCode::CREATED));
    for node in &nodes {
        history.get(node, &tag).await;
    }
    history.check();
}

/// That the tests above can fail: versions that are overwritten where only absent ones may be created, so that two end what
/// was there once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_forgets_conditions_is_found_out() {
    let server = S3Server::start().await;
    let (nodes, proxies) = replicas(&server, patience()).await;
    let tags = format!("/{}/", layout::tags(&REPOSITORY.parse().unwrap()));
    for forgets in [false, true] {
        for proxy in &proxies {
            let tags = tags.clone();
            proxy.plan(move |head| {
                let is_meant = forgets && head.is_conditional() && head.target.contains(&tags);
                if is_meant { Fault::Forget } else { Fault::None }
            });
        }
        let history = History::default();
        for round in 0..10 {
            let note = format!("{forgets}-{round}");
            history.act(&nodes[0], &sets_both(&note)).await;
            let end = Act::DeleteTag { repository: REPOSITORY, tag: TAGS[0] };
            let ends = nodes.iter().map(|node| history.act(node, &end));
            futures::future::join_all(ends).await;
        }
        assert_eq!(history.is_linearizable(), !forgets);
    }
}

/// That it can fail: a replica that remembers what others have changed since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_reads_its_bucket_late_is_found_out() {
    let server = S3Server::start().await;
    let bucket = async || Arc::new(open_with(&server.url, SHORT).await);
    let (late, told) = Late::new(bucket().await, Duration::from_mins(1), Random::announced("late bucket"));
    let (node, other) =
        (Node::over(bucket().await, Looks::Always).await, Node::over(Arc::new(late), Looks::Always).await);
    assert_eq!(Act::Blob(REPOSITORY, LAYER).send(&node).await, Some(StatusCode::CREATED));
    let (history, tag) = (History::default(), Thing::Tag(REPOSITORY.into(), TAGS[0].into()));
    for note in ["1", "2", "3", "4", "5"] {
        let act = Act::Manifest { repository: REPOSITORY, tag: TAGS[0], blob: LAYER, note };
        history.act(&node, &act).await;
        history.get(&node, &tag).await;
        history.get(&other, &tag).await;
    }
    assert!(told.times() > 0);
    assert!(!history.is_linearizable());
}
