//! One thing of the queue, done; and where the queue's things come from.

use super::{memory::Register, queue::Work};
use crate::{
    admin::{Change, Deletions},
    client::referrers::is_referrers_tag,
    oci::{Digest, Reference, RepositoryName},
    replicate::{Action, AtEnd, Coverage, Mirror, Outcome, Plan, ReplicateError, mirror::Known, scan},
};

/// What came of it.
#[derive(Debug)]
pub enum Done {
    /// The one thing is as this says.
    One(Outcome),
    /// A repository's difference.
    Many(Plan),
}

/// How it is to be done.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// Whether deletions travel.
    pub deletions: Deletions,
    /// What is known of the destination.
    pub known: Known,
    /// Whether a referrer may go before its subject.
    pub late: bool,
}

/// Does it.
pub async fn perform(
    mirror: &Mirror,
    coverage: &Coverage,
    work: &Work,
    manner: Manner,
) -> Result<Done, ReplicateError> {
    match work {
        Work::Tag(repository, tag) => mirror.set_tag(repository, tag, manner.known, manner.late).await.map(Done::One),
        Work::Referrer(repository, digest) => mirror.copy_referrer(repository, digest).await.map(Done::One),
        Work::Manifest(repository, digest) => manifest(mirror, coverage, repository, digest, manner).await,
        Work::Repository(repository) => {
            scan::compare_repository(mirror, repository, coverage, manner.deletions).await.map(Done::Many)
        }
        Work::DeleteTag(repository, tag) => mirror.delete_tag(repository, tag).await.map(Done::One),
        Work::DeleteManifest(repository, digest, subject) => {
            mirror.delete_digest(repository, digest, subject.as_ref(), coverage).await.map(Done::One)
        }
    }
}

/// A manifest that changed. Where repositories are covered whole it is copied or is absent; where tags are filtered
/// only referrers of what the destination has are covered, and what is absent only a compare can judge.
async fn manifest(
    mirror: &Mirror,
    coverage: &Coverage,
    repository: &RepositoryName,
    digest: &Digest,
    manner: Manner,
) -> Result<Done, ReplicateError> {
    if coverage.is_whole() {
        return mirror.copy_digest(repository, digest).await.map(Done::One);
    }
    let reference = Reference::Digest(digest.clone());
    let ends = mirror.ends();
    let Some(found) = ends.source.get_manifest(repository, &reference).await.at_source()? else {
        return scan::compare_repository(mirror, repository, coverage, manner.deletions).await.map(Done::Many);
    };
    let Some(subject) = found.parse().at_source()?.subject else { return Ok(Done::One(Outcome::NotCovered)) };
    let subject = Reference::Digest(subject.digest);
    if ends.destination.head_manifest(repository, &subject).await.at_destination()?.is_none() {
        return Ok(Done::One(Outcome::NotCovered));
    }
    mirror.copy_referrer(repository, digest).await.map(Done::One)
}

/// The work for a change that the journal names, where it is covered.
pub fn of_change(change: &Change, coverage: &Coverage) -> Option<Work> {
    let repository: RepositoryName = change.repository.parse().ok()?;
    if !coverage.repository(&repository) {
        return None;
    }
    match change.reference.parse().ok()? {
        Reference::Tag(tag) if coverage.tag(&tag) && !is_referrers_tag(&tag) => Some(Work::Tag(repository, tag)),
        Reference::Tag(_) => None,
        Reference::Digest(digest) => Some(Work::Manifest(repository, digest)),
    }
}

/// The work for an action of a plan.
pub fn of_action(action: Action) -> Work {
    match action {
        Action::SetTag { repository, tag, replaces: _ } => Work::Tag(repository, tag),
        Action::CopyReferrer { repository, subject: _, digest } => Work::Referrer(repository, digest),
        Action::DeleteTag { repository, tag } => Work::DeleteTag(repository, tag),
        Action::DeleteReferrer { repository, subject, digest } => {
            Work::DeleteManifest(repository, digest, Some(subject))
        }
    }
}

/// The deletion that follows when the source turns out not to have it.
pub fn deletion_of(work: &Work) -> Option<Work> {
    match work {
        Work::Tag(repository, tag) => Some(Work::DeleteTag(repository.clone(), tag.clone())),
        Work::Manifest(repository, digest) => Some(Work::DeleteManifest(repository.clone(), digest.clone(), None)),
        // A referrer that vanished between plan and copy is the next compare's.
        Work::Referrer(..) | Work::Repository(_) | Work::DeleteTag(..) | Work::DeleteManifest(..) => None,
    }
}

/// The register that a piece of work is about.
pub fn register_of(work: &Work) -> Option<Register> {
    match work {
        Work::Tag(repository, tag) | Work::DeleteTag(repository, tag) => {
            Some((repository.to_string(), tag.to_string()))
        }
        Work::Referrer(repository, digest)
        | Work::Manifest(repository, digest)
        | Work::DeleteManifest(repository, digest, _) => Some((repository.to_string(), digest.to_string())),
        Work::Repository(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::Filters;

    #[test]
    fn only_covered_changes_are_work() {
        let filters = Filters { repositories: vec!["a/*".to_owned()], tags: vec!["v*".to_owned()] };
        let coverage = Coverage::compile(&filters).unwrap();
        let check = |repository: &str, reference: &str, expected: bool| {
            let at = "2026-01-01T00:00:00Z".parse().unwrap();
            let change = Change { repository: repository.to_owned(), reference: reference.to_owned(), at };
            assert_eq!(of_change(&change, &coverage).is_some(), expected, "{repository} {reference}");
        };
        let digest = Digest::sha256(b"x");
        check("a/x", "v1", true);
        check("a/x", "latest", false);
        check("b/x", "v1", false);
        check("a/x", digest.as_str(), true);
        check("b/x", digest.as_str(), false);
        check("A/../x", "v1", false);
        check("a/x", "sha256:short", false);
        let everything = Coverage::compile(&Filters::default()).unwrap();
        let tag = format!("sha256-{}", digest.hex());
        let at = "2026-01-01T00:00:00Z".parse().unwrap();
        assert!(of_change(&Change { repository: "a".to_owned(), reference: tag, at }, &everything).is_none());
    }
}
