//! What pods wait for that do not start. Pure.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

/// What a pod waits for, as the cluster says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// In CamelCase, such as `ImagePullBackOff`.
    pub reason: String,
    /// For people.
    pub message: String,
}

impl fmt::Display for Waiting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.reason, self.message)
    }
}

/// What the first of the pods waits for of which that is known.
pub fn waits_for(pods: &[Pod]) -> Option<Waiting> {
    pods.iter().find_map(|pod| container_waits(pod, false).or_else(|| unscheduled(pod)))
}

/// The first of the pods whose containers are being made: on their way as a rule, were it not for a volume that cannot be
/// mounted.
pub fn is_made(pods: &[Pod]) -> Option<Waiting> {
    pods.iter().find_map(|pod| container_waits(pod, true))
}

/// The states of a pod's containers.
pub fn containers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten())
}

/// How long ago something was.
pub fn age(since: Option<&Time>, now: Timestamp) -> Duration {
    let since = since.map_or(now, |since| since.0);
    // A clock that is behind the API server's makes a thing young, not old.
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}

fn container_waits(pod: &Pod, on_its_way: bool) -> Option<Waiting> {
    let waiting = containers(pod).find_map(|container| container.state.as_ref()?.waiting.as_ref())?;
    let reason = waiting.reason.as_deref().unwrap_or("waiting");
    let creating = matches!(reason, "ContainerCreating" | "PodInitializing");
    let hint = || format!("look at `kubectl describe pod {}`", pod.name_any());
    let message = || waiting.message.clone().filter(|message| !message.is_empty()).unwrap_or_else(hint);
    (creating == on_its_way).then(|| Waiting { reason: reason.to_owned(), message: message() })
}

fn unscheduled(pod: &Pod) -> Option<Waiting> {
    let conditions = pod.status.as_ref()?.conditions.iter().flatten();
    let condition = conditions.into_iter().find(|it| it.type_ == "PodScheduled" && it.status == "False")?;
    Some(Waiting {
        reason: condition.reason.as_deref().unwrap_or("Unschedulable").to_owned(),
        message: condition.message.as_deref().unwrap_or("no node takes its pod").to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_behind_makes_nothing_old() {
        let since = Time(Timestamp::from_second(100).unwrap());
        assert_eq!(age(Some(&since), Timestamp::from_second(40).unwrap()), Duration::ZERO);
        assert_eq!(age(Some(&since), Timestamp::from_second(160).unwrap()), Duration::from_mins(1));
    }
}
