//! Who is asking, what a token proves, and who may do what. Pure but for the hashing of passwords.
//!
//! A decision is made at every request, from the identity and the access of *now*; a token proves the identity and can
//! only narrow. This room knows neither HTTP nor where access documents come from.

pub mod access;
pub mod htpasswd;
pub mod identity;
pub mod scope;
pub mod secrets;
pub mod token;
pub mod verifier;

pub use access::{Access, Decision, Permission, Project, Role, decide};
pub use identity::Identity;
pub use scope::Scope;
pub use token::{TokenIssuer, TokenKey};
pub use verifier::{Configured, Verifier};
