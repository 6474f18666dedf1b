//! The subcommands.

pub mod replicate;
