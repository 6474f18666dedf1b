//! What clients ask a registry for, and whether what they see afterwards is what they may see.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::{Method, StatusCode};
use bytes::Bytes;
use regatta::oci::Digest;
use serde_json::Value;

use crate::registry_support::OCI_MANIFEST;
use crate::survival_ledger::{State, Thing};
use crate::survival_server::{Ask, manifest};

/// Something that a client asks for.
#[derive(Debug, Clone, Copy)]
pub enum Act<'a> {
    Blob(&'a str, &'a [u8]),
    /// In pieces, by an upload.
    Pieces(&'a str, &'a [u8]),
    MountFromAnywhere(&'a str, &'a [u8]),
    Mount {
        from: &'a str,
        to: &'a str,
        bytes: &'a [u8],
    },
    /// A manifest of one blob, told from others by a note, by tag.
    Manifest {
        repository: &'a str,
        tag: &'a str,
        blob: &'a [u8],
        note: &'a str,
    },
    ManifestByDigest {
        repository: &'a str,
        blob: &'a [u8],
        note: &'a str,
    },
    DeleteTag {
        repository: &'a str,
        tag: &'a str,
    },
    /// With the tags that may point to it.
    DeleteManifest {
        repository: &'a str,
        blob: &'a [u8],
        note: &'a str,
        tags: &'a [&'a str],
    },
    DeleteBlob(&'a str, &'a [u8]),
    /// The collector puts the blob's bytes into the trash; no client is told anything.
    Condemn(&'a [u8]),
}

fn manifest_digest(blob: &[u8], note: &str) -> Digest {
    Digest::sha256(manifest(&Digest::sha256(blob), note).as_bytes())
}

impl<'a> Act<'a> {
    /// What is different once it is done.
    pub fn changes(&self) -> Vec<(Thing, State)> {
        let blob = |repository: &str, bytes: &[u8]| Thing::Blob(repository.into(), Digest::sha256(bytes));
        let tag = |repository: &str, tag: &str| Thing::Tag(repository.into(), tag.into());
        match *self {
            Self::Blob(to, bytes)
            | Self::Pieces(to, bytes)
            | Self::MountFromAnywhere(to, bytes)
            | Self::Mount { to, bytes, .. } => {
                vec![(blob(to, bytes), Some(Digest::sha256(bytes)))]
            }
            Self::Manifest { repository, tag: name, blob, note } => {
                let digest = manifest_digest(blob, note);
                let manifest = Thing::Manifest(repository.into(), digest.clone());
                vec![(manifest, Some(digest.clone())), (tag(repository, name), Some(digest))]
            }
            Self::ManifestByDigest { repository, blob, note } => {
                let digest = manifest_digest(blob, note);
                vec![(Thing::Manifest(repository.into(), digest.clone()), Some(digest))]
            }
            Self::DeleteTag { repository, tag: name } => vec![(tag(repository, name), None)],
            Self::DeleteManifest { repository, blob, note, tags } => {
                let manifest = Thing::Manifest(repository.into(), manifest_digest(blob, note));
                tags.iter().map(|name| (tag(repository, name), None)).chain([(manifest, None)]).collect()
            }
            Self::DeleteBlob(repository, bytes) => vec![(blob(repository, bytes), None)],
            Self::Condemn(_) => Vec::new(),
        }
    }

    /// Asks for it; `None` where no answer came.
    pub async fn send(&self, to: &impl Ask) -> Option<StatusCode> {
        match *self {
            Self::Blob(repository, bytes) => {
                let path = format!("/v2/{repository}/blobs/uploads/?digest={}", Digest::sha256(bytes));
                status(to, Method::POST, &path, bytes).await
            }
            Self::Pieces(repository, bytes) => push_in_pieces(to, repository, bytes).await,
            Self::MountFromAnywhere(name, bytes) => {
                mount(to, format!("/v2/{name}/blobs/uploads/?mount={}", Digest::sha256(bytes))).await
            }
            Self::Mount { from, to: name, bytes } => {
                mount(to, format!("/v2/{name}/blobs/uploads/?mount={}&from={from}", Digest::sha256(bytes))).await
            }
            Self::Manifest { repository, tag, blob, note } => {
                let text = manifest(&Digest::sha256(blob), note);
                let path = format!("/v2/{repository}/manifests/{tag}");
                Some(to.ask(Method::PUT, &path, OCI_MANIFEST, text.into()).await?.status)
            }
            Self::ManifestByDigest { repository, blob, note } => {
                let text = manifest(&Digest::sha256(blob), note);
                let path = format!("/v2/{repository}/manifests/{}", Digest::sha256(text.as_bytes()));
                Some(to.ask(Method::PUT, &path, OCI_MANIFEST, text.into()).await?.status)
            }
            Self::DeleteTag { repository, tag } => {
                status(to, Method::DELETE, &format!("/v2/{repository}/manifests/{tag}"), b"").await
            }
            Self::DeleteManifest { repository, blob, note, .. } => {
                let path = format!("/v2/{repository}/manifests/{}", manifest_digest(blob, note));
                status(to, Method::DELETE, &path, b"").await
            }
            Self::DeleteBlob(repository, bytes) => {
                status(to, Method::DELETE, &format!("/v2/{repository}/blobs/{}", Digest::sha256(bytes)), b"").await
            }
            Self::Condemn(bytes) => {
                to.condemn(Digest::sha256(bytes)).await;
                Some(StatusCode::OK)
            }
        }
    }

