//! `regatta gc`: collects the garbage of a registry's store.

mod apart;

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use self::apart::{Apart, Turn};
use super::sole::Seen;
use super::store::{OpenError, StoreArgs};
use crate::admin::runs::{RUN_VARIABLE, SUMMARY_LIMIT};
use crate::admin::{CollectionCounts, CollectionSummary};
use crate::clock::System;
use crate::gc::collect::Outcome;
use crate::gc::{CollectError, Collection, Counts, Options};
use crate::registry::runs::{KEPT, is_run_name};
use crate::registry::{Registry, RegistryError, layout};
use crate::server::fault::chain;
use crate::store::StoreError;

/// How often one collection pauses: it begins anew each time, and holds the registry read-only while it runs.
const MOST_PAUSES: usize = 5;

/// How often it is said that it still pauses.
const SAY_AGAIN: Duration = Duration::from_mins(5);

/// Collects what no tag, index or referrer needs.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    store: StoreArgs,
    /// How pushes are kept apart from the collection: `read-only` refuses them meanwhile.
    #[arg(long, value_enum, default_value = "read-only")]
    mode: Mode,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Collect manifests too that no tag, index or referrer's subject keeps.
    #[arg(long)]
    untagged: bool,
    /// What is younger than this is left alone: `24h`, `30m`, `0s`.
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration)]
    grace_period: SignedDuration,
    /// How long what was condemned can still be taken back by a push that names it.
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration)]
    undelete_window: SignedDuration,
    /// Write a JSON summary of at most 4,000 bytes here.
    #[arg(long, value_name = "FILE")]
    summary: Option<PathBuf>,
    /// Keep the whole summary in the store under this name, which the internal port serves for 30 days.
    #[arg(long, env = RUN_VARIABLE, value_name = "NAME", value_parser = run_name)]
    run: Option<String>,
}

fn run_name(text: &str) -> Result<String, String> {
    let grammar = "at most 63 of a-z, 0-9 and '-', the first and the last a letter or a digit";
    if is_run_name(text) { Ok(text.to_owned()) } else { Err(grammar.to_owned()) }
}

/// How pushes are kept apart from the collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Mode {
    /// They are refused with 503 until it ends.
    ReadOnly,
}

fn duration(text: &str) -> Result<SignedDuration, String> {
    let duration: SignedDuration = text.parse().map_err(|error: jiff::Error| error.to_string())?;
    if duration.is_negative() { Err("a duration cannot be negative".to_owned()) } else { Ok(duration) }
}

/// Why nothing, or not everything, was collected.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// It cannot be looked at.
    #[error(transparent)]
    Look(#[from] StoreError),
    /// What is in it cannot be used.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The run ended early.
    #[error(transparent)]
    Collect(#[from] CollectError),
    /// The store is not one of a registry: a collector makes none.
    #[error("`{0}` is not the store of a registry")]
    NoRegistry(String),
    /// A replica of which there may be one only is at work.
    #[error(
        "a replica that must be the only one to write to {0} holds its lease: end that replica (one that was killed holds it for two more minutes), run the collection, and then start the replica again; only a dry run may run beside it"
    )]
    NotAlone(String),
    /// It was another's turn to write before this had ended.
    #[error(
        "another process took the lease of the only writer of {0}, or may have it by now; nothing more was touched: end that process, or see to it that the bucket answers, and run the collection again"
    )]
    Lost(String),
    /// Told to stop while it paused, or it would have had to pause again and again.
    #[error(
        "the collection was ended while it paused ({why}), since whether another process holds the lease of the only writer of {store} could not be seen; nothing more was touched, and pushes are taken again in two minutes at most: see to it that the bucket answers, and run the collection again"
    )]
    Paused {
        /// Where.
        store: String,
        /// Why it did not go on.
        why: String,
    },
    /// Signals, summary or standard output.
    #[error("{what} failed")]
    Io {
        /// What was under way.
        what: &'static str,
        /// The system's error.
        source: std::io::Error,
    },
}

