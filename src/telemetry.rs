//! Logs: structured, to standard error. `REGATTA_LOG` filters (`info`, `regatta=debug`, `regatta::access=off` ...);
//! JSON unless standard error is a terminal.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Begins to log.
pub fn start() {
    let filter = EnvFilter::try_from_env("REGATTA_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        builder.init();
    } else {
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).init();
    }
}
