//! The plan: pure, from a survey to what is condemned, rescued and purged. A dry run says exactly this.

use std::collections::{BTreeMap, BTreeSet};

use super::survey::{Item, Repository, Survey};
use crate::oci::{Digest, RepositoryName};
use crate::registry::Register;
use crate::registry::blobs::FRESH_MILLIS;
use crate::registry::enumerate::{Hint, Trashed};

/// What a person asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Whether manifests go that no tag, index or referrer's subject keeps.
    pub untagged: bool,
    /// What is younger than this is left alone, in milliseconds. Links are for ten minutes more, since who pushes a blob
    /// again within these gets no new one; but with 0 nothing is young.
    pub grace_millis: u64,
    /// How long what is condemned can still be rescued, in milliseconds.
    pub window_millis: u64,
}

/// A register that is to get its next version, if it still is what it was surveyed to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Which.
    pub register: Register,
    /// What it was.
    pub seen: Item,
}

/// What is to be done, in the order in which it must be.
#[derive(Debug, Default, Clone)]
pub struct Plan {
    /// Registers to set again, then.
    pub rescue: Vec<Turn>,
    /// bytes to take out of the trash.
    pub rescue_data: BTreeSet<Digest>,
    /// Registers to condemn: manifests, then links.
    pub condemn: Vec<Turn>,
    /// Bytes to put into the trash: size.
    pub condemn_data: Vec<(Digest, u64)>,
    /// Registers to end: manifests, then links.
    pub purge: Vec<Turn>,
    /// Bytes to remove that are in the trash.
    pub purge_data: Vec<Trashed>,
    /// Bytes to remove that this very plan puts into the trash.
    pub purge_condemned: Vec<(Digest, u64)>,
    /// Hints of manifests that are deleted or never came: left by clients, or by a run that was interrupted.
    pub forget: Vec<Orphan>,
    /// Names in the catalog of repositories in which nothing is left.
    pub leave: Vec<RepositoryName>,
    /// Names of repositories that the catalog lacks.
    pub enter: Vec<RepositoryName>,
}

/// A hint whose manifest is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// Where.
    pub repository: RepositoryName,
    /// Which.
    pub hint: Hint,
    /// Whether the manifest was deleted. Otherwise it has never had a version.
    pub ended: bool,
}

/// Numbers of things.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Manifests.
    pub manifests: u64,
    /// Links.
    pub links: u64,
    /// Bytes of blobs and manifests.
    pub blobs: u64,
}

impl Counts {
    /// Of registers and of bytes.
    pub fn of(turns: &[Turn], blobs: usize) -> Self {
        let mut counts = Self { blobs: blobs as u64, ..Self::default() };
        for turn in turns {
            counts.add(&turn.register);
        }
        counts
    }

    /// One more.
    pub fn add(&mut self, register: &Register) {
        match register {
            Register::Manifest(..) => self.manifests += 1,
            Register::Link(..) => self.links += 1,
            Register::Tag(..) => {}
        }
    }
}

impl Options {
    /// Whether a link may have been answered for within the grace period.
    fn is_young_link(&self, item: &Item, now: u64) -> bool {
        self.grace_millis > 0 && item.since + FRESH_MILLIS + self.grace_millis > now
    }
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        let Self {
            rescue,
            rescue_data,
            condemn,
            condemn_data,
            purge,
            purge_data,
            purge_condemned,
            forget,
            leave,
            enter,
        } = self;
        rescue.is_empty()
            && rescue_data.is_empty()
            && condemn.is_empty()
            && condemn_data.is_empty()
            && purge.is_empty()
            && purge_data.is_empty()
            && purge_condemned.is_empty()
            && forget.is_empty()
            && leave.is_empty()
            && enter.is_empty()
    }

    /// Bytes that come free.
    pub fn bytes_freed(&self) -> u64 {
        let trashed: u64 = self.purge_data.iter().map(|trashed| trashed.size).sum();
        trashed + self.purge_condemned.iter().map(|(_, size)| size).sum::<u64>()
    }
}

