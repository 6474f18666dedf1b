//! `make demo`, whole: three clusters, a fleet, an image from headquarters to a kubelet in the city, and back to the space
//! that it took.

use std::process::Command;

use super::e2e_support::cluster::{at_the_end_of_this_process, prefix};
use super::e2e_support::process::{image_archive, script, succeed, target};

/// A demo of its own, whatever the caller's environment says of another.
fn demo(command: &str) -> Command {
    let mut demo = script("demo.sh");
    demo.arg(command).env("DEMO_NAME", prefix());
    for theirs in ["DEMO_CLUSTER", "DEMO_IMAGE", "DEMO_TRUST_COMMAND", "DEMO_STORAGE_CLASS"] {
        demo.env_remove(theirs);
    }
    demo
}

#[test]
fn the_demo_holds_at_every_step_and_leaves_nothing_behind() {
    image_archive();
    at_the_end_of_this_process(&demo("down"));
    println!("{}", succeed(&mut demo("up")));
    succeed(&mut demo("down"));
    assert!(!target().join(prefix()).exists(), "passwords and keys of the demo are left");
    let left = String::from_utf8(script("cluster.sh").arg("status").output().unwrap().stdout).unwrap();
    let cities = format!("{}-city", prefix());
    assert!(!left.contains(&cities), "clusters of the demo are left:\n{left}");
}
