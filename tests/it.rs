//! The integration tests, in one binary.

#[path = "it/crds.rs"]
mod crds;
#[path = "it/replicate_support.rs"]
mod replicate_support;

#[path = "it/replicate_copy.rs"]
mod replicate_copy;
#[path = "it/replicate_defects.rs"]
mod replicate_defects;
#[path = "it/replicate_follow.rs"]
mod replicate_follow;
