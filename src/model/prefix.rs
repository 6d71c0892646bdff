//! IP prefixes without host bits, and address families.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Family {
    /// Both, IPv4 first.
    pub const ALL: [Family; 2] = [Family::Ipv4, Family::Ipv6];

    /// The family of `address`.
    pub fn of(address: IpAddr) -> Family {
        if address.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::Ipv4 => "IPv4",
            Family::Ipv6 => "IPv6",
        })
    }
}

/// A prefix in canonical form: no bit is set after its length. Ordered by address, then length, IPv4 first. To serde it is
/// text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

/// Why a text is no prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// Not of the form address/length.
    #[error("not a prefix such as 10.96.0.0/16 or fd00:10:96::/112")]
    Malformed,
    /// Bits are set after the length.
    #[error("has host bits set; the prefix is {0}")]
    HostBits(Prefix),
}

impl Prefix {
    /// The prefix of `length` bits that holds `address`; `None` if the family has no such length.
    pub fn containing(address: IpAddr, length: u8) -> Option<Prefix> {
        let network = IpNetwork::new(address, length).ok()?;
        Some(Prefix { address: network.network(), length })
    }

    /// The prefix that holds all addresses of `family`.
    pub fn all(family: Family) -> Prefix {
        let address = match family {
            Family::Ipv4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::Ipv6 => Ipv6Addr::UNSPECIFIED.into(),
        };
        Prefix { address, length: 0 }
    }

    /// The host prefix of `address`: /32 or /128.
    pub fn host(address: IpAddr) -> Prefix {
        Prefix { address, length: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// The fewest prefixes that together hold the addresses from `first` to `last` and no other; none where the two have
    /// not one family, or the wrong order.
    pub fn spanning(first: IpAddr, last: IpAddr) -> Vec<Prefix> {
        let mut prefixes = Vec::new();
        let mut next = Some(first).filter(|first| Family::of(*first) == Family::of(last));
        while let Some(start) = next.filter(|start| *start <= last) {
            let fits = |prefix: &Prefix| prefix.address == start && prefix.last() <= last;
            let mut longer = (0..=128).filter_map(|length| Prefix::containing(start, length));
            let prefix = longer.find(fits).unwrap_or(Prefix::host(start));
            prefixes.push(prefix);
            next = after(prefix.last());
        }
        prefixes
    }

    /// The first address.
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// The length in bits.
    pub fn length(self) -> u8 {
        self.length
    }

    /// The address family.
    pub fn family(self) -> Family {
        Family::of(self.address)
    }

    /// The last address.
    pub fn last(self) -> IpAddr {
        match self.address {
            IpAddr::V4(first) => {
                let host = u32::MAX.checked_shr(u32::from(self.length)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from(u32::from(first) | host))
            }
            IpAddr::V6(first) => {
                let host = u128::MAX.checked_shr(u32::from(self.length)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from(u128::from(first) | host))
            }
        }
    }

    /// Is `address` inside?
    pub fn contains(self, address: IpAddr) -> bool {
        Family::of(address) == self.family() && self.address <= address && address <= self.last()
    }

    /// Is all of `other` inside?
    pub fn covers(self, other: Prefix) -> bool {
        self.length <= other.length && self.contains(other.address)
    }

    /// Do the two share an address?
    pub fn overlaps(self, other: Prefix) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// What is left of the prefix without `addresses`, in order.
    pub fn without(self, addresses: &BTreeSet<IpAddr>) -> Vec<Prefix> {
        let mut left = Vec::new();
        let mut next = Some(self.address);
        for hole in addresses.range(self.address..=self.last()).copied().filter(|hole| self.contains(*hole)) {
            left.extend(next.zip(before(hole)).map(|(start, end)| Prefix::spanning(start, end)).into_iter().flatten());
            next = after(hole);
        }
        left.extend(
            next.filter(|start| self.contains(*start)).into_iter().flat_map(|s| Prefix::spanning(s, self.last())),
        );
        left
    }

    /// Each of its addresses as a prefix of its own, in order.
    pub fn hosts(self) -> impl Iterator<Item = Prefix> {
        let addresses = std::iter::successors(Some(self.address), |address| after(*address));
        addresses.take_while(move |address| self.contains(*address)).map(Prefix::host)
    }

    /// Is it a single address?
    pub fn is_host(self) -> bool {
        self == Prefix::host(self.address)
    }
}

/// The address after `address`; none after the last of its family.
fn after(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => u32::from(address).checked_add(1).map(|bits| Ipv4Addr::from(bits).into()),
        IpAddr::V6(address) => u128::from(address).checked_add(1).map(|bits| Ipv6Addr::from(bits).into()),
    }
}

/// The address before `address`; none before the first of its family.
fn before(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => u32::from(address).checked_sub(1).map(|bits| Ipv4Addr::from(bits).into()),
        IpAddr::V6(address) => u128::from(address).checked_sub(1).map(|bits| Ipv6Addr::from(bits).into()),
    }
}

/// The first of these prefixes that shares an address with one before it.
pub fn first_overlap(prefixes: &BTreeSet<Prefix>) -> Option<Prefix> {
    // In their order, one inside another would come right after one that holds it.
    let pairs = prefixes.iter().zip(prefixes.iter().skip(1));
    pairs.into_iter().find(|(prefix, next)| prefix.overlaps(**next)).map(|(_, next)| *next)
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> String {
        prefix.to_string()
    }
}

impl TryFrom<String> for Prefix {
    type Error = <Prefix as FromStr>::Err;

