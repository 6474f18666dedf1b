//! The manifests of the five kinds that are kept in the tree are those that `regatta crds` makes.

use std::path::Path;

use regatta::api::schema;

const DIRECTORIES: [&str; 3] = ["crds", "charts/regatta/files/crds", "config/crd"];

#[test]
fn the_manifests_in_the_tree_are_those_that_the_types_give() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (plural, text) in schema::manifests().unwrap() {
        for directory in DIRECTORIES {
            let path = root.join(directory).join(format!("{plural}.yaml"));
            let found = std::fs::read_to_string(&path).unwrap_or_default();
            let how = "run: regatta crds --write crds --write charts/regatta/files/crds --write config/crd";
            assert!(found == text, "{} is not what the types give; {how}", path.display());
        }
    }
}

#[test]
fn each_manifest_is_far_from_the_size_that_etcd_refuses() {
    for (plural, text) in schema::manifests().unwrap() {
        assert!(text.len() < 200 * 1024, "{plural} has {} bytes", text.len());
    }
}

#[test]
fn nothing_is_nullable_and_nothing_in_a_list_has_a_default() {
    for definition in schema::definitions().unwrap() {
        look(&definition["spec"]["versions"][0]["schema"], false, "");
    }
}

fn look(value: &serde_json::Value, in_items: bool, path: &str) {
    if let Some(object) = value.as_object() {
        assert!(object.get("nullable").is_none(), "{path} is nullable");
        let is_schema = object.contains_key("type");
        assert!(!(in_items && is_schema && object.contains_key("default")), "{path} has a default inside a list");
        for (key, child) in object {
            look(child, in_items || key == "items", &format!("{path}.{key}"));
        }
    }
}
