//! A new default image rolls one registry at a time.

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::support::eventually;
use crate::support::layers::Control;
use crate::support::objects::registry;
use crate::support::world::World;

const NAMES: [&str; 3] = ["a", "b", "c"];

/// Says of every Deployment with this image that it is complete.
async fn complete(world: &World, image: &str) {
    for name in NAMES {
        let name = format!("{name}-registry");
        let deployment: Deployment = world.exists(&name).await;
        if image_of(&deployment) != image {
            continue;
        }
        let status = json!({ "status": {
            "observedGeneration": deployment.metadata.generation,
            "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1,
        } });
        let api = world.api::<Deployment>();
        api.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await.expect("a status");
    }
}

fn image_of(deployment: &Deployment) -> String {
    let spec = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()).expect("a pod");
    spec.containers[0].image.clone().expect("an image")
}

async fn rolled(world: &World, image: &str) -> usize {
    let mut count = 0;
    for name in NAMES {
        let deployment: Deployment = world.exists(&format!("{name}-registry")).await;
        count += usize::from(image_of(&deployment) == image);
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_registry_waits_until_the_one_before_is_complete() {
    let world = World::new("rolling").await;
    for name in NAMES {
        world.create(&registry(name)).await;
    }
    let old = world.operator().await;
    for name in NAMES {
        world.exists::<Deployment>(&format!("{name}-registry")).await;
    }
    complete(&world, "registry.example/regatta:1").await;
    for name in NAMES {
        world.ready("Registry", name).await;
    }
    drop(old);
    let mut settings = world.settings("new");
    settings.registry_image = Some("registry.example/regatta:2".to_owned());
    settings.resync = std::time::Duration::from_millis(500);
    let _new = world.operator_with(&Control::counting(), settings).await;
    for expected in 1..=NAMES.len() {
        eventually(&format!("{expected} rolled"), || async {
            let count = rolled(&world, "registry.example/regatta:2").await;
            assert!(count <= expected, "{count} at once, though only {} are complete", expected - 1);
            if count == expected { Ok(()) } else { Err(count) }
        })
        .await;
        complete(&world, "registry.example/regatta:2").await;
    }
}
