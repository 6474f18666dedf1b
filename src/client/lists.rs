//! Tags and repositories, page by page (distribution-spec, "Listing tags"; RFC 8288).

use std::collections::BTreeSet;

use http::{HeaderMap, Method, StatusCode, header::LINK};
use reqwest::Url;
use serde::Deserialize;

use super::{Client, ClientError, Scope, error::shown, transport::Request};
use crate::oci::{RepositoryName, Tag};

/// How many names are asked for at a time.
const PAGE: usize = 1000;
/// More pages than this are a registry that goes round in circles.
const MOST_PAGES: usize = 100_000;

#[derive(Deserialize)]
struct TagsPage {
    tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct CatalogPage {
    repositories: Option<Vec<String>>,
}

impl Client {
    /// The tags of a repository; none where there is no such repository.
    pub async fn tags(&self, repository: &RepositoryName) -> Result<BTreeSet<Tag>, ClientError> {
        let first = self.inner.endpoint.url(&format!("/v2/{repository}/tags/list?n={PAGE}"))?;
        let names = self
            .pages(first, &Scope::pull(repository), |page: TagsPage| page.tags.unwrap_or_default())
            .await?
            .unwrap_or_default();
        Ok(names.iter().filter_map(|name| keep(name)).collect())
    }

    /// The repositories that we may see; `None` where the registry has no catalog for us.
    pub async fn catalog(&self) -> Result<Option<BTreeSet<RepositoryName>>, ClientError> {
        let first = self.inner.endpoint.url(&format!("/v2/_catalog?n={PAGE}"))?;
        let names =
            self.pages(first, &Scope::catalog(), |page: CatalogPage| page.repositories.unwrap_or_default()).await;
        match names {
            Ok(names) => Ok(names.map(|names| names.iter().filter_map(|name| keep(name)).collect())),
            Err(error) if is_refusal(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads all pages; `None` where the first is 404.
    async fn pages<P: for<'de> Deserialize<'de>>(
        &self,
        first: Url,
        scope: &Scope,
        names: impl Fn(P) -> Vec<String>,
    ) -> Result<Option<Vec<String>>, ClientError> {
        let mut all = Vec::new();
        let mut next = Some(first);
        for _ in 0..MOST_PAGES {
            let Some(url) = next else { return Ok(Some(all)) };
            let answer = self.send(Request::new(Method::GET, url.clone(), scope.clone())).await?;
            match answer.status() {
                StatusCode::OK => {}
                StatusCode::NOT_FOUND if all.is_empty() => return Ok(None),
                _ => return Err(self.unexpected(&Method::GET, answer).await),
            }
            next = self.next_page(&url, answer.headers())?;
            let body = self.body(answer).await?;
            let page = serde_json::from_slice(&body)
                .map_err(|error| ClientError::Protocol { url: shown(&url), why: format!("not a list: {error}") })?;
            all.extend(names(page));
        }
        Err(ClientError::Protocol { url: "the list".to_owned(), why: "it does not end".to_owned() })
    }

    pub(super) fn next_page(&self, url: &Url, headers: &HeaderMap) -> Result<Option<Url>, ClientError> {
        let Some(link) = next_link(headers) else { return Ok(None) };
        let next = self.inner.endpoint.join(url, &link)?;
        if next == *url {
            return Err(ClientError::Protocol { url: shown(url), why: "the next page is this one".to_owned() });
        }
        Ok(Some(next))
    }
}

/// A registry that has no catalog, or not for us, says so in one of these ways.
fn is_refusal(error: &ClientError) -> bool {
    matches!(error.status().map(|status| status.as_u16()), Some(400 | 401 | 403 | 405 | 501))
}

/// Names that are none cannot be asked for either.
fn keep<T: std::str::FromStr<Err = crate::oci::Invalid>>(name: &str) -> Option<T> {
    name.parse().inspect_err(|error| tracing::warn!(%error, "a list has a name that is none: left out")).ok()
}

/// The target of `rel="next"`.
fn next_link(headers: &HeaderMap) -> Option<String> {
    headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok()).find_map(|line| {
        let (target, parameters) = line.trim().strip_prefix('<')?.split_once('>')?;
        let next = parameters.split(';').any(|parameter| {
            parameter.split_once('=').is_some_and(|(name, value)| {
                name.trim().eq_ignore_ascii_case("rel") && value.trim().trim_matches('"').eq_ignore_ascii_case("next")
            })
        });
        next.then(|| target.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_next_page_is_where_the_link_says() {
        let check = |line: &'static str, expected: Option<&str>| {
            let headers = HeaderMap::from_iter([(LINK, HeaderValue::from_static(line))]);
            assert_eq!(next_link(&headers).as_deref(), expected, "{line}");
        };
        check(r#"</v2/_catalog?last=b&n=2>; rel="next""#, Some("/v2/_catalog?last=b&n=2"));
        check("<https://h/x>;rel=next", Some("https://h/x"));
        check(r#"</x>; rel="prev""#, None);
        check("garbage", None);
    }
}
