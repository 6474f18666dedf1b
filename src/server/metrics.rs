//! Prometheus metrics, with labels that are few whatever clients send.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{Method, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram};
use prometheus_client::registry::Registry;

use super::Server;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    route: &'static str,
    method: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: &'static str,
}

/// All metrics of a server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    seconds: Family<Route, Histogram>,
    generation: Gauge,
    staleness: Gauge,
}

/// From one to ten thousand milliseconds; a blob's body is streamed after that is measured.
const BUCKETS: [f64; 9] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("regatta_registry");
        let requests = Family::<Request, Counter>::default();
        let seconds = Family::<Route, Histogram>::new_with_constructor(|| Histogram::new(BUCKETS));
        let (generation, staleness) = (Gauge::default(), Gauge::default());
        registry.register("requests", "Requests by route class, method and status", requests.clone());
        registry.register("request_duration_seconds", "Seconds until the answer's head was made", seconds.clone());
        registry.register("access_generation", "Generation of the access document in force", generation.clone());
        let help = "For how long what another replica did may not be seen, by the volume's mount; 0 for at once";
        registry.register("store_staleness_seconds", help, staleness.clone());
        Self { registry, requests, seconds, generation, staleness }
    }
}

impl Metrics {
    /// Counts a request.
    pub fn observe(&self, route: &'static str, method: &Method, status: StatusCode, elapsed: Duration) {
        let method = known(method);
        self.requests.get_or_create(&Request { route, method, status: status.as_u16() }).inc();
        self.seconds.get_or_create(&Route { route }).observe(elapsed.as_secs_f64());
    }
}

/// Clients may invent methods.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

/// `/metrics`.
pub fn router(server: Server) -> Router {
    Router::new().route("/metrics", get(metrics)).with_state(server)
}

async fn metrics(State(server): State<Server>) -> impl IntoResponse {
    let metrics = server.metrics();
    metrics.generation.set(i64::try_from(server.gate().generation).unwrap_or(i64::MAX));
    let late = server.registry().store().staleness().unwrap_or_default();
    metrics.staleness.set(i64::try_from(late.as_secs()).unwrap_or(i64::MAX));
    let mut text = String::new();
    match encode(&mut text, &metrics.registry) {
        Ok(()) => (
            StatusCode::OK,
            [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")],
            text,
        ),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], error.to_string()),
    }
}