/// Plans a collection at a moment, in milliseconds since the epoch.
pub fn plan(survey: &Survey, options: &Options, now: u64) -> Plan {
    let mut plan = Plan::default();
    // What must stay in place, and what must at least stay somewhere.
    let (mut kept, mut remaining) = (BTreeSet::new(), BTreeSet::new());
    for (name, repository) in &survey.repositories {
        let mut reached = reach(name, repository, survey, options, now);
        kept.append(&mut reached.also);
        let links =
            repository.links.iter().map(|(digest, item)| (Register::Link(name.clone(), digest.clone()), digest, item));
        let manifests = repository
            .manifests
            .iter()
            .map(|(digest, item)| (Register::Manifest(name.clone(), digest.clone()), digest, item));
        for (register, digest, item) in manifests {
            let needed = repository.unreadable || reached.manifests.contains(digest);
            plan.register(register, digest, item, needed, options, now, &mut kept, &mut remaining);
        }
        for (register, digest, item) in links {
            let young = !item.condemned && options.is_young_link(item, now);
            let needed = repository.unreadable
                || young
                || reached.named.contains(digest)
                || survey.unsettled.contains(&Register::Link(name.clone(), digest.clone()));
            plan.register(register, digest, item, needed, options, now, &mut kept, &mut remaining);
        }
    }
    // Manifests before what they name.
    plan.condemn.sort_by_key(is_link);
    plan.purge.sort_by_key(is_link);
    plan.data(survey, options, now, &kept, &remaining);
    plan.names(survey);
    plan
}

fn is_link(turn: &Turn) -> bool {
    matches!(turn.register, Register::Link(..))
}

impl Plan {
    #[expect(clippy::too_many_arguments, reason = "one step of the loop above, taken out for its name")]
    fn register(
        &mut self,
        register: Register,
        digest: &Digest,
        item: &Item,
        needed: bool,
        options: &Options,
        now: u64,
        kept: &mut BTreeSet<Digest>,
        remaining: &mut BTreeSet<Digest>,
    ) {
        if needed {
            kept.insert(digest.clone());
            remaining.insert(digest.clone());
            if item.condemned {
                self.rescue.push(Turn { register, seen: *item });
            }
            return;
        }
        let condemned_at = if item.condemned { item.since } else { now };
        if !item.condemned {
            self.condemn.push(Turn { register: register.clone(), seen: *item });
        }
        if condemned_at + options.window_millis <= now {
            self.purge.push(Turn { register, seen: *item });
        } else {
            remaining.insert(digest.clone());
        }
    }

    fn data(
        &mut self,
        survey: &Survey,
        options: &Options,
        now: u64,
        kept: &BTreeSet<Digest>,
        remaining: &BTreeSet<Digest>,
    ) {
        for (digest, (size, modified)) in &survey.data {
            if kept.contains(digest) || modified + options.grace_millis > now {
                continue;
            }
            self.condemn_data.push((digest.clone(), *size));
            if options.window_millis == 0 && !remaining.contains(digest) {
                self.purge_condemned.push((digest.clone(), *size));
            }
        }
        for trashed in &survey.trash {
            if kept.contains(&trashed.digest) {
                // Bytes that are in place again need no rescue: what lies in the trash is a spare.
                if !survey.data.contains_key(&trashed.digest) {
                    self.rescue_data.insert(trashed.digest.clone());
                    continue;
                }
            } else if remaining.contains(&trashed.digest) {
                continue;
            }
            if trashed.at + options.window_millis <= now {
                self.purge_data.push(trashed.clone());
            }
        }
    }
}

