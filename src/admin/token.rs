//! The operator's token for one admin request: short-lived, for one registry, bound to the body that it comes with.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::keys::KeySet;

/// How long a token is good for, in seconds.
pub const LIFETIME_SECONDS: u64 = 60;

/// `typ` of these tokens; never taken as a bearer token for pulling, nor the other way round.
const TYPE: &str = "regatta-admin+jwt";

/// What the token says.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Claims {
    /// The Registry's UID.
    aud: String,
    /// Unix seconds.
    iat: u64,
    /// Unix seconds.
    exp: u64,
    /// SHA-256 of the request's body, lower-case hex; that of nothing for a request without a body.
    body_sha256: String,
}

/// Why a token is refused. All of them are 401; the reason is for the log.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Not a token of this kind, expired, of another registry, or with a wrong signature.
    #[error("the admin token does not verify")]
    Invalid(#[from] jsonwebtoken::errors::Error),
    /// A `typ` or `kid` that is not ours.
    #[error("not an admin token of this registry")]
    NotOurs,
    /// The body is another one.
    #[error("the admin token is bound to another body")]
    OtherBody,
}

/// Makes the value of the [`super::AUTHORIZATION_HEADER`] for a request with this body. `now` is in Unix seconds.
pub fn mint(keys: &KeySet, registry_uid: &str, body: &[u8], now: u64) -> Result<String, TokenError> {
    let header =
        Header { typ: Some(TYPE.to_owned()), kid: Some(keys.signing.id.clone()), ..Header::new(Algorithm::HS256) };
    let claims = Claims {
        aud: registry_uid.to_owned(),
        iat: now,
        exp: now + LIFETIME_SECONDS,
        body_sha256: hex::encode(Sha256::digest(body)),
    };
    let key = EncodingKey::from_secret(&keys.signing.bytes());
    Ok(format!("Bearer {}", jsonwebtoken::encode(&header, &claims, &key)?))
}

/// Verifies the header's value against the body that came with it.
pub fn verify(keys: &KeySet, registry_uid: &str, value: &str, body: &[u8]) -> Result<(), TokenError> {
    let token = value.strip_prefix("Bearer ").ok_or(TokenError::NotOurs)?;
    let header = jsonwebtoken::decode_header(token)?;
    if header.typ.as_deref() != Some(TYPE) || header.alg != Algorithm::HS256 {
        return Err(TokenError::NotOurs);
    }
    let key = header.kid.as_deref().and_then(|id| keys.find(id)).ok_or(TokenError::NotOurs)?;
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_audience(&[registry_uid]);
    validation.set_required_spec_claims(&["exp", "aud"]);
    let data = jsonwebtoken::decode::<Claims>(token, &DecodingKey::from_secret(&key.bytes()), &validation)?;
    if data.claims.body_sha256 != hex::encode(Sha256::digest(body)) {
        return Err(TokenError::OtherBody);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> u64 {
        u64::try_from(jiff::Timestamp::now().as_second()).unwrap()
    }

    #[test]
    fn a_token_is_good_for_its_registry_and_its_body_only() {
        let keys = KeySet::generate();
        let value = mint(&keys, "uid", b"body", now()).unwrap();
        verify(&keys, "uid", &value, b"body").unwrap();
        assert!(verify(&keys, "other", &value, b"body").is_err());
        assert!(verify(&keys, "uid", &value, b"other").is_err());
        assert!(verify(&KeySet::generate(), "uid", &value, b"body").is_err());
    }

    #[test]
    fn an_expired_token_is_refused() {
        let keys = KeySet::generate();
        let value = mint(&keys, "uid", b"", now() - 3600).unwrap();
        assert!(verify(&keys, "uid", &value, b"").is_err());
    }
}
