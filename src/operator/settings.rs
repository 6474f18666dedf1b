//! What the operator is told when it starts.

use std::time::Duration;

use super::lease::LeaseSettings;

/// What the operator is told when it starts.
#[derive(Debug, Clone)]
pub struct Settings {
    /// This cluster's name: a Registry whose `homeCluster` is this is managed here. Without one, only Registries
    /// without a `homeCluster` are.
    pub cluster_name: Option<String>,
    /// The image of registries that name none.
    pub registry_image: Option<String>,
    /// Watch this namespace only; all where absent.
    pub namespace: Option<String>,
    /// How the leader is chosen.
    pub lease: LeaseSettings,
    /// How many objects of a kind are reconciled at once.
    pub concurrency: u16,
    /// Every object is looked at again after about this long.
    pub resync: Duration,
    /// Numbers that change by themselves are written at most so often.
    pub number_interval: Duration,
    /// For how long something that the spec names and that is missing may still be on its way.
    pub patience: Duration,
    /// How long the pod of a run may take to start before it is said that it does not.
    pub start_patience: Duration,
    /// How long it may take before the run is given up, so that others of its registry may run.
    pub start_deadline: Duration,
    /// For how long a replicator may say nothing before nobody claims to know how its edges stand. It speaks every half
    /// minute; its pod may be made anew meanwhile.
    pub replicator_silence: Duration,
    /// How long the registry is asked again for the summary of a run whose pod has left none. A failed node takes both
    /// away, and its volume is let go only after minutes.
    pub summary_patience: Duration,
}

impl Settings {
    /// The usual settings around a Lease.
    pub fn new(lease: LeaseSettings) -> Self {
        Self {
            cluster_name: None,
            registry_image: None,
            namespace: None,
            lease,
            concurrency: 4,
            resync: Duration::from_mins(5),
            number_interval: Duration::from_secs(30),
            patience: Duration::from_mins(2),
            start_patience: Duration::from_mins(2),
            start_deadline: Duration::from_mins(15),
            replicator_silence: Duration::from_mins(2),
            summary_patience: Duration::from_mins(30),
        }
    }
}
