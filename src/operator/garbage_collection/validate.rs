//! validate: durations and flags of a run. Pure.

use std::time::Duration;

use crate::api::{CollectionMode, GarbageCollectionSpec};
use crate::operator::failure::Failure;

/// What a run is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// How it keeps clear of pushes.
    pub mode: CollectionMode,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Also what no tag reaches.
    pub untagged: bool,
    /// What is younger is never touched.
    pub grace_period: Duration,
    /// How long the trash is kept.
    pub undelete_window: Duration,
}

/// What a run is told.
pub fn run(spec: &GarbageCollectionSpec) -> Result<Run, Failure> {
    Ok(Run {
        mode: spec.mode,
        dry_run: spec.dry_run,
        untagged: spec.untagged,
        grace_period: duration("spec.gracePeriod", &spec.grace_period)?,
        undelete_window: duration("spec.undeleteWindow", &spec.undelete_window)?,
    })
}

fn duration(field: &str, text: &str) -> Result<Duration, Failure> {
    let wrong = || Failure::invalid(format!("{field} is {text:?}, which is no duration: write 24h, 1h30m or 0s"));
    let duration: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(duration).map_err(|_| wrong())
}

/// As the command line takes it: whole seconds.
pub fn argument(duration: Duration) -> String {
    format!("{}s", duration.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<u64, String> {
        duration("spec.gracePeriod", text).map(|it| it.as_secs()).map_err(|failure| failure.to_string())
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        assert_eq!(check("24h"), Ok(86_400));
        assert_eq!(check("1h30m"), Ok(5_400));
        assert_eq!(check("0s"), Ok(0));
        assert!(check("soon").unwrap_err().contains("write 24h, 1h30m or 0s"));
        assert!(check("-1h").is_err());
    }
}