    fn try_from(text: String) -> Result<Prefix, Self::Error> {
        text.parse()
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Prefix, PrefixError> {
        if !text.contains('/') {
            return Err(PrefixError::Malformed);
        }
        let network: IpNetwork = text.parse().map_err(|_| PrefixError::Malformed)?;
        let prefix = Prefix { address: network.network(), length: network.prefix() };
        if network.ip() == prefix.address { Ok(prefix) } else { Err(PrefixError::HostBits(prefix)) }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_bits_are_refused_and_the_prefix_is_named() {
        let cases = [
            ("10.96.0.0/16", Ok("10.96.0.0/16")),
            ("fd00::/112", Ok("fd00::/112")),
            ("0.0.0.0/0", Ok("0.0.0.0/0")),
            ("10.96.0.1/32", Ok("10.96.0.1/32")),
            ("10.96.0.1/16", Err("has host bits set; the prefix is 10.96.0.0/16")),
            ("10.96.0.0", Err("not a prefix such as 10.96.0.0/16 or fd00:10:96::/112")),
            ("10.96.0.0/33", Err("not a prefix such as 10.96.0.0/16 or fd00:10:96::/112")),
            ("010.96.0.0/16", Err("not a prefix such as 10.96.0.0/16 or fd00:10:96::/112")),
        ];
        for (text, expected) in cases {
            let found = text.parse::<Prefix>().map(|p| p.to_string()).map_err(|e| e.to_string());
            assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn contains_and_covers() {
        let p = |text: &str| text.parse::<Prefix>().unwrap();
        assert_eq!(p("10.96.0.0/16").last(), "10.96.255.255".parse::<IpAddr>().unwrap());
        assert_eq!(p("fd00::/112").last(), "fd00::ffff".parse::<IpAddr>().unwrap());
        assert_eq!(p("0.0.0.0/0").last(), "255.255.255.255".parse::<IpAddr>().unwrap());
        assert!(p("10.96.0.0/16").covers(p("10.96.3.0/24")));
        assert!(!p("10.96.3.0/24").covers(p("10.96.0.0/16")));
        assert!(p("10.96.3.0/24").overlaps(p("10.96.0.0/16")));
        assert!(!p("0.0.0.0/0").contains("::1".parse().unwrap()));
    }

    #[test]
    fn spans_and_holes() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let words = |found: Vec<Prefix>| found.iter().map(Prefix::to_string).collect::<Vec<_>>().join(" ");
        let spans = [
            ("192.0.2.10", "192.0.2.13", "192.0.2.10/31 192.0.2.12/31"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.7/32"),
            ("0.0.0.0", "255.255.255.255", "0.0.0.0/0"),
            ("192.0.2.8", "192.0.2.7", ""),
            ("192.0.2.8", "fd00::1", ""),
            ("fd00::", "fd00::3", "fd00::/126"),
        ];
        for (first, last, expected) in spans {
            assert_eq!(words(Prefix::spanning(ip(first), ip(last))), expected, "{first} to {last}");
        }
        for (prefix, expected) in [
            ("192.0.2.9/32", "192.0.2.9/32"),
            ("255.255.255.254/31", "255.255.255.254/32 255.255.255.255/32"),
            ("fd00::/127", "fd00::/128 fd00::1/128"),
        ] {
            assert_eq!(words(prefix.parse::<Prefix>().unwrap().hosts().collect()), expected, "{prefix}");
        }
        let holes: [(&str, &[&str], &str); 6] = [
            ("192.0.2.0/30", &[], "192.0.2.0/30"),
            ("192.0.2.0/30", &["192.0.2.1"], "192.0.2.0/32 192.0.2.2/31"),
            ("192.0.2.0/30", &["192.0.2.0", "192.0.2.3", "192.0.3.0"], "192.0.2.1/32 192.0.2.2/32"),
            ("192.0.2.1/32", &["192.0.2.1"], ""),
            ("0.0.0.0/1", &["fd00::1"], "0.0.0.0/1"),
            ("fd00::/127", &["fd00::1", "10.0.0.1"], "fd00::/128"),
        ];
        for (prefix, holes, expected) in holes {
            let without = prefix.parse::<Prefix>().unwrap().without(&holes.iter().map(|hole| ip(hole)).collect());
            assert_eq!(words(without), expected, "{prefix} without {holes:?}");
        }
    }

    #[test]
    fn few_prefixes_span_what_lies_between_two_addresses() {
        for (first, last, expected) in [
            ("192.0.2.10", "192.0.2.10", "192.0.2.10/32"),
            ("192.0.2.10", "192.0.2.13", "192.0.2.10/31 192.0.2.12/31"),
            ("192.0.2.0", "192.0.2.255", "192.0.2.0/24"),
            ("192.0.2.255", "192.0.3.1", "192.0.2.255/32 192.0.3.0/31"),
            ("0.0.0.0", "255.255.255.255", "0.0.0.0/0"),
            ("255.255.255.254", "255.255.255.255", "255.255.255.254/31"),
            ("fd00::fffe", "fd00::1:2", "fd00::fffe/127 fd00::1:0/127 fd00::1:2/128"),
            ("192.0.2.2", "192.0.2.1", ""),
            ("192.0.2.2", "fd00::1", ""),
        ] {
            let found = Prefix::spanning(first.parse().unwrap(), last.parse().unwrap());
            let found: Vec<String> = found.iter().map(Prefix::to_string).collect();
            assert_eq!(found.join(" "), expected, "{first} to {last}");
        }
    }
}
