//! Digests: `algorithm:hex` (image-spec, descriptor.md, "Digests"). sha256 and sha512 are the registered ones.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256, Sha512, digest::common::hazmat::SerializableState};

use super::{Invalid, text_type};

/// A registered digest algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// SHA-256: 64 hex digits.
    Sha256,
    /// SHA-512: 128 hex digits.
    Sha512,
}

impl Algorithm {
    /// As it is written before the colon.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    const fn hex_length(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

impl FromStr for Algorithm {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "sha256" => Ok(Self::Sha256),
            "sha512" => Ok(Self::Sha512),
            _ => Err(Invalid::new("digest algorithm", text, "sha256 and sha512 are supported")),
        }
    }
}

/// A digest of some bytes. Lower-case hex only, as the image-spec demands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest {
    text: String,
    algorithm: Algorithm,
}

impl Digest {
    /// The digest of these bytes.
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    /// SHA-256 of these bytes.
    pub fn sha256(bytes: &[u8]) -> Self {
        Self::of(Algorithm::Sha256, bytes)
    }

    /// `sha256:...`
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The algorithm.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// What is behind the colon.
    pub fn hex(&self) -> &str {
        &self.text[self.algorithm.as_str().len() + 1..]
    }

    /// The bytes whose hex digits are behind the colon.
    pub fn bytes(&self) -> impl Iterator<Item = u8> {
        let value = |digit: u8| if digit.is_ascii_digit() { digit - b'0' } else { digit - b'a' + 10 };
        let (pairs, _) = self.hex().as_bytes().as_chunks();
        pairs.iter().map(move |&[high, low]| value(high) << 4 | value(low))
    }

    fn from_parts(algorithm: Algorithm, hex: &str) -> Self {
        Self { text: format!("{}:{hex}", algorithm.as_str()), algorithm }
    }
}

text_type!(Digest);

impl FromStr for Digest {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = |why| Invalid::new("digest", text, why);
        let (algorithm, hex) = text.split_once(':').ok_or_else(|| invalid("expected `algorithm:hex`"))?;
        let algorithm: Algorithm = algorithm.parse().map_err(|_| invalid("sha256 and sha512 are supported"))?;
        if hex.len() != algorithm.hex_length() {
            return Err(invalid("wrong number of hex digits for its algorithm"));
        }
        if !hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Err(invalid("only 0-9 and lower-case a-f may follow the colon"));
        }
        Ok(Self::from_parts(algorithm, hex))
    }
}

/// A digest in the making. Its state can be written down and taken up again, also by another process.
#[derive(Clone)]
pub enum Hasher {
    /// SHA-256.
    Sha256(Sha256),
    /// SHA-512.
    Sha512(Sha512),
}

impl std::fmt::Debug for Hasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hasher({})", self.algorithm().as_str())
    }
}

impl Hasher {
    /// Of nothing yet.
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(Sha512::new()),
        }
    }

    /// Which one this is.
    pub const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Sha256(_) => Algorithm::Sha256,
            Self::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// Takes these bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// The digest of all that was taken in.
    pub fn finish(self) -> Digest {
        match self {
            Self::Sha256(hasher) => Digest::from_parts(Algorithm::Sha256, &hex::encode(hasher.finalize())),
            Self::Sha512(hasher) => Digest::from_parts(Algorithm::Sha512, &hex::encode(hasher.finalize())),
        }
    }

    /// The state, to be taken up by [`Hasher::resume`].
    pub fn state(&self) -> Vec<u8> {
        match self {
            Self::Sha256(hasher) => hasher.serialize().to_vec(),
            Self::Sha512(hasher) => hasher.serialize().to_vec(),
        }
    }

    /// Goes on from a state of the same algorithm; `None` where it is not one.
    pub fn resume(algorithm: Algorithm, state: &[u8]) -> Option<Self> {
        // Behind the words is the number of blocks, least byte first. Its length in bits must not overflow: a state that
        // says so was damaged.
        let too_many = match algorithm {
            Algorithm::Sha256 => state.get(38..40)?,
            Algorithm::Sha512 => state.get(70..80)?,
        };
        if too_many.iter().any(|byte| *byte != 0) {
            return None;
        }
        match algorithm {
            Algorithm::Sha256 => Sha256::deserialize(&state.try_into().ok()?).ok().map(Self::Sha256),
            Algorithm::Sha512 => Sha512::deserialize(&state.try_into().ok()?).ok().map(Self::Sha512),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_registered_algorithms_with_lower_case_hex_of_the_right_length_are_digests() {
        for good in [format!("sha256:{}", "a".repeat(64)), format!("sha512:{}", "0".repeat(128))] {
            assert_eq!(good.parse::<Digest>().unwrap().as_str(), good);
        }
        for bad in ["", "sha256:", "sha256", "md5:d41d8cd98f00b204e9800998ecf8427e", "sha256:../../etc/passwd"] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
        assert!(format!("sha256:{}", "A".repeat(64)).parse::<Digest>().is_err());
        assert!(format!("sha256:{}", "a".repeat(63)).parse::<Digest>().is_err());
    }

    #[test]
    fn a_state_that_counts_more_than_there_can_be_is_none() {
        for (algorithm, highest) in [(Algorithm::Sha256, 39), (Algorithm::Sha512, 79)] {
            let mut state = Hasher::new(algorithm).state();
            assert!(Hasher::resume(algorithm, &state).is_some());
            state[highest] = 1;
            assert!(Hasher::resume(algorithm, &state).is_none());
        }
    }

    proptest! {
        #[test]
        fn its_bytes_are_those_of_its_hex(bytes: Vec<u8>) {
            let digest = Digest::of(Algorithm::Sha512, &bytes);
            prop_assert_eq!(hex::encode(digest.bytes().collect::<Vec<_>>()), digest.hex());
        }

        #[test]
        fn a_hash_goes_on_from_its_written_state(a: Vec<u8>, b: Vec<u8>) {
            for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
                let mut first = Hasher::new(algorithm);
                first.update(&a);
                let mut second = Hasher::resume(algorithm, &first.state()).unwrap();
                second.update(&b);
                prop_assert_eq!(second.finish(), Digest::of(algorithm, &[a.as_slice(), b.as_slice()].concat()));
            }
        }
    }
}
