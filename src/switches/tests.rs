//! What each vendor's text has to hold, and what is refused. The whole texts are held by `tests/pure/switches.rs`.

use std::path::Path;

use super::*;
use crate::config;

const CONFIG: &str = "
node: lb1
nodeIPs: [10.0.1.2, 'fd00:1::2']
source: {manifests: cluster/}
ranges:
  clusterIPs:
    - 10.96.0.0/16
    - {prefix: 10.97.0.0/24, announce: host}
    - {prefix: 10.98.0.0/24, announce: none}
    - 'fd00:10:96::/112'
bgp:
  asn: 65001
  peers:
    - {address: 10.0.1.1, asn: 65000, holdTime: 12s, keepalive: 4s, passwordEnv: PASSWORD, multihop: 3}
    - {address: 'fd00:1::1', asn: 65000, port: 1790}
";

const SECRET: &str = "tell-nobody";

fn described(text: &str, request: &Request) -> Result<Switch, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lb1.yaml");
    std::fs::write(&file, text).unwrap();
    let config = config::load(&file, &|name| (name == "PASSWORD").then(|| SECRET.to_owned())).unwrap();
    assert_eq!(config.file.file_name(), Path::new("lb1.yaml").file_name());
    describe(&config, request).map_err(|error| error.to_string())
}

fn addresses(list: &[&str]) -> Vec<IpAddr> {
    list.iter().map(|text| text.parse().unwrap()).collect()
}

fn request(neighbors: &[&str]) -> Request {
    Request { neighbors: addresses(neighbors), ..Request::default() }
}

/// Both nodes of a rack.
fn both() -> Request {
    request(&["10.0.1.2", "10.0.2.2", "fd00:1::2", "fd00:2::2"])
}

/// A text without its comments.
fn statements(vendor: Vendor, switch: &Switch) -> String {
    let text = print(vendor, switch);
    let mut inside = false;
    let is_code = |line: &&str| {
        let line = line.trim_start();
        let (opens, closes) = (line.starts_with("/*"), line.ends_with("*/"));
        let comment = inside || opens || line.starts_with(['!', '#']);
        inside = (inside || opens) && !closes;
        !comment && !line.is_empty()
    };
    text.lines().filter(is_code).map(|line| format!("{}\n", line.trim())).collect()
}

#[test]
fn a_switch_helps_with_the_graceful_restart_that_lb_nodes_ask_for_and_with_none_else() {
    let asking = CONFIG.replace("bgp:\n", "bgp:\n  gracefulRestart: 30s\n");
    for (vendor, off, on) in [
        (Vendor::Frr, "graceful-restart-disable", "neighbor fd00:2::2 graceful-restart-helper\n"),
        (Vendor::Sonic, "graceful-restart-disable", "neighbor fd00:2::2 graceful-restart-helper\n"),
        (Vendor::Bird, "graceful restart off;", "graceful restart aware;\n"),
        (Vendor::JuniperJunos, "graceful-restart {\ndisable;\n}", ""),
        (Vendor::NokiaSrlinux, "graceful-restart admin-state disable", "graceful-restart admin-state enable\n"),
    ] {
        let without = statements(vendor, &described(CONFIG, &both()).unwrap());
        let with = statements(vendor, &described(&asking, &both()).unwrap());
        assert!(without.contains(off) && !with.contains(off) && with.contains(on), "{vendor:?}:\n{without}\n{with}");
    }
}

