//! One case per mistake that somebody can make, with the whole message.

use super::{BGP, SOURCE, assert_refused};

const TOP: &str = "node, nodeIPs, nodeSelector, runtimeDir, source, ranges, dataplane, bgp, bfd, lease, proof, brake, drain, shutdown, withdrawDelay, resync, admin";

fn after_source<const N: usize>(cases: [(&str, &str); N]) {
    assert_refused(&cases.map(|(text, message)| (format!("{SOURCE}{text}\n"), message)));
}

/// Cases of `bgp` in a flow mapping in line 2.
fn in_bgp<const N: usize>(cases: [(&str, &str); N]) {
    assert_refused(&cases.map(|(text, message)| (format!("{SOURCE}bgp: {{{text}}}\n"), message)));
}

/// Cases of further keys of the only peer.
fn in_peer<const N: usize>(cases: [(&str, &str); N]) {
    let file = |text| format!("{SOURCE}bgp: {{asn: 65001, peers: [{{address: 10.0.1.1, asn: 65000, {text}}}]}}\n");
    assert_refused(&cases.map(|(text, message)| (file(text), message)));
}

#[test]
fn of_the_format() {
    assert_refused(&[
        (
            "source: {manifests: x\nnode: a\n".into(),
            "2:5: not YAML: while parsing a flow mapping, did not find expected ',' or '}'",
        ),
        ("node: \"a\n".into(), "2:1: not YAML: invalid indentation in multiline quoted scalar"),
        ("node: *a\n".into(), "1:7: not YAML: while parsing node, found unknown anchor"),
        ("node: &a b\n".into(), "1:10: found an anchor (&…); allowed: values written out"),
        ("node: !!str b\n".into(), "1:13: found a tag (!…); allowed: values without tags"),
        ("? [node]\n: b\n".into(), "1:3: found a key that is not a word; allowed: a word"),
        ("node: a\n---\nnode: b\n".into(), "3:1: found a second document; allowed: one per file"),
        (
            "- node\n".into(),
            "1:1: found a list; allowed: a mapping with the keys node, nodeIPs, nodeSelector, runtimeDir, source, ranges, dataplane, bgp, bfd, lease, proof, brake, drain, shutdown, withdrawDelay, resync, admin",
        ),
        (
            String::new(),
            "1:1: source: missing; allowed: where the cluster's objects come from: {kubernetes: {}} or {manifests: FOLDER}",
        ),
    ]);
}

#[test]
fn of_keys() {
    let unknown = |key: &str, hint: &str| format!("2:1: {key}: unknown key{hint}; allowed: {TOP}");
    let texts = [("rangse", " (did you mean ranges?)"), ("nodeips", " (did you mean nodeIPs?)"), ("fridge", "")];
    for (key, hint) in texts {
        assert_refused(&[(format!("{SOURCE}{key}: 5\n"), &unknown(key, hint))]);
    }
    after_source([
        ("node: a\nnode: b", "3:1: node: given twice, before in line 2; allowed: once"),
        (
            "ranges: {externalIps: []}",
            "2:10: ranges.externalIps: unknown key (did you mean externalIPs?); allowed: clusterIPs, externalIPs, loadBalancerIPs",
        ),
        (
            "ranges: {clusterIPs: [{prefix: 10.96.0.0/16, anounce: host}]}",
            "2:46: ranges.clusterIPs[0].anounce: unknown key (did you mean announce?); allowed: prefix, announce, nodeSelector, communities, largeCommunities, med, localPref, prepend",
        ),
        (
            "bgp:",
            "2:1: bgp: found nothing; allowed: a mapping with the keys asn, routerID, listenPort, gobgpd, nextHop, maxSpecifics, gracefulRestart, peers, communities, largeCommunities, med, localPref, prepend",
        ),
        (
            "bgp: ~",
            "2:1: bgp: found nothing; allowed: a mapping with the keys asn, routerID, listenPort, gobgpd, nextHop, maxSpecifics, gracefulRestart, peers, communities, largeCommunities, med, localPref, prepend",
        ),
        ("admin: 127.0.0.1:9180", "2:8: admin: found 127.0.0.1:9180; allowed: a mapping with the keys listen, metrics"),
    ]);
    assert_refused(&[
        ("source: {api: {}}\n".into(), "1:10: source.api: unknown key; allowed: kubernetes, manifests"),
        (
            "source: {kubernetes: {}, manifests: a}\n".into(),
            "1:9: source: found a mapping, with both kubernetes and manifests; allowed: either kubernetes: {} or manifests: FOLDER",
        ),
        (
            "source: {kubernetes: yes}\n".into(),
            "1:22: source.kubernetes: found yes; allowed: a mapping with the keys kubeconfig, context, server",
        ),
        (
            "source: {kubernetes: {server: 'http://10.0.0.1:8080'}}\n".into(),
            "1:31: source.kubernetes.server: found the text \"http://10.0.0.1:8080\"; allowed: https://HOST:PORT, or http:// for an address of this node's loopback",
        ),
        (
            "source: {kubernetes: {server: []}}\n".into(),
            "1:31: source.kubernetes.server: found an empty list; allowed: a URL, or a list of URLs, such as [https://10.0.0.1:6443, https://10.0.0.2:6443]",
        ),
        (
            "source: {kubernetes: {server: ['https://a', 'https://a/']}}\n".into(),
            "1:45: source.kubernetes.server[1]: found the text \"https://a/\", for the second time; allowed: each server once",
        ),
        (
            "source: {kubernetes: {server: 'https://me:secret@a'}}\n".into(),
            "1:31: source.kubernetes.server: found a URL with a user in it; allowed: https://HOST:PORT",
        ),
        (
            "source: {kubernetes: {context: ''}}\n".into(),
            "1:32: source.kubernetes.context: found the text \"\"; allowed: the name of a context of the kubeconfig",
        ),
        ("source: {}\n".into(), "1:9: source: found a mapping; allowed: either kubernetes: {} or manifests: FOLDER"),
        (
            "source: {manifests: [a]}\n".into(),
            "1:21: source.manifests: found a list; allowed: a folder of Service, EndpointSlice, Node and ServiceCIDR YAML",
        ),
        (
            "source: {manifests: ''}\n".into(),
            "1:21: source.manifests: found the text \"\"; allowed: a folder of Service, EndpointSlice, Node and ServiceCIDR YAML",
        ),
    ]);
}

