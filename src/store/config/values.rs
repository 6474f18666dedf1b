//! Values of a store file that have a grammar. What is wrong with one is said without the value: whoever writes a
//! password into a URL shall not find it in a log.

use std::ffi::OsStr;
use std::str::FromStr;

use http::Uri;
use reqwest::Url;
use serde::de::{Deserialize, Deserializer, Error as _};

use crate::store::Key;

/// Bytes of a container's name that Swift takes at most.
const CONTAINER: usize = 256;

/// Why a value is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Nothing where there must be something.
    #[error("it is empty; say something, or leave the field out if it may be")]
    Empty,
    /// Not what a service has.
    #[error("expected a URL, `http://host[:port]` or `https://host[:port]`, with a path where the service has one")]
    Url,
    /// A user in a URL, who would stand in every message that names the place.
    #[error("a URL with a user or a password is not taken: they belong into `credentials`")]
    User,
    /// `?` or `#` in a URL.
    #[error("a URL with a query (`?`) or a fragment (`#`) is not taken")]
    Query,
    /// A path where requests would go elsewhere.
    #[error("a URL with a path is not taken here: expected `http://host[:port]` or `https://host[:port]`")]
    Path,
    /// A port where requests would go to another.
    #[error("a URL with a port is not taken here, since requests could not be sent to it: expected `https://host`")]
    Port,
    /// Not a bucket's, account's or region's.
    #[error("expected a name of letters, digits, `.`, `-` and `_`")]
    Name,
    /// Not a container's of Swift.
    #[error(
        "expected a name of at most {CONTAINER} ASCII characters without blanks and without any of `/ ? # % < > ^ \" \\ {{ }} | [ ]` and the backtick"
    )]
    Container,
    /// What keys cannot begin with.
    #[error(
        "expected names parted by single `/`, none of which begins with `.`, is longer than 255 bytes, or has a `\\` or a \
         control character"
    )]
    Prefix,
}

/// Where a service is: `http(s)://host[:port][/path]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceUrl {
    uri: Uri,
    /// Without a slash at its end.
    text: String,
}

impl ServiceUrl {
    /// The URL, without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The URL with the path as it was given.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }
}

impl FromStr for ServiceUrl {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).ok_or(ValueError::Url)?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(ValueError::User);
        }
        // The parser would look over these.
        if authority.is_empty() || text.contains(|c: char| c == '\\' || c.is_whitespace() || c.is_control()) {
            return Err(ValueError::Url);
        }
        let url = Url::parse(text).map_err(|_| ValueError::Url)?;
        // Where a password has a slash in it, what is behind that looks like a path.
        if url.path().contains('@') {
            return Err(ValueError::User);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(ValueError::Query);
        }
        let uri = url.as_str().parse().map_err(|_| ValueError::Url)?;
        Ok(Self { uri, text: url.as_str().trim_end_matches('/').to_owned() })
    }
}

/// Where a service is whose requests have the bucket's path and no other: `http(s)://host[:port]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostUrl(ServiceUrl);

impl HostUrl {
    /// The URL, without a slash at its end.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for HostUrl {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let url: ServiceUrl = text.parse()?;
        if url.uri.path() == "/" { Ok(Self(url)) } else { Err(ValueError::Path) }
    }
}

/// A bucket's, an account's or a region's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// The region that there was first.
    pub(super) fn us_east_1() -> Self {
        Self("us-east-1".to_owned())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = ValueError;

    /// Wider than any service's grammar, and narrow enough for a host's name and a URL's path.
    fn from_str(text: &str) -> Result<Self, ValueError> {
        let is_good = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        match text {
            "" => Err(ValueError::Empty),
            "." | ".." => Err(ValueError::Name),
            text if text.bytes().all(is_good) => Ok(Self(text.to_owned())),
            _ => Err(ValueError::Name),
        }
    }
}

/// The name of a container of Swift's, which may have almost anything in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container(String);

impl Container {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Container {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        // The library puts it into URLs as it is: behind some of these a server would take it for another's name.
        let is_wrong = |c: char| !c.is_ascii_graphic() || "/?#%<>^`\"\\{}|[]".contains(c);
        match text {
            "" => Err(ValueError::Empty),
            "." | ".." => Err(ValueError::Container),
            text if text.len() > CONTAINER || text.contains(is_wrong) => Err(ValueError::Container),
            text => Ok(Self(text.to_owned())),
        }
    }
}

/// What all keys begin with: a key itself, or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prefix(Option<Key>);

impl Prefix {
    /// The text; empty where it is nothing.
    pub fn as_str(&self) -> &str {
        self.0.as_ref().map_or("", Key::as_str)
    }
}

