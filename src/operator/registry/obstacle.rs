//! Why a registry's pods do not become ready, and which field that comes from.

use std::slice;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use super::status::{Rollout, rollout};
use super::validate::ManagedPlan;
use crate::operator::conditions::shorten;
use crate::operator::context::Context;
use crate::operator::failure::Failure;
use crate::operator::labels::{self, Component};
use crate::operator::waiting::{Waiting, age, is_made, waits_for};

/// The longest explanation of a cluster that is repeated, in bytes.
const LONGEST: usize = 1024;

/// What keeps pods from becoming ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// What the cluster says, the field that it comes from, and what to do.
    pub message: String,
    /// Whether it has been there for longer than starting should take.
    pub stays: bool,
}

/// What keeps the pods of a Deployment from becoming ready, as far as the cluster says it.
pub async fn obstacle(
    context: &Context,
    plan: &ManagedPlan,
    deployment: &Deployment,
) -> Result<Option<Obstacle>, Failure> {
    if rollout(deployment) == Rollout::Complete {
        return Ok(None);
    }
    let found = match not_made(context, deployment) {
        Some(found) => Some(found),
        None => waiting(pods(context, plan).await?, context.now(), context.settings.start_patience),
    };
    Ok(found.map(|(waiting, age)| Obstacle {
        message: explain(plan, &waiting),
        stays: age >= context.settings.start_patience,
    }))
}

/// What the Deployment's controller says when the cluster lets no pod in: a quota, a limit range, a policy.
fn not_made(context: &Context, deployment: &Deployment) -> Option<(Waiting, Duration)> {
    let conditions = deployment.status.as_ref()?.conditions.iter().flatten();
    let failure = conditions.into_iter().find(|it| it.type_ == "ReplicaFailure" && it.status == "True")?;
    let waiting = Waiting {
        reason: failure.reason.as_deref().unwrap_or(NOT_MADE).to_owned(),
        message: failure.message.as_deref().unwrap_or("pods cannot be made").to_owned(),
    };
    Some((waiting, age(failure.last_transition_time.as_ref(), context.now())))
}

/// The reason of the Deployment's controller.
const NOT_MADE: &str = "FailedCreate";

/// The newest pods first: what keeps those from starting is of the spec of now. That containers are being made is told
/// only of a pod that has waited for longer than starting should take.
fn waiting(mut pods: Vec<Pod>, now: Timestamp, patience: Duration) -> Option<(Waiting, Duration)> {
    pods.retain(|pod| pod.metadata.deletion_timestamp.is_none() && !is_ready(pod));
    pods.sort_by_key(|pod| std::cmp::Reverse(pod.creation_timestamp()));
    pods.iter().find_map(|pod| {
        let age = age(pod.metadata.creation_timestamp.as_ref(), now);
        let pod = slice::from_ref(pod);
        let found = waits_for(pod).or_else(|| is_made(pod).filter(|_| age >= patience))?;
        Some((found, age))
    })
}

async fn pods(context: &Context, plan: &ManagedPlan) -> Result<Vec<Pod>, Failure> {
    let api = Api::<Pod>::namespaced(context.client.clone(), &plan.namespace);
    Ok(api.list(&ListParams::default().labels(&selector(plan))).await?.items)
}

/// The serving pods, and neither the replicator's nor a collection's.
fn selector(plan: &ManagedPlan) -> String {
    let labels = labels::selector(&plan.name, Component::Registry);
    // The registry's name first, as people write it.
    labels.iter().rev().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn explain(plan: &ManagedPlan, waiting: &Waiting) -> String {
    let said = shorten(&waiting.to_string(), LONGEST);
    let remedy = match waiting.reason.as_str() {
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => match plan.image {
            Some(_) => "correct spec.managed.image, or let the nodes pull it".to_owned(),
            None => "set spec.managed.image, or correct the chart's registryImage, which it has by default".to_owned(),
        },
        NOT_MADE => {
            "change spec.managed.resources or spec.managed.replicas, or have the quota or rule changed".to_owned()
        }
        "ContainerCreating" | "PodInitializing" => {
            "as a rule a volume cannot be mounted, or a Secret that the spec names, or a key in it, is missing"
                .to_owned()
        }
        "Unschedulable" => "change spec.managed.resources, or give the cluster a node and a volume that fit".to_owned(),
        _ => look(plan),
    };
    format!("{}; {remedy}", said.trim_end_matches('.'))
}

/// How to find out more.
pub fn look(plan: &ManagedPlan) -> String {
    format!("look at the pods with `kubectl --namespace {} describe pods -l {}`", plan.namespace, selector(plan))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(made: &str, reason: &str) -> Pod {
        let state = json!({ "waiting": { "reason": reason } });
        let container = json!({
            "name": "registry", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state,
        });
        let pod = json!({
            "metadata": { "name": "a", "creationTimestamp": made }, "status": { "containerStatuses": [container] },
        });
        serde_json::from_value(pod).unwrap()
    }

    fn found(pods: &[Pod]) -> Option<(String, u64)> {
        let now = "2026-01-01T01:00:00Z".parse().unwrap();
        waiting(pods.to_vec(), now, Duration::from_mins(2)).map(|(waiting, age)| (waiting.reason, age.as_secs()))
    }

    #[test]
    fn the_age_that_counts_is_that_of_the_pod_that_is_quoted() {
        let old = pod("2026-01-01T00:00:00Z", "CrashLoopBackOff");
        let new = pod("2026-01-01T00:59:50Z", "ImagePullBackOff");
        assert_eq!(found(&[old.clone(), new]), Some(("ImagePullBackOff".to_owned(), 10)));
        assert_eq!(found(&[old]), Some(("CrashLoopBackOff".to_owned(), 3600)));
    }

    #[test]
    fn containers_that_are_being_made_are_told_once_that_takes_too_long() {
        let (old, new) = ("2026-01-01T00:58:00Z", "2026-01-01T00:58:01Z");
        assert_eq!(found(&[pod(new, "ContainerCreating")]), None);
        assert_eq!(found(&[pod(old, "ContainerCreating")]), Some(("ContainerCreating".to_owned(), 120)));
    }
}
