//! Edges: from a topology into the document of the source's registry, and from the replicator's reports into status.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::events::v1::Event;
use kube::api::{DynamicObject, ListParams};
use regatta::admin::{DestinationCursor, EdgeState, EdgeStatus, EdgesDocument, Totals, Withheld, WithheldReason};
use serde_json::{Value, json};
use std::time::Duration;

use crate::support::eventually;
use crate::support::kubelet::Kubelet;
use crate::support::layers::Control;
use crate::support::objects::{external, of_kind, registry};
use crate::support::world::{World, find_condition};

fn tree() -> DynamicObject {
    let node = |name: &str, parent: Option<&str>| match parent {
        Some(parent) => json!({ "registryRef": { "name": name }, "parentRef": { "name": parent } }),
        None => json!({ "registryRef": { "name": name } }),
    };
    let nodes = json!([node("hq", None), node("province", Some("hq")), node("city", Some("province"))]);
    of_kind("ReplicationPolicy", "tree", json!({ "topology": { "tree": { "nodes": nodes } } }))
}

/// Headquarters here, province at home elsewhere, the city beside it.
async fn world() -> (World, Kubelet) {
    let world = World::new("edges").await;
    let kubelet = Kubelet::start(&world);
    world.create(&registry("hq")).await;
    let mut province = registry("province");
    province.data["spec"]["homeCluster"] = json!("province");
    province.data["spec"]["external"] = json!({
        "url": "https://province.example",
        "credentialsSecretRef": { "name": "province" },
        "caSecretRef": { "name": "province-ca" },
    });
    world.create(&province).await;
    world.create(&external("city")).await;
    world.create(&tree()).await;
    (world, kubelet)
}

pub(super) fn status(id: &str, state: EdgeState) -> EdgeStatus {
    EdgeStatus {
        id: id.to_owned(),
        policy_generation: 1,
        state,
        last_handled_request: None,
        reported_at: Some(jiff::Timestamp::now()),
        last_sync: Some(jiff::Timestamp::UNIX_EPOCH),
        last_compare: Some(jiff::Timestamp::UNIX_EPOCH),
        lag_seconds: 7,
        pending: 0,
        in_flight: 0,
        failed: 0,
        totals: Totals { bytes: 1234, ..Totals::default() },
        recent_drift: vec![],
        last_error: None,
        withheld: None,
        cursor: None::<DestinationCursor>,
    }
}

