//! build: the pull secrets that a binding's robots are to have.

use kube::ResourceExt;

use super::validate::NamedRobot;
use crate::api::{Registry, RoleBinding};
use crate::operator::access::robots::{host_of, login};
use crate::operator::failure::Failure;
use crate::operator::registry::validate::{Plan, plan};
use crate::operator::settings::Settings;

/// A Secret that a robot is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PullSecret {
    /// The field that names it.
    pub(super) field: String,
    /// The robot.
    pub(super) robot: String,
    /// The name that it logs in with.
    pub(super) login: String,
    /// The Secret.
    pub(super) secret: String,
    /// Each `host[:port]` by which images of the registry are named.
    pub(super) hosts: Vec<String>,
}

pub(super) fn pull_secrets(
    binding: &RoleBinding,
    registry: &Registry,
    robots: &[NamedRobot],
    settings: &Settings,
) -> Result<Vec<PullSecret>, Failure> {
    let namespace = binding.namespace().unwrap_or_default();
    let urls = match plan(registry, settings)? {
        Plan::Managed(plan) => plan.urls,
        Plan::External(plan) | Plan::Delegated(plan) => vec![plan.url],
    };
    let hosts: Vec<String> = urls.iter().map(|url| host_of(url)).collect();
    let wanted = |robot: &NamedRobot| PullSecret {
        field: robot.field.clone(),
        robot: robot.name.clone(),
        login: login(&namespace, &robot.name),
        secret: robot.secret.clone(),
        hosts: hosts.clone(),
    };
    Ok(robots.iter().map(wanted).collect())
}
