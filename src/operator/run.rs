//! The operator's life: check the CRDs, win the Lease, fill the caches, reconcile until the Lease is lost.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::channel::mpsc::UnboundedReceiver;
use futures::future::{BoxFuture, join_all};
use futures::{FutureExt, StreamExt, stream::FuturesUnordered};
use kube::Client;
use kube::runtime::events::{Recorder, Reporter};
use tokio::sync::watch;

use super::access::Access;
use super::bus::{Queues, bus};
use super::caches::pumps;
use super::context::Context;
use super::edges::Edges;
use super::lease::Elector;
use super::metrics::Metrics;
use super::settings::Settings;
use super::{documents, driver, schema_check};

/// What probes may ask.
#[derive(Debug, Clone, Default)]
pub struct Health {
    ready: Arc<AtomicBool>,
}

impl Health {
    /// True once the CRDs were found new enough: a standby is ready too.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }
}

/// Why the operator ended.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// This process does not lead any more. It must end, so that nothing that it still had in hand is done.
    #[error("this operator does not lead any more: {0}")]
    LeaseLost(String),
    /// The watches ended.
    #[error("the watches of the cluster ended")]
    WatchesEnded,
}

/// Runs the operator until `stop` is done, or the Lease is lost.
pub async fn run(
    client: Client,
    settings: Settings,
    health: Health,
    metrics: Arc<Metrics>,
    stop: impl Future<Output = ()>,
) -> Result<(), OperatorError> {
    tokio::pin!(stop);
    tokio::select! {
        () = &mut stop => return Ok(()),
        () = wait_for_schemas(&client) => health.set_ready(true),
    }
    let mut elector = Elector::new(client.clone(), settings.lease.clone());
    tokio::select! {
        () = &mut stop => return Ok(()),
        () = elector.acquire() => tracing::info!("this operator leads"),
    }
    metrics.leading(true);
    let result = tokio::select! {
        () = &mut stop => Ok(()),
        why = elector.hold() => Err(OperatorError::LeaseLost(why)),
        error = lead(client, settings, Arc::clone(&metrics)) => Err(error),
    };
    metrics.leading(false);
    if result.is_ok() {
        elector.release().await;
    }
    result
}

async fn wait_for_schemas(client: &Client) {
    loop {
        match schema_check::outdated(client).await {
            Ok(None) => return,
            Ok(Some(problem)) => tracing::error!("{problem}"),
            Err(error) => tracing::warn!(%error, "the custom resource definitions cannot be read"),
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

/// Reconciles everything. Comes back only where it cannot go on.
async fn lead(client: Client, settings: Settings, metrics: Arc<Metrics>) -> OperatorError {
    let (bus, queues) = bus();
    let (caches, watches) = pumps(&client, settings.namespace.as_deref(), &bus);
    let (fatal, mut told) = watch::channel(None);
    let reporter = Reporter { controller: "regatta".to_owned(), instance: Some(settings.lease.identity.clone()) };
    let recorder = Recorder::new(client.clone(), reporter);
    let holder = nonce(&settings.lease.identity);
    let context = Context::new(client, settings, caches.clone(), bus, recorder, metrics, holder, fatal);
    let context = Arc::new(context);
    let loops = async {
        if caches.ready().await {
            join_all(loops(&context, queues)).await;
        }
    };
    let mut watches: FuturesUnordered<BoxFuture<'static, ()>> = watches.into_iter().map(spawned).collect();
    tokio::select! {
        () = loops => OperatorError::WatchesEnded,
        _ = watches.next() => OperatorError::WatchesEnded,
        why = told.wait_for(Option::is_some) => {
            OperatorError::LeaseLost(why.ok().and_then(|why| why.clone()).unwrap_or_default())
        }
    }
}

/// On a task of its own, which ends with the future that is handed back.
fn spawned(future: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
    let mut set = tokio::task::JoinSet::new();
    set.spawn(future);
    async move {
        set.join_next().await;
    }
    .boxed()
}

fn loops(context: &Arc<Context>, queues: Queues) -> Vec<BoxFuture<'static, ()>> {
    let Queues { registries, access, edges, projects, bindings, policies, collections, gone } = queues;
    let caches = &context.caches;
    vec![
        spawned(driver::drive(Arc::clone(context), caches.registries.clone(), registries).boxed()),
        spawned(documents::drive::<Access>(Arc::clone(context), caches.registries.clone(), access).boxed()),
        spawned(documents::drive::<Edges>(Arc::clone(context), caches.registries.clone(), edges).boxed()),
        spawned(driver::drive(Arc::clone(context), caches.projects.clone(), projects).boxed()),
        spawned(driver::drive(Arc::clone(context), caches.bindings.clone(), bindings).boxed()),
        spawned(driver::drive(Arc::clone(context), caches.policies.clone(), policies).boxed()),
        spawned(driver::drive(Arc::clone(context), caches.collections.clone(), collections).boxed()),
        spawned(forgetting(Arc::clone(context), gone).boxed()),
    ]
}

/// Forgets what is gone, for ever.
async fn forgetting(context: Arc<Context>, gone: UnboundedReceiver<String>) {
    gone.for_each(|uid| {
        context.forget(&uid);
        std::future::ready(())
    })
    .await;
}

/// This process and no other, not even one of the same name after a restart.
fn nonce(identity: &str) -> String {
    let mut bytes = [0_u8; 8];
    // Without randomness the time will do: two processes of one name never start in the same nanosecond.
    if getrandom::fill(&mut bytes).is_err() {
        return format!("{identity}-{}", jiff::Timestamp::now().as_nanosecond());
    }
    format!("{identity}-{}", hex::encode(bytes))
}
