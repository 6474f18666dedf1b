//! The rights that the chart gives the operator suffice, and everything works with them alone.

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use super::ended::{scenario, settled};
use crate::rights::rendered;
use crate::support::api_server;
use crate::support::kubelet::Kubelet;
use crate::support::layers::Control;
use crate::support::world::World;

/// Who the operator is, and the Lease that it may have.
const USER: &str = "system:serviceaccount:regatta-system:regatta";
const LEASE: &str = "regatta";

/// Applies what config/rbac has, with the operator's own namespace being that of the test.
async fn apply(world: &World, mut object: Value) {
    let params = PatchParams::apply("test").force();
    let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
    if !object["metadata"]["namespace"].is_null() {
        object["metadata"]["namespace"] = json!(world.namespace);
    }
    let kind = object["kind"].as_str().expect("a kind").to_owned();
    let patch = Patch::Apply(object);
    let (roles, bindings) = (Api::<ClusterRole>::all(world.client.clone()), Api::all(world.client.clone()));
    let applied = match kind.as_str() {
        "ClusterRole" => roles.patch(&name, &params, &patch).await.map(drop),
        "ClusterRoleBinding" => {
            let bindings: Api<ClusterRoleBinding> = bindings;
            bindings.patch(&name, &params, &patch).await.map(drop)
        }
        "Role" => world.api::<Role>().patch(&name, &params, &patch).await.map(drop),
        "RoleBinding" => world.api::<RoleBinding>().patch(&name, &params, &patch).await.map(drop),
        // Whose token nobody asks for here.
        "ServiceAccount" => Ok(()),
        other => panic!("config/rbac has a {other}"),
    };
    applied.unwrap_or_else(|error| panic!("{kind} {name}: {error}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rendered_rights_suffice() {
    let world = World::new("rights").await;
    for object in rendered() {
        apply(&world, object).await;
    }
    let _kubelet = Kubelet::start(&world);
    scenario(&world).await;
    let mut config = api_server::config().await;
    config.auth_info.impersonate = Some(USER.to_owned());
    let control = Control::counting();
    let mut settings = world.settings("undisturbed");
    LEASE.clone_into(&mut settings.lease.name);
    let _operator = World::operator_as(&control, settings, config);
    settled(&world, "everything is settled", None).await;
    let refused: Vec<String> = control.log().into_iter().filter(|change| change.starts_with("403")).collect();
    assert_eq!(refused, Vec::<String>::new());
}
