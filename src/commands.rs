//! The subcommands: the composition root, the only place that makes stores, clients and clocks.

pub mod crds;
pub mod gc;
pub mod htpasswd;
pub mod operator;
pub mod reference;
pub mod registry;
pub mod replicate;
mod sole;
pub mod store;
