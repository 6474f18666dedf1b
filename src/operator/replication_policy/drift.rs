//! The Event `DriftCorrected`: what was changed at a destination and had not come from its source, and was put right.
//!
//! One Event at most a policy and minute, however much is put right: it has the number, and names the newest few. What
//! is told already is remembered by this process and, across a restart, by the counts in the policy's status.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use kube::runtime::events::EventType;
use kube::{Resource, ResourceExt};

use crate::api::ReplicationPolicy;
use crate::operator::context::{Context, lock};

/// The least time between two Events of a policy.
const PAUSE: Duration = Duration::from_mins(1);

/// The Event's reason.
const DRIFT_CORRECTED: &str = "DriftCorrected";

/// What the replicator of an edge has put right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corrections {
    /// The edge.
    pub id: String,
    /// Its source.
    pub source: String,
    /// Its destination.
    pub destination: String,
    /// How many, since the edge began.
    pub count: i64,
    /// The newest, newest first.
    pub recent: Vec<String>,
}

/// What was told of each policy, by UID.
#[derive(Debug, Default)]
pub struct DriftBoard {
    told: Mutex<HashMap<String, Told>>,
}

impl DriftBoard {
    /// The policy is gone.
    pub fn forget(&self, uid: &str) {
        lock(&self.told).remove(uid);
    }
}

#[derive(Debug, Default)]
struct Told {
    /// By edge.
    counts: BTreeMap<String, i64>,
    last: Option<Instant>,
}

impl Told {
    /// What is new, for people, unless something was told just now; then how long to wait.
    fn news(
        &mut self,
        corrections: &[Corrections],
        known: &BTreeMap<String, i64>,
        now: Instant,
    ) -> Result<Option<String>, Duration> {
        // An edge that the policy does not have any more is in neither.
        self.counts.retain(|id, _| known.contains_key(id) || corrections.iter().any(|found| found.id == *id));
        for found in corrections {
            // An edge that nobody has heard of has nothing new; one that began anew begins anew.
            let before = known.get(&found.id).copied().unwrap_or(found.count);
            let count = self.counts.entry(found.id.clone()).or_insert(before);
            *count = (*count).min(found.count);
        }
        let is_new = |found: &&Corrections| self.counts.get(&found.id).is_some_and(|told| *told < found.count);
        let news: Vec<&Corrections> = corrections.iter().filter(is_new).collect();
        if news.is_empty() {
            return Ok(None);
        }
        let since = self.last.map_or(PAUSE, |last| now.duration_since(last));
        if let Some(rest) = PAUSE.checked_sub(since).filter(|rest| !rest.is_zero()) {
            return Err(rest);
        }
        let said: Vec<String> = news.iter().map(|found| said(found, self.counts[&found.id])).collect();
        self.counts.extend(news.iter().map(|found| (found.id.clone(), found.count)));
        self.last = Some(now);
        Ok(Some(said.join("; ")))
    }
}

fn said(found: &Corrections, told: i64) -> String {
    let Corrections { id: _, source, destination, count, recent } = found;
    let new = count - told;
    let named: Vec<&str> = recent.iter().take(usize::try_from(new).unwrap_or(usize::MAX)).map(String::as_str).collect();
    let rest = new - i64::try_from(named.len()).unwrap_or_default();
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    format!("{source} -> {destination}: {new} changed there and not at {source}, put right: {}{more}", named.join(", "))
}

/// Publishes what is new; says when to look again where it is too soon.
pub(super) async fn tell(
    context: &Context,
    policy: &ReplicationPolicy,
    corrections: &[Corrections],
) -> Option<Duration> {
    let reports = policy.status.iter().flat_map(|status| &status.edges);
    let known = reports.filter_map(|report| Some((report.id.clone(), report.drift_corrected?))).collect();
    let news = {
        let mut board = lock(&context.drift.told);
        board.entry(policy.uid().unwrap_or_default()).or_default().news(corrections, &known, Instant::now())
    };
    match news {
        Ok(None) => None,
        Ok(Some(note)) => {
            context.event(&policy.object_ref(&()), EventType::Normal, DRIFT_CORRECTED, &note).await;
            None
        }
        Err(rest) => Some(rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(count: i64, recent: &[&str]) -> [Corrections; 1] {
        [Corrections {
            id: "e".into(),
            source: "hq".into(),
            destination: "city".into(),
            count,
            recent: recent.iter().map(|&name| name.into()).collect(),
        }]
    }

    fn known(count: i64) -> BTreeMap<String, i64> {
        BTreeMap::from([("e".to_owned(), count)])
    }

    #[test]
    fn what_was_corrected_is_named_and_counted() {
        let mut told = Told::default();
        let news = told.news(&of(5, &["app:3 (copied)", "app:2 (deleted)"]), &known(4), Instant::now()).unwrap();
        assert_eq!(news.unwrap(), "hq -> city: 1 changed there and not at hq, put right: app:3 (copied)");
        let mut told = Told::default();
        let news = told.news(&of(9, &["a:1 (copied)", "a:2 (copied)"]), &known(4), Instant::now()).unwrap().unwrap();
        assert!(news.contains("5 changed") && news.ends_with("a:1 (copied), a:2 (copied) and 3 more"), "{news}");
    }

    #[test]
    fn nothing_is_told_twice_nor_what_nobody_knows_to_be_new() {
        let (mut told, now) = (Told::default(), Instant::now());
        assert_eq!(told.news(&of(5, &[]), &BTreeMap::new(), now), Ok(None), "the count of an edge not heard of before");
        assert!(told.news(&of(6, &[]), &known(5), now).unwrap().is_some());
        assert_eq!(told.news(&of(6, &[]), &known(5), now + PAUSE), Ok(None));
        // The edge began anew.
        assert_eq!(told.news(&of(0, &[]), &known(6), now + PAUSE), Ok(None));
        assert!(told.news(&of(1, &[]), &known(6), now + PAUSE).unwrap().is_some());
    }

    #[test]
    fn what_was_told_of_an_edge_that_is_gone_is_forgotten() {
        let (mut told, now) = (Told::default(), Instant::now());
        assert!(told.news(&of(5, &[]), &known(4), now).unwrap().is_some());
        assert_eq!(told.news(&[], &known(5), now), Ok(None), "it is silent for now");
        assert_eq!(told.counts.len(), 1);
        assert_eq!(told.news(&[], &BTreeMap::new(), now), Ok(None));
        assert_eq!(told.counts, BTreeMap::new());
    }

    #[test]
    fn a_storm_of_corrections_is_one_event_a_minute_and_none_is_lost() {
        let (mut told, now) = (Told::default(), Instant::now());
        let mut events = vec![];
        for second in 0..180_u32 {
            let at = now + Duration::from_secs(second.into());
            match told.news(&of((second + 1).into(), &[]), &known(0), at) {
                Ok(Some(note)) => events.push(note),
                Ok(None) => panic!("there is always something new"),
                Err(rest) => assert!(rest <= PAUSE),
            }
        }
        let counts: Vec<&str> = events.iter().map(|note| note.split(' ').nth(3).unwrap()).collect();
        assert_eq!(counts, ["1", "60", "60"]);
    }
}
