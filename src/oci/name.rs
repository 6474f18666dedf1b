//! Names of repositories and tags, and references (distribution-spec, "Pulling manifests").

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Digest, Invalid, text_type};

/// The name of a repository: path components of `[a-z0-9]+` with separators `.`, `_`, `__` or dashes between, joined
/// by `/`; at most 255 characters, and 254 a component, so that every name is a path on every filesystem: stores put
/// one character behind it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepositoryName(String);

impl RepositoryName {
    /// The most characters of a name.
    pub const MAX_LENGTH: usize = 255;

    /// The most characters of a component.
    pub const MAX_COMPONENT: usize = 254;

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first component.
    pub fn namespace(&self) -> &str {
        self.0.split('/').next().unwrap_or_default()
    }

    /// Whether a prefix covers this name: it is the name, or its components begin the name.
    pub fn is_within(&self, prefix: &str) -> bool {
        self.0.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

text_type!(RepositoryName);

impl FromStr for RepositoryName {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = |why| Invalid::new("repository name", text, why);
        if text.len() > Self::MAX_LENGTH {
            return Err(invalid("at most 255 characters"));
        }
        if text.split('/').any(|component| component.len() > Self::MAX_COMPONENT) {
            return Err(invalid("at most 254 characters between two `/`"));
        }
        if !text.split('/').all(is_component) {
            return Err(invalid(
                "components of a-z and 0-9, parted inside by one `.`, one or two `_` or dashes, joined by `/`",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(text: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    if !alphanumeric(*first) || !alphanumeric(*last) {
        return false;
    }
    bytes.split(|b| alphanumeric(*b)).filter(|separator| !separator.is_empty()).all(is_separator)
}

fn is_separator(bytes: &[u8]) -> bool {
    matches!(bytes, b"." | b"_" | b"__") || bytes.iter().all(|b| *b == b'-')
}

/// A tag: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tag(String);

impl Tag {
    /// The tag.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

text_type!(Tag);

impl FromStr for Tag {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let good = text.len() <= 128
            && text.bytes().next().is_some_and(word)
            && text.bytes().all(|b| word(b) || b == b'.' || b == b'-');
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::new("tag", text, "1 to 128 of a-z A-Z 0-9 _ . - of which the first is not . or -"))
        }
    }
}

/// What a manifest is asked for by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Reference {
    /// By tag.
    Tag(Tag),
    /// By digest.
    Digest(Digest),
}

impl FromStr for Reference {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        // A tag has no colon and a digest always one, so no text is both.
        if text.contains(':') { text.parse().map(Self::Digest) } else { text.parse().map(Self::Tag) }
    }
}

impl Reference {
    /// As in a URL.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Tag(tag) => tag.as_str(),
            Self::Digest(digest) => digest.as_str(),
        }
    }
}

text_type!(Reference);

impl From<Tag> for Reference {
    fn from(tag: Tag) -> Self {
        Self::Tag(tag)
    }
}

impl From<Digest> for Reference {
    fn from(digest: Digest) -> Self {
        Self::Digest(digest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn repository_names_follow_the_grammar_of_the_specification() {
        for good in ["a", "library/nginx", "a.b_c__d-e---f/0", "a/b/c/d"] {
            assert!(good.parse::<RepositoryName>().is_ok(), "{good}");
        }
        for bad in
            ["", "/", "a/", "/a", "A", "a..b", "a___b", "-a", "a-", "a/../b", "_a", "a/_uploads", "a b", "a%2fb", "é"]
        {
            assert!(bad.parse::<RepositoryName>().is_err(), "{bad}");
        }
        assert!("a".repeat(254).parse::<RepositoryName>().is_ok());
        assert!(
            "a".repeat(255).parse::<RepositoryName>().is_err(),
            "the catalog's key of it is a longer name than there may be"
        );
        assert!(format!("{}/{}", "a".repeat(127), "b".repeat(127)).parse::<RepositoryName>().is_ok());
        assert!("a".repeat(256).parse::<RepositoryName>().is_err());
    }

    #[test]
    fn a_prefix_covers_whole_components_only() {
        let name: RepositoryName = "team/app".parse().unwrap();
        assert!(name.is_within("team") && name.is_within("team/app"));
        assert!(!name.is_within("tea") && !name.is_within("team/ap") && !name.is_within("team/app/x"));
    }

    #[test]
    fn a_reference_with_a_colon_is_a_digest_or_nothing() {
        assert!(matches!("v1.0".parse(), Ok(Reference::Tag(_))));
        assert!("sha256:abc".parse::<Reference>().is_err());
        assert!(".hidden".parse::<Reference>().is_err());
        assert!("a".repeat(129).parse::<Tag>().is_err());
    }

    proptest! {
        #[test]
        fn whatever_is_a_name_can_be_no_path_out_of_its_directory(text in "[a-z0-9._/-]{0,40}") {
            if let Ok(name) = text.parse::<RepositoryName>() {
                prop_assert!(name.as_str().split('/').all(|c| !c.is_empty() && c != "." && c != ".." && !c.starts_with('_')));
            }
        }
    }
}