#[test]
fn of_the_node() {
    const NAME: &str = "the name of this node's Node object (lower-case letters, digits, '-' and '.')";
    const ADDRESS: &str = "an IP address of this node that others can reach";
    for (text, found) in
        [("Node_1", "Node_1"), ("''", "the text \"\""), ("a..b", "a..b"), ("-a", "-a"), ("{}", "a mapping")]
    {
        assert_refused(&[(format!("{SOURCE}node: {text}\n"), &format!("2:7: node: found {found}; allowed: {NAME}"))]);
    }
    for (text, found) in [
        ("10.0.1.256", "10.0.1.256"),
        ("10.0.1.0/24", "10.0.1.0/24"),
        ("127.0.0.1", "127.0.0.1, a loopback address"),
        ("0.0.0.0", "0.0.0.0, which means no address"),
        ("224.0.0.5", "224.0.0.5, a multicast address"),
        ("255.255.255.255", "255.255.255.255, the broadcast address"),
        ("169.254.1.1", "169.254.1.1, a link-local address"),
        ("fe80::1", "fe80::1, a link-local address"),
        ("'::ffff:10.0.1.2'", "the text \"::ffff:10.0.1.2\", an IPv4 address in IPv6 clothes"),
    ] {
        let message = format!("2:11: nodeIPs[0]: found {found}; allowed: {ADDRESS}");
        assert_refused(&[(format!("{SOURCE}nodeIPs: [{text}]\n"), &message)]);
    }
    after_source([
        (
            "nodeIPs: [fd01::]",
            "2:11: nodeIPs[0]: found a mapping; allowed: an IP address of this node that others can reach, in quotes if it ends with a colon",
        ),
        (
            "nodeIPs: []",
            "2:10: nodeIPs: found an empty list; allowed: a list of this node's addresses; without the key, the Node object says",
        ),
        (
            "nodeIPs: 10.0.1.2",
            "2:10: nodeIPs: found 10.0.1.2; allowed: a list of this node's addresses; without the key, the Node object says",
        ),
        (
            "nodeIPs: [10.0.1.2, 10.0.1.2]",
            "2:21: nodeIPs[1]: found 10.0.1.2, for the second time; allowed: each address once",
        ),
        (
            "runtimeDir: /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "2:13: runtimeDir: found /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; allowed: a folder for sockets and state, with a path of at most 80 bytes",
        ),
    ]);
}

#[test]
fn of_the_rest() {
    const SCHEDULER: &str = "the name of a scheduler, such as rr, wrr, lc, wlc, sh or mh (at most 15 of a-z, 0-9, _)";
    for name in ["abcdefghijklmnop", "RR", "none", "r/r"] {
        let message = format!("2:24: dataplane.scheduler: found {name}; allowed: {SCHEDULER}");
        assert_refused(&[(format!("{SOURCE}dataplane: {{scheduler: {name}}}\n"), &message)]);
    }
    after_source([
        ("dataplane: {snatRule: iptables}", "2:23: dataplane.snatRule: found iptables; allowed: nftables, ipvs-match"),
        (
            "dataplane: {connTabBits: 28}",
            "2:26: dataplane.connTabBits: found 28; allowed: a number of bits from 8 to 27",
        ),
        ("shutdown: stop", "2:11: shutdown: found stop; allowed: withdraw, keep, drain"),
        ("withdrawDelay: 2", "2:16: withdrawDelay: found 2; allowed: a time such as 2s, from 0s to 10m"),
        ("withdrawDelay: -2s", "2:16: withdrawDelay: found -2s; allowed: a time such as 2s, from 0s to 10m"),
        ("withdrawDelay: 11m", "2:16: withdrawDelay: found 11m; allowed: a time such as 2s, from 0s to 10m"),
        ("lease: 5s", "2:8: lease: found 5s; allowed: a mapping with the keys ttl, static"),
        ("lease: {ttl: 0s}", "2:14: lease.ttl: found 0s; allowed: a time such as 5s, from 1s to 24h"),
        ("lease: {ttl: 25h}", "2:14: lease.ttl: found 25h; allowed: a time such as 5s, from 1s to 24h"),
        (
            "lease: {static: for ever}",
            "2:17: lease.static: found for ever; allowed: a time such as 1h, from 0s (never) to 8760h",
        ),
        ("resync: 500ms", "2:9: resync: found 500ms; allowed: a time such as 5m, from 1s to 24h"),
        ("resync: 5 parsecs", "2:9: resync: found 5 parsecs; allowed: a time such as 5m, from 1s to 24h"),
        ("resync: 5m ago", "2:9: resync: found 5m ago; allowed: a time such as 5m, from 1s to 24h"),
        (
            "admin: {listen: 127.0.0.1}",
            "2:17: admin.listen: found 127.0.0.1; allowed: ADDRESS:PORT, such as 127.0.0.1:9180 or [::1]:9180",
        ),
        (
            "admin: {metrics: localhost}",
            "2:18: admin.metrics: found localhost; allowed: none, a port such as 9181 (on all addresses), or ADDRESS:PORT",
        ),
        (
            "admin: {metrics: 9180}",
            "2:18: admin.metrics: found 9180, where admin.listen (127.0.0.1:9180) is already; allowed: a port other than 9180",
        ),
        (
            "admin: {listen: 127.0.0.1:0}",
            "2:17: admin.listen: found 127.0.0.1:0; allowed: ADDRESS:PORT, such as 127.0.0.1:9180 or [::1]:9180",
        ),
    ]);
}

