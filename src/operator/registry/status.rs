//! status: what is said of a Registry, from what was applied.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;

use super::apply::AppliedChildren;
use super::obstacle::{Obstacle, look};
use super::rolling::{Rolling, image_of};
use super::validate::{ExternalPlan, ManagedPlan};
use crate::api::conditions::{ACCESS_IN_FORCE, STORE_CONSISTENT, reason};
use crate::api::{Registry, RegistryStatus};
use crate::operator::access::board::AccessReport;
use crate::operator::conditions::{self, Truth, requested_at};
use crate::operator::context::Context;
use crate::operator::driver::{Settled, Standing};
use crate::operator::failure::Failure;

/// How often pods are looked at that do not become ready.
const POLL: Duration = Duration::from_secs(30);

/// How far a Deployment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rollout {
    /// As wanted.
    Complete,
    /// On the way.
    Progressing,
    /// Not on the way any more.
    DeadlineExceeded,
}

/// How far a Deployment is, as `kubectl rollout status` sees it.
pub fn rollout(deployment: &Deployment) -> Rollout {
    let status = deployment.status.clone().unwrap_or_default();
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let exceeded = status.conditions.iter().flatten().any(|condition| {
        condition.type_ == "Progressing" && condition.reason.as_deref() == Some("ProgressDeadlineExceeded")
    });
    let observed = status.observed_generation.unwrap_or_default() >= deployment.metadata.generation.unwrap_or_default();
    let updated = status.updated_replicas.unwrap_or_default() >= wanted;
    let no_old = status.replicas.unwrap_or_default() <= status.updated_replicas.unwrap_or_default();
    let available = status.available_replicas.unwrap_or_default() >= wanted;
    if observed && updated && no_old && available {
        Rollout::Complete
    } else if observed && exceeded {
        Rollout::DeadlineExceeded
    } else {
        Rollout::Progressing
    }
}

/// A Registry that another operator looks after.
pub fn delegated(registry: &Registry, plan: &ExternalPlan, status: &mut RegistryStatus) -> Settled {
    only_reached(registry, plan, status);
    let home = plan.home.as_deref().unwrap_or_default();
    let message = format!("looked after by the operator of cluster {home}");
    Standing::Ready { reason: reason::DELEGATED, message }.into()
}

/// A Registry that runs elsewhere.
pub fn external(registry: &Registry, plan: &ExternalPlan, status: &mut RegistryStatus) -> Settled {
    only_reached(registry, plan, status);
    if plan.suspend {
        return Standing::Ready { reason: reason::SUSPENDED, message: "spec.suspend is true".to_owned() }.into();
    }
    Standing::ready(format!("is at {}", plan.url)).into()
}

fn only_reached(registry: &Registry, plan: &ExternalPlan, status: &mut RegistryStatus) {
    *status = RegistryStatus {
        conditions: std::mem::take(&mut status.conditions),
        url: Some(plan.url.clone()),
        last_handled_request: requested_at(registry.annotations()),
        ..RegistryStatus::default()
    };
    conditions::clear(&mut status.conditions, ACCESS_IN_FORCE);
}

/// A Registry of which nothing is changed for now.
pub fn suspended(registry: &Registry, plan: &ManagedPlan, status: &mut RegistryStatus) -> Settled {
    addresses(plan, status);
    status.last_handled_request = requested_at(registry.annotations());
    let message = "spec.suspend is true: nothing of the deployment is changed".to_owned();
    Standing::Ready { reason: reason::SUSPENDED, message }.into()
}

/// A Registry that was applied. `secrets` is what is to be said of the Secrets that its pods mount.
pub fn managed(
    registry: &Registry,
    plan: &ManagedPlan,
    applied: &AppliedChildren,
    secrets: Result<Option<String>, Failure>,
    obstacle: Option<Obstacle>,
    status: &mut RegistryStatus,
) -> Result<Settled, Failure> {
    addresses(plan, status);
    numbers(&applied.deployment, status);
    status.last_handled_request = requested_at(registry.annotations());
    let remark = secrets?.map(|remark| format!("; {remark}")).unwrap_or_default();
    let ready = status.ready_replicas.unwrap_or_default();
    let was_ready = conditions::was_ready(registry.status.as_ref(), registry.metadata.generation);
    let pods = format!("{ready} of {} pods are ready", plan.replicas);
    let serving = ready > 0 && was_ready;
    let why = obstacle.as_ref().map(|obstacle| format!(": {}", obstacle.message)).unwrap_or_default();
    if let Some(refused) = &applied.too_small {
        // The claim does not hide what keeps the pods.
        let complete = rollout(&applied.deployment) == Rollout::Complete;
        let message = if complete { refused.clone() } else { format!("{refused}; {pods}{why}") };
        let standing = Standing::Stalled { ready: false, reason: reason::CHILD_REFUSED, message };
        return Ok(Settled { standing, again: Some(POLL) });
    }
    let standing = match rollout(&applied.deployment) {
        Rollout::Complete => return Ok(Standing::ready(format!("{}{remark}", complete(plan, applied))).into()),
        Rollout::DeadlineExceeded => {
            let why = obstacle.map_or_else(|| look(plan), |obstacle| obstacle.message);
            let message = format!("{pods}, and no more become so: {why}");
            Standing::Stalled { ready: serving, reason: reason::PROGRESS_DEADLINE, message }
        }
        // A pod that is drained, or replaced for a new default image, is the cluster's business: what was set up serves.
        Rollout::Progressing if serving => Standing::ready(format!("serving at {}{remark}; {pods}{why}", shown(plan))),
        Rollout::Progressing if obstacle.is_some_and(|obstacle| obstacle.stays) => {
            Standing::Stalled { ready: false, reason: reason::NOT_STARTED, message: format!("{pods}{why}") }
        }
        Rollout::Progressing => {
            // A claim without a volume is why no pod starts; some classes give one only to a pod that waits for it.
            let claim = applied.unbound_claim.as_ref().map(|claim| format!("; the claim {claim} has no volume yet"));
            let message = format!("{pods}{}{why}", claim.unwrap_or_default());
            Standing::Progressing { ready: false, reason: reason::PROGRESSING, message }
        }
    };
    // Nobody tells the operator what pods wait for.
    Ok(Settled { standing, again: Some(POLL) })
}

