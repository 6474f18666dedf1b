//! `Range` of a GET (RFC 9110, section 14.2) and `Content-Range` of a PATCH (distribution-spec, "Pushing a blob in
//! chunks", which writes it without a unit: `<start>-<end>`, both inclusive).

use super::Invalid;

/// One requested range, resolved against a length: `start..=end`, never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteRange {
    /// First byte.
    pub start: u64,
    /// Last byte, inclusive.
    pub end: u64,
}

/// Why a `Range` header gives no ranges.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// 416: understood, but nothing of it lies within the content.
    #[error("no requested range lies within the content")]
    Unsatisfiable,
    /// Not understood: RFC 9110 lets a server ignore such a header.
    #[error("the Range header is not understood")]
    Ignored,
}

impl ByteRange {
    /// How many bytes.
    pub const fn length(&self) -> u64 {
        self.end - self.start + 1
    }

    /// Resolves a `Range` header against a content of `length` bytes. More than one range is answered with
    /// [`RangeError::Ignored`], so that the whole content is sent.
    pub fn resolve(header: &str, length: u64) -> Result<Self, RangeError> {
        let spec = header.trim().strip_prefix("bytes=").ok_or(RangeError::Ignored)?.trim();
        if spec.contains(',') {
            return Err(RangeError::Ignored);
        }
        let (first, last) = spec.split_once('-').ok_or(RangeError::Ignored)?;
        match (first.trim(), last.trim()) {
            ("", "") => Err(RangeError::Ignored),
            ("", suffix) => Self::suffix(number(suffix)?, length),
            (first, "") => Self::within(number(first)?, u64::MAX, length),
            (first, last) => Self::within(number(first)?, number(last)?, length),
        }
    }

    fn suffix(wanted: u64, length: u64) -> Result<Self, RangeError> {
        if wanted == 0 || length == 0 {
            return Err(RangeError::Unsatisfiable);
        }
        Ok(Self { start: length.saturating_sub(wanted), end: length - 1 })
    }

    fn within(start: u64, end: u64, length: u64) -> Result<Self, RangeError> {
        // `bytes=500-0` is refused rather than ignored: the official conformance suite asks for 416.
        if end < start || start >= length {
            return Err(RangeError::Unsatisfiable);
        }
        Ok(Self { start, end: end.min(length - 1) })
    }
}

fn number(text: &str) -> Result<u64, RangeError> {
    // `u64::from_str` takes a leading `+`, which the grammar has not.
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(RangeError::Ignored);
    }
    Ok(text.parse().unwrap_or(u64::MAX))
}

/// Where a chunk goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentRange {
    /// First byte.
    pub start: u64,
    /// Last byte, inclusive.
    pub end: u64,
}

impl ContentRange {
    /// How many bytes.
    pub const fn length(&self) -> u64 {
        self.end - self.start + 1
    }
}

impl std::str::FromStr for ContentRange {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::new("Content-Range", text, "expected `<first byte>-<last byte>`");
        // Some clients write RFC 9110's form, `bytes 0-9/10`.
        let spec = text.trim().trim_start_matches("bytes ").split('/').next().unwrap_or_default();
        let (start, end) = spec.split_once('-').ok_or_else(invalid)?;
        let (start, end) = (number(start).map_err(|_| invalid())?, number(end).map_err(|_| invalid())?);
        if end < start || end == u64::MAX {
            return Err(invalid());
        }
        Ok(Self { start, end })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_resolve_as_rfc_9110_says() {
        let range = |start, end| Ok(ByteRange { start, end });
        assert_eq!(ByteRange::resolve("bytes=0-4", 10), range(0, 4));
        assert_eq!(ByteRange::resolve("bytes=5-", 10), range(5, 9));
        assert_eq!(ByteRange::resolve("bytes=-3", 10), range(7, 9));
        assert_eq!(ByteRange::resolve("bytes=-30", 10), range(0, 9));
        assert_eq!(ByteRange::resolve("bytes=8-100", 10), range(8, 9));
        assert_eq!(ByteRange::resolve("bytes=10-", 10), Err(RangeError::Unsatisfiable));
        assert_eq!(ByteRange::resolve("bytes=500-0", 10), Err(RangeError::Unsatisfiable));
        assert_eq!(ByteRange::resolve("bytes=-0", 10), Err(RangeError::Unsatisfiable));
        assert_eq!(ByteRange::resolve("lines=1-2", 10), Err(RangeError::Ignored));
        assert_eq!(ByteRange::resolve("bytes=+1-2", 10), Err(RangeError::Ignored));
    }

    proptest! {
        #[test]
        fn a_resolved_range_lies_within_the_content(header in "bytes=[0-9]{0,21}-[0-9]{0,21}", length: u64) {
            if let Ok(range) = ByteRange::resolve(&header, length) {
                prop_assert!(range.start <= range.end && range.end < length);
            }
        }

        #[test]
        fn a_content_range_never_panics(text: String) {
            if let Ok(range) = text.parse::<ContentRange>() {
                prop_assert!(range.length() > 0);
            }
        }
    }
}
