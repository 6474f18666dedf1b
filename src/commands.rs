//! The subcommands: the composition root, the only place that makes stores, clients and clocks.

pub mod htpasswd;
pub mod registry;
pub mod replicate;
