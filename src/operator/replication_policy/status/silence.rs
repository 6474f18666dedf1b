//! Whether a replicator is still heard. What it said last is read from the registry for ever, whether it lives or not.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use kube::runtime::reflector::ObjectRef;

use crate::admin::EdgeStatus;
use crate::api::ReplicationPolicy;
use crate::operator::context::Context;
use crate::operator::labels::replicator_child;

/// The least time until the next look.
const SOON: Duration = Duration::from_secs(1);

/// Whether the replicator of an edge is heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hearing {
    /// Nothing was ever heard of this edge, or nobody here should hear of it.
    Awaited,
    /// It is.
    Heard {
        /// When it will have been silent for too long; never where that cannot be told from its reports.
        until: Option<Duration>,
    },
    /// It has been silent for too long.
    Silent {
        /// Since when, and what to look at, for people.
        why: String,
    },
}

impl Hearing {
    /// When to look again, should nothing be heard.
    pub(super) fn again(&self) -> Option<Duration> {
        match self {
            Self::Heard { until } => *until,
            Self::Awaited | Self::Silent { .. } => None,
        }
    }

    /// Since when nothing was heard, and what to look at.
    pub(super) fn silence(&self) -> Option<&str> {
        match self {
            Self::Silent { why } => Some(why),
            Self::Awaited | Self::Heard { .. } => None,
        }
    }
}

/// Whether this was said of the policy as it is now: of this generation, and since it was made. An edge has the id that
/// it had before its policy was deleted and made anew, the generation begins again at 1, and what was said then is read
/// until its replicator says something else. `quiet` is for how long it has said nothing, where that is known.
pub(super) fn is_about(
    policy: &ReplicationPolicy,
    status: &EdgeStatus,
    quiet: Option<Duration>,
    now: Timestamp,
) -> bool {
    let made = policy.metadata.creation_timestamp.as_ref();
    let age = made.and_then(|made| Duration::try_from(now.duration_since(made.0)).ok());
    let since_made = age.zip(quiet).is_none_or(|(age, quiet)| quiet <= age);
    policy.metadata.generation == Some(status.policy_generation) && since_made
}

/// Whether the replicator that reported this is still there.
pub(super) fn hearing(
    context: &Context,
    namespace: &str,
    source: &str,
    source_uid: &str,
    status: Option<&EdgeStatus>,
) -> Hearing {
    let Some(status) = status else { return Hearing::Awaited };
    let name = replicator_child(source);
    let pods = context.caches.deployments.get(&ObjectRef::new(&name).within(namespace));
    let available = pods.as_deref().is_some_and(is_available);
    let Some((at, quiet)) = status.reported_at.zip(context.edges.quiet(source_uid, &status.id, context.now())) else {
        // One of a release that said no times: whether its pod is there is all that can be known.
        return if available { Hearing::Heard { until: None } } else { Hearing::Silent { why: gone(&name) } };
    };
    match context.settings.replicator_silence.checked_sub(quiet) {
        Some(rest) => Hearing::Heard { until: Some(rest + SOON) },
        None if available => Hearing::Silent {
            why: format!("its replicator has said nothing since {at:.0}: look at the log of the Deployment {name}"),
        },
        None => Hearing::Silent { why: format!("{}; it has said nothing since {at:.0}", gone(&name)) },
    }
}

fn is_available(deployment: &Deployment) -> bool {
    deployment.status.as_ref().and_then(|status| status.available_replicas).unwrap_or_default() > 0
}

fn gone(name: &str) -> String {
    format!("its replicator does not run: look at the pod of the Deployment {name}")
}

/// What is said of an edge of which nothing was ever reported.
pub(super) fn unheard(source: &str) -> String {
    let name = replicator_child(source);
    format!("its replicator has not said anything of it yet; should that stay so, look at the Deployment {name}")
}
