//! The plan: pure, from a survey to what is condemned, rescued and purged. A dry run says exactly this.

use std::collections::{BTreeMap, BTreeSet};

use super::survey::{Item, Repository, Survey};
use crate::oci::{Digest, RepositoryName};
use crate::registry::Register;
use crate::registry::enumerate::Trashed;

/// What a person asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Whether manifests go that no tag, index or referrer's subject keeps.
    pub untagged: bool,
    /// What is younger than this is left alone, in milliseconds.
    pub grace_millis: u64,
    /// How long what is condemned can still be rescued, in milliseconds.
    pub window_millis: u64,
}

/// What is to be done, in the order in which it must be.
#[derive(Debug, Default, Clone)]
pub struct Plan {
    /// Registers to set again, then.
    pub rescue: Vec<Register>,
    /// bytes to take out of the trash.
    pub rescue_data: BTreeSet<Digest>,
    /// Registers to condemn: manifests, then links.
    pub condemn: Vec<Register>,
    /// Bytes to put into the trash: size.
    pub condemn_data: Vec<(Digest, u64)>,
    /// Registers to end: manifests, then links.
    pub purge: Vec<Register>,
    /// Bytes to remove that are in the trash.
    pub purge_data: Vec<Trashed>,
    /// Bytes to remove that this very plan puts into the trash.
    pub purge_condemned: Vec<(Digest, u64)>,
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
    pub fn of(registers: &[Register], blobs: usize) -> Self {
        registers.iter().fold(Self { blobs: blobs as u64, ..Self::default() }, |counts, register| match register {
            Register::Manifest(..) => Self { manifests: counts.manifests + 1, ..counts },
            Register::Link(..) => Self { links: counts.links + 1, ..counts },
            Register::Tag(..) => counts,
        })
    }
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        let Self { rescue, rescue_data, condemn, condemn_data, purge, purge_data, purge_condemned } = self;
        rescue.is_empty()
            && rescue_data.is_empty()
            && condemn.is_empty()
            && condemn_data.is_empty()
            && purge.is_empty()
            && purge_data.is_empty()
            && purge_condemned.is_empty()
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
            let young = item.since + options.grace_millis > now && !item.condemned;
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
    plan
}

