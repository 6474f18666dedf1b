//! What clients ask a registry for, and whether what they see afterwards is what they may see.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::{Method, StatusCode};
use bytes::Bytes;
use regatta::oci::{Algorithm, Digest, MediaType};
use serde_json::{Value, json};

use crate::registry_support::OCI_MANIFEST;
use crate::survival_ledger::{State, Thing};
use crate::survival_server::{Ask, manifest};

/// Something that a client asks for.
#[derive(Debug, Clone, Copy)]
pub enum Act<'a> {
    Blob(&'a str, &'a [u8]),
    /// By its SHA-512.
    BlobBySha512(&'a str, &'a [u8]),
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
    /// The same with two tags or more, in one request.
    ManifestWithTags {
        repository: &'a str,
        tags: &'a [&'a str],
        blob: &'a [u8],
        note: &'a str,
    },
    /// A manifest whose subject is that of the same blob with another note.
    Referrer {
        repository: &'a str,
        blob: &'a [u8],
        note: &'a str,
        subject: &'a str,
    },
    /// An index of manifests of one blob with these notes, by tag.
    Index {
        repository: &'a str,
        tag: &'a str,
        blob: &'a [u8],
        notes: &'a [&'a str],
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

fn to_manifest(blob: &[u8], note: &str) -> Value {
    let text = manifest(&Digest::sha256(blob), note);
    json!({ "mediaType": OCI_MANIFEST, "digest": Digest::sha256(text.as_bytes()), "size": text.len() })
}

fn referrer(blob: &[u8], note: &str, subject: &str) -> String {
    let mut value: Value = serde_json::from_str(&manifest(&Digest::sha256(blob), note)).unwrap();
    value["subject"] = to_manifest(blob, subject);
    value.to_string()
}

fn index(blob: &[u8], notes: &[&str]) -> String {
    let manifests: Vec<Value> = notes.iter().map(|note| to_manifest(blob, note)).collect();
    json!({ "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": manifests }).to_string()
}

impl<'a> Act<'a> {
    /// What is different once it is done.
    pub fn changes(&self) -> Vec<(Thing, State)> {
        let blob = |repository: &str, bytes: &[u8]| Thing::Blob(repository.into(), Digest::sha256(bytes));
        let tag = |repository: &str, tag: &str| Thing::Tag(repository.into(), tag.into());
        // Whoever names a blob takes it out of the trash.
        let rescued = |bytes: &[u8]| (Thing::Condemned(Digest::sha256(bytes)), None);
        let put = |repository: &str, digest: Digest, tags: &[&str]| -> Vec<(Thing, State)> {
            let manifest = Thing::Manifest(repository.into(), digest.clone());
            let tags = tags.iter().map(|name| (tag(repository, name), Some(digest.clone())));
            [(manifest, Some(digest.clone()))].into_iter().chain(tags).collect()
        };
        match *self {
            Self::Blob(to, bytes)
            | Self::Pieces(to, bytes)
            | Self::MountFromAnywhere(to, bytes)
            | Self::Mount { to, bytes, .. } => {
                vec![rescued(bytes), (blob(to, bytes), Some(Digest::sha256(bytes)))]
            }
            Self::BlobBySha512(to, bytes) => {
                let digest = Digest::of(Algorithm::Sha512, bytes);
                vec![(Thing::Blob(to.into(), digest.clone()), Some(digest))]
            }
            Self::Manifest { repository, tag: name, blob, note } => {
                [vec![rescued(blob)], put(repository, manifest_digest(blob, note), &[name])].concat()
            }
            Self::ManifestByDigest { repository, blob, note } => {
                [vec![rescued(blob)], put(repository, manifest_digest(blob, note), &[])].concat()
            }
            Self::ManifestWithTags { repository, tags, blob, note } => {
                [vec![rescued(blob)], put(repository, manifest_digest(blob, note), tags)].concat()
            }
            Self::Referrer { repository, blob, note, subject } => {
                let digest = Digest::sha256(referrer(blob, note, subject).as_bytes());
                let subject = manifest_digest(blob, subject);
                let listed = Thing::Referrer { repository: repository.into(), subject, digest: digest.clone() };
                [put(repository, digest.clone(), &[]), vec![rescued(blob), (listed, Some(digest))]].concat()
            }
            Self::Index { repository, tag: name, blob, notes } => {
                put(repository, Digest::sha256(index(blob, notes).as_bytes()), &[name])
            }
            Self::DeleteTag { repository, tag: name } => vec![(tag(repository, name), None)],
            Self::DeleteManifest { repository, blob, note, tags } => {
                let manifest = Thing::Manifest(repository.into(), manifest_digest(blob, note));
                tags.iter().map(|name| (tag(repository, name), None)).chain([(manifest, None)]).collect()
            }
            Self::DeleteBlob(repository, bytes) => vec![(blob(repository, bytes), None)],
            Self::Condemn(bytes) => {
                vec![(Thing::Condemned(Digest::sha256(bytes)), Some(Digest::sha256(bytes)))]
            }
        }
    }