impl FromStr for Prefix {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        // A slash at either end says nothing: many write it.
        match text.trim_matches('/') {
            "" => Ok(Self(None)),
            text => Key::new(text).map(|key| Self(Some(key))).map_err(|_| ValueError::Prefix),
        }
    }
}

/// By way of their grammar.
macro_rules! deserialized_by_grammar {
    ($($type:ty),*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    )*};
}

deserialized_by_grammar!(ServiceUrl, HostUrl, Name, Container, Prefix);

/// Of a service of which the library below forgets the port.
pub(super) fn without_port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HostUrl, D::Error> {
    let url = HostUrl::deserialize(deserializer)?;
    if url.0.uri.port().is_none() { Ok(url) } else { Err(D::Error::custom(ValueError::Port)) }
}

/// A text or a path that is one.
pub(super) fn not_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + AsRef<OsStr>,
{
    let value = T::deserialize(deserializer)?;
    if value.as_ref().is_empty() { Err(D::Error::custom(ValueError::Empty)) } else { Ok(value) }
}

/// The same, where it may be left out.
pub(super) fn not_empty_if_said<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + AsRef<OsStr>,
{
    let value = Option::<T>::deserialize(deserializer)?;
    match &value {
        Some(value) if value.as_ref().is_empty() => Err(D::Error::custom(ValueError::Empty)),
        Some(_) | None => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused<T: FromStr<Err = ValueError> + std::fmt::Debug>(texts: &[&str], why: ValueError) {
        for text in texts {
            assert_eq!(text.parse::<T>().unwrap_err(), why, "{text:?}");
        }
    }

    #[test]
    fn a_services_url_is_scheme_host_port_and_path() {
        for (text, kept) in [
            ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
            ("https://h/", "https://h"),
            ("https://[::1]:9000/a/b-c/", "https://[::1]:9000/a/b-c"),
            ("https://H:443/v1/AUTH_p", "https://h/v1/AUTH_p"),
        ] {
            assert_eq!(text.parse::<ServiceUrl>().unwrap().as_str(), kept);
        }
        assert_eq!("http://minio:9000/sts/".parse::<ServiceUrl>().unwrap().uri().path(), "/sts/");
        let none =
            ["", "foo", "ftp://h", "h:9000", "http:h", "http://", "http:///h", "http://:80", "http://h:x", "HTTP:/h"];
        refused::<ServiceUrl>(&none, ValueError::Url);
        refused::<ServiceUrl>(
            &["http://h h", "http://h\\x", " http://h", "http://h\n", "http://h/a\tb"],
            ValueError::Url,
        );
        refused::<ServiceUrl>(&["http://h?", "http://h/?sig=s", "http://h#", "http://h/p#f"], ValueError::Query);
        refused::<HostUrl>(&["http://h/p", "https://h:1/p/"], ValueError::Path);
        assert_eq!("http://h:9000/".parse::<HostUrl>().unwrap().as_str(), "http://h:9000");
    }

    /// They stood in the log as the store's place.
    #[test]
    fn a_url_with_a_password_is_refused_without_saying_it() {
        let with =
            ["http://key:12/canary@h", "http://user:canary@h:1", "https://canary@h", "http://@h", "http://:canary@h/p"];
        refused::<ServiceUrl>(&with, ValueError::User);
        for text in ["http://user:canary@h", "http://user:ca/nary@h", "http://h?canary", "canary", "http://h:canary"] {
            let error = text.parse::<ServiceUrl>().unwrap_err();
            assert!(!format!("{error} {error:?}").contains("nary"), "{error}");
        }
    }

    #[test]
    fn names_are_something_and_no_path() {
        for text in ["images", "my_Bucket.1", "images-1250000000"] {
            assert_eq!(text.parse::<Name>().unwrap().as_str(), text);
            assert_eq!(text.parse::<Container>().unwrap().as_str(), text);
        }
        refused::<Name>(&[""], ValueError::Empty);
        refused::<Name>(&[" ", "a/b", "a b", "a?b", "a@b", "..", ".", "ä", "a\n"], ValueError::Name);
        assert!("images&more~".parse::<Container>().is_ok());
        refused::<Container>(&[""], ValueError::Empty);
        refused::<Container>(
            &["a/b", "..", "a\nb", "a b", "a#1", "a?x", "a%2Fb", &"x".repeat(257)],
            ValueError::Container,
        );
    }

    #[test]
    fn a_prefix_leads_nowhere_else() {
        for text in ["", "city", "some/city"] {
            assert_eq!(text.parse::<Prefix>().unwrap().as_str(), text);
            assert_eq!(format!("/{text}/").parse::<Prefix>().unwrap().as_str(), text);
        }
        refused::<Prefix>(&["../a", "a/..", "./a", "a//b", "a\nb", "a\\b"], ValueError::Prefix);
    }
}