#[test]
fn every_vendor_has_every_part() {
    let switch = described(CONFIG, &both()).unwrap();
    for (vendor, parts) in [
        (
            Vendor::Frr,
            &[
                "ip prefix-list vipcast-ranges4 seq 10 permit 10.96.0.0/16\n",
                "ip prefix-list vipcast-ranges4 seq 20 permit 10.97.0.0/24 ge 32 le 32\n",
                "ipv6 prefix-list vipcast-ranges6 seq 10 permit fd00:10:96::/112\n",
                "bgp bestpath as-path multipath-relax\n",
                "neighbor vipcast4 remote-as 65001\n",
                "neighbor vipcast4 timers 4 12\n",
                "neighbor vipcast6 timers 3 9\n",
                "neighbor vipcast4 password REPLACE-ME\n",
                "neighbor vipcast4 ebgp-multihop 3\n",
                "neighbor 10.0.2.2 peer-group vipcast4\n",
                "neighbor fd00:2::2 peer-group vipcast6\n",
                "neighbor fd00:2::2 graceful-restart-disable\n",
                "maximum-paths 64\n",
                "neighbor vipcast4 maximum-prefix 514 restart 1\n",
                "neighbor vipcast6 maximum-prefix 10 restart 1\n",
                "no neighbor vipcast6 activate\n",
            ][..],
        ),
        (
            Vendor::AristaEos,
            &[
                "seq 20 permit 10.97.0.0/24 eq 32\n",
                "ipv6 hardware fib ecmp resilience fd00:10:96::/112 capacity 8 redundancy 8\n",
                "maximum-paths 64 ecmp 64\n",
                "neighbor vipcast4 password 0 REPLACE-ME\n",
                "neighbor vipcast4 maximum-routes 514\n",
                "neighbor vipcast6 route-map vipcast-nothing out\n",
            ],
        ),
        (
            Vendor::CiscoNxos,
            &[
                "ip load-sharing address source-destination port source-destination\n",
                "ip prefix-list vipcast-ranges4 seq 20 permit 10.97.0.0/24 eq 32\n",
                "timers 4 12\n",
                "password 0 REPLACE-ME\n",
                "ebgp-multihop 3\n",
                "maximum-prefix 514 restart 1\n",
                "neighbor fd00:2::2\ninherit peer vipcast6\n",
            ],
        ),
        (
            Vendor::JuniperJunos,
            &[
                "route-filter 10.97.0.0/24 prefix-length-range /32-/32;\n",
                "load-balance consistent-hash;\n",
                "hold-time 12;\n",
                "authentication-key \"REPLACE-ME\";\n",
                "multihop {\nttl 3;\n}\n",
                "import [ vipcast-ranges4 vipcast-nothing ];\n",
                "maximum 514;\n",
                "multipath multiple-as;\n",
                "neighbor fd00:2::2;\n",
            ],
        ),
        (
            Vendor::NokiaSrlinux,
            &[
                "prefix-set vipcast-ranges4 prefix 10.97.0.0/24 mask-length-range 32..32\n",
                "bgp router-id 10.0.1.1\n",
                "group vipcast4 timers keepalive-interval 4\n",
                "keychain vipcast4 key 1 algorithm md5 authentication-key REPLACE-ME\n",
                "group vipcast4 multihop maximum-hops 3\n",
                "afi-safi ipv4-unicast ipv4-unicast prefix-limit-received max-received-routes 514\n",
                "group vipcast6 afi-safi ipv4-unicast admin-state disable\n",
                "neighbor fd00:2::2 peer-group vipcast6\n",
            ],
        ),
        (
            Vendor::Bird,
            &[
                "if ! (net ~ [ 10.96.0.0/16, 10.97.0.0/24{32,32} ]) then reject;\n",
                "local as 65000;\n",
                "local port 1790 as 65000;\n",
                "hold time 12;\nkeepalive time 4;\n",
                "password \"REPLACE-ME\";\n",
                "multihop 3;\n",
                "direct;\n",
                "import limit 514 action restart;\n",
                "export none;\n",
                "merge paths on limit 64;\n",
            ],
        ),
    ] {
        let text = statements(vendor, &switch);
        for part in parts {
            assert!(text.contains(part), "{vendor:?} has no {part:?}:\n{text}");
        }
    }
    let (frr, sonic) = (statements(Vendor::Frr, &switch), statements(Vendor::Sonic, &switch));
    assert_eq!(
        frr.strip_prefix("no zebra nexthop kernel enable\n"),
        Some(sonic.as_str()),
        "FRR is told the same on SONiC"
    );
}

#[test]
fn no_text_shows_the_password_or_accepts_what_is_not_announced() {
    let switch = described(CONFIG, &both()).unwrap();
    let bare = described(&CONFIG.replace(", passwordEnv: PASSWORD", ""), &both()).unwrap();
    for vendor in Vendor::value_variants() {
        let text = print(*vendor, &switch);
        assert!(!text.contains(SECRET) && !text.contains("10.98.0.0"), "{vendor:?}:\n{text}");
        assert!(text.contains(PLACEHOLDER), "{vendor:?}");
        assert!(!print(*vendor, &bare).contains(PLACEHOLDER), "{vendor:?}: a password that nobody asked for");
    }
}

