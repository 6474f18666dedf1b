//! Bearer tokens: JWTs of this registry, which prove an identity and narrow to a scope.
//!
//! HS256 only: those who verify are exactly those who issue. `alg` is fixed, header fields that bring keys along are
//! never looked at, and `typ` tells these tokens from the operator's.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use super::{Identity, Scope};

/// How long a token is good for, in seconds. What it may do is decided anew at each request.
pub const LIFETIME_SECONDS: u64 = 300;

/// `typ` of these tokens.
const TYPE: &str = "regatta-pull+jwt";

/// A longer token is refused before it is parsed.
const LONGEST: usize = 16 * 1024;

/// A signing key and its id.
#[derive(Debug, Clone)]
pub struct TokenKey {
    /// In the header of tokens.
    pub id: String,
    /// The bytes.
    pub secret: Vec<u8>,
}

/// Issues and verifies the tokens of one registry.
#[derive(Debug, Clone)]
pub struct TokenIssuer {
    audience: String,
    signing: TokenKey,
    /// All that verify, the signing one first.
    verifying: Vec<TokenKey>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    iat: u64,
    nbf: u64,
    exp: u64,
    identity: Identity,
    scope: Scope,
}

/// What a good token says.
#[derive(Debug, Clone)]
pub struct Verified {
    /// Whose it is.
    pub identity: Identity,
    /// What it narrows to.
    pub scope: Scope,
    /// Until when it is good, in Unix seconds.
    pub expires: u64,
}

/// Why a token is not taken; for the log, all of them are 401.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// More than 16 KiB.
    #[error("the token is too long")]
    TooLong,
    /// Another `typ`, `alg` or an unknown `kid`.
    #[error("the token is not one of this registry's")]
    NotOurs,
    /// Signature, audience or time.
    #[error("the token does not verify")]
    Invalid(#[from] jsonwebtoken::errors::Error),
}

impl TokenIssuer {
    /// For one registry, named by its UID.
    pub fn new(audience: &str, signing: TokenKey, also_verifying: Vec<TokenKey>) -> Self {
        let verifying = std::iter::once(signing.clone()).chain(also_verifying).collect();
        Self { audience: audience.to_owned(), signing, verifying }
    }

    /// A token for an identity, good from `now` (Unix seconds).
    pub fn issue(&self, identity: &Identity, scope: Scope, now: u64) -> Result<String, TokenError> {
        let header =
            Header { typ: Some(TYPE.to_owned()), kid: Some(self.signing.id.clone()), ..Header::new(Algorithm::HS256) };
        let claims = Claims {
            iss: "regatta".to_owned(),
            aud: self.audience.clone(),
            sub: identity.to_string(),
            iat: now,
            nbf: now.saturating_sub(5),
            exp: now + LIFETIME_SECONDS,
            identity: identity.clone(),
            scope,
        };
        Ok(jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(&self.signing.secret))?)
    }

    /// Who a token is of, what it narrows to, and how long it is good.
    pub fn verify(&self, token: &str) -> Result<Verified, TokenError> {
        if token.len() > LONGEST {
            return Err(TokenError::TooLong);
        }
        let header = jsonwebtoken::decode_header(token)?;
        if header.typ.as_deref() != Some(TYPE) || header.alg != Algorithm::HS256 || header.jwk.is_some() {
            return Err(TokenError::NotOurs);
        }
        let key = self.verifying.iter().find(|key| Some(&key.id) == header.kid.as_ref()).ok_or(TokenError::NotOurs)?;
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_audience(&[&self.audience]);
        validation.set_issuer(&["regatta"]);
        validation.set_required_spec_claims(&["exp", "nbf", "aud", "iss"]);
        validation.validate_nbf = true;
        validation.leeway = 5;
        let data = jsonwebtoken::decode::<Claims>(token, &DecodingKey::from_secret(&key.secret), &validation)?;
        let Claims { identity, scope, exp, .. } = data.claims;
        Ok(Verified { identity, scope, expires: exp })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str) -> TokenKey {
        TokenKey { id: id.into(), secret: format!("secret of {id}").into_bytes() }
    }

    fn now() -> u64 {
        u64::try_from(jiff::Timestamp::now().as_second()).unwrap()
    }

    #[test]
    fn a_token_is_good_at_its_registry_while_its_key_and_its_time_last() {
        let issuer = TokenIssuer::new("a", key("1"), vec![]);
        let who = Identity::htpasswd("alice");
        let token = issuer.issue(&who, Scope::default(), now()).unwrap();
        assert_eq!(issuer.verify(&token).unwrap().identity, who);
        assert!(TokenIssuer::new("a", key("2"), vec![key("1")]).verify(&token).is_ok(), "rotated");
        assert!(TokenIssuer::new("a", key("2"), vec![]).verify(&token).is_err(), "key gone");
        assert!(TokenIssuer::new("b", key("1"), vec![]).verify(&token).is_err(), "another registry");
        let old = issuer.issue(&who, Scope::default(), now() - 1000).unwrap();
        assert!(issuer.verify(&old).is_err(), "expired");
        let early = issuer.issue(&who, Scope::default(), now() + 1000).unwrap();
        assert!(issuer.verify(&early).is_err(), "not yet good");
    }

    #[test]
    fn tokens_without_a_signature_or_with_another_algorithm_are_refused() {
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
        let issuer = TokenIssuer::new("a", key("1"), vec![]);
        let token = issuer.issue(&Identity::htpasswd("alice"), Scope::default(), now()).unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        for alg in ["none", "HS384", "RS256"] {
            let header = B64.encode(format!(r#"{{"typ":"{TYPE}","alg":"{alg}","kid":"1"}}"#));
            for signature in ["", parts[2]] {
                assert!(issuer.verify(&format!("{header}.{}.{signature}", parts[1])).is_err(), "{alg}");
            }
        }
        assert!(issuer.verify(&"x".repeat(20_000)).is_err());
        assert!(issuer.verify("").is_err());
    }
}
