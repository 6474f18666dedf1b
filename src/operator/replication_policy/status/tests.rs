//! What is said of edges, and of which policy.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;
use crate::api::{DeletionMode, ReplicationPolicySpec, Topology};

const EDGE: &str = "0123456789abcdef";

fn second(second: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(second).unwrap()
}

/// One of this generation that was made at 1000 s, and whose edge was said to follow and to withhold as `observed`.
fn policy(generation: i64, observed: i64) -> ReplicationPolicy {
    let mut policy = ReplicationPolicy::new(
        "p",
        ReplicationPolicySpec {
            topology: Topology { fan_out: None, tree: None },
            trigger: None,
            filters: None,
            deletions: DeletionMode::Propagate,
            suspend: false,
        },
    );
    policy.metadata.generation = Some(generation);
    policy.metadata.creation_timestamp = Some(Time(second(1000)));
    policy.status = Some(ReplicationPolicyStatus {
        observed_generation: observed,
        last_handled_request: None,
        edge_count: Some(1),
        lag: None,
        edges: vec![before()],
        conditions: vec![],
    });
    policy
}

fn before() -> EdgeReport {
    EdgeReport {
        state: "Following".to_owned(),
        lag_seconds: Some(7),
        bytes: Some(1234),
        withheld: Some(withheld_report()),
        ..unknown()
    }
}

fn unknown() -> EdgeReport {
    EdgeReport { id: EDGE.to_owned(), state: UNKNOWN.to_owned(), ..EdgeReport::default() }
}

fn withheld_report() -> WithheldReport {
    WithheldReport { reason: "FirstCompare".to_owned(), plan_hash: "ab".repeat(32), deletions: 3, sample: vec![] }
}

/// State, lag, and whether deletions are said to wait, where nothing was reported now.
fn kept(policy: &ReplicationPolicy, asked: bool, unreachable: bool) -> (String, Option<i64>, bool) {
    let mut report = unknown();
    keep(policy, &mut report, asked, unreachable);
    assert_eq!(report.bytes, Some(1234), "what was done since the edge began");
    (report.state, report.lag_seconds, report.withheld.is_some())
}

#[test]
fn what_was_said_before_stands_until_somebody_was_asked_and_for_the_same_generation() {
    let nothing = |waits: bool| (UNKNOWN.to_owned(), None, waits);
    assert_eq!(kept(&policy(2, 2), false, false), ("Following".to_owned(), Some(7), true), "a new process");
    assert_eq!(kept(&policy(2, 2), true, true), nothing(true), "nobody can be asked");
    assert_eq!(kept(&policy(2, 2), true, false), nothing(false), "it has nothing to say of this");
    assert_eq!(kept(&policy(2, 1), false, false), nothing(false), "a new process, another generation");
    assert_eq!(kept(&policy(2, 1), true, true), nothing(false), "nobody can be asked, another generation");
}

fn known(placed: bool, report: EdgeReport) -> Known {
    Known { placed, here: true, ..Known::not_here(report, None) }
}

#[test]
fn deletions_that_wait_make_no_change_ready_of_which_the_registry_does_not_know() {
    let ready = |placed: &[bool]| {
        let known: Vec<Known> = placed.iter().map(|&placed| known(placed, before())).collect();
        match standing(&policy(2, 2), &known) {
            Standing::Stalled { ready, reason: reason::DELETIONS_WITHHELD, .. } => ready,
            Standing::Stalled { .. } | Standing::Ready { .. } | Standing::Progressing { .. } => panic!("not withheld"),
        }
    };
    assert!(ready(&[true, true]));
    assert!(!ready(&[true, false]));
    assert!(!ready(&[false]));
}

/// Whether a report of this generation, that was heard so long ago, at 2000 s is about a policy of generation 1.
fn about(generation: i64, quiet: Option<u64>) -> bool {
    let mut report: EdgeStatus = serde_json::from_value(serde_json::json!({
        "id": EDGE, "policyGeneration": generation, "state": "Following", "lagSeconds": 0, "pending": 0, "inFlight": 0,
        "failed": 0,
    }))
    .unwrap();
    report.last_compare = Some(second(500));
    is_about(&policy(1, 1), &report, quiet.map(Duration::from_secs), second(2000))
}

#[test]
fn a_report_is_about_the_generation_that_it_names() {
    assert!(about(1, Some(10)) && about(1, None));
    assert!(!about(2, Some(10)) && !about(0, None));
}

#[test]
fn a_report_from_before_a_policy_was_made_is_of_another_one() {
    assert!(about(1, Some(1000)));
    assert!(!about(1, Some(1001)));
}
