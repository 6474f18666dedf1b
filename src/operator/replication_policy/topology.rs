//! From a topology to pairs of registries. Pure; what is no valid graph is refused with the path named.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use crate::api::{Topology, Tree};

/// An edge, before it is known who runs it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair {
    /// Name of the source Registry.
    pub source: String,
    /// Name of the destination Registry.
    pub destination: String,
}

/// Why a topology is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopologyError {
    /// Neither or both variants, or one that this operator does not know.
    #[error("spec.topology must have exactly one of fanOut and tree")]
    NotOne,
    /// A registry that replicates to itself.
    #[error("{path} replicates to itself: {registry} -> {registry}; remove that edge")]
    SelfEdge {
        /// The field.
        path: String,
        /// The registry.
        registry: String,
    },
    /// An edge that is there twice.
    #[error("{path} repeats the edge {from} -> {to}; remove one")]
    Duplicate {
        /// The field.
        path: String,
        /// The source.
        from: String,
        /// The destination.
        to: String,
    },
    /// A node that two replicate to.
    #[error("{path}: {node} has two parents, {first} -> {node} and {second} -> {node}; a tree's node has one")]
    TwoParents {
        /// The field.
        path: String,
        /// The node.
        node: String,
        /// A parent.
        first: String,
        /// Another parent.
        second: String,
    },
    /// A node that is there twice.
    #[error("{path}: the node {node} is there twice; remove one")]
    DuplicateNode {
        /// The field.
        path: String,
        /// The node.
        node: String,
    },
    /// A parent that is no node.
    #[error(
        "{path}: the parent {parent} of {node} is no node of this tree; add it, without a parentRef if it is the root"
    )]
    UnknownParent {
        /// The field.
        path: String,
        /// The node.
        node: String,
        /// Its parent.
        parent: String,
    },
    /// A way that comes back to where it began.
    #[error("spec.topology.tree.nodes has a cycle: {path}; remove one of these parentRefs")]
    Cycle {
        /// `a -> b -> a`
        path: String,
    },
}

/// The edges of a topology, ordered by source and destination.
pub fn pairs(topology: &Topology) -> Result<Vec<Pair>, TopologyError> {
    let mut pairs = match (&topology.fan_out, &topology.tree) {
        (Some(fan_out), None) => {
            let destinations = fan_out.destinations.iter().map(|destination| destination.name.clone());
            fan_out_pairs(&fan_out.source.name, destinations)?
        }
        (None, Some(tree)) => tree_pairs(tree)?,
        (Some(_), Some(_)) | (None, None) => return Err(TopologyError::NotOne),
    };
    pairs.sort();
    Ok(pairs)
}

fn fan_out_pairs(source: &str, destinations: impl Iterator<Item = String>) -> Result<Vec<Pair>, TopologyError> {
    let mut seen = BTreeSet::new();
    let mut pairs = vec![];
    for (place, destination) in destinations.enumerate() {
        let path = format!("spec.topology.fanOut.destinations[{place}]");
        if destination == source {
            return Err(TopologyError::SelfEdge { path, registry: destination });
        }
        if !seen.insert(destination.clone()) {
            return Err(TopologyError::Duplicate { path, from: source.to_owned(), to: destination });
        }
        pairs.push(Pair { source: source.to_owned(), destination });
    }
    Ok(pairs)
}

fn tree_pairs(tree: &Tree) -> Result<Vec<Pair>, TopologyError> {
    let parents = parents(tree)?;
    for (place, node) in tree.nodes.iter().enumerate() {
        if let Some(parent) = &node.parent_ref
            && !parents.contains_key(parent.name.as_str())
        {
            return Err(TopologyError::UnknownParent {
                path: path_of(place),
                node: node.registry_ref.name.clone(),
                parent: parent.name.clone(),
            });
        }
    }
    if let Some(path) = cycle(&parents) {
        return Err(TopologyError::Cycle { path });
    }
    let pair = |(node, parent): (&str, Option<&str>)| {
        parent.map(|parent| Pair { source: parent.to_owned(), destination: node.to_owned() })
    };
    Ok(parents.into_iter().filter_map(pair).collect())
}

fn path_of(place: usize) -> String {
    format!("spec.topology.tree.nodes[{place}]")
}

/// Each node's parent.
fn parents(tree: &Tree) -> Result<BTreeMap<&str, Option<&str>>, TopologyError> {
    let mut parents: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    for (place, node) in tree.nodes.iter().enumerate() {
        let name = node.registry_ref.name.as_str();
        let parent = node.parent_ref.as_ref().map(|parent| parent.name.as_str());
        let path = path_of(place);
        if parent == Some(name) {
            return Err(TopologyError::SelfEdge { path, registry: name.to_owned() });
        }
        match (parents.get(name).copied(), parent) {
            (None, _) => drop(parents.insert(name, parent)),
            (Some(Some(first)), Some(second)) if first != second => {
                return Err(TopologyError::TwoParents {
                    path,
                    node: name.to_owned(),
                    first: first.to_owned(),
                    second: second.to_owned(),
                });
            }
            (Some(_), _) => return Err(TopologyError::DuplicateNode { path, node: name.to_owned() }),
        }
    }
    Ok(parents)
}

/// The first cycle, in the direction of replication, beginning with its first node by name.
fn cycle(parents: &BTreeMap<&str, Option<&str>>) -> Option<String> {
    parents.keys().find_map(|start| {
        let mut way = vec![*start];
        let mut at = *start;
        while let Some(parent) = parents.get(at).copied().flatten() {
            way.push(parent);
            if parent == *start {
                way.reverse();
                return Some(way.join(" -> "));
            }
            if way.len() > parents.len() {
                // A cycle that does not come by here; one of its own nodes finds it.
                return None;
            }
            at = parent;
        }
        None
    })
}

/// Stable for the life of the policy, and the same in every cluster.
pub fn edge_id(namespace: &str, policy: &str, pair: &Pair) -> String {
    let mut hash = Sha256::new();
    for part in [namespace, policy, &pair.source, &pair.destination] {
        hash.update(part.as_bytes());
        // No name has a zero byte, so that no two quadruples run together.
        hash.update([0]);
    }
    hex::encode(&hash.finalize()[..16])
}

#[cfg(test)]
mod tests;
