//! What each registry's replicator is told and reports, as far as this process knows.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use crate::admin::{Edge, EdgeStatus};
use crate::operator::context::lock;

/// By the Registry's UID.
#[derive(Debug, Default)]
pub struct EdgesBoard {
    reports: Mutex<HashMap<String, EdgesReport>>,
}

/// How it stands with the edges of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EdgesReport {
    /// The registry has the document.
    Placed {
        /// The edges in it, by id.
        edges: BTreeMap<String, Edge>,
        /// What the replicator says, by id.
        statuses: BTreeMap<String, EdgeStatus>,
    },
    /// It could not be asked.
    Unreachable {
        /// Why, for people.
        message: String,
    },
}

impl EdgesReport {
    /// The registry has these edges, and says this of them.
    pub fn placed(edges: Vec<Edge>, statuses: Vec<EdgeStatus>) -> Self {
        Self::Placed {
            edges: edges.into_iter().map(|edge| (edge.id.clone(), edge)).collect(),
            statuses: statuses.into_iter().map(|status| (status.id.clone(), status)).collect(),
        }
    }
}

impl EdgesBoard {
    /// What is known of this registry.
    pub fn get(&self, uid: &str) -> Option<EdgesReport> {
        lock(&self.reports).get(uid).cloned()
    }

    /// The registry is gone.
    pub fn forget(&self, uid: &str) {
        lock(&self.reports).remove(uid);
    }

    /// Notes a report; true where it says something new.
    pub fn put(&self, uid: &str, report: EdgesReport) -> bool {
        let old = lock(&self.reports).insert(uid.to_owned(), report.clone());
        old.as_ref() != Some(&report)
    }
}
