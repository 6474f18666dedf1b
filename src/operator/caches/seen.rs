//! What a watch has shown of a kind: whether an event says anything new, and which objects are gone. Pure.
//!
//! A watch that was interrupted lists afresh and tells of no deletion in between: what a list does not have any more is
//! gone. So is an object whose name another one has now.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use kube::Resource;
use kube::runtime::watcher::Event;

use crate::operator::bus::Guarded;

/// Namespace and name.
type Key = (Option<String>, Option<String>);

/// What a watch has shown.
#[derive(Debug, Default)]
pub(super) struct Seen {
    known: HashMap<Key, Known>,
    /// What the list that is under way has had so far.
    listed: Option<HashSet<Key>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    uid: Option<String>,
    fingerprint: u64,
}

/// What an event says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// Something new to anybody: more than a change of status.
    pub news: bool,
    /// The UIDs of objects that are gone.
    pub gone: Vec<String>,
}

impl Seen {
    /// Takes in an event.
    pub(super) fn hear<K: Resource>(&mut self, event: &Event<Guarded<K>>) -> Heard {
        match event {
            Event::Init => {
                self.listed = Some(HashSet::new());
                Heard::default()
            }
            Event::InitApply(object) => {
                if let Some(listed) = &mut self.listed {
                    listed.insert(key(object));
                }
                self.there(object)
            }
            Event::InitDone => Heard { news: false, gone: self.missed() },
            Event::Apply(object) => self.there(object),
            Event::Delete(object) => {
                let known = self.known.remove(&key(object));
                let uid = known.and_then(|known| known.uid).or_else(|| object.meta().uid.clone());
                Heard { news: true, gone: uid.into_iter().collect() }
            }
        }
    }

    fn there<K: Resource>(&mut self, object: &Guarded<K>) -> Heard {
        let now = Known { uid: object.meta().uid.clone(), fingerprint: fingerprint(object) };
        let before = self.known.insert(key(object), now.clone());
        let gone = before.as_ref().filter(|before| before.uid != now.uid).and_then(|before| before.uid.clone());
        Heard { news: before.as_ref() != Some(&now), gone: gone.into_iter().collect() }
    }

    /// What the list that has ended did not have.
    fn missed(&mut self) -> Vec<String> {
        let Some(listed) = self.listed.take() else { return vec![] };
        self.known.extract_if(|key, _| !listed.contains(key)).filter_map(|(_, known)| known.uid).collect()
    }
}

fn key<K: Resource>(object: &Guarded<K>) -> Key {
    (object.meta().namespace.clone(), object.meta().name.clone())
}

fn fingerprint<K: Resource>(object: &Guarded<K>) -> u64 {
    let meta = object.meta();
    let mut hasher = DefaultHasher::new();
    meta.uid.hash(&mut hasher);
    meta.generation.hash(&mut hasher);
    meta.annotations.hash(&mut hasher);
    meta.deletion_timestamp.is_some().hash(&mut hasher);
    object.0.is_ok().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use kube::core::DeserializeGuard;

    use super::*;
    use crate::api::{Project, ProjectSpec};

    fn object(name: &str, uid: &str, generation: i64) -> Guarded<Project> {
        let mut project = Project::new(name, ProjectSpec::default());
        project.metadata.uid = Some(uid.to_owned());
        project.metadata.generation = Some(generation);
        DeserializeGuard(Ok(project))
    }

    fn heard(news: bool, gone: &[&str]) -> Heard {
        Heard { news, gone: gone.iter().map(|&uid| uid.to_owned()).collect() }
    }

    #[test]
    fn a_deleted_object_and_one_that_another_took_the_name_of_are_gone() {
        let mut seen = Seen::default();
        assert_eq!(seen.hear(&Event::Apply(object("a", "1", 1))), heard(true, &[]));
        assert_eq!(seen.hear(&Event::Apply(object("a", "1", 1))), heard(false, &[]), "only its status changed");
        assert_eq!(seen.hear(&Event::Apply(object("a", "1", 2))), heard(true, &[]));
        assert_eq!(seen.hear(&Event::Apply(object("a", "2", 1))), heard(true, &["1"]));
        assert_eq!(seen.hear(&Event::Delete(object("a", "2", 1))), heard(true, &["2"]));
        assert!(seen.known.is_empty());
    }

    #[test]
    fn what_went_while_nobody_listened_is_missed_at_the_end_of_the_next_list() {
        let mut seen = Seen::default();
        for name in ["a", "b", "c"] {
            seen.hear(&Event::Apply(object(name, name, 1)));
        }
        assert_eq!(seen.hear::<Project>(&Event::Init), heard(false, &[]));
        assert_eq!(seen.hear(&Event::InitApply(object("a", "a", 1))), heard(false, &[]));
        assert_eq!(seen.hear(&Event::InitApply(object("c", "c2", 1))), heard(true, &["c"]));
        assert_eq!(seen.hear::<Project>(&Event::InitDone), heard(false, &["b"]));
        assert_eq!(seen.known.len(), 2);
    }
}
