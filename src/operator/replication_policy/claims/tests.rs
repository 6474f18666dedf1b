//! Who has a destination, whoever asks.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;
use crate::api::{DeletionMode, FanOut, FilterSpec, LocalRef, ReplicationPolicySpec, Topology};

fn reference(name: &str) -> LocalRef {
    LocalRef { name: name.into() }
}

fn policy(name: &str, source: &str, destinations: &[&str], repositories: &[&str]) -> ReplicationPolicy {
    let destinations = destinations.iter().map(|name| reference(name)).collect();
    let filters = FilterSpec { repositories: repositories.iter().map(|&glob| glob.into()).collect(), tags: vec![] };
    ReplicationPolicy::new(
        name,
        ReplicationPolicySpec {
            topology: Topology { fan_out: Some(FanOut { source: reference(source), destinations }), tree: None },
            trigger: None,
            filters: Some(filters),
            deletions: DeletionMode::Propagate,
            suspend: false,
        },
    )
}

fn made(mut policy: ReplicationPolicy, second: i64) -> ReplicationPolicy {
    policy.metadata.creation_timestamp = Some(Time(jiff::Timestamp::from_second(second).unwrap()));
    policy
}

/// The edges that yield, each with the policy that it yields to.
fn check(policies: &[ReplicationPolicy]) -> String {
    let say = |((policy, pair), holder): (&(String, Pair), &Holder)| {
        format!("{policy}: {} -> {} yields to {}", pair.source, pair.destination, holder.policy)
    };
    Claims::of(policies).yielding.iter().map(say).collect::<Vec<_>>().join(", ")
}

#[test]
fn of_two_sources_of_one_destination_the_first_policy_by_name_has_it() {
    let (a, b) = (policy("a", "hq", &["city", "dr"], &[]), policy("b", "lab", &["city"], &["shop/**"]));
    assert_eq!(check(&[a.clone(), b.clone()]), "b: lab -> city yields to a");
    assert_eq!(check(&[b, a]), "b: lab -> city yields to a");
}

#[test]
fn every_cluster_comes_to_the_same_answer_whenever_it_made_the_objects() {
    let (a, b) = (policy("a", "hq", &["city"], &[]), policy("b", "lab", &["city"], &[]));
    let here = check(&[made(a.clone(), 1), made(b.clone(), 2)]);
    let there = check(&[made(b, 1), made(a, 2)]);
    assert_eq!(here, there);
}

#[test]
fn what_does_not_overlap_is_nobody_elses_business() {
    let a = policy("a", "hq", &["city"], &["shop/**"]);
    assert_eq!(check(&[a.clone(), policy("b", "lab", &["city"], &["team/**", "shop"])]), "");
    assert_eq!(check(&[a.clone(), policy("b", "lab", &["dr"], &[])]), "", "another destination");
    assert_eq!(check(&[a, policy("b", "hq", &["city"], &[])]), "", "the same source");
}

#[test]
fn a_suspended_policy_keeps_what_it_has_and_one_that_is_being_deleted_does_not() {
    let (mut a, b) = (policy("a", "hq", &["city"], &[]), policy("b", "lab", &["city"], &[]));
    a.spec.suspend = true;
    assert_eq!(check(&[a.clone(), b.clone()]), "b: lab -> city yields to a");
    a.metadata.deletion_timestamp = Some(Time(jiff::Timestamp::UNIX_EPOCH));
    assert_eq!(check(&[a, b]), "");
}

#[test]
fn an_edge_that_yields_keeps_nobody_else_from_running() {
    let a = policy("a", "hq", &["city"], &["shop/**"]);
    let b = policy("b", "lab", &["city", "dr"], &["shop/app", "team/**"]);
    let c = policy("c", "far", &["city"], &["team/**"]);
    assert_eq!(check(&[c, b, a]), "b: lab -> city yields to a");
}

#[test]
fn a_policy_that_is_no_graph_claims_nothing() {
    assert_eq!(check(&[policy("a", "city", &["city"], &[]), policy("b", "lab", &["city"], &[])]), "");
}

#[test]
fn the_message_names_both_policies_both_sources_the_destination_and_what_to_do() {
    let policies = [policy("a", "hq", &["city"], &[]), policy("b", "lab", &["city"], &[])];
    let pair = Pair { source: "lab".into(), destination: "city".into() };
    let claims = Claims::of(&policies);
    assert_eq!(
        message("b", &pair, claims.holder("b", &pair).unwrap()),
        "the ReplicationPolicy b replicates lab -> city and the ReplicationPolicy a replicates hq -> city, both with the \
         same repositories: a mirrored repository has one source, so the edge lab -> city of b does not run; change \
         spec.filters.repositories of one of the two so that they do not overlap, or take city out of one of them (a has \
         it because its name comes first)"
    );
}
