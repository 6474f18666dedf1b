//! Publishing: read what the store has, compile, put to every pod, see who acknowledged.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use kube::ResourceExt;

use super::board::InForce;
use super::compile::{Content, compile};
use super::snapshot::{Source, input};
use crate::admin::client::ClientError;
use crate::admin::{AccessDocument, AccessState, ProblemCode, SignedDocument, StoreState};
use crate::api::conditions::reason;
use crate::api::{ANNOTATION_TAKE_OVER, Registry};
use crate::operator::context::{Context, lock};
use crate::operator::failure::Failure;
use crate::operator::reach::{self, Keys, Pod, Target};
use crate::operator::term;

/// How often a document is compiled anew because the store moved on meanwhile.
const ATTEMPTS: usize = 5;

/// When to look again while pods come up or catch up.
const SOON: Duration = Duration::from_secs(1);

/// What this process put last, by the Registry's UID. A new process knows nothing and puts a new document once.
#[derive(Debug, Default)]
pub struct Published {
    last: Mutex<HashMap<String, Last>>,
}

impl Published {
    /// The registry is gone.
    pub fn forget(&self, uid: &str) {
        lock(&self.last).remove(uid);
    }
}

#[derive(Debug, Clone)]
struct Last {
    compiled: Content,
    generation: u64,
    keys: String,
    document: SignedDocument,
}

/// Brings the document of one registry up to date, and comes back once every serving pod has it in force.
pub(super) async fn publish(context: &Context, registry: &Registry, target: &Target) -> Result<InForce, Failure> {
    let keys = reach::keys(context, target).await?;
    let pods = reach::pods(context, target, &keys)?;
    if pods.is_empty() {
        return Err(Failure::waiting(Duration::from_secs(5), reason::NO_PODS, "no pod of the registry is there yet"));
    }
    let (mut state, store) = newest(context, target, &pods).await?;
    let mut source = Source::Caches;
    for _ in 0..ATTEMPTS {
        let last = bring_up(context, registry, target, &keys, &pods, &state, source).await;
        match last {
            Ok(last) => return acknowledged(context, &pods, &last, store).await,
            Err(Refused::Moved(newer)) => {
                state = newer;
                source = Source::Fresh;
            }
            Err(Refused::Failed(failure)) => return Err(failure),
        }
    }
    Err(Failure::waiting(SOON, reason::NOT_ACKNOWLEDGED, "the access document changes faster than it can be compiled"))
}

/// Why a document was not taken.
enum Refused {
    /// The store has a newer one.
    Moved(AccessState),
    /// Something else.
    Failed(Failure),
}

