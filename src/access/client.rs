//! From where a request came, as far as that can be told.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

/// The address that rates are counted for: an IPv4 address, or the /64 of an IPv6 one, which is the least that a single
/// customer gets (RFC 6177): counting single addresses would give each of them 2^64 tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientNetwork(IpAddr);

impl From<IpAddr> for ClientNetwork {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self(v4.into()),
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                Self(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into())
            }
        }
    }
}

/// The proxies whose X-Forwarded-For is believed. Everybody else can write into it what they like.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Those in these networks.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The client behind a connection: the peer itself, or, where it is trusted, whom it says that it forwards for.
    ///
    /// Each proxy appends the address that it was asked from, so the header is read from its end for as long as what is
    /// read is trusted. What stands before the first address that is not trusted is that client's own invention.
    pub fn client<'a>(&self, peer: IpAddr, forwarded_for: impl DoubleEndedIterator<Item = &'a str>) -> IpAddr {
        let mut client = peer.to_canonical();
        for value in forwarded_for.rev() {
            for entry in value.rsplit(',') {
                if !self.contains(client) {
                    return client;
                }
                // What cannot be read was not written by a proxy that deserves the trust.
                let Some(address) = address(entry.trim()) else { return client };
                client = address.to_canonical();
            }
        }
        client
    }
}

/// An address, with or without a port: some proxies write one.
fn address(text: &str) -> Option<IpAddr> {
    let address = text.parse().ok();
    let with_port = || text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip());
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    address.or_else(with_port).or_else(in_brackets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn the_header_is_believed_as_far_as_proxies_are_trusted() {
        let networks = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().expect("a network"));
        let proxies = TrustedProxies::new(networks.to_vec());
        for (peer, header, expected) in [
            ("203.0.113.9", &["198.51.100.1"][..], "203.0.113.9"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["8.8.8.8, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
            ("10.0.0.1", &["8.8.8.8", "198.51.100.1", "10.0.0.2"], "198.51.100.1"),
            ("::ffff:10.0.0.1", &["::ffff:198.51.100.1"], "198.51.100.1"),
            ("fd00::1", &["[2001:db8::1]:4711, 10.1.1.1:80"], "2001:db8::1"),
            ("10.0.0.1", &["198.51.100.1, nonsense, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", &[""], "10.0.0.1"),
        ] {
            assert_eq!(proxies.client(ip(peer), header.iter().copied()), ip(expected), "{peer} {header:?}");
        }
        let nobody = TrustedProxies::default();
        assert_eq!(nobody.client(ip("10.0.0.1"), ["198.51.100.1"].into_iter()), ip("10.0.0.1"));
    }

    #[test]
    fn an_ipv6_client_is_its_64() {
        let network = |text: &str| ClientNetwork::from(ip(text));
        assert_eq!(network("2001:db8:0:1::1"), network("2001:db8:0:1:ffff::2"));
        assert_ne!(network("2001:db8:0:1::1"), network("2001:db8:0:2::1"));
        assert_ne!(network("198.51.100.1"), network("198.51.100.2"));
        assert_eq!(network("::ffff:198.51.100.1"), network("198.51.100.1"));
    }
}
