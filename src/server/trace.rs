//! Spans of requests, for OpenTelemetry: one a request, named after its method and route class, below the span that its
//! client says in `traceparent`, ended when the answer's head is made.
//!
//! Only with the cargo feature `otel`; without it there are no spans, and nothing is spent on them. Nothing of a span tells
//! of credentials, queries or bodies.

use axum::http::StatusCode;
use axum::http::request::Parts;
use tracing::Span;

/// What spans are told from everything else by.
#[cfg(feature = "otel")]
pub const TARGET: &str = "regatta::trace";

/// The span of a request.
#[cfg(not(feature = "otel"))]
pub fn span(_: &Parts, _: &'static str, _: &str) -> Span {
    Span::none()
}

/// Notes what came of it.
#[cfg(not(feature = "otel"))]
pub fn answered(_: &Span, _: StatusCode) {}

/// The span of a request. The names of its attributes are OpenTelemetry's.
#[cfg(feature = "otel")]
pub fn span(parts: &Parts, class: &'static str, id: &str) -> Span {
    use tracing_opentelemetry::OpenTelemetrySpanExt as _;

    let span = tracing::info_span!(
        target: TARGET,
        "request",
        otel.name = format!("{} {class}", parts.method),
        otel.kind = "server",
        otel.status_code = tracing::field::Empty,
        http.request.method = %parts.method,
        http.route = class,
        http.response.status_code = tracing::field::Empty,
        url.path = parts.uri.path(),
        request.id = id,
    );
    let parent = opentelemetry::global::get_text_map_propagator(|propagator| {
        propagator.extract(&opentelemetry_http::HeaderExtractor(&parts.headers))
    });
    // The only failure is a span that nobody records.
    let _ = span.set_parent(parent);
    span
}

/// Notes what came of it. What a client did wrong is no error of the server's.
#[cfg(feature = "otel")]
pub fn answered(span: &Span, status: StatusCode) {
    span.record("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
}
