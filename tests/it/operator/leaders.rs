//! One leads; the other takes over; one that wakes late changes nothing.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{DeleteParams, Patch, PatchParams};
use regatta::operator::{OperatorError, Settings};
use serde_json::json;

use super::access::{credentials, generation, lets_in, settles, with_robot};
use crate::support::eventually;
use crate::support::layers::Control;
use crate::support::objects::{external, of_kind, project, robot};

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_takes_over_when_the_leader_is_gone() {
    let (world, _kubelet) = with_robot("standby").await;
    let (first, second) = (Control::counting(), Control::counting());
    let leader = world.operator_with(&first, world.settings("first")).await;
    world.ready("RoleBinding", "r").await;
    let _standby = world.operator_with(&second, world.settings("second")).await;
    world.create(&project("q", "hq", "other")).await;
    world.ready("Project", "q").await;
    assert_eq!(second.changes(), 0, "a standby changes nothing: {:?}", second.log());
    drop(leader);
    world.create(&robot("s", "q")).await;
    world.ready("RoleBinding", "s").await;
    assert!(second.changes() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lost_the_lease_ends() {
    let (world, _kubelet) = with_robot("lost").await;
    let mut operator = world.operator().await;
    world.ready("RoleBinding", "r").await;
    let stolen = json!({ "spec": { "holderIdentity": "thief", "leaseDurationSeconds": 3600 } });
    let leases = world.api::<Lease>();
    leases.patch("operator", &PatchParams::default(), &Patch::Merge(stolen)).await.expect("stolen");
    assert!(matches!(operator.ended().await, Err(OperatorError::LeaseLost(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_operator_that_wakes_late_gives_nobody_access_again() {
    let (world, kubelet) = with_robot("late").await;
    // Hears nothing any more, does not notice that its Lease is gone, and looks at everything twice a second.
    let control = Control::counting();
    let mut settings: Settings = world.settings("older");
    settings.lease.retry = Duration::from_hours(1);
    settings.resync = Duration::from_millis(500);
    let mut older = world.operator_with(&control, settings).await;
    world.ready("RoleBinding", "r").await;
    let who = credentials(&world.exists("r").await);
    assert!(lets_in(&kubelet, "hq", &who).await);
    control.deafen();

    world.api::<Lease>().delete("operator", &DeleteParams::default()).await.expect("deleted");
    let _newer = world.operator_with(&Control::counting(), world.settings("newer")).await;
    world.delete("RoleBinding", "r").await;
    settles(&kubelet, "hq", &who, false).await;
    let admin = kubelet.admin("hq").await;
    let revoked = generation(&admin).await;
    let ended =
        tokio::time::timeout(crate::support::DEADLINE, older.ended()).await.expect("it is told that it does not lead");
    assert!(matches!(ended, Err(OperatorError::LeaseLost(_))), "{ended:?}");
    assert!(!lets_in(&kubelet, "hq", &who).await);
    eventually("the newer operator's document stands", || async {
        let now = generation(&admin).await;
        if now == revoked { Ok(()) } else { Err(now) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_operator_that_wakes_late_brings_no_edge_back() {
    let (world, kubelet) = with_robot("late-edges").await;
    world.create(&external("far")).await;
    let topology = json!({ "fanOut": { "source": { "name": "hq" }, "destinations": [{ "name": "far" }] } });
    world.create(&of_kind("ReplicationPolicy", "out", json!({ "topology": topology }))).await;
    // Hears nothing any more and does not notice that its Lease is gone; while it has edges, it looks at them often.
    let control = Control::counting();
    let mut settings: Settings = world.settings("older");
    settings.lease.retry = Duration::from_hours(1);
    let mut older = world.operator_with(&control, settings).await;
    world.ready("ReplicationPolicy", "out").await;
    control.deafen();

    world.api::<Lease>().delete("operator", &DeleteParams::default()).await.expect("deleted");
    let _newer = world.operator_with(&Control::counting(), world.settings("newer")).await;
    world.delete("ReplicationPolicy", "out").await;
    let admin = kubelet.admin("hq").await;
    let edges = || async { admin.edges(None, Duration::ZERO).await.map_err(|error| error.to_string()) };
    let removed = eventually("the edge is gone", || async {
        let found = edges().await?;
        if found.edges.is_empty() { Ok(found.generation) } else { Err(format!("{found:?}")) }
    })
    .await;
    let ended =
        tokio::time::timeout(crate::support::DEADLINE, older.ended()).await.expect("it is told that it does not lead");
    assert!(matches!(ended, Err(OperatorError::LeaseLost(_))), "{ended:?}");
    let now = edges().await.expect("the registry answers");
    assert!(now.edges.is_empty() && now.generation == removed, "{now:?}");
}
