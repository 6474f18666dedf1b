//! What a manifest names. Its bytes are kept as they came; this is only what must be read of them.
//!
//! The five types that are known (OCI's image, index and artifact manifests, Docker's forms of the first two) must have
//! their fields in their shapes. Anything else that is a JSON object is somebody's own format, which need not be like them:
//! of that, what can be read as descriptors in the same fields counts, so that the collector keeps it, and the rest is
//! nobody's business.

mod keys;

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::{Digest, MediaType};

/// A content descriptor (image-spec, descriptor.md).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the content is.
    pub media_type: MediaType,
    /// The content's digest.
    pub digest: Digest,
    /// The content's size in bytes.
    pub size: u64,
    /// What kind of artifact the described manifest is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Free annotations.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "texts")]
    pub annotations: Option<BTreeMap<String, String>>,
}

/// What is read of an image manifest, an index, an artifact manifest, or of Docker's forms of the first two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The type that it was put with.
    pub media_type: MediaType,
    /// `config`, if there is one.
    pub config: Option<Descriptor>,
    /// `layers`, and an artifact manifest's `blobs`.
    pub layers: Vec<Descriptor>,
    /// An index's `manifests`.
    pub manifests: Vec<Descriptor>,
    /// What this manifest is about: it is a referrer of that.
    pub subject: Option<Descriptor>,
    /// `artifactType`, or where that is absent the config's media type, as the referrers API wants it.
    pub artifact_type: Option<String>,
    /// The manifest's own annotations.
    pub annotations: Option<BTreeMap<String, String>>,
}

/// Why bytes are not a manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON, or a known field of another shape.
    #[error("the manifest cannot be read: {0}")]
    Malformed(#[from] serde_json::Error),
    /// JSON is UTF-8 (RFC 8259, section 8.1), in what is not looked at too: its readers are to be able to read it.
    #[error("the manifest is not UTF-8: {0}")]
    NotUtf8(#[from] std::str::Utf8Error),
    /// Docker's schema 1.
    #[error("Docker schema 1 manifests are not supported; push the image again with a current client")]
    Schema1,
    /// `schemaVersion` is not 2.
    #[error("schemaVersion must be 2, found {0}")]
    SchemaVersion(u64),
    /// CVE-2021-41190: the body says it is something else than the header.
    #[error("the manifest's mediaType `{body}` is not its Content-Type `{header}`")]
    MediaTypeMismatch {
        /// Of the body.
        body: String,
        /// Of the request.
        header: String,
    },
    /// CVE-2021-41190: both an image and an index.
    #[error("a manifest may have `layers` or `manifests`, not both")]
    Ambiguous,
    /// Nested deeper than any reader of it would follow.
    #[error("the manifest is nested more than {DEEPEST} levels deep")]
    TooDeep,
    /// CVE-2021-41190 by another way: Go matches keys whatever their case, and the last one counts.
    #[error(
        "the key `{key}` is taken for `{known}` by clients that pass over its case, and by others not: write `{known}`"
    )]
    AlmostKey {
        /// As it was sent.
        key: String,
        /// As it is to be.
        known: &'static str,
    },
    /// Neither the header nor the body says what it is.
    #[error("the manifest has no media type: neither a Content-Type nor a `mediaType`")]
    NoMediaType,
}

/// The deepest nesting of JSON that is taken. Real manifests have six levels; what is kept here is parsed by every
/// client that pulls it.
const DEEPEST: usize = 64;

/// What must be known before anything else can be judged.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Probe {
    #[serde(default)]
    media_type: Lenient<String>,
}

/// What Docker's schema 1 is known by, whatever type it is said to have; `history` and `signatures` others may have too.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Schema1 {
    schema_version: Lenient<u64>,
    fs_layers: Option<IgnoredAny>,
}

impl Schema1 {
    fn is_one(&self) -> bool {
        self.schema_version.0 == Some(1) && self.fs_layers.is_some()
    }
}

