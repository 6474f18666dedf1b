//! What a step says when it cannot go on: what is to be done about it.

mod refusal;

use std::time::Duration;

use crate::admin::client::ClientError;
use crate::api::conditions::reason;

/// Why a step could not go on.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A person must act. The message names the field and the remedy.
    #[error("{message}")]
    Stalled {
        /// For programs; see [`reason`].
        reason: &'static str,
        /// For people.
        message: String,
    },
    /// Something else must happen first, and will by itself.
    #[error("{message}")]
    Waiting {
        /// When to look again, if nothing is heard before.
        after: Duration,
        /// For programs; see [`reason`].
        reason: &'static str,
        /// For people.
        message: String,
    },
    /// The API server could not be asked, or did not do what was asked; again with a growing pause.
    #[error("the API server: {}", describe(.0))]
    Kubernetes(#[source] kube::Error),
    /// A registry's internal port could not be asked; again with a growing pause.
    #[error("{0}")]
    Registry(#[source] ClientError),
    /// An object of ours could not be turned to JSON.
    #[error("an object cannot be written as JSON")]
    Json(#[from] serde_json::Error),
}

impl Failure {
    /// The spec contradicts itself, or what it refers to.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::stalled(reason::INVALID_SPEC, message)
    }

    /// A person must act.
    pub fn stalled(reason: &'static str, message: impl Into<String>) -> Self {
        Self::Stalled { reason, message: message.into() }
    }

    /// Something else must happen first.
    pub fn waiting(after: Duration, reason: &'static str, message: impl Into<String>) -> Self {
        Self::Waiting { after, reason, message: message.into() }
    }
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        match &error {
            // Nothing is made in a namespace that is going; nothing is to be said about it either.
            kube::Error::Api(status) if is_terminating(status) => Self::Waiting {
                after: Duration::from_secs(30),
                reason: reason::PROGRESSING,
                message: "the namespace is being deleted".to_owned(),
            },
            // What the API server finds invalid, or lets nobody have, stays so until somebody changes the spec or the rule.
            kube::Error::Api(status) if status.code == 422 || refusal::is_by_rule(status) => {
                Self::Stalled { reason: reason::CHILD_REFUSED, message: refusal::explain(status) }
            }
            _ => Self::Kubernetes(error),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Registry(error)
    }
}

fn is_terminating(status: &kube::core::Status) -> bool {
    status.code == 403
        && (status.message.contains("because it is being terminated")
            || status
                .details
                .iter()
                .flat_map(|details| &details.causes)
                .any(|cause| cause.reason == "NamespaceTerminating"))
}

/// kube's own text repeats the whole status.
fn describe(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} ({})", status.message, status.reason),
        other => other.to_string(),
    }
}
