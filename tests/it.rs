//! The integration tests, in one binary.

#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "these are tests, helpers included")]

#[path = "it/architecture.rs"]
mod architecture;
#[path = "it/crds.rs"]
mod crds;
#[path = "it/replicate_support.rs"]
mod replicate_support;

#[path = "it/registry_access.rs"]
mod registry_access;
#[path = "it/registry_protocol.rs"]
mod registry_protocol;
#[path = "it/registry_support.rs"]
mod registry_support;
#[path = "it/replicate_copy.rs"]
mod replicate_copy;
#[path = "it/replicate_defects.rs"]
mod replicate_defects;
#[path = "it/replicate_follow.rs"]
mod replicate_follow;