#[test]
fn static_routes_lead_to_every_node_and_name_what_is_missing() {
    let request = Request { static_routes: true, ..both() };
    // Neither peers nor passwords matter here.
    let without_bgp = CONFIG.split("bgp:").next().unwrap();
    let switch = described(without_bgp, &request).unwrap();
    for (vendor, parts) in [
        (Vendor::Frr, &["ip route 10.97.0.0/24 10.0.2.2\n", "ipv6 route fd00:10:96::/112 fd00:1::2\n"][..]),
        (Vendor::Sonic, &["ip route 10.96.0.0/16 10.0.1.2\n"]),
        (Vendor::AristaEos, &["ip route 10.97.0.0/24 10.0.2.2\n", "ipv6 route fd00:10:96::/112 fd00:1::2\n"]),
        (Vendor::CiscoNxos, &["ip route 10.97.0.0/24 10.0.2.2\n", "ipv6 route fd00:10:96::/112 fd00:1::2\n"]),
        (Vendor::JuniperJunos, &["route 10.97.0.0/24 next-hop [ 10.0.1.2 10.0.2.2 ];\n", "rib inet6.0 {\nstatic {\n"]),
        (
            Vendor::NokiaSrlinux,
            &["group vipcast4 nexthop 2 ip-address 10.0.2.2\n", "route 10.97.0.0/24 next-hop-group vipcast4\n"],
        ),
        (Vendor::Bird, &["route 10.97.0.0/24 via 10.0.1.2 via 10.0.2.2;\n", "export where source = RTS_STATIC;\n"]),
    ] {
        let text = statements(vendor, &switch);
        for part in parts {
            assert!(text.contains(part), "{vendor:?} has no {part:?}:\n{text}");
        }
        assert!(!text.contains("bgp"), "{vendor:?}:\n{text}");
        let whole = print(vendor, &switch).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(whole.contains("give LB nodes bfd.peers"), "{vendor:?} hides that nothing watches the routes");
    }
}

#[test]
fn static_routes_are_watched_where_lb_nodes_do() {
    let request = Request { static_routes: true, ..both() };
    let config = CONFIG.split("bgp:").next().unwrap();
    let config =
        format!("{config}\nbfd: {{interval: 50ms, peers: [{{address: 10.0.1.1}}, {{address: 'fd00:1::1'}}]}}\n");
    let switch = described(&config, &request).unwrap();
    for (vendor, parts) in [
        (
            Vendor::Frr,
            &[
                "bfd\nprofile vipcast\ndetect-multiplier 3\nreceive-interval 50\ntransmit-interval 50\nexit\nexit\n",
                "ip route 10.97.0.0/24 10.0.2.2 bfd profile vipcast\n",
            ][..],
        ),
        (Vendor::Sonic, &["ip route 10.96.0.0/16 10.0.1.2 bfd profile vipcast\n"]),
        (
            Vendor::AristaEos,
            &["router bfd\ninterval 50 min-rx 50 multiplier 3\n", "ipv6 route fd00:10:96::/112 fd00:1::2 track bfd\n"],
        ),
        (
            Vendor::CiscoNxos,
            &["feature bfd\nbfd interval 50 min_rx 50 multiplier 3\n", "ipv6 route static bfd INTERFACE fd00:1::2\n"],
        ),
        (
            Vendor::JuniperJunos,
            &["qualified-next-hop 10.0.2.2 {\nbfd-liveness-detection {\nminimum-interval 50;\nmultiplier 3;\n}\n}\n"],
        ),
        (
            Vendor::NokiaSrlinux,
            &[
                "required-minimum-receive 50000\n",
                "group vipcast4 nexthop 2 failure-detection enable-bfd local-address LOCAL-ADDRESS\n",
            ],
        ),
        (
            Vendor::Bird,
            &[
                "interface \"*\" { interval 50 ms; multiplier 3; };\n",
                "route 10.97.0.0/24 via 10.0.1.2 bfd via 10.0.2.2 bfd;\n",
            ],
        ),
    ] {
        let text = statements(vendor, &switch);
        for part in parts {
            assert!(text.contains(part), "{vendor:?} has no {part:?}:\n{text}");
        }
    }
    let differing = config.replace("{address: 10.0.1.1}", "{address: 10.0.1.1, multiplier: 5}");
    assert!(described(&differing, &request).unwrap_err().contains("differ in their timers"));
    let unknown = Request { peers: addresses(&["10.0.9.1"]), ..request.clone() };
    assert_eq!(
        described(&config, &unknown).unwrap_err(),
        "--peer 10.0.9.1: not in bfd.peers; allowed with --static: 10.0.1.1, fd00:1::1"
    );
    let named = Request { peers: addresses(&["10.0.1.1"]), ..request };
    assert_eq!(described(&differing, &named).unwrap().watched.map(|timers| timers.multiplier), Some(5));
}

