//! What clients see of refusals.

use std::fmt::Write as _;

use super::*;
use crate::oci::{Digest, RepositoryName};

fn faults() -> Vec<Fault> {
    let repository: RepositoryName = "shop/app".parse().unwrap();
    let digest = Digest::sha256(b"x");
    let of_registry = [
        RegistryError::BlobUnknown { repository: repository.clone(), digest: digest.clone() },
        RegistryError::ManifestUnknown { repository: repository.clone(), reference: "v1".parse().unwrap() },
        RegistryError::NameUnknown(repository.clone()),
        RegistryError::UploadUnknown("upload".to_owned()),
        RegistryError::UploadRange { expected: 10 },
        RegistryError::SizeInvalid { expected: 10, received: 9 },
        RegistryError::DigestMismatch { expected: Digest::sha256(b"y"), actual: digest.clone() },
        RegistryError::ReferencesUnknown { repository, missing: vec![digest] },
        RegistryError::ReadOnly,
        RegistryError::Corrupt { key: "key".to_owned(), why: "torn".to_owned() },
    ];
    let mut faults = vec![
        Fault::unauthenticated(None),
        Fault::insufficient_scope("repository:shop/app:pull".to_owned()),
        Fault::bad_token(),
        Fault::bad_credentials(),
        Fault::unknown_scheme(),
        Fault::denied(),
        Fault::no_route(),
        Fault::method("GET, HEAD"),
    ];
    faults.extend(of_registry.map(Fault::from));
    faults
}

#[tokio::test]
async fn refusals_read_like_this() {
    let mut said = String::new();
    for fault in faults() {
        let response = fault.into_response("request", &|challenge: &Challenge| {
            format!("Bearer {:?} {:?}", challenge.scope, challenge.error)
        });
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let _ = writeln!(said, "{}", parts.status);
        let mut headers: Vec<_> = parts.headers.iter().collect();
        headers.sort_by_key(|(name, _)| name.as_str());
        for (name, value) in headers.into_iter().filter(|(name, _)| *name != header::CONTENT_TYPE) {
            let _ = writeln!(said, "{name}: {}", value.to_str().unwrap());
        }
        let _ = writeln!(said, "{}\n", String::from_utf8(body.to_vec()).unwrap());
    }
    insta::assert_snapshot!(said);
}