impl Plan {
    /// What can be made from the registers, and is made to agree with them: hints and the catalog.
    fn names(&mut self, survey: &Survey) {
        let purged: BTreeSet<&Register> = self.purge.iter().map(|turn| &turn.register).collect();
        let coming: BTreeSet<&RepositoryName> = survey.unsettled.iter().map(Register::repository).collect();
        let (mut forget, mut enter, mut full) = (Vec::new(), Vec::new(), BTreeSet::new());
        for (name, repository) in &survey.repositories {
            forget.extend(orphans(name, repository, survey));
            let is_set = |(digest, item): (&Digest, &Item)| {
                !item.condemned && !purged.contains(&Register::Manifest(name.clone(), digest.clone()))
            };
            if repository.manifests.iter().any(is_set) && !survey.catalog.contains(name) {
                enter.push(name.clone());
            }
            let manifests = repository.manifests.keys().map(|digest| Register::Manifest(name.clone(), digest.clone()));
            let mut all =
                manifests.chain(repository.links.keys().map(|link| Register::Link(name.clone(), link.clone())));
            if !repository.tagged.is_empty() || all.any(|register| !purged.contains(&register)) {
                full.insert(name);
            }
        }
        let empty = survey.catalog.iter().filter(|name| !full.contains(name) && !coming.contains(name));
        let leave = empty.cloned().collect();
        (self.forget, self.enter, self.leave) = (forget, enter, leave);
    }
}

/// The hints of a repository whose manifests are not there, and are not about to land.
fn orphans(name: &RepositoryName, repository: &Repository, survey: &Survey) -> Vec<Orphan> {
    let is_coming = |hint: &Hint| survey.unsettled.contains(&Register::Manifest(name.clone(), hint.referrer.clone()));
    let hints = repository.hints.iter().filter(|hint| repository.is_orphan(hint) && !is_coming(hint));
    let orphan = |hint: &Hint| Orphan {
        repository: name.clone(),
        hint: hint.clone(),
        ended: repository.ended.contains_key(&hint.referrer),
    };
    hints.map(orphan).collect()
}

impl Repository {
    /// Whether a hint's manifest is deleted or never came. A hint of a later version than the deletion is a push's that
    /// is about to land, or lost.
    fn is_orphan(&self, hint: &Hint) -> bool {
        match self.ended.get(&hint.referrer) {
            Some(ended) => hint.version <= *ended,
            None => !self.manifests.contains_key(&hint.referrer),
        }
    }
}

#[derive(Default)]
struct Reached {
    manifests: BTreeSet<Digest>,
    /// What reached manifests name.
    named: BTreeSet<Digest>,
    /// Bytes of manifests that are about to land: no register of theirs is there to keep them.
    also: BTreeSet<Digest>,
}

/// What is reached in a repository: from tags, from what is young, from what unsettled records name; through indexes,
/// and from a subject to its referrers.
fn reach(name: &RepositoryName, repository: &Repository, survey: &Survey, options: &Options, now: u64) -> Reached {
    let mut reached = Reached::default();
    let mut referrers: BTreeMap<&Digest, Vec<&Digest>> = BTreeMap::new();
    for (referrer, named) in &repository.named {
        if let Some(subject) = &named.subject {
            referrers.entry(subject).or_default().push(referrer);
        }
    }
    let mut todo: Vec<&Digest> = repository.tagged.iter().collect();
    for (digest, item) in &repository.manifests {
        let young = !item.condemned && item.since + options.grace_millis > now;
        // Where untagged manifests are not collected (any more), what an earlier run condemned is taken back.
        if !options.untagged || young {
            todo.push(digest);
        }
    }
    for digest in repository.named.keys() {
        if survey.unsettled.contains(&Register::Manifest(name.clone(), digest.clone())) {
            todo.push(digest);
            reached.also.insert(digest.clone());
        }
    }
    while let Some(digest) = todo.pop() {
        if !reached.manifests.insert(digest.clone()) {
            continue;
        }
        let Some(named) = repository.named.get(digest) else { continue };
        reached.named.extend(named.references.iter().cloned());
        if reached.also.contains(digest) {
            reached.also.extend(named.references.iter().cloned());
        }
        todo.extend(named.references.iter().filter(|named| repository.named.contains_key(named)));
        todo.extend(referrers.get(digest).into_iter().flatten());
    }
    reached
}

#[cfg(test)]
mod tests;