#[test]
fn sessions_are_watched_where_lb_nodes_do() {
    let config = CONFIG.replace("multihop: 3", "bfd: {interval: 50ms, multiplier: 5}");
    let switch = described(&config, &both()).unwrap();
    for (vendor, parts) in [
        (
            Vendor::Frr,
            &[
                "bfd\nprofile vipcast4\ndetect-multiplier 5\nreceive-interval 50\ntransmit-interval 50\nexit\nexit\n",
                "neighbor vipcast4 bfd\nneighbor vipcast4 bfd profile vipcast4\n",
            ][..],
        ),
        (Vendor::Sonic, &["neighbor vipcast4 bfd profile vipcast4\n"]),
        (Vendor::AristaEos, &["interval 50 min-rx 50 multiplier 5\n", "neighbor vipcast4 bfd\n"]),
        (Vendor::CiscoNxos, &["feature bfd\nbfd interval 50 min_rx 50 multiplier 5\n", "\nbfd\n"]),
        (Vendor::JuniperJunos, &["bfd-liveness-detection {\nminimum-interval 50;\nmultiplier 5;\n}\n"]),
        (
            Vendor::NokiaSrlinux,
            &["desired-minimum-transmit-interval 50000\n", "group vipcast4 failure-detection enable-bfd true\n"],
        ),
        (
            Vendor::Bird,
            &["protocol bfd vipcast_bfd {\n", "bfd { interval 50 ms; multiplier 5; };\n", "error wait time 1, 5;\n"],
        ),
    ] {
        let text = statements(vendor, &switch);
        for part in parts {
            assert!(text.contains(part), "{vendor:?} has no {part:?}:\n{text}");
        }
        // The sessions over IPv6 are not asked for it.
        for absent in ["neighbor vipcast6 bfd", "profile vipcast6", "group vipcast6 failure-detection"] {
            assert!(!text.contains(absent), "{vendor:?} has {absent:?}:\n{text}");
        }
    }
}

#[test]
fn sonic_has_tables_that_parse() {
    let text = print(Vendor::Sonic, &described(CONFIG, &both()).unwrap());
    let json: String =
        text.lines().filter_map(|line| line.strip_prefix("! ")).skip_while(|line| *line != "{").collect();
    let tables: serde_json::Value = serde_json::Deserializer::from_str(&json).into_iter().next().unwrap().unwrap();
    assert_eq!(tables["FG_NHG_MEMBER"]["10.0.2.2"]["FG_NHG"], "vipcast4");
    assert_eq!(tables["FG_NHG_MEMBER"]["fd00:2::2"]["FG_NHG"], "vipcast6");
    assert_eq!(tables["DEVICE_METADATA"]["localhost"]["docker_routing_config_mode"], "split");
}

#[test]
fn internal_sessions_have_no_neighbouring_as() {
    let text = CONFIG.replace("asn: 65000", "asn: 65001").replace(", multihop: 3", "");
    let switch = described(&text, &both()).unwrap();
    assert!(statements(Vendor::Frr, &switch).contains("maximum-paths ibgp 64\n"));
    assert!(statements(Vendor::CiscoNxos, &switch).contains("maximum-paths ibgp 64\n"));
    assert!(statements(Vendor::JuniperJunos, &switch).contains("type internal;\n"));
    assert!(statements(Vendor::NokiaSrlinux, &switch).contains("multipath ibgp maximum-paths 64\n"));
    for vendor in Vendor::value_variants() {
        assert!(!statements(*vendor, &switch).contains("multipath-relax"), "{vendor:?}");
    }
}

#[test]
fn an_ipv4_session_carries_ipv6_where_the_next_hop_is_given() {
    let text = CONFIG
        .replace("  asn: 65001\n", "  asn: 65001\n  nextHop: {ipv6: 'fd00:1::2'}\n")
        .replace("    - {address: 'fd00:1::1', asn: 65000, port: 1790}\n", "");
    let switch = described(&text, &request(&["10.0.1.2", "10.0.2.2"])).unwrap();
    let frr = statements(Vendor::Frr, &switch);
    assert!(frr.contains("neighbor vipcast4 prefix-list vipcast-ranges6 in\n") && !frr.contains("vipcast6"), "{frr}");
    let junos = statements(Vendor::JuniperJunos, &switch);
    assert!(junos.contains("import [ vipcast-ranges4 vipcast-ranges6 vipcast-nothing ];\n"), "{junos}");
    let bird = statements(Vendor::Bird, &switch);
    assert!(bird.contains("import filter vipcast_ranges6;\n") && !bird.contains("template bgp vipcast6"), "{bird}");
}

