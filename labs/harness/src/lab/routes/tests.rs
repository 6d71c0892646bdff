use serde_json::json;

use super::*;

fn words(texts: &[&str]) -> BTreeSet<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn both_routers_routes_read_alike() {
    // FRR 8.4, shortened.
    let said = json!({
        "prefix": "192.0.2.50/32",
        "paths": [
            {
                "aspath": {"string": "65001 65001", "segments": [{"type": "as-sequence", "list": [65001, 65001]}]},
                "metric": 20,
                "community": {"string": "65001:1 no-advertise", "list": ["65001:1", "noAdvertise"]},
                "largeCommunity": {"string": "65001:20:4 65001:500:1", "list": ["65001:20:4", "65001:500:1"]},
                "nexthops": [
                    {"ip": "fe80::b89f:bbff:fe4b:d855", "afi": "ipv6", "scope": "link-local"},
                    {"ip": "fd00:3::2", "afi": "ipv6", "scope": "global"},
                ],
                "peer": {"peerId": "fd00:3::2", "routerId": "10.0.1.2", "type": "external"},
            },
            {
                "aspath": {"string": "", "segments": []},
                "locPrf": 300,
                "nexthops": [{"ip": "fe80::1", "afi": "ipv6", "scope": "global"}],
                "peer": {"peerId": "fe80::1", "interface": "eth5", "type": "internal"},
            },
        ],
    });
    let frr = frr::heard(said).unwrap();
    let full = Heard {
        as_path: vec![65001, 65001],
        next_hop: "fd00:3::2".to_owned(),
        communities: words(&["65001:1", "no-advertise"]),
        large_communities: words(&["65001:20:4", "65001:500:1"]),
        med: Some(20),
        local_pref: None,
    };
    let bare = Heard { next_hop: "fe80::1".to_owned(), local_pref: Some(300), ..Heard::default() };
    assert_eq!(frr, BTreeMap::from([("fd00:3::2".to_owned(), full.clone()), ("eth5".to_owned(), bare.clone())]));
    assert!(frr::heard(json!({})).unwrap().is_empty());

    // BIRD 2.0.12.
    let said = "BIRD 2.0.12 ready.\nTable master4:\n\
        192.0.2.50/32        unicast [lb1_ipv6 21:27:13.455] * (100) [AS65001?]\n\
        \tvia fd00:3::2 on eth2\n\
        \tType: BGP univ\n\
        \tBGP.origin: Incomplete\n\
        \tBGP.as_path: 65001 65001\n\
        \tBGP.next_hop: fd00:3::2 fe80::b89f:bbff:fe4b:d855\n\
        \tBGP.med: 20\n\
        \tBGP.community: (65001,1) (65535,65282)\n\
        \tBGP.large_community: (65001, 20, 4) (65001, 500, 1)\n\
        \x20                    unicast [lb2_inside 21:27:44.497 from fe80::1] (100) [i]\n\
        \tvia fe80::1 on eth3\n\
        \tType: BGP univ\n\
        \tBGP.as_path: \n\
        \tBGP.next_hop: fe80::1\n\
        \tBGP.local_pref: 300\n";
    let bird = bird::heard(said).unwrap();
    assert_eq!(bird, BTreeMap::from([("lb1_ipv6".to_owned(), full), ("lb2_inside".to_owned(), bare)]));
    assert!(bird::heard("BIRD 2.0.12 ready.\nNetwork not found\n").unwrap().is_empty());
}

#[test]
fn a_session_goes_on_until_it_was_established_once_more() {
    let of_frr = |state: &str, count: u64| {
        let peers = json!({"eth3": {"state": state, "connectionsEstablished": count}});
        frr::sessions(json!({"ipv4Unicast": {"peers": peers}, "ipv6Unicast": {"peers": peers}})).unwrap()["eth3"]
            .clone()
    };
    let of_bird = |row: &str| {
        let said = "BIRD 2.0.12 ready.\nName       Proto      Table      State  Since         Info\n\
             vipcast_kernel4 Kernel     master4    up     21:26:25.050  \n";
        bird::sessions(&format!("{said}{row}\n")).unwrap()["lb1_ipv6"].clone()
    };
    let established = of_bird("lb1_ipv6   BGP        ---        up     21:26:46.849  Established   ");
    for (then, now, goes_on) in [
        (of_frr("Established", 1), of_frr("Established", 1), true),
        (of_frr("Established", 1), of_frr("Established", 2), false),
        (of_frr("Established", 1), of_frr("Active", 1), false),
        (of_frr("Active", 1), of_frr("Active", 1), false),
        (established.clone(), of_bird("lb1_ipv6 BGP --- up 21:26:46.847 Established"), true),
        (established.clone(), of_bird("lb1_ipv6 BGP --- up 21:26:52.001 Established"), false),
        (established.clone(), of_bird("lb1_ipv6   BGP        ---        start  21:26:46.849  Passive       "), false),
        (established, of_frr("Established", 1), false),
    ] {
        assert_eq!(then.went_on(&now), goes_on, "{then:?}, then {now:?}");
    }
    assert!(bird::sessions("lb1_ipv6 BGP --- up 2026-11-21 Established").is_err());
}

#[test]
fn forwarding_tables_are_read_with_next_hops_of_the_other_family() {
    let hop = |gateway: &str, interface: &str| Hop { gateway: gateway.to_owned(), interface: interface.to_owned() };
    for (said, expected) in [
        (" \n", vec![]),
        ("[]", vec![]),
        (
            r#"[{"dst":"10.96.0.0/16","gateway":"10.0.1.2","dev":"eth2","protocol":"bgp"}]"#,
            vec![hop("10.0.1.2", "eth2")],
        ),
        (
            r#"[{"dst":"192.0.2.50","via":{"family":"inet6","host":"fe80::1"},"dev":"eth3","protocol":"bgp"}]"#,
            vec![hop("fe80::1", "eth3")],
        ),
        (
            r#"[{"dst":"192.0.2.50","nexthops":[{"gateway":"10.0.1.2","dev":"eth2","weight":1},
                {"via":{"family":"inet6","host":"fd00:2::2"},"dev":"eth4","weight":1}]}]"#,
            vec![hop("10.0.1.2", "eth2"), hop("fd00:2::2", "eth4")],
        ),
        (r#"[{"dst":"192.0.2.50","dev":"eth2","scope":"link"}]"#, vec![]),
    ] {
        assert_eq!(hops(said).unwrap(), expected.into_iter().collect(), "{said}");
    }
    assert!(hops("Error").is_err());
}

#[test]
fn bird_tells_of_bfd() {
    let told = |since: &str, state: &str| {
        let answer = format!(
            "BIRD 2.0.12 ready.\nbfd1:\nIP address                Interface  State      Since         Interval  Timeout\n\
             10.1.1.2                  eth2       {state:<10} {since}    0.300    0.900\n"
        );
        bird::bfd_sessions(&answer).expect("sessions")
    };
    let (then, now) = (told("02:14:30.123", "Up"), told("02:14:30.124", "Up"));
    assert_eq!(then.len(), 1);
    assert!(then["10.1.1.2"].went_on(&now["10.1.1.2"]));
    assert!(!then["10.1.1.2"].went_on(&told("02:14:33.124", "Up")["10.1.1.2"]));
    assert!(!then["10.1.1.2"].went_on(&told("02:14:30.123", "Down")["10.1.1.2"]));
}
