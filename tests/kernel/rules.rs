//! Random tables and elements of tables, all of them sound.

use std::collections::BTreeSet;
use std::net::IpAddr;

use proptest::prelude::*;
use vipcast::model::ipvs::{Protocol, ServerKey};
use vipcast::model::nft::{Elements, Mss, Source, Table};
use vipcast::model::{Family, Prefix};

/// Prefixes of which none holds another: nftables takes no others.
pub(crate) fn disjoint(prefixes: impl IntoIterator<Item = Prefix>) -> BTreeSet<Prefix> {
    let mut chosen = BTreeSet::new();
    for candidate in prefixes {
        if !chosen.iter().any(|range: &Prefix| range.overlaps(candidate)) {
            chosen.insert(candidate);
        }
    }
    chosen
}

/// Ranges of both families.
pub(crate) fn ranges() -> impl Strategy<Value = BTreeSet<Prefix>> {
    let v4 = (any::<[u8; 4]>(), 0..=32u8).prop_map(|(address, length)| Prefix::containing(address.into(), length));
    let v6 = (any::<[u8; 16]>(), 0..=128u8).prop_map(|(address, length)| Prefix::containing(address.into(), length));
    // Neighbours: where one interval ends, the next begins.
    let close =
        (any::<u8>(), 24..=32u8).prop_map(|(last, length)| Prefix::containing([10, 96, 0, last].into(), length));
    prop::collection::vec(prop_oneof![v4, v6, close], 0..24).prop_map(|found| disjoint(found.into_iter().flatten()))
}

/// Few, so that they meet again.
pub(crate) fn server() -> impl Strategy<Value = ServerKey> {
    let addresses = ["10.96.0.1", "10.0.1.2", "fd00:10:96::1", "fd01::2"].map(|text| text.parse::<IpAddr>().unwrap());
    let protocols = vec![Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
    let ports = prop::sample::select(vec![1, 80, u16::MAX]);
    (prop::sample::select(addresses.to_vec()), prop::sample::select(protocols), ports)
        .prop_map(|(address, protocol, port)| ServerKey { address, protocol, port })
}

fn servers() -> impl Strategy<Value = BTreeSet<ServerKey>> {
    prop::collection::btree_set(server(), 0..8)
}

/// Elements whose sources `sources` gives, for either family.
pub(crate) fn elements(sources: impl Strategy<Value = BTreeSet<Prefix>>) -> impl Strategy<Value = Elements> {
    let of_key = |(key, sources): (ServerKey, BTreeSet<Prefix>)| {
        let family = Family::of(key.address);
        (key, sources.into_iter().filter(|source| source.family() == family).collect())
    };
    let sources = prop::collection::vec((server(), sources).prop_map(of_key), 0..6);
    (servers(), servers(), servers(), sources).prop_map(|(keep, masquerade, draining, sources)| Elements {
        keep,
        masquerade,
        draining,
        sources: sources.into_iter().collect(),
    })
}

pub(crate) fn source() -> impl Strategy<Value = Source> {
    let v4 = (any::<[u8; 4]>(), any::<[u8; 4]>()).prop_map(|(a, b)| (IpAddr::from(a.min(b)), IpAddr::from(a.max(b))));
    let v6 = (any::<[u8; 16]>(), any::<[u8; 16]>()).prop_map(|(a, b)| (IpAddr::from(a.min(b)), IpAddr::from(a.max(b))));
    // nft lists such a range by its prefix.
    let prefix = (any::<u32>(), 0..=32u32).prop_map(|(bits, length)| {
        let host = u32::MAX.checked_shr(length).unwrap_or(0);
        (IpAddr::from((bits & !host).to_be_bytes()), IpAddr::from((bits | host).to_be_bytes()))
    });
    let one = any::<[u8; 4]>().prop_map(|address| (IpAddr::from(address), IpAddr::from(address)));
    let port = || 1..=u16::MAX;
    let ports = prop_oneof![(port(), port()).prop_map(|(a, b)| (a.min(b), a.max(b))), port().prop_map(|a| (a, a))];
    let pool = prop::collection::vec(prop_oneof![v4, v6, prefix, one], 0..3);
    (pool, prop::option::of(ports)).prop_map(|(pool, ports)| Source {
        pool: pool.into_iter().map(|(first, last)| (Family::of(first), (first, last))).collect(),
        ports,
    })
}

pub(crate) fn table() -> impl Strategy<Value = Table> {
    let mss = prop::option::of(prop_oneof![Just(Mss::Auto), (536..=9000u16).prop_map(Mss::Size)]);
    (ranges(), source(), ranges(), ranges(), mss, elements(ranges())).prop_map(
        |(masquerade, source, guard, pods, mss, elements)| Table {
            masquerade,
            source,
            guard,
            pods,
            mss,
            elements,
            stray: BTreeSet::new(),
        },
    )
}
