//! The access document: who may do what in one registry, compiled by the operator from Projects and RoleBindings.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::keys::KeySet;

/// Separates this signature from every other use of the same key.
const SIGNATURE_CONTEXT: &[u8] = b"regatta.dev access document v1\n";

/// The whole of it, for one registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessDocument {
    /// The UID of the Registry object that this is for.
    pub registry_uid: String,
    /// Dense: 1, 2, 3 ... Allocated by the server's `If-Match`.
    pub generation: u64,
    /// The term of the operator that compiled this.
    pub term: u64,
    /// The UID of the Registry that the store belonged to before, where this document takes it over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub take_over: Option<String>,
    /// Projects, ordered by name; names are unique.
    pub projects: Vec<ProjectAccess>,
    /// Robots that can log in, ordered by namespace and name.
    pub robots: Vec<Robot>,
}

/// An object that holds a project's name. A claim is sticky: the owner keeps the name until it is released.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerRef {
    /// Namespace of the Project object.
    pub namespace: String,
    /// Name of the Project object.
    pub name: String,
    /// UID of the Project object.
    pub uid: String,
}

/// A project: a path prefix of repository names, with members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProjectAccess {
    /// The prefix: covers the repository of this very name and all below `<name>/`.
    pub name: String,
    /// Who holds the name.
    pub owner: OwnerRef,
    /// Whether anonymous clients may pull.
    pub public: bool,
    /// Who has which role, in a fixed order.
    pub bindings: Vec<Binding>,
}

/// One RoleBinding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Binding {
    /// UID of the RoleBinding object.
    pub uid: String,
    /// What it grants to whom.
    #[serde(flatten)]
    pub grant: Grant,
}

/// A role for some subjects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// The role.
    pub role: Role,
    /// Whose it is.
    pub subjects: Vec<Subject>,
}

/// The five roles, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// Pull by name; may not list tags. May read referrers: clients verify signatures with `pull` alone.
    LimitedGuest,
    /// Pull and list.
    Guest,
    /// Guest, and push: create and overwrite tags.
    Developer,
    /// Developer, and delete.
    Maintainer,
    /// Today no more than a maintainer; what later touches the project itself.
    ProjectAdmin,
}

/// Who: always a source and a name, so that equal names of two sources never meet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Subject {
    /// A user of the named source. The source `htpasswd` is the registry's own file.
    User {
        /// `htpasswd` for now.
        source: String,
        /// The login name.
        name: String,
    },
    /// A robot of a namespace.
    Robot {
        /// Namespace of the RoleBindings that name it.
        namespace: String,
        /// Its name there.
        name: String,
    },
}

/// A robot's credentials. It logs in as `robot+<namespace>+<name>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Robot {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// SHA-256 of each secret that is good now, 64 lower-case hex digits; several while one is being rotated.
    pub secret_sha256: Vec<String>,
}

/// A document as it travels and as it is stored: the exact text that was signed, and the signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignedDocument {
    /// An [`AccessDocument`] as JSON, byte for byte as signed.
    pub payload: String,
    /// The key's id.
    pub key_id: String,
    /// HMAC-SHA-256 over a context string and the payload, lower-case hex.
    pub signature: String,
}

/// What a pod has in force, and what its store has.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessState {
    /// Generation in force in this pod; 0 where none is.
    pub generation: u64,
    /// [`SignedDocument::hash`] of what is in force; empty where nothing is.
    pub hash: String,
    /// The greatest generation in the store, whether or not its signature can be verified.
    pub stored_generation: u64,
    /// The greatest term in the store.
    pub stored_term: u64,
    /// The Registry UID that the greatest stored document carries. Not to be trusted beyond saying whose it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored_registry_uid: Option<String>,
    /// Who holds which project name in the greatest *valid* document: claims are sticky.
    #[serde(default)]
    pub claims: Vec<Claim>,
}

/// A project name and who holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// The project's name.
    pub name: String,
    /// Its holder.
    pub owner: OwnerRef,
}

/// Why a document cannot be accepted.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// No key of this id is configured.
    #[error("the access document is signed with key `{0}`, which this registry does not have")]
    UnknownKey(String),
    /// The signature does not fit.
    #[error("the access document's signature does not verify with key `{0}`")]
    BadSignature(String),
    /// The text is not a document.
    #[error("the access document cannot be read")]
    Malformed(#[from] serde_json::Error),
}

impl AccessDocument {
    /// Signs it with the signing key of the set.
    pub fn sign(&self, keys: &KeySet) -> Result<SignedDocument, DocumentError> {
        let payload = serde_json::to_string(self)?;
        let signature = hex::encode(keys.signing.mac(SIGNATURE_CONTEXT, payload.as_bytes()));
        Ok(SignedDocument { payload, key_id: keys.signing.id.clone(), signature })
    }
}

impl SignedDocument {
    /// Verifies the signature with any key of the set, and reads the document.
    pub fn verify(&self, keys: &KeySet) -> Result<AccessDocument, DocumentError> {
        let key = keys.find(&self.key_id).ok_or_else(|| DocumentError::UnknownKey(self.key_id.clone()))?;
        let claimed = hex::decode(&self.signature).map_err(|_| DocumentError::BadSignature(self.key_id.clone()))?;
        if !key.verify(SIGNATURE_CONTEXT, self.payload.as_bytes(), &claimed) {
            return Err(DocumentError::BadSignature(self.key_id.clone()));
        }
        self.read_unverified()
    }

    /// Reads the document without regard to its signature: good for saying whose it is, never for a decision.
    pub fn read_unverified(&self) -> Result<AccessDocument, DocumentError> {
        Ok(serde_json::from_str(&self.payload)?)
    }

    /// SHA-256 of the payload, lower-case hex: what a pod acknowledges beside the generation.
    pub fn hash(&self) -> String {
        hex::encode(Sha256::digest(self.payload.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> AccessDocument {
        AccessDocument {
            registry_uid: "u".into(),
            generation: 3,
            term: 2,
            take_over: None,
            projects: vec![],
            robots: vec![],
        }
    }

    #[test]
    fn a_signed_document_is_read_back_by_any_key_of_the_set() {
        let old = KeySet::generate();
        let signed = document().sign(&old).unwrap();
        let rotated = KeySet { signing: Key::generate(), previous: Some(old.signing.clone()), next: None };
        assert_eq!(signed.verify(&rotated).unwrap(), document());
    }

    use crate::admin::keys::Key;

    #[test]
    fn a_changed_payload_or_a_foreign_key_is_refused() {
        let keys = KeySet::generate();
        let mut signed = document().sign(&keys).unwrap();
        assert!(matches!(signed.verify(&KeySet::generate()), Err(DocumentError::UnknownKey(_))));
        signed.payload = signed.payload.replace("\"term\":2", "\"term\":9");
        assert!(matches!(signed.verify(&keys), Err(DocumentError::BadSignature(_))));
    }
}
