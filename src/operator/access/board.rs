//! What is in force in each registry, as far as this process knows.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use kube::ResourceExt;

use crate::admin::OwnerRef;
use crate::api::Project;
use crate::operator::context::lock;
use crate::operator::failure::Failure;

/// What is in force in each registry, by the Registry's UID.
#[derive(Debug, Default)]
pub struct AccessBoard {
    reports: Mutex<HashMap<String, AccessReport>>,
}

/// How it stands with the access document of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessReport {
    /// Every serving pod acknowledged it.
    InForce(InForce),
    /// Not every one did, or none could be asked.
    Not {
        /// For programs.
        reason: &'static str,
        /// For people.
        message: String,
    },
}

/// A document that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InForce {
    /// Its generation.
    pub generation: u64,
    /// The server's version.
    pub version: Option<String>,
    /// For how many seconds a pod may not see what another one did, where its volume's mount says so.
    pub staleness_seconds: Option<u64>,
    /// Hash of each RoleBinding's content in it, by UID.
    pub bindings: BTreeMap<String, String>,
    /// Holder of each project name in it, and whether it is public.
    pub projects: BTreeMap<String, (OwnerRef, bool)>,
}

/// Whose a Project's name is in a document that is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder<'a> {
    /// That very Project's; and whether it is public there.
    This {
        /// As the document has it.
        public: bool,
    },
    /// That of another one.
    Another(&'a OwnerRef),
    /// Not yet anybody's, or still that of a Project of the same name that is gone: the name will be this one's.
    Pending,
}

impl InForce {
    /// Whose the name of this Project is.
    pub fn holder(&self, project: &Project) -> Holder<'_> {
        let Some((owner, public)) = self.projects.get(&project.spec.name) else { return Holder::Pending };
        let same_name = project.namespace().as_deref() == Some(&owner.namespace) && project.name_any() == owner.name;
        match (project.uid().as_ref() == Some(&owner.uid), same_name) {
            (true, _) => Holder::This { public: *public },
            (false, true) => Holder::Pending,
            (false, false) => Holder::Another(owner),
        }
    }
}

impl AccessReport {
    /// What a failure says.
    pub fn of(failure: &Failure) -> Self {
        use crate::api::conditions::reason as why;
        let (reason, message) = match failure {
            Failure::Stalled { reason, message } | Failure::Waiting { reason, message, .. } => {
                (*reason, message.clone())
            }
            Failure::Registry(error) => (why::PUSH_BLOCKED, format!("push blocked; polling: {error}")),
            Failure::Kubernetes(_) | Failure::Json(_) => (why::RETRYING, failure.to_string()),
        };
        Self::Not { reason, message }
    }
}

impl AccessBoard {
    /// What is known of this registry.
    pub fn get(&self, uid: &str) -> Option<AccessReport> {
        lock(&self.reports).get(uid).cloned()
    }

    /// The registry is gone.
    pub fn forget(&self, uid: &str) {
        lock(&self.reports).remove(uid);
    }

    /// Notes a report; true where it says something new.
    pub fn put(&self, uid: &str, report: AccessReport) -> bool {
        let old = lock(&self.reports).insert(uid.to_owned(), report.clone());
        old.as_ref() != Some(&report)
    }
}
