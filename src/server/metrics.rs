//! Prometheus metrics, with labels that are few whatever clients send.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{Method, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram};
use prometheus_client::registry::Registry;

use super::Server;
use crate::registry::CacheFigures;
use crate::store::{Capacity, Writes, metered::Figures};

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
    in_flight: Gauge,
    sent: Family<Route, Counter>,
    received: Family<Route, Counter>,
    generation: Gauge,
    staleness: Gauge,
    space: Mutex<Option<Capacity>>,
}

/// From one to ten thousand milliseconds; a blob's body is streamed after that is measured.
const BUCKETS: [f64; 9] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];

impl Metrics {
    /// All at nought; with those of the store, where it is counted.
    pub fn new(store: Option<&Figures>) -> Self {
        let mut registry = Registry::with_prefix("regatta_registry");
        let requests = Family::<Request, Counter>::default();
        let seconds = Family::<Route, Histogram>::new_with_constructor(|| Histogram::new(BUCKETS));
        let (in_flight, generation, staleness) = <(Gauge, Gauge, Gauge)>::default();
        let (sent, received) = <(Family<Route, Counter>, Family<Route, Counter>)>::default();
        registry.register("requests", "Requests by route class, method and status", requests.clone());
        registry.register("request_duration_seconds", "Seconds until the answer's head was made", seconds.clone());
        registry.register(
            "requests_in_flight",
            "Requests whose answer's last byte has not gone out",
            in_flight.clone(),
        );
        registry.register("sent_bytes", "Bytes of bodies that clients took", sent.clone());
        registry.register("received_bytes", "Bytes of bodies that clients sent", received.clone());
        registry.register("access_generation", "Generation of the access document in force", generation.clone());
        let help = "For how long what another replica did may not be seen, by the volume's mount; 0 for at once";
        registry.register("store_staleness_seconds", help, staleness.clone());
        if let Some(store) = store {
            store.register(&mut registry);
        }
        Self { registry, requests, seconds, in_flight, sent, received, generation, staleness, space: Mutex::default() }
    }

    /// Notes how much there is, and how much of it is free.
    pub fn note_space(&self, space: Option<Capacity>) {
        *self.space.lock().unwrap_or_else(PoisonError::into_inner) = space;
    }

    /// Counts a request.
    fn observe(&self, route: &'static str, method: &Method, status: StatusCode, elapsed: Duration) {
        let method = known(method);
        self.requests.get_or_create(&Request { route, method, status: status.as_u16() }).inc();
        self.seconds.get_or_create(&Route { route }).observe(elapsed.as_secs_f64());
    }
}

/// A request from its head to the last byte of its answer.
#[derive(Debug)]
pub struct Flight {
    server: Server,
    route: &'static str,
}

impl Flight {
    /// A request has come.
    pub fn begin(server: &Server, route: &'static str) -> Self {
        server.metrics().in_flight.inc();
        Self { server: server.clone(), route }
    }

    /// The answer's head is made, or nobody waits for it any more.
    pub fn observe(&self, method: &Method, status: StatusCode, elapsed: Duration) {
        self.server.metrics().observe(self.route, method, status, elapsed);
    }

    /// All bytes have gone that will.
    pub fn count(&self, received: u64, sent: u64) {
        let Metrics { sent: all_sent, received: all_received, .. } = self.server.metrics();
        for (family, bytes) in [(all_received, received), (all_sent, sent)] {
            if bytes > 0 {
                family.get_or_create(&Route { route: self.route }).inc_by(bytes);
            }
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.server.metrics().in_flight.dec();
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
    let space = *metrics.space.lock().unwrap_or_else(PoisonError::into_inner);
    let [heads, contents] = server.registry().caches();
    let is_ready = server.readiness().await.is_ok();
    let mut text = String::new();
    let written = text::encode_registry(&mut text, &metrics.registry)
        .and_then(|()| caches(&mut text, &[heads, contents, server.gate().tokens()]))
        .and_then(|()| open_uploads(&mut text, server.open_uploads()))
        .and_then(|()| ready(&mut text, is_ready))
        .and_then(|()| writes(&mut text, server.registry().store().writes()))
        .and_then(|()| space.map_or(Ok(()), |space| sizes(&mut text, space)))
        .and_then(|()| text::encode_eof(&mut text));
    match written {
        Ok(()) => (
            StatusCode::OK,
            [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")],
            text,
        ),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], error.to_string()),
    }
}

/// What is not counted here but where it happens.
fn caches(text: &mut String, caches: &[CacheFigures]) -> std::fmt::Result {
    let lookups = "regatta_registry_cache_lookups";
    writeln!(text, "# HELP {lookups} Look-ups by cache and outcome.\n# TYPE {lookups} counter")?;
    for CacheFigures { cache, hits, misses, entries: _ } in caches {
        writeln!(text, "{lookups}_total{{cache=\"{cache}\",outcome=\"hit\"}} {hits}")?;
        writeln!(text, "{lookups}_total{{cache=\"{cache}\",outcome=\"miss\"}} {misses}")?;
    }
    let held = "regatta_registry_cache_entries";
    writeln!(text, "# HELP {held} What is in a cache.\n# TYPE {held} gauge")?;
    caches
        .iter()
        .try_for_each(|CacheFigures { cache, entries, .. }| writeln!(text, "{held}{{cache=\"{cache}\"}} {entries}"))
}

fn ready(text: &mut String, is_ready: bool) -> std::fmt::Result {
    let name = "regatta_registry_ready";
    writeln!(text, "# HELP {name} 1 where /readyz says so.\n# TYPE {name} gauge\n{name} {}", u8::from(is_ready))
}

fn open_uploads(text: &mut String, open: usize) -> std::fmt::Result {
    let name = "regatta_registry_open_uploads";
    writeln!(
        text,
        "# HELP {name} Uploads that this process began and that are open, as far as it knows.\n# TYPE {name} gauge\n{name} {open}"
    )
}

fn writes(text: &mut String, Writes { oldest, read_only, hang: _ }: Writes) -> std::fmt::Result {
    let (age, kept) = ("regatta_registry_store_oldest_write_seconds", "regatta_registry_store_read_only");
    let (seconds, is_kept) = (oldest.as_secs_f64(), u8::from(read_only));
    let help = "For how long the oldest write to the volume that is under way has been.";
    writeln!(text, "# HELP {age} {help}\n# TYPE {age} gauge\n{age} {seconds:.3}")?;
    let help = "1 since the volume refused a write because it is read-only.";
    writeln!(text, "# HELP {kept} {help}\n# TYPE {kept} gauge\n{kept} {is_kept}")
}

fn sizes(text: &mut String, Capacity { total, free }: Capacity) -> std::fmt::Result {
    let (size, left) = ("regatta_registry_store_size_bytes", "regatta_registry_store_free_bytes");
    writeln!(text, "# HELP {size} How much the volume holds.\n# TYPE {size} gauge\n{size} {total}")?;
    writeln!(text, "# HELP {left} How much of it is free.\n# TYPE {left} gauge\n{left} {free}")
}