#[test]
fn of_ranges() {
    after_source([
        (
            "ranges: {clusterIPs: []}",
            "2:22: ranges.clusterIPs: found an empty list; allowed: a list of ranges; without the key, the ServiceCIDR objects say",
        ),
        (
            "ranges: {clusterIPs: 10.96.0.0/16}",
            "2:22: ranges.clusterIPs: found 10.96.0.0/16; allowed: a list of ranges; without the key, the ServiceCIDR objects say",
        ),
        (
            "ranges: {clusterIPs: [10.96.0.0]}",
            "2:23: ranges.clusterIPs[0]: found 10.96.0.0; allowed: a prefix such as 10.96.0.0/16 or fd00:10:96::/112",
        ),
        (
            "ranges: {clusterIPs: [10.96.0.1/16]}",
            "2:23: ranges.clusterIPs[0]: found 10.96.0.1/16, which has bits set after its length; allowed: 10.96.0.0/16, if that is what is meant",
        ),
        (
            "ranges: {clusterIPs: [{announce: host}]}",
            "2:23: ranges.clusterIPs[0].prefix: missing; allowed: the range, such as 10.96.0.0/16",
        ),
        (
            "ranges: {clusterIPs: [{prefix: 10.96.0.1/16}]}",
            "2:32: ranges.clusterIPs[0].prefix: found 10.96.0.1/16, which has bits set after its length; allowed: 10.96.0.0/16, if that is what is meant",
        ),
        (
            "ranges: {clusterIPs: [{prefix: 10.96.0.0/16, announce: yes}]}",
            "2:56: ranges.clusterIPs[0].announce: found yes; allowed: aggregate, host, none",
        ),
        (
            "ranges: {clusterIPs: [{prefix: 10.96.0.0/16, communities: 65001:1}]}",
            "2:59: ranges.clusterIPs[0].communities: found 65001:1; allowed: a list of communities such as [65001:100]",
        ),
        (
            "ranges: {clusterIPs: [10.96.0.0/16, 10.96.0.0/16]}",
            "2:37: ranges.clusterIPs[1]: found 10.96.0.0/16, which shares addresses with ranges.clusterIPs[0], 10.96.0.0/16; allowed: ranges that are apart",
        ),
        (
            "ranges: {clusterIPs: [10.96.3.0/24, {prefix: 10.96.0.0/16}]}",
            "2:46: ranges.clusterIPs[1].prefix: found 10.96.0.0/16, which shares addresses with ranges.clusterIPs[0], 10.96.3.0/24; allowed: ranges that are apart",
        ),
        (
            "ranges: {clusterIPs: [0.0.0.0/0]}",
            "2:23: ranges.clusterIPs[0]: found 0.0.0.0/0, which shares addresses with 0.0.0.0/8 (this network); allowed: a range whose every address can be a VIP",
        ),
        (
            "ranges: {clusterIPs: ['fe80::/64']}",
            "2:23: ranges.clusterIPs[0]: found the text \"fe80::/64\", which shares addresses with fe80::/10 (link-local); allowed: a range whose every address can be a VIP",
        ),
        (
            "ranges: {clusterIPs: ['fd00::/0']}",
            "2:23: ranges.clusterIPs[0]: found the text \"fd00::/0\", which has bits set after its length; allowed: ::/0, if that is what is meant",
        ),
    ]);
}

#[test]
fn of_ranges_that_hold_what_is_in_use() {
    const ALLOWED: &str = "a range that nothing but VIPs comes from";
    for (rest, holds) in [
        ("nodeIPs: [192.0.2.1, 10.0.1.2]", "10.0.1.2, nodeIPs[1]"),
        ("bgp: {asn: 1, peers: [{address: 10.0.1.1, asn: 2}]}", "10.0.1.1, bgp.peers[0].address"),
        ("bgp: {asn: 1, routerID: 10.0.1.2, peers: [{address: 192.0.2.1, asn: 2}]}", "10.0.1.2, bgp.routerID"),
        (
            "bgp: {asn: 1, nextHop: {ipv4: 10.0.1.2}, peers: [{address: 192.0.2.1, asn: 2}]}",
            "10.0.1.2, bgp.nextHop.ipv4",
        ),
        (
            "bgp: {asn: 1, peers: [{address: 192.0.2.1, asn: 2, localAddress: 10.0.1.2}]}",
            "10.0.1.2, bgp.peers[0].localAddress",
        ),
    ] {
        let message = format!("2:23: ranges.clusterIPs[0]: found 10.0.0.0/16, which holds {holds}; allowed: {ALLOWED}");
        assert_refused(&[(format!("{SOURCE}ranges: {{clusterIPs: [10.0.0.0/16]}}\n{rest}\n"), &message)]);
    }
}