async fn document(
    client: &regatta::admin::client::Client,
    what: &str,
    good: impl Fn(&EdgesDocument) -> bool,
) -> EdgesDocument {
    eventually(what, || async {
        let found = client.edges(None, Duration::ZERO).await.map_err(|error| error.to_string())?;
        if good(&found) { Ok(found) } else { Err(format!("{found:?}")) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_runs_at_the_home_of_its_source_and_its_report_becomes_status() {
    let (world, kubelet) = world().await;
    let _operator = world.operator().await;
    world.ready("ReplicationPolicy", "tree").await;
    let replicator: Deployment = world.exists("hq-registry-replicator").await;
    let volumes = serde_json::to_string(&replicator.spec).expect("JSON");
    assert!(volumes.contains("/etc/regatta/remotes/province/credentials") && volumes.contains("\"province-ca\""));

    let admin = kubelet.admin("hq").await;
    let placed = document(&admin, "the edge is placed", |found| found.edges.len() == 1).await;
    let edge = &placed.edges[0];
    assert_eq!((edge.source.as_str(), edge.destination.name.as_str()), ("hq", "province"));
    assert_eq!(edge.destination.url, "https://province.example");

    admin.put_edge_status(&status(&edge.id, EdgeState::Following)).await.expect("taken");
    world.condition("ReplicationPolicy", "tree", "Synced", "True", "Succeeded").await;
    let policy = world.kind("ReplicationPolicy").get("tree").await.expect("it is there");
    let edges = policy.data["status"]["edges"].as_array().expect("edges");
    let states: Vec<(&str, &str)> =
        edges.iter().map(|edge| (edge["source"].as_str().unwrap(), edge["state"].as_str().unwrap())).collect();
    assert_eq!(states, [("hq", "Following"), ("province", "Delegated")]);
    assert_eq!(edges[0]["bytes"], 1234);
    assert_eq!(policy.data["status"]["lag"], "7s");
}

async fn policy_status(world: &World) -> Value {
    world.kind("ReplicationPolicy").get("tree").await.expect("it is there").data["status"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replicator_that_says_nothing_any_more_is_not_taken_for_one_that_follows() {
    let (world, kubelet) = world().await;
    let mut settings = world.settings("undisturbed");
    settings.replicator_silence = Duration::from_secs(10);
    let _operator = world.operator_with(&Control::counting(), settings).await;
    world.ready("ReplicationPolicy", "tree").await;
    let admin = kubelet.admin("hq").await;
    let id = document(&admin, "the edge is placed", |found| found.edges.len() == 1).await.edges[0].id.clone();
    let said = status(&id, EdgeState::Following);
    let since = format!("{:.0}", said.reported_at.expect("a time"));
    admin.put_edge_status(&said).await.expect("taken");
    world.condition("ReplicationPolicy", "tree", "Synced", "True", "Succeeded").await;
    // Nothing happens, and that is noticed.
    let message = world.condition("ReplicationPolicy", "tree", "Synced", "Unknown", "ReplicatorSilent").await;
    for part in ["hq -> province: ", &since, "the Deployment hq-registry-replicator"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let found = policy_status(&world).await;
    assert_eq!(found["edges"][0]["state"], "Unknown");
    assert_eq!((&found["lag"], &found["edges"][0]["lagSeconds"]), (&Value::Null, &Value::Null), "nobody knows");

    // Its clock may be wrong: that it says something else is what counts.
    let at = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(60);
    admin.put_edge_status(&EdgeStatus { reported_at: Some(at), ..said }).await.expect("taken");
    world.condition("ReplicationPolicy", "tree", "Synced", "True", "Succeeded").await;
    world.condition("ReplicationPolicy", "tree", "Synced", "Unknown", "ReplicatorSilent").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_manual_policy_nobody_says_that_it_is_followed() {
    let (world, kubelet) = world().await;
    world.patch("ReplicationPolicy", "tree", json!({ "spec": { "trigger": { "manual": {} } } })).await.expect("manual");
    let _operator = world.operator().await;
    world.ready("ReplicationPolicy", "tree").await;
    let admin = kubelet.admin("hq").await;
    let id = document(&admin, "the edge is placed", |found| found.edges.len() == 1).await.edges[0].id.clone();
    let report = EdgeStatus { policy_generation: 2, ..status(&id, EdgeState::Idle) };
    admin.put_edge_status(&report).await.expect("taken");
    let message = world.condition("ReplicationPolicy", "tree", "Synced", "True", "Succeeded").await;
    assert!(message.contains("spec.trigger is manual") && !message.contains("followed"), "{message}");
    assert_eq!(policy_status(&world).await["lag"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn withheld_deletions_are_stalled_until_a_person_approves_them() {
    let (world, kubelet) = world().await;
    let _operator = world.operator().await;
    world.ready("ReplicationPolicy", "tree").await;
    let admin = kubelet.admin("hq").await;
    let id = document(&admin, "the edge is placed", |found| found.edges.len() == 1).await.edges[0].id.clone();
    let withheld = Withheld {
        reason: WithheldReason::FirstCompare,
        plan_hash: "ab".repeat(32),
        deletions: 3,
        sample: vec!["app:1".to_owned()],
    };
    let report = EdgeStatus { withheld: Some(withheld), ..status(&id, EdgeState::DeletionsWithheld) };
    admin.put_edge_status(&report).await.expect("taken");
    let message = world.stalled("ReplicationPolicy", "tree", "DeletionsWithheld").await;
    assert!(
        message.contains("withholds 3 deletions (FirstCompare)") && message.contains(&"ab".repeat(32)),
        "{message}"
    );
    let approval = json!({ "metadata": { "annotations": { "regatta.dev/approve-deletions": "ab".repeat(32) } } });
    world.patch("ReplicationPolicy", "tree", approval).await.expect("annotated");
    document(&admin, "the approval is placed", |found| found.edges[0].approved_plan.is_some()).await;
    admin.put_edge_status(&status(&id, EdgeState::Following)).await.expect("taken");
    world.ready("ReplicationPolicy", "tree").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_no_registry_was_told_is_not_ready_though_deletions_wait() {
    let (world, kubelet) = world().await;
    let _operator = world.operator().await;
    world.ready("ReplicationPolicy", "tree").await;
    let admin = kubelet.admin("hq").await;
    let id = document(&admin, "the edge is placed", |found| found.edges.len() == 1).await.edges[0].id.clone();
    let withheld =
        Withheld { reason: WithheldReason::SourceEmpty, plan_hash: "ab".repeat(32), deletions: 3, sample: vec![] };
    let report = EdgeStatus { withheld: Some(withheld), ..status(&id, EdgeState::DeletionsWithheld) };
    admin.put_edge_status(&report).await.expect("taken");
    world.stalled("ReplicationPolicy", "tree", "DeletionsWithheld").await;

    kubelet.freeze("hq").await;
    let change = json!({ "spec": { "filters": { "repositories": ["app/**"] } } });
    world.patch("ReplicationPolicy", "tree", change).await.expect("changed");
    let changed = eventually("the change is seen", || async {
        let policy = world.kind("ReplicationPolicy").get("tree").await.map_err(|error| error.to_string())?;
        let seen = policy.data["status"]["observedGeneration"] == 2;
        if seen { Ok(policy) } else { Err(policy.data["status"].to_string()) }
    })
    .await;
    let found = changed.data["status"].to_string();
    assert!(find_condition(&changed, "Ready").is_some_and(|ready| ready["status"] != "True"), "{found}");
    assert!(find_condition(&changed, "Synced").is_some_and(|synced| synced["status"] == "False"), "{found}");
    assert_eq!(changed.data["status"]["edges"][0]["withheld"], Value::Null, "of another generation");

    kubelet.thaw("hq").await;
    world.ready("ReplicationPolicy", "tree").await;
    admin.put_edge_status(&EdgeStatus { policy_generation: 2, ..report }).await.expect("taken");
    world.stalled("ReplicationPolicy", "tree", "DeletionsWithheld").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_edge_whose_registry_cannot_be_asked_nobody_knows_the_lag() {
    let (world, kubelet) = world().await;
    let _operator = world.operator().await;
    world.ready("ReplicationPolicy", "tree").await;
    let admin = kubelet.admin("hq").await;
    let id = document(&admin, "the edge is placed", |found| found.edges.len() == 1).await.edges[0].id.clone();
    admin.put_edge_status(&status(&id, EdgeState::Following)).await.expect("taken");
    world.condition("ReplicationPolicy", "tree", "Synced", "True", "Succeeded").await;
    assert_eq!(policy_status(&world).await["lag"], "7s");
    kubelet.freeze("hq").await;
    world.condition("ReplicationPolicy", "tree", "Synced", "False", "Comparing").await;
    let found = policy_status(&world).await;
    assert_eq!(found["edges"][0]["state"], "Unknown");
    assert_eq!((&found["lag"], &found["edges"][0]["lagSeconds"]), (&Value::Null, &Value::Null), "{found}");
    kubelet.thaw("hq").await;
}

/// The edge's id is the same, the generation is 1 again, and the store has what was said of the first.
#[tokio::test(flavor = "multi_thread")]
async fn of_a_policy_that_is_made_anew_nothing_is_said_that_was_said_of_the_one_before() {
    let (world, kubelet) = world().await;
    let _operator = world.operator().await;
    world.ready("ReplicationPolicy", "tree").await;
    let admin = kubelet.admin("hq").await;
    let id = document(&admin, "the edge is placed", |found| found.edges.len() == 1).await.edges[0].id.clone();
    let said = status(&id, EdgeState::Following);
    admin.put_edge_status(&said).await.expect("taken");
    admin.put_edge_status(&status(&"f".repeat(32), EdgeState::Failing)).await.expect("taken, whosever it is");
    world.condition("ReplicationPolicy", "tree", "Synced", "True", "Succeeded").await;
    let served: Vec<String> =
        admin.edge_statuses().await.expect("a list").into_iter().map(|status| status.id).collect();
    assert_eq!(served, [id.as_str()], "of the edges that run");

    world.delete("ReplicationPolicy", "tree").await;
    document(&admin, "the edges are gone", |found| found.edges.is_empty()).await;
    // Of when an object was made the API server says the second only.
    eventually("it was said in another second", || async {
        let ago = jiff::Timestamp::now().duration_since(said.reported_at.expect("a time"));
        if ago.as_secs() >= 2 { Ok(()) } else { Err(ago) }
    })
    .await;
    world.create(&tree()).await;
    document(&admin, "the edge is back", |found| found.edges.len() == 1).await;
    world.ready("ReplicationPolicy", "tree").await;
    let policy = world.kind("ReplicationPolicy").get("tree").await.expect("it is there");
    let synced = find_condition(&policy, "Synced").expect("it is said");
    assert_eq!((&synced["status"], &synced["reason"]), (&json!("False"), &json!("Comparing")), "{synced}");
    assert!(synced["message"].as_str().expect("a text").contains("has not said anything of it yet"), "{synced}");
    assert_eq!(policy.data["status"]["edges"][0]["state"], "Unknown");

    admin.put_edge_status(&status(&id, EdgeState::Following)).await.expect("taken");
    world.condition("ReplicationPolicy", "tree", "Synced", "True", "Succeeded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_echoed_once_the_edge_handled_it_and_a_policy_that_goes_takes_its_edges_along() {
    let (world, kubelet) = world().await;
    let _operator = world.operator().await;
    world.ready("ReplicationPolicy", "tree").await;
    let request =
        json!({ "metadata": { "annotations": { "regatta.dev/requested-at": "now" } }, "spec": { "suspend": true } });
    world.patch("ReplicationPolicy", "tree", request).await.expect("annotated");
    let admin = kubelet.admin("hq").await;
    let asked = |found: &EdgesDocument| {
        found.edges.first().is_some_and(|edge| edge.requested_at.as_deref() == Some("now") && edge.suspend)
    };
    let id = document(&admin, "the request is placed", asked).await.edges[0].id.clone();
    world.condition("ReplicationPolicy", "tree", "Ready", "True", "Suspended").await;
    let done = EdgeStatus {
        policy_generation: 2,
        last_handled_request: Some("now".to_owned()),
        ..status(&id, EdgeState::Suspended)
    };
    admin.put_edge_status(&done).await.expect("taken");
    eventually("the request is echoed", || async {
        let policy = world.kind("ReplicationPolicy").get("tree").await.map_err(|error| error.to_string())?;
        let echoed = policy.data["status"]["lastHandledRequest"] == "now";
        if echoed { Ok(()) } else { Err(policy.data["status"].to_string()) }
    })
    .await;
    world.delete("ReplicationPolicy", "tree").await;
    document(&admin, "the edges are gone", |found| found.edges.is_empty()).await;
    eventually("the replicator is gone", || async {
        let found =
            world.api::<Deployment>().get_opt("hq-registry-replicator").await.map_err(|error| error.to_string())?;
        if found.is_none() { Ok(()) } else { Err("still there".to_owned()) }
    })
    .await;
}

fn fan_out(name: &str, source: &str) -> DynamicObject {
    let topology = json!({ "fanOut": { "source": { "name": source }, "destinations": [{ "name": "city" }] } });
    of_kind("ReplicationPolicy", name, json!({ "topology": topology }))
}

async fn events(world: &World, reason: &str) -> Vec<String> {
    let events = world.api::<Event>().list(&ListParams::default()).await.expect("a list").items;
    let of_reason = events.into_iter().filter(|event| event.reason.as_deref() == Some(reason));
    of_reason.filter_map(|event| event.note).collect()
}

async fn some_events(world: &World, reason: &str) -> Vec<String> {
    eventually(&format!("an Event {reason}"), || async {
        let found = events(world, reason).await;
        if found.is_empty() { Err(()) } else { Ok(found) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_put_right_at_a_destination_is_an_event_and_many_of_them_are_few_events() {
    let (world, kubelet) = world().await;
    let _operator = world.operator().await;
    world.ready("ReplicationPolicy", "tree").await;
    let admin = kubelet.admin("hq").await;
    let id = document(&admin, "the edge is placed", |found| found.edges.len() == 1).await.edges[0].id.clone();
    let report = |count: u64, names: &[&str]| EdgeStatus {
        totals: Totals { drift_corrected: count, ..Totals::default() },
        recent_drift: names.iter().map(|&name| name.into()).collect(),
        ..status(&id, EdgeState::Following)
    };
    admin.put_edge_status(&report(3, &["old:1 (copied)"])).await.expect("taken");
    world.condition("ReplicationPolicy", "tree", "Synced", "True", "Succeeded").await;
    admin.put_edge_status(&report(5, &["app:2 (deleted)", "app:1 (copied)", "old:1 (copied)"])).await.expect("taken");
    // The only one: what nobody saw begin, the first three, was no news.
    let notes = some_events(&world, "DriftCorrected").await;
    let note = "hq -> province: 2 changed there and not at hq, put right: app:2 (deleted), app:1 (copied)";
    assert_eq!(notes, [note]);
    // More at once is told later, and together; that it was seen shows in the state that came with it.
    let more = EdgeStatus { state: EdgeState::Comparing, ..report(6, &["app:3 (copied)"]) };
    admin.put_edge_status(&more).await.expect("taken");
    world.condition("ReplicationPolicy", "tree", "Synced", "False", "Comparing").await;
    // An Event of what happens after that has come; one of this would have come before it.
    world.patch("ReplicationPolicy", "tree", json!({ "spec": { "suspend": true } })).await.expect("suspended");
    some_events(&world, "Suspended").await;
    assert_eq!(events(&world, "DriftCorrected").await, [note]);
}

/// Whichever was there first: in another cluster it is the other one.
#[tokio::test(flavor = "multi_thread")]
async fn a_destination_has_one_source_and_goes_to_the_next_when_its_policy_goes() {
    let world = World::new("claims").await;
    let kubelet = Kubelet::start(&world);
    for name in ["hq", "lab"] {
        world.create(&registry(name)).await;
    }
    world.create(&external("city")).await;
    world.create(&fan_out("b", "lab")).await;
    let _operator = world.operator().await;
    world.ready("ReplicationPolicy", "b").await;
    let (hq, lab) = (kubelet.admin("hq").await, kubelet.admin("lab").await);
    document(&lab, "the edge of the only policy is placed", |found| found.edges.len() == 1).await;

    world.create(&fan_out("a", "hq")).await;
    let message = world.stalled("ReplicationPolicy", "b", "DestinationTaken").await;
    for part in ["policy b ", "policy a ", "lab -> city", "hq -> city", "change spec.filters.repositories"] {
        assert!(message.to_lowercase().contains(&part.to_lowercase()), "{part}: {message}");
    }
    world.ready("ReplicationPolicy", "a").await;
    document(&lab, "the edge of b is gone", |found| found.edges.is_empty()).await;
    document(&hq, "the edge of a is placed", |found| found.edges.len() == 1).await;

    world.delete("ReplicationPolicy", "a").await;
    world.ready("ReplicationPolicy", "b").await;
    document(&lab, "the edge of b is back", |found| found.edges.len() == 1).await;
    document(&hq, "the edge of a is gone", |found| found.edges.is_empty()).await;
}
