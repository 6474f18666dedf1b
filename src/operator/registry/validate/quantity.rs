//! Quantities as Kubernetes writes them (apimachinery, `resource.Quantity`): `<sign><digits><suffix>`.

/// Suffixes of powers of two and of ten. Another is an exponent, such as `e3`.
const SUFFIXES: [&str; 16] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "n", "u", "m", "k", "M", "G", "T", "P", "E", ""];

/// Whether the text is a quantity that is not negative.
pub(super) fn is_amount(text: &str) -> bool {
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    let end =
        unsigned.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    is_number(number) && (SUFFIXES.contains(&suffix) || is_exponent(suffix))
}

/// Digits with at most one point, on either side of which they may be missing.
fn is_number(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_digit()) && text.bytes().filter(|byte| *byte == b'.').count() <= 1
}

fn is_exponent(text: &str) -> bool {
    let digits = text.strip_prefix(['e', 'E']).map(|digits| digits.strip_prefix(['+', '-']).unwrap_or(digits));
    digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
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
}
