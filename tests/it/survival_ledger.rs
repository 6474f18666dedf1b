//! What clients were promised: for each thing that a registry keeps, what it was last acknowledged to be, and what it may
//! be besides because a request about it was not answered yet.

use std::collections::{BTreeMap, BTreeSet};

use regatta::oci::Digest;
use regatta::registry::Register;

/// Something that a client can ask for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thing {
    Tag(String, String),
    Manifest(String, Digest),
    Blob(String, Digest),
    /// A manifest in the list of its subject.
    Referrer {
        repository: String,
        subject: Digest,
        digest: Digest,
    },
    /// The bytes of a blob, in the trash: no client asks for it, and HEAD says 404.
    Condemned(Digest),
}

impl Thing {
    /// Where it is; bytes are nowhere in particular.
    pub fn repository(&self) -> &str {
        match self {
            Self::Tag(repository, _)
            | Self::Manifest(repository, _)
            | Self::Blob(repository, _)
            | Self::Referrer { repository, .. } => repository,
            Self::Condemned(_) => "",
        }
    }

    /// Whether it has a register of its own, of which the journal tells.
    pub fn is_register(&self) -> bool {
        matches!(self, Self::Tag(..) | Self::Manifest(..) | Self::Blob(..))
    }

    pub fn path(&self) -> String {
        match self {
            Self::Tag(repository, tag) => format!("/v2/{repository}/manifests/{tag}"),
            Self::Manifest(repository, digest) => format!("/v2/{repository}/manifests/{digest}"),
            Self::Blob(repository, digest) => format!("/v2/{repository}/blobs/{digest}"),
            Self::Referrer { repository, subject, .. } => format!("/v2/{repository}/referrers/{subject}"),
            Self::Condemned(digest) => panic!("nobody can ask whether {digest} is condemned"),
        }
    }
}

impl From<&Register> for Thing {
    fn from(register: &Register) -> Self {
        match register {
            Register::Tag(repository, tag) => Self::Tag(repository.to_string(), tag.to_string()),
            Register::Manifest(repository, digest) => Self::Manifest(repository.to_string(), digest.clone()),
            Register::Link(repository, digest) => Self::Blob(repository.to_string(), digest.clone()),
        }
    }
}

/// What a thing is: a digest, or not there.
pub type State = Option<Digest>;

#[derive(Debug, Clone)]
enum Event {
    Begun(Vec<(Thing, State)>),
    Answered(usize),
}

/// Events in the order in which the clients saw them. Requests about one thing follow each other.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    events: Vec<Event>,
}

impl Ledger {
    /// A request is sent that will, if it succeeds, make these things be this. Gives the number of the event.
    pub fn begin(&mut self, changes: Vec<(Thing, State)>) -> usize {
        self.events.push(Event::Begun(changes));
        self.events.len() - 1
    }

    /// The request of this number was answered with success. Gives the number of the event.
    pub fn answered(&mut self, begun: usize) -> usize {
        self.events.push(Event::Answered(begun));
        self.events.len() - 1
    }

    /// What each thing may be once exactly these events have happened.
    pub fn allowed(&self, happened: impl Fn(usize) -> bool) -> BTreeMap<Thing, BTreeSet<State>> {
        let happened = |event: &usize| happened(*event);
        let answers: BTreeSet<usize> = (0..self.events.len())
            .filter(happened)
            .filter_map(|event| if let Event::Answered(begun) = &self.events[event] { Some(*begun) } else { None })
            .collect();
        let mut allowed: BTreeMap<Thing, BTreeSet<State>> = BTreeMap::new();
        for (number, event) in self.events.iter().enumerate() {
            let Event::Begun(changes) = event else { continue };
            for (thing, state) in changes {
                let states = allowed.entry(thing.clone()).or_insert_with(|| [None].into());
                if answers.contains(&number) {
                    *states = [state.clone()].into();
                } else if happened(&number) {
                    states.insert(state.clone());
                }
            }
        }
        allowed
    }

    /// What was answered in these events.
    pub fn answers(&self, happened: &BTreeSet<usize>) -> Vec<Thing> {
        let begun = happened.iter().filter_map(|event| match &self.events[*event] {
            Event::Answered(begun) => Some(&self.events[*begun]),
            Event::Begun(_) => None,
        });
        let changes = begun.filter_map(|event| if let Event::Begun(changes) = event { Some(changes) } else { None });
        changes.flatten().map(|(thing, _)| thing.clone()).collect()
    }

    /// What each thing may be now.
    pub fn now(&self) -> BTreeMap<Thing, BTreeSet<State>> {
        self.allowed(|_| true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag() -> Thing {
        Thing::Tag("a".into(), "t".into())
    }

    #[test]
    fn what_was_answered_is_promised_and_what_was_not_is_possible() {
        let (one, two) = (Some(Digest::sha256(b"1")), Some(Digest::sha256(b"2")));
        let mut ledger = Ledger::default();
        let first = ledger.begin(vec![(tag(), one.clone())]);
        assert_eq!(ledger.now()[&tag()], [None, one.clone()].into());
        ledger.answered(first);
        assert_eq!(ledger.now()[&tag()], [one.clone()].into());
        let second = ledger.begin(vec![(tag(), two.clone())]);
        assert_eq!(ledger.now()[&tag()], [one.clone(), two.clone()].into());
        ledger.answered(second);
        assert_eq!(ledger.now()[&tag()], [two].into());
        assert_eq!(ledger.allowed(|event| event < 2)[&tag()], [one].into());
    }
}
