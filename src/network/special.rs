//! Addresses that aren't anywhere on the internet: a name that leads to one of them is to be distrusted.

use crate::platform::Host;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A range of addresses, and what one of them is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) network: IpNet,
    pub(super) what: &'static str,
}

const LOOPBACK: &str = "a loopback address";
const PRIVATE: &str = "a private address";
const LINK: &str = "a link-local address";
const SHARED: &str = "a shared address";
const MULTICAST: &str = "a multicast address";
const RESERVED: &str = "a reserved address";
const METADATA: &str = "an address of a cloud's own services";

/// The registries of special addresses (RFC 6890 and what came after it), and the one public address at which a cloud tells
/// secrets to its machines. Those that are usual, 169.254.169.254 and fd00:ec2::254, are link-local and private.
const V4: &[([u8; 4], u8, &str)] = &[
    ([0, 0, 0, 0], 8, LOOPBACK), // "This host": connecting to 0.0.0.0 reaches the host's loopback interface.
    ([10, 0, 0, 0], 8, PRIVATE),
    ([100, 64, 0, 0], 10, SHARED),
    ([127, 0, 0, 0], 8, LOOPBACK),
    ([168, 63, 129, 16], 32, METADATA),
    ([169, 254, 0, 0], 16, LINK),
    ([172, 16, 0, 0], 12, PRIVATE),
    ([192, 0, 0, 0], 24, RESERVED),
    ([192, 0, 2, 0], 24, RESERVED),
    ([192, 88, 99, 0], 24, RESERVED),
    ([192, 168, 0, 0], 16, PRIVATE),
    ([198, 18, 0, 0], 15, RESERVED),
    ([198, 51, 100, 0], 24, RESERVED),
    ([203, 0, 113, 0], 24, RESERVED),
    ([224, 0, 0, 0], 4, MULTICAST),
    ([240, 0, 0, 0], 4, RESERVED),
];

const V6: &[([u16; 8], u8, &str)] = &[
    ([0, 0, 0, 0, 0, 0, 0, 1], 128, LOOPBACK),
    ([0, 0, 0, 0, 0, 0, 0, 0], 96, LOOPBACK), // `::`, and IPv4 inside of IPv6 in its oldest form.
    ([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, PRIVATE),
    ([0x100, 0, 0, 0, 0, 0, 0, 0], 64, RESERVED),
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, RESERVED), // Teredo among them, which holds an address of IPv4.
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, RESERVED),
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, RESERVED), // 6to4, likewise.
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, RESERVED),
    ([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16, RESERVED),
    ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, PRIVATE),
    ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, LINK),
    ([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, PRIVATE),
    ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, MULTICAST),
];

/// The special range that an address is in.
pub(super) fn range(address: IpAddr) -> Option<Range> {
    let address = plain(address);
    let around = |start: IpAddr, bits: u8, what: &'static str| {
        let network = IpNet::new_assert(start, bits);
        network.contains(&address).then_some(Range { network, what })
    };
    match address {
        IpAddr::V4(_) => {
            V4.iter().find_map(|(start, bits, what)| around((*start).into(), *bits, what))
        }
        IpAddr::V6(_) => {
            V6.iter().find_map(|(start, bits, what)| around((*start).into(), *bits, what))
        }
    }
}

/// The address that is reached in the end: one of IPv4 where that is inside of one of IPv6, also through a translator at the
/// well-known prefix (RFC 6052), behind which a network without IPv4 has the rest of the world.
fn plain(address: IpAddr) -> IpAddr {
    let Host::Address(address) = Host::from(address) else { return address };
    match address {
        IpAddr::V6(v6) => translated(v6).map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

fn translated(address: Ipv6Addr) -> Option<Ipv4Addr> {
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_on_the_internet_is_known() {
        for (address, what) in [
            ("0.0.0.0", LOOPBACK),
            ("127.255.0.1", LOOPBACK),
            ("10.255.255.255", PRIVATE),
            ("172.31.0.1", PRIVATE),
            ("192.168.1.1", PRIVATE),
            ("100.127.0.1", SHARED),
            ("100.100.100.200", SHARED),
            ("169.254.169.254", LINK),
            ("168.63.129.16", METADATA),
            ("224.0.0.1", MULTICAST),
            ("255.255.255.255", RESERVED),
            ("192.0.2.1", RESERVED),
            ("::", LOOPBACK),
            ("::1", LOOPBACK),
            ("::7f00:1", LOOPBACK),
            ("::ffff:127.0.0.1", LOOPBACK),
            ("::ffff:10.0.0.1", PRIVATE),
            ("64:ff9b::7f00:1", LOOPBACK),
            ("64:ff9b::a9fe:a9fe", LINK),
            ("fd00:ec2::254", PRIVATE),
            ("fe80::1", LINK),
            ("ff02::1", MULTICAST),
            ("2002:7f00:1::", RESERVED),
            ("2001:db8::1", RESERVED),
        ] {
            let found = range(address.parse().unwrap()).map(|range| range.what);
            assert_eq!(found, Some(what), "{address}");
        }
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.32.0.1",
            "168.63.129.17",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:4860::8888",
            "64:ff9b::101:101",
        ] {
            assert_eq!(range(address.parse().unwrap()), None, "{address}");
        }
    }
}
