//! The canary: a virtual server of our own by which the whole data path is tried again and again.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::ipvs::{Protocol, ServerKey};
use super::prefix::{Family, Prefix};

/// The port of a canary's virtual server and of its destination: that of the discard protocol (RFC 863).
pub const PORT: u16 = 9;

/// A canary of one family. Its addresses are internal to the node: nobody else hears of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Canary {
    /// The address of its virtual server.
    pub vip: IpAddr,
    /// The address of its destination, behind the probe's link.
    pub destination: IpAddr,
    /// The address of its client, behind the probe's link too.
    pub client: IpAddr,
    /// Must the destination see another address than the client's?
    pub masqueraded: bool,
}

impl Canary {
    /// The canary of the range `range`, which has 8 addresses at least: its first address after that of the network is the
    /// VIP, and the next two, which make up a prefix, are behind the probe's link.
    pub fn of(range: Prefix, masqueraded: bool) -> Option<Canary> {
        let mut addresses = range.hosts().skip(1).map(Prefix::address);
        let (vip, destination, client) = (addresses.next()?, addresses.next()?, addresses.next()?);
        Some(Canary { vip, destination, client, masqueraded })
    }

    /// Its family.
    pub fn family(&self) -> Family {
        Family::of(self.vip)
    }

    /// Its virtual server.
    pub fn server(&self) -> ServerKey {
        ServerKey { address: self.vip, protocol: Protocol::Tcp, port: PORT }
    }

    /// What is behind the probe's link: the destination and the client.
    pub fn beyond(&self) -> Option<Prefix> {
        let beyond = Prefix::containing(self.destination, Prefix::host(self.destination).length() - 1);
        beyond.filter(|prefix| prefix.contains(self.client))
    }
}

/// Why a probe was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The data path was tried, and does not work.
    #[error("{0}")]
    Broken(String),
    /// It could not be tried, which says nothing of it: the prober lacks a capability, its link or its socket.
    #[error("it cannot be probed: {0}")]
    Unable(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_takes_the_first_addresses_of_its_range() {
        for (range, vip, destination, client, beyond) in [
            ("169.254.77.0/29", "169.254.77.1", "169.254.77.2", "169.254.77.3", "169.254.77.2/31"),
            ("fd76::8/125", "fd76::9", "fd76::a", "fd76::b", "fd76::a/127"),
        ] {
            let canary = Canary::of(range.parse().unwrap(), true).unwrap();
            assert_eq!(canary.vip.to_string(), vip);
            assert_eq!(
                (canary.destination.to_string(), canary.client.to_string()),
                (destination.into(), client.into())
            );
            assert_eq!(canary.beyond(), Some(beyond.parse().unwrap()));
        }
    }

    #[test]
    fn a_range_can_be_too_small() {
        assert_eq!(Canary::of("10.0.0.0/31".parse().unwrap(), true), None);
    }
}