#[test]
fn of_ranges_that_nobody_would_install() {
    let file = |range: &str, bgp: &str| format!("{SOURCE}ranges: {{clusterIPs: ['{range}']}}\nbgp: {{{bgp}}}\n");
    const IPV6: &str = "2:23: ranges.clusterIPs[0]: found the text \"fd00:10:96::/112\", an IPv6 range that no router would install, since no peer has the family ipv6 and bgp.nextHop.ipv6 is self; allowed: a peer with an IPv6 address, an address in bgp.nextHop.ipv6, or announce: none for this range";
    assert_refused(&[
        (file("fd00:10:96::/112", BGP), IPV6),
        (file("fd00:10:96::/112", "asn: 1, gobgpd: {address: 'unix:/g'}"), IPV6),
        (
            file("10.96.0.0/16", "asn: 1, peers: [{address: 'fd01::1', asn: 2}]"),
            "2:23: ranges.clusterIPs[0]: found the text \"10.96.0.0/16\", an IPv4 range that no peer would hear of, since none has the family ipv4; allowed: a peer with an IPv4 address in bgp.peers or with families: [ipv4, ipv6], or announce: none for this range",
        ),
    ]);
}

#[test]
fn of_bgp() {
    in_bgp([
        ("peers: []", "2:6: bgp.asn: missing; allowed: this node's AS number"),
        ("asn: 0", "2:12: bgp.asn: found 0; allowed: an AS number from 1 to 4294967295"),
        ("asn: 4294967296", "2:12: bgp.asn: found 4294967296; allowed: an AS number from 1 to 4294967295"),
        ("asn: '65001'", "2:12: bgp.asn: found the text \"65001\"; allowed: an AS number from 1 to 4294967295"),
        ("asn: 1.10", "2:12: bgp.asn: found 1.10; allowed: an AS number from 1 to 4294967295"),
        (
            "asn: 23456",
            "2:12: bgp.asn: found 23456, which stands for 4-byte numbers (RFC 6793); allowed: an AS number of your own",
        ),
        ("asn: 65535", "2:12: bgp.asn: found 65535, which is reserved (RFC 7300); allowed: an AS number of your own"),
        ("asn: 1", "2:6: bgp.peers: missing; allowed: a list of peers, each a mapping with at least address and asn"),
        (
            "asn: 1, peers: []",
            "2:22: bgp.peers: found an empty list; allowed: a list of peers, each a mapping with at least address and asn",
        ),
        (
            "asn: 1, peers: [10.0.1.1]",
            "2:23: bgp.peers[0]: found 10.0.1.1; allowed: a mapping with the keys address, interface, asn, localASN, port, localAddress, families, nextHop, holdTime, keepalive, connectRetry, passwordSecret, multihop, ttlSecurity, bfd, passwordFile, passwordEnv, nodeSelector, communities, largeCommunities, med, localPref, prepend",
        ),
        (
            "asn: 1, routerID: 0.0.0.0",
            "2:25: bgp.routerID: found 0.0.0.0; allowed: an IPv4 address other than 0.0.0.0, unique among the speakers of its AS",
        ),
        (
            "asn: 1, routerID: fd01::2",
            "2:25: bgp.routerID: found fd01::2; allowed: an IPv4 address other than 0.0.0.0, unique among the speakers of its AS",
        ),
        (
            "asn: 1, peers: [{address: 10.0.1.1, asn: 2}], listenPort: 0",
            "2:65: bgp.listenPort: found 0; allowed: none, or a port from 1 to 65535",
        ),
        (
            "asn: 1, peers: [{address: 10.0.1.1, asn: 2}], listenPort: 65536",
            "2:65: bgp.listenPort: found 65536; allowed: none, or a port from 1 to 65535",
        ),
        (
            "asn: 1, gobgpd: {}",
            "2:23: bgp.gobgpd: found a mapping; allowed: either spawn: PATH or address: unix:PATH or http://HOST:PORT",
        ),
        (
            "asn: 1, gobgpd: {spawn: a, address: 'unix:/a'}",
            "2:23: bgp.gobgpd: found a mapping, with both spawn and address; allowed: either spawn: PATH or address: unix:PATH or http://HOST:PORT",
        ),
        (
            "asn: 1, gobgpd: {address: 'unix:api.sock'}",
            "2:33: bgp.gobgpd.address: found the text \"unix:api.sock\"; allowed: unix:PATH with an absolute path, or http://HOST:PORT",
        ),
        (
            "asn: 1, gobgpd: {address: 'https://gobgpd:50051'}",
            "2:33: bgp.gobgpd.address: found the text \"https://gobgpd:50051\"; allowed: unix:PATH with an absolute path, or http://HOST:PORT",
        ),
        (
            "asn: 1, gobgpd: {address: 'http://gobgpd'}",
            "2:33: bgp.gobgpd.address: found the text \"http://gobgpd\"; allowed: unix:PATH with an absolute path, or http://HOST:PORT",
        ),
        (
            "asn: 1, nextHop: {ipv4: fd01::2}",
            "2:31: bgp.nextHop.ipv4: found fd01::2; allowed: self, or an IPv4 address that the peers can reach",
        ),
        (
            "asn: 1, nextHop: {ipv6: 10.0.1.2}",
            "2:31: bgp.nextHop.ipv6: found 10.0.1.2; allowed: self, or an IPv6 address that the peers can reach",
        ),
        (
            "asn: 1, nextHop: {ipv4: 127.0.0.1}",
            "2:31: bgp.nextHop.ipv4: found 127.0.0.1, a loopback address; allowed: self, or an IPv4 address that the peers can reach",
        ),
        (
            "asn: 1, peers: [{address: 10.0.1.1, asn: 2}], communities: [65536:1]",
            "2:67: bgp.communities[0]: found 65536:1; allowed: a community such as 65001:100 (two numbers up to 65535) or no-export",
        ),
        (
            "asn: 1, peers: [{address: 10.0.1.1, asn: 2}], communities: [1:1, 1:1]",
            "2:72: bgp.communities[1]: found 1:1, for the second time; allowed: each community once",
        ),
        (
            "asn: 1, peers: [{address: 10.0.1.1, asn: 2}, {address: 10.0.1.1, asn: 3}]",
            "2:52: bgp.peers[1]: has the address 10.0.1.1 of bgp.peers[0]; allowed: one peer per address, or each with a nodeSelector of its own",
        ),
    ]);
    after_source([(
        "nodeIPs: ['fd01::2']\nbgp: {asn: 1, peers: [{address: 'fd01::1', asn: 2}]}",
        "3:6: bgp.routerID: missing; allowed: an IPv4 address, which nodeIPs has none of",
    )]);
}

