//! The operator's figures.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The operator's figures. Labels are kinds and outcomes: few, and known beforehand.
#[derive(Debug, Default)]
pub struct Metrics {
    reconciliations: Family<Outcome, Counter>,
    unreadable: Family<OfKind, Counter>,
    documents: Family<Published, Counter>,
    leading: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    kind: String,
    outcome: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    kind: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Published {
    document: String,
}

impl Metrics {
    /// Makes them part of a registry of metrics.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("regatta_operator");
        registry.register("reconciliations", "Reconciliations by kind and outcome", self.reconciliations.clone());
        registry.register("unreadable_objects", "Looks at objects that cannot be read", self.unreadable.clone());
        registry.register("documents", "Documents put to registries", self.documents.clone());
        registry.register("leading", "1 while this process holds the Lease", self.leading.clone());
    }

    /// A reconciliation has ended.
    pub fn reconciled(&self, kind: &str, settled: bool) {
        let outcome = if settled { "settled" } else { "unsettled" }.to_owned();
        self.reconciliations.get_or_create(&Outcome { kind: kind.to_owned(), outcome }).inc();
    }

    /// An object could not be read.
    pub fn unreadable(&self, kind: &str) {
        self.unreadable.get_or_create(&OfKind { kind: kind.to_owned() }).inc();
    }

    /// A document was put to a registry.
    pub fn published(&self, document: &str) {
        self.documents.get_or_create(&Published { document: document.to_owned() }).inc();
    }

    /// Whether this process holds the Lease.
    pub fn leading(&self, leading: bool) {
        self.leading.set(i64::from(leading));
    }
}
