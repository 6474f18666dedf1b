//! Which graphs are valid, and what is said of others.

use proptest::prelude::*;

use super::*;
use crate::api::{FanOut, LocalRef, TreeNode};

fn reference(name: &str) -> LocalRef {
    LocalRef { name: name.into() }
}

fn tree(nodes: &[(&str, Option<&str>)]) -> Topology {
    let nodes = nodes
        .iter()
        .map(|(node, parent)| TreeNode { registry_ref: reference(node), parent_ref: parent.map(reference) })
        .collect();
    Topology { fan_out: None, tree: Some(Tree { nodes }) }
}

fn fan_out(source: &str, destinations: &[&str]) -> Topology {
    let destinations = destinations.iter().map(|name| reference(name)).collect();
    Topology { fan_out: Some(FanOut { source: reference(source), destinations }), tree: None }
}

fn check(topology: &Topology) -> String {
    match pairs(topology) {
        Ok(pairs) => {
            pairs.iter().map(|pair| format!("{} -> {}", pair.source, pair.destination)).collect::<Vec<_>>().join(", ")
        }
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_tree_gives_an_edge_from_each_parent() {
    let topology = tree(&[("city", Some("province")), ("hq", None), ("province", Some("hq"))]);
    assert_eq!(check(&topology), "hq -> province, province -> city");
}

#[test]
fn a_fan_out_gives_an_edge_to_each_destination() {
    assert_eq!(check(&fan_out("hq", &["b", "a"])), "hq -> a, hq -> b");
}

#[test]
fn what_is_no_valid_graph_is_refused_with_the_path_named() {
    let refusals = [
        check(&Topology::default()),
        check(&fan_out("hq", &["a", "hq"])),
        check(&fan_out("hq", &["a", "a"])),
        check(&tree(&[("hq", None), ("a", Some("a"))])),
        check(&tree(&[("hq", None), ("b", None), ("a", Some("hq")), ("a", Some("b"))])),
        check(&tree(&[("hq", None), ("a", Some("hq")), ("a", Some("hq"))])),
        check(&tree(&[("hq", None), ("a", Some("nowhere"))])),
        check(&tree(&[("hq", None), ("a", Some("c")), ("b", Some("a")), ("c", Some("b"))])),
    ];
    insta::assert_snapshot!(refusals.join("\n"));
}

#[test]
fn the_id_of_an_edge_depends_on_each_of_its_four_names() {
    let pair = |source: &str, destination: &str| Pair { source: source.into(), destination: destination.into() };
    let ids = BTreeSet::from([
        edge_id("ns", "p", &pair("a", "b")),
        edge_id("ns", "p", &pair("b", "a")),
        edge_id("ns", "q", &pair("a", "b")),
        edge_id("nsp", "", &pair("a", "b")),
        edge_id("n", "sp", &pair("a", "b")),
    ]);
    assert_eq!(ids.len(), 5);
    assert!(ids.iter().all(|id| id.len() == 32));
}

proptest! {
    #[test]
    fn a_tree_that_is_accepted_has_one_edge_for_each_node_but_its_roots(
        parents in prop::collection::vec(prop::option::of(0_usize..6), 1..6),
    ) {
        let names = ["a", "b", "c", "d", "e", "f"];
        let nodes: Vec<(&str, Option<&str>)> =
            parents.iter().enumerate().map(|(node, parent)| (names[node], parent.map(|parent| names[parent]))).collect();
        if let Ok(pairs) = pairs(&tree(&nodes)) {
            prop_assert_eq!(pairs.len(), parents.iter().flatten().count());
            // From every node there is a way to a root.
            let parent_of: BTreeMap<&str, &str> =
                pairs.iter().map(|pair| (pair.destination.as_str(), pair.source.as_str())).collect();
            for (node, _) in &nodes {
                let mut at = *node;
                for _ in 0..=nodes.len() {
                    match parent_of.get(at) {
                        Some(parent) => at = parent,
                        None => break,
                    }
                }
                prop_assert!(!parent_of.contains_key(at));
            }
        }
    }
}