#[test]
fn of_peers() {
    in_bgp([
        (
            "asn: 1, peers: [{asn: 2}]",
            "2:23: bgp.peers[0].address: missing; allowed: the peer's IP address, or interface in its place",
        ),
        ("asn: 1, peers: [{address: 10.0.1.1}]", "2:23: bgp.peers[0].asn: missing; allowed: the peer's AS number"),
        (
            "asn: 1, peers: [{address: tor1, asn: 2}]",
            "2:33: bgp.peers[0].address: found tor1; allowed: the peer's IP address",
        ),
        (
            "asn: 1, peers: [{address: 10.0.1.1, asn: 1, multihop: 2}]",
            "2:61: bgp.peers[0].multihop: found 2, while the peer is in the same AS; allowed: multihop only for peers of another AS",
        ),
    ]);
    in_peer([
        ("port: 0", "2:65: bgp.peers[0].port: found 0; allowed: a port from 1 to 65535"),
        (
            "localAddress: fd01::2",
            "2:73: bgp.peers[0].localAddress: found fd01::2; allowed: an IPv4 address of this node, as the peer has one",
        ),
        ("holdTime: 2s", "2:69: bgp.peers[0].holdTime: found 2s; allowed: whole seconds from 3s to 65535s"),
        ("holdTime: 0s", "2:69: bgp.peers[0].holdTime: found 0s; allowed: whole seconds from 3s to 65535s"),
        ("holdTime: 9500ms", "2:69: bgp.peers[0].holdTime: found 9500ms; allowed: whole seconds from 3s to 65535s"),
        ("holdTime: 9", "2:69: bgp.peers[0].holdTime: found 9; allowed: whole seconds from 3s to 65535s"),
        (
            "keepalive: 9s",
            "2:70: bgp.peers[0].keepalive: found 9s; allowed: whole seconds from 1s to 3s, a third of holdTime (9s)",
        ),
        (
            "holdTime: 30s, keepalive: 500ms",
            "2:85: bgp.peers[0].keepalive: found 500ms; allowed: whole seconds from 1s to 10s, a third of holdTime (30s)",
        ),
        ("multihop: 1", "2:69: bgp.peers[0].multihop: found 1; allowed: a TTL from 2 to 255"),
        (
            "password: hunter2",
            "2:59: bgp.peers[0].password: unknown key (did you mean passwordEnv?); allowed: address, interface, asn, localASN, port, localAddress, families, nextHop, holdTime, keepalive, connectRetry, passwordSecret, multihop, ttlSecurity, bfd, passwordFile, passwordEnv, nodeSelector, communities, largeCommunities, med, localPref, prepend",
        ),
        (
            "passwordFile: missing",
            "2:73: bgp.peers[0].passwordFile: found missing, which cannot be read: No such file or directory (os error 2); allowed: a file that holds the password in one line",
        ),
        (
            "passwordFile: empty",
            "2:73: bgp.peers[0].passwordFile: found empty, which is empty; allowed: a file that holds the password in one line",
        ),
        (
            "passwordFile: lines",
            "2:73: bgp.peers[0].passwordFile: found lines, which holds more than one line; allowed: a file that holds the password in one line",
        ),
        (
            "passwordFile: long",
            "2:73: bgp.peers[0].passwordFile: found long, which holds 81 bytes, where TCP MD5 takes 80 at most; allowed: a file that holds the password in one line",
        ),
        (
            "passwordEnv: UNSET",
            "2:72: bgp.peers[0].passwordEnv: found UNSET, which is not set; allowed: the name of an environment variable that holds the password",
        ),
        (
            "passwordEnv: EMPTY",
            "2:72: bgp.peers[0].passwordEnv: found EMPTY, which is empty; allowed: the name of an environment variable that holds the password",
        ),
        (
            "passwordEnv: PASSWORD, passwordFile: good",
            "2:27: bgp.peers[0]: has both passwordFile and passwordEnv; allowed: one of them",
        ),
    ]);
}

#[test]
fn of_families_and_next_hops() {
    const NEEDS: &str = "with ipv6 over an IPv4 session and without an IPv6 next hop, which no router would install; allowed: ipv6 with an address in bgp.nextHop.ipv6 or in nextHop.ipv6 of this peer";
    in_peer([
        ("families: ipv4", "2:69: bgp.peers[0].families: found ipv4; allowed: a list of ipv4, ipv6 or both"),
        ("families: []", "2:69: bgp.peers[0].families: found an empty list; allowed: a list of ipv4, ipv6 or both"),
        ("families: [vpn]", "2:70: bgp.peers[0].families[0]: found vpn; allowed: ipv4, ipv6"),
        (
            "families: [ipv4, ipv4]",
            "2:76: bgp.peers[0].families[1]: found ipv4, for the second time; allowed: each family once",
        ),
        ("families: [ipv4, ipv6]", &format!("2:69: bgp.peers[0].families: found a list, {NEEDS}")),
        ("nextHop: self", "2:68: bgp.peers[0].nextHop: found self; allowed: a mapping with the keys ipv4, ipv6"),
        (
            "nextHop: {ipv4: self}",
            "2:75: bgp.peers[0].nextHop.ipv4: found self; allowed: an IPv4 address that the peer can reach",
        ),
        (
            "nextHop: {ipv6: 10.0.0.1}",
            "2:75: bgp.peers[0].nextHop.ipv6: found 10.0.0.1; allowed: an IPv6 address that the peer can reach",
        ),
        (
            "families: [ipv4], nextHop: {ipv6: 'fd01::2'}",
            "2:86: bgp.peers[0].nextHop: found a mapping, for IPv6 routes, which this peer is not sent; allowed: next hops of the families of this peer",
        ),
    ]);
}

