//! Why a run has not started: what its pod waits for. Pure.

use k8s_openapi::api::core::v1::{ContainerState, Pod};
use kube::ResourceExt;

use crate::operator::conditions::shorten;
use crate::operator::waiting::{containers, is_made, waits_for};

/// The longest explanation of a cluster that is repeated, in bytes.
const LONGEST: usize = 1024;

/// What keeps a Job's pods from starting; nothing where one has started.
pub(super) fn obstacle(job: &str, pods: &[Pod]) -> Option<String> {
    if pods.iter().any(has_started) {
        return None;
    }
    let why = waits_for(pods).or_else(|| is_made(pods)).map(|waiting| waiting.to_string());
    let none = || match pods {
        [] => format!("no pod was made for it: look at `kubectl describe job {job}`"),
        [pod, ..] => format!("nothing is known of its pod: look at `kubectl describe pod {}`", pod.name_any()),
    };
    Some(shorten(&why.unwrap_or_else(none), LONGEST))
}

fn has_started(pod: &Pod) -> bool {
    let is = |state: &ContainerState| state.running.is_some() || state.terminated.is_some();
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    // A pod that was evicted before it began has failed, and so has its Job.
    matches!(phase, Some("Running" | "Succeeded" | "Failed"))
        || containers(pod).any(|container| container.state.as_ref().is_some_and(is))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(status: Value) -> Pod {
        serde_json::from_value(json!({ "metadata": { "name": "p" }, "status": status })).unwrap()
    }

    fn in_state(state: Value) -> Pod {
        let container = json!({
            "name": "collector", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state,
        });
        pod(json!({ "phase": "Pending", "containerStatuses": [container] }))
    }

    fn check(pods: &[Pod], expected: Option<&str>) {
        assert_eq!(obstacle("j", pods).as_deref(), expected);
    }

    #[test]
    fn what_has_started_has_no_obstacle() {
        check(&[in_state(json!({ "running": {} }))], None);
        check(&[in_state(json!({ "terminated": { "exitCode": 1 } }))], None);
        check(&[pod(json!({ "phase": "Failed" }))], None);
    }

    #[test]
    fn an_image_that_cannot_be_pulled_is_named() {
        let waiting = json!({ "waiting": { "reason": "ImagePullBackOff", "message": "Back-off pulling image \"x\"" } });
        check(&[in_state(waiting)], Some("ImagePullBackOff: Back-off pulling image \"x\""));
    }

    #[test]
    fn the_scheduler_is_quoted() {
        let condition = json!({
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available",
        });
        let pod = pod(json!({ "phase": "Pending", "conditions": [condition] }));
        check(&[pod], Some("Unschedulable: 0/3 nodes are available"));
    }

    #[test]
    fn where_the_cluster_says_nothing_the_reader_is_told_where_to_look() {
        check(&[], Some("no pod was made for it: look at `kubectl describe job j`"));
        check(&[pod(json!({}))], Some("nothing is known of its pod: look at `kubectl describe pod p`"));
        let creating = in_state(json!({ "waiting": { "reason": "ContainerCreating" } }));
        check(&[creating], Some("ContainerCreating: look at `kubectl describe pod p`"));
    }
}