/// A known type. What must fit is refused where it does not.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: Option<u64>,
    #[serde(rename = "mediaType")]
    _media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    blobs: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    #[serde(default, deserialize_with = "texts")]
    annotations: Option<BTreeMap<String, String>>,
}

/// Go reads `null` as a text without characters.
fn texts<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<BTreeMap<String, String>>, D::Error> {
    let texts = Option::<BTreeMap<String, Option<String>>>::deserialize(deserializer)?;
    Ok(texts.map(|texts| texts.into_iter().map(|(key, text)| (key, text.unwrap_or_default())).collect()))
}

/// A type that is not known. What does not fit is passed over.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct OwnFormat {
    artifact_type: Lenient<String>,
    config: Lenient<Descriptor>,
    layers: Lenient<Vec<Lenient<Descriptor>>>,
    blobs: Lenient<Vec<Lenient<Descriptor>>>,
    manifests: Lenient<Vec<Lenient<Descriptor>>>,
    subject: Lenient<Descriptor>,
    annotations: Lenient<BTreeMap<String, String>>,
}

impl From<OwnFormat> for Raw {
    fn from(own: OwnFormat) -> Self {
        let OwnFormat { artifact_type, config, layers, blobs, manifests, subject, annotations } = own;
        let those = |list: Lenient<Vec<Lenient<Descriptor>>>| {
            let those: Vec<Descriptor> = list.0?.into_iter().filter_map(|each| each.0).collect();
            (!those.is_empty()).then_some(those)
        };
        Self {
            schema_version: None,
            _media_type: None,
            artifact_type: artifact_type.0,
            config: config.0,
            layers: those(layers),
            blobs: those(blobs),
            manifests: those(manifests),
            subject: subject.0,
            annotations: annotations.0,
        }
    }
}

/// A value, if it has this shape.
struct Lenient<T>(Option<T>);

impl<T> Default for Lenient<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Shape<T> {
            Fits(T),
            Other(IgnoredAny),
        }
        Ok(match Shape::deserialize(deserializer)? {
            Shape::Fits(value) => Self(Some(value)),
            Shape::Other(_) => Self(None),
        })
    }
}

impl Manifest {
    /// Reads what these bytes name. `content_type` is the request's, which the body's `mediaType` must not contradict.
    pub fn parse(content_type: Option<&MediaType>, bytes: &[u8]) -> Result<Self, ManifestError> {
        if content_type.is_some_and(MediaType::is_schema_1) {
            return Err(ManifestError::Schema1);
        }
        if is_deeper_than(DEEPEST, bytes) {
            return Err(ManifestError::TooDeep);
        }
        let text = std::str::from_utf8(bytes)?;
        if !text.trim_start().starts_with('{') {
            return Err(ManifestError::Malformed(serde::de::Error::custom("it is no JSON object")));
        }
        let Probe { media_type: Lenient(in_body) } = serde_json::from_str(text)?;
        let media_type = media_type(content_type, in_body.as_deref())?;
        if media_type.is_schema_1() {
            return Err(ManifestError::Schema1);
        }
        let raw = if media_type.is_manifest() {
            let raw: Raw = serde_json::from_str(text)?;
            check_schema_version(&media_type, raw.schema_version)?;
            raw
        } else {
            serde_json::from_str::<OwnFormat>(text)?.into()
        };
        if raw.manifests.is_some() && (raw.layers.is_some() || raw.config.is_some()) {
            return Err(ManifestError::Ambiguous);
        }
        let artifact_type = raw.artifact_type.filter(|text| !text.is_empty());
        Ok(Self {
            artifact_type: artifact_type.or_else(|| raw.config.as_ref().map(|config| config.media_type.to_string())),
            media_type,
            config: raw.config,
            layers: raw.layers.into_iter().chain(raw.blobs).flatten().collect(),
            manifests: raw.manifests.unwrap_or_default(),
            subject: raw.subject,
            annotations: raw.annotations,
        })
    }

