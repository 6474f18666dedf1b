//! What the chart lets the operator do, as rendered into config/rbac.

use std::collections::BTreeSet;
use std::path::Path;

/// The lines of a rule that names a resource, by the way the generated file is written: `resources: [..]`, `verbs: [..]`.
fn verbs_on(resource: &str) -> Vec<BTreeSet<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/rbac/rbac.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    let list = |line: &str, key: &str| -> Option<BTreeSet<String>> {
        let inside = line.trim().trim_start_matches("- ").strip_prefix(key)?.trim();
        let inside = inside.strip_prefix('[')?.strip_suffix(']')?;
        Some(inside.split(',').map(|word| word.trim().trim_matches('"').to_owned()).collect())
    };
    let (mut found, mut named) = (Vec::new(), false);
    for line in text.lines() {
        if let Some(resources) = list(line, "resources:") {
            named = resources.contains(resource) || resources.contains("*");
        }
        if named && let Some(verbs) = list(line, "verbs:") {
            found.push(verbs);
            named = false;
        }
    }
    found
}

/// CVE-2026-22822 and its kin: no Secret is seen that nobody named.
#[test]
fn secrets_are_got_made_changed_and_deleted_by_name_and_never_listed_or_watched() {
    let exactly: BTreeSet<String> = ["get", "create", "patch", "delete"].map(str::to_owned).into();
    assert_eq!(verbs_on("secrets"), [exactly]);
}

#[test]
fn the_reader_of_rules_finds_what_is_there() {
    assert!(verbs_on("deployments").iter().any(|verbs| verbs.contains("watch")));
    assert!(verbs_on("nothing").is_empty());
}
