//! build: the edges that run at a registry, and what its replicator must be able to read. Pure, from the caches.

use kube::ResourceExt;

use super::claims::Claims;
use super::topology::{Pair, edge_id, pairs};
use super::validate::{Runner, runner};
use crate::admin::{Deletions, Edge, Filters, PolicyRef, Remote, Trigger};
use crate::api::{ANNOTATION_APPROVE_DELETIONS, ANNOTATION_REQUESTED_AT, DeletionMode, Registry, ReplicationPolicy};
use crate::operator::caches::{Caches, Shared};
use crate::operator::labels::{keys_secret, replicator_child};
use crate::operator::registry::validate::{Plan, plan};
use crate::operator::settings::Settings;

/// The other end of some edges, as far as the replicator's pod must have it mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteMount {
    /// Name of the destination Registry.
    pub name: String,
    /// The Secret with user name and password.
    pub credentials: Option<String>,
    /// The Secret with `ca.crt`.
    pub authority: Option<String>,
}

/// How a destination is reached from here.
struct Way {
    remote: Remote,
    mount: RemoteMount,
}

/// The edges that run at a registry, ordered by id.
pub fn edges_of(caches: &Caches, settings: &Settings, namespace: &str, registry: &str) -> Vec<Edge> {
    let mut edges: Vec<Edge> = outgoing(caches, settings, namespace, registry)
        .into_iter()
        .map(|(policy, pair, way)| edge(namespace, &policy, &pair, way.remote))
        .collect();
    edges.sort_by(|a, b| a.id.cmp(&b.id));
    edges
}

/// What the replicator of a registry must be able to read, ordered by name.
pub fn remotes_of(caches: &Caches, settings: &Settings, namespace: &str, registry: &str) -> Vec<RemoteMount> {
    let mut mounts: Vec<RemoteMount> =
        outgoing(caches, settings, namespace, registry).into_iter().map(|(_, _, way)| way.mount).collect();
    mounts.sort_by(|a, b| a.name.cmp(&b.name));
    mounts.dedup();
    mounts
}

/// What replicates from a registry that is at home here, by every valid policy.
fn outgoing(
    caches: &Caches,
    settings: &Settings,
    namespace: &str,
    registry: &str,
) -> Vec<(Shared<ReplicationPolicy>, Pair, Way)> {
    let source = caches.registry(namespace, registry);
    if !matches!(source.and_then(|source| runner(&source, settings)), Some(Runner::Here { .. })) {
        return vec![];
    }
    let alive = |policy: &Shared<ReplicationPolicy>| policy.metadata.deletion_timestamp.is_none();
    let policies = caches.policies_in(namespace);
    let claims = Claims::of(policies.iter().map(|policy| &**policy));
    let mut found = vec![];
    for policy in policies.into_iter().filter(alive) {
        // A policy that is no valid graph moves nothing; its own reconciler says so.
        let Ok(pairs) = pairs(&policy.spec.topology) else { continue };
        let name = policy.name_any();
        let runs = |pair: &Pair| pair.source == registry && claims.holder(&name, pair).is_none();
        for pair in pairs.into_iter().filter(runs) {
            let destination = caches.registry(namespace, &pair.destination);
            if let Some(way) = destination.and_then(|destination| way(&destination, settings)) {
                found.push((policy.clone(), pair, way));
            }
        }
    }
    found
}

/// A destination that is deployed here is reached inside the cluster, with its own generated credentials; any other
/// by its URL.
fn way(destination: &Registry, settings: &Settings) -> Option<Way> {
    let name = destination.name_any();
    Some(match plan(destination, settings).ok()? {
        Plan::Managed(plan) => Way {
            remote: Remote { name: name.clone(), url: plan.internal_url(), insecure: false },
            mount: RemoteMount {
                credentials: Some(replicator_child(&name)),
                authority: Some(keys_secret(&name)),
                name,
            },
        },
        Plan::Delegated(plan) | Plan::External(plan) => Way {
            remote: Remote { name: name.clone(), url: plan.url, insecure: plan.insecure },
            mount: RemoteMount { name, credentials: plan.credentials, authority: plan.authority },
        },
    })
}

fn edge(namespace: &str, policy: &ReplicationPolicy, pair: &Pair, destination: Remote) -> Edge {
    let annotation = |name: &str| policy.annotations().get(name).cloned();
    let filters = policy.spec.filters.clone().unwrap_or_default();
    let manual = policy.spec.trigger.as_ref().is_some_and(|trigger| trigger.manual.is_some());
    Edge {
        id: edge_id(namespace, &policy.name_any(), pair),
        policy: PolicyRef {
            namespace: namespace.to_owned(),
            name: policy.name_any(),
            generation: policy.metadata.generation.unwrap_or_default(),
        },
        source: pair.source.clone(),
        destination,
        filters: Filters { repositories: filters.repositories, tags: filters.tags },
        deletions: match policy.spec.deletions {
            DeletionMode::Propagate => Deletions::Propagate,
            DeletionMode::Ignore => Deletions::Ignore,
        },
        trigger: if manual { Trigger::Manual } else { Trigger::Event },
        suspend: policy.spec.suspend,
        requested_at: annotation(ANNOTATION_REQUESTED_AT),
        approved_plan: annotation(ANNOTATION_APPROVE_DELETIONS),
    }
}
