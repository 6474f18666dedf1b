//! A spec that is wrong is refused by the API server where the schema can know, with a message that says what to do;
//! otherwise it is Stalled with such a message, and disturbs nobody.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::support::objects::{external, of_kind, project, registry, robot};
use crate::support::world::World;

fn storage() -> Value {
    json!({ "claimTemplate": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } } })
}

fn with(mut base: Value, path: &str, value: Value) -> Value {
    let (parent, key) = path.rsplit_once('/').expect("a pointer");
    base.pointer_mut(parent).expect("a parent")[key] = value;
    base
}

/// Kind, what is wrong, spec.
fn refused() -> Vec<(&'static str, &'static str, Value)> {
    let managed = json!({ "managed": { "storage": storage() } });
    let elsewhere = json!({ "external": { "url": "https://r.example" } });
    let node = |name: &str| json!({ "registryRef": { "name": name } });
    let collection = json!({ "registryRef": { "name": "hq" }, "mode": "ReadOnly" });
    let subject = json!([{ "user": { "name": "dora" } }]);
    let binding = json!({ "projectRef": { "name": "p" }, "role": "guest", "subjects": subject });
    vec![
        ("Registry", "neither", json!({})),
        ("Registry", "both without a home", with(managed.clone(), "/external", elsewhere["external"].clone())),
        ("Registry", "a home without external", with(managed.clone(), "/homeCluster", json!("hq"))),
        ("Registry", "url with a path", with(elsewhere.clone(), "/external/url", json!("https://r.example/x"))),
        ("Registry", "http without insecure", with(elsewhere.clone(), "/external/url", json!("http://r.example"))),
        (
            "Registry",
            "two kinds of storage",
            with(managed.clone(), "/managed/storage/existingClaim", json!({ "name": "c" })),
        ),
        ("Registry", "no storage", json!({ "managed": { "storage": {} } })),
        ("Registry", "two replicas on one node's volume", with(managed.clone(), "/managed/replicas", json!(2))),
        (
            "Registry",
            "ReadWriteOncePod",
            with(managed.clone(), "/managed/storage/claimTemplate/accessModes", json!(["ReadWriteOncePod"])),
        ),
        (
            "Registry",
            "a size that is none",
            with(managed.clone(), "/managed/storage/claimTemplate/resources/requests/storage", json!("big")),
        ),
        (
            "Registry",
            "nodePort of a ClusterIP",
            with(managed.clone(), "/managed/expose", json!({ "service": { "nodePort": 30000 } })),
        ),
        ("Registry", "admins without users", with(managed, "/managed/auth", json!({ "admins": ["a"] }))),
        ("Project", "a name that is no path", json!({ "registryRef": { "name": "hq" }, "name": "Team A" })),
        ("RoleBinding", "an unknown role", with(binding.clone(), "/role", json!("owner"))),
        ("RoleBinding", "no subjects", with(binding.clone(), "/subjects", json!([]))),
        (
            "RoleBinding",
            "a subject of two kinds",
            with(binding.clone(), "/subjects", json!([{ "user": { "name": "a" }, "robot": { "name": "b" } }])),
        ),
        (
            "RoleBinding",
            "a user with a reserved name",
            with(binding, "/subjects", json!([{ "user": { "name": "robot+a+b" } }])),
        ),
        ("ReplicationPolicy", "no topology", json!({ "topology": {} })),
        (
            "ReplicationPolicy",
            "a fan-out to its source",
            json!({ "topology": { "fanOut": { "source": { "name": "a" }, "destinations": [{ "name": "a" }] } } }),
        ),
        (
            "ReplicationPolicy",
            "a destination twice",
            json!({ "topology": { "fanOut": { "source": { "name": "a" }, "destinations": [{ "name": "b" }, { "name": "b" }] } } }),
        ),
        (
            "ReplicationPolicy",
            "a node that is its own parent",
            json!({ "topology": { "tree": { "nodes": [node("a"), { "registryRef": { "name": "b" }, "parentRef": { "name": "b" } }] } } }),
        ),
        (
            "ReplicationPolicy",
            "two triggers",
            json!({ "topology": { "tree": { "nodes": [node("a"), node("b")] } }, "trigger": { "event": {}, "manual": {} } }),
        ),
        ("GarbageCollection", "an unknown mode", with(collection.clone(), "/mode", json!("Online"))),
        ("GarbageCollection", "a duration that is none", with(collection, "/gracePeriod", json!("a day"))),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_that_the_schema_knows_to_be_wrong_is_refused_with_what_to_do() {
    let world = World::new("refused").await;
    let mut said = String::new();
    for (kind, what, spec) in refused() {
        let error = world.try_create(&of_kind(kind, "wrong", spec)).await.expect_err(what);
        let kube::Error::Api(status) = error else { panic!("{what}: {error}") };
        let causes = status.details.iter().flat_map(|details| &details.causes);
        let _ = writeln!(said, "{kind}, {what}:");
        for cause in causes {
            let _ = writeln!(said, "  {}: {}", cause.field, cause.message);
        }
    }
    insta::assert_snapshot!(said);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_no_service_could_have_is_refused() {
    let world = World::new("refused-name").await;
    for name in ["1st", "a.b", "a-name-of-more-than-forty-characters-is-too-long"] {
        let error = world.try_create(&external(name)).await.expect_err(name).to_string();
        assert!(error.contains("metadata.name of a Registry must be"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_changed_is_refused_with_what_to_do() {
    let world = World::new("immutable").await;
    world.create(&registry("hq")).await;
    world.create(&external("far")).await;
    world.create(&project("p", "hq", "app")).await;
    world.create(&robot("r", "p")).await;
    let claim = |value: Value| json!({ "spec": { "managed": { "storage": { "claimTemplate": value } } } });
    let changes = [
        ("Registry", "hq", json!({ "spec": { "managed": null, "external": { "url": "https://x" } } })),
        ("Registry", "hq", json!({ "spec": { "homeCluster": "here", "external": { "url": "https://x" } } })),
        (
            "Registry",
            "hq",
            json!({ "spec": { "managed": { "storage": { "claimTemplate": null, "existingClaim": { "name": "c" } } } } }),
        ),
        ("Registry", "hq", claim(json!({ "storageClassName": "other" }))),
        ("Registry", "hq", claim(json!({ "resources": { "requests": { "storage": "1Mi" } } }))),
        ("Project", "p", json!({ "spec": { "name": "other" } })),
        ("Project", "p", json!({ "spec": { "registryRef": { "name": "far" } } })),
        ("RoleBinding", "r", json!({ "spec": { "projectRef": { "name": "other" } } })),
    ];
    let mut said = String::new();
    for (kind, name, patch) in changes {
        let error = world.patch(kind, name, patch.clone()).await.expect_err("it cannot be changed");
        let kube::Error::Api(status) = error else { panic!("{patch}: {error}") };
        for cause in status.details.iter().flat_map(|details| &details.causes) {
            let _ = writeln!(said, "{kind} {}: {}", cause.field, cause.message);
        }
    }
    insta::assert_snapshot!(said);
    let grown = claim(json!({ "resources": { "requests": { "storage": "2Gi" } } }));
    world.patch("Registry", "hq", grown).await.expect("a claim may grow");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_the_operator_can_know_to_be_wrong_is_stalled_with_what_to_do() {
    let world = World::new("stalled").await;
    let tree = |nodes: Value| json!({ "topology": { "tree": { "nodes": nodes } } });
    let node = |name: &str, parent: &str| json!({ "registryRef": { "name": name }, "parentRef": { "name": parent } });
    world.create(&external("far")).await;
    world.create(&external("farther")).await;
    world.create(&registry("hq")).await;
    world.create(&project("p", "hq", "app")).await;
    world.create(&project("elsewhere", "far", "app")).await;
    world
        .create(&of_kind(
            "RoleBinding",
            "no-secret",
            json!({ "projectRef": { "name": "p" }, "role": "guest", "subjects": [{ "robot": { "name": "r" } }] }),
        ))
        .await;
    world.create(&robot("a", "p")).await;
    world.create(&of_kind("RoleBinding", "second-secret", json!({ "projectRef": { "name": "p" }, "role": "guest", "subjects": [{ "robot": { "name": "a", "secret": { "name": "b" } } }] }))).await;
    world
        .create(&of_kind("ReplicationPolicy", "cycle", tree(json!([node("a", "c"), node("b", "a"), node("c", "b")]))))
        .await;
    world.create(&of_kind("ReplicationPolicy", "two-parents", tree(json!([{ "registryRef": { "name": "a" } }, { "registryRef": { "name": "b" } }, node("c", "a"), node("c", "b")])))).await;
    world.create(&of_kind("ReplicationPolicy", "nobody", json!({ "topology": { "fanOut": { "source": { "name": "far" }, "destinations": [{ "name": "farther" }] } } }))).await;
    world
        .create(&of_kind(
            "GarbageCollection",
            "elsewhere",
            json!({ "registryRef": { "name": "far" }, "mode": "ReadOnly" }),
        ))
        .await;
    let _operator = world.operator().await;
    let expected = [
        ("Project", "elsewhere", "RegistryNotManaged"),
        ("RoleBinding", "no-secret", "RobotSecret"),
        ("RoleBinding", "second-secret", "RobotSecret"),
        ("ReplicationPolicy", "cycle", "InvalidTopology"),
        ("ReplicationPolicy", "two-parents", "InvalidTopology"),
        ("ReplicationPolicy", "nobody", "NobodyRunsIt"),
        ("GarbageCollection", "elsewhere", "RegistryNotManaged"),
    ];
    let mut said = String::new();
    for (kind, name, reason) in expected {
        let message = world.stalled(kind, name, reason).await;
        let _ = writeln!(said, "{kind} {name}, {reason}: {message}");
    }
    insta::assert_snapshot!(said);
}
