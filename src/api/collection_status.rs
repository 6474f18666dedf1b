//! What a GarbageCollection's status says of its runs.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A run that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunningCollection {
    /// Name of its Job.
    #[schemars(length(max = 63))]
    pub job: String,
    /// The value of regatta.dev/requested-at that it answers.
    #[schemars(length(max = 256))]
    pub request: String,
}

/// A run that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CollectionRun {
    /// Name of its Job.
    #[schemars(length(max = 63))]
    pub job: String,
    /// The value of regatta.dev/requested-at that it answered.
    #[schemars(length(max = 256))]
    pub request: String,
    /// Whether it ran to its end.
    pub succeeded: bool,
    /// Whether nothing was changed on purpose.
    #[serde(default)]
    pub dry_run: bool,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub finished_at: Option<Timestamp>,
    /// Things looked at.
    #[serde(default)]
    pub scanned: Counts,
    /// Unreached things that were put into the trash.
    #[serde(default)]
    pub condemned: Counts,
    /// Things that were found needed again and taken back.
    #[serde(default)]
    pub rescued: Counts,
    /// Things that were removed for good.
    #[serde(default)]
    pub purged: Counts,
    /// Bytes that came free.
    #[serde(default)]
    pub bytes_freed: i64,
    /// Things that could not be looked at or removed.
    #[serde(default)]
    pub errors: i64,
    /// The first error, or why the run ended early.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub message: Option<String>,
}

/// Counts by kind of thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Counts {
    /// Manifests in repositories.
    pub manifests: i64,
    /// Links from repositories to blobs.
    pub links: i64,
    /// Blobs' data.
    pub blobs: i64,
}
