//! What the bucket can really do, tried out: at boot, and daily, since a bucket's settings change.
//!
//! A second creator must be refused, also when several race: some that speak like S3 ignore `If-None-Match`, and OSS and
//! COS do so in buckets with versions. Case must be kept and what is written be listed at once: without these it is no
//! store. Limits and starting points of listings that are not kept, and copies that are not refused, are done without.

use bytes::Bytes;
use futures::future::join_all;
use opendal::options::WriteOptions;
use opendal::{ErrorKind, OperatorInfo};

use super::{Bucket, ROUNDS, copy, failed, found, is_refusal, text};
use crate::store::{Child, Key, StoreError, nonce};

/// How many creators race.
const RACERS: usize = 6;

/// How a copy is made that is refused where the name is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Copies {
    /// One request copies.
    Request,
    /// A multipart upload of copied parts.
    Parts,
    /// The bytes are sent again.
    Bytes,
}

impl Copies {
    /// For the log.
    fn name(self) -> &'static str {
        match self {
            Self::Request => "in one request",
            Self::Parts => "in parts",
            Self::Bytes => "by sending the bytes again",
        }
    }
}

/// What a bucket can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Findings {
    /// A second creator is refused.
    pub(super) creates: bool,
    /// Why not.
    pub(super) why: String,
    /// How objects are copied to a free name.
    pub(super) copies: Copies,
    /// Listings begin after a name.
    pub(super) starts_after: bool,
    /// Listings have pages of the size asked for.
    pub(super) keeps_limits: bool,
}

impl Findings {
    /// What the service is known for; `copies` where it may copy these very objects.
    pub(super) fn expected(service: &OperatorInfo, copies: bool) -> Self {
        let capability = service.capability();
        // These keep to a limit too, though the library does not say so.
        let limited = ["azblob", "cos", "obs", "swift"].contains(&service.scheme());
        let conditional = capability.copy_with_if_not_exists || capability.copy_with_if_version_match;
        let creates = capability.write_with_if_not_exists;
        let copies = if !copies {
            Copies::Bytes
        } else if capability.copy && (conditional || !creates) {
            Copies::Request
        } else if capability.write_can_copy_from {
            Copies::Parts
        } else {
            Copies::Bytes
        };
        Self {
            creates,
            why: if creates {
                String::new()
            } else {
                "the service has no request that only one of several creators is told to have succeeded".into()
            },
            copies,
            starts_after: capability.list_with_start_after,
            keeps_limits: capability.list_with_limit || limited,
        }
    }

    /// Nothing can be relied on.
    #[cfg(test)]
    pub(super) fn nothing(why: &str) -> Self {
        Self { creates: false, why: why.into(), copies: Copies::Bytes, starts_after: false, keeps_limits: false }
    }
}

impl Bucket {
    /// Tries out what the bucket can do; what is found holds from now on.
    pub async fn probe(&self) -> Result<(), StoreError> {
        let mut round = 0;
        let findings = loop {
            let directory = self.inner.scratch.join(format_args!("probe-{}", nonce()));
            let probe = Probe { bucket: self, directory };
            let found = probe.run().await;
            probe.clear().await;
            match found {
                // A service that is busy says so more often than it is tried in this way.
                Err(StoreError::Busy { .. } | StoreError::Io { .. }) if round < ROUNDS => self.pause(round).await,
                Ok(_) | Err(_) => break found?,
            }
            round += 1;
        };
        let before = self.inner.findings.swap(std::sync::Arc::new(findings.clone()));
        if *before != findings {
            let Findings { creates, why, copies, starts_after, keeps_limits } = &findings;
            let copies = copies.name();
            tracing::info!(
                store = %self.inner.name, creates, why, copies, starts_after, keeps_limits,
                "what the bucket can do differs from what was expected"
            );
        }
        Ok(())
    }
}

struct Probe<'a> {
    bucket: &'a Bucket,
    directory: Key,
}

