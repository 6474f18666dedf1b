//! Regatta: fleets of container registries on Kubernetes.
//!
//! `ARCHITECTURE.md` has the map: which room is what, and who may use whom.

pub mod admin;
pub mod client;
pub mod commands;
pub mod oci;
pub mod replicate;
