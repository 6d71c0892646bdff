//! How much room is left for connections: SNAT ports, conntrack.

use serde::{Deserialize, Serialize};

use crate::model::Family;
use crate::model::load::Busy;
use crate::model::settings::{PoolEntry, Snat};

use super::planner::Planner;
use super::role::labels;

/// The ports that a client may get where the configuration does not say: from 1024 on.
const PORTS: (u16, u16) = (1024, 65535);

/// How much room is left for connections, as it was found last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CapacityStatus {
    /// The endpoint that has the least room for SNAT; none without connections, and where there is no SNAT.
    pub snat: Option<SnatStatus>,
    /// Connection tracking; none where it is not loaded.
    pub conntrack: Option<ConntrackStatus>,
}

/// SNAT towards one endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnatStatus {
    /// The endpoint: address, port and protocol.
    pub endpoint: String,
    /// How many connections it has through this node.
    pub connections: u64,
    /// How many it can have: the ports of all SNAT addresses.
    pub ports: u64,
}

/// Connection tracking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConntrackStatus {
    /// How many connections it knows.
    pub entries: u64,
    /// How many it can know; 0: no limit.
    pub limit: u64,
    /// How many packets it had no place for since the machine started.
    pub insert_failed: Option<u64>,
}

/// Packets in the middle of TCP connections that no connection on this node took, and that were refused with a reset: what it
/// costs when switches spread flows anew.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RehashStatus {
    /// How many since the agent started.
    pub stray_packets: u64,
    /// How many in the last second.
    pub per_second: u64,
}

impl Planner {
    pub(super) fn rehash_status(&self) -> RehashStatus {
        RehashStatus { stray_packets: self.stray.packets, per_second: self.stray.per_second }
    }

    pub(super) fn capacity_status(&self) -> CapacityStatus {
        let is_canary =
            |busy: &Busy| self.canaries().iter().any(|canary| canary.destination == busy.destination.address);
        let busiest = self.load.busiest.iter().filter(|_| self.settings.dataplane.snat != Snat::None);
        let busiest = busiest.filter(|(_, busy)| !is_canary(busy));
        let snat = busiest.map(|(family, busy)| (busy.connections, self.snat_ports(*family), busy));
        // The one with the larger quotient of the first two.
        let product = |one: u64, other: u64| u128::from(one) * u128::from(other);
        let fullest = snat.max_by(|one, other| product(one.0, other.1).cmp(&product(other.0, one.1)));
        CapacityStatus {
            snat: fullest.map(|(connections, ports, Busy { protocol, destination, .. })| SnatStatus {
                endpoint: format!("{destination} {protocol}"),
                connections,
                ports,
            }),
            conntrack: self.load.conntrack.map(|conntrack| ConntrackStatus {
                entries: conntrack.count,
                limit: conntrack.max,
                insert_failed: conntrack.insert_failed,
            }),
        }
    }

    /// How many connections of a family can lead to one endpoint (address, protocol and port) at once: each takes a port of
    /// a SNAT address.
    fn snat_ports(&self, family: Family) -> u64 {
        let dataplane = &self.settings.dataplane;
        let (first, last) = dataplane.snat_ports.unwrap_or(PORTS);
        let pool = dataplane.pool(family, &labels(&self.cluster));
        let addresses =
            pool.map_or(1, |(first, last)| u64::try_from(PoolEntry::count(first, last)).unwrap_or(u64::MAX));
        (u64::from(last) - u64::from(first) + 1).saturating_mul(addresses)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::Duration;

    use super::*;
    use crate::model::ipvs::{DestinationKey, Protocol};
    use crate::model::load::{Conntrack, Load};
    use crate::model::settings::Dataplane;
    use crate::model::{Selector, Settings, Time};
    use crate::plan::Change;

    /// The status with `dataplane`, where endpoints have so many connections.
    fn status(dataplane: Dataplane, busiest: &[(&str, u64)]) -> CapacityStatus {
        let settings = Settings {
            node: "lb1".into(),
            node_selector: Selector::default(),
            node_ips: Vec::new(),
            cluster_ips: None,
            allowed: Vec::new(),
            dataplane,
            bgp: None,
            bfd: Default::default(),
            lease: Default::default(),
            proof: Default::default(),
            brake: Default::default(),
            drain: Default::default(),
            withdraw_delay: Duration::ZERO,
            resync: Duration::from_secs(300),
        };
        let busy = |(address, connections): &(&str, u64)| {
            let address: IpAddr = address.parse().unwrap();
            let destination = DestinationKey { address, port: 80 };
            (Family::of(address), Busy { protocol: Protocol::Tcp, destination, connections: *connections })
        };
        let conntrack = Some(Conntrack { count: 7, max: 9, insert_failed: Some(1) });
        let mut planner = Planner::new(settings, Time::ZERO);
        assert_eq!(planner.status().capacity, CapacityStatus::default(), "nothing is known yet");
        planner.apply(Change::Load(Load { busiest: busiest.iter().map(busy).collect(), conntrack }), Time::ZERO);
        planner.status().capacity
    }

    #[test]
    fn the_endpoint_with_the_least_room_is_named() {
        let entry = |first: &str, last: &str, labels: &[(&str, &str)]| PoolEntry {
            first: first.parse().unwrap(),
            last: last.parse().unwrap(),
            node_selector: Selector::new(labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()),
        };
        let pool = |snat_pool: &[PoolEntry]| Dataplane { snat_pool: snat_pool.to_vec(), ..Dataplane::default() };
        let ports = |snat_ports| Dataplane { snat_ports: Some(snat_ports), ..Dataplane::default() };
        let both = &[("10.1.0.1", 200), ("fd00::1", 100)][..];
        for (dataplane, busiest, expected) in [
            (Dataplane::default(), &[][..], None),
            (Dataplane { snat: Snat::None, ..Dataplane::default() }, both, None),
            (Dataplane::default(), both, Some(("10.1.0.1:80 TCP", 200, 64_512))),
            (Dataplane { snat: Snat::IpvsMatch, ..Dataplane::default() }, both, Some(("10.1.0.1:80 TCP", 200, 64_512))),
            (ports((2000, 2999)), both, Some(("10.1.0.1:80 TCP", 200, 1000))),
            (ports((2000, 2000)), &both[1..], Some(("[fd00::1]:80 TCP", 100, 1))),
            // With four IPv4 addresses there is less room over IPv6.
            (pool(&[entry("192.0.2.1", "192.0.2.4", &[])]), both, Some(("[fd00::1]:80 TCP", 100, 64_512))),
            (pool(&[entry("192.0.2.1", "192.0.2.4", &[])]), &both[..1], Some(("10.1.0.1:80 TCP", 200, 258_048))),
            // Another node's.
            (pool(&[entry("192.0.2.1", "192.0.2.4", &[("rack", "b")])]), both, Some(("10.1.0.1:80 TCP", 200, 64_512))),
        ] {
            let found = status(dataplane.clone(), busiest);
            let expected = expected.map(|(endpoint, connections, ports): (&str, u64, u64)| SnatStatus {
                endpoint: endpoint.to_owned(),
                connections,
                ports,
            });
            assert_eq!(found.snat, expected, "{dataplane:?}");
            assert_eq!(found.conntrack, Some(ConntrackStatus { entries: 7, limit: 9, insert_failed: Some(1) }));
        }
    }
}