fn shown(plan: &ManagedPlan) -> &str {
    plan.urls.first().map(String::as_str).unwrap_or_default()
}

fn complete(plan: &ManagedPlan, applied: &AppliedChildren) -> String {
    let image = image_of(&applied.deployment).unwrap_or_default();
    if Rolling::is_waiting(plan, image) {
        return "serving; waits for its turn to roll to the new default image".to_owned();
    }
    let replicator = match applied.replicator.as_ref().map(rollout) {
        None | Some(Rollout::Complete) => "",
        Some(Rollout::Progressing) => "; the replicator is starting",
        Some(Rollout::DeadlineExceeded) => "; the replicator does not start",
    };
    format!("serving at {}{replicator}", shown(plan))
}

fn addresses(plan: &ManagedPlan, status: &mut RegistryStatus) {
    status.url = plan.urls.first().cloned();
    status.internal_url = Some(plan.internal_url());
}

fn numbers(deployment: &Deployment, status: &mut RegistryStatus) {
    let found = deployment.status.clone().unwrap_or_default();
    status.image = image_of(deployment).map(str::to_owned);
    status.replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas);
    status.ready_replicas = Some(found.ready_replicas.unwrap_or_default());
}

/// Whether each pod sees at once what another one wrote, as far as its volume's mount says anything of that.
fn consistency(staleness_seconds: Option<u64>, generation: i64, now: Timestamp, status: &mut RegistryStatus) {
    let Some(seconds) = staleness_seconds else {
        conditions::clear(&mut status.conditions, STORE_CONSISTENT);
        return;
    };
    let message = format!(
        "the volume's NFS mount remembers names: for up to {seconds} s pods may serve what was moved or deleted by way of \
         another; mount it with acdirmin=0,acdirmax=0,lookupcache=none"
    );
    let why = reason::MOUNT_OPTIONS;
    conditions::set(&mut status.conditions, STORE_CONSISTENT, Truth::False, why, &message, generation, now);
}

/// What is known of the access document. What is not known yet leaves what was said before.
pub fn access(registry: &Registry, context: &Context, plan: &ManagedPlan, status: &mut RegistryStatus) {
    let Some(report) = context.access.get(&plan.uid) else { return };
    let (truth, why, message) = match &report {
        AccessReport::InForce(in_force) => {
            status.access_generation = i64::try_from(in_force.generation).ok();
            status.version.clone_from(&in_force.version);
            (Truth::True, reason::SUCCEEDED, "every serving pod acknowledged the newest access document".to_owned())
        }
        AccessReport::Not { reason, message } => {
            // None is in force in every pod now, as far as anybody knows.
            status.access_generation = None;
            (Truth::False, *reason, message.clone())
        }
    };
    // What was observed last is an older one, or none (-1).
    let generation = registry.metadata.generation.unwrap_or_default();
    if let AccessReport::InForce(in_force) = &report {
        consistency(in_force.staleness_seconds, generation, context.now(), status);
    }
    conditions::set(&mut status.conditions, ACCESS_IN_FORCE, truth, why, &message, generation, context.now());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_that_remembers_is_said_with_what_to_do_and_nothing_is_said_of_others() {
        let mut status = RegistryStatus::default();
        consistency(Some(60), 1, Timestamp::UNIX_EPOCH, &mut status);
        let condition = conditions::find(&status.conditions, STORE_CONSISTENT).unwrap();
        assert_eq!((condition.status.as_str(), condition.reason.as_str()), ("False", "MountOptions"));
        assert!(condition.message.contains("60 s") && condition.message.contains("lookupcache=none"), "{condition:?}");
        consistency(None, 1, Timestamp::UNIX_EPOCH, &mut status);
        assert_eq!(status.conditions, []);
    }
}