impl<E: Into<Failure>> From<E> for Refused {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// What the store has, from the first pod that answers.
async fn newest(
    context: &Context,
    target: &Target,
    pods: &[Pod],
) -> Result<(AccessState, Option<StoreState>), Failure> {
    let mut last = None;
    for pod in pods {
        match pod.client.access().await {
            Ok(state) => {
                let store = pod.client.store().await.ok();
                return Ok((state, store));
            }
            Err(error) => last = Some(error),
        }
    }
    if last.as_ref().and_then(ClientError::code) == Some(ProblemCode::Unauthorized) {
        reach::forget_keys(context, target);
    }
    let message = last.map(|error| describe(&error)).unwrap_or_default();
    Err(Failure::waiting(SOON, reason::PUSH_BLOCKED, format!("push blocked; polling: {message}")))
}

/// Compiles and, where it differs from what is in force, puts a new document.
async fn bring_up(
    context: &Context,
    registry: &Registry,
    target: &Target,
    keys: &Keys,
    pods: &[Pod],
    state: &AccessState,
    source: Source,
) -> Result<Last, Refused> {
    let input = input(context, target, source, state.claims.clone()).await?;
    let compiled = compile(&input);
    if let Some(last) = still_good(context, target, keys, state, &compiled) {
        return Ok(last);
    }
    let term = term::of(context, target, pods, state).await?;
    let generation = state.stored_generation + 1;
    let document = AccessDocument {
        registry_uid: target.uid.clone(),
        generation,
        term,
        take_over: take_over(registry, state),
        projects: compiled.projects.clone(),
        robots: compiled.robots.clone(),
    };
    let document = document.sign(&keys.set).map_err(|error| Failure::invalid(error.to_string()))?;
    put_first(context, pods, state.stored_generation, &document).await?;
    context.metrics.published("access");
    tracing::info!(registry = target.name, namespace = target.namespace, generation, "a new access document");
    let last = Last { compiled, generation, keys: keys.secret_uid.clone(), document };
    lock(&context.published.last).insert(target.uid.clone(), last.clone());
    Ok(last)
}

/// What was put last, if the store still has it and it still says what is to be said.
fn still_good(
    context: &Context,
    target: &Target,
    keys: &Keys,
    state: &AccessState,
    compiled: &Content,
) -> Option<Last> {
    let last = lock(&context.published.last).get(&target.uid).cloned()?;
    let same = last.generation == state.stored_generation && last.compiled == *compiled && last.keys == keys.secret_uid;
    let ours = state.generation != last.generation || state.hash == last.document.hash();
    (same && ours).then_some(last)
}

/// The first pod that takes it allocates the generation for all.
async fn put_first(context: &Context, pods: &[Pod], generation: u64, document: &SignedDocument) -> Result<(), Refused> {
    let mut last = None;
    for pod in pods {
        match pod.client.put_access(generation, document).await {
            Ok(_) => return Ok(()),
            Err(error @ ClientError::Refused(_)) => return taken_before(generation, document, error, context),
            Err(error) => last = Some(error),
        }
    }
    Err(last.map_or_else(|| Refused::Failed(term::no_pods()), |error| refused(context, error)))
}

/// A lost answer to an earlier try: the store has exactly this document.
fn taken_before(
    generation: u64,
    document: &SignedDocument,
    error: ClientError,
    context: &Context,
) -> Result<(), Refused> {
    if let ClientError::Refused(problem) = &error
        && let Some(access) = &problem.access
        && access.generation == generation + 1
        && access.hash == document.hash()
    {
        return Ok(());
    }
    Err(refused(context, error))
}

fn refused(context: &Context, error: ClientError) -> Refused {
    let ClientError::Refused(problem) = &error else { return Refused::Failed(Failure::Registry(error)) };
    match (problem.code, &problem.access) {
        (ProblemCode::GenerationMismatch, Some(state)) => Refused::Moved(state.clone()),
        (ProblemCode::StaleTerm, _) => Refused::Failed(term::refused(context, error)),
        (ProblemCode::StoreOwnedByAnother, state) => {
            let owner = state.as_ref().and_then(|state| state.stored_registry_uid.as_deref()).unwrap_or("<its UID>");
            let message = format!(
                "the volume has the store of another Registry, {owner}; if this one is to have it, and that one is not \
                 to write there any more, annotate this one with {ANNOTATION_TAKE_OVER}: {owner}"
            );
            Refused::Failed(Failure::stalled(reason::STORE_OWNED_BY_ANOTHER, message))
        }
        (
            ProblemCode::GenerationMismatch
            | ProblemCode::Unauthorized
            | ProblemCode::Forbidden
            | ProblemCode::Invalid
            | ProblemCode::NotFound
            | ProblemCode::Unavailable,
            _,
        ) => Refused::Failed(Failure::Registry(error)),
    }
}

/// Whose store it was: an operator's own claim is taken over without a word, any other only where a person says so.
fn take_over(registry: &Registry, state: &AccessState) -> Option<String> {
    let before = state.stored_registry_uid.clone().filter(|uid| Some(uid) != registry.uid().as_ref())?;
    let own_claim = registry.spec.managed.as_ref().is_some_and(|managed| managed.storage.claim_template.is_some());
    let named = registry.annotations().get(ANNOTATION_TAKE_OVER) == Some(&before);
    (own_claim || named).then_some(before)
}

/// Puts the document to every pod that does not have it, and sees whether all that serve do.
async fn acknowledged(
    context: &Context,
    pods: &[Pod],
    last: &Last,
    store: Option<StoreState>,
) -> Result<InForce, Failure> {
    let hash = last.document.hash();
    let looks = pods.iter().map(|pod| has_in_force(context, pod, last, &hash));
    let answers = futures::future::join_all(looks).await;
    let serving = pods.iter().zip(&answers).filter(|(pod, _)| pod.serving);
    let lacking: Vec<String> = serving
        .clone()
        .filter_map(|(pod, answer)| answer.as_ref().err().map(|why| format!("{}: {why}", pod.address)))
        .collect();
    if !lacking.is_empty() {
        let message = format!("push blocked; polling: {}", lacking.join("; "));
        return Err(Failure::waiting(SOON, reason::PUSH_BLOCKED, message));
    }
    if serving.count() == 0 {
        let message = "no pod of the registry serves yet";
        return Err(Failure::waiting(SOON, reason::NOT_ACKNOWLEDGED, message));
    }
    Ok(InForce {
        generation: last.generation,
        staleness_seconds: store.as_ref().and_then(|store| store.staleness_seconds),
        version: store.map(|store| store.version),
        bindings: last.compiled.binding_hashes.clone(),
        projects: last
            .compiled
            .projects
            .iter()
            .map(|project| (project.name.clone(), (project.owner.clone(), project.public)))
            .collect(),
    })
}

async fn has_in_force(context: &Context, pod: &Pod, last: &Last, hash: &str) -> Result<(), String> {
    let has = |state: &AccessState| state.generation == last.generation && state.hash == hash;
    match pod.client.access().await {
        Ok(state) if has(&state) => return Ok(()),
        Ok(_) => {}
        Err(error) => return Err(describe(&error)),
    }
    match pod.client.put_access(last.generation - 1, &last.document).await {
        Ok(state) if has(&state) => Ok(()),
        Ok(_) => Err("has not taken the document yet".to_owned()),
        Err(ClientError::Refused(problem)) if problem.access.as_ref().is_some_and(has) => Ok(()),
        Err(error) => match refused(context, error) {
            Refused::Moved(_) => Err("has not taken the document yet".to_owned()),
            Refused::Failed(failure) => Err(failure.to_string()),
        },
    }
}

/// With its causes: "does not answer" alone helps nobody.
fn describe(error: &ClientError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
