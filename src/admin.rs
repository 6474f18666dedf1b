//! Regatta's own HTTP API as types: what operator, replicator and server say to one another.
//!
//! Served on a registry's internal port under `/admin/v1/`, always over TLS with the certificate that the operator
//! made and pins. This room knows the shapes, the signatures and a typed client; what they *mean* is decided by the
//! server (which converts them to `auth`'s types), the operator (which compiles them) and the replicator.
//!
//! | method and path | who | what |
//! |---|---|---|
//! | `GET /admin/v1/store` | operator, replicator | [`StoreState`] |
//! | `GET /admin/v1/access` | operator | [`AccessState`]: what this pod has in force, and the store's newest |
//! | `PUT /admin/v1/access` (`If-Match: "G"`) | operator | a [`SignedDocument`] of generation G+1; answers [`AccessState`] |
//! | `POST /admin/v1/terms` | operator | [`TermRequest`] -> [`Term`] |
//! | `GET /admin/v1/edges?after=G&wait=S` | operator, replicator | [`EdgesDocument`]; waits up to S seconds for one newer than G |
//! | `PUT /admin/v1/edges` (`If-Match: "G"`) | operator | [`EdgesDocument`] of generation G+1 |
//! | `GET /admin/v1/edges/status` | operator | every [`EdgeStatus`] |
//! | `PUT /admin/v1/edges/{id}/status` | replicator | [`EdgeStatus`] |
//! | `GET /admin/v1/runs/{name}` | operator | [`CollectionSummary`], the whole of it |
//! | `GET /admin/v1/journal?cursor=C&wait=S` | replicator | [`JournalPage`] |
//!
//! The operator proves itself by a short-lived token in `X-Regatta-Authorization` (see [`token`]); a replicator by
//! Basic credentials that have the replicator right. Errors are [`Problem`]s.

pub mod access;
pub mod client;
pub mod edges;
pub mod globs;
pub mod journal;
pub mod keys;
pub mod runs;
pub mod token;

pub use access::{
    AccessDocument, AccessState, Binding, Claim, DocumentError, Grant, OwnerRef, ProjectAccess, Robot, Role,
    SignedDocument, Subject,
};
pub use edges::{
    Deletions, DestinationCursor, Edge, EdgeState, EdgeStatus, EdgesDocument, Filters, PolicyRef, Remote, Totals,
    Trigger, Withheld, WithheldReason,
};
pub use journal::{Change, JournalPage};
pub use keys::{Key, KeySet};
pub use runs::{CollectionCounts, CollectionSummary};

use serde::{Deserialize, Serialize};

/// The header that carries the operator's token. Not `Authorization`: the API server's proxy strips that one.
pub const AUTHORIZATION_HEADER: &str = "x-regatta-authorization";

/// What the store behind a registry is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreState {
    /// The store's identity, made once, when the store was first opened. Another identity at the same place means
    /// that the volume was replaced or restored.
    pub identity: String,
    /// The format that the store carries.
    pub format: u32,
    /// True while a collector holds the store read-only.
    pub read_only: bool,
    /// The version of the server that answers.
    pub version: String,
    /// For how many seconds the server may not see what another one did, where its volume's mount does not show that at
    /// once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staleness_seconds: Option<u64>,
}

/// A request for a term: one for each operator process that won the Lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TermRequest {
    /// A nonce of the process that asks. Asking again with the same nonce answers the same term.
    pub holder: String,
}

/// A term of office, allocated by the registry's store. A document of a lower term than the greatest is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Term {
    /// 1, 2, 3 ...
    pub term: u64,
}

/// The body of every error of the admin API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// What is wrong, for programs.
    pub code: ProblemCode,
    /// What is wrong and what to do, for people.
    pub message: String,
    /// With [`ProblemCode::GenerationMismatch`], [`ProblemCode::StaleTerm`] and
    /// [`ProblemCode::StoreOwnedByAnother`]: what the store has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<AccessState>,
}

/// Why the admin API refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ProblemCode {
    /// 401: no token, or one that is expired, of another registry or bound to another body.
    Unauthorized,
    /// 403: an identity that may not do this.
    Forbidden,
    /// 412: `If-Match` is not the store's newest generation.
    GenerationMismatch,
    /// 409: a greater term is known; this operator is not the leader any more.
    StaleTerm,
    /// 409: the store's documents carry another Registry's UID and `takeOver` does not name it.
    StoreOwnedByAnother,
    /// 400: the body is not what it should be.
    Invalid,
    /// 404
    NotFound,
    /// 503: the store did not answer, or is held read-only by a collector.
    Unavailable,
}
