//! Names of conditions and of their reasons: documented constants, because people and programs match on them.
//!
//! Polarity: `Ready`, `AccessInForce`, `StoreConsistent`, `LastRunSucceeded` and `Synced` are good when True;
//! `Reconciling` and `Stalled` are there, and True, only while something is going on or a person must act, as kstatus
//! reads them.

/// The object was accepted and what it asks for is set up.
pub const READY: &str = "Ready";
/// The operator is converging on the spec. Never set because of a run.
pub const RECONCILING: &str = "Reconciling";
/// A person must act: the message names the field and the remedy.
pub const STALLED: &str = "Stalled";
/// Registry: every serving pod acknowledged the newest access document.
pub const ACCESS_IN_FORCE: &str = "AccessInForce";
/// Registry: each pod sees at once what another one wrote. There, and False, only where the volume's mount says
/// otherwise.
pub const STORE_CONSISTENT: &str = "StoreConsistent";
/// GarbageCollection: how the last run ended; Unknown while one is under way.
pub const LAST_RUN_SUCCEEDED: &str = "LastRunSucceeded";
/// ReplicationPolicy: every edge that runs here is equal to its source, or following it. Unknown while nobody says so.
pub const SYNCED: &str = "Synced";

/// Reasons, in CamelCase as the API's conventions want them.
pub mod reason {
    /// Everything is as the spec says.
    pub const SUCCEEDED: &str = "Succeeded";
    /// Work is under way.
    pub const PROGRESSING: &str = "Progressing";
    /// An error that is tried again by itself.
    pub const RETRYING: &str = "Retrying";
    /// `spec.suspend` is true.
    pub const SUSPENDED: &str = "Suspended";
    /// The operator of another cluster looks after this object.
    pub const DELEGATED: &str = "Delegated";
    /// The object cannot be read as its kind.
    pub const UNREADABLE: &str = "Unreadable";
    /// The spec contradicts itself or what it refers to.
    pub const INVALID_SPEC: &str = "InvalidSpec";
    /// A child's name is taken by an object that is not this one's.
    pub const NAME_CONFLICT: &str = "NameConflict";
    /// A Secret that the spec names is missing.
    pub const SECRET_MISSING: &str = "SecretMissing";
    /// A Secret that the spec names lacks a key, or holds something unusable.
    pub const SECRET_INVALID: &str = "SecretInvalid";
    /// The claim that the spec names is missing.
    pub const CLAIM_MISSING: &str = "ClaimMissing";
    /// A volume's access mode does not fit.
    pub const ACCESS_MODE: &str = "AccessMode";
    /// The volume is mounted with options that promise too little.
    pub const MOUNT_OPTIONS: &str = "MountOptions";
    /// No image is known for the registry.
    pub const IMAGE_UNKNOWN: &str = "ImageUnknown";
    /// Pods do not become ready within the Deployment's progress deadline.
    pub const PROGRESS_DEADLINE: &str = "ProgressDeadlineExceeded";
    /// The API server refuses a child.
    pub const CHILD_REFUSED: &str = "ChildRefused";
    /// A reference leads nowhere.
    pub const REFERENCE_NOT_FOUND: &str = "ReferenceNotFound";
    /// The registry that is referred to is not one that this operator manages.
    pub const REGISTRY_NOT_MANAGED: &str = "RegistryNotManaged";
    /// Another Project holds the name.
    pub const NAME_TAKEN: &str = "NameTaken";
    /// Not yet acknowledged by every serving pod.
    pub const NOT_ACKNOWLEDGED: &str = "NotAcknowledged";
    /// A pod cannot be reached; it polls the store by itself.
    pub const PUSH_BLOCKED: &str = "PushBlocked";
    /// No pod of the registry is there yet.
    pub const NO_PODS: &str = "NoPods";
    /// The store's documents carry another Registry's UID.
    pub const STORE_OWNED_BY_ANOTHER: &str = "StoreOwnedByAnother";
    /// A robot has no Secret, or two.
    pub const ROBOT_SECRET: &str = "RobotSecret";
    /// The topology is no valid graph.
    pub const INVALID_TOPOLOGY: &str = "InvalidTopology";
    /// Another policy mirrors another source to the same repositories of a destination.
    pub const DESTINATION_TAKEN: &str = "DestinationTaken";
    /// No operator runs an edge.
    pub const NOBODY_RUNS_IT: &str = "NobodyRunsIt";
    /// An edge withholds deletions until a person approves them.
    pub const DELETIONS_WITHHELD: &str = "DeletionsWithheld";
    /// An edge cannot reach one of its ends; tried again by itself.
    pub const EDGE_FAILING: &str = "EdgeFailing";
    /// The replicator has said nothing for longer than it ever keeps quiet.
    pub const REPLICATOR_SILENT: &str = "ReplicatorSilent";
    /// The replicator has not reported yet, or is comparing.
    pub const COMPARING: &str = "Comparing";
    /// A run is under way.
    pub const RUNNING: &str = "Running";
    /// Pods do not start: those of a run, or of a registry.
    pub const NOT_STARTED: &str = "NotStarted";
    /// The last run failed.
    pub const RUN_FAILED: &str = "RunFailed";
    /// Another run holds the registry.
    pub const REGISTRY_BUSY: &str = "RegistryBusy";
    /// Nothing was asked for yet.
    pub const IDLE: &str = "Idle";
}
