//! Whose a destination's repositories are. Pure.
//!
//! A mirror makes its destination equal to its source, so what another source put there is drift to it, and goes. Two
//! policies that mirror different sources to overlapping repositories of one destination would undo each other for
//! ever. So a repository of a destination has one source: of two policies that claim it the first *by name* has it, and
//! the other's edge does not run and is Stalled until a person decides.
//!
//! By name and not by age: the same manifests are applied to every cluster, each operator decides for itself which of
//! its edges run, and all must come to the same answer. An object's `creationTimestamp` and UID differ from cluster to
//! cluster, and so does the order in which they see a change; names do not. The price is that a new policy with a
//! smaller name takes over from one that runs; nothing is lost by it, because deletions are withheld on an edge's first
//! compare with a destination that is not empty.
//!
//! Nothing else counts: a suspended policy and one with `trigger: {manual: {}}` keep what they claim. To suspend is to
//! pause; would another take over meanwhile, the end of the pause would delete what it brought. For the same reason tags
//! do not count, though two policies may divide them: manifests, and what refers to them, belong to a repository. Only
//! a policy that is being deleted, or is no valid graph, claims nothing; nor does an edge that yields itself.

use std::collections::BTreeMap;

use kube::ResourceExt;

use super::topology::{Pair, pairs};
use crate::admin::globs;
use crate::api::ReplicationPolicy;

/// The policy that has what another one claims too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its name.
    pub policy: String,
    /// The source that it mirrors.
    pub source: String,
}

/// The edges of a namespace's policies, and which of them do not run.
#[derive(Debug, Default)]
pub struct Claims {
    /// By policy and edge.
    yielding: BTreeMap<(String, Pair), Holder>,
}

/// An edge that runs.
struct Claim<'a> {
    holder: Holder,
    repositories: &'a [String],
}

impl Claims {
    /// Decides between all policies of a namespace, whose order does not matter.
    pub fn of<'a>(policies: impl IntoIterator<Item = &'a ReplicationPolicy>) -> Self {
        let mut sorted: Vec<&ReplicationPolicy> = policies.into_iter().filter(|policy| is_alive(policy)).collect();
        sorted.sort_by_key(|policy| policy.name_any());
        let mut held: BTreeMap<String, Vec<Claim>> = BTreeMap::new();
        let mut yielding = BTreeMap::new();
        for policy in sorted {
            let repositories = policy.spec.filters.as_ref().map_or(&[][..], |filters| &filters.repositories);
            for pair in pairs(&policy.spec.topology).unwrap_or_default() {
                let claims = held.entry(pair.destination.clone()).or_default();
                let before = claims.iter().find(|claim| {
                    claim.holder.source != pair.source && globs::any_overlap(claim.repositories, repositories)
                });
                if let Some(before) = before {
                    yielding.insert((policy.name_any(), pair), before.holder.clone());
                } else {
                    let holder = Holder { policy: policy.name_any(), source: pair.source };
                    claims.push(Claim { holder, repositories });
                }
            }
        }
        Self { yielding }
    }

    /// Who has what this edge of a policy claims; nobody where the edge runs.
    pub fn holder(&self, policy: &str, pair: &Pair) -> Option<&Holder> {
        self.yielding.get(&(policy.to_owned(), pair.clone()))
    }
}

fn is_alive(policy: &ReplicationPolicy) -> bool {
    policy.metadata.deletion_timestamp.is_none()
}

/// What to say of an edge that yields.
pub fn message(policy: &str, pair: &Pair, holder: &Holder) -> String {
    let Pair { source, destination } = pair;
    let Holder { policy: other, source: other_source } = holder;
    format!(
        "the ReplicationPolicy {policy} replicates {source} -> {destination} and the ReplicationPolicy {other} replicates \
         {other_source} -> {destination}, both with the same repositories: a mirrored repository has one source, so the \
         edge {source} -> {destination} of {policy} does not run; change spec.filters.repositories of one of the two so \
         that they do not overlap, or take {destination} out of one of them ({other} has it because its name comes first)"
    )
}

#[cfg(test)]
mod tests;