#[test]
fn of_attributes() {
    const LOOPS: &str = "while the peer 10.0.1.1 is in the same AS and would drop such routes as loops; allowed: prepend where all peers are in other ASes, or for single peers";
    in_bgp([
        (
            "asn: 1, med: -1, peers: [{address: 10.0.1.1, asn: 2}]",
            "2:20: bgp.med: found -1; allowed: a MED from 0 to 4294967295",
        ),
        (
            "asn: 1, localPref: high, peers: [{address: 10.0.1.1, asn: 2}]",
            "2:26: bgp.localPref: found high; allowed: a local preference from 0 to 4294967295",
        ),
        (
            "asn: 1, prepend: 17, peers: [{address: 10.0.1.1, asn: 2}]",
            "2:24: bgp.prepend: found 17; allowed: how often the AS number is repeated, from 0 to 16",
        ),
        (
            "asn: 1, largeCommunities: [1:2], peers: [{address: 10.0.1.1, asn: 2}]",
            "2:34: bgp.largeCommunities[0]: found 1:2; allowed: a large community such as 65001:1:100 (three numbers up to 4294967295)",
        ),
        (
            "asn: 1, gracefulRestart: 5s, peers: [{address: 10.0.1.1, asn: 2}]",
            "2:32: bgp.gracefulRestart: found 5s; allowed: off, or whole seconds such as 30s, from 10s to 4095s",
        ),
        (
            "asn: 1, maxSpecifics: many, peers: [{address: 10.0.1.1, asn: 2}]",
            "2:29: bgp.maxSpecifics: found many; allowed: a number of routes from 0 to 100000",
        ),
        ("asn: 1, prepend: 2, peers: [{address: 10.0.1.1, asn: 1}]", &format!("2:24: bgp.prepend: found 2, {LOOPS}")),
        (
            "asn: 1, peers: [{address: 10.0.1.1, asn: 1, prepend: 2}]",
            "2:60: bgp.peers[0].prepend: found 2, while the peer is in the same AS and would drop such routes as loops; allowed: prepend only for peers of another AS",
        ),
        (
            "asn: 1, peers: [{address: 10.0.1.1, asn: 2, localPref: 2}]",
            "2:62: bgp.peers[0].localPref: found 2, while the peer is in another AS and is never told one; allowed: localPref only for peers of the same AS",
        ),
    ]);
    after_source([
        (
            "bgp: {asn: 1, gobgpd: {address: 'unix:/g'}, peers: [{address: 10.0.1.1, asn: 2}, {interface: eth1, asn: 2}]}",
            "2:94: bgp.peers[1].interface: found eth1, while gobgpd is somebody else's (bgp.gobgpd.address) and would hand on the switch's routes; allowed: interface with bgp.gobgpd.spawn, or the peer's address",
        ),
        (
            "ranges: {clusterIPs: [{prefix: 10.96.0.0/16, prepend: 1}]}\nbgp: {asn: 1, peers: [{address: 10.0.1.1, asn: 1}]}",
            &format!("2:55: ranges.clusterIPs[0].prepend: found 1, {LOOPS}"),
        ),
    ]);
}

#[test]
fn of_how_peers_are_reached() {
    const LOCAL: &str = "an AS number that is neither the speaker's nor the peer's, towards a peer of another AS";
    let local = |place: &str, found: &str| format!("{place}: bgp.peers[0].localASN: found {found}; allowed: {LOCAL}");
    let interface = |place: &str, key: &str, found: &str| {
        format!(
            "{place}: bgp.peers[0].{key}: found {found}, for a peer that is known by its interface; allowed: this key only \
             for a peer with an address"
        )
    };
    let cases = [
        ("address: 10.0.1.1, asn: 2, localASN: 1", local("2:61", "1, which bgp.asn is already")),
        (
            "address: 10.0.1.1, asn: 2, localASN: 2",
            local("2:61", "2, which is the peer's, so that it would find itself in every path"),
        ),
        ("address: 10.0.1.1, asn: 1, localASN: 3", local("2:61", "3, while the peer is in the same AS")),
        (
            "address: 10.0.1.1, asn: 2, multihop: 2, ttlSecurity: 1",
            "2:23: bgp.peers[0]: has both multihop and ttlSecurity; allowed: one of them".to_owned(),
        ),
        (
            "address: 10.0.1.1, asn: 2, ttlSecurity: 255",
            "2:64: bgp.peers[0].ttlSecurity: found 255; allowed: a number of hops from 1 to 254".to_owned(),
        ),
        (
            "address: 10.0.1.1, asn: 2, connectRetry: 1s",
            "2:65: bgp.peers[0].connectRetry: found 1s; allowed: whole seconds from 5s to 3600s".to_owned(),
        ),
        (
            "address: 10.0.1.1, interface: eth1, asn: 2",
            "2:23: bgp.peers[0]: has both address and interface; allowed: one of them".to_owned(),
        ),
        (
            "interface: 10.0.1.1, asn: 2",
            "2:35: bgp.peers[0].interface: found 10.0.1.1; allowed: the name of the interface at whose other end the peer is"
                .to_owned(),
        ),
        (
            "interface: an-interface-too-long, asn: 2",
            "2:35: bgp.peers[0].interface: found an-interface-too-long; allowed: the name of the interface at whose other \
             end the peer is"
                .to_owned(),
        ),
        ("interface: eth1, asn: 2, med: 5", interface("2:54", "med", "5")),
        ("interface: eth1, asn: 2, multihop: 5", interface("2:59", "multihop", "5")),
        ("interface: eth1, asn: 2, nextHop: {}", interface("2:58", "nextHop", "a mapping")),
        ("interface: eth1, asn: 2, localAddress: 10.0.1.2", interface("2:63", "localAddress", "10.0.1.2")),
        (
            "interface: eth1, asn: 2}, {interface: eth1, asn: 3",
            "2:50: bgp.peers[1]: has the interface eth1 of bgp.peers[0]; allowed: one peer per interface, or each with a \
             nodeSelector of its own"
                .to_owned(),
        ),
    ];
    let cases: Vec<_> = cases
        .iter()
        .map(|(peer, message)| (format!("{SOURCE}bgp: {{asn: 1, peers: [{{{peer}}}]}}\n"), message.as_str()))
        .collect();
    assert_refused(&cases);
}