    /// Refuses a manifest of a known type that means one thing to readers that look at the case of keys, and another to
    /// those that do not; and Docker's schema 1 under a type that is not its own. For what is pushed only: what is in a
    /// store already is read as it is.
    pub fn require_pushable(&self, bytes: &[u8]) -> Result<(), ManifestError> {
        if self.media_type.is_manifest() {
            return keys::require_exact(bytes);
        }
        if serde_json::from_slice::<Schema1>(bytes).is_ok_and(|probe| probe.is_one()) {
            return Err(ManifestError::Schema1);
        }
        Ok(())
    }

    /// Every blob that must be there: config and layers, without what registries need not hold.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        self.config.iter().chain(&self.layers).filter(|blob| !blob.media_type.is_non_distributable())
    }

    /// Everything that keeps alive what it names: blobs, foreign ones too if they are here, and child manifests.
    pub fn references(&self) -> impl Iterator<Item = &Descriptor> {
        self.config.iter().chain(&self.layers).chain(&self.manifests)
    }

    /// What is said of this manifest in its subject's referrers.
    pub fn descriptor(&self, digest: Digest, size: u64) -> Descriptor {
        Descriptor {
            media_type: self.media_type.clone(),
            digest,
            size,
            artifact_type: self.artifact_type.clone(),
            annotations: self.annotations.clone(),
        }
    }
}

fn media_type(header: Option<&MediaType>, body: Option<&str>) -> Result<MediaType, ManifestError> {
    match (header, body) {
        (Some(header), Some(body)) if header.as_str() != body => {
            Err(ManifestError::MediaTypeMismatch { body: body.to_owned(), header: header.to_string() })
        }
        (Some(header), _) => Ok(header.clone()),
        (None, Some(body)) => body.parse().map_err(|_| ManifestError::NoMediaType),
        (None, None) => Err(ManifestError::NoMediaType),
    }
}

