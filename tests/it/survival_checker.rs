//! Whether a recorded history of one register is linearizable: whether there is an order of its operations, each at some
//! moment between its call and its answer, in which a plain variable would have given these very answers.
//!
//! Wing and Gong, "Testing and Verifying Concurrent Objects" (1993), with Lowe's memory of what was tried, "Testing for
//! Linearizability" (2017). An operation that was never answered may have happened at any moment after its call, or
//! never.

use std::collections::HashSet;

/// What was asked of the register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// Set it to this.
    Put(u32),
    /// End it; whether there was anything to end.
    Delete { found: bool },
    /// End it where it is this: what deleting a manifest does to a tag. The answer does not say whether it was.
    DeleteIf(u32),
    /// What it was.
    Get(Option<u32>),
}

/// One operation. Moments are those of one clock for all clients, and all different.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    pub called: u64,
    /// `None`: no answer came.
    pub answered: Option<u64>,
    /// What was asked; of what was not answered, the answer means nothing.
    pub asked: Asked,
}

impl Operation {
    /// Whether its answer fits the state before.
    fn fits(&self, state: Option<u32>) -> bool {
        match &self.asked {
            Asked::Put(_) | Asked::DeleteIf(_) => true,
            Asked::Delete { .. } | Asked::Get(_) if self.answered.is_none() => true,
            Asked::Delete { found } => *found == state.is_some(),
            Asked::Get(seen) => *seen == state,
        }
    }

    /// Whether it says what the state was, and changes nothing.
    fn only_looks(&self) -> bool {
        match self.asked {
            Asked::Get(_) => true,
            Asked::Delete { found } => !found && self.answered.is_some(),
            Asked::Put(_) | Asked::DeleteIf(_) => false,
        }
    }

    /// The state after it.
    fn after(&self, state: Option<u32>) -> Option<u32> {
        match &self.asked {
            Asked::Put(value) => Some(*value),
            Asked::Delete { .. } => None,
            Asked::DeleteIf(value) => state.filter(|state| state != value),
            Asked::Get(_) => state,
        }
    }

    /// Whether there is any reason for it to happen in this state. What was not answered need not; and what nobody saw is only
    /// good for whoever ended something.
    fn matters(&self, state: Option<u32>, seen: &HashSet<u32>) -> bool {
        let is_seen = |value| state.is_none() || seen.contains(value);
        let is_useful = if let Asked::Put(value) = &self.asked { is_seen(value) } else { true };
        self.answered.is_some() || (is_useful && self.after(state) != state)
    }
}

/// The register is not there at the beginning.
pub fn is_linearizable(history: &[Operation]) -> bool {
    let mut operations: Vec<&Operation> = history.iter().collect();
    operations.sort_by_key(|operation| operation.called);
    let seen =
        operations.iter().filter_map(|operation| if let Asked::Get(seen) = operation.asked { seen } else { None });
    let (seen, done) = (seen.collect(), vec![0; operations.len().div_ceil(64)]);
    Search { operations, seen, done, first: 0, tried: HashSet::new() }.run(None)
}

struct Search<'a> {
    operations: Vec<&'a Operation>,
    /// Values that somebody saw.
    seen: HashSet<u32>,
    /// A bit an operation: it was put in its place.
    done: Vec<u64>,
    /// All operations before this one were.
    first: usize,
    tried: HashSet<(Vec<u64>, Option<u32>)>,
}

