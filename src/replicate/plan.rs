//! The pure difference of two registries: what must be done so that the destination is equal to its source.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};

use super::filters::Coverage;
use crate::{
    admin::Deletions,
    oci::{Digest, RepositoryName, Tag},
};

/// What one side has in one repository.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RepositoryState {
    /// Its tags. `None`: the digest was not read, because the other side has no such tag.
    pub tags: BTreeMap<Tag, Option<Digest>>,
    /// The referrers of manifests that were looked at.
    pub referrers: BTreeMap<Digest, BTreeSet<Digest>>,
    /// Whether nothing at all is there, covered or not.
    pub is_new: bool,
}

/// One thing to be done at the destination.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Copy a tag and all that it names.
    SetTag {
        /// Of which repository.
        repository: RepositoryName,
        /// Which tag.
        tag: Tag,
        /// Whether the destination has the tag, with another digest.
        replaces: bool,
    },
    /// Copy a referrer and all that it names.
    CopyReferrer {
        /// Of which repository.
        repository: RepositoryName,
        /// What it refers to.
        subject: Digest,
        /// The referrer.
        digest: Digest,
    },
    /// Delete a tag that the source does not have.
    DeleteTag {
        /// Of which repository.
        repository: RepositoryName,
        /// Which tag.
        tag: Tag,
    },
    /// Delete a referrer that the source does not have.
    DeleteReferrer {
        /// Of which repository.
        repository: RepositoryName,
        /// What it refers to.
        subject: Digest,
        /// The referrer.
        digest: Digest,
    },
}

impl Action {
    /// Whether something is taken away.
    pub fn is_deletion(&self) -> bool {
        match self {
            Self::SetTag { .. } | Self::CopyReferrer { .. } => false,
            Self::DeleteTag { .. } | Self::DeleteReferrer { .. } => true,
        }
    }

    /// Whether what the destination has is lost: a deletion, or a tag that moves.
    pub fn loses(&self) -> bool {
        self.is_deletion() || matches!(self, Self::SetTag { replaces: true, .. })
    }

    /// The repository that it is about.
    pub fn repository(&self) -> &RepositoryName {
        match self {
            Self::SetTag { repository, .. }
            | Self::CopyReferrer { repository, .. }
            | Self::DeleteTag { repository, .. }
            | Self::DeleteReferrer { repository, .. } => repository,
        }
    }

    /// `repository:tag` or `repository@digest`.
    pub fn name(&self) -> String {
        match self {
            Self::SetTag { repository, tag, .. } | Self::DeleteTag { repository, tag } => format!("{repository}:{tag}"),
            Self::CopyReferrer { repository, digest, .. } | Self::DeleteReferrer { repository, digest, .. } => {
                format!("{repository}@{digest}")
            }
        }
    }
}

/// Everything to be done, in the order in which it may be begun: sets, referrers, then deletions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Ordered as [`Action`] is.
    pub actions: BTreeSet<Action>,
    /// Covered tags at the source.
    pub source_tags: u64,
    /// Covered tags at the destination.
    pub destination_tags: u64,
    /// Repositories of which the destination has nothing yet: there is no need to look before writing.
    pub new_repositories: BTreeSet<RepositoryName>,
}

impl Plan {
    /// Takes one repository's difference in.
    pub fn add(&mut self, part: Self) {
        let Self { actions, source_tags, destination_tags, new_repositories } = part;
        self.actions.extend(actions);
        self.new_repositories.extend(new_repositories);
        self.source_tags += source_tags;
        self.destination_tags += destination_tags;
    }

    /// What takes something away.
    pub fn deletions(&self) -> impl Iterator<Item = &Action> {
        self.actions.iter().filter(|action| action.is_deletion())
    }

    /// What only adds or moves.
    pub fn sets(&self) -> impl Iterator<Item = &Action> {
        self.actions.iter().filter(|action| !action.is_deletion())
    }
}

