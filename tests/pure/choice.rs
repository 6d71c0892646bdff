//! The choice of endpoints against the reference of `support::choice`, which is slow and plain.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use vipcast::model::ipvs::{DestinationKey, Protocol};
use vipcast::model::service::{Endpoint, Hints, ServicePort, Slice, SlicePort, TrafficPolicy, Weights};
use vipcast::model::{Family, ServiceKey};
use vipcast::plan::endpoints::{chosen, of_port, weighed};
use vipcast::plan::surroundings::Surroundings;

use crate::support::build::ip;
use crate::support::choice::{Found, believed, takers, weights};

const ADDRESSES: [&str; 6] = ["10.244.0.1", "10.244.0.2", "10.244.0.3", "fd00:244::1", "fd00:244::2", "fd00:244::3"];
const NODES: [&str; 2] = ["lb1", "worker"];
const ZONES: [&str; 3] = ["a", "b", "c"];
const PORTS: [(&str, Protocol); 3] = [("http", Protocol::Tcp), ("", Protocol::Tcp), ("http", Protocol::Udp)];

fn names(pool: &'static [&'static str]) -> impl Strategy<Value = Vec<Arc<str>>> {
    subsequence(pool.to_vec(), 0..=pool.len()).prop_map(|names| names.into_iter().map(Arc::from).collect())
}

fn any_hints() -> impl Strategy<Value = Option<Arc<Hints>>> {
    let hints = (names(&NODES), names(&ZONES)).prop_map(|(nodes, zones)| Arc::new(Hints { nodes, zones }));
    prop::option::weighted(0.9, hints)
}

fn any_endpoint(family: Family) -> impl Strategy<Value = Endpoint> {
    let addresses: Vec<IpAddr> = ADDRESSES.map(ip).into_iter().filter(|a| Family::of(*a) == family).collect();
    let name = |pool: &'static [&'static str]| prop::option::weighted(0.9, select(pool).prop_map(Arc::from));
    let conditions = (prop::bool::weighted(0.4), any::<bool>(), any::<bool>());
    (select(addresses), conditions, name(&NODES), name(&ZONES), any_hints()).prop_map(
        |(address, (ready, serving, terminating), node, zone, hints)| Endpoint {
            address,
            ready,
            serving,
            terminating,
            node,
            zone,
            hints,
        },
    )
}

fn any_slice() -> impl Strategy<Value = Slice> {
    let port = (select(PORTS.to_vec()), 8080..8082_u16).prop_map(|((name, protocol), port)| SlicePort {
        name: name.into(),
        protocol,
        port,
    });
    let family = select(vec![Family::Ipv4, Family::Ipv4, Family::Ipv6]);
    (family, vec(port, 0..3)).prop_flat_map(|(family, ports)| {
        let service = ServiceKey::new("shop", "web");
        vec(any_endpoint(family), 0..4).prop_map(move |endpoints| Slice {
            service: service.clone(),
            family,
            ports: ports.clone(),
            endpoints,
        })
    })
}

fn any_port() -> impl Strategy<Value = ServicePort> {
    select(PORTS.to_vec()).prop_map(|(name, protocol)| ServicePort {
        name: name.into(),
        protocol,
        port: 80,
        node_port: None,
    })
}

fn any_surroundings() -> impl Strategy<Value = Surroundings> {
    let zone = prop::option::weighted(0.8, select(&ZONES[..]).prop_map(Arc::from));
    zone.prop_map(|zone| Surroundings { node: "lb1".into(), zone, ..Surroundings::default() })
}

proptest! {
    #![proptest_config(super::laws::cases(2000))]

    #[test]
    fn endpoints_are_chosen_as_the_reference_chooses_them(
        slices in vec(any_slice(), 0..5),
        port in any_port(),
        family in select(Family::ALL.to_vec()),
        policy in select(vec![TrafficPolicy::Cluster, TrafficPolicy::Local]),
        follow_hints in any::<bool>(),
        here in any_surroundings(),
    ) {
        let slices: Vec<&Slice> = slices.iter().collect();
        let reference = believed(&port, family, &slices);
        let found = of_port(&port, family, &slices);
        let all: Found = found.iter().map(|(key, endpoint)| (*key, (*endpoint).clone())).collect();
        prop_assert_eq!(&all, &reference);
        let ours = chosen(&found, policy, follow_hints, &here);
        let ours: Found = ours.into_iter().map(|(key, endpoint)| (key, endpoint.clone())).collect();
        prop_assert_eq!(ours, takers(&reference, policy, follow_hints, &here));
    }

    /// Each zone gets the same share, in the smallest whole numbers; beyond 1000 they are rounded down, and nobody is left
    /// out.
    #[test]
    fn zones_get_the_same_share(counts in vec(0..60_usize, 0..5)) {
        let mut endpoints = BTreeMap::new();
        for (zone, count) in counts.iter().enumerate() {
            for n in 0..*count {
                let mut endpoint = Endpoint::new(ip(&format!("10.{zone}.0.{n}")), true);
                // The first zone is that of endpoints that name none.
                endpoint.zone = (zone > 0).then(|| Arc::from(format!("zone-{zone}")));
                endpoints.insert(DestinationKey { address: endpoint.address, port: 80 }, endpoint);
            }
        }
        let borrowed = endpoints.iter().map(|(key, endpoint)| (*key, endpoint)).collect();
        let weights = weighed(&borrowed, &Weights::ZonesAlike);
        let counts: Vec<u32> = counts.into_iter().filter(|count| *count > 0).map(|count| count as u32).collect();
        let share = (1..=1000_u32).find(|share| counts.iter().all(|count| share % count == 0));
        let mut weights = weights.into_iter();
        for count in counts {
            let of_zone: Vec<u32> = weights.by_ref().take(count as usize).collect();
            prop_assert!(of_zone.iter().all(|weight| *weight == of_zone[0] && *weight > 0), "{:?}", of_zone);
            let total: u32 = of_zone.iter().sum();
            match share {
                Some(share) => prop_assert_eq!(total, share),
                None => prop_assert!(total <= 1000 && total + count > 1000, "{} of {}", total, count),
            }
        }
        prop_assert_eq!(weights.next(), None);
    }

    #[test]
    fn endpoints_weigh_what_their_zone_does(
        slice in any_slice(),
        zones in prop::collection::btree_map(select(&ZONES[..]).prop_map(Arc::from), 1..100_u32, 0..3),
    ) {
        let slice = Slice { ports: vec![SlicePort { name: "".into(), protocol: Protocol::Tcp, port: 8080 }], ..slice };
        let port = ServicePort { name: "".into(), protocol: Protocol::Tcp, port: 80, node_port: None };
        let found = of_port(&port, slice.family, &[&slice]);
        let reference = believed(&port, slice.family, &[&slice]);
        for wish in [Weights::Even, Weights::ZonesAlike, Weights::ByZone(Arc::new(zones))] {
            prop_assert_eq!(weighed(&found, &wish), weights(&reference, &wish));
        }
    }
}
