//! Where a registry is, and where nobody may send us.
//!
//! Link-local and metadata addresses answer with the credentials of the machine (CVE-2026-49349 and its like), so they
//! are refused, both when written as such and when a name resolves to them.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};

use super::error::{ClientError, shown};

/// A registry's address: `http(s)://host[:port]`, without a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    url: Url,
}

impl FromStr for Endpoint {
    type Err = ClientError;
    fn from_str(text: &str) -> Result<Self, ClientError> {
        let bad = |why| ClientError::Address { text: text.to_owned(), why };
        let url = Url::parse(text).map_err(|_| bad("expected http(s)://host[:port]"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(bad("expected http(s)://host[:port]"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("credentials do not belong into an address"));
        }
        if url.path() != "/" || url.query().is_some() {
            return Err(bad("a path is not allowed"));
        }
        check(&url)?;
        Ok(Self { url })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url.as_str().trim_end_matches('/'))
    }
}

impl Endpoint {
    /// The host's name or address.
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// Whether the connection is encrypted.
    pub fn is_tls(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// Whether a URL has this very scheme, host and port.
    pub fn is_origin_of(&self, url: &Url) -> bool {
        self.url.origin() == url.origin()
    }

    /// The URL of a path of this registry.
    pub fn url(&self, path: &str) -> Result<Url, ClientError> {
        self.join(&self.url, path)
    }

    /// A location or a link that an answer to `base` gave, relative or absolute.
    pub fn join(&self, base: &Url, location: &str) -> Result<Url, ClientError> {
        let bad = || ClientError::Protocol { url: shown(base), why: "the answer's location is not a URL".to_owned() };
        let url = base.join(location).map_err(|_| bad())?;
        if !matches!(url.scheme(), "http" | "https") || (self.is_tls() && url.scheme() != "https") {
            return Err(ClientError::Protocol {
                url: shown(base),
                why: format!("the answer's location leaves TLS: {}", shown(&url)),
            });
        }
        check(&url)?;
        Ok(url)
    }
}

/// Refuses a URL whose host is written as a forbidden address.
pub(super) fn check(url: &Url) -> Result<(), ClientError> {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    match host.parse::<IpAddr>() {
        Ok(address) if is_forbidden(address) => Err(ClientError::ForbiddenAddress { url: shown(url) }),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Link-local addresses, and the metadata addresses of clouds that chose others.
fn is_forbidden(address: IpAddr) -> bool {
    const ALIBABA: Ipv4Addr = Ipv4Addr::new(100, 100, 100, 200);
    const ORACLE: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 192);
    const AMAZON: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254);
    match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4 == ALIBABA || v4 == ORACLE,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => is_forbidden(IpAddr::V4(v4)),
            None => v6.is_unicast_link_local() || v6 == AMAZON,
        },
    }
}

/// Resolves names as the system does, and leaves out forbidden addresses.
#[derive(Debug, Clone, Copy)]
pub(super) struct GuardedResolver;

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let (forbidden, allowed): (Vec<SocketAddr>, Vec<_>) = found.partition(|a| is_forbidden(a.ip()));
            if allowed.is_empty() && !forbidden.is_empty() {
                return Err(format!("{} is a link-local or metadata address: refused", name.as_str()).into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_scheme_host_and_port_only() {
        for good in ["http://localhost:5000", "https://registry.example", "https://[::1]:5000/"] {
            assert!(good.parse::<Endpoint>().is_ok(), "{good}");
        }
        for bad in ["localhost:5000", "ftp://host", "https://u:p@host", "https://host/path", "https://host?x=1", ""] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
        }
    }

    #[test]
    fn cve_2026_49349_link_local_and_metadata_addresses_are_refused_however_they_are_written() {
        for bad in [
            "http://169.254.169.254",
            "http://[fe80::1]",
            "http://[::ffff:169.254.169.254]",
            "http://2852039166",
            "http://0xa9fea9fe",
            "http://100.100.100.200",
            "http://[fd00:ec2::254]",
        ] {
            assert!(matches!(bad.parse::<Endpoint>(), Err(ClientError::ForbiddenAddress { .. })), "{bad}");
        }
    }

    #[test]
    fn a_location_may_not_leave_tls() {
        let endpoint: Endpoint = "https://host".parse().unwrap();
        let base = endpoint.url("/v2/a/blobs/uploads/").unwrap();
        assert_eq!(endpoint.join(&base, "/v2/x?y=z").unwrap().as_str(), "https://host/v2/x?y=z");
        assert!(endpoint.join(&base, "http://host/v2/x").is_err());
        assert!(endpoint.join(&base, "file:///etc/passwd").is_err());
    }
}
