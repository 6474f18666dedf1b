//! Plans of made-up surveys.

use proptest::prelude::*;

use super::*;
use crate::gc::survey::Named;

const NOW: u64 = 1_000_000;

fn digest(n: u8) -> Digest {
    Digest::sha256(&[n])
}

fn options() -> Options {
    Options { untagged: true, grace_millis: 0, window_millis: 0 }
}

fn set(since: u64) -> Item {
    Item { version: 1, since, condemned: false }
}

/// Manifest n names blobs 100+n and whatever is given.
fn repository(manifests: &[(u8, &[u8], Option<u8>)], tagged: &[u8]) -> Survey {
    let mut repository = Repository { tagged: tagged.iter().map(|n| digest(*n)).collect(), ..Repository::default() };
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
    survey.catalog = survey.repositories.keys().cloned().collect();
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
    let condemned = Item { version: 2, since: 500, condemned: true };
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
