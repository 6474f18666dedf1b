//! Reading both sides, as little of them as the difference needs.
//!
//! The names come from lists. A digest is read only of a tag that both sides have, and referrers only of manifests
//! that both sides have under a covered tag: what is new is copied with all that belongs to it anyway.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt};

use super::{
    AtEnd, Coverage, Mirror, Plan, ReplicateError,
    plan::{RepositoryState, diff},
};
use crate::{
    admin::Deletions,
    client::referrers::is_referrers_tag,
    oci::{Descriptor, Digest, RepositoryName, Tag},
};

/// How many requests of a scan are under way at a time.
const AT_ONCE: usize = 4;
/// How many repositories are read at a time.
const REPOSITORIES_AT_ONCE: usize = 4;

/// The difference of everything that is covered.
pub async fn compare(mirror: &Mirror, coverage: &Coverage, deletions: Deletions) -> Result<Plan, ReplicateError> {
    let repositories = repositories(mirror, coverage, deletions).await?;
    futures::stream::iter(repositories)
        .map(|repository| async move { compare_repository(mirror, &repository, coverage, deletions).await })
        .buffer_unordered(REPOSITORIES_AT_ONCE)
        .try_fold(Plan::default(), |mut plan, part| async move {
            plan.add(part);
            Ok(plan)
        })
        .await
}

/// The difference of one repository.
pub async fn compare_repository(
    mirror: &Mirror,
    repository: &RepositoryName,
    coverage: &Coverage,
    deletions: Deletions,
) -> Result<Plan, ReplicateError> {
    if !coverage.repository(repository) {
        return Ok(Plan::default());
    }
    let ends = mirror.ends();
    let (ours, theirs) = futures::try_join!(async { ends.source.tags(repository).await.at_source() }, async {
        ends.destination.tags(repository).await.at_destination()
    },)?;
    mirror.note_tags(repository, &ours, &theirs);
    let is_new = theirs.is_empty();
    let (ours, theirs) = (covered(ours, coverage), covered(theirs, coverage));
    let both: Vec<Tag> = ours.intersection(&theirs).cloned().collect();
    let mut source = RepositoryState { tags: unread(&ours), ..RepositoryState::default() };
    let mut destination = RepositoryState { tags: unread(&theirs), is_new, ..RepositoryState::default() };
    let equal = read_digests(mirror, repository, both, &mut source, &mut destination).await?;
    read_referrers(mirror, repository, equal, &mut source, &mut destination).await?;
    Ok(diff(repository, &source, &destination, coverage, deletions))
}

/// Every repository that is to be looked at: the source's, and where deletions travel the destination's too.
async fn repositories(
    mirror: &Mirror,
    coverage: &Coverage,
    deletions: Deletions,
) -> Result<BTreeSet<RepositoryName>, ReplicateError> {
    let ends = mirror.ends();
    if let Some(named) = coverage.named_repositories() {
        return Ok(named.into_iter().collect());
    }
    let mut all = ends.source.catalog().await.at_source()?.ok_or(ReplicateError::NoCatalog)?;
    if deletions == Deletions::Propagate {
        let theirs = ends.destination.catalog().await.at_destination()?;
        if theirs.is_none() {
            tracing::warn!("the destination lists no repositories: whole ones that are too many stay there");
        }
        all.extend(theirs.into_iter().flatten());
    }
    all.retain(|repository| coverage.repository(repository));
    Ok(all)
}

/// Tags by which registries without the API keep referrers are no tags of anybody's.
fn covered(tags: BTreeSet<Tag>, coverage: &Coverage) -> BTreeSet<Tag> {
    tags.into_iter().filter(|tag| coverage.tag(tag) && !is_referrers_tag(tag)).collect()
}

fn unread(tags: &BTreeSet<Tag>) -> BTreeMap<Tag, Option<Digest>> {
    tags.iter().map(|tag| (tag.clone(), None)).collect()
}

/// Reads the digests of tags that both sides have; answers those that are equal.
async fn read_digests(
    mirror: &Mirror,
    repository: &RepositoryName,
    both: Vec<Tag>,
    source: &mut RepositoryState,
    destination: &mut RepositoryState,
) -> Result<BTreeSet<Digest>, ReplicateError> {
    let ends = mirror.ends();
    let mut heads = futures::stream::iter(both)
        .map(|tag| async move {
            let reference = tag.clone().into();
            let (ours, theirs) = futures::try_join!(
                async { ends.source.head_manifest(repository, &reference).await.at_source() },
                async { ends.destination.head_manifest(repository, &reference).await.at_destination() },
            )?;
            Ok::<_, ReplicateError>((tag, ours, theirs))
        })
        .buffer_unordered(AT_ONCE);
    let mut equal = BTreeSet::new();
    while let Some((tag, ours, theirs)) = heads.try_next().await? {
        if let Some(digest) = ours.as_ref().filter(|_| ours == theirs) {
            mirror.remember(repository, digest);
            equal.insert(digest.clone());
        }
        keep(source, tag.clone(), ours);
        keep(destination, tag, theirs);
    }
    Ok(equal)
}

/// A tag that went away between the list and the look is not there.
fn keep(state: &mut RepositoryState, tag: Tag, digest: Option<Digest>) {
    match digest {
        Some(digest) => {
            state.tags.insert(tag, Some(digest));
        }
        None => {
            state.tags.remove(&tag);
        }
    }
}

/// Reads the referrers of manifests that both sides have, and those of the referrers that both sides have.
async fn read_referrers(
    mirror: &Mirror,
    repository: &RepositoryName,
    subjects: BTreeSet<Digest>,
    source: &mut RepositoryState,
    destination: &mut RepositoryState,
) -> Result<(), ReplicateError> {
    let mut wave = subjects;
    while !wave.is_empty() {
        let mut lists = futures::stream::iter(std::mem::take(&mut wave))
            .map(|subject| async move {
                let ours = mirror.source_referrers(repository, &subject).await?;
                let theirs = mirror.destination_referrers(repository, &subject).await?;
                Ok::<_, ReplicateError>((subject, digests(ours), digests(theirs)))
            })
            .buffer_unordered(AT_ONCE);
        while let Some((subject, ours, theirs)) = lists.try_next().await? {
            let unseen = ours.intersection(&theirs).filter(|digest| !source.referrers.contains_key(*digest));
            wave.extend(unseen.cloned());
            source.referrers.insert(subject.clone(), ours);
            destination.referrers.insert(subject, theirs);
        }
    }
    Ok(())
}

fn digests(descriptors: Vec<Descriptor>) -> BTreeSet<Digest> {
    descriptors.into_iter().map(|descriptor| descriptor.digest).collect()
}