#[test]
fn of_secrets() {
    let file = |source: &str, secret: &str| {
        format!("source: {source}\nbgp: {{asn: 1, peers: [{{address: 10.0.1.1, asn: 2, passwordSecret: {secret}}}]}}\n")
    };
    let kubernetes = |secret: &str| file("{kubernetes: {}}", secret);
    assert_refused(&[
        (
            kubernetes("tor"),
            "2:67: bgp.peers[0].passwordSecret: found tor; allowed: a mapping with the keys name, key, namespace",
        ),
        (
            kubernetes("{}"),
            "2:67: bgp.peers[0].passwordSecret.name: missing; allowed: the name of a Secret (lower-case letters, digits, '-' and '.')",
        ),
        (
            kubernetes("{name: Tor}"),
            "2:74: bgp.peers[0].passwordSecret.name: found Tor; allowed: the name of a Secret (lower-case letters, digits, '-' and '.')",
        ),
        (
            kubernetes("{name: tor, key: a/b}"),
            "2:84: bgp.peers[0].passwordSecret.key: found a/b; allowed: a key of the Secret (letters, digits, '-', '_' and '.')",
        ),
        (
            kubernetes("{name: tor, namespace: a.b}"),
            "2:90: bgp.peers[0].passwordSecret.namespace: found a.b; allowed: the Secret's namespace",
        ),
        (
            kubernetes("{name: tor}, passwordEnv: PASSWORD"),
            "2:23: bgp.peers[0]: has both passwordEnv and passwordSecret; allowed: one of them",
        ),
        (
            file("{manifests: cluster}", "{name: tor}"),
            "2:67: bgp.peers[0].passwordSecret: found a mapping, while the source is manifests, which holds no Secrets; allowed: passwordFile or passwordEnv where the source is manifests",
        ),
    ]);
    // Outside a pod nothing says which namespace is meant.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vipcast.yaml");
    std::fs::write(&path, format!("node: a\n{}", kubernetes("{name: tor}"))).unwrap();
    let error = super::load(&path, &|_| None).unwrap_err().to_string();
    let expected = "bgp.peers[0].passwordSecret.namespace: missing; allowed: the Secret's namespace, as neither \
                    POD_NAMESPACE nor a service account tells this process's own";
    assert!(error.ends_with(expected), "{error}");
}

#[test]
fn of_node_selectors() {
    const VALUE: &str = "a label's value: up to 63 letters, digits, '-', '_' or '.'";
    let key = |place: &str, key: &str| {
        format!(
            "{place}: nodeSelector.{key}: no name of a label; allowed: NAME or PREFIX/NAME, where NAME has up to 63 \
             letters, digits, '-', '_' or '.'"
        )
    };
    let long = "x".repeat(64);
    let cases = [
        (
            "role=lb".to_owned(),
            "2:15: nodeSelector: found role=lb; allowed: labels that the Node has to have, such as {role: lb}; {} for \
             every node"
                .to_owned(),
        ),
        ("{-a: lb}".to_owned(), key("2:20", "-a")),
        ("{a b: lb}".to_owned(), key("2:21", "a b")),
        ("{A/b: lb}".to_owned(), key("2:21", "A/b")),
        ("{a/: lb}".to_owned(), key("2:20", "a/")),
        (format!("{{{long}: lb}}"), key("2:82", &long)),
        ("{role: }".to_owned(), format!("2:16: nodeSelector.role: found nothing; allowed: {VALUE}")),
        ("{role: [lb]}".to_owned(), format!("2:22: nodeSelector.role: found a list; allowed: {VALUE}")),
        ("{role: l b}".to_owned(), format!("2:22: nodeSelector.role: found l b; allowed: {VALUE}")),
        (format!("{{role: {long}}}"), format!("2:22: nodeSelector.role: found {long}; allowed: {VALUE}")),
        ("{a: b, a: c}".to_owned(), "2:25: nodeSelector.a: given twice; allowed: once".to_owned()),
    ];
    let cases: Vec<_> = cases.iter().map(|(text, m)| (format!("{SOURCE}nodeSelector: {text}\n"), m.as_str())).collect();
    assert_refused(&cases);
    in_peer([(
        "nodeSelector: x",
        "2:73: bgp.peers[0].nodeSelector: found x; allowed: labels that the Node has to have, such as {role: lb}; {} for every node",
    )]);
    after_source([(
        "ranges: {clusterIPs: [{prefix: 10.96.0.0/16, nodeSelector: []}]}",
        "2:60: ranges.clusterIPs[0].nodeSelector: found an empty list; allowed: labels that the Node has to have, such as {role: lb}; {} for every node",
    )]);
}

