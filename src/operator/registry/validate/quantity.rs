//! Quantities as Kubernetes writes them (apimachinery, `resource.Quantity`): `<sign><digits><suffix>`.

/// Suffixes, with the powers of two and of ten that they stand for. Another is an exponent, such as `e3`.
const SUFFIXES: [(&str, u32, i32); 16] = [
    ("Ki", 10, 0),
    ("Mi", 20, 0),
    ("Gi", 30, 0),
    ("Ti", 40, 0),
    ("Pi", 50, 0),
    ("Ei", 60, 0),
    ("n", 0, -9),
    ("u", 0, -6),
    ("m", 0, -3),
    ("", 0, 0),
    ("k", 0, 3),
    ("M", 0, 6),
    ("G", 0, 9),
    ("T", 0, 12),
    ("P", 0, 15),
    ("E", 0, 18),
];

/// Nothing is finer than a billionth.
const FINEST: i32 = 9;

/// Whether the text is a quantity that is not negative.
pub(super) fn is_amount(text: &str) -> bool {
    billionths(text).is_some()
}

/// How many billionths of the unit a quantity is that is not negative, rounded up. Two that mean the same are the same,
/// however they are written; one beyond any volume or memory is the greatest number.
pub(in crate::operator::registry) fn billionths(text: &str) -> Option<u128> {
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    let end =
        unsigned.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    if !is_number(number) {
        return None;
    }
    let (two, ten) = SUFFIXES
        .iter()
        .find(|(name, ..)| *name == suffix)
        .map(|(_, two, ten)| (*two, *ten))
        .or_else(|| exponent(suffix).map(|ten| (0, ten)))?;
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let part = part.trim_end_matches('0');
    let digits = format!("0{whole}{part}")
        .bytes()
        .fold(0_u128, |sum, digit| sum.saturating_mul(10).saturating_add(u128::from(digit - b'0')));
    let scaled = digits.saturating_mul(1 << two);
    let ten = ten.saturating_add(FINEST).saturating_sub(i32::try_from(part.len()).unwrap_or(i32::MAX));
    let power = 10_u128.saturating_pow(ten.unsigned_abs());
    Some(if ten < 0 { scaled.div_ceil(power) } else { scaled.saturating_mul(power) })
}

/// Digits with at most one point, on either side of which they may be missing.
fn is_number(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_digit()) && text.bytes().filter(|byte| *byte == b'.').count() <= 1
}

/// A power of ten, as far as numbers go.
fn exponent(text: &str) -> Option<i32> {
    let signed = text.strip_prefix(['e', 'E'])?;
    let digits = signed.strip_prefix(['+', '-']).unwrap_or(signed);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let power = digits.parse().unwrap_or(i32::MAX);
    Some(if signed.starts_with('-') { -power } else { power })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_told_from_what_is_none() {
        for amount in ["1", "0.5", ".5", "5.", "500m", "512Mi", "1e3", "1E-3", "1E", "+1", "128974848000m", "0"] {
            assert!(is_amount(amount), "{amount}");
        }
        for other in ["", "lots", "Mi", "-1", "1.2.3", ".", "1 Gi", "1gi", "1e", "1e+", "++1", "1+"] {
            assert!(!is_amount(other), "{other}");
        }
    }

    #[test]
    fn what_means_the_same_is_the_same_however_it_is_written() {
        for (one, other) in [
            ("1Gi", "1024Mi"),
            ("1Gi", "1073741824"),
            ("1.5Gi", "1536Mi"),
            ("0.5", "500m"),
            (".5", "0.500"),
            ("5.", "5"),
            ("1e3", "1k"),
            ("1E3", "1000"),
            ("1E", "1e18"),
            ("128974848000m", "128974848"),
            ("1n", "0.1n"),
            ("100000000000000000000000000000Ei", "1e99999999999"),
        ] {
            assert_eq!(billionths(one), billionths(other), "{one} {other}");
        }
        for (less, more) in [("1G", "1Gi"), ("1023Mi", "1Gi"), ("9", "10"), ("0", "1n"), ("1e-99999999999", "1Ei")] {
            assert!(billionths(less) < billionths(more), "{less} {more}");
        }
    }
}
