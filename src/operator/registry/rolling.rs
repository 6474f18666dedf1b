//! One registry at a time is rolled to a new *default* image.
//!
//! The next waits until the first is complete, or has exceeded its progress deadline: a default that does not start
//! should cost one registry's surge pod, not the fleet. An image that the spec names is rolled at once.

use std::sync::Mutex;

use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;

use super::status::{Rollout, rollout};
use super::validate::{self, ManagedPlan};
use crate::operator::context::{Context, lock};
use crate::operator::failure::Failure;
use crate::operator::labels::{Component, LABEL_COMPONENT};

/// Which registry is being rolled to a new default image.
#[derive(Debug, Default)]
pub struct Rolling {
    turn: Mutex<Option<String>>,
}

impl Rolling {
    /// The image that the registry is to run now.
    pub fn choose(
        &self,
        context: &Context,
        plan: &ManagedPlan,
        deployment: Option<&Deployment>,
    ) -> Result<String, Failure> {
        let wanted = validate::wanted_image(plan)?.to_owned();
        let Some(current) = deployment.and_then(image_of) else { return Ok(wanted) };
        let mut turn = lock(&self.turn);
        let done = current == wanted && deployment.is_none_or(|deployment| rollout(deployment) != Rollout::Progressing);
        if plan.image.is_some() || done {
            if turn.as_deref() == Some(plan.uid.as_str()) {
                *turn = None;
            }
            return Ok(wanted);
        }
        if current == wanted {
            return Ok(wanted);
        }
        let free = turn.as_deref().is_none_or(|holder| holder == plan.uid || is_through(context, holder, &wanted));
        if free && !another_progresses(context, plan, &wanted) {
            *turn = Some(plan.uid.clone());
            return Ok(wanted);
        }
        Ok(current.to_owned())
    }

    /// Whether the registry keeps an old default image because it is not its turn yet.
    pub fn is_waiting(plan: &ManagedPlan, image: &str) -> bool {
        plan.image.is_none() && plan.default_image.as_deref().is_some_and(|wanted| wanted != image)
    }
}

/// Whether the registry of this UID is gone, or its rollout has come to an end. A cache that does not show the new
/// image yet says nothing of the rollout.
fn is_through(context: &Context, uid: &str, wanted: &str) -> bool {
    let deployments = context.caches.deployments.state();
    let found = deployments.iter().find(|deployment| is_serving(deployment) && belongs(deployment, uid));
    found.is_none_or(|deployment| image_of(deployment) == Some(wanted) && rollout(deployment) != Rollout::Progressing)
}

/// After a restart of the operator the turn is not known, but it can be seen who is under way.
fn another_progresses(context: &Context, plan: &ManagedPlan, wanted: &str) -> bool {
    context.caches.deployments.state().iter().any(|deployment| {
        is_serving(deployment)
            && !belongs(deployment, &plan.uid)
            && image_of(deployment) == Some(wanted)
            && rollout(deployment) == Rollout::Progressing
    })
}

fn is_serving(deployment: &Deployment) -> bool {
    deployment.labels().get(LABEL_COMPONENT).is_some_and(|component| component == Component::Registry.as_str())
}

fn belongs(deployment: &Deployment, uid: &str) -> bool {
    deployment.owner_references().iter().any(|owner| owner.uid == uid)
}

/// The image of the only container.
pub fn image_of(deployment: &Deployment) -> Option<&str> {
    deployment.spec.as_ref()?.template.spec.as_ref()?.containers.first()?.image.as_deref()
}
