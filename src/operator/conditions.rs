//! Conditions as metav1 has them and kstatus reads them.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::api::conditions::{READY, RECONCILING, STALLED};
use crate::api::{
    ANNOTATION_REQUESTED_AT, GarbageCollectionStatus, ProjectStatus, RegistryStatus, ReplicationPolicyStatus,
    RoleBindingStatus,
};

/// What a status must have so that the driver can write it.
pub trait StatusObject: Clone + PartialEq + Default + serde::Serialize {
    /// The conditions.
    fn conditions(&self) -> &[Condition];
    /// The conditions, to change.
    fn conditions_mut(&mut self) -> &mut Vec<Condition>;
    /// The generation that the status is about.
    fn observed(&self) -> i64;
    /// Notes which generation the status is about.
    fn observe(&mut self, generation: i64);
}

/// The five statuses have these two fields alike.
macro_rules! status_objects {
    ($($status:ty),+) => {
        $(impl StatusObject for $status {
            fn conditions(&self) -> &[Condition] {
                &self.conditions
            }

            fn conditions_mut(&mut self) -> &mut Vec<Condition> {
                &mut self.conditions
            }

            fn observed(&self) -> i64 {
                self.observed_generation
            }

            fn observe(&mut self, generation: i64) {
                self.observed_generation = generation;
            }
        })+
    };
}

status_objects!(RegistryStatus, ProjectStatus, RoleBindingStatus, ReplicationPolicyStatus, GarbageCollectionStatus);

/// A condition's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    /// True.
    True,
    /// False.
    False,
    /// Unknown.
    Unknown,
}

impl Truth {
    fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Truth {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

/// Sets a condition; the time of transition moves only with the value.
pub fn set(
    conditions: &mut Vec<Condition>,
    kind: &str,
    truth: Truth,
    reason: &str,
    message: &str,
    generation: i64,
    now: Timestamp,
) {
    let status = truth.as_str();
    let since = conditions
        .iter()
        .find(|condition| condition.type_ == kind && condition.status == status)
        .map_or(Time(now), |condition| condition.last_transition_time.clone());
    let condition = Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: shorten(message, 2048),
        observed_generation: Some(generation),
        last_transition_time: since,
    };
    match conditions.iter_mut().find(|condition| condition.type_ == kind) {
        Some(place) => *place = condition,
        None => conditions.push(condition),
    }
    conditions.sort_by_key(|condition| rank(&condition.type_));
}

/// Takes a condition away: `Reconciling` and `Stalled` are absent while they do not hold.
pub fn clear(conditions: &mut Vec<Condition>, kind: &str) {
    conditions.retain(|condition| condition.type_ != kind);
}

/// The condition of this type.
pub fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// Whether the condition is there and True.
pub fn is_true(conditions: &[Condition], kind: &str) -> bool {
    find(conditions, kind).is_some_and(|condition| condition.status == "True")
}

/// Whether an object was said to be ready as it is now. What was said of an earlier generation says nothing of this one.
pub fn was_ready<S: StatusObject>(status: Option<&S>, generation: Option<i64>) -> bool {
    status.is_some_and(|status| Some(status.observed()) == generation && is_true(status.conditions(), READY))
}

fn rank(kind: &str) -> u8 {
    match kind {
        READY => 0,
        RECONCILING => 1,
        STALLED => 2,
        _ => 3,
    }
}

/// The request that an object carries, as short as a status may have it.
pub fn requested_at(annotations: &std::collections::BTreeMap<String, String>) -> Option<String> {
    annotations.get(ANNOTATION_REQUESTED_AT).map(|request| shorten(request, 256))
}

/// At most `limit` bytes, cut between characters.
pub fn shorten(text: &str, limit: usize) -> String {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_transition_moves_only_with_the_value() {
        let (first, second) = (Timestamp::UNIX_EPOCH, Timestamp::from_second(60).unwrap());
        let mut conditions = vec![];
        set(&mut conditions, READY, Truth::False, "A", "a", 1, first);
        set(&mut conditions, READY, Truth::False, "B", "b", 2, second);
        assert_eq!(conditions[0].last_transition_time.0, first);
        assert_eq!(conditions[0].reason, "B");
        set(&mut conditions, READY, Truth::True, "C", "c", 2, second);
        assert_eq!(conditions[0].last_transition_time.0, second);
    }

    #[test]
    fn what_was_said_of_an_earlier_generation_says_nothing_of_this_one() {
        let mut status = RegistryStatus { observed_generation: 1, ..RegistryStatus::default() };
        assert!(!was_ready(Some(&status), Some(1)));
        set(&mut status.conditions, READY, Truth::True, "A", "a", 1, Timestamp::UNIX_EPOCH);
        assert!(was_ready(Some(&status), Some(1)));
        assert!(!was_ready(Some(&status), Some(2)));
        assert!(!was_ready::<RegistryStatus>(None, Some(1)));
    }

    #[test]
    fn a_message_is_cut_between_characters() {
        assert_eq!(shorten("äöü", 3), "ä");
        assert_eq!(shorten("abc", 8), "abc");
    }
}
