//! The suite that every backend passes, for use outside the crate.

pub use regatta::store::{Child, Durability, Key, Published, PutNew, Store};

#[path = "../../src/store/suite.rs"]
pub mod suite;
