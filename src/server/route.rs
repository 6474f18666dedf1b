//! From a path to what is meant: pure, and total. What it does not know is 404 before anybody is asked who he is.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::oci::{Digest, Invalid, Reference, RepositoryName};

/// What a path means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `/v2/`
    Base,
    /// `/token`
    Token,
    /// `/v2/_catalog`
    Catalog,
    /// `/v2/<name>/tags/list`
    Tags(RepositoryName),
    /// `/v2/<name>/manifests/<reference>`
    Manifest(RepositoryName, Reference),
    /// `/v2/<name>/blobs/<digest>`
    Blob(RepositoryName, Digest),
    /// `/v2/<name>/blobs/uploads/`
    Uploads(RepositoryName),
    /// `/v2/<name>/blobs/uploads/<id>`
    Upload(RepositoryName, String),
    /// `/v2/<name>/referrers/<digest>`
    Referrers(RepositoryName, Digest),
    /// `/v2/_regatta/replication/cursor/<edge>`
    Cursor(String),
    /// `/v2/_oci/ext/discover`, `/v2/<name>/_oci/ext/discover`
    Discover(Option<RepositoryName>),
}

/// A path that means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// No such path.
    #[error("no such path")]
    Unknown,
    /// The repository's name has not the grammar.
    #[error(transparent)]
    Name(Invalid),
    /// A digest has not.
    #[error(transparent)]
    Digest(Invalid),
    /// A tag has not.
    #[error(transparent)]
    Tag(Invalid),
}

impl Route {
    /// Reads a path as it stands in the request line.
    pub fn parse(path: &str) -> Result<Self, RouteError> {
        match path {
            "/v2/" | "/v2" => return Ok(Self::Base),
            "/token" => return Ok(Self::Token),
            "/v2/_catalog" => return Ok(Self::Catalog),
            _ => {}
        }
        let rest = path.strip_prefix("/v2/").ok_or(RouteError::Unknown)?;
        let decoded: Vec<Cow<'_, str>> =
            rest.split('/').map(decode).collect::<Option<_>>().ok_or(RouteError::Unknown)?;
        let parts: Vec<&str> = decoded.iter().map(AsRef::as_ref).collect();
        // From the end: a repository may well be called `blobs/uploads`.
        match parts.as_slice() {
            ["_regatta", "replication", "cursor", edge] => Ok(Self::Cursor((*edge).to_owned())),
            ["_oci", "ext", "discover"] => Ok(Self::Discover(None)),
            [name @ .., "_oci", "ext", "discover"] => Ok(Self::Discover(Some(repository(name)?))),
            [name @ .., "tags", "list"] => Ok(Self::Tags(repository(name)?)),
            [name @ .., "blobs", "uploads", ""] | [name @ .., "blobs", "uploads"] => {
                Ok(Self::Uploads(repository(name)?))
            }
            [name @ .., "blobs", "uploads", id] => Ok(Self::Upload(repository(name)?, (*id).to_owned())),
            [name @ .., "manifests", text] => {
                let name = repository(name)?;
                let invalid = if text.contains(':') { RouteError::Digest } else { RouteError::Tag };
                Ok(Self::Manifest(name, text.parse().map_err(invalid)?))
            }
            [name @ .., "blobs", digest] => {
                Ok(Self::Blob(repository(name)?, digest.parse().map_err(RouteError::Digest)?))
            }
            [name @ .., "referrers", digest] => {
                Ok(Self::Referrers(repository(name)?, digest.parse().map_err(RouteError::Digest)?))
            }
            _ => Err(RouteError::Unknown),
        }
    }

    /// A class for metrics: few, whatever clients ask for.
    pub const fn class(&self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Token => "token",
            Self::Catalog => "catalog",
            Self::Tags(_) => "tags",
            Self::Manifest(..) => "manifest",
            Self::Blob(..) => "blob",
            Self::Uploads(_) | Self::Upload(..) => "upload",
            Self::Referrers(..) => "referrers",
            Self::Cursor(_) => "cursor",
            Self::Discover(_) => "discover",
        }
    }
}

/// Decodes one component; one that would become several, or is no UTF-8, is no component.
fn decode(component: &str) -> Option<Cow<'_, str>> {
    let decoded = percent_decode_str(component).decode_utf8().ok()?;
    (!decoded.contains('/') && !decoded.contains('\0')).then_some(decoded)
}

fn repository(parts: &[&str]) -> Result<RepositoryName, RouteError> {
    if parts.is_empty() {
        return Err(RouteError::Unknown);
    }
    parts.join("/").parse().map_err(RouteError::Name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> RepositoryName {
        text.parse().unwrap()
    }

    #[test]
    fn paths_are_read_from_their_end() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let check = |path: &str, route: Route| assert_eq!(Route::parse(path), Ok(route), "{path}");
        check("/v2/", Route::Base);
        check("/v2/_catalog", Route::Catalog);
        check("/v2/a/b/tags/list", Route::Tags(name("a/b")));
        check("/v2/tags/list/tags/list", Route::Tags(name("tags/list")));
        check("/v2/a/blobs/uploads/", Route::Uploads(name("a")));
        check("/v2/a/blobs/uploads/x1", Route::Upload(name("a"), "x1".into()));
        check("/v2/blobs/uploads/blobs/uploads/", Route::Uploads(name("blobs/uploads")));
        check(&format!("/v2/a/blobs/{digest}"), Route::Blob(name("a"), digest.parse().unwrap()));
        check(&format!("/v2/a/blobs/{}", digest.replace(':', "%3A")), Route::Blob(name("a"), digest.parse().unwrap()));
        check("/v2/_oci/ext/discover", Route::Discover(None));
        check("/v2/a/b/_oci/ext/discover", Route::Discover(Some(name("a/b"))));
        check("/v2/a/manifests/v1", Route::Manifest(name("a"), "v1".parse().unwrap()));
        check(&format!("/v2/a/referrers/{digest}"), Route::Referrers(name("a"), digest.parse().unwrap()));
    }

    #[test]
    fn what_is_no_path_says_why() {
        for path in [
            "/",
            "/v1/",
            "/v2/a",
            "/v2/tags/list",
            "/v2/a%2fb/manifests/v1",
            "/v2/a/manifests/v1/x",
            "/v2/a/%00/tags/list",
        ] {
            assert_eq!(Route::parse(path), Err(RouteError::Unknown), "{path}");
        }
        assert!(matches!(Route::parse("/v2/A/manifests/v1"), Err(RouteError::Name(_))));
        assert!(matches!(Route::parse("/v2/a/../manifests/v1"), Err(RouteError::Name(_))));
        assert!(matches!(Route::parse("/v2/a/blobs/sha256:x"), Err(RouteError::Digest(_))));
        assert!(matches!(Route::parse("/v2/a/manifests/.x"), Err(RouteError::Tag(_))));
    }

    proptest! {
        #[test]
        fn no_path_panics(path in "(/v2)?(/[a-z%0-9._:-]{0,8}){0,8}") {
            let _ = Route::parse(&path);
        }
    }
}
