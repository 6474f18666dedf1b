//! The five custom resources of `regatta.dev/v1alpha1` as types: schema, defaults, CEL rules, condition names.
//!
//! No behaviour lives here. Reading is tolerant (an unknown field is ignored, a missing status is an empty one), so
//! that one malformed object never stops a watch; strictness is the schema's and the operator's `validate` step's.

mod collection_status;
pub mod conditions;
pub mod garbage_collection;
pub mod project;
pub mod references;
pub mod registry;
pub mod replication_policy;
pub mod role_binding;
pub mod schema;

pub use garbage_collection::{
    CollectionMode, CollectionRun, Counts, GarbageCollection, GarbageCollectionSpec, GarbageCollectionStatus,
    RunningCollection,
};
pub use project::{Project, ProjectSpec, ProjectStatus};
pub use references::{Empty, LocalRef};
pub use registry::{
    AccessMode, Auth, ClaimRequests, ClaimResources, ClaimTemplate, DeletionPolicy, Expose, External, Managed,
    Registry, RegistrySpec, RegistryStatus, Replicator, Resources, ServiceExposure, ServiceType, Storage, Tls,
};
pub use replication_policy::{
    DeletionMode, EdgeReport, FanOut, FilterSpec, ReplicationPolicy, ReplicationPolicySpec, ReplicationPolicyStatus,
    Topology, Tree, TreeNode, TriggerSpec, WithheldReport,
};
pub use role_binding::{
    InForce, RobotSubject, RoleBinding, RoleBindingSpec, RoleBindingStatus, RoleName, SubjectSpec, UserSubject,
};

/// The API group.
pub const GROUP: &str = "regatta.dev";

/// On every child: the name of its Registry.
pub const LABEL_REGISTRY: &str = "regatta.dev/registry";

/// On every child: the UID of its Registry.
pub const LABEL_REGISTRY_UID: &str = "regatta.dev/registry-uid";

/// On a Job of a GarbageCollection: that object's name.
pub const LABEL_COLLECTION: &str = "regatta.dev/garbage-collection";

/// Any new value runs the object now; echoed in `status.lastHandledRequest`.
pub const ANNOTATION_REQUESTED_AT: &str = "regatta.dev/requested-at";

/// On a Registry: the UID of the Registry that its store belonged to before, and may be taken over from.
pub const ANNOTATION_TAKE_OVER: &str = "regatta.dev/take-over";

/// On a ReplicationPolicy: the hash of a plan whose withheld deletions may be carried out.
pub const ANNOTATION_APPROVE_DELETIONS: &str = "regatta.dev/approve-deletions";

/// On a Job of a GarbageCollection that did not start in time: why, as its status says when the Job has ended.
pub const ANNOTATION_GIVEN_UP: &str = "regatta.dev/given-up";

/// On each CRD: the version of its schema.
pub const ANNOTATION_SCHEMA_VERSION: &str = "regatta.dev/schema-version";
