//! Logs: structured, to standard error. `REGATTA_LOG` filters (`info`, `regatta=debug`, `regatta::access=off` ...);
//! JSON unless standard error is a terminal. With the cargo feature `otel`, traces too: see `traces`.

#[cfg(feature = "otel")]
mod traces;

use std::io::IsTerminal as _;

use tokio::runtime::Handle;
use tracing_subscriber::EnvFilter;

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

fn filter() -> EnvFilter {
    EnvFilter::try_from_env("REGATTA_LOG").unwrap_or_else(|_| EnvFilter::new("info"))
}

/// Begins to log.
#[cfg(not(feature = "otel"))]
pub fn start(_: &Handle) -> Telemetry {
    let builder = tracing_subscriber::fmt().with_env_filter(filter()).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        builder.init();
    } else {
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).init();
    }
    Telemetry::default()
}

/// Begins to log, and to send traces where it is said where to.
#[cfg(feature = "otel")]
pub fn start(runtime: &Handle) -> Telemetry {
    use std::str::FromStr as _;
    use tracing_subscriber::Layer as _;
    use tracing_subscriber::filter::{Directive, filter_fn};
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::util::SubscriberInitExt as _;

    let (traces, problem) = match traces::start(runtime) {
        Ok(traces) => (traces, None),
        Err(error) => (None, Some(error.to_string())),
    };
    // Spans are none of the log's.
    let filter =
        || filter().add_directive(Directive::from_str(&format!("{}=off", crate::server::TRACES)).unwrap_or_default());
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
