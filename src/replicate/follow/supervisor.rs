//! One task an edge, as the edges document says.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{Home, Remotes, Shared, board, session::run_edge};
use crate::{
    admin::{Edge, EdgeStatus, EdgesDocument},
    client::retry::{jittered, random},
};

/// An edge that runs.
struct Running {
    edge: watch::Sender<Edge>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Follows the edges document until `stop`; then ends every edge cleanly. `ready` is set once the document was read.
pub async fn supervise<H: Home, R: Remotes>(
    shared: Arc<Shared<H, R>>,
    stop: CancellationToken,
    ready: watch::Sender<bool>,
) {
    let mut running: HashMap<String, Running> = HashMap::new();
    let (mut generation, mut failures) = (None, 0);
    loop {
        let wait = if generation.is_some() { shared.timing.poll } else { Duration::ZERO };
        let asked = tokio::select! {
            () = stop.cancelled() => break,
            asked = next_document(&shared, generation, wait) => asked,
        };
        match asked {
            Ok((document, statuses)) => {
                failures = 0;
                if generation != Some(document.generation) {
                    generation = Some(document.generation);
                    reconcile(&shared, &mut running, document, &statuses).await;
                }
                ready.send_replace(true);
            }
            Err(error) => {
                failures += 1;
                tracing::warn!(%error, "the edges cannot be read from the registry");
                let pause = jittered(shared.timing.backoff.0, shared.timing.backoff.1, failures, random());
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(pause) => {}
                }
            }
        }
    }
    end_all(running).await;
}

/// A document, and where it is a new one, how its edges stood when somebody last said so.
async fn next_document<H: Home, R: Remotes>(
    shared: &Shared<H, R>,
    generation: Option<u64>,
    wait: Duration,
) -> Result<(EdgesDocument, HashMap<String, EdgeStatus>), super::HomeError> {
    let document = shared.home.edges(generation, wait).await?;
    if generation == Some(document.generation) {
        return Ok((document, HashMap::new()));
    }
    let statuses = shared.home.statuses().await?;
    Ok((document, statuses.into_iter().map(|status| (status.id.clone(), status)).collect()))
}

async fn reconcile<H: Home, R: Remotes>(
    shared: &Arc<Shared<H, R>>,
    running: &mut HashMap<String, Running>,
    document: EdgesDocument,
    statuses: &HashMap<String, EdgeStatus>,
) {
    let wanted: HashMap<String, Edge> = document.edges.into_iter().map(|edge| (edge.id.clone(), edge)).collect();
    let gone: Vec<String> = running.keys().filter(|id| !wanted.contains_key(*id)).cloned().collect();
    for id in gone {
        if let Some(edge) = running.remove(&id) {
            end(edge).await;
            shared.statuses.remove(&id);
        }
    }
    for (id, edge) in wanted {
        if let Some(known) = running.get(&id).filter(|known| !known.task.is_finished()) {
            known.edge.send_if_modified(|old| {
                let changed = *old != edge;
                *old = edge;
                changed
            });
            continue;
        }
        let before = statuses.get(&id).cloned().unwrap_or_else(|| board::fresh(&edge));
        running.insert(id, start(shared.clone(), edge, before));
    }
}

fn start<H: Home, R: Remotes>(shared: Arc<Shared<H, R>>, edge: Edge, before: EdgeStatus) -> Running {
    let (sender, receiver) = watch::channel(edge);
    let stop = CancellationToken::new();
    let task = tokio::spawn(run_edge(shared, receiver, before, stop.clone()));
    Running { edge: sender, stop, task }
}

async fn end(edge: Running) {
    edge.stop.cancel();
    if edge.task.await.is_err() {
        tracing::error!("an edge's task ended badly");
    }
}

async fn end_all(running: HashMap<String, Running>) {
    for edge in running.values() {
        edge.stop.cancel();
    }
    for edge in running.into_values() {
        end(edge).await;
    }
}