    /// The repository and the bytes of what is uploaded.
    pub fn upload(&self) -> Option<(&'a str, &'a [u8])> {
        match *self {
            Self::Blob(repository, bytes) | Self::Pieces(repository, bytes) => Some((repository, bytes)),
            Self::MountFromAnywhere(..)
            | Self::Mount { .. }
            | Self::Manifest { .. }
            | Self::ManifestByDigest { .. }
            | Self::DeleteTag { .. }
            | Self::DeleteManifest { .. }
            | Self::DeleteBlob(..)
            | Self::Condemn(_) => None,
        }
    }

    pub fn is_delete(&self) -> bool {
        matches!(self, Self::DeleteTag { .. } | Self::DeleteManifest { .. } | Self::DeleteBlob(..))
    }
}

async fn status(to: &impl Ask, method: Method, path: &str, body: &[u8]) -> Option<StatusCode> {
    let answer = to.ask(method, path, "application/octet-stream", Bytes::copy_from_slice(body)).await;
    answer.map(|answer| answer.status)
}

async fn mount(to: &impl Ask, path: String) -> Option<StatusCode> {
    let status = status(to, Method::POST, &path, b"").await?;
    // 202 is an upload instead of a mount: not what was asked for.
    Some(if status == StatusCode::ACCEPTED { StatusCode::CONFLICT } else { status })
}

async fn push_in_pieces(to: &impl Ask, repository: &str, bytes: &[u8]) -> Option<StatusCode> {
    let uploads = format!("/v2/{repository}/blobs/uploads/");
    let begun = to.ask(Method::POST, &uploads, "text/plain", Bytes::new()).await?;
    let place = begun.header("location").to_owned();
    for piece in bytes.chunks(bytes.len().div_ceil(2)) {
        let status = status(to, Method::PATCH, &place, piece).await?;
        if status != StatusCode::ACCEPTED {
            return Some(status);
        }
    }
    status(to, Method::PUT, &format!("{place}?digest={}", Digest::sha256(bytes)), b"").await
}

/// Everything that is wrong with what the server says, given what each thing may be.
pub async fn wrongs(node: &impl Ask, allowed: &BTreeMap<Thing, BTreeSet<State>>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (thing, states) in allowed {
        let Some(answer) = node.get(&thing.path()).await else {
            wrong.push(format!("{thing:?} is not answered"));
            continue;
        };
        let state = match answer.status {
            StatusCode::OK => Some(Digest::sha256(&answer.body)),
            StatusCode::NOT_FOUND => None,
            other => {
                wrong.push(format!("{thing:?} is answered {other}"));
                continue;
            }
        };
        if !states.contains(&state) {
            wrong.push(format!("{thing:?} is {state:?}, and may be {states:?}"));
        }
        // What is listed is there, and what is served has all that it names.
        if let (Thing::Tag(repository, _) | Thing::Manifest(repository, _), Some(_)) = (thing, &state) {
            wrong.extend(missing(node, repository, &answer.body).await);
        }
        let head = status(node, Method::HEAD, &thing.path(), b"").await.unwrap_or_default();
        // A blob that is condemned is served, and HEAD says that it is to be pushed again.
        let agree = if matches!(thing, Thing::Blob(..)) {
            head != StatusCode::OK || state.is_some()
        } else {
            (head == StatusCode::OK) == state.is_some()
        };
        if !agree {
            wrong.push(format!("HEAD of {thing:?} says {head}, GET {state:?}"));
        }
    }
    wrong.extend(unlisted(node, allowed).await);
    wrong
}

async fn missing(node: &impl Ask, repository: &str, manifest: &[u8]) -> Vec<String> {
    let Ok(value) = serde_json::from_slice::<Value>(manifest) else {
        return vec![format!("half a manifest of {repository} is served")];
    };
    let mut wrong = Vec::new();
    for named in value["layers"].as_array().unwrap() {
        let digest = named["digest"].as_str().unwrap();
        let answer = node.get(&format!("/v2/{repository}/blobs/{digest}")).await.unwrap_or_default();
        if Digest::sha256(&answer.body).as_str() != digest {
            wrong.push(format!("a manifest of {repository} is served, and its blob is answered {}", answer.status));
        }
    }
    wrong
}

/// Tags that must be there are listed, and nothing is listed that cannot be.
async fn unlisted(node: &impl Ask, allowed: &BTreeMap<Thing, BTreeSet<State>>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (thing, states) in allowed {
        let Thing::Tag(repository, tag) = thing else { continue };
        let answer = node.get(&format!("/v2/{repository}/tags/list")).await.unwrap_or_default();
        let listed: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let is_listed = listed["tags"].as_array().is_some_and(|tags| tags.iter().any(|name| name == tag));
        let must = !states.contains(&None);
        let may = states.iter().any(Option::is_some);
        if (is_listed && !may) || (!is_listed && must) {
            wrong.push(format!("{thing:?} may be {states:?}, and the list says {listed} ({})", answer.status));
        }
    }
    wrong
}
