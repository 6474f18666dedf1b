//! `Range` of a GET (RFC 9110, sections 14.1.2 and 14.2) and `Content-Range` of a PATCH (distribution-spec, "Pushing a blob in
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
    /// 400: several ranges of which one is none, or more of them than anybody needs.
    #[error("a Range header may have {MOST_RANGES} ranges, each `first-last`, `first-` or `-length`")]
    Refused,
}

/// The most ranges of one request. Thousands of small ones make a server send far more than the content (RFC 9110,
/// section 17.15).
pub const MOST_RANGES: usize = 32;

/// The ranges of one request: at least one, in ascending order, none touching another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByteRanges(Vec<ByteRange>);

impl ByteRanges {
    /// Resolves a `Range` header against a content of `length` bytes. Ranges that touch or overlap become one; of
    /// several, those that lie outside of the content are left out.
    pub fn resolve(header: &str, length: u64) -> Result<Self, RangeError> {
        let (unit, specs) = header.trim().split_once('=').ok_or(RangeError::Ignored)?;
        // Units are told apart without regard to case (RFC 9110, section 14.1).
        if !unit.eq_ignore_ascii_case("bytes") {
            return Err(RangeError::Ignored);
        }
        if !specs.contains(',') {
            return Ok(Self(vec![ByteRange::resolve_one(specs, length)?]));
        }
        let mut ranges = Vec::new();
        // A list may have empty elements (RFC 9110, section 5.6.1.2), which count.
        for (index, spec) in specs.split(',').map(str::trim).enumerate() {
            if index >= MOST_RANGES {
                return Err(RangeError::Refused);
            }
            match ByteRange::resolve_one(spec, length) {
                Ok(range) => ranges.push(range),
                Err(RangeError::Unsatisfiable) => {}
                Err(RangeError::Ignored | RangeError::Refused) if spec.is_empty() => {}
                Err(RangeError::Ignored | RangeError::Refused) => return Err(RangeError::Refused),
            }
        }
        ranges.sort_unstable_by_key(|range| range.start);
        let ranges = coalesce(&ranges);
        if ranges.is_empty() { Err(RangeError::Unsatisfiable) } else { Ok(Self(ranges)) }
    }

    /// The ranges.
    pub fn as_slice(&self) -> &[ByteRange] {
        &self.0
    }
}

/// Of ranges in ascending order, those that touch or overlap made one.
fn coalesce(ranges: &[ByteRange]) -> Vec<ByteRange> {
    let mut merged: Vec<ByteRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(1) => last.end = last.end.max(range.end),
            Some(_) | None => merged.push(*range),
        }
    }
    merged
}

impl ByteRange {
    /// How many bytes.
    pub const fn length(&self) -> u64 {
        self.end - self.start + 1
    }

    fn resolve_one(spec: &str, length: u64) -> Result<Self, RangeError> {
        let (first, last) = spec.trim().split_once('-').ok_or(RangeError::Ignored)?;
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

    fn check(header: &str, length: u64, expected: Result<&[(u64, u64)], RangeError>) {
        let found = ByteRanges::resolve(header, length);
        let found = found.map(|ranges| ranges.0.iter().map(|range| (range.start, range.end)).collect::<Vec<_>>());
        assert_eq!(found, expected.map(<[_]>::to_vec), "{header} of {length}");
    }

    #[test]
    fn a_range_resolves_as_rfc_9110_says() {
        check("bytes=0-4", 10, Ok(&[(0, 4)]));
        check("bytes=5-", 10, Ok(&[(5, 9)]));
        check("bytes=-3", 10, Ok(&[(7, 9)]));
        check("bytes=-30", 10, Ok(&[(0, 9)]));
        check("bytes=8-100", 10, Ok(&[(8, 9)]));
        check("BYTES=0-4", 10, Ok(&[(0, 4)]));
        for unsatisfiable in ["bytes=10-", "bytes=500-0", "bytes=-0"] {
            check(unsatisfiable, 10, Err(RangeError::Unsatisfiable));
        }
        for ignored in ["lines=1-2", "bytes=+1-2", "bytes=", "bytes=a-b", "0-1"] {
            check(ignored, 10, Err(RangeError::Ignored));
        }
    }

    #[test]
    fn several_ranges_are_ordered_and_those_that_touch_become_one() {
        check("bytes=6-7,0-1", 10, Ok(&[(0, 1), (6, 7)]));
        check("bytes=0-1, 2-3", 10, Ok(&[(0, 3)]));
        check("bytes=0-9,2-3,-1", 10, Ok(&[(0, 9)]));
        check("bytes=0-0,20-30", 10, Ok(&[(0, 0)]));
        check("bytes=0-0,,2-2", 10, Ok(&[(0, 0), (2, 2)]));
        check("bytes=20-30,40-", 10, Err(RangeError::Unsatisfiable));
        check("bytes=0-1,x", 10, Err(RangeError::Refused));
        let many =
            |n: u64| format!("bytes={}", (0..n).map(|i| format!("{0}-{0}", i * 2)).collect::<Vec<_>>().join(","));
        assert_eq!(ByteRanges::resolve(&many(32), 100).map(|ranges| ranges.0.len()), Ok(32));
        check(&many(33), 100, Err(RangeError::Refused));
    }

    proptest! {
        #[test]
        fn resolved_ranges_lie_within_the_content_in_order_and_apart(
            header in "bytes=([0-9]{0,3}-[0-9]{0,3},?){1,8}|bytes=[0-9]{0,21}-[0-9]{0,21}",
            length in prop_oneof![0..200_u64, any::<u64>()],
        ) {
            if let Ok(ranges) = ByteRanges::resolve(&header, length) {
                let ranges = ranges.as_slice();
                prop_assert!(!ranges.is_empty());
                prop_assert!(ranges.iter().all(|range| range.start <= range.end && range.end < length));
                prop_assert!(ranges.windows(2).all(|pair| pair[0].end + 1 < pair[1].start));
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
