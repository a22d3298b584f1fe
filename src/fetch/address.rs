//! Which addresses may be asked for a photo: those of the public internet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// IPv4 networks that are not public (IANA's registry of special-purpose addresses), multicast, what is reserved, and one
/// public-looking address that is a cloud's own.
const NOT_PUBLIC_V4: [Ipv4Net; 17] = [
    v4([0, 0, 0, 0], 8),
    v4([10, 0, 0, 0], 8),
    v4([100, 64, 0, 0], 10),
    v4([127, 0, 0, 0], 8),
    // Link-local; the metadata of most clouds is at 169.254.169.254.
    v4([169, 254, 0, 0], 16),
    v4([172, 16, 0, 0], 12),
    v4([192, 0, 0, 0], 24),
    v4([192, 0, 2, 0], 24),
    v4([192, 31, 196, 0], 24),
    v4([192, 52, 193, 0], 24),
    v4([192, 88, 99, 0], 24),
    v4([192, 168, 0, 0], 16),
    v4([198, 18, 0, 0], 15),
    v4([198, 51, 100, 0], 24),
    v4([203, 0, 113, 0], 24),
    // Multicast, reserved, broadcast.
    v4([224, 0, 0, 0], 3),
    // Azure's host, from within a virtual machine of it.
    v4([168, 63, 129, 16], 32),
];

/// The IPv6 addresses that are given out. Everything else is refused by this alone: loopback, link-local, unique local,
/// multicast, IPv4 in IPv6 (`::ffff:0:0/96`), NAT64 (`64:ff9b::/96`, `64:ff9b:1::/48`).
const GIVEN_OUT_V6: Ipv6Net = v6([0x2000, 0, 0], 3);

/// What is not public among them; Teredo (in `2001::/23`) and 6to4 hold an IPv4 address.
const NOT_PUBLIC_V6: [Ipv6Net; 4] =
    [v6([0x2001, 0, 0], 23), v6([0x2001, 0xdb8, 0], 32), v6([0x2002, 0, 0], 16), v6([0x3fff, 0, 0], 20)];

const fn v4([a, b, c, d]: [u8; 4], length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6([a, b, c]: [u16; 3], length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), length)
}

/// Which addresses may be asked. No setting leads to anything but [`AddressPolicy::public`].
#[derive(Debug, Clone)]
pub struct AddressPolicy {
    besides: Vec<IpNet>,
}

impl AddressPolicy {
    /// Those of the public internet.
    pub fn public() -> Self {
        Self { besides: Vec::new() }
    }

    /// Those, and these networks besides: for whoever builds a service of these parts and has photos in a network of their
    /// own.
    pub fn public_and(besides: Vec<IpNet>) -> Self {
        Self { besides }
    }

    /// Whether this address may be asked.
    pub fn allows(&self, address: IpAddr) -> bool {
        let is_public = match address {
            IpAddr::V4(v4) => !NOT_PUBLIC_V4.iter().any(|network| network.contains(&v4)),
            IpAddr::V6(v6) => GIVEN_OUT_V6.contains(&v6) && !NOT_PUBLIC_V6.iter().any(|network| network.contains(&v6)),
        };
        is_public || self.besides.iter().any(|network| network.contains(&address))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn allows(address: impl Into<IpAddr>) -> bool {
        AddressPolicy::public().allows(address.into())
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn public_addresses_are_allowed() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "192.169.0.0",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2001:4860:4860::8888",
            "2a00::1",
        ] {
            assert!(allows(ip(text)), "{text}");
        }
    }

    #[test]
    fn what_is_within_reach_of_a_cluster_is_not() {
        for text in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.255",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.168.1.1",
            "198.19.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::808:808",
            "64:ff9b:1::a00:1",
            "2001:0:7f00:1::",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "5f00::1",
            "100::1",
        ] {
            assert!(!allows(ip(text)), "{text}");
        }
    }

    proptest! {
        /// The standard library knows these ranges as well, each by a name of its own.
        #[test]
        fn no_v4_address_that_is_special_is_allowed(bits: u32) {
            let v4 = Ipv4Addr::from_bits(bits);
            let is_special = v4.is_unspecified() || v4.is_loopback() || v4.is_private() || v4.is_link_local()
                || v4.is_multicast() || v4.is_broadcast() || v4.is_documentation();
            prop_assert!(!(is_special && allows(v4)), "{v4}");
        }

        #[test]
        fn no_v6_address_that_is_special_is_allowed(bits: u128) {
            let v6 = Ipv6Addr::from_bits(bits);
            let is_special = v6.is_unspecified() || v6.is_loopback() || v6.is_multicast() || v6.is_unique_local()
                || v6.is_unicast_link_local() || v6.to_ipv4().is_some();
            prop_assert!(!(is_special && allows(v6)), "{v6}");
            prop_assert_eq!(allows(v6) && bits >> 125 != 1, false, "{} is not given out", v6);
        }

        /// Every address of every network, and of IPv6 every way to hold an IPv4 address.
        #[test]
        fn what_holds_an_address_is_refused_whatever_it_holds(network in 0..NOT_PUBLIC_V4.len(), bits: u32, port: u16) {
            let network = NOT_PUBLIC_V4[network];
            let inside = Ipv4Addr::from_bits(network.addr().to_bits() | (bits & network.hostmask().to_bits()));
            prop_assert!(!allows(inside), "{inside}");
            let held = u128::from(bits);
            for holder in [
                Ipv6Addr::from_bits(held),
                Ipv4Addr::from_bits(bits).to_ipv6_mapped(),
                Ipv6Addr::from_bits((0x0064_ff9b << 96) | held),
                Ipv6Addr::from_bits((0x0064_ff9b_0001 << 80) | held),
                Ipv6Addr::from_bits((0x2002 << 112) | (held << 80) | u128::from(port)),
                Ipv6Addr::from_bits((0x2001_0000 << 96) | (held << 64) | u128::from(!bits)),
            ] {
                prop_assert!(!allows(holder), "{holder}");
            }
        }

        #[test]
        fn what_is_allowed_besides_is_all_that_is_allowed_besides(bits: u32) {
            let loopback = AddressPolicy::public_and(vec!["127.0.0.1/32".parse().expect("a network")]);
            let v4 = Ipv4Addr::from_bits(bits);
            prop_assert!(loopback.allows(Ipv4Addr::LOCALHOST.into()));
            prop_assert!(!loopback.allows(ip("127.0.0.2")) && !loopback.allows(ip("::1")));
            prop_assert_eq!(loopback.allows(v4.into()), allows(v4) || v4 == Ipv4Addr::LOCALHOST);
        }
    }
}
