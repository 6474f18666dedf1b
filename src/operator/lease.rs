//! Leader election by a Lease (coordination.k8s.io/v1), as client-go does it.
//!
//! Times of other holders are never compared with this machine's clock: a Lease has run out when it was *seen
//! unchanged* for its whole duration. Every write carries the resourceVersion that it was planned on, so of two that
//! want it one loses. Who cannot renew in time gives up before anybody else may take over, and the process ends.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Client;
use kube::api::{Api, PostParams};

/// How the leader is chosen.
#[derive(Debug, Clone)]
pub struct LeaseSettings {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// This process: unique among all that want the Lease.
    pub identity: String,
    /// How long a Lease is good for without being renewed.
    pub duration: Duration,
    /// How long a holder tries to renew before it gives up; less than `duration`.
    pub renew_deadline: Duration,
    /// How often it is tried.
    pub retry: Duration,
}

impl LeaseSettings {
    /// The usual times: 15 s, 10 s and 2 s.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>, identity: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            identity: identity.into(),
            duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// A wish for a Lease, and the Lease once it is held.
pub struct Elector {
    api: Api<Lease>,
    settings: LeaseSettings,
    seen: Option<Seen>,
}

/// A Lease as it was seen, and since when it has been seen like that.
struct Seen {
    version: Option<String>,
    since: Instant,
}

impl Elector {
    /// Wants the Lease.
    pub fn new(client: Client, settings: LeaseSettings) -> Self {
        Self { api: Api::namespaced(client, &settings.namespace), settings, seen: None }
    }

    /// Waits until the Lease is held.
    pub async fn acquire(&mut self) {
        loop {
            match self.attempt().await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "the Lease cannot be read or written"),
            }
            tokio::time::sleep(self.settings.retry).await;
        }
    }

    /// Renews the Lease, and comes back when it is lost, saying why.
    pub async fn hold(&mut self) -> String {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(self.settings.retry).await;
            match tokio::time::timeout(self.settings.renew_deadline, self.attempt()).await {
                Ok(Ok(true)) => renewed = Instant::now(),
                Ok(Ok(false)) => return "another process holds the Lease".to_owned(),
                Ok(Err(error)) => tracing::warn!(%error, "the Lease could not be renewed"),
                Err(_) => tracing::warn!("the Lease could not be renewed in time"),
            }
            if renewed.elapsed() >= self.settings.renew_deadline {
                return "the Lease could not be renewed".to_owned();
            }
        }
    }

    /// Gives the Lease back, so that a standby need not wait for its end.
    pub async fn release(&mut self) {
        let released = async {
            let Some(mut lease) = self.api.get_opt(&self.settings.name).await? else { return Ok(()) };
            if holder(&lease) != Some(&self.settings.identity) {
                return Ok(());
            }
            if let Some(spec) = &mut lease.spec {
                spec.holder_identity = None;
                spec.lease_duration_seconds = Some(1);
            }
            self.api.replace(&self.settings.name, &PostParams::default(), &lease).await.map(drop)
        };
        let released: Result<(), kube::Error> = released.await;
        if let Err(error) = released {
            tracing::info!(%error, "the Lease could not be given back; it runs out by itself");
        }
    }

    /// One try: true where the Lease is held afterwards.
    async fn attempt(&mut self) -> Result<bool, kube::Error> {
        let Some(found) = self.api.get_opt(&self.settings.name).await? else {
            return conflict_is_false(self.api.create(&PostParams::default(), &self.wanted(None)).await);
        };
        if !self.may_take(&found) {
            return Ok(false);
        }
        let wanted = self.wanted(Some(&found));
        conflict_is_false(self.api.replace(&self.settings.name, &PostParams::default(), &wanted).await)
    }

    fn may_take(&mut self, found: &Lease) -> bool {
        match holder(found) {
            None | Some("") => true,
            Some(holder) if holder == self.settings.identity => true,
            Some(_) => self.has_run_out(found),
        }
    }

    /// Seen unchanged for as long as its holder said.
    fn has_run_out(&mut self, found: &Lease) -> bool {
        let version = found.metadata.resource_version.clone();
        let duration = found.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
        let duration = Duration::from_secs(u64::try_from(duration).unwrap_or_default());
        match &self.seen {
            Some(seen) if seen.version == version => seen.since.elapsed() >= duration,
            Some(_) | None => {
                self.seen = Some(Seen { version, since: Instant::now() });
                false
            }
        }
    }

    fn wanted(&self, found: Option<&Lease>) -> Lease {
        let now = MicroTime(Timestamp::now());
        let old = found.and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let renewed = old.holder_identity.as_deref() == Some(&self.settings.identity);
        let transitions = old.lease_transitions.unwrap_or_default();
        Lease {
            metadata: found.map_or_else(|| self.metadata(), |lease| lease.metadata.clone()),
            spec: Some(LeaseSpec {
                holder_identity: Some(self.settings.identity.clone()),
                lease_duration_seconds: i32::try_from(self.settings.duration.as_secs()).ok().map(|it| it.max(1)),
                acquire_time: if renewed { old.acquire_time.clone() } else { Some(now.clone()) },
                renew_time: Some(now),
                lease_transitions: Some(if renewed { transitions } else { transitions + 1 }),
                ..old
            }),
        }
    }

    fn metadata(&self) -> ObjectMeta {
        ObjectMeta {
            name: Some(self.settings.name.clone()),
            namespace: Some(self.settings.namespace.clone()),
            ..ObjectMeta::default()
        }
    }
}

/// Whether this process holds the Lease now, by what the API server says.
pub(super) async fn is_held(client: &Client, settings: &LeaseSettings) -> Result<bool, kube::Error> {
    let api = Api::<Lease>::namespaced(client.clone(), &settings.namespace);
    let found = api.get_opt(&settings.name).await?;
    Ok(found.as_ref().and_then(holder) == Some(&settings.identity))
}

fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref()
}

/// Somebody else was quicker.
fn conflict_is_false(result: Result<Lease, kube::Error>) -> Result<bool, kube::Error> {
    match result {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}