/// GTSM and RFC 8950 where the words are known; elsewhere it is said that they are missing, as are peers by interface.
#[test]
fn what_is_needed_is_printed_or_said_to_be_missing() {
    let text = CONFIG
        .replace(", multihop: 3", ", ttlSecurity: 2")
        .replace("port: 1790}", "families: [ipv4, ipv6]}\n    - {interface: eth7, asn: 65000}");
    let switch = described(&text, &both()).unwrap();
    let parts: [(Vendor, &[&str]); 2] = [
        (Vendor::Frr, &["neighbor vipcast4 ttl-security hops 2\n", "neighbor vipcast6 capability extended-nexthop\n"]),
        (Vendor::Bird, &["multihop 2;\nttl security on;\n", "ipv4 {\nextended next hop on;\n"]),
    ];
    for (vendor, parts) in parts {
        let text = statements(vendor, &switch);
        for part in parts {
            assert_eq!(text.matches(part).count(), 1, "{vendor:?}: {part} in\n{text}");
        }
    }
    for vendor in Vendor::value_variants() {
        // A page breaks lines where it likes.
        let words = print(*vendor, &switch);
        let words: Vec<&str> = words.split_whitespace().filter(|word| !["!", "#", "*"].contains(word)).collect();
        let words = words.join(" ");
        assert!(words.contains("Left out: peers that LB nodes know by an interface (eth7)."), "{vendor:?}: {words}");
        let is_complete = matches!(vendor, Vendor::Frr | Vendor::Sonic | Vendor::Bird);
        for missing in [
            "TTL security (GTSM, RFC 5082) of 2 hops for the sessions over IPv4",
            "(RFC 8950) in the sessions over IPv6",
        ] {
            assert_eq!(words.contains(missing), !is_complete, "{vendor:?}: {missing} in {words}");
        }
    }
}

#[test]
fn this_node_stands_for_all_until_they_are_named() {
    let switch = described(CONFIG, &Request::default()).unwrap();
    assert_eq!(switch.nodes, BTreeSet::from_iter(addresses(&["10.0.1.2", "fd00:1::2"])));
    assert!(switch.one_node && print(Vendor::Frr, &switch).contains("--neighbor"));
    let text = CONFIG.replace("multihop: 3", "localAddress: 10.0.1.9");
    let switch = described(&text, &Request::default()).unwrap();
    assert_eq!(switch.nodes, BTreeSet::from_iter(addresses(&["10.0.1.9", "fd00:1::2"])), "as the peer says");
    assert!(!print(Vendor::Frr, &described(CONFIG, &both()).unwrap()).contains("--neighbor"));
}

#[test]
fn one_switch_of_several_is_named() {
    let two = format!("{CONFIG}    - {{address: 10.0.7.1, asn: 65000}}\n");
    let error = described(&two, &both()).unwrap_err();
    assert!(error.contains("10.0.7.1") && error.contains("--peer"), "{error}");
    let request = Request { peers: addresses(&["10.0.1.1", "fd00:1::1"]), ..both() };
    let switch = described(&two, &request).unwrap();
    assert_eq!(switch.peering.unwrap().sessions.len(), 2);
    let request =
        Request { peers: addresses(&["10.0.1.1"]), neighbors: addresses(&["10.0.1.2"]), ..Request::default() };
    assert_eq!(described(&two, &request).unwrap().peering.unwrap().sessions.len(), 1);
}

