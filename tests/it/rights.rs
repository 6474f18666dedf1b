//! What the chart lets the operator do, as rendered into config/rbac.

use std::collections::BTreeSet;
use std::path::Path;

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use serde_json::Value;

/// Every object of config/rbac, in the order of the file.
pub fn rendered() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/rbac/rbac.yaml");
    parse(&std::fs::read_to_string(path).unwrap())
}

fn parse(text: &str) -> Vec<Value> {
    serde_yaml::from_multiple(text).unwrap()
}

/// Each rule of any role that covers this resource, with the role's name.
fn rules_on(objects: &[Value], group: &str, resource: &str) -> Vec<(String, PolicyRule)> {
    let roles = objects.iter().filter(|object| ["ClusterRole", "Role"].contains(&object["kind"].as_str().unwrap()));
    let names = |list: &Option<Vec<String>>, word: &str| list.iter().flatten().any(|name| name == word || name == "*");
    let covers = |rule: &PolicyRule| names(&rule.api_groups, group) && names(&rule.resources, resource);
    roles
        .flat_map(|role| {
            // A Role's rules have the same shape.
            let mut role = role.clone();
            role["kind"] = "ClusterRole".into();
            let role: ClusterRole = serde_json::from_value(role).unwrap();
            let name = role.metadata.name.unwrap();
            role.rules.into_iter().flatten().map(move |rule| (name.clone(), rule))
        })
        .filter(|(_, rule)| covers(rule))
        .collect()
}

/// CVE-2026-22822 and its kin: no Secret is seen that nobody named.
#[test]
fn secrets_are_got_made_changed_and_deleted_by_name_and_never_listed_or_watched() {
    let rules = rules_on(&rendered(), "", "secrets");
    let exactly: BTreeSet<String> = ["get", "create", "patch", "delete"].map(str::to_owned).into();
    let verbs: Vec<BTreeSet<String>> = rules.iter().map(|(_, rule)| rule.verbs.iter().cloned().collect()).collect();
    assert_eq!(verbs, [exactly], "{rules:#?}");
    assert_eq!(rules[0].0, "regatta-system:regatta");
}

#[test]
fn the_reader_of_rules_finds_them_however_they_are_written() {
    let with = |rule: &str| {
        let role = format!("kind: Role\nmetadata:\n  name: r\nrules:\n- {rule}\n");
        let good = "kind: ClusterRole\nmetadata: {name: good}\nrules:\n- {apiGroups: [''], resources: [secrets], verbs: [get]}\n";
        rules_on(&parse(&format!("---\n{good}---\n{role}")), "", "secrets").len()
    };
    assert_eq!(with("{apiGroups: [apps], resources: [deployments, secrets], verbs: [get]}"), 1);
    for rule in [
        "apiGroups:\n  - ''\n  resources:\n  - secrets\n  verbs: [get, list, watch]",
        "{apiGroups: ['*'], resources: [secrets], verbs: [list]}",
        "{apiGroups: [''], resources: ['*'], verbs: ['*']}",
        "{verbs: [list], resources: [pods, secrets], apiGroups: [apps, '']}",
    ] {
        assert_eq!(with(rule), 2, "{rule}");
    }
    let watched = rules_on(&rendered(), "apps", "deployments");
    assert!(watched.iter().any(|(_, rule)| rule.verbs.iter().any(|verb| verb == "watch")));
}
