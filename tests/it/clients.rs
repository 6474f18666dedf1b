//! Clients that people use, against the program of the image, over TLS. Those that take minutes to build are in `make soak`.

use super::e2e_support::process::{script, succeed, target};

#[test]
fn the_usual_clients_push_list_pull_and_delete() {
    let mut clients = script("clients.sh");
    clients.args(["skopeo", "buildah", "podman", "containerd", "crane", "helm"]);
    succeed(clients.env("REGATTA", target().join("image/regatta")));
}
