//! The rights that `src/operator.rs` lists suffice, and everything works with them alone.

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use super::ended::{scenario, settled};
use crate::support::api_server;
use crate::support::kubelet::Kubelet;
use crate::support::layers::Control;
use crate::support::world::World;

const USER: &str = "regatta-operator";

fn rules() -> Value {
    let five = ["registries", "registryprojects", "registryrolebindings", "replicationpolicies", "garbagecollections"];
    let statuses: Vec<String> = five.iter().map(|plural| format!("{plural}/status")).collect();
    let definitions: Vec<String> = five.iter().map(|plural| format!("{plural}.regatta.dev")).collect();
    let children = ["get", "list", "watch", "create", "patch", "delete"];
    json!([
        { "apiGroups": ["regatta.dev"], "resources": five, "verbs": ["get", "list", "watch"] },
        { "apiGroups": ["regatta.dev"], "resources": statuses, "verbs": ["get", "patch"] },
        {
            "apiGroups": ["apiextensions.k8s.io"], "resources": ["customresourcedefinitions"],
            "resourceNames": definitions, "verbs": ["get"],
        },
        { "apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "create", "patch", "delete"] },
        { "apiGroups": [""], "resources": ["services", "serviceaccounts", "persistentvolumeclaims"], "verbs": children },
        { "apiGroups": ["apps"], "resources": ["deployments"], "verbs": children },
        { "apiGroups": ["policy"], "resources": ["poddisruptionbudgets"], "verbs": children },
        { "apiGroups": ["batch"], "resources": ["jobs"], "verbs": children },
        { "apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"] },
        { "apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["get", "list", "watch"] },
        { "apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"] },
    ])
}

fn binding(kind: &str, role: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": { "name": USER },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": role, "name": USER },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": USER }],
    })
}

fn role(kind: &str, rules: &Value) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": { "name": USER }, "rules": rules,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_rights_suffice() {
    let world = World::new("rights").await;
    let params = PatchParams::apply("test").force();
    let cluster_roles: Api<ClusterRole> = Api::all(world.client.clone());
    cluster_roles.patch(USER, &params, &Patch::Apply(role("ClusterRole", &rules()))).await.expect("a role");
    let bindings: Api<ClusterRoleBinding> = Api::all(world.client.clone());
    let bound = binding("ClusterRoleBinding", "ClusterRole");
    bindings.patch(USER, &params, &Patch::Apply(bound)).await.expect("a binding");
    let lease = json!([{
        "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"],
    }]);
    world.api::<Role>().patch(USER, &params, &Patch::Apply(role("Role", &lease))).await.expect("a role");
    let bound = binding("RoleBinding", "Role");
    world.api::<RoleBinding>().patch(USER, &params, &Patch::Apply(bound)).await.expect("a binding");

    let _kubelet = Kubelet::start(&world);
    scenario(&world).await;
    let mut config = api_server::config().await;
    config.auth_info.impersonate = Some(USER.to_owned());
    let control = Control::counting();
    let _operator = World::operator_as(&control, world.settings("undisturbed"), config);
    settled(&world, "everything is settled", None).await;
    let refused: Vec<String> = control.log().into_iter().filter(|change| change.starts_with("403")).collect();
    assert_eq!(refused, Vec::<String>::new());
}