#[test]
fn proof_and_brake() {
    const CANARIES: &str = "on, off, or a list of ranges for internal use, such as [169.254.77.0/29]";
    const RANGE: &str = "a prefix of 8 addresses at least, such as 169.254.77.0/29 or fd76:6970:6361:7374::/125";
    after_source([
        ("proof: {canary: on}", "2:9: proof.canary: unknown key; allowed: canaries, interval, fail, pass"),
        ("proof: {canaries: yes}", &format!("2:19: proof.canaries: found yes; allowed: {CANARIES}")),
        (
            "proof: {canaries: [169.254.77.0/30]}",
            &format!(
                "2:20: proof.canaries[0]: found 169.254.77.0/30, which has less than 8 addresses; allowed: {RANGE}"
            ),
        ),
        (
            "proof: {canaries: [169.254.77.0/29, 169.254.78.0/29]}",
            "2:37: proof.canaries[1]: found 169.254.78.0/29, the second one of IPv4; allowed: one of each family",
        ),
        (
            "ranges: {clusterIPs: [10.96.0.0/16]}\nproof: {canaries: [10.96.7.0/29]}",
            "3:20: proof.canaries[0]: found 10.96.7.0/29, which shares addresses with the range 10.96.0.0/16; allowed: a \
             range that nothing else is in",
        ),
        ("proof: {interval: 10ms}", "2:19: proof.interval: found 10ms; allowed: a time such as 1s, from 100ms to 1m"),
        ("proof: {fail: 0}", "2:15: proof.fail: found 0; allowed: a number of probes from 1 to 100"),
        (
            "brake: {share: 101}",
            "2:16: brake.share: found 101; allowed: a share in percent, where 100 means never, from 0 to 100",
        ),
        ("brake: {window: 0s}", "2:17: brake.window: found 0s; allowed: a time such as 5s, from 1s to 1m"),
        ("brake: {hold: 2d}", "2:15: brake.hold: found 2d; allowed: a time such as 60s, from 1s to 24h"),
    ]);
}

#[test]
fn of_bfd() {
    const KEYS: &str = "address, interface, interval, multiplier, localAddress, multihop, nodeSelector";
    after_source([
        ("bfd: on", "2:6: bfd: found on; allowed: a mapping with the keys interval, multiplier, peers"),
        ("bfd: {interval: 5ms}", "2:17: bfd.interval: found 5ms; allowed: a time such as 300ms, from 10ms to 60s"),
        ("bfd: {interval: 300}", "2:17: bfd.interval: found 300; allowed: a time such as 300ms, from 10ms to 60s"),
        ("bfd: {multiplier: 1}", "2:19: bfd.multiplier: found 1; allowed: a number of intervals from 2 to 255"),
        (
            "bfd: {peers: 10.0.1.1}",
            "2:14: bfd.peers: found 10.0.1.1; allowed: a list of switches with static routes, each a mapping with at least address or interface",
        ),
        (
            "bfd: {peers: [{}]}",
            "2:15: bfd.peers[0].address: missing; allowed: the peer's IP address, or interface in its place",
        ),
        (
            "bfd: {peers: [{interface: eth1, multihop: 250}]}",
            "2:43: bfd.peers[0].multihop: found 250, for a peer that is known by its interface; allowed: this key only for a peer with an address",
        ),
        (
            "bfd: {peers: [{address: 10.0.1.1, localAddress: 'fd01::2'}]}",
            "2:49: bfd.peers[0].localAddress: found the text \"fd01::2\"; allowed: an IPv4 address of this node, as the peer has one",
        ),
        (
            "bfd: {peers: [{address: 10.0.1.1, multihop: 0}]}",
            "2:45: bfd.peers[0].multihop: found 0; allowed: the least TTL that packets arrive with, from 1 to 255",
        ),
        (
            "bfd: {peers: [{address: 10.0.1.1}, {address: 10.0.1.1}]}",
            "2:36: bfd.peers[1]: is for 10.0.1.1, as bfd.peers[0] is; allowed: one entry per peer, or each with a nodeSelector of its own",
        ),
    ]);
    assert_refused(&[(
        format!("{SOURCE}bfd: {{peers: [{{address: 10.0.1.1, asn: 65000}}]}}\n"),
        &format!("2:35: bfd.peers[0].asn: unknown key; allowed: {KEYS}"),
    )]);
    after_source([(
        "ranges: {clusterIPs: [10.0.0.0/16]}\nbfd: {peers: [{address: 10.0.1.1}]}",
        "2:23: ranges.clusterIPs[0]: found 10.0.0.0/16, which holds 10.0.1.1, bfd.peers[0].address; allowed: a range that nothing but VIPs comes from",
    )]);
    in_peer([
        (
            "bfd: yes",
            "2:64: bgp.peers[0].bfd: found yes; allowed: off, on, or a mapping with the keys interval, multiplier, multihop",
        ),
        (
            "bfd: {multiplier: 256}",
            "2:77: bgp.peers[0].bfd.multiplier: found 256; allowed: a number of intervals from 2 to 255",
        ),
    ]);
    in_bgp([(
        "asn: 65001, peers: [{interface: eth1, asn: 65000, bfd: {multihop: 250}}]",
        "2:62: bgp.peers[0].bfd: found a mapping, with multihop for a peer at the other end of a link; allowed: bfd without multihop",
    )]);
}
