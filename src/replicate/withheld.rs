//! When deletions wait for a person. Pure.
//!
//! Otherwise one fresh volume at headquarters would empty every city.

use super::{Action, Plan, plan::plan_hash};
use crate::admin::{DestinationCursor, Withheld, WithheldReason};

/// How many of the deletions that wait are named.
const SAMPLE: usize = 10;

/// What is remembered of earlier runs, and what the source is now.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    /// Kept at the runner's registry.
    pub ours: Option<&'a DestinationCursor>,
    /// Kept at the destination.
    pub theirs: Option<&'a DestinationCursor>,
    /// Whether the destination can keep one.
    pub destination_keeps: bool,
    /// The identity of the source's store now.
    pub store: &'a str,
    /// Whether one of the cursors is ahead of the source's log.
    pub ahead: bool,
}

impl Circumstances<'_> {
    /// Whether a compare has ended before, as far as both sides remember: the lesser counts.
    pub fn compared(&self) -> bool {
        let compared = |cursor: Option<&DestinationCursor>| cursor.is_some_and(|cursor| cursor.compared);
        compared(self.ours) && (!self.destination_keeps || compared(self.theirs))
    }

    /// Whether some side remembers another store than this one.
    fn other_store(&self) -> bool {
        [self.ours, self.theirs].into_iter().flatten().any(|cursor| cursor.store != self.store)
    }

    /// Whether the source is known and its log goes on from what we remember.
    pub fn continues(&self) -> bool {
        self.compared() && !self.other_store() && !self.ahead
    }
}

/// A plan, parted into what may be done now and what waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// To be done, in order.
    pub now: Vec<Action>,
    /// What waits, and why.
    pub withheld: Option<Withheld>,
}

/// Decides. `approved` is the hash that a person has approved.
pub fn decide(plan: &Plan, circumstances: &Circumstances<'_>, approved: Option<&str>) -> Decision {
    let Some(reason) = reason(plan, circumstances) else {
        return Decision { now: plan.actions.iter().cloned().collect(), withheld: None };
    };
    let (waiting, now): (Vec<Action>, Vec<Action>) =
        plan.actions.iter().cloned().partition(|action| waits(action, reason));
    if waiting.is_empty() {
        return Decision { now, withheld: None };
    }
    let plan_hash = plan_hash(waiting.iter());
    if approved == Some(&plan_hash) {
        return Decision { now: plan.actions.iter().cloned().collect(), withheld: None };
    }
    let withheld = Withheld {
        reason,
        plan_hash,
        deletions: waiting.len() as u64,
        sample: waiting.iter().take(SAMPLE).map(Action::name).collect(),
    };
    Decision { now, withheld: Some(withheld) }
}

/// Of a source that was restored, moves wait too: they may lead back to what was long replaced.
fn waits(action: &Action, reason: WithheldReason) -> bool {
    match reason {
        WithheldReason::SourceRestored => action.loses(),
        WithheldReason::FirstCompare | WithheldReason::SourceStoreChanged | WithheldReason::SourceEmpty => {
            action.is_deletion()
        }
    }
}

fn reason(plan: &Plan, circumstances: &Circumstances<'_>) -> Option<WithheldReason> {
    if circumstances.ahead {
        Some(WithheldReason::SourceRestored)
    } else if circumstances.other_store() {
        Some(WithheldReason::SourceStoreChanged)
    } else if plan.source_tags == 0 && plan.destination_tags > 0 {
        Some(WithheldReason::SourceEmpty)
    } else if !circumstances.compared() {
        Some(WithheldReason::FirstCompare)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(store: &str, compared: bool) -> DestinationCursor {
        DestinationCursor { store: store.to_owned(), cursor: "1".to_owned(), compared }
    }

    /// A plan that sets one tag, moves one and deletes one.
    fn plan() -> Plan {
        let tag = |text: &str| text.parse().unwrap();
        let repository = || "a".parse().unwrap();
        let actions = [
            Action::SetTag { repository: repository(), tag: tag("new"), replaces: false },
            Action::SetTag { repository: repository(), tag: tag("moved"), replaces: true },
            Action::DeleteTag { repository: repository(), tag: tag("old") },
        ];
        Plan { actions: actions.into(), source_tags: 2, destination_tags: 2, ..Plan::default() }
    }

    fn check(plan: &Plan, circumstances: Circumstances<'_>, expected: Option<(WithheldReason, u64)>) {
        let decision = decide(plan, &circumstances, None);
        let withheld = decision.withheld.as_ref().map(|withheld| (withheld.reason, withheld.deletions));
        assert_eq!(withheld, expected);
        let held = usize::try_from(expected.map_or(0, |(_, held)| held)).unwrap();
        assert_eq!(decision.now.len() + held, plan.actions.len());
        if let Some(withheld) = decision.withheld {
            let approved = decide(plan, &circumstances, Some(&withheld.plan_hash));
            assert_eq!((approved.now.len(), approved.withheld), (plan.actions.len(), None));
            assert!(decide(plan, &circumstances, Some("other")).withheld.is_some());
        }
    }

    #[test]
    fn deletions_wait_where_they_may_be_a_mistake_and_go_with_the_plans_hash() {
        let (same, other, fresh) = (cursor("s", true), cursor("t", true), cursor("s", false));
        let usual =
            Circumstances { ours: Some(&same), theirs: Some(&same), destination_keeps: true, store: "s", ahead: false };
        check(&plan(), usual, None);
        check(&plan(), Circumstances { ours: None, theirs: None, ..usual }, Some((WithheldReason::FirstCompare, 1)));
        check(&plan(), Circumstances { theirs: None, ..usual }, Some((WithheldReason::FirstCompare, 1)));
        check(&plan(), Circumstances { theirs: None, destination_keeps: false, ..usual }, None);
        check(&plan(), Circumstances { theirs: Some(&fresh), ..usual }, Some((WithheldReason::FirstCompare, 1)));
        check(
            &plan(),
            Circumstances { ours: None, theirs: Some(&other), ..usual },
            Some((WithheldReason::SourceStoreChanged, 1)),
        );
        check(&plan(), Circumstances { ahead: true, ..usual }, Some((WithheldReason::SourceRestored, 2)));
        let empty = Plan { source_tags: 0, ..plan() };
        check(&empty, usual, Some((WithheldReason::SourceEmpty, 1)));
    }

    #[test]
    fn a_first_compare_with_an_empty_destination_waits_for_nobody() {
        let mut plan = plan();
        plan.actions.retain(|action| !action.loses());
        let nothing = Circumstances { ours: None, theirs: None, destination_keeps: true, store: "s", ahead: false };
        check(&plan, nothing, None);
    }
}
