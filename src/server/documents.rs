//! The access document in force: taken from the operator, kept in the store, polled from there.
//!
//! The store gives out generations: a document of generation G+1 is created where G is the newest, so two operators
//! cannot both. Pods start from the greatest document whose signature verifies; what a lost message withholds, the
//! poll brings.

use std::sync::Arc;
use std::time::Duration;

use super::gate::Gate;
use super::{Server, Settings};
use crate::admin::{AccessDocument, AccessState, Claim, KeySet, Problem, ProblemCode, SignedDocument};
use crate::auth::Configured;
use crate::registry::{Lookups, RegistryError};

/// How often the store is looked at.
pub const POLL: Duration = Duration::from_secs(2);

/// What the gate is made from.
#[derive(Debug)]
pub(super) struct Documents {
    keys: KeySet,
    configured: Configured,
    in_force: Option<(AccessDocument, String)>,
    /// The greatest generation that was looked at, in force or not.
    looked_at: u64,
    /// Of tokens, whichever gate they were looked up at.
    lookups: Arc<Lookups>,
}

impl Documents {
    pub(super) fn new(keys: KeySet, configured: Configured) -> Self {
        Self { keys, configured, in_force: None, looked_at: 0, lookups: Arc::default() }
    }

    pub(super) fn gate(&self, settings: &Settings) -> Gate {
        let document = self.in_force.as_ref().map(|(document, hash)| (document, hash.clone()));
        Gate::new(audience(settings), &self.keys, self.configured.clone(), document, Arc::clone(&self.lookups))
    }
}

/// Names this registry in tokens.
fn audience(settings: &Settings) -> &str {
    settings.registry_uid.as_deref().unwrap_or("regatta")
}

impl Server {
    /// Names this registry in tokens: the UID of its object, or `regatta` outside a cluster.
    pub fn audience(&self) -> &str {
        audience(&self.inner.settings)
    }

    /// Takes keys and files as they are now; whoever they do not let in any more is out with the next request.
    pub async fn configure(&self, keys: KeySet, configured: Configured) {
        let mut documents = self.inner.documents.lock().await;
        documents.keys = keys;
        documents.configured = configured;
        // With other keys another document may be valid.
        documents.looked_at = 0;
        self.inner.gate.store(documents.gate(&self.inner.settings).into());
    }

    /// Looks at the store: whether it is still there, and at its newest document, which is taken into force if it is ours
    /// and newer.
    pub async fn poll_documents(&self) -> Result<(), RegistryError> {
        let mut documents = self.inner.documents.lock().await;
        self.registry().check_identity().await?;
        let newest = self.registry().access_generation().await?;
        if newest != documents.looked_at {
            self.load(&mut documents).await?;
            documents.looked_at = newest;
        }
        self.inner.store_seen.saw(newest);
        Ok(())
    }

    /// The greatest document that verifies and is this Registry's.
    async fn load(&self, documents: &mut Documents) -> Result<(), RegistryError> {
        for version in self.registry().access_documents().await? {
            let Ok(signed) = serde_json::from_slice::<SignedDocument>(&version.value) else { continue };
            match signed.verify(&documents.keys) {
                Ok(document) if document.generation == version.number && document.registry_uid == self.audience() => {
                    self.take(documents, document, signed.hash());
                    return Ok(());
                }
                Ok(document) => {
                    tracing::warn!(
                        generation = version.number,
                        uid = document.registry_uid,
                        "an access document is not this registry's"
                    );
                }
                Err(error) => {
                    tracing::warn!(generation = version.number, %error, "an access document is not taken");
                }
            }
        }
        Ok(())
    }

    fn take(&self, documents: &mut Documents, document: AccessDocument, hash: String) {
        if documents.in_force.as_ref().is_some_and(|(known, _)| known.generation >= document.generation) {
            return;
        }
        tracing::info!(generation = document.generation, term = document.term, "an access document is in force");
        documents.in_force = Some((document, hash));
        self.inner.gate.store(documents.gate(&self.inner.settings).into());
    }

    /// What this pod has in force, and what its store has.
    pub async fn access_state(&self) -> Result<AccessState, RegistryError> {
        self.poll_documents().await?;
        let newest = self.registry().access_document().await?;
        let unverified = newest.as_ref().and_then(|newest| {
            let signed: SignedDocument = serde_json::from_slice(&newest.value).ok()?;
            signed.read_unverified().ok()
        });
        let documents = self.inner.documents.lock().await;
        let in_force = documents.in_force.as_ref();
        let claims = in_force.iter().flat_map(|(document, _)| &document.projects);
        Ok(AccessState {
            generation: in_force.map_or(0, |(document, _)| document.generation),
            hash: in_force.map(|(_, hash)| hash.clone()).unwrap_or_default(),
            stored_generation: newest.as_ref().map_or(0, |newest| newest.number),
            stored_term: self.registry().term().await?,
            stored_registry_uid: unverified.map(|document| document.registry_uid),
            claims: claims.map(|project| Claim { name: project.name.clone(), owner: project.owner.clone() }).collect(),
        })
    }

    /// Stores a document that the operator signed, where `expected` is the newest generation, and takes it into
    /// force. The same document again is acknowledged again: it goes to every pod.
    pub async fn put_access(&self, signed: SignedDocument, expected: u64) -> Result<AccessState, Refused> {
        let state = self.access_state().await?;
        let refuse = |code, message: &str| {
            Refused::Problem(Problem { code, message: message.to_owned(), access: Some(state.clone()) })
        };
        let document = {
            let documents = self.inner.documents.lock().await;
            signed.verify(&documents.keys).map_err(|error| refuse(ProblemCode::Invalid, &error.to_string()))?
        };
        if document.registry_uid != self.audience() {
            return Err(refuse(ProblemCode::Invalid, "the document is of another registry"));
        }
        if document.generation != expected + 1 {
            return Err(refuse(ProblemCode::Invalid, "the document's generation is not the one behind If-Match"));
        }
        if state.generation == document.generation && state.hash == signed.hash() {
            return Ok(state);
        }
        if document.term < state.stored_term {
            return Err(refuse(ProblemCode::StaleTerm, "a later operator has a greater term"));
        }
        if let Some(owner) = &state.stored_registry_uid
            && *owner != document.registry_uid
            && document.take_over.as_ref() != Some(owner)
        {
            return Err(refuse(
                ProblemCode::StoreOwnedByAnother,
                "the store belongs to another Registry; annotate this one with regatta.dev/take-over: <old uid> to take it over",
            ));
        }
        let mismatch =
            || refuse(ProblemCode::GenerationMismatch, "another document is newer; read it and compile again");
        if state.stored_generation != expected && state.stored_generation != document.generation {
            return Err(mismatch());
        }
        let bytes = crate::registry::register::to_json(&signed);
        if !self.registry().put_access_document(document.generation, bytes).await? {
            return Err(mismatch());
        }
        {
            let mut documents = self.inner.documents.lock().await;
            documents.looked_at = documents.looked_at.max(document.generation);
            self.inner.store_seen.knows(document.generation);
            self.take(&mut documents, document, signed.hash());
        }
        Ok(self.access_state().await?)
    }
}

/// Why a document is not taken.
#[derive(Debug)]
pub enum Refused {
    /// The operator must do something else.
    Problem(Problem),
    /// The store fails.
    Registry(RegistryError),
}

impl From<RegistryError> for Refused {
    fn from(error: RegistryError) -> Self {
        Self::Registry(error)
    }
}
