//! Who a client is behind proxies: `X-Forwarded-For`, and only what configured proxies wrote of it.
//!
//! Anybody can send that header. Each proxy appends the address that it was asked from, so it is read from its end, as
//! far as the addresses are those of configured proxies. What it says goes into the log, and decides whose turn it is where
//! addresses take turns (see `hashing`); it gives no right, and nothing of it is sent back.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use axum::http::HeaderMap;

/// An address range in CIDR notation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    network: u128,
    mask: u128,
}

/// A text that is no range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no address range; expected as in 10.0.0.0/8, fd00::/8 or a single address")]
pub struct NoRange(String);

/// IPv4 within IPv6 (RFC 4291, section 2.5.5.2): a socket that listens to both gives such addresses.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

impl FromStr for Range {
    type Err = NoRange;
    fn from_str(text: &str) -> Result<Self, NoRange> {
        let no_range = || NoRange(text.to_owned());
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| no_range())?;
        let (longest, offset) = if address.is_ipv4() { (32, 96) } else { (128, 0) };
        let length: u32 = length.map_or(Ok(longest), str::parse).map_err(|_| no_range())?;
        if length > longest {
            return Err(no_range());
        }
        let mask = u128::MAX.checked_shl(128 - offset - length).unwrap_or(0);
        Ok(Self { network: bits(address) & mask, mask })
    }
}

impl Range {
    fn contains(&self, address: IpAddr) -> bool {
        bits(address) & self.mask == self.network
    }
}

/// The proxies that are believed.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(Vec<Range>);

impl FromIterator<Range> for TrustedProxies {
    fn from_iter<T: IntoIterator<Item = Range>>(ranges: T) -> Self {
        Self(ranges.into_iter().collect())
    }
}

impl TrustedProxies {
    fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|range| range.contains(address))
    }

    /// The address of whoever sent a request that came from `peer`.
    pub fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.ip().to_canonical();
        if self.0.is_empty() || !self.contains(client) {
            return client;
        }
        // Several lines are one list (RFC 9110, section 5.3).
        for line in headers.get_all("x-forwarded-for").iter().rev() {
            let Ok(line) = line.to_str() else { return client };
            for hop in line.rsplit(',') {
                let Some(address) = address(hop.trim()) else { return client };
                client = address.to_canonical();
                if !self.contains(client) {
                    return client;
                }
            }
        }
        client
    }
}

/// An address, with a port or without.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(trusted: &[&str], peer: &str, forwarded: &[&str], expected: &str) {
        let trusted: TrustedProxies = trusted.iter().map(|range| range.parse::<Range>().unwrap()).collect();
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        let client = trusted.client(SocketAddr::new(peer.parse().unwrap(), 1), &headers);
        assert_eq!(client, expected.parse::<IpAddr>().unwrap(), "{peer} {forwarded:?}");
    }

    #[test]
    fn only_what_trusted_proxies_wrote_is_believed() {
        check(&[], "10.0.0.1", &["1.2.3.4"], "10.0.0.1");
        check(&["10.0.0.0/8"], "192.0.2.1", &["1.2.3.4"], "192.0.2.1");
        check(&["10.0.0.0/8"], "10.0.0.1", &[], "10.0.0.1");
        check(&["10.0.0.0/8"], "10.0.0.1", &["1.2.3.4"], "1.2.3.4");
        check(&["10.0.0.0/8"], "10.0.0.1", &["6.6.6.6, 1.2.3.4, 10.9.9.9"], "1.2.3.4");
        check(&["10.0.0.0/8"], "10.0.0.1", &["6.6.6.6", "1.2.3.4"], "1.2.3.4");
        check(&["10.0.0.0/8"], "10.0.0.1", &["1.2.3.4, nonsense"], "10.0.0.1");
        check(&["10.0.0.0/8"], "::ffff:10.0.0.1", &["[2001:db8::1]:443"], "2001:db8::1");
        check(&["fd00::/8", "127.0.0.1"], "fd12::1", &["1.2.3.4:9, 127.0.0.1"], "1.2.3.4");
    }

    #[test]
    fn a_range_is_an_address_with_a_length_that_fits() {
        for good in ["0.0.0.0/0", "::/0", "10.1.2.3", "10.0.0.0/32", "fd00::/128"] {
            assert!(good.parse::<Range>().is_ok(), "{good}");
        }
        for bad in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/", "10.0.0.0/-1", "host"] {
            assert!(bad.parse::<Range>().is_err(), "{bad}");
        }
        assert!(!"0.0.0.0/0".parse::<Range>().unwrap().contains("2001:db8::1".parse().unwrap()));
    }
}
