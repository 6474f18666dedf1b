//! `make demo`, whole: three clusters, a fleet, an image from headquarters to a kubelet in the city, and back to the space
//! that it took.

use std::process::Command;

use super::e2e_support::cluster::{Cluster, at_the_end_of_this_process, prefix};
use super::e2e_support::process::{image_archive, in_tree, kubectl, script, succeed, target};

/// A demo of its own, whatever the caller's environment says of another.
fn demo(name: &str, command: &str) -> Command {
    let mut demo = script("demo.sh");
    demo.arg(command).env("DEMO_NAME", name);
    for theirs in ["CLUSTER", "IMAGE", "TRUST_COMMAND", "STORAGE_CLASS", "REPLICAS"] {
        demo.env_remove(format!("DEMO_{theirs}"));
    }
    demo
}

#[test]
fn the_demo_holds_at_every_step_and_leaves_nothing_behind() {
    image_archive();
    at_the_end_of_this_process(&demo(&prefix(), "down"));
    println!("{}", succeed(&mut demo(&prefix(), "up")));
    succeed(&mut demo(&prefix(), "down"));
    assert!(!target().join(prefix()).exists(), "passwords and keys of the demo are left");
    let left = succeed(script("cluster.sh").arg("status"));
    let own = format!("{}-", prefix());
    let sites = ["hq", "province", "city"].map(|site| format!("{own}{site}"));
    assert!(!sites.iter().any(|site| left.contains(site)), "clusters of the demo are left:\n{left}");
}

/// Takes the volumes that many nodes can write, and that nobody has, from the cluster.
fn no_more_shared_volumes(cluster: &Cluster) {
    let run = |arguments: &[&str]| succeed(kubectl(&cluster.kubeconfig).args(arguments));
    let columns = "custom-columns=:.metadata.name,:.spec.storageClassName,:.status.phase";
    let volumes = run(&["get", "persistentvolumes", "--no-headers", "-o", columns]);
    let free = volumes.lines().filter_map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
        [name, "shared", "Available"] => Some(name),
        _ => None,
    });
    let mut delete = vec!["delete", "persistentvolumes"];
    delete.extend(free);
    assert!(delete.len() > 2, "there are none:\n{volumes}");
    run(&delete);
}

/// Leaves the cluster with no volume that many nodes can write.
fn only_one_writer(cluster: &Cluster) {
    let run = |arguments: &[&str]| succeed(kubectl(&cluster.kubeconfig).args(arguments));
    no_more_shared_volumes(cluster);
    run(&["delete", "storageclass", "shared"]);
    run(&["annotate", "--overwrite", "storageclass", "single", "storageclass.kubernetes.io/is-default-class=true"]);
}

/// The demo called `name`, on that cluster.
fn up_on(cluster: &Cluster, name: &str, image: &str) -> Command {
    let trust = format!("{} trust {}", in_tree("e2e/cluster.sh").display(), cluster.name);
    let mut up = demo(name, "up");
    up.env("DEMO_CLUSTER", "current").env("DEMO_IMAGE", image).env("DEMO_TRUST_COMMAND", trust);
    // A list, as many people have it.
    up.env("KUBECONFIG", format!("/nowhere:{}", cluster.kubeconfig.display()));
    up
}

/// What it has claimed once it keeps, whatever else there is by then.
#[test]
fn the_demo_that_is_run_again_on_a_cluster_of_somebodys_goes_on_with_what_is_there() {
    let archive = image_archive();
    let cluster = Cluster::bare("again", 1);
    let image = cluster.load(&archive);
    let name = format!("{}-again", prefix());
    let up = || {
        let said = succeed(&mut up_on(&cluster, &name, &image));
        println!("{said}");
        assert!(said.contains("2 replica(s) a registry on storage class shared"));
    };
    up();
    no_more_shared_volumes(&cluster);
    up();
    succeed(&mut demo(&name, "down"));
    succeed(script("cluster.sh").args(["down", &cluster.name]));
}

#[test]
fn the_demo_holds_on_a_cluster_of_somebodys_with_one_replica_and_is_taken_down_from_there() {
    let archive = image_archive();
    let cluster = Cluster::bare("current", 1);
    let image = cluster.load(&archive);
    only_one_writer(&cluster);
    let name = format!("{}-there", prefix());
    let said = succeed(&mut up_on(&cluster, &name, &image));
    println!("{said}");
    assert!(said.contains("1 replica(s) a registry on storage class single"));

    // Nothing says where the demo is but the demo itself.
    println!("{}", succeed(demo(&name, "down").env_remove("KUBECONFIG")));
    assert!(!target().join(name).exists(), "passwords and keys of the demo are left");
    let left =
        succeed(kubectl(&cluster.kubeconfig).args(["get", "namespaces,customresourcedefinitions", "-o", "name"]));
    for gone in ["/hq", "/province", "/city", "/regatta-system", "regatta.dev"] {
        assert!(!left.lines().any(|line| line.ends_with(gone)), "{gone} is left:\n{left}");
    }
    succeed(script("cluster.sh").args(["down", &cluster.name]));
}
