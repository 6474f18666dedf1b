//! validate: who runs each edge. Pure.

use std::collections::BTreeMap;

use super::claims::{Claims, message};
use super::topology::{Pair, TopologyError};
use crate::api::conditions::reason;
use crate::api::{Registry, TriggerSpec};
use crate::operator::caches::Shared;
use crate::operator::failure::Failure;
use crate::operator::registry::validate::is_home;
use crate::operator::settings::Settings;

/// Who runs an edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Runner {
    /// The replicator of the source, here.
    Here {
        /// UID of the source.
        source_uid: String,
    },
    /// The operator of the source's home.
    Elsewhere {
        /// That cluster.
        home: String,
    },
    /// Nobody: another policy has the destination.
    Nobody {
        /// Which one, and what to do.
        message: String,
    },
}

/// An edge, and who runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) pair: Pair,
    pub(super) runner: Runner,
}

pub(super) fn refused(error: &TopologyError) -> Failure {
    Failure::stalled(reason::INVALID_TOPOLOGY, error.to_string())
}

pub(super) fn trigger(trigger: Option<&TriggerSpec>) -> Result<(), Failure> {
    match trigger {
        Some(trigger) if trigger.event.is_some() == trigger.manual.is_some() => {
            Err(Failure::invalid("spec.trigger must have exactly one of event and manual"))
        }
        Some(_) | None => Ok(()),
    }
}

/// Edges run at the home of their source, except those that yield to another policy's.
pub(super) fn placed(
    policy: &str,
    pairs: &[Pair],
    registries: &BTreeMap<String, Shared<Registry>>,
    claims: &Claims,
    settings: &Settings,
) -> Result<Vec<Placed>, Failure> {
    let place = |pair: &Pair| {
        let source = registries.get(&pair.source).ok_or_else(|| nobody(pair))?;
        let runner = runner(source, settings).ok_or_else(|| nobody(pair))?;
        let runner = match claims.holder(policy, pair) {
            Some(holder) => Runner::Nobody { message: message(policy, pair, holder) },
            None => runner,
        };
        Ok(Placed { pair: pair.clone(), runner })
    };
    pairs.iter().map(place).collect()
}

/// Who runs the edges of a source.
pub(super) fn runner(source: &Registry, settings: &Settings) -> Option<Runner> {
    if !is_home(source, settings) {
        return source.spec.home_cluster.clone().map(|home| Runner::Elsewhere { home });
    }
    let source_uid = source.metadata.uid.clone().unwrap_or_default();
    source.spec.managed.as_ref().map(|_| Runner::Here { source_uid })
}

fn nobody(pair: &Pair) -> Failure {
    let message = format!(
        "nobody runs the edge {} -> {}: edges run at the home of their source, and {} is external without a \
         homeCluster; replicate from a managed Registry",
        pair.source, pair.destination, pair.source
    );
    Failure::stalled(reason::NOBODY_RUNS_IT, message)
}
