//! The integration tests, in one binary.

#[path = "it/crds.rs"]
mod crds;
