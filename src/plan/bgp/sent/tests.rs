use std::net::IpAddr;

use super::*;
use crate::model::Family;
use crate::model::bgp::{Attributes, Community, LargeCommunity, SessionState};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// An established session in which both sides carry both families.
fn session(local: &str) -> Session {
    let established = Session::new(SessionState::Established);
    Session { local_address: Some(ip(local)), families: Family::ALL.into(), ..established }
}

fn plain() -> Path {
    Path::new(NextHop::Own)
}

fn sent(next_hop: &str, as_path: &[u32]) -> Path {
    Path { as_path: as_path.to_vec(), ..Path::new(NextHop::Address(ip(next_hop))) }
}

fn export(attributes: Attributes) -> Export {
    Export { attributes, ..Export::default() }
}

#[test]
fn what_a_peer_has_to_be_sent() {
    let outer = Peer::new(65000, Family::ALL);
    let inner = Peer::new(65001, Family::ALL);
    let renumbered = Peer { local_asn: Some(64999), ..outer.clone() };
    let joined = Peer { local_asn: Some(65000), ..outer.clone() };
    let ipv6_only = Peer::new(65000, [Family::Ipv6]);
    let full = Path {
        as_path: vec![65001, 65001],
        communities: [Community(1), Community(0xffff_ff01)].into(),
        large_communities: [LargeCommunity(1, 2, 3)].into(),
        med: Some(10),
        local_pref: Some(200),
        ..plain()
    };
    let fixed = Path::new(NextHop::Address(ip("192.0.2.1")));
    let marks = export(Attributes {
        communities: [Community(2)].into(),
        large_communities: [LargeCommunity(9, 9, 9)].into(),
        med: Some(77),
        local_pref: Some(50),
        prepend: Some(2),
    });
    let marked = |base: Path| Path {
        communities: [Community(1), Community(2), Community(0xffff_ff01)].into(),
        large_communities: [LargeCommunity(1, 2, 3), LargeCommunity(9, 9, 9)].into(),
        med: Some(77),
        ..base
    };
    let hop = Export { next_hops: [(Family::Ipv4, ip("10.9.9.9"))].into(), ..Export::default() };
    let (v4, v6) = ("10.96.0.0/16", "fd00:10:96::/112");
    let none = Export::default();
    /// What it shows; the prefix, its path, the peer and its export; this node's end of the session; and what is sent.
    type Case<'a> = (&'a str, &'a str, &'a Path, &'a Peer, &'a Export, &'a str, Option<Path>);

    let cases: [Case; 14] = [
        ("eBGP", v4, &plain(), &outer, &none, "10.0.1.2", Some(sent("10.0.1.2", &[65001]))),
        (
            "eBGP, all attributes",
            v4,
            &full,
            &outer,
            &none,
            "10.0.1.2",
            Some(Path { local_pref: None, ..with(&full, sent("10.0.1.2", &[65001, 65001, 65001])) }),
        ),
        (
            "iBGP",
            v4,
            &plain(),
            &inner,
            &none,
            "10.0.1.2",
            Some(Path { local_pref: Some(100), ..sent("10.0.1.2", &[]) }),
        ),
        (
            "iBGP, all attributes",
            v4,
            &full,
            &inner,
            &none,
            "10.0.1.2",
            Some(with(&full, sent("10.0.1.2", &[65001, 65001]))),
        ),
        ("local AS", v4, &plain(), &renumbered, &none, "10.0.1.2", Some(sent("10.0.1.2", &[64999]))),
        (
            "local AS and prepends",
            v4,
            &Path { as_path: vec![65001], ..plain() },
            &renumbered,
            &export(Attributes { prepend: Some(1), ..Attributes::default() }),
            "10.0.1.2",
            Some(sent("10.0.1.2", &[64999, 64999, 65001])),
        ),
        (
            "iBGP by local AS",
            v4,
            &plain(),
            &joined,
            &none,
            "10.0.1.2",
            Some(Path { local_pref: Some(100), ..sent("10.0.1.2", &[]) }),
        ),
        ("a next hop that was named", v4, &fixed, &outer, &none, "10.0.1.2", Some(sent("192.0.2.1", &[65001]))),
        (
            "export to eBGP",
            v4,
            &full,
            &outer,
            &marks,
            "10.0.1.2",
            Some(marked(sent("10.0.1.2", &[65001, 65001, 65001, 65001, 65001]))),
        ),
        (
            "export to iBGP",
            v4,
            &Path { as_path: vec![], ..full.clone() },
            &inner,
            &Export { attributes: Attributes { prepend: None, ..marks.attributes.clone() }, ..Export::default() },
            "10.0.1.2",
            Some(Path { local_pref: Some(50), ..marked(sent("10.0.1.2", &[])) }),
        ),
        ("the export's next hop", v4, &fixed, &outer, &hop, "10.0.1.2", Some(sent("10.9.9.9", &[65001]))),
        ("that of the other family", v6, &plain(), &outer, &hop, "fd01::2", Some(sent("fd01::2", &[65001]))),
        ("IPv4 over IPv6 (RFC 8950)", v4, &plain(), &outer, &none, "fe80::2", Some(sent("fe80::2", &[65001]))),
        ("a family that this side does not carry", v4, &plain(), &ipv6_only, &none, "fd01::2", None),
    ];
    for (what, prefix, path, peer, export, local, wanted) in cases {
        let found = expected(prefix.parse().unwrap(), path, 65001, peer, Some(export), &session(local));
        assert_eq!(found, wanted, "{what}");
    }
    let theirs = Session { families: [Family::Ipv6].into(), ..session("10.0.1.2") };
    let found = expected(v4.parse().unwrap(), &plain(), 65001, &outer, None, &theirs);
    assert_eq!(found, None, "a family that the other side does not carry");
}

/// `base` with the attributes of `path` beside its next hop and AS path.
fn with(path: &Path, base: Path) -> Path {
    Path { next_hop: base.next_hop, as_path: base.as_path, ..path.clone() }
}

#[test]
fn differences_in_words() {
    let path = sent("10.0.1.2", &[65001]);
    let other = Path { med: Some(5), communities: [Community(65001 << 16 | 7)].into(), ..sent("10.0.1.9", &[65001]) };
    let cases = [
        (None, None, "none"),
        (Some(path.clone()), Some(path.clone()), "none"),
        (Some(path.clone()), None, "not sent"),
        (None, Some(path.clone()), "sent, and should not be"),
        (
            Some(path.clone()),
            Some(other),
            "sent with next hop 10.0.1.9 instead of 10.0.1.2, communities 65001:7 instead of none, MED 5 instead of none",
        ),
        // This end's address is not known.
        (Some(Path { as_path: vec![65001], ..plain() }), Some(path), "none"),
    ];
    for (wanted, found, words) in cases {
        let told = difference(wanted, found.as_ref()).map_or("none".to_owned(), |difference| difference.to_string());
        assert_eq!(told, words);
    }
}
