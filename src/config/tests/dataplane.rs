//! The section `dataplane`: how it is read, and what must not be.

use std::time::Duration;

use super::{BGP, SOURCE, assert_refused, good};
use crate::model::Selector;
use crate::model::ipvs::Timeouts;
use crate::model::nft::Mss;
use crate::model::settings::{Dataplane, NodePorts, PoolEntry, Snat};

/// The section of a file that has this one.
fn dataplane(text: &str) -> Dataplane {
    good(&format!("{SOURCE}dataplane: {{{text}}}\n")).settings.dataplane
}

fn entry(first: &str, last: &str, labels: &[(&str, &str)]) -> PoolEntry {
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let node_selector = Selector::new(labels.collect());
    PoolEntry { first: first.parse().unwrap(), last: last.parse().unwrap(), node_selector }
}

#[test]
fn the_section_is_read() {
    let default = Dataplane::default;
    let node_ports = |addresses: &[&str], ports| {
        let addresses = addresses.iter().map(|prefix| prefix.parse().unwrap()).collect();
        Dataplane { node_ports: Some(NodePorts { addresses, ports }), ..default() }
    };
    let pool = |entries: &[PoolEntry]| Dataplane { snat_pool: entries.to_vec(), ..default() };
    let timeouts = |tcp, tcp_fin, udp| Dataplane { timeouts: Timeouts { tcp, tcp_fin, udp }, ..default() };
    for (text, expected) in [
        ("", default()),
        ("snat: masquerade, nodePorts: off, mss: off, topologyHints: off, timeouts: {}", default()),
        ("topologyHints: on", Dataplane { topology_hints: true, ..default() }),
        ("nodePorts: {addresses: [0.0.0.0/0, '::/0']}", node_ports(&["0.0.0.0/0", "::/0"], (30000, 32767))),
        ("nodePorts: {addresses: [10.0.1.2/32], ports: 1-65535}", node_ports(&["10.0.1.2/32"], (1, 65535))),
        ("snat: {pool: [192.0.2.10-192.0.2.13]}", pool(&[entry("192.0.2.10", "192.0.2.13", &[])])),
        ("snat: {pool: [192.0.2.10 - 192.0.2.13]}", pool(&[entry("192.0.2.10", "192.0.2.13", &[])])),
        (
            "snat: {pool: [192.0.2.9, 'fd00::1-fd00::100']}",
            pool(&[entry("192.0.2.9", "192.0.2.9", &[]), entry("fd00::1", "fd00::100", &[])]),
        ),
        (
            "snat: {pool: [{addresses: 192.0.2.0-192.0.2.255, nodeSelector: {rack: a}}, {addresses: 198.51.100.7}]}",
            pool(&[entry("192.0.2.0", "192.0.2.255", &[("rack", "a")]), entry("198.51.100.7", "198.51.100.7", &[])]),
        ),
        ("snatPorts: 32768-60999", Dataplane { snat_ports: Some((32768, 60999)), ..default() }),
        ("snatPorts: 1024-65535", Dataplane { snat_ports: Some((1024, 65535)), ..default() }),
        ("snat: none", Dataplane { snat: Snat::None, ..default() }),
        ("mss: auto", Dataplane { mss: Some(Mss::Auto), ..default() }),
        ("mss: 536", Dataplane { mss: Some(Mss::Size(536)), ..default() }),
        ("mss: 9000", Dataplane { mss: Some(Mss::Size(9000)), ..default() }),
        ("drain: 0s", Dataplane { drain: Duration::ZERO, ..default() }),
        ("drain: 1h", Dataplane { drain: Duration::from_secs(3600), ..default() }),
        ("timeouts: {tcp: 15m}", timeouts(900, 120, 120)),
        ("timeouts: {tcp: 168h, tcpFin: 1s, udp: 5m}", timeouts(604_800, 1, 300)),
    ] {
        assert_eq!(dataplane(text), expected, "{text}");
    }
}

#[test]
fn a_pool_selects_by_labels() {
    let settings =
        good(&format!("{SOURCE}dataplane: {{snat: {{pool: [{{addresses: 192.0.2.1, nodeSelector: {{a: b}}}}]}}}}\n"));
    assert!(settings.settings.selects_by_labels());
}

/// Cases of further keys of `dataplane` in line 2.
fn refused<const N: usize>(cases: [(&str, &str); N]) {
    assert_refused(&cases.map(|(text, message)| (format!("{SOURCE}dataplane: {{{text}}}\n"), message)));
}

