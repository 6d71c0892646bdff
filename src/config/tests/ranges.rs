//! Allowed ranges: how they are read, and what must not be.

use super::{BGP, SOURCE, assert_refused, good};
use crate::model::Selector;
use crate::model::bgp::{Attributes, Community};
use crate::model::settings::{Announce, Range, Use};

/// The allowed ranges of a file with this `ranges` section.
fn allowed(ranges: &str) -> Vec<Range> {
    good(&format!("{SOURCE}ranges: {{{ranges}}}\n")).settings.allowed
}

fn range(prefix: &str, uses: &[Use], announce: Announce) -> Range {
    let range = Range::new(prefix.parse().unwrap(), Use::ClusterIp, announce);
    Range { uses: uses.iter().copied().collect(), ..range }
}

#[test]
fn allowed_ranges_are_read() {
    use Use::{ExternalIp, LoadBalancerIp};
    let host = |prefix, uses: &[Use]| range(prefix, uses, Announce::Host);
    for (text, expected) in [
        ("externalIPs: [], loadBalancerIPs: []", vec![]),
        ("externalIPs: [192.0.2.0/24]", vec![host("192.0.2.0/24", &[ExternalIp])]),
        (
            "loadBalancerIPs: ['2001:db8::/64', 192.0.2.1/32]",
            vec![host("2001:db8::/64", &[LoadBalancerIp]), host("192.0.2.1/32", &[LoadBalancerIp])],
        ),
        (
            "externalIPs: [192.0.2.0/24, 198.51.100.0/24], loadBalancerIPs: [198.51.100.0/24, 203.0.113.0/24]",
            vec![
                host("192.0.2.0/24", &[ExternalIp]),
                host("198.51.100.0/24", &[ExternalIp, LoadBalancerIp]),
                host("203.0.113.0/24", &[LoadBalancerIp]),
            ],
        ),
        (
            "externalIPs: [192.0.2.0/24], loadBalancerIPs: [{prefix: 192.0.2.0/24, announce: host, communities: []}]",
            vec![host("192.0.2.0/24", &[ExternalIp, LoadBalancerIp])],
        ),
        (
            "externalIPs: [{prefix: 192.0.2.0/24, announce: aggregate}, {prefix: 198.51.100.0/24, announce: none}]",
            vec![
                range("192.0.2.0/24", &[ExternalIp], Announce::Aggregate),
                range("198.51.100.0/24", &[ExternalIp], Announce::None),
            ],
        ),
        (
            "loadBalancerIPs: [{prefix: 192.0.2.0/24, communities: [65001:7], nodeSelector: {rack: a}}]",
            vec![Range {
                attributes: Attributes { communities: [Community(65001 << 16 | 7)].into(), ..Attributes::default() },
                node_selector: Selector::new([("rack".to_owned(), "a".to_owned())].into()),
                ..host("192.0.2.0/24", &[LoadBalancerIp])
            }],
        ),
    ] {
        assert_eq!(allowed(text), expected, "{text}");
    }
    let settings = good(&format!("{SOURCE}ranges: {{externalIPs: [192.0.2.0/24]}}\n")).settings;
    assert_eq!(settings.cluster_ips, None, "the ServiceCIDR objects say");
}

/// In a range of single VIPs each is looked at by itself, so it may be the subnet of the nodes and the switch.
#[test]
fn a_range_of_single_vips_may_hold_what_is_in_use() {
    let rest = format!("nodeIPs: [10.0.1.2]\nbgp: {{{BGP}, routerID: 10.0.1.2}}\n");
    for properties in ["", ", announce: none"] {
        good(&format!("{SOURCE}ranges: {{externalIPs: [{{prefix: 10.0.0.0/16{properties}}}]}}\n{rest}"));
    }
    assert_refused(&[
        (
            format!("{SOURCE}ranges: {{externalIPs: [{{prefix: 10.0.0.0/16, announce: aggregate}}]}}\n{rest}"),
            "2:33: ranges.externalIPs[0].prefix: found 10.0.0.0/16, which holds 10.0.1.2, nodeIPs[0]; allowed: a range that nothing but VIPs comes from, or announce: host",
        ),
        (
            format!(
                "{SOURCE}ranges: {{loadBalancerIPs: [{{prefix: 10.0.1.0/31, announce: aggregate}}]}}\nbgp: {{{BGP}}}\n"
            ),
            "2:37: ranges.loadBalancerIPs[0].prefix: found 10.0.1.0/31, which holds 10.0.1.1, bgp.peers[0].address; allowed: a range that nothing but VIPs comes from, or announce: host",
        ),
    ]);
}

