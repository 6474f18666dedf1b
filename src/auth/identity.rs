//! Identities: a source and a name, so that equal names of two sources never meet.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Who is asking.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Identity {
    /// Nobody said.
    Anonymous,
    /// A user of a named source; `htpasswd` is the registry's own file.
    User {
        /// Which source.
        source: String,
        /// The login name there.
        name: String,
    },
    /// A robot of a namespace; logs in as `robot+<namespace>+<name>`.
    Robot {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A replicator: another registry's, or this one's own.
    Replicator {
        /// Its login name.
        name: String,
    },
}

/// The source of users in the registry's own password file.
pub const HTPASSWD: &str = "htpasswd";

/// What a robot's login begins with.
pub const ROBOT_PREFIX: &str = "robot+";

impl Identity {
    /// A user of the registry's password file.
    pub fn htpasswd(name: &str) -> Self {
        Self::User { source: HTPASSWD.to_owned(), name: name.to_owned() }
    }

    /// The robot that a login names, if it has the shape of a robot's.
    pub fn robot(login: &str) -> Option<Self> {
        let (namespace, name) = login.strip_prefix(ROBOT_PREFIX)?.split_once('+')?;
        (!namespace.is_empty() && !name.is_empty())
            .then(|| Self::Robot { namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("anonymous"),
            Self::User { source, name } => write!(f, "{source}:{name}"),
            Self::Robot { namespace, name } => write!(f, "robot:{namespace}/{name}"),
            Self::Replicator { name } => write!(f, "system:replicator/{name}"),
        }
    }
}