    /// Asks for it; `None` where no answer came.
    pub async fn send(&self, to: &impl Ask) -> Option<StatusCode> {
        match *self {
            Self::Blob(repository, bytes) => {
                let path = format!("/v2/{repository}/blobs/uploads/?digest={}", Digest::sha256(bytes));
                status(to, Method::POST, &path, bytes).await
            }
            Self::BlobBySha512(repository, bytes) => {
                let path = format!("/v2/{repository}/blobs/uploads/?digest={}", Digest::of(Algorithm::Sha512, bytes));
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
            Self::ManifestWithTags { repository, tags, blob, note } => {
                let text = manifest(&Digest::sha256(blob), note);
                let query: Vec<String> = tags.iter().map(|tag| format!("tag={tag}")).collect();
                let digest = Digest::sha256(text.as_bytes());
                let path = format!("/v2/{repository}/manifests/{digest}?{}", query.join("&"));
                let answer = to.ask(Method::PUT, &path, OCI_MANIFEST, text.into()).await?;
                assert!(!answer.status.is_success() || answer.header("oci-tag").split(", ").eq(tags.iter().copied()));
                Some(answer.status)
            }
            Self::Referrer { repository, blob, note, subject } => {
                let text = referrer(blob, note, subject);
                let path = format!("/v2/{repository}/manifests/{}", Digest::sha256(text.as_bytes()));
                let answer = to.ask(Method::PUT, &path, OCI_MANIFEST, text.into()).await?;
                let told = answer.header("oci-subject") == manifest_digest(blob, subject).as_str();
                assert!(!answer.status.is_success() || told, "{answer:?}");
                Some(answer.status)
            }
            Self::Index { repository, tag, blob, notes } => {
                let path = format!("/v2/{repository}/manifests/{tag}");
                Some(to.ask(Method::PUT, &path, MediaType::OCI_INDEX, index(blob, notes).into()).await?.status)
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
            | Self::ManifestWithTags { .. }
            | Self::Referrer { .. }
            | Self::Index { .. }
            | Self::BlobBySha512(..)
            | Self::DeleteTag { .. }
            | Self::DeleteManifest { .. }
            | Self::DeleteBlob(..)
            | Self::Condemn(_) => None,
        }
    }

    /// The manifest that is to be deleted, and with it whatever tags point to it.
    pub fn deleted_manifest(&self) -> Option<Digest> {
        match *self {
            Self::DeleteManifest { blob, note, .. } => Some(manifest_digest(blob, note)),
            _ => None,
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
        match thing {
            Thing::Tag(..) | Thing::Manifest(..) | Thing::Blob(..) => {
                wrong.extend(wrong_with(node, thing, states, allowed).await);
            }
            Thing::Referrer { .. } | Thing::Condemned(_) => {}
        }
    }
    wrong.extend(unlisted(node, allowed).await);
    wrong.extend(unreferred(node, allowed).await);
    wrong.extend(not_in_catalog(node, allowed).await);
    wrong
}

async fn wrong_with(
    node: &impl Ask,
    thing: &Thing,
    states: &BTreeSet<State>,
    allowed: &BTreeMap<Thing, BTreeSet<State>>,
) -> Vec<String> {
    let Some(answer) = node.get(&thing.path()).await else { return vec![format!("{thing:?} is not answered")] };
    let algorithm = match thing {
        Thing::Blob(_, digest) => digest.algorithm(),
        _ => Algorithm::Sha256,
    };
    let state = match answer.status {
        StatusCode::OK => Some(Digest::of(algorithm, &answer.body)),
        StatusCode::NOT_FOUND => None,
        other => return vec![format!("{thing:?} is answered {other}")],
    };
    let mut wrong = Vec::new();
    if !states.contains(&state) {
        wrong.push(format!("{thing:?} is {state:?}, and may be {states:?}"));
    }
    // What is listed is there, and what is served has all that it names.
    if let (Thing::Tag(repository, _) | Thing::Manifest(repository, _), Some(_)) = (thing, &state) {
        wrong.extend(missing(node, repository, &answer.body).await);
    }
    let head = status(node, Method::HEAD, &thing.path(), b"").await.unwrap_or_default();
    // A blob that is condemned is served, and HEAD says that it is to be pushed again.
    let may_be_condemned = match thing {
        Thing::Blob(_, digest) => {
            let condemned = allowed.get(&Thing::Condemned(digest.clone()));
            condemned.is_some_and(|states| states.iter().any(Option::is_some))
        }
        _ => false,
    };
    let agree = match (head, &state) {
        (StatusCode::OK, Some(_)) | (StatusCode::NOT_FOUND, None) => true,
        (StatusCode::NOT_FOUND, Some(_)) => may_be_condemned,
        _ => false,
    };
    if !agree {
        wrong.push(format!("HEAD of {thing:?} says {head}, GET {state:?}"));
    }
    wrong
}

/// Manifests that were answered with `OCI-Subject` are in their subject's list, and no others.
async fn unreferred(node: &impl Ask, allowed: &BTreeMap<Thing, BTreeSet<State>>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (thing, states) in allowed {
        let Thing::Referrer { digest, .. } = thing else { continue };
        let answer = node.get(&thing.path()).await.unwrap_or_default();
        let list: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let mut listed = list["manifests"].as_array().into_iter().flatten();
        let state = listed.any(|listed| listed["digest"] == digest.as_str()).then(|| digest.clone());
        if answer.status != StatusCode::OK || !states.contains(&state) {
            wrong.push(format!("{thing:?} may be {states:?}, and the list says {list} ({})", answer.status));
        }
    }
    wrong
}

/// Repositories in which there is a manifest are in the catalog.
async fn not_in_catalog(node: &impl Ask, allowed: &BTreeMap<Thing, BTreeSet<State>>) -> Vec<String> {
    let must: BTreeSet<&str> = allowed
        .iter()
        .filter(|(_, states)| !states.contains(&None))
        .filter_map(|(thing, _)| match thing {
            Thing::Tag(repository, _) | Thing::Manifest(repository, _) => Some(repository.as_str()),
            Thing::Blob(..) | Thing::Referrer { .. } | Thing::Condemned(_) => None,
        })
        .collect();
    if must.is_empty() {
        return Vec::new();
    }
    let answer = node.get("/v2/_catalog?n=1000").await.unwrap_or_default();
    let catalog: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let listed: BTreeSet<&str> =
        catalog["repositories"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let missing: Vec<_> = must.difference(&listed).collect();
    if missing.is_empty() {
        Vec::new()
    } else {
        vec![format!("{missing:?} are not in the catalog {catalog} ({})", answer.status)]
    }
}

async fn missing(node: &impl Ask, repository: &str, manifest: &[u8]) -> Vec<String> {
    let Ok(value) = serde_json::from_slice::<Value>(manifest) else {
        return vec![format!("half a manifest of {repository} is served")];
    };
    let mut wrong = Vec::new();
    for (field, kind) in [("layers", "blobs"), ("manifests", "manifests")] {
        for named in value[field].as_array().into_iter().flatten() {
            let digest = named["digest"].as_str().unwrap();
            let answer = node.get(&format!("/v2/{repository}/{kind}/{digest}")).await.unwrap_or_default();
            if Digest::sha256(&answer.body).as_str() != digest {
                wrong.push(format!("a manifest of {repository} is served, and {kind}/{digest} is {}", answer.status));
            }
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