#[test]
fn ranges_that_cannot_be() {
    let cases = [
        (
            "externalIPs: 192.0.2.0/24",
            "2:23: ranges.externalIPs: found 192.0.2.0/24; allowed: a list of ranges; empty, or without the key, none is allowed",
        ),
        (
            "externalIPs: [192.0.2.1]",
            "2:24: ranges.externalIPs[0]: found 192.0.2.1; allowed: a prefix such as 10.96.0.0/16 or fd00:10:96::/112",
        ),
        (
            "externalIPs: [192.0.2.1/24]",
            "2:24: ranges.externalIPs[0]: found 192.0.2.1/24, which has bits set after its length; allowed: 192.0.2.0/24, if that is what is meant",
        ),
        (
            "loadBalancerIPs: [0.0.0.0/0]",
            "2:28: ranges.loadBalancerIPs[0]: found 0.0.0.0/0, which shares addresses with 0.0.0.0/8 (this network); allowed: a range whose every address can be a VIP",
        ),
        (
            "externalIPs: [{prefix: 192.0.2.0/24, uses: all}]",
            "2:47: ranges.externalIPs[0].uses: unknown key; allowed: prefix, announce, nodeSelector, communities, largeCommunities, med, localPref, prepend",
        ),
        (
            "externalIPs: [192.0.2.0/24, 192.0.2.0/24]",
            "2:38: ranges.externalIPs[1]: found 192.0.2.0/24, which shares addresses with ranges.externalIPs[0], 192.0.2.0/24; allowed: ranges that are apart",
        ),
        (
            "externalIPs: [192.0.2.0/24], loadBalancerIPs: [192.0.2.0/25]",
            "2:57: ranges.loadBalancerIPs[0]: found 192.0.2.0/25, which shares addresses with ranges.externalIPs[0], 192.0.2.0/24; allowed: ranges that are apart",
        ),
        (
            "externalIPs: [192.0.2.0/24], loadBalancerIPs: [192.0.2.0/24, 192.0.2.0/24]",
            "2:71: ranges.loadBalancerIPs[1]: found 192.0.2.0/24, which shares addresses with ranges.externalIPs[0], 192.0.2.0/24; allowed: ranges that are apart",
        ),
        (
            "clusterIPs: [10.96.0.0/16], externalIPs: [10.96.0.0/16]",
            "2:52: ranges.externalIPs[0]: found 10.96.0.0/16, which shares addresses with ranges.clusterIPs[0], 10.96.0.0/16; allowed: ranges that are apart",
        ),
        (
            "loadBalancerIPs: [10.0.0.0/8], clusterIPs: [10.96.0.0/16]",
            "2:28: ranges.loadBalancerIPs[0]: found 10.0.0.0/8, which shares addresses with ranges.clusterIPs[0], 10.96.0.0/16; allowed: ranges that are apart",
        ),
        (
            "externalIPs: [192.0.2.0/24], loadBalancerIPs: [{prefix: 192.0.2.0/24, announce: none}]",
            "2:66: ranges.loadBalancerIPs[0].prefix: found 192.0.2.0/24, which ranges.externalIPs[0] has with another announce; allowed: the same in both lists, since it is one range",
        ),
        (
            "externalIPs: [192.0.2.0/24], loadBalancerIPs: [{prefix: 192.0.2.0/24, communities: [1:1]}]",
            "2:66: ranges.loadBalancerIPs[0].prefix: found 192.0.2.0/24, which ranges.externalIPs[0] has with another communities; allowed: the same in both lists, since it is one range",
        ),
        (
            "externalIPs: [{prefix: 192.0.2.0/24, nodeSelector: {a: b}}], loadBalancerIPs: [192.0.2.0/24]",
            "2:89: ranges.loadBalancerIPs[0]: found 192.0.2.0/24, which ranges.externalIPs[0].prefix has with another nodeSelector; allowed: the same in both lists, since it is one range",
        ),
    ];
    assert_refused(&cases.map(|(ranges, message)| (format!("{SOURCE}ranges: {{{ranges}}}\n"), message)));
    assert_refused(&[(
        format!("{SOURCE}ranges: {{externalIPs: ['2001:db8::/64']}}\nbgp: {{{BGP}}}\n"),
        "2:24: ranges.externalIPs[0]: found the text \"2001:db8::/64\", an IPv6 range that no router would install, since no peer has the family ipv6 and bgp.nextHop.ipv6 is self; allowed: a peer with an IPv6 address, an address in bgp.nextHop.ipv6, or announce: none for this range",
    )]);
}