/// Runs a collection; SIGTERM and SIGINT stop it between two things that it does.
pub async fn run(args: Args) -> Result<(), Error> {
    let stop = CancellationToken::new();
    stop_on_signals(stop.clone()).map_err(|source| Error::Io { what: "catching signals", source })?;
    let started = Timestamp::now();
    let ended = |outcome: &Outcome, result: Result<(), Error>| {
        let message = result.as_ref().err().map(|error| chain(error)).or_else(|| outcome.errors.first().cloned());
        let summary = summary(outcome, &args, started, result.is_ok(), message);
        let written = write_summary(&args, &summary);
        (summary, written.and(result))
    };
    let (summary, result) = match open(&args).await {
        Ok(opened) => {
            let mut turn = opened.apart.turn();
            let (outcome, result) = opened.collect(&options(&args), args.dry_run, &stop, &mut turn).await;
            let (summary, result) = ended(&outcome, result);
            if let Some(run) = &args.run {
                opened.keep(run, &summary, &mut turn).await;
            }
            opened.apart.end().await;
            (summary, result)
        }
        Err(error) => ended(&Outcome::default(), Err(error)),
    };
    result?;
    print(&summary).map_err(|source| Error::Io { what: "printing", source })
}

/// A registry's store, in which a collection may write.
struct Open {
    name: String,
    registry: Registry,
    apart: Apart,
}

async fn open(args: &Args) -> Result<Open, Error> {
    if let Some(root) = args.store.missing()? {
        return Err(Error::NoRegistry(root.display().to_string()));
    }
    let opened = args.store.open().await?;
    if opened.store.head(&layout::store_identity()).await?.is_none() {
        return Err(Error::NoRegistry(opened.name));
    }
    let Some(apart) = Apart::from_replicas(&opened, args.dry_run).await? else {
        return Err(Error::NotAlone(opened.name));
    };
    match Registry::open(opened.store, Arc::new(System)).await {
        Ok(registry) => Ok(Open { name: opened.name, registry, apart }),
        Err(error) => {
            apart.end().await;
            Err(error.into())
        }
    }
}

impl Open {
    /// Collects until that is done, or it is another's turn to write. While it is not known whose turn it is, it pauses.
    async fn collect(
        &self,
        options: &Options,
        dry_run: bool,
        stop: &CancellationToken,
        turn: &mut Turn<'_>,
    ) -> (Outcome, Result<(), Error>) {
        let mut collection = Collection::of(&self.registry, options, dry_run);
        let mut pauses = 0;
        let result = loop {
            match self.run(collection.run(stop), stop, turn).await {
                // What failed it may be what hides the lease.
                Some(Err(Error::Collect(error))) if turn.looks_out() && !stop.is_cancelled() => match turn.next().await
                {
                    Seen::Free if !turn.has_failed() => break Err(error.into()),
                    Seen::Anothers => break Err(Error::Lost(self.name.clone())),
                    Seen::Free | Seen::Blind => {
                        tracing::warn!(store = %self.name, error = chain(&error), "the collection is begun anew");
                    }
                },
                Some(result) => break result,
                None => {}
            }
            if pauses == MOST_PAUSES {
                break Err(self.paused(format!("after {MOST_PAUSES} pauses, each of which it began anew after")));
            }
            pauses += 1;
            if let Err(error) = self.pause(stop, turn).await {
                break Err(error);
            }
        };
        (collection.outcome, result)
    }

    /// None where it is to pause. Then it is dropped, not left as it is: it may hold a lock in the store's client that a look
    /// at the lease needs (that of credentials being renewed), and would send once more, when it goes on, what it had begun
    /// to send. So its hold is not renewed either, and the registry is not read-only for as long as a pause lasts.
    async fn run(
        &self,
        collection: impl Future<Output = Result<(), CollectError>>,
        stop: &CancellationToken,
        turn: &mut Turn<'_>,
    ) -> Option<Result<(), Error>> {
        let mut collection = std::pin::pin!(collection);
        if let Some(result) = turn.while_ours(collection.as_mut()).await {
            return Some(result.map_err(Error::from));
        }
        if turn.seen == Seen::Blind {
            return None;
        }
        stop.cancel();
        match tokio::time::timeout(turn.to_end, collection).await {
            Ok(Ok(())) => Some(Ok(())),
            Ok(Err(_)) | Err(_) => Some(Err(Error::Lost(self.name.clone()))),
        }
    }

    fn paused(&self, why: String) -> Error {
        Error::Paused { store: self.name.clone(), why }
    }