/// Whether arrays and objects are nested deeper than this anywhere, also in what is not read.
fn is_deeper_than(deepest: usize, json: &[u8]) -> bool {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                depth += 1;
                if depth > deepest {
                    return true;
                }
            }
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// Artifact manifests have no `schemaVersion`.
fn check_schema_version(media_type: &MediaType, version: Option<u64>) -> Result<(), ManifestError> {
    match version {
        Some(2) => Ok(()),
        Some(1) => Err(ManifestError::Schema1),
        Some(other) => Err(ManifestError::SchemaVersion(other)),
        None if media_type.as_str() == MediaType::OCI_ARTIFACT => Ok(()),
        None => Err(ManifestError::SchemaVersion(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oci() -> MediaType {
        MediaType::oci_manifest()
    }

    fn descriptor(media_type: &str) -> String {
        format!(r#"{{"mediaType":"{media_type}","digest":"sha256:{}","size":1}}"#, "a".repeat(64))
    }

    #[test]
    fn a_manifest_says_what_it_names() {
        let text = format!(
            r#"{{"schemaVersion":2,"config":{},"layers":[{},{}],"subject":{}}}"#,
            descriptor("application/vnd.example.config"),
            descriptor("application/vnd.oci.image.layer.v1.tar"),
            descriptor("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
            descriptor(MediaType::OCI_MANIFEST),
        );
        let manifest = Manifest::parse(Some(&oci()), text.as_bytes()).unwrap();
        assert_eq!(manifest.blobs().count(), 2);
        assert_eq!(manifest.references().count(), 3);
        assert_eq!(manifest.artifact_type.as_deref(), Some("application/vnd.example.config"));
        assert!(manifest.subject.is_some());
    }

    #[test]
    fn what_is_of_somebodys_own_type_need_not_look_like_a_manifest() {
        let own: MediaType = "application/vnd.cyclonedx+json".parse().unwrap();
        let unregistered = format!(r#"{{"mediaType":"a/b","digest":"blake3:{}","size":1}}"#, "a".repeat(64));
        for text in [
            r#"{"schemaVersion":"1.0","bomFormat":"CycloneDX"}"#.to_owned(),
            r#"{"config":"text","layers":{"a":1},"manifests":[1],"annotations":[],"mediaType":7}"#.to_owned(),
            r#"{"schemaVersion":1}"#.to_owned(),
            format!(r#"{{"subject":{unregistered}}}"#),
        ] {
            let manifest = Manifest::parse(Some(&own), text.as_bytes()).unwrap();
            assert_eq!((manifest.references().count(), manifest.subject), (0, None), "{text}");
            assert_eq!(manifest.media_type, own);
            assert!(Manifest::parse(Some(&oci()), text.as_bytes()).is_err(), "{text}");
        }
        let one = descriptor("application/vnd.example");
        let text = format!(
            r#"{{"schemaVersion":[],"config":{one},"layers":[{one},3,{unregistered}],"blobs":[{one}],"subject":{one},"artifactType":"t"}}"#
        );
        let manifest = Manifest::parse(Some(&own), text.as_bytes()).unwrap();
        assert_eq!(manifest.references().count(), 3, "what it names is kept");
        assert!(manifest.subject.is_some() && manifest.artifact_type.as_deref() == Some("t"));
        for refused in ["[]", "7", "{", ""] {
            assert!(Manifest::parse(Some(&own), refused.as_bytes()).is_err(), "{refused}");
        }
        let schema_1 = format!(r#"{{"mediaType":"{}"}}"#, "application/vnd.docker.distribution.manifest.v1+json");
        assert!(matches!(Manifest::parse(None, schema_1.as_bytes()), Err(ManifestError::Schema1)));
    }

    #[test]
    fn schema_1_is_not_pushed_under_another_type_and_is_read_where_it_lies() {
        let own: MediaType = "application/json".parse().unwrap();
        let push = |text: &str| Manifest::parse(Some(&own), text.as_bytes()).unwrap().require_pushable(text.as_bytes());
        let refused = push(r#"{"schemaVersion":1,"name":"a","fsLayers":[],"history":[]}"#);
        assert!(matches!(refused, Err(ManifestError::Schema1)), "{refused:?}");
        for taken in [
            r#"{"schemaVersion":1}"#,
            r#"{"schemaVersion":"1","fsLayers":[]}"#,
            r#"{"schemaVersion":1,"history":[],"signatures":[]}"#,
        ] {
            push(taken).unwrap();
        }
    }

    /// CVE-2023-25153 and its kin.
    #[test]
    fn what_is_nested_too_deep_is_refused_also_in_fields_that_nobody_reads() {
        let nested = |depth: usize| {
            let (open, close) = ("[".repeat(depth), "]".repeat(depth));
            format!(r#"{{"schemaVersion":2,"brackets in a text":"[[\"[[","custom":{open}{close}}}"#)
        };
        assert!(Manifest::parse(Some(&oci()), nested(DEEPEST - 1).as_bytes()).is_ok());
        for depth in [DEEPEST, 1_000_000] {
            let parsed = Manifest::parse(Some(&oci()), nested(depth).as_bytes());
            assert!(matches!(parsed, Err(ManifestError::TooDeep)), "{depth}");
        }
    }

    #[test]
    fn a_body_that_contradicts_its_header_or_itself_is_refused() {
        let contradicts = format!(r#"{{"schemaVersion":2,"mediaType":"{}"}}"#, MediaType::OCI_INDEX);
        let both = r#"{"schemaVersion":2,"layers":[],"manifests":[]}"#;
        assert!(matches!(
            Manifest::parse(Some(&oci()), contradicts.as_bytes()),
            Err(ManifestError::MediaTypeMismatch { .. })
        ));
        assert!(matches!(Manifest::parse(Some(&oci()), both.as_bytes()), Err(ManifestError::Ambiguous)));
        assert!(matches!(Manifest::parse(Some(&oci()), br#"{"schemaVersion":1}"#), Err(ManifestError::Schema1)));
        assert!(matches!(Manifest::parse(Some(&oci()), b"[]"), Err(ManifestError::Malformed(_))));
        assert!(matches!(Manifest::parse(None, br#"{"schemaVersion":2}"#), Err(ManifestError::NoMediaType)));
    }
}
