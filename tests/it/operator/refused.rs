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

fn filtered(glob: &str) -> Value {
    filtered_by("repositories", glob)
}

fn filtered_by(what: &str, glob: &str) -> Value {
    let topology = json!({ "fanOut": { "source": { "name": "a" }, "destinations": [{ "name": "b" }] } });
    json!({ "topology": topology, "filters": { what: [glob] } })
}

fn collected_after(grace_period: &str) -> Value {
    json!({ "registryRef": { "name": "hq" }, "mode": "ReadOnly", "gracePeriod": grace_period })
}

/// Kind and spec, each as somebody may well write it.
fn taken() -> Vec<(&'static str, Value)> {
    let managed = json!({ "managed": { "storage": storage() } });
    let resources = |resources: Value| ("Registry", with(managed.clone(), "/managed/resources", resources));
    let image = |image: &str| ("Registry", with(managed.clone(), "/managed/image", json!(image)));
    let url = |url: &str| ("Registry", json!({ "external": { "url": url, "insecure": true } }));
    let digest = format!("registry.example:5000/a/b__c-d@sha256:{}", "0".repeat(64));
    let mut specs = vec![
        resources(json!({})),
        resources(
            json!({ "requests": { "cpu": 1, "memory": "0.5Gi" }, "limits": { "cpu": "1500m", "memory": "512Mi" } }),
        ),
        resources(
            json!({ "requests": { "cpu": "1e-1", "ephemeral-storage": "1e9" }, "limits": { "nvidia.com/gpu": 1 } }),
        ),
        ("Registry", with(managed.clone(), "/managed/expose", json!({ "externalURL": "https://[2001:db8::1]:5000" }))),
    ];
    specs.extend(["regatta", "localhost/regatta:demo-1", "Registry.Example/a/b:V_1.0-x", &digest].map(image));
    specs.extend(["http://10.0.0.1:30500", "https://my_host", "https://[::1]", "https://r.example:65535"].map(url));
    let tags = ["*", "v?.*", "**-rc", "_x", "Release-1.0", "latest"];
    specs.extend(tags.map(|glob| ("ReplicationPolicy", filtered_by("tags", glob))));
    specs.extend(["0s", "1h30m", "90m", "99999h", "8760h"].map(|text| ("GarbageCollection", collected_after(text))));
    specs.extend(
        ["**", "shop/**", "**/x?", "a*/b-*", "shop", "*.io/x"].map(|glob| ("ReplicationPolicy", filtered(glob))),
    );
    specs
}

/// Kind, what is wrong, spec.
type Wrong = (&'static str, &'static str, Value);

fn refused() -> Vec<Wrong> {
    let mut all = refused_registries();
    all.extend(refused_others());
    all
}

fn refused_registries() -> Vec<Wrong> {
    let managed = json!({ "managed": { "storage": storage() } });
    let elsewhere = json!({ "external": { "url": "https://r.example" } });
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
        (
            "Registry",
            "memory that is no quantity",
            with(managed.clone(), "/managed/resources", json!({ "limits": { "cpu": 1, "memory": "lots" } })),
        ),
        (
            "Registry",
            "more asked for than allowed",
            with(
                managed.clone(),
                "/managed/resources",
                json!({ "requests": { "memory": "2Gi" }, "limits": { "memory": "1024Mi" } }),
            ),
        ),
        (
            "Registry",
            "less than nothing",
            with(managed.clone(), "/managed/resources", json!({ "requests": { "cpu": -1 } })),
        ),
        ("Registry", "an image of spaces", with(managed.clone(), "/managed/image", json!("  x "))),
        ("Registry", "an image in upper case", with(managed.clone(), "/managed/image", json!("UPPER CASE:x"))),
        ("Registry", "url without a host", with(elsewhere.clone(), "/external/url", json!("https://:::"))),
        ("Registry", "url with no port", with(elsewhere.clone(), "/external/url", json!("https://r.example:99999"))),
        (
            "Registry",
            "externalURL without a host",
            with(managed.clone(), "/managed/expose", json!({ "externalURL": "https://:::" })),
        ),
        ("Registry", "admins without users", with(managed, "/managed/auth", json!({ "admins": ["a"] }))),
    ]
}

