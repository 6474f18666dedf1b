//! Regatta: fleets of container registries on Kubernetes.
//!
//! `ARCHITECTURE.md` has the map: which room is what, and who may use whom.

pub mod admin;
pub mod api;
pub mod auth;
pub mod cli;
pub mod client;
pub mod clock;
pub mod commands;
pub mod gc;
pub mod oci;
pub mod operator;
pub mod registry;
pub mod replicate;
pub mod server;
pub mod settings;
pub mod store;
pub mod telemetry;
