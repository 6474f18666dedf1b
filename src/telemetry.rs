//! Logs: structured, to standard error. A filter says how much (`info`, `regatta=debug`, `info,regatta::access=off` ...);
//! JSON unless standard error is a terminal. With the cargo feature `otel`, traces too: see `traces`.

#[cfg(feature = "otel")]
mod traces;

use std::fmt;
use std::io::IsTerminal as _;
use std::str::FromStr;

use tokio::runtime::Handle;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// The variable that says how much is logged.
pub const VARIABLE: &str = "REGATTA_LOG";

/// What runs until it is finished.
#[derive(Debug, Default)]
pub struct Telemetry {
    #[cfg(feature = "otel")]
    _traces: Option<traces::Traces>,
}

impl Telemetry {
    /// Sends what is not sent yet.
    pub fn finish(self) {}
}

/// How much is logged: levels, for all or for a target (a module's path), parted by commas.
///
/// `EnvFilter` takes more: a word that is no level is a target to it, so that `inof` would log next to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(String);

impl Default for Filter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A part of a filter that is none.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is neither off, error, warn, info, debug or trace nor a target with one of them, as in `info,kube=debug`"
)]
pub struct NoFilter(String);

impl FromStr for Filter {
    type Err = NoFilter;

    fn from_str(text: &str) -> Result<Self, NoFilter> {
        let is_level = |text: &str| !text.is_empty() && text.parse::<LevelFilter>().is_ok();
        let is_target = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "_:-".contains(c));
        let is_part = |part: &str| match part.split_once('=') {
            Some((target, level)) => is_target(target) && is_level(level),
            None => is_level(part),
        };
        let wrong = text.split(',').find(|part| !is_part(part.trim()));
        match wrong {
            Some(part) => Err(NoFilter(part.to_owned())),
            None => Ok(Self(text.to_owned())),
        }
    }
}

impl Filter {
    fn layer(&self) -> EnvFilter {
        EnvFilter::new(&self.0)
    }
}

/// Begins to log.
#[cfg(not(feature = "otel"))]
pub fn start(_: &Handle, filter: &Filter) -> Telemetry {
    let builder = tracing_subscriber::fmt().with_env_filter(filter.layer()).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        builder.init();
    } else {
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).init();
    }
    Telemetry::default()
}

/// Begins to log, and to send traces where it is said where to.
#[cfg(feature = "otel")]
pub fn start(runtime: &Handle, filter: &Filter) -> Telemetry {
    use tracing_subscriber::Layer as _;
    use tracing_subscriber::filter::{Directive, filter_fn};
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::util::SubscriberInitExt as _;

    let (traces, problem) = match traces::start(runtime) {
        Ok(traces) => (traces, None),
        Err(error) => (None, Some(error.to_string())),
    };
    // Spans are none of the log's.
    let filter = || {
        filter.layer().add_directive(Directive::from_str(&format!("{}=off", crate::server::TRACES)).unwrap_or_default())
    };
    let logs = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let logs = if std::io::stderr().is_terminal() {
        logs.with_filter(filter()).boxed()
    } else {
        logs.json().flatten_event(true).with_current_span(false).with_span_list(false).with_filter(filter()).boxed()
    };
    let spans = traces.as_ref().map(|traces| {
        let ours = filter_fn(|metadata| metadata.is_span() && metadata.target() == crate::server::TRACES);
        tracing_opentelemetry::layer().with_tracer(traces.tracer()).with_location(false).with_filter(ours)
    });
    tracing_subscriber::registry().with(logs).with(spans).init();
    if let Some(problem) = problem {
        tracing::warn!(%problem, "no traces are sent");
    }
    Telemetry { _traces: traces }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_of_levels_and_targets_with_levels() {
        for good in ["info", "off", "WARN", "info,kube=debug", "info, regatta::access=off", "hyper_util=trace,error"] {
            assert_eq!(good.parse::<Filter>().unwrap().to_string(), good);
        }
        for bad in ["", "inof", "regatta", "info,", "regatta=loud", "=info", "info debug", "[span]=info"] {
            assert!(bad.parse::<Filter>().is_err(), "{bad}");
        }
    }
}