fn refused_others() -> Vec<Wrong> {
    let node = |name: &str| json!({ "registryRef": { "name": name } });
    let collection = json!({ "registryRef": { "name": "hq" }, "mode": "ReadOnly" });
    let subject = json!([{ "user": { "name": "dora" } }]);
    let binding = json!({ "projectRef": { "name": "p" }, "role": "guest", "subjects": subject });
    vec![
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
            with(binding.clone(), "/subjects", json!([{ "user": { "name": "robot+a+b" } }])),
        ),
        ("RoleBinding", "a user of two lines", with(binding, "/subjects", json!([{ "user": { "name": "a\nb" } }]))),
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
        ("ReplicationPolicy", "three stars", filtered("***")),
        ("ReplicationPolicy", "a glob that goes up", filtered("../x")),
        ("ReplicationPolicy", "a glob with a component of nothing", filtered("a//b")),
        ("ReplicationPolicy", "three stars for a tag", filtered_by("tags", "v***")),
        ("ReplicationPolicy", "a tag that begins with a dash", filtered_by("tags", "-x")),
        ("ReplicationPolicy", "a tag that begins with a point", filtered_by("tags", ".x")),
        ("GarbageCollection", "a grace period beyond any clock", collected_after("99999999999999999999h")),
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
async fn what_may_well_be_written_is_taken() {
    let world = World::new("taken").await;
    for (place, (kind, spec)) in taken().into_iter().enumerate() {
        let object = of_kind(kind, &format!("x{place}"), spec.clone());
        if let Err(error) = world.try_create(&object).await {
            panic!("{kind} {spec}: {error}");
        }
    }
}

/// A registry at a port of every node.
fn at_port(name: &str, port: u16) -> kube::api::DynamicObject {
    let expose = json!({ "service": { "type": "NodePort", "nodePort": port } });
    of_kind("Registry", name, json!({ "managed": { "storage": storage(), "expose": expose } }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_the_api_server_refuses_says_which_field_of_the_registry_to_change() {
    let world = World::new("child").await;
    world.create(&at_port("first", 30666)).await;
    let _operator = world.operator().await;
    world.exists::<k8s_openapi::api::core::v1::Service>("first-registry-external").await;
    world.create(&at_port("taken", 30666)).await;
    world.create(&at_port("outside", 80)).await;
    let resources = json!({ "limits": { "memoria": "1Gi" } });
    let managed = json!({ "storage": storage(), "resources": resources });
    world.create(&of_kind("Registry", "unknown", json!({ "managed": managed }))).await;
    let template = json!({ "accessModes": ["ReadWriteOnce"], "storageClassName": "No Class", "resources": { "requests": { "storage": "1Gi" } } });
    let managed = json!({ "storage": { "claimTemplate": template } });
    world.create(&of_kind("Registry", "classless", json!({ "managed": managed }))).await;
    let mut said = String::new();
    for name in ["taken", "outside", "unknown", "classless"] {
        let _ = writeln!(said, "{name}: {}", world.stalled("Registry", name, "ChildRefused").await);
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
    let sharing = json!([
        { "robot": { "name": "x", "secret": { "name": "same" } } },
        { "robot": { "name": "y", "secret": { "name": "same" } } },
    ]);
    let sharing = json!({ "projectRef": { "name": "p" }, "role": "guest", "subjects": sharing });
    world.create(&of_kind("RoleBinding", "one-secret", sharing)).await;
    let _operator = world.operator().await;
    let expected = [
        ("Project", "elsewhere", "RegistryNotManaged"),
        ("RoleBinding", "no-secret", "RobotSecret"),
        ("RoleBinding", "second-secret", "RobotSecret"),
        ("RoleBinding", "one-secret", "SecretInvalid"),
        ("ReplicationPolicy", "cycle", "InvalidTopology"),
        ("ReplicationPolicy", "two-parents", "InvalidTopology"),
        ("ReplicationPolicy", "nobody", "NobodyRunsIt"),
        ("GarbageCollection", "elsewhere", "RegistryNotManaged"),
    ];
    let mut said = String::new();
    for (kind, name, reason) in expected {
        let message = world.stalled(kind, name, reason).await;
        let _ = writeln!(said, "{kind} {name}, {reason}: {}", message.replace(&world.namespace, "<namespace>"));
    }
    insta::assert_snapshot!(said);
}
