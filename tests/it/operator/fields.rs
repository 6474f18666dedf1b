//! Fields and annotations, each of which does what its description says.

use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use regatta::admin::{Deletions, Edge, Filters, PolicyRef, Remote, Trigger};
use serde_json::{Value, json};

use super::access::{generation, with_robot};
use super::changes::runs;
use crate::support::eventually;
use crate::support::kubelet::Kubelet;
use crate::support::layers::Control;
use crate::support::objects::{external, of_kind, project, registry, secret};
use crate::support::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_load_balancer_is_asked_for_and_is_given_the_serving_port_alone() {
    let world = World::new("balancer").await;
    let mut hq = registry("hq");
    hq.data["spec"]["managed"]["expose"] = json!({ "service": { "type": "LoadBalancer" } });
    world.create(&hq).await;
    let _operator = world.operator().await;
    let service: Service = world.exists("hq-registry-external").await;
    let spec = service.spec.expect("spec");
    assert_eq!(spec.type_.as_deref(), Some("LoadBalancer"));
    let ports: Vec<i32> = spec.ports.expect("ports").iter().map(|port| port.port).collect();
    assert_eq!(ports, [5000], "the internal port is not for the world");
    let expose = json!({ "spec": { "managed": { "expose": { "service": { "type": "ClusterIP" } } } } });
    world.patch("Registry", "hq", expose).await.expect("patched");
    eventually("there is no such Service any more", || async {
        let found = world.api::<Service>().get_opt("hq-registry-external").await.map_err(|error| error.to_string())?;
        if found.is_none() { Ok(()) } else { Err("it is there".to_owned()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deletions_that_are_to_be_ignored_are_so_in_the_registrys_document() {
    let world = World::new("ignore").await;
    let kubelet = Kubelet::start(&world);
    world.create(&registry("hq")).await;
    world.create(&external("city")).await;
    let topology = json!({ "fanOut": { "source": { "name": "hq" }, "destinations": [{ "name": "city" }] } });
    world.create(&of_kind("ReplicationPolicy", "p", json!({ "topology": topology, "deletions": "Ignore" }))).await;
    let _operator = world.operator().await;
    world.ready("ReplicationPolicy", "p").await;
    let admin = kubelet.admin("hq").await;
    let has = async |wanted: Deletions| {
        eventually(&format!("the edge says {wanted:?}"), || async {
            let found = admin.edges(None, Duration::ZERO).await.map_err(|error| error.to_string())?;
            let deletions: Vec<Deletions> = found.edges.iter().map(|edge| edge.deletions).collect();
            if deletions == [wanted] { Ok(()) } else { Err(format!("{deletions:?}")) }
        })
        .await;
    };
    has(Deletions::Ignore).await;
    world.patch("ReplicationPolicy", "p", json!({ "spec": { "deletions": "Propagate" } })).await.expect("patched");
    has(Deletions::Propagate).await;
}

/// An edge from hq of a policy that asks for nothing in particular.
fn plain_edge(world: &World, policy: &str, destination: &str) -> Edge {
    Edge {
        id: String::new(),
        policy: PolicyRef { namespace: world.namespace.clone(), name: policy.to_owned(), generation: 1 },
        source: "hq".to_owned(),
        destination: Remote {
            name: destination.to_owned(),
            url: format!("https://{destination}.example"),
            insecure: false,
        },
        filters: Filters::default(),
        deletions: Deletions::Propagate,
        trigger: Trigger::Event,
        suspend: false,
        requested_at: None,
        approved_plan: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_option_of_a_policy_is_in_the_registrys_document_and_none_that_nobody_chose() {
    let world = World::new("every-option").await;
    let kubelet = Kubelet::start(&world);
    world.create(&registry("hq")).await;
    world.create(&external("city")).await;
    let insecure = json!({ "external": { "url": "http://village.example", "insecure": true } });
    world.create(&of_kind("Registry", "village", insecure)).await;
    let to = |name: &str| json!({ "fanOut": { "source": { "name": "hq" }, "destinations": [{ "name": name }] } });
    world.create(&of_kind("ReplicationPolicy", "plain", json!({ "topology": to("city") }))).await;
    let every = json!({
        "topology": to("village"),
        "filters": { "repositories": ["shop/**", "base"], "tags": ["v*"] },
        "trigger": { "manual": {} }, "deletions": "Ignore", "suspend": true,
    });
    let mut every = of_kind("ReplicationPolicy", "every", every);
    every.metadata.annotations = Some(
        [("regatta.dev/requested-at", "noon"), ("regatta.dev/approve-deletions", "a plan")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
    );
    world.create(&every).await;
    let wanted = [
        Edge {
            destination: Remote {
                name: "village".to_owned(),
                url: "http://village.example".to_owned(),
                insecure: true,
            },
            filters: Filters {
                repositories: vec!["shop/**".to_owned(), "base".to_owned()],
                tags: vec!["v*".to_owned()],
            },
            deletions: Deletions::Ignore,
            trigger: Trigger::Manual,
            suspend: true,
            requested_at: Some("noon".to_owned()),
            approved_plan: Some("a plan".to_owned()),
            ..plain_edge(&world, "every", "village")
        },
        plain_edge(&world, "plain", "city"),
    ];
    let _operator = world.operator().await;
    let admin = kubelet.admin("hq").await;
    eventually("the edges are as they were asked for", || async {
        let document = admin.edges(None, Duration::ZERO).await.map_err(|error| error.to_string())?;
        let mut found: Vec<Edge> = document.edges.into_iter().map(|edge| Edge { id: String::new(), ..edge }).collect();
        found.sort_by(|a, b| a.policy.name.cmp(&b.policy.name));
        if found == wanted { Ok(()) } else { Err(format!("{found:#?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_suspended_registry_nothing_is_changed_but_its_access_document() {
    let (world, kubelet) = with_robot("suspend").await;
    let control = Control::counting();
    let _operator = world.operator_with(&control, world.settings("undisturbed")).await;
    world.ready("RoleBinding", "r").await;
    world.ready("Registry", "hq").await;
    let image = "registry.example/regatta:2";
    let suspended = json!({ "spec": { "suspend": true, "managed": { "image": image, "replicas": 3 } } });
    world.patch("Registry", "hq", suspended).await.expect("patched");
    let message = world.condition("Registry", "hq", "Ready", "True", "Suspended").await;
    assert!(message.contains("spec.suspend is true"), "{message}");
    let admin = kubelet.admin("hq").await;
    let (before, seen) = (generation(&admin).await, control.log().len());
    world.api::<Service>().delete("hq-registry", &DeleteParams::default()).await.expect("a Service");
    world.create(&project("q", "hq", "other")).await;
    world.ready("Project", "q").await;
    assert!(generation(&admin).await > before, "a new access document");
    let changes = control.log().split_off(seen);
    let others: Vec<&String> = changes.iter().filter(|change| !change.ends_with("/status")).collect();
    assert_eq!(others, Vec::<&String>::new(), "only statuses are written");
    runs(&world, "hq-registry", "registry.example/regatta:1").await;

    world.patch("Registry", "hq", json!({ "spec": { "suspend": false } })).await.expect("patched");
    runs(&world, "hq-registry", image).await;
    world.exists::<Service>("hq-registry").await;
    world.ready("Registry", "hq").await;
}

/// Registries that each lack a Secret, by name, with what they say of it.
fn lacking() -> [(&'static str, Value, &'static str); 3] {
    let storage = registry("hq").data["spec"]["managed"]["storage"].clone();
    let far =
        |field: &str, name: &str| json!({ "external": { "url": "https://far.example", field: { "name": name } } });
    [
        (
            "certificate",
            json!({ "managed": { "storage": storage, "tls": { "secretRef": { "name": "certificate" } } } }),
            "spec.managed.tls.secretRef names the Secret certificate",
        ),
        ("login", far("credentialsSecretRef", "login"), "spec.external.credentialsSecretRef names the Secret login"),
        ("authority", far("caSecretRef", "authority"), "spec.external.caSecretRef names the Secret authority"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_missing_is_waited_for_and_found_once_it_is_there() {
    let world = World::new("secret-late").await;
    for (name, spec, _) in lacking() {
        world.create(&of_kind("Registry", name, spec)).await;
    }
    let _operator = world.operator().await;
    for (name, _, said) in lacking() {
        let message = world.condition("Registry", name, "Reconciling", "True", "SecretMissing").await;
        assert!(message.contains(said), "{message}");
    }
    // Without what it is for: that is said too.
    let api = world.api();
    api.create(&PostParams::default(), &secret("login", &[("username", "ada")])).await.expect("made");
    let message = world.condition("Registry", "login", "Reconciling", "True", "SecretInvalid").await;
    assert!(message.contains("has no key password"), "{message}");
    let password = json!({ "stringData": { "password": "p" } });
    api.patch("login", &PatchParams::default(), &Patch::Merge(password)).await.expect("patched");
    api.create(&PostParams::default(), &secret("authority", &[("ca.crt", "x")])).await.expect("made");
    let certificate = secret("certificate", &[("tls.crt", "x"), ("tls.key", "y")]);
    api.create(&PostParams::default(), &certificate).await.expect("made");
    world.ready("Registry", "login").await;
    world.ready("Registry", "authority").await;
    world.condition("Registry", "certificate", "Reconciling", "True", "Progressing").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_stays_missing_is_a_persons_business_after_a_while() {
    let world = World::new("secret-never").await;
    let mut settings = world.settings("undisturbed");
    settings.patience = Duration::from_secs(3);
    let _operator = world.operator_with(&Control::counting(), settings).await;
    let began = Instant::now();
    for (name, spec, _) in lacking() {
        world.create(&of_kind("Registry", name, spec)).await;
    }
    for (name, _, said) in lacking() {
        let message = world.stalled("Registry", name, "SecretMissing").await;
        assert!(message.contains(said), "{message}");
        assert!(began.elapsed() >= Duration::from_secs(3), "after {:?}", began.elapsed());
    }
    // The pods of what has been deployed wait for it too.
    world.exists::<Deployment>("certificate-registry").await;
    let login = secret("login", &[("username", "ada"), ("password", "p")]);
    world.api().create(&PostParams::default(), &login).await.expect("made");
    world.request("Registry", "login", "1").await;
    world.ready("Registry", "login").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_generation_that_is_in_force_is_said_only_while_one_is() {
    let (world, kubelet) = with_robot("in-force-generation").await;
    let _operator = world.operator().await;
    world.condition("Registry", "hq", "AccessInForce", "True", "Succeeded").await;
    let said = async || {
        world.kind("Registry").get("hq").await.expect("it is there").data["status"]["accessGeneration"].clone()
    };
    assert!(said().await.is_i64());
    kubelet.freeze("hq").await;
    world.create(&project("q", "hq", "other")).await;
    world.holds("Registry", "hq", "AccessInForce", "False").await;
    assert_eq!(said().await, Value::Null);
    kubelet.thaw("hq").await;
    world.condition("Registry", "hq", "AccessInForce", "True", "Succeeded").await;
    assert!(said().await.is_i64());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_nothing_here_can_carry_out_is_not_said_to_be_handled() {
    let world = World::new("nobodys-request").await;
    let mut elsewhere = registry("province");
    elsewhere.data["spec"]["homeCluster"] = json!("province");
    elsewhere.data["spec"]["external"] = json!({ "url": "https://province.example" });
    world.create(&elsewhere).await;
    world.create(&external("city")).await;
    let topology = json!({ "fanOut": { "source": { "name": "province" }, "destinations": [{ "name": "city" }] } });
    let mut policy = of_kind("ReplicationPolicy", "p", json!({ "topology": topology }));
    policy.metadata.annotations = Some([("regatta.dev/requested-at".to_owned(), "1".to_owned())].into());
    world.create(&policy).await;
    let _operator = world.operator().await;
    world.condition("ReplicationPolicy", "p", "Ready", "True", "Delegated").await;
    let found = world.kind("ReplicationPolicy").get("p").await.expect("it is there");
    assert_eq!(found.data["status"]["lastHandledRequest"], Value::Null);
}