/// SHA-256 over the names of what waits, one a line, in lower-case hex: the value that approves exactly these.
pub fn plan_hash<'a>(actions: impl Iterator<Item = &'a Action>) -> String {
    let names: BTreeSet<String> = actions.map(Action::name).collect();
    let mut hasher = Sha256::new();
    for name in names {
        hasher.update(name.as_bytes());
        hasher.update(b"\n");
    }
    hex::encode(hasher.finalize())
}

/// The difference of one repository. What the filters do not cover is neither read nor planned.
pub fn diff(
    repository: &RepositoryName,
    source: &RepositoryState,
    destination: &RepositoryState,
    coverage: &Coverage,
    deletions: Deletions,
) -> Plan {
    if !coverage.repository(repository) {
        return Plan::default();
    }
    let mut plan = Plan {
        actions: BTreeSet::new(),
        source_tags: covered(source, coverage).count() as u64,
        destination_tags: covered(destination, coverage).count() as u64,
        new_repositories: destination.is_new.then(|| repository.clone()).into_iter().collect(),
    };
    plan.actions.extend(sets(repository, source, destination, coverage));
    plan.actions.extend(new_referrers(repository, source, destination));
    match deletions {
        Deletions::Propagate => {
            plan.actions.extend(deleted_tags(repository, source, destination, coverage));
            plan.actions.extend(deleted_referrers(repository, source, destination));
        }
        Deletions::Ignore => {}
    }
    plan
}

fn covered<'a>(
    state: &'a RepositoryState,
    coverage: &'a Coverage,
) -> impl Iterator<Item = (&'a Tag, &'a Option<Digest>)> {
    state.tags.iter().filter(|(tag, _)| coverage.tag(tag))
}

fn sets(
    repository: &RepositoryName,
    source: &RepositoryState,
    destination: &RepositoryState,
    coverage: &Coverage,
) -> Vec<Action> {
    covered(source, coverage)
        .filter_map(|(tag, wanted)| {
            let found = destination.tags.get(tag);
            // A digest that was not read is taken for another one: setting what is equal does no harm.
            let equal = wanted.is_some() && found == Some(wanted);
            let action = Action::SetTag { repository: repository.clone(), tag: tag.clone(), replaces: found.is_some() };
            (!equal).then_some(action)
        })
        .collect()
}

fn deleted_tags(
    repository: &RepositoryName,
    source: &RepositoryState,
    destination: &RepositoryState,
    coverage: &Coverage,
) -> Vec<Action> {
    covered(destination, coverage)
        .filter(|(tag, _)| !source.tags.contains_key(tag))
        .map(|(tag, _)| Action::DeleteTag { repository: repository.clone(), tag: tag.clone() })
        .collect()
}

fn new_referrers(repository: &RepositoryName, source: &RepositoryState, destination: &RepositoryState) -> Vec<Action> {
    missing(&source.referrers, &destination.referrers)
        .map(|(subject, digest)| Action::CopyReferrer { repository: repository.clone(), subject, digest })
        .collect()
}

/// Only below subjects that were looked at on both sides: of others nothing is known.
fn deleted_referrers(
    repository: &RepositoryName,
    source: &RepositoryState,
    destination: &RepositoryState,
) -> Vec<Action> {
    missing(&destination.referrers, &source.referrers)
        .filter(|(subject, _)| source.referrers.contains_key(subject))
        .map(|(subject, digest)| Action::DeleteReferrer { repository: repository.clone(), subject, digest })
        .collect()
}

type ReferrersOf = BTreeMap<Digest, BTreeSet<Digest>>;

/// What `these` have and `others` have not, with its subject.
fn missing<'a>(these: &'a ReferrersOf, others: &'a ReferrersOf) -> impl Iterator<Item = (Digest, Digest)> + 'a {
    these.iter().flat_map(|(subject, referrers)| {
        let known = others.get(subject);
        referrers
            .iter()
            .filter(move |digest| !known.is_some_and(|known| known.contains(*digest)))
            .map(|digest| (subject.clone(), digest.clone()))
    })
}

#[cfg(test)]
mod tests;