#[test]
fn values_that_cannot_be() {
    const TIMEOUT: &str = "allowed: whole seconds from 1s to 604800s";
    refused([
        ("topologyHints: auto", "2:28: dataplane.topologyHints: found auto; allowed: on, off"),
        ("mss: 535", "2:18: dataplane.mss: found 535; allowed: off, auto, or a size in bytes from 536 to 9000"),
        ("mss: 9001", "2:18: dataplane.mss: found 9001; allowed: off, auto, or a size in bytes from 536 to 9000"),
        ("mss: on", "2:18: dataplane.mss: found on; allowed: off, auto, or a size in bytes from 536 to 9000"),
        ("drain: 61m", "2:20: dataplane.drain: found 61m; allowed: a time such as 30s, from 0s to 1h"),
        ("drain: 30", "2:20: dataplane.drain: found 30; allowed: a time such as 30s, from 0s to 1h"),
        ("timeouts: 15m", "2:23: dataplane.timeouts: found 15m; allowed: a mapping with the keys tcp, tcpFin, udp"),
        ("timeouts: {tcp: 0s}", &format!("2:29: dataplane.timeouts.tcp: found 0s; {TIMEOUT}")),
        ("timeouts: {udp: 8d}", &format!("2:29: dataplane.timeouts.udp: found 8d; {TIMEOUT}")),
        ("timeouts: {tcpFin: 1500ms}", &format!("2:32: dataplane.timeouts.tcpFin: found 1500ms; {TIMEOUT}")),
        (
            "timeouts: {tcp_fin: 15m}",
            "2:24: dataplane.timeouts.tcp_fin: unknown key (did you mean tcpFin?); allowed: tcp, tcpFin, udp",
        ),
    ]);
}

#[test]
fn node_ports_that_cannot_be() {
    const PORTS: &str = "FIRST-LAST, two ports from 1 to 65535, the smaller one first";
    for ports in ["30000", "32767-30000", "0-10", "1-65536", "1-", "+1-5", "1 - 5"] {
        let message = format!("2:58: dataplane.nodePorts.ports: found {ports}; allowed: {PORTS}");
        refused([(&format!("nodePorts: {{addresses: [10.0.1.2/32], ports: {ports}}}"), &message)]);
    }
    refused([
        (
            "nodePorts: on",
            "2:24: dataplane.nodePorts: found on; allowed: off, or {addresses: [PREFIX], ports: 30000-32767}",
        ),
        (
            "nodePorts: {}",
            "2:24: dataplane.nodePorts.addresses: missing; allowed: a list of prefixes that this node's addresses are looked for in, such as [10.0.1.0/24]",
        ),
        (
            "nodePorts: {addresses: []}",
            "2:36: dataplane.nodePorts.addresses: found an empty list; allowed: a list of prefixes that this node's addresses are looked for in, such as [10.0.1.0/24]",
        ),
        (
            "nodePorts: {addresses: [10.0.1.2]}",
            "2:37: dataplane.nodePorts.addresses[0]: found 10.0.1.2; allowed: a prefix such as 10.0.1.0/24 or 0.0.0.0/0",
        ),
        (
            "nodePorts: {addresses: [127.0.0.1/32]}",
            "2:37: dataplane.nodePorts.addresses[0]: found 127.0.0.1/32, which lies in 127.0.0.0/8 (loopback); allowed: prefixes of addresses that others can reach",
        ),
        (
            "nodePorts: {addresses: [10.0.1.0/24, 10.0.1.0/24]}",
            "2:50: dataplane.nodePorts.addresses[1]: found 10.0.1.0/24, for the second time; allowed: each prefix once",
        ),
    ]);
}

