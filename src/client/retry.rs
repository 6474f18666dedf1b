//! How often and how patiently a failed request is repeated.

use std::time::Duration;

use http::{HeaderMap, header::RETRY_AFTER};
use jiff::{Timestamp, fmt::rfc2822};

/// Attempts and pauses. The pause doubles and is spread at random ("full jitter"), so that many who failed together do
/// not come back together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How often a request is tried, the first time included.
    pub attempts: u32,
    /// The longest first pause.
    pub base: Duration,
    /// The longest pause.
    pub cap: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts: 4, base: Duration::from_millis(300), cap: Duration::from_secs(10) }
    }
}

/// What a registry may ask us to wait; longer waits fail, and the caller tries again in its own time.
const LONGEST_RETRY_AFTER: Duration = Duration::from_mins(1);

impl RetryPolicy {
    /// One attempt only.
    pub const fn once() -> Self {
        Self { attempts: 1, base: Duration::ZERO, cap: Duration::ZERO }
    }

    /// The pause after the failed attempt number `attempt` (from 1); `None` where it was the last. `random` is in
    /// `0.0..1.0`.
    pub fn pause(&self, attempt: u32, retry_after: Option<Duration>, random: f64) -> Option<Duration> {
        if attempt >= self.attempts || retry_after.is_some_and(|asked| asked > LONGEST_RETRY_AFTER) {
            return None;
        }
        Some(jittered(self.base, self.cap, attempt, random).max(retry_after.unwrap_or_default()))
    }
}

/// A random part, but never less than half, of `base * 2^(attempt - 1)`, and that at most `cap`.
pub fn jittered(base: Duration, cap: Duration, attempt: u32, random: f64) -> Duration {
    let most = base.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1).min(20))).min(cap);
    most.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
}

/// A random number in `0.0..1.0`, for jitter only.
pub fn random() -> f64 {
    let mut bytes = [0_u8; 4];
    // Without randomness the pauses are the longest ones, which is safe.
    if getrandom::fill(&mut bytes).is_err() {
        return 1.0;
    }
    f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
}

/// `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = rfc2822::parse(text).ok()?.timestamp();
    Some(Duration::try_from(at.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn pauses_double_up_to_the_cap_and_end_with_the_last_attempt() {
        let policy = RetryPolicy { attempts: 4, base: Duration::from_secs(1), cap: Duration::from_secs(3) };
        let pauses: Vec<_> = (1..=4).map(|n| policy.pause(n, None, 1.0)).collect();
        assert_eq!(
            pauses,
            [1, 2, 3].map(|s| Some(Duration::from_secs(s))).into_iter().chain([None]).collect::<Vec<_>>()
        );
        assert_eq!(policy.pause(1, None, 0.0), Some(Duration::from_millis(500)));
    }

    #[test]
    fn a_registry_that_asks_for_time_gets_it_within_reason() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.pause(1, Some(Duration::from_secs(30)), 0.5), Some(Duration::from_secs(30)));
        assert_eq!(policy.pause(1, Some(Duration::from_hours(1)), 0.5), None);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let check = |text: &'static str, expected: Option<u64>| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))]);
            let now = "2026-01-01T00:00:00Z".parse().unwrap();
            assert_eq!(retry_after(&headers, now), expected.map(Duration::from_secs), "{text}");
        };
        check("7", Some(7));
        check("Thu, 01 Jan 2026 00:00:09 GMT", Some(9));
        check("Wed, 01 Jan 2025 00:00:09 GMT", Some(0));
        check("soon", None);
    }
}