fn is_link(register: &Register) -> bool {
    matches!(register, Register::Link(..))
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
                self.rescue.push(register);
            }
            return;
        }
        let condemned_at = if item.condemned { item.since } else { now };
        if !item.condemned {
            self.condemn.push(register.clone());
        }
        if condemned_at + options.window_millis <= now {
            self.purge.push(register);
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
mod tests {
    use proptest::prelude::*;

    use super::super::survey::Named;
    use super::*;

    const NOW: u64 = 1_000_000;

    fn digest(n: u8) -> Digest {
        Digest::sha256(&[n])
    }

    fn options() -> Options {
        Options { untagged: true, grace_millis: 0, window_millis: 0 }
    }

    fn set(since: u64) -> Item {
        Item { since, condemned: false }
    }

    /// Manifest n names blobs 100+n and whatever is given.
    fn repository(manifests: &[(u8, &[u8], Option<u8>)], tagged: &[u8]) -> Survey {
        let mut repository =
            Repository { tagged: tagged.iter().map(|n| digest(*n)).collect(), ..Repository::default() };
        let mut survey = Survey::default();
        for (n, children, subject) in manifests {
            let mut references: Vec<Digest> = children.iter().map(|n| digest(*n)).collect();
            references.push(digest(100 + n));
            repository.links.insert(digest(100 + n), set(1));
            repository.manifests.insert(digest(*n), set(1));
            repository.named.insert(digest(*n), Named { references, subject: subject.map(digest) });
            survey.data.insert(digest(*n), (10, 1));
            survey.data.insert(digest(100 + n), (1000, 1));
        }
        survey.repositories = BTreeMap::from([("a".parse().unwrap(), repository)]);
        survey
    }

    fn purged(plan: &Plan) -> BTreeSet<Digest> {
        plan.purge_condemned.iter().map(|(digest, _)| digest.clone()).collect()
    }

    #[test]
    fn what_no_tag_reaches_goes_with_its_blobs_and_what_a_tag_reaches_stays() {
        let survey = repository(&[(1, &[], None), (2, &[], None)], &[1]);
        let plan = plan(&survey, &options(), NOW);
        assert_eq!(purged(&plan), BTreeSet::from([digest(2), digest(102)]));
        assert_eq!(plan.bytes_freed(), 1010);
        assert_eq!(Counts::of(&plan.purge, 2), Counts { manifests: 1, links: 1, blobs: 2 });
    }

    #[test]
    fn children_of_an_index_and_referrers_of_what_is_kept_are_kept() {
        let survey = repository(&[(1, &[2], None), (2, &[], None), (3, &[], Some(2)), (4, &[], Some(9))], &[1]);
        assert_eq!(purged(&plan(&survey, &options(), NOW)), BTreeSet::from([digest(4), digest(104)]));
    }

    #[test]
    fn without_untagged_every_manifest_stays_and_loose_blobs_go() {
        let mut survey = repository(&[(1, &[], None)], &[]);
        survey.repositories.values_mut().for_each(|r| {
            r.links.insert(digest(200), set(1));
        });
        survey.data.insert(digest(200), (5, 1));
        let plan = plan(&survey, &Options { untagged: false, ..options() }, NOW);
        assert_eq!(purged(&plan), BTreeSet::from([digest(200)]));
    }

    #[test]
    fn what_is_younger_than_the_grace_period_stays() {
        let survey = repository(&[(1, &[], None)], &[]);
        assert!(plan(&survey, &Options { grace_millis: NOW, ..options() }, NOW).is_empty());
    }

    #[test]
    fn what_an_unsettled_record_names_stays() {
        let mut survey = repository(&[(1, &[], None)], &[]);
        survey.unsettled.insert(Register::Manifest("a".parse().unwrap(), digest(1)));
        assert!(plan(&survey, &options(), NOW).is_empty());
    }

    #[test]
    fn a_repository_that_cannot_be_read_keeps_everything() {
        let mut survey = repository(&[(1, &[], None), (2, &[], None)], &[1]);
        survey.repositories.values_mut().for_each(|r| r.unreadable = true);
        assert!(plan(&survey, &options(), NOW).is_empty());
    }

    #[test]
    fn within_the_window_things_are_condemned_and_not_purged() {
        let survey = repository(&[(1, &[], None)], &[]);
        let plan = plan(&survey, &Options { window_millis: 10, ..options() }, NOW);
        assert_eq!((plan.condemn.len(), plan.condemn_data.len()), (2, 2));
        assert!(plan.purge.is_empty() && plan.purge_condemned.is_empty());
    }

    #[test]
    fn the_condemned_is_purged_after_its_window_or_rescued_when_a_tag_reaches_it() {
        let mut survey = repository(&[(1, &[], None)], &[]);
        let condemned = Item { since: 500, condemned: true };
        for repository in survey.repositories.values_mut() {
            repository.manifests.insert(digest(1), condemned);
            repository.links.insert(digest(101), condemned);
        }
        survey.data.clear();
        let key = crate::store::Key::new("trash").unwrap();
        let trashed = |n: u8| Trashed { digest: digest(n), key: key.clone(), at: 500, size: 7 };
        survey.trash = vec![trashed(1), trashed(101)];
        let window = Options { window_millis: 100, ..options() };
        assert!(plan(&survey, &window, 550).is_empty(), "still within its window");
        let late = plan(&survey, &window, 700);
        assert_eq!((late.purge.len(), late.purge_data.len(), late.bytes_freed()), (2, 2, 14));
        survey.repositories.values_mut().for_each(|r| {
            r.tagged.insert(digest(1));
        });
        let rescued = plan(&survey, &window, 700);
        assert_eq!((rescued.rescue.len(), rescued.rescue_data.len()), (2, 2));
        assert!(rescued.purge.is_empty() && rescued.purge_data.is_empty());
    }

    proptest! {
        #[test]
        fn nothing_that_a_tag_reaches_is_ever_planned(
            children in proptest::collection::vec((proptest::collection::vec(0_u8..12, 0..3), proptest::option::of(0_u8..12)), 12),
            tagged in proptest::collection::btree_set(0_u8..12, 0..4),
            untagged: bool,
        ) {
            let manifests: Vec<(u8, &[u8], Option<u8>)> =
                children.iter().enumerate().map(|(n, (c, s))| (u8::try_from(n).unwrap(), c.as_slice(), *s)).collect();
            let tagged: Vec<u8> = tagged.into_iter().collect();
            let survey = repository(&manifests, &tagged);
            let plan = plan(&survey, &Options { untagged, ..options() }, NOW);
            // An independent walk: only tags and indexes.
            let mut todo = tagged.clone();
            let mut seen = BTreeSet::new();
            while let Some(n) = todo.pop() {
                if seen.insert(n) {
                    todo.extend(&children[usize::from(n)].0);
                }
            }
            let touched: BTreeSet<Digest> = plan.condemn_data.iter().map(|(d, _)| d.clone()).collect();
            for n in seen {
                prop_assert!(!touched.contains(&digest(n)) && !touched.contains(&digest(100 + n)));
            }
            // What is condemned with no window is purged at once, all of it.
            prop_assert_eq!(purged(&plan), touched);
        }
    }
}
