//! Reads all origins' logs from a cursor on; closes and trims them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use bytes::Bytes;

use super::cursor::{Cursor, Durable, Position, is_number, is_origin};
use super::{Record, UNSETTLED_MILLIS};
use crate::registry::register::{is_torn, to_json};
use crate::registry::{RegistryError, Result, layout, layout::Register, nonce, versions};
use crate::store::{Child, Durability, PutNew, Store, Walk};

/// What was read.
#[derive(Debug, Clone, Default)]
pub struct JournalRead {
    /// Where to go on.
    pub cursor: Cursor,
    /// Registers that changed since, without repetitions, in the order of each log.
    pub changes: Vec<Seen>,
    /// Registers of records that are not settled: look again.
    pub unsettled: Vec<Seen>,
    /// What lies between the cursor and the log was trimmed, or the cursor is of another store: compare in full.
    pub compare: bool,
    /// The cursor is ahead of the log: the store was restored.
    pub ahead: bool,
}

/// A register named by a record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    /// Which.
    pub register: Register,
    /// When the record was written, in milliseconds since the epoch.
    pub at: u64,
}

/// Reads on from a cursor. Without one: the end as of now, with what is unsettled there.
pub async fn read(store: &Store, identity: &str, cursor: Option<&Cursor>, now: u64) -> Result<JournalRead> {
    let floor = floor(store).await?;
    let usable = cursor.filter(|cursor| cursor.store == identity && cursor.at >= floor);
    let mut result = JournalRead {
        compare: cursor.is_some() && usable.is_none(),
        cursor: Cursor { store: identity.to_owned(), at: now, origins: BTreeMap::new() },
        ..JournalRead::default()
    };
    let origins = origins(store).await?;
    if let Some(cursor) = usable {
        result.ahead = is_ahead(store, cursor, floor).await?;
    }
    let mut logs = Vec::new();
    for origin in origins {
        let position = usable.map(|cursor| cursor.origins.get(&origin).cloned().unwrap_or_default());
        let log = match position {
            Some(position) => read_on(store, &origin, &position).await?,
            None => read_end(store, &origin, now).await?,
        };
        logs.push((origin, log));
    }
    // A process whose origin was closed settles under its next one.
    let records = logs.iter().flat_map(|(_, log)| &log.new);
    let settled: BTreeSet<(Arc<str>, u64)> = records.flat_map(|(_, record)| record.settles.iter().cloned()).collect();
    for (origin, log) in logs {
        let is_settled = |number| settled.contains(&(Arc::from(origin.as_str()), number));
        let position = log.report(now, usable.is_some(), is_settled, &mut result);
        result.cursor.origins.insert(origin, position);
    }
    result.changes = unique(std::mem::take(&mut result.changes));
    result.unsettled = unique(std::mem::take(&mut result.unsettled));
    Ok(result)
}

/// How many names are listed at a time: an origin's log has as many records as a busy week has writes.
const PAGE: usize = 1_000;

/// How many names are looked at for a log's first record.
const PASSED: usize = 16;

/// The origins that have records: as many as processes were started in the week for which records are kept.
pub async fn origins(store: &Store) -> Result<Vec<String>> {
    let (mut origins, mut walk) = (Vec::new(), Walk::new(store, layout::journal(), None));
    loop {
        let children = walk.names(PAGE).await?;
        let is_last = children.len() < PAGE;
        let names = children.into_iter().filter(|child| child.is_directory).map(|child| child.name);
        origins.extend(names.filter(|name| is_origin(name)));
        if is_last {
            return Ok(origins);
        }
    }
}

/// A part of one origin's log.
#[derive(Default)]
struct Log {
    /// What was unsettled before.
    open: Vec<(u64, Record)>,
    /// What is new.
    new: Vec<(u64, Record)>,
    seen: u64,
    seen_at: u64,
    /// The last one up to there that names anything.
    durable: Durable,
}

impl Log {
    /// Adds what is to be told, and gives the position after it.
    fn report(
        self,
        now: u64,
        report_new: bool,
        is_settled: impl Fn(u64) -> bool,
        result: &mut JournalRead,
    ) -> Position {
        let at = self.new.last().map_or(self.seen_at, |(_, record)| record.at);
        let naming = self.new.iter().rev().find(|(_, record)| !record.names.is_empty());
        let durable = naming.map_or(self.durable, |(number, record)| Durable { number: *number, at: record.at });
        let mut position = Position { seen: self.seen, at, durable: Some(durable), open: Vec::new() };
        let (open, new) = (self.open.into_iter().map(|r| (r, false)), self.new.into_iter().map(|r| (r, true)));
        for ((number, record), is_new) in open.chain(new) {
            let over =
                is_settled(number) || record.at.saturating_add(UNSETTLED_MILLIS) < now || record.names.is_empty();
            let seen = record.names.into_iter().map(|register| Seen { register, at: record.at });
            if !over {
                position.open.push(number);
                result.unsettled.extend(seen.clone());
            }
            // New ones are told at once; old ones once more when nothing can come any more.
            if report_new && (is_new || over) {
                result.changes.extend(seen);
            }
        }
        position
    }
}