impl Probe<'_> {
    async fn run(&self) -> Result<Findings, StoreError> {
        let mut findings = Findings::expected(&self.bucket.inner.once.info(), self.bucket.inner.copies);
        let first = self.key("a");
        if findings.creates
            && let Some(why) = self.race(&first).await?
        {
            (findings.creates, findings.why) = (false, why);
        }
        for name in ["a", "b/x", "c"] {
            self.write(&self.key(name)).await?;
        }
        self.keeps_case().await?;
        self.lists(&mut findings).await?;
        self.copies(&mut findings).await?;
        Ok(findings)
    }

    fn key(&self, name: &str) -> Key {
        self.directory.join(name)
    }

    fn unsuitable(&self, why: impl Into<String>) -> StoreError {
        StoreError::Unsuitable { path: self.bucket.inner.name.clone(), why: why.into() }
    }

    async fn write(&self, key: &Key) -> Result<(), StoreError> {
        let written = self.bucket.inner.operator.write(key.as_str(), Bytes::from_static(b"probe")).await;
        written.map(drop).map_err(|error| self.unsuitable(format!("it cannot be written: {}", text(&error))))
    }

    async fn create(&self, key: &Key, value: String) -> opendal::Result<()> {
        let options = WriteOptions { if_not_exists: true, ..WriteOptions::default() };
        // Sent once: a retry would be refused for the first try's sake.
        self.bucket.inner.once.write_options(key.as_str(), value.into_bytes(), options).await.map(drop)
    }

    /// Why creations are not exclusive, if they are not.
    async fn race(&self, key: &Key) -> Result<Option<String>, StoreError> {
        let race = join_all((0..RACERS).map(|racer| self.create(key, format!("racer {racer}")))).await;
        let created = race.iter().filter(|outcome| outcome.is_ok()).count();
        if created > 1 {
            return Ok(Some(format!("{created} of {RACERS} racing creators of one key were told that they made it")));
        }
        let odd = race.iter().find(|outcome| matches!(outcome, Err(error) if !is_expected(error)));
        if let (0, Some(Err(error))) = (created, odd)
            && !error.is_temporary()
        {
            // Either it is the condition that it does not take, or nothing at all can be written.
            self.write(key).await?;
            return Ok(Some(format!("it refuses to create only what is absent: {}", text(error))));
        }
        match self.create(key, "the last".to_owned()).await {
            Ok(()) if created == 0 => Box::pin(self.once_more(key)).await,
            Ok(()) => Ok(Some("a key was created a second time".to_owned())),
            Err(error) if is_refusal(&error) => Ok(None),
            Err(error) => Err(failed("probing", key, error)),
        }
    }

    /// After a race that all lost.
    async fn once_more(&self, key: &Key) -> Result<Option<String>, StoreError> {
        match self.create(key, "again".to_owned()).await {
            Ok(()) => Ok(Some("a key was created a second time".to_owned())),
            Err(error) if is_refusal(&error) => Ok(None),
            Err(error) => Err(failed("probing", key, error)),
        }
    }

    async fn keeps_case(&self) -> Result<(), StoreError> {
        match self.bucket.meta(&self.key("A")).await? {
            None => Ok(()),
            Some(_) => Err(self.unsuitable("it folds upper and lower case")),
        }
    }

    async fn lists(&self, findings: &mut Findings) -> Result<(), StoreError> {
        let child = |name: &str, is_directory| Child { name: name.to_owned(), is_directory };
        let all = [child("a", false), child("b", true), child("c", false)];
        self.adopt(&Findings { starts_after: false, keeps_limits: false, ..findings.clone() });
        let listed = self.bucket.list(&self.directory, None, 10).await?;
        if listed != all {
            let names: Vec<&str> = listed.iter().map(|child| child.name.as_str()).collect();
            return Err(self.unsuitable(format!("what was just written is not listed: {names:?} rather than a, b, c")));
        }
        self.adopt(findings);
        findings.keeps_limits &= self.bucket.list(&self.directory, None, 1).await? == all[..1];
        self.adopt(findings);
        findings.starts_after &= self.bucket.list(&self.directory, Some("b/"), 10).await? == all[2..]
            && self.bucket.list(&self.directory, Some("a"), 1).await? == all[1..2];
        self.adopt(findings);
        Ok(())
    }

    /// What is tried out is used as it would be.
    fn adopt(&self, findings: &Findings) {
        let current = self.bucket.inner.findings.load();
        let Findings { starts_after, keeps_limits, .. } = *findings;
        self.bucket.inner.findings.store(std::sync::Arc::new(Findings {
            starts_after,
            keeps_limits,
            ..(**current).clone()
        }));
    }

    /// The first way of copying that is refused where the name is taken.
    async fn copies(&self, findings: &mut Findings) -> Result<(), StoreError> {
        if !findings.creates {
            return Ok(());
        }
        let parts = self.bucket.capability().write_can_copy_from;
        let next = if parts { Copies::Parts } else { Copies::Bytes };
        let expected = findings.copies;
        for how in [Some(expected), Some(next).filter(|next| *next != expected)].into_iter().flatten() {
            findings.copies = how;
            match self.copy_is_refused(how).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => tracing::debug!(?how, error = %text(&error), "this way of copying does not work here"),
            }
        }
        (findings.creates, findings.why) =
            (false, "an object was written over by a copy that was to be refused".to_owned());
        Ok(())
    }

    async fn copy_is_refused(&self, how: Copies) -> opendal::Result<bool> {
        let operator = &self.bucket.inner.operator;
        let from = match how {
            // Parts have a least size, and what is smaller is copied in another way.
            Copies::Parts => self.large().await?,
            Copies::Request | Copies::Bytes => self.key("b/x"),
        };
        match copy::copy(operator, &from, &self.key("c"), how, true).await {
            Ok(()) => Ok(false),
            Err(error) if is_refusal(&error) => Ok(true),
            Err(error) => Err(error),
        }
    }

    async fn large(&self) -> opendal::Result<Key> {
        let key = self.key("large");
        let size = self.bucket.capability().write_multi_min_size.unwrap_or_default();
        self.bucket.inner.operator.write(key.as_str(), vec![0; size]).await?;
        Ok(key)
    }

    async fn clear(&self) {
        for name in ["a", "b/x", "c", "large"] {
            let deleted = self.bucket.inner.operator.delete(self.key(name).as_str()).await;
            if let Err(error) = found(deleted) {
                tracing::debug!(error = %text(&error), "a key of the probe was left behind");
            }
        }
    }
}

/// Losing a race, in one of the ways in which it is said.
fn is_expected(error: &opendal::Error) -> bool {
    is_refusal(error) || error.kind() == ErrorKind::Conflict
}
