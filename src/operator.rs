//! The operator: reconciles the five kinds of `regatta.dev/v1alpha1`.
//!
//! It manages a registry only through Kubernetes objects and through HTTP, and knows nothing of how a registry keeps
//! its data. Each kind has five named steps, a file each: dereference (fetch what is referred to), validate (pure),
//! build (pure), apply, status. What fails says what to do next, see [`failure`].
//!
//! Only the holder of a Lease reconciles; standbys wait. Nothing is reconciled before every cache has finished its
//! first list, so that nobody loses access because a list was slow.
//!
//! RBAC, cluster-wide (the chart's ClusterRole has exactly this):
//!
//! | group | resources | verbs |
//! |---|---|---|
//! | regatta.dev | the five plurals | get, list, watch |
//! | regatta.dev | `<plural>/status` of the five | get, patch |
//! | apiextensions.k8s.io | customresourcedefinitions (resourceNames: the five) | get |
//! | core | secrets | get, create, patch, delete |
//! | core | services, serviceaccounts, persistentvolumeclaims | get, list, watch, create, patch, delete |
//! | apps | deployments | get, list, watch, create, patch, delete |
//! | policy | poddisruptionbudgets | get, list, watch, create, patch, delete |
//! | batch | jobs | get, list, watch, create, patch, delete |
//! | core | pods | get, list, watch |
//! | discovery.k8s.io | endpointslices | get, list, watch |
//! | events.k8s.io | events | create, patch |
//!
//! On clusters that enforce OwnerReferencesPermission also `update` on `<plural>/finalizers`. In its own namespace:
//! coordination.k8s.io leases get, create, update.

pub mod access;
mod apply;
mod bus;
mod caches;
mod conditions;
mod context;
mod documents;
mod driver;
mod edges;
pub mod failure;
pub mod garbage_collection;
mod labels;
pub mod lease;
pub mod metrics;
pub mod project;
mod reach;
pub mod registry;
pub mod replication_policy;
pub mod role_binding;
mod run;
mod schema_check;
mod secrets;
mod settings;
mod term;
mod waiting;

pub use context::Context;
pub use run::{Health, OperatorError, run};
pub use settings::Settings;