impl Search<'_> {
    fn is_done(&self, at: usize) -> bool {
        self.done[at / 64] >> (at % 64) & 1 == 1
    }

    fn flip(&mut self, at: usize) {
        self.done[at / 64] ^= 1 << (at % 64);
    }

    fn run(&mut self, state: Option<u32>) -> bool {
        let before = self.first;
        while self.first < self.operations.len() && self.is_done(self.first) {
            self.first += 1;
        }
        let found = self.search(state);
        self.first = before;
        found
    }

    fn search(&mut self, state: Option<u32>) -> bool {
        let left: Vec<usize> = (self.first..self.operations.len()).filter(|at| !self.is_done(*at)).collect();
        // Whatever was not answered need not have happened.
        let Some(soonest) = left.iter().filter_map(|at| self.operations[*at].answered).min() else { return true };
        if !self.tried.insert((self.done.clone(), state)) {
            return false;
        }
        // Next can only be what was called before anything that is left was answered.
        let mut next: Vec<usize> = left.into_iter().take_while(|at| self.operations[*at].called < soonest).collect();
        next.retain(|at| self.operations[*at].fits(state) && self.operations[*at].matters(state, &self.seen));
        // What only looks and fits now need not come later: nobody else sees the difference. On a busy machine, where
        // much happens at once, the search would take hours without this.
        if let Some(at) = next.iter().position(|at| self.operations[*at].only_looks()) {
            next = vec![next[at]];
        }
        // What need not have happened is taken last.
        next.sort_by_key(|at| self.operations[*at].answered.is_none());
        for at in next {
            let operation = self.operations[at];
            self.flip(at);
            if self.run(operation.after(state)) {
                return true;
            }
            self.flip(at);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn operation(called: u64, answered: impl Into<Option<u64>>, asked: Asked) -> Operation {
        Operation { called, answered: answered.into(), asked }
    }

    fn put(called: u64, answered: impl Into<Option<u64>>, value: u32) -> Operation {
        operation(called, answered, Asked::Put(value))
    }

    fn get(called: u64, answered: u64, seen: impl Into<Option<u32>>) -> Operation {
        operation(called, answered, Asked::Get(seen.into()))
    }

    fn delete(called: u64, answered: impl Into<Option<u64>>, found: bool) -> Operation {
        operation(called, answered, Asked::Delete { found })
    }

    fn accepts(history: &[Operation]) {
        assert!(is_linearizable(history), "{history:#?}");
    }

    fn rejects(history: &[Operation]) {
        assert!(!is_linearizable(history), "{history:#?}");
    }

    #[test]
    fn what_a_variable_would_do_is_accepted() {
        accepts(&[]);
        accepts(&[
            get(0, 1, None),
            put(2, 3, 1),
            get(4, 5, 1),
            delete(6, 7, true),
            get(8, 9, None),
            delete(10, 11, false),
        ]);
    }

    #[test]
    fn of_what_happens_at_once_either_may_be_first() {
        accepts(&[put(0, 10, 1), put(1, 9, 2), get(11, 12, 1)]);
        accepts(&[put(0, 10, 1), put(1, 9, 2), get(11, 12, 2)]);
        accepts(&[put(0, 10, 1), get(1, 2, None), get(3, 4, 1)]);
        accepts(&[put(0, 1, 1), delete(2, 10, true), put(3, 4, 2), get(5, 6, 2), get(7, 8, None)]);
    }

    #[test]
    fn a_stale_read_is_rejected() {
        rejects(&[put(0, 1, 1), get(2, 3, None)]);
        rejects(&[put(0, 1, 1), put(2, 3, 2), get(4, 5, 1)]);
        rejects(&[put(0, 1, 1), delete(2, 3, true), get(4, 5, 1)]);
    }

    #[test]
    fn two_readers_who_see_two_orders_are_rejected() {
        rejects(&[put(0, 10, 1), get(1, 2, 1), get(3, 4, None)]);
        rejects(&[put(0, 20, 1), put(1, 19, 2), get(2, 3, 1), get(4, 5, 2), get(6, 7, 1)]);
    }

    #[test]
    fn what_is_there_once_is_deleted_once() {
        rejects(&[put(0, 1, 1), delete(2, 10, true), delete(3, 9, true)]);
        accepts(&[put(0, 1, 1), delete(2, 10, true), delete(3, 9, false)]);
        rejects(&[put(0, 1, 1), delete(2, 3, false)]);
    }

    #[test]
    fn what_was_not_answered_may_have_happened_late_or_never_but_not_early_nor_twice() {
        accepts(&[put(0, 1, 1), put(2, None, 2), get(3, 4, 1)]);
        accepts(&[put(0, 1, 1), put(2, None, 2), get(3, 4, 1), get(5, 6, 2)]);
        accepts(&[put(0, 1, 1), delete(2, None, true), get(3, 4, 1), get(5, 6, None)]);
        rejects(&[put(0, 1, 1), get(2, 3, 2), put(4, None, 2)]);
        rejects(&[put(0, None, 2), put(1, 2, 1), get(3, 4, 2), put(5, 6, 3), get(7, 8, 2)]);
    }

    #[test]
    fn who_deletes_a_manifest_ends_the_tags_that_point_to_it_and_no_others() {
        let delete_if = |called, answered, value| operation(called, answered, Asked::DeleteIf(value));
        accepts(&[put(0, 1, 1), delete_if(2, Some(3), 1), get(4, 5, None)]);
        rejects(&[put(0, 1, 1), delete_if(2, Some(3), 1), get(4, 5, 1)]);
        accepts(&[put(0, 1, 1), delete_if(2, Some(3), 2), get(4, 5, 1)]);
        rejects(&[put(0, 1, 1), delete_if(2, Some(3), 2), get(4, 5, None)]);
        accepts(&[put(0, 1, 1), delete_if(2, None, 1), get(4, 5, 1), get(6, 7, None)]);
        // Set twice by one who set it once.
        rejects(&[put(0, 20, 1), get(1, 2, 1), put(3, 4, 2), get(5, 6, 2), get(7, 8, 1)]);
    }

    /// By every order there is.
    fn is_linearizable_by_all_orders(left: &mut Vec<Operation>, state: Option<u32>) -> bool {
        let Some(soonest) = left.iter().filter_map(|operation| operation.answered).min() else { return true };
        (0..left.len()).any(|at| {
            let operation = left.remove(at);
            let good = operation.called < soonest
                && operation.fits(state)
                && is_linearizable_by_all_orders(left, operation.after(state));
            left.insert(at, operation);
            good
        })
    }

    fn histories() -> impl Strategy<Value = Vec<Operation>> {
        let asked = prop_oneof![
            (0..3_u32).prop_map(Asked::Put),
            any::<bool>().prop_map(|found| Asked::Delete { found }),
            (0..3_u32).prop_map(Asked::DeleteIf),
            prop::option::of(0..3_u32).prop_map(Asked::Get),
        ];
        let shape = (asked, 0..6_u64, 1..8_u64, prop::bool::weighted(0.8));
        prop::collection::vec(shape, 0..7).prop_map(|shapes| {
            let operations = shapes.into_iter().enumerate().map(|(number, (asked, start, length, is_answered))| {
                // No two moments are the same.
                let number = u64::try_from(number).unwrap();
                let answered = is_answered.then_some((start + length) * 100 + 50 + number);
                Operation { called: start * 100 + number, answered, asked }
            });
            operations.collect()
        })
    }

    proptest! {
        #[test]
        fn the_search_says_what_all_orders_say(history in histories()) {
            prop_assert_eq!(is_linearizable(&history), is_linearizable_by_all_orders(&mut history.clone(), None));
        }
    }
}