#[test]
fn what_cannot_be_printed_is_explained() {
    let no_ranges = CONFIG.replace("ranges:\n", "").replace("  clusterIPs:\n", "").replace("    - 10.96.0.0/16\n", "");
    let no_ranges: String = no_ranges
        .lines()
        .filter(|line| !line.contains("prefix:") && !line.contains("/112"))
        .map(|line| format!("{line}\n"))
        .collect();
    let two = format!("{CONFIG}    - {{address: 10.0.7.1, asn: 65000}}\n");
    let with = |change: fn(&mut Request)| {
        let mut request = both();
        change(&mut request);
        request
    };
    for (text, request, says) in [
        (no_ranges.as_str(), both(), "--range"),
        (CONFIG, with(|request| request.ranges.push("10.96.0.0/16".parse().unwrap())), "only for those of ServiceCIDR"),
        (CONFIG, with(|request| request.peers.push("10.0.5.1".parse().unwrap())), "10.0.5.1: not in bgp.peers"),
        (CONFIG, with(|request| request.neighbors.retain(IpAddr::is_ipv4)), "no IPv6 address of an LB node"),
        (
            CONFIG,
            with(|request| {
                request.peers.push("10.0.1.1".parse().unwrap());
            }),
            "--neighbor fd00:1::2",
        ),
        (
            two.as_str(),
            with(|request| request.peers = addresses(&["10.0.1.1", "10.0.7.1"])),
            "10.0.1.1 and 10.0.7.1 differ in holdTime",
        ),
        (
            CONFIG,
            with(|request| request.neighbors = (0..65).map(|n| IpAddr::from([10, 0, 3, n])).collect()),
            "65 LB nodes",
        ),
        (CONFIG.split("bgp:").next().unwrap(), both(), "bgp.peers has no peer"),
    ] {
        let error = described(text, &request).unwrap_err();
        assert!(error.contains(says), "{error} does not say {says}");
    }
    let request = Request { ranges: vec!["10.96.0.0/16".parse().unwrap()], ..request(&["10.0.1.2"]) };
    let switch = described(&no_ranges, &request).unwrap();
    assert_eq!(switch.ranges, [Announced { prefix: "10.96.0.0/16".parse().unwrap(), hosts: false }]);
    assert_eq!(switch.peering.unwrap().sessions.len(), 1, "no session for a family that is not announced");
}

/// Single VIPs of allowed ranges come as host routes, aggregates as themselves, the addresses of a SNAT pool one by one.
#[test]
fn allowed_ranges_are_let_in() {
    let text = CONFIG.replace(
        "bgp:\n",
        "  externalIPs: [192.0.2.0/24, {prefix: 198.51.100.0/24, announce: none}]\n  loadBalancerIPs: [192.0.2.0/24, \
         {prefix: 203.0.113.0/24, announce: aggregate}, '2001:db8::/64']\ndataplane: {snat: {pool: \
         [10.7.0.9-10.7.0.11]}}\nbgp:\n",
    );
    let switch = described(&text, &both()).unwrap();
    for (vendor, parts) in [
        (
            Vendor::Frr,
            &[
                "seq 30 permit 192.0.2.0/24 ge 32 le 32\n",
                "seq 40 permit 203.0.113.0/24\n",
                "seq 50 permit 10.7.0.9/32\nip prefix-list vipcast-ranges4 seq 60 permit 10.7.0.10/31 ge 32 le 32\n",
                "seq 20 permit 2001:db8::/64 ge 128 le 128\n",
            ][..],
        ),
        (Vendor::AristaEos, &["seq 30 permit 192.0.2.0/24 eq 32\n", "seq 20 permit 2001:db8::/64 eq 128\n"]),
        (Vendor::JuniperJunos, &["route-filter 2001:db8::/64 prefix-length-range /128-/128;\n"]),
        (Vendor::NokiaSrlinux, &["prefix 192.0.2.0/24 mask-length-range 32..32\n"]),
        (Vendor::Bird, &["192.0.2.0/24{32,32}, 203.0.113.0/24, 10.7.0.9/32, 10.7.0.10/31{32,32} ]"]),
    ] {
        let text = statements(vendor, &switch);
        for part in parts {
            assert!(text.contains(part), "{vendor:?} has no {part:?}:\n{text}");
        }
        assert!(!text.contains("198.51.100.0"), "{vendor:?} lets in what is not announced:\n{text}");
    }
    let request = Request { static_routes: true, ..both() };
    let error = described(&text, &request).unwrap_err();
    assert!(error.starts_with("range 192.0.2.0/24: its VIPs come and go one by one"), "{error}");
    let whole =
        text.replace("192.0.2.0/24", "{prefix: 192.0.2.0/24, announce: aggregate}").replace(", '2001:db8::/64'", "");
    let frr = statements(Vendor::Frr, &described(&whole, &request).unwrap());
    assert!(frr.contains("ip route 192.0.2.0/24 10.0.2.2\n") && !frr.contains("10.7.0."), "{frr}");
}
