//! The composition root: one module a subcommand.

pub mod crds;
pub mod operator;
