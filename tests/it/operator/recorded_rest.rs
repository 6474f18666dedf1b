//! The states that [`super::recorded`] does not come by: objects that are another cluster's or cannot be read, runs that go on
//! or do not start, and what replicators say and do not say.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use regatta::admin::{EdgeState, EdgeStatus, Withheld, WithheldReason};
use serde_json::json;

use super::collections::{pod_without_image, the_job};
use super::edges::status;
use super::recorded::{KINDS, binding, check, destination, object, policy, requested, with};
use super::unready::{condition, say};
use crate::support::kubelet::Kubelet;
use crate::support::layers::Control;
use crate::support::objects::{external, project, registry};
use crate::support::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn what_the_operator_writes_in_the_other_states_is_what_health_is_tested_over() {
    let world = World::new("recorded-rest").await;
    world.create(&registry("hq")).await;
    world.create(&project("shop", "hq", "shop")).await;
    for name in ["delegated", "unreadable", "withheld", "silent"].map(destination) {
        world.create(&external(&name)).await;
    }
    let control = Control::counting();
    for (from, to) in [
        ("\"homeCluster\":\"unreadable\"", "\"homeCluster\":123456789012"),
        ("\"public\":true", "\"public\":1234"),
        ("\"role\":\"limitedGuest\"", "\"role\":\"limitedGuesT\""),
        ("\"suspend\":true", "\"suspend\":1234"),
        ("\"untagged\":true", "\"untagged\":1234"),
    ] {
        control.corrupt(from, to);
    }
    let operator = world.operator_with(&control, world.settings("undisturbed")).await;
    of_another_cluster(&world).await;
    unreadable(&world).await;
    without_pods(&world).await;
    world.create(&requested(object("GarbageCollection", "running"))).await;
    world.condition("GarbageCollection", "running", "Ready", "True", "Running").await;
    check(&world, "GarbageCollection", "running", "running").await;
    pod_without_image(&world, &the_job(&world).await).await;
    drop(operator);

    let mut settings = world.settings("undisturbed");
    settings.start_patience = Duration::ZERO;
    let operator = world.operator_with(&Control::counting(), settings).await;
    world.stalled("GarbageCollection", "running", "NotStarted").await;
    check(&world, "GarbageCollection", "running", "not-started").await;
    // Pods of Jobs end well from here on.
    world.delete("GarbageCollection", "running").await;
    world.collect_garbage().await;
    drop(operator);
    what_replicators_say(&world).await;
}

/// Everything of a Registry that another cluster's operator looks after.
async fn of_another_cluster(world: &World) {
    for kind in KINDS {
        let delegated = object(kind, "delegated");
        let object = match kind {
            "Registry" => {
                let there = with(delegated, "/spec/homeCluster", json!("elsewhere"));
                with(there, "/spec/external", json!({ "url": "https://elsewhere.example" }))
            }
            "Project" => project("delegated", "delegated", "delegated"),
            "RoleBinding" => with(delegated, "/spec/projectRef", json!({ "name": "delegated" })),
            "ReplicationPolicy" => policy("delegated", "delegated"),
            _ => with(delegated, "/spec/registryRef", json!({ "name": "delegated" })),
        };
        world.create(&object).await;
        world.condition(kind, "delegated", "Ready", "True", "Delegated").await;
        check(world, kind, "delegated", "delegated").await;
    }
}

/// As an object is that was written under a schema of tomorrow.
async fn unreadable(world: &World) {
    for kind in KINDS {
        let plain = object(kind, "unreadable");
        let object = match kind {
            "Registry" => {
                let there = with(plain, "/spec/homeCluster", json!("unreadable"));
                with(there, "/spec/external", json!({ "url": "https://elsewhere.example" }))
            }
            "Project" => with(plain, "/spec/public", json!(true)),
            "RoleBinding" => {
                with(binding("unreadable", &json!({ "user": { "name": "dora" } })), "/spec/role", json!("limitedGuest"))
            }
            "ReplicationPolicy" => with(plain, "/spec/suspend", json!(true)),
            _ => with(plain, "/spec/untagged", json!(true)),
        };
        world.create(&object).await;
        world.stalled(kind, "unreadable", "Unreadable").await;
        check(world, kind, "unreadable", "unreadable").await;
        world.delete(kind, "unreadable").await;
    }
}

async fn without_pods(world: &World) {
    world.create(&object("Registry", "not-started")).await;
    world.exists::<Deployment>("not-started-registry").await;
    let refused = "pods \"not-started-registry-x\" is forbidden: exceeded quota: small, requested: memory=1Gi";
    say(world, "not-started", json!([condition("ReplicaFailure", "True", "FailedCreate", refused)])).await;
    world.stalled("Registry", "not-started", "NotStarted").await;
    check(world, "Registry", "not-started", "not-started").await;
    world.delete("Registry", "not-started").await;
    world.collect_garbage().await;
}

async fn what_replicators_say(world: &World) {
    let kubelet = Kubelet::start(world);
    let operator = world.operator().await;
    for state in ["withheld", "silent"] {
        world.create(&policy(state, "hq")).await;
        world.ready("ReplicationPolicy", state).await;
    }
    let admin = kubelet.admin("hq").await;
    let edges = admin.edges(None, Duration::ZERO).await.expect("edges").edges;
    let edge = |state: &str| {
        let found = edges.iter().find(|edge| edge.destination.name == destination(state));
        found.expect("the edge is placed").id.clone()
    };
    let withheld = Withheld {
        reason: WithheldReason::FirstCompare,
        plan_hash: "ab".repeat(32),
        deletions: 3,
        sample: vec!["app:1".to_owned()],
    };
    let report = EdgeStatus { withheld: Some(withheld), ..status(&edge("withheld"), EdgeState::DeletionsWithheld) };
    admin.put_edge_status(&report).await.expect("taken");
    world.stalled("ReplicationPolicy", "withheld", "DeletionsWithheld").await;
    check(world, "ReplicationPolicy", "withheld", "withheld").await;
    drop(operator);

    admin.put_edge_status(&status(&edge("silent"), EdgeState::Following)).await.expect("taken");
    let mut settings = world.settings("undisturbed");
    settings.replicator_silence = Duration::from_secs(1);
    let _operator = world.operator_with(&Control::counting(), settings).await;
    world.condition("ReplicationPolicy", "silent", "Synced", "Unknown", "ReplicatorSilent").await;
    check(world, "ReplicationPolicy", "silent", "silent").await;
}
