//! Replication: a destination is made equal to its source, for what a policy covers.
//!
//! Both ends are remote OCI registries to this room; what drives it (the admin API of the source's own registry) it
//! sees as wire types. A *mirror* edge: the source is the authority, and the destination is written to by ordinary
//! requests, so any OCI registry will do.
//!
//! - [`filters`], [`plan`] and [`withheld`] are pure: what is covered, what differs, what must wait for a person.
//! - [`scan`] reads the two sides; [`mirror`] makes one tag or one manifest equal; [`blobs`] moves a blob once.
//! - [`run`] carries out one plan by hand; [`follow`] does so for ever.
//!
//! The order that holds everywhere: blobs, manifests after what they name, indexes after their children, referrers
//! after their subject, a tag last; deletions after sets. So an interrupted run leaves nothing dangling.
//! Every action looks at the source's head of *now* before it writes, whatever it was planned on.

pub mod blobs;
pub mod counters;
pub mod error;
pub mod filters;
pub mod follow;
pub mod locks;
pub mod mirror;
pub mod plan;
pub mod run;
pub mod scan;
pub mod withheld;

pub use counters::{Counters, Counts};
pub use error::{AtEnd, ReplicateError};
pub use filters::Coverage;
pub use mirror::{Ends, Mirror, Outcome};
pub use plan::{Action, Plan, RepositoryState};