    /// Waits until it is seen again that nobody else has the lease.
    async fn pause(&self, stop: &CancellationToken, turn: &mut Turn<'_>) -> Result<(), Error> {
        let mut told: Option<Instant> = None;
        while turn.seen == Seen::Blind {
            if told.is_none_or(|told| told.elapsed() > SAY_AGAIN) {
                told = Some(Instant::now());
                tracing::warn!(
                    store = %self.name,
                    cause = turn.cause(),
                    "the collection pauses: whether another process holds the lease of the only writer cannot be seen"
                );
            }
            tokio::select! {
                () = stop.cancelled() => return Err(self.paused("it was told to stop".to_owned())),
                _ = turn.next() => {}
            }
        }
        if turn.seen == Seen::Anothers {
            return Err(Error::Lost(self.name.clone()));
        }
        tracing::warn!(store = %self.name, "the collection goes on: nobody else holds the lease of the only writer");
        Ok(())
    }

    /// What was done is done, whether it can be kept or not.
    async fn keep(&self, run: &str, summary: &CollectionSummary, turn: &mut Turn<'_>) {
        let kept = std::pin::pin!(async {
            self.registry.keep_run(run, crate::registry::register::to_json(summary)).await?;
            self.registry.forget_runs(KEPT).await
        });
        match turn.while_ours(kept).await {
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                tracing::warn!(error = chain(&error), run, "the summary could not be kept in the store");
            }
            None => {
                tracing::warn!(run, "the summary was not kept in the store: it may be another's turn to write there");
            }
        }
    }
}

fn options(args: &Args) -> Options {
    let Mode::ReadOnly = args.mode;
    let millis = |duration: SignedDuration| u64::try_from(duration.as_millis()).unwrap_or_default();
    Options {
        untagged: args.untagged,
        grace_millis: millis(args.grace_period),
        window_millis: millis(args.undelete_window),
    }
}

fn stop_on_signals(stop: CancellationToken) -> std::io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        stop.cancel();
    });
    Ok(())
}

fn summary(
    outcome: &Outcome,
    args: &Args,
    started_at: Timestamp,
    succeeded: bool,
    message: Option<String>,
) -> CollectionSummary {
    let Outcome { scanned, condemned, rescued, purged, bytes_freed, errors } = outcome;
    CollectionSummary {
        succeeded,
        dry_run: args.dry_run,
        started_at,
        finished_at: Timestamp::now(),
        scanned: counts(*scanned),
        condemned: counts(*condemned),
        rescued: counts(*rescued),
        purged: counts(*purged),
        bytes_freed: *bytes_freed,
        errors: errors.len() as u64,
        message,
        truncated: false,
    }
}

fn counts(Counts { manifests, links, blobs }: Counts) -> CollectionCounts {
    CollectionCounts { manifests, links, blobs }
}

fn write_summary(args: &Args, summary: &CollectionSummary) -> Result<(), Error> {
    let Some(path) = &args.summary else { return Ok(()) };
    let mut summary = summary.clone();
    let mut text = to_text(&summary);
    while text.len() > SUMMARY_LIMIT {
        let message = summary.message.take().unwrap_or_default();
        let excess = text.len() - SUMMARY_LIMIT;
        let keep = message.chars().count().saturating_sub(excess.max(64));
        summary.message = Some(message.chars().take(keep).collect());
        summary.truncated = true;
        text = to_text(&summary);
    }
    std::fs::write(path, text).map_err(|source| Error::Io { what: "writing the summary", source })
}

fn to_text(summary: &CollectionSummary) -> String {
    String::from_utf8_lossy(&crate::registry::register::to_json(summary)).into_owned()
}

fn print(summary: &CollectionSummary) -> std::io::Result<()> {
    let line = |what: &str, counts: &CollectionCounts| {
        format!("{what}: {} manifests, {} links, {} blobs", counts.manifests, counts.links, counts.blobs)
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", line("scanned", &summary.scanned))?;
    let would = if summary.dry_run { "would be " } else { "" };
    writeln!(out, "{}", line(&format!("{would}condemned"), &summary.condemned))?;
    writeln!(out, "{}", line(&format!("{would}rescued"), &summary.rescued))?;
    writeln!(out, "{}", line(&format!("{would}purged"), &summary.purged))?;
    writeln!(out, "{would}freed: {} bytes", summary.bytes_freed)?;
    if summary.errors > 0 {
        writeln!(out, "kept, since it could not be read: {} things; the log names them", summary.errors)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
