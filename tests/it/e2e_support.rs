//! What the end-to-end modules share: clusters of this process's own, a namespace a test, requests to registries, and
//! waiting for a condition.

#[path = "e2e_support/client.rs"]
pub mod client;
#[path = "e2e_support/cluster.rs"]
pub mod cluster;
#[path = "e2e_support/process.rs"]
pub mod process;
#[path = "e2e_support/puller.rs"]
pub mod puller;
#[path = "e2e_support/stage.rs"]
pub mod stage;
#[path = "e2e_support/state.rs"]
pub mod state;
#[path = "e2e_support/waiting.rs"]
pub mod waiting;
