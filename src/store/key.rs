//! Keys: relative paths that can lead nowhere else.

use std::fmt;

/// A key: components joined by `/`, each of 1 to 255 bytes, without control characters, and none beginning with a dot:
/// those names are the filesystem's (`..`, `.nfs0000…` of a file that was deleted while it was open, `.snapshot`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

/// A text that is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a key")]
pub struct KeyError(String);

impl Key {
    /// From a text of components joined by `/`.
    pub fn new(text: impl Into<String>) -> Result<Self, KeyError> {
        let text = text.into();
        let good = |c: &str| {
            (1..=255).contains(&c.len())
                && !c.starts_with('.')
                && !c.bytes().any(|b| b < b' ' || b == b'\\' || b == 0x7f)
        };
        if text.len() <= 4_000 && text.split('/').all(good) { Ok(Self(text)) } else { Err(KeyError(text)) }
    }

    /// From parts that have grammars of their own (digests, names, numbers), which this crate wrote.
    ///
    /// # Panics
    /// In debug builds, where they make no key: a defect of the caller.
    pub fn of(text: String) -> Self {
        debug_assert!(Self::new(text.clone()).is_ok(), "not a key: {text}");
        Self(text)
    }

    /// The key one component further down.
    #[must_use]
    pub fn join(&self, component: impl fmt::Display) -> Self {
        Self::of(format!("{}/{component}", self.0))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last component.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_leads_out_of_the_store() {
        for bad in ["", "/", "/a", "a/", "a//b", "..", "a/../b", ".", "a/./b", "a\0b", "a\\b", "a\nb"] {
            assert!(Key::new(bad).is_err(), "{bad:?}");
        }
        for dotted in ["a/b!/..c", ".a", "a/.nfs0001"] {
            assert!(Key::new(dotted).is_err(), "{dotted}");
        }
        assert!(Key::new("a/b!/c..").is_ok());
        assert!(Key::new("x".repeat(256)).is_err());
    }
}