async fn record(store: &Store, origin: &str, number: u64) -> Result<Option<Record>> {
    let key = layout::journal_record(origin, number);
    let Some(value) = store.read(&key).await? else { return Ok(None) };
    // Records that name anything are durable: one that a power cut tore has only settled others. They run out.
    if is_torn(&value) {
        let written = store.head(&key).await?.and_then(|meta| meta.modified.duration_since(UNIX_EPOCH).ok());
        let at = written.map_or(0, |written| u64::try_from(written.as_millis()).unwrap_or(u64::MAX));
        return Ok(Some(Record { at, names: Vec::new(), settles: Vec::new(), nonce: String::new() }));
    }
    let record = serde_json::from_slice(&value)
        .map_err(|error| RegistryError::Corrupt { key: key.to_string(), why: error.to_string() })?;
    Ok(Some(record))
}

async fn read_on(store: &Store, origin: &str, position: &Position) -> Result<Log> {
    let mut log = Log { seen: position.seen, seen_at: position.at, durable: position.durable(), ..Log::default() };
    for number in &position.open {
        if let Some(record) = record(store, origin, *number).await? {
            log.open.push((*number, record));
        }
    }
    if position.seen == 0 {
        // The beginning may have been trimmed.
        log.seen = first(store, origin).await?.map_or(0, |first| first - 1);
    }
    while let Some(record) = record(store, origin, log.seen + 1).await? {
        log.seen += 1;
        log.new.push((log.seen, record));
    }
    Ok(log)
}

/// The last hour of a log: all that can be unsettled.
async fn read_end(store: &Store, origin: &str, now: u64) -> Result<Log> {
    let Some((first, last)) = ends(store, origin).await? else { return Ok(Log::default()) };
    let mut log = Log { seen: last, ..Log::default() };
    for number in (first..=last).rev() {
        let Some(record) = record(store, origin, number).await? else { continue };
        let old = record.at.saturating_add(UNSETTLED_MILLIS) < now;
        log.new.push((number, record));
        if old {
            break;
        }
    }
    log.new.reverse();
    Ok(log)
}

/// The first record of a log: those before it were trimmed.
async fn first(store: &Store, origin: &str) -> Result<Option<u64>> {
    let directory = layout::journal().join(origin);
    let mut after: Option<String> = None;
    loop {
        // Whatever somebody laid there is passed over.
        let children = store.children(&directory, after.as_deref(), PASSED).await?;
        let number = |child: &Child| u64::from_str_radix(&child.name, 16).ok();
        let mut numbers = children.iter().filter_map(number);
        if let Some(first) = numbers.find(|number| *number > 0 && is_number(*number)) {
            return Ok(Some(first));
        }
        match children.last() {
            Some(last) if children.len() == PASSED => after = Some(last.as_start()),
            Some(_) | None => return Ok(None),
        }
    }
}

/// The first and the last record of a log, by a listing and some looks: logs are dense, whatever their length.
async fn ends(store: &Store, origin: &str) -> Result<Option<(u64, u64)>> {
    let Some(first) = first(store, origin).await? else { return Ok(None) };
    let is_there = async |number| {
        if !is_number(number) {
            return Ok(false);
        }
        store.head(&layout::journal_record(origin, number)).await.map(|meta| meta.is_some())
    };
    let (mut last, mut step) = (first, 1);
    while is_there(last + step).await? {
        last += step;
        step *= 2;
    }
    // Between the last one that was found and the one that was not.
    while step > 1 {
        step /= 2;
        if is_there(last + step).await? {
            last += step;
        }
    }
    Ok(Some((first, last)))
}

/// Whether the cursor has seen what is not there, and was not trimmed.
async fn is_ahead(store: &Store, cursor: &Cursor, floor: u64) -> Result<bool> {
    for (origin, position) in &cursor.origins {
        let Durable { number, at } = position.durable();
        let trimmed = number == 0 || at < floor;
        if !trimmed && store.head(&layout::journal_record(origin, number)).await?.is_none() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn unique(seen: Vec<Seen>) -> Vec<Seen> {
    let mut known = BTreeSet::new();
    seen.into_iter().filter(|seen| known.insert(seen.register.clone())).collect()
}

async fn floor(store: &Store) -> Result<u64> {
    let newest = versions::newest(store, &layout::journal_floor()).await?;
    Ok(newest.and_then(|newest| serde_json::from_slice(&newest.value).ok()).unwrap_or_default())
}

/// Closes every origin by claiming its next number: a writer that comes later takes a new one, and looks at the hold.
pub async fn claim_all(store: &Store, now: u64) -> Result<()> {
    for origin in origins(store).await? {
        let mut next = ends(store, &origin).await?.map_or(1, |(_, last)| last + 1);
        let claim = Record { at: now, names: Vec::new(), settles: Vec::new(), nonce: nonce() };
        let value = to_json(&claim);
        while let PutNew::Exists(_) =
            store.put_new(&layout::journal_record(&origin, next), value.clone(), Durability::Durable).await?
        {
            next += 1;
        }
    }
    Ok(())
}

/// Removes records from before `before` (milliseconds since the epoch), having published that as the floor. Each log is
/// followed by its numbers up to the first young record: nothing is kept of it.
pub async fn trim(store: &Store, before: u64) -> Result<u64> {
    let (mut trimmed, mut published) = (0, false);
    for origin in origins(store).await? {
        let Some(first) = first(store, &origin).await? else { continue };
        for number in first.. {
            if record(store, &origin, number).await?.is_none_or(|record| record.at >= before) {
                break;
            }
            if !published {
                let value = Bytes::from(before.to_string());
                versions::append(store, &layout::journal_floor(), Durability::Durable, |_| value.clone()).await?;
                published = true;
            }
            store.delete(&layout::journal_record(&origin, number)).await?;
            trimmed += 1;
        }
    }
    Ok(trimmed)
}