#[test]
fn snat_that_cannot_be() {
    const ADDRESSES: &str = "an address, or FIRST-LAST of one family";
    for addresses in ["192.0.2.0/24", "192.0.2.1-fd00::1", "192.0.2.1-", "a-b", "192.0.2.1-192.0.2.2-192.0.2.3"] {
        let message = format!("2:27: dataplane.snat.pool[0]: found {addresses}; allowed: {ADDRESSES}");
        refused([(&format!("snat: {{pool: [{addresses}]}}"), &message)]);
    }
    refused([
        ("snat: pool", "2:19: dataplane.snat: found pool; allowed: masquerade, none, or {pool: [FIRST-LAST]}"),
        ("snat: true", "2:19: dataplane.snat: found true; allowed: masquerade, none, or {pool: [FIRST-LAST]}"),
        (
            "snat: {pool: []}",
            "2:26: dataplane.snat.pool: found an empty list; allowed: a list of this node's SNAT addresses, such as [192.0.2.10-192.0.2.13]",
        ),
        (
            "snat: {}",
            "2:19: dataplane.snat.pool: missing; allowed: a list of this node's SNAT addresses, such as [192.0.2.10-192.0.2.13]",
        ),
        (
            "snat: {pool: [192.0.2.2-192.0.2.1]}",
            "2:27: dataplane.snat.pool[0]: found 192.0.2.2-192.0.2.1, whose last address comes before its first; allowed: FIRST-LAST",
        ),
        (
            "snat: {pool: [192.0.2.0-192.0.3.0]}",
            "2:27: dataplane.snat.pool[0]: found 192.0.2.0-192.0.3.0, 257 addresses; allowed: at most 256 addresses",
        ),
        (
            "snat: {pool: [127.0.0.1]}",
            "2:27: dataplane.snat.pool[0]: found 127.0.0.1, a loopback address; allowed: addresses that others can reach",
        ),
        (
            "snat: {pool: [{nodeSelector: {rack: a}}]}",
            "2:27: dataplane.snat.pool[0].addresses: missing; allowed: FIRST-LAST, such as 192.0.2.10-192.0.2.13",
        ),
        (
            "snat: {pool: [192.0.2.1-192.0.2.4, {addresses: 192.0.2.4, nodeSelector: {rack: a}}]}",
            "2:60: dataplane.snat.pool[1].addresses: found 192.0.2.4, which shares addresses with dataplane.snat.pool[0]; allowed: addresses of one node alone, since replies come back to them",
        ),
        (
            "snat: {pool: [192.0.2.1, 192.0.2.9]}",
            "2:38: dataplane.snat.pool[1]: found 192.0.2.9, for the same nodes as dataplane.snat.pool[0]; allowed: one entry of each family, or each with a nodeSelector of its own",
        ),
        (
            "snatPorts: 80-90",
            "2:24: dataplane.snatPorts: found 80-90; allowed: FIRST-LAST, two ports from 1024 to 65535, the smaller one first",
        ),
    ]);
}

#[test]
fn keys_that_contradict_each_other() {
    refused([
        (
            "snat: {pool: [192.0.2.1]}, snatRule: ipvs-match",
            "2:50: dataplane.snatRule: found ipvs-match, while dataplane.snat has a pool; allowed: nftables with a pool",
        ),
        (
            "snatPorts: 2000-3000, snat: none",
            "2:24: dataplane.snatPorts: found 2000-3000, while dataplane.snat is none; allowed: snatPorts with masquerade or a pool",
        ),
        (
            "snatPorts: 2000-3000, snatRule: ipvs-match",
            "2:24: dataplane.snatPorts: found 2000-3000, while dataplane.snatRule is ipvs-match; allowed: snatPorts with snatRule: nftables",
        ),
    ]);
    const ALLOWED: &str = "addresses that are used for nothing else";
    let pool = |text: &str, rest: &str| format!("{SOURCE}dataplane: {{snat: {{pool: ['{text}']}}}}\n{rest}");
    let found = |text: &str, trouble: &str| {
        format!("2:27: dataplane.snat.pool[0]: found the text \"{text}\", {trouble}; allowed: {ALLOWED}")
    };
    let (cluster, external) = ("ranges: {clusterIPs: [10.96.0.0/16]}\n", "ranges: {externalIPs: ['fd00::/120']}\n");
    for (text, rest, trouble) in [
        ("10.96.255.255", cluster, "which shares addresses with ranges.clusterIPs[0], 10.96.0.0/16"),
        ("10.95.255.255-10.96.0.0", cluster, "which shares addresses with ranges.clusterIPs[0], 10.96.0.0/16"),
        ("fd00::ff-fd00::110", external, "which shares addresses with ranges.externalIPs[0], fd00::/120"),
        ("10.0.1.1-10.0.1.9", &format!("bgp: {{{BGP}}}\n"), "which holds the BGP peer 10.0.1.1"),
    ] {
        assert_refused(&[(pool(text, rest), &found(text, trouble))]);
    }
    for (text, rest) in [
        ("10.95.255.255", cluster),
        ("fd00::100", external),
        ("10.0.1.2-10.0.1.9", &format!("nodeIPs: [10.0.1.2]\nbgp: {{{BGP}}}\n")),
    ] {
        good(&pool(text, rest));
    }
}
