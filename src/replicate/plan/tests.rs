//! The planner's invariants, by property over small registries.

use proptest::{collection::btree_map, prelude::*};

use super::*;
use crate::admin::Filters;

type Registry = BTreeMap<RepositoryName, RepositoryState>;

fn digest(n: u8) -> Digest {
    Digest::sha256(&[n])
}

/// A registry with some of few repositories, tags and digests, so that two of them often meet.
fn registry() -> impl Strategy<Value = Registry> {
    let names = prop_oneof![Just("a/x"), Just("a/y"), Just("b"), Just("b/z/deep")];
    let tags = prop_oneof![Just("v1"), Just("v2"), Just("latest"), Just("rc-1")];
    let referrers =
        btree_map((0_u8..4).prop_map(digest), proptest::collection::btree_set((9_u8..13).prop_map(digest), 0..3), 0..3);
    let repository = (
        btree_map(tags.prop_map(|tag| tag.parse().unwrap()), (0_u8..4).prop_map(|n| Some(digest(n))), 0..4),
        referrers,
    )
        .prop_map(|(tags, referrers)| RepositoryState { tags, referrers, is_new: false });
    btree_map(names.prop_map(|name| name.parse().unwrap()), repository, 0..4)
}

fn filters() -> impl Strategy<Value = Filters> {
    let repositories = prop_oneof![Just(vec![]), Just(vec!["a/*"]), Just(vec!["b/**", "b"]), Just(vec!["nothing"])];
    let tags = prop_oneof![Just(vec![]), Just(vec!["v*"]), Just(vec!["latest"])];
    let own = |texts: Vec<&str>| texts.into_iter().map(str::to_owned).collect();
    (repositories, tags)
        .prop_map(move |(repositories, tags)| Filters { repositories: own(repositories), tags: own(tags) })
}

fn deletions() -> impl Strategy<Value = Deletions> {
    prop_oneof![Just(Deletions::Propagate), Just(Deletions::Ignore)]
}

/// As a scan sees them: referrers are looked at below the digests of covered tags that are equal on both sides.
fn seen(registry: &Registry, name: &RepositoryName, other: &Registry) -> RepositoryState {
    let mut state = registry.get(name).cloned().unwrap_or_default();
    let theirs = other.get(name).cloned().unwrap_or_default();
    let subjects: BTreeSet<Digest> = state
        .tags
        .iter()
        .filter(|(tag, digest)| theirs.tags.get(*tag) == Some(digest))
        .filter_map(|(_, digest)| digest.clone())
        .collect();
    state.referrers =
        subjects.into_iter().map(|d| (d.clone(), state.referrers.get(&d).cloned().unwrap_or_default())).collect();
    state
}

fn plan(source: &Registry, destination: &Registry, coverage: &Coverage, deletions: Deletions) -> Plan {
    let mut plan = Plan::default();
    for name in source.keys().chain(destination.keys()).collect::<BTreeSet<_>>() {
        let (ours, theirs) = (seen(source, name, destination), seen(destination, name, source));
        plan.add(diff(name, &ours, &theirs, coverage, deletions));
    }
    plan
}

/// What the executor does: a tag comes with the referrers of its digest.
fn apply(plan: &Plan, source: &Registry, destination: &mut Registry) {
    for action in &plan.actions {
        let ours = source.get(action.repository()).cloned().unwrap_or_default();
        let theirs = destination.entry(action.repository().clone()).or_default();
        match action {
            Action::SetTag { tag, .. } => {
                let digest = ours.tags[tag].clone();
                if let Some(subject) = &digest {
                    let referrers = ours.referrers.get(subject).cloned().unwrap_or_default();
                    theirs.referrers.entry(subject.clone()).or_default().extend(referrers);
                }
                theirs.tags.insert(tag.clone(), digest);
            }
            Action::CopyReferrer { subject, digest, .. } => {
                theirs.referrers.entry(subject.clone()).or_default().insert(digest.clone());
            }
            Action::DeleteTag { tag, .. } => {
                theirs.tags.remove(tag);
            }
            Action::DeleteReferrer { subject, digest, .. } => {
                theirs.referrers.entry(subject.clone()).or_default().remove(digest);
            }
        }
    }
}

fn sets_after_deletions(plan: &Plan) -> bool {
    let first_deletion = plan.actions.iter().position(Action::is_deletion).unwrap_or(plan.actions.len());
    plan.actions.iter().skip(first_deletion).any(|action| !action.is_deletion())
}

proptest! {
    #[test]
    fn a_second_plan_has_nothing_left_to_set_and_a_third_is_empty(
        source in registry(), mut destination in registry(), filters in filters(), deletions in deletions(),
    ) {
        let coverage = Coverage::compile(&filters).unwrap();
        apply(&plan(&source, &destination, &coverage, deletions), &source, &mut destination);
        let second = plan(&source, &destination, &coverage, deletions);
        // A tag that was set is looked at below only now: a referrer of its digest may be one too many there.
        prop_assert!(second.actions.iter().all(|action| matches!(action, Action::DeleteReferrer { .. })), "{second:?}");
        apply(&second, &source, &mut destination);
        prop_assert!(plan(&source, &destination, &coverage, deletions).actions.is_empty());
    }

    #[test]
    fn nothing_outside_the_filters_is_ever_touched(
        source in registry(), destination in registry(), filters in filters(), deletions in deletions(),
    ) {
        let coverage = Coverage::compile(&filters).unwrap();
        for action in plan(&source, &destination, &coverage, deletions).actions {
            prop_assert!(coverage.repository(action.repository()));
            match action {
                Action::SetTag { tag, .. } | Action::DeleteTag { tag, .. } => prop_assert!(coverage.tag(&tag)),
                Action::CopyReferrer { .. } | Action::DeleteReferrer { .. } => {}
            }
        }
    }

    #[test]
    fn sets_come_before_deletions_and_ignored_deletions_are_none(
        source in registry(), destination in registry(), filters in filters(),
    ) {
        let coverage = Coverage::compile(&filters).unwrap();
        prop_assert!(!sets_after_deletions(&plan(&source, &destination, &coverage, Deletions::Propagate)));
        prop_assert_eq!(plan(&source, &destination, &coverage, Deletions::Ignore).deletions().count(), 0);
    }

    #[test]
    fn what_is_equal_needs_nothing(source in registry(), filters in filters()) {
        let coverage = Coverage::compile(&filters).unwrap();
        prop_assert!(plan(&source, &source.clone(), &coverage, Deletions::Propagate).actions.is_empty());
    }
}

#[test]
fn a_plans_hash_is_that_of_its_deletions_and_of_nothing_else() {
    let delete = |tag: &str| Action::DeleteTag { repository: "a".parse().unwrap(), tag: tag.parse().unwrap() };
    let (one, two) = (delete("v1"), delete("v2"));
    assert_eq!(plan_hash([&one, &two].into_iter()), plan_hash([&two, &one].into_iter()));
    assert_ne!(plan_hash([&one].into_iter()), plan_hash([&one, &two].into_iter()));
}

#[test]
fn a_digest_that_was_not_read_is_set() {
    let state = |digest: Option<Digest>| RepositoryState {
        tags: BTreeMap::from([("v1".parse().unwrap(), digest)]),
        referrers: BTreeMap::new(),
        is_new: false,
    };
    let coverage = Coverage::compile(&Filters::default()).unwrap();
    let name = "a".parse().unwrap();
    let plan = diff(&name, &state(None), &state(None), &coverage, Deletions::Propagate);
    assert_eq!(plan.actions.len(), 1);
}
