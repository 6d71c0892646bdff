use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use super::*;
use crate::model::bfd::{Distance, Timers};
use crate::model::bgp::{Attributes, Community, Export, LargeCommunity, NextHop, Peer, PeerName, SecretKey, Ttl};
use crate::model::ipvs::Scheduler;
use crate::model::node::Overrides;
use crate::model::settings::{
    Announce, BfdEntry, BgpSettings, Brake, Dataplane, Drain, Lease, PeerBfd, PeerEntry, Range, Snat, Use,
};
use crate::model::{Family, Secret};

/// A valid beginning of a file that the cases go on from, in one line so that theirs begin with line 2.
const SOURCE: &str = "source: {manifests: cluster}\n";

/// A valid `bgp` section, in one line, up to its peers.
const BGP: &str = "asn: 65001, peers: [{address: 10.0.1.1, asn: 65000}]";

/// Loads `text` from a file in a folder that holds some password files.
fn load_text(text: &str) -> (PathBuf, Result<Config, ConfigError>) {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in [
        ("good", "hunter2\n"),
        ("dos", "hunter2\r\n"),
        ("empty", "\n"),
        ("lines", "hunter2\nhunter3\n"),
        ("long", &"x".repeat(81)),
    ] {
        fs::write(folder.path().join(name), content).unwrap();
    }
    let file = folder.path().join("vipcast.yaml");
    fs::write(&file, text).unwrap();
    let env = |name: &str| match name {
        "NODE_NAME" => Some("node-of-env".to_owned()),
        "PASSWORD" => Some("hunter2".to_owned()),
        "POD_NAMESPACE" => Some("vipcast".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    };
    (folder.path().to_owned(), load(&file, &env))
}

/// Asserts that each text is refused with exactly the message beside it, which follows the file's name and a colon.
fn assert_refused(cases: &[(String, &str)]) {
    let mut wrong = Vec::new();
    for (text, expected) in cases {
        let (folder, result) = load_text(text);
        let found = result.map(|config| format!("{config:?}")).unwrap_or_else(|error| error.to_string());
        let expected = format!("{}/vipcast.yaml:{expected}", folder.display());
        if found != expected {
            wrong.push(format!("{text}found    {found}\nexpected {expected}\n"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn good(text: &str) -> Config {
    let (_, result) = load_text(text);
    result.unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn bgp(text: &str) -> BgpSettings {
    good(&format!("{SOURCE}bgp: {{{text}}}")).settings.bgp.unwrap()
}

#[test]
fn little_is_enough() {
    let config = good(SOURCE);
    assert_eq!(config.settings.node, "node-of-env");
    assert_eq!(config.settings.cluster_ips, None);
    assert_eq!(config.settings.bgp, None);
    assert_eq!(config.settings.dataplane.snat, Snat::Nftables);
    assert_eq!(config.gobgpd, None);
    assert_eq!(config.runtime_dir, Path::new("/run/vipcast"));
    assert_eq!(config.shutdown, Leave::Withdraw);
    assert_eq!(config.admin.to_string(), "127.0.0.1:9180");
    assert!(config.file.is_absolute());
    assert_eq!(config.source, Source::Manifests(config.file.with_file_name("cluster")));
}

#[test]
fn the_api_server_is_reached_as_configured() {
    let source = |text: &str| match good(&format!("source: {{kubernetes: {text}}}\n")) {
        Config { source: Source::Kubernetes(kubernetes), file, .. } => (kubernetes, file),
        config => panic!("{:?}", config.source),
    };
    assert_eq!(source("{}").0, Kubernetes::default());
    let servers = |text: &str| source(&format!("{{server: {text}}}")).0.servers;
    for url in [
        "https://10.0.0.1:6443",
        "https://[fd00::1]:6443",
        "https://k8s.example.org/clusters/a",
        "http://127.0.0.1:8001",
    ] {
        assert_eq!(servers(&format!("'{url}'")), [url]);
        assert_eq!(servers(&format!("['{url}/', 'http://localhost:1']")), [url, "http://localhost:1"]);
    }
    let (found, file) = source("{kubeconfig: admin.conf, context: rack}");
    let expected = Kubernetes {
        kubeconfig: Some(file.with_file_name("admin.conf")),
        context: Some("rack".to_owned()),
        servers: vec![],
    };
    assert_eq!(found, expected);
}

#[test]
fn without_a_name_the_host_has_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("vipcast.yaml");
    fs::write(&file, SOURCE).unwrap();
    let host = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    assert_eq!(load(&file, &|_| None).unwrap().settings.node, host);
    let error = load(&file, &|_| Some("Not a name".to_owned())).unwrap_err();
    let expected = format!(
        "{}:1:1: node: missing; allowed: the name of this node's Node object (lower-case letters, digits, '-' and '.'), \
         which NODE_NAME in the environment, \"Not a name\", is not",
        file.display()
    );
    assert_eq!(error.to_string(), expected);
}

#[test]
fn the_sample_says_what_the_defaults_are() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/vipcast.yaml");
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let range = |text: &str| Range::new(text.parse().unwrap(), Use::ClusterIp, Announce::Aggregate);
    let peer = |family| Peer::new(65000, [family]);
    let ipv4 = Peer { local_address: Some(address("10.0.1.2")), ..peer(Family::Ipv4) };
    let entry = |text, peer| PeerEntry::new(address(text), peer);
    let expected = Config {
        settings: Settings {
            node: "lb1".to_owned(),
            node_selector: Selector::new([("role".to_owned(), "lb".to_owned())].into()),
            node_ips: vec![address("10.0.1.2"), address("fd01::2")],
            cluster_ips: Some(vec![range("10.96.0.0/16"), range("fd00:10:96::/112")]),
            allowed: Vec::new(),
            dataplane: Dataplane::default(),
            bgp: Some(BgpSettings {
                asn: 65001,
                router_id: Some(Ipv4Addr::new(10, 0, 1, 2)),
                listen_port: None,
                exclusive: true,
                next_hop_ipv4: NextHop::Own,
                next_hop_ipv6: NextHop::Own,
                attributes: Attributes::default(),
                max_specifics: 64,
                graceful_restart: None,
                peers: vec![entry("10.0.1.1", ipv4), entry("fd01::1", peer(Family::Ipv6))],
            }),
            bfd: Default::default(),
            lease: Default::default(),
            proof: Default::default(),
            brake: Default::default(),
            drain: Drain { fleet: Some("vipcast".to_owned()), ..Drain::default() },
            withdraw_delay: Duration::from_secs(2),
            resync: Duration::from_secs(300),
        },
        runtime_dir: "/run/vipcast".into(),
        namespace: "vipcast".to_owned(),
        source: Source::Kubernetes(Kubernetes::default()),
        gobgpd: Some(Gobgpd::Spawn("/usr/bin/gobgpd".into())),
        shutdown: Leave::Keep,
        admin: ([127, 0, 0, 1], 9180).into(),
        metrics: None,
        conn_tab_bits: None,
        file: file.clone(),
    };
    assert_eq!(load(&file, &|_| None), Ok(expected.clone()));
    // The same with every key that has a default left out.
    let short = "source: {kubernetes: {}}\nnode: lb1\nnodeIPs: [10.0.1.2, 'fd01::2']\n\
                 ranges: {clusterIPs: [10.96.0.0/16, 'fd00:10:96::/112']}\n\
                 bgp: {asn: 65001, routerID: 10.0.1.2, peers: [{address: 10.0.1.1, asn: 65000, localAddress: 10.0.1.2}, \
                 {address: 'fd01::1', asn: 65000}]}\n";
    let short = good(short);
    assert_eq!(Config { file, source: expected.source.clone(), ..short }, expected);
}

#[test]
fn values_are_read_as_people_write_them() {
    let config = good(&format!(
        "{SOURCE}runtimeDir: run\nresync: 1h30m\nlease: {{ttl: 30s, static: 0s}}\nwithdrawDelay: 500ms\nshutdown: keep\nadmin: {{listen: '[::1]:80'}}\n\
         dataplane: {{scheduler: mh, snatRule: ipvs-match}}\n\
         ranges: {{clusterIPs: [{{prefix: 10.96.0.0/16, announce: host, communities: [65001:7]}}]}}\n\
         proof: {{canaries: [198.51.100.0/28], interval: 200ms, fail: 5}}\nbrake: {{share: 100, hold: 2h}}\n"
    ));
    let proof = &config.settings.proof;
    assert_eq!(proof.canaries.iter().map(ToString::to_string).collect::<Vec<_>>(), ["198.51.100.0/28"]);
    assert_eq!((proof.interval, proof.fail, proof.pass), (Duration::from_millis(200), 5, 2));
    let brake = Brake { share: 100, hold: Duration::from_secs(7200), ..Brake::default() };
    assert_eq!(config.settings.brake, brake);
    assert_eq!(config.runtime_dir, config.file.with_file_name("run"));
    assert_eq!(config.settings.resync, Duration::from_secs(5400));
    let (ttl, fail_static) = (Duration::from_secs(30), Duration::ZERO);
    assert_eq!(config.settings.lease, Lease { ttl, fail_static });
    assert_eq!(config.settings.withdraw_delay, Duration::from_millis(500));
    assert_eq!(config.shutdown, Leave::Keep);
    assert_eq!(config.admin.to_string(), "[::1]:80");
    assert_eq!(config.settings.dataplane.snat, Snat::IpvsMatch);
    assert_eq!(config.settings.dataplane.scheduler, Scheduler::new("mh"));
    let range = &config.settings.cluster_ips.unwrap()[0];
    assert_eq!(range.announce, Announce::Host);
    assert_eq!(range.attributes.communities, BTreeSet::from([Community(65001 << 16 | 7)]));
    assert_eq!(good(&format!("{SOURCE}proof: {{canaries: off}}")).settings.proof.canaries, []);
    assert_eq!(good(&format!("{SOURCE}proof: {{canaries: on}}")).settings.proof, Default::default());
    let none = good(&format!("{SOURCE}dataplane: {{snat: none, snatRule: ipvs-match}}"));
    assert_eq!(none.settings.dataplane.snat, Snat::None);
}

#[test]
fn health_and_metrics_can_be_had_elsewhere_too() {
    for (metrics, expected) in [
        ("none", None),
        ("9181", Some("[::]:9181")),
        ("10.0.1.2:9181", Some("10.0.1.2:9181")),
        ("'[fd01::2]:9180'", Some("[fd01::2]:9180")),
    ] {
        let config = good(&format!("{SOURCE}admin: {{metrics: {metrics}}}\n"));
        assert_eq!(config.metrics.map(|metrics| metrics.to_string()).as_deref(), expected, "{metrics}");
    }
}

#[test]
fn the_connection_table_has_a_size() {
    assert_eq!(good(&format!("{SOURCE}dataplane: {{connTabBits: 20}}\n")).conn_tab_bits, Some(20));
}

#[test]
fn bgp_is_read() {
    let settings =
        bgp("asn: 4200000000, listenPort: 1790, nextHop: {ipv4: 10.0.1.9}, communities: [65001:1, 65001:2], \
         peers: [{address: 10.0.1.1, asn: 1, port: 1179, holdTime: 1m30s, multihop: 2, passwordFile: good}]");
    assert_eq!(settings.listen_port, Some(1790));
    assert_eq!(settings.next_hop_ipv4, NextHop::Address("10.0.1.9".parse().unwrap()));
    assert_eq!(settings.attributes.communities.len(), 2);
    let expected = Peer {
        port: 1179,
        hold_time: Duration::from_secs(90),
        keepalive: Duration::from_secs(30),
        password: Some(Secret::new("hunter2")),
        ttl: Ttl::Multihop(2),
        ..Peer::new(1, [Family::Ipv4])
    };
    assert_eq!(settings.peers.iter().map(|entry| &entry.peer).collect::<Vec<_>>(), [&expected]);
    for source in ["passwordFile: dos", "passwordEnv: PASSWORD"] {
        let settings = bgp(&format!("asn: 1, peers: [{{address: 10.0.1.1, asn: 2, {source}}}]"));
        assert_eq!(settings.peers[0].peer.password, Some(Secret::new("hunter2")), "{source}");
    }
}

#[test]
fn bfd_is_read() {
    let timers = |interval, multiplier| Timers { interval: Duration::from_millis(interval), multiplier };
    let name = |text: &str| text.parse::<PeerName>().unwrap();
    let settings = good(&format!(
        "{SOURCE}bfd: {{interval: 50ms, multiplier: 5, peers: [{{address: 10.0.1.1, localAddress: 10.0.1.2}}, \
         {{address: 10.0.7.1, multihop: 250, multiplier: 4, nodeSelector: {{rack: a}}}}, {{interface: eth1, interval: 1s}}]}}\n"
    ))
    .settings;
    assert!(settings.selects_by_labels());
    assert_eq!(settings.bfd.timers, timers(50, 5));
    let entry = |peer, timers| BfdEntry {
        name: name(peer),
        node_selector: Selector::default(),
        timers,
        local_address: None,
        distance: Distance::SingleHop,
    };
    let direct = BfdEntry { local_address: Some("10.0.1.2".parse().unwrap()), ..entry("10.0.1.1", timers(50, 5)) };
    let far = BfdEntry {
        distance: Distance::Multihop(250),
        node_selector: Selector::new([("rack".to_owned(), "a".to_owned())].into()),
        ..entry("10.0.7.1", timers(50, 4))
    };
    assert_eq!(settings.bfd.peers, [direct, far, entry("eth1", timers(1000, 5))]);

    let of_peer =
        |text: &str| bgp(&format!("asn: 1, peers: [{{address: 10.0.1.1, asn: 2, bfd: {text}}}]")).peers[0].bfd;
    assert_eq!(of_peer("off"), None);
    assert_eq!(of_peer("on"), Some(PeerBfd::default()));
    let all = PeerBfd { interval: Some(Duration::from_millis(100)), multiplier: Some(3), multihop: Some(1) };
    assert_eq!(of_peer("{interval: 100ms, multiplier: 3, multihop: 1}"), Some(all));
    assert_eq!(annotated_peers("[{interface: eth1, asn: 2, bfd: on}]").unwrap()[0].bfd, Some(PeerBfd::default()));
}

/// Everything that a peer can have, and what is left open.
#[test]
fn peers_are_read() {
    let settings = |text: &str| {
        good(&format!("source: {{kubernetes: {{}}}}\nbgp: {{asn: 65001, {text}}}\n")).settings.bgp.unwrap()
    };
    let entry = |text: &str| settings(&format!("peers: [{{{text}}}]")).peers.remove(0);
    let full = entry(
        "address: 10.0.1.1, asn: 65000, localASN: 64999, connectRetry: 30s, ttlSecurity: 3, families: [ipv6, ipv4], \
         nextHop: {ipv4: 10.0.9.2, ipv6: 'fd01::2'}, passwordSecret: {name: tor, key: a, namespace: n}, \
         communities: [no-export, 65001:1], largeCommunities: [65001:1:2], med: 0, prepend: 3",
    );
    let attributes = Attributes {
        communities: ["no-export", "65001:1"].map(|text| text.parse().unwrap()).into(),
        large_communities: [LargeCommunity(65001, 1, 2)].into(),
        med: Some(0),
        local_pref: None,
        prepend: Some(3),
    };
    let next_hops = [(Family::Ipv4, "10.0.9.2".parse().unwrap()), (Family::Ipv6, "fd01::2".parse().unwrap())].into();
    let peer = Peer {
        local_asn: Some(64999),
        connect_retry: Duration::from_secs(30),
        ttl: Ttl::Security(3),
        ..Peer::new(65000, Family::ALL)
    };
    let secret = |namespace: &str, key: &str| {
        Some(SecretKey { namespace: namespace.into(), name: "tor".into(), key: key.into() })
    };
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let expected = PeerEntry {
        secret: secret("n", "a"),
        export: Export { attributes, next_hops },
        ..PeerEntry::new(address("10.0.1.1"), peer)
    };
    assert_eq!(full, expected);
    // The namespace is the pod's own, and the key is called password.
    let open = entry("address: 10.0.1.1, asn: 65001, localPref: 7, passwordSecret: {name: tor}");
    assert_eq!(open.secret, secret("vipcast", "password"));
    assert_eq!((open.export.attributes.local_pref, open.peer.password), (Some(7), None));
    // What families a peer has where it does not say.
    let families = |text: &str| settings(text).peers.remove(0).peer.families;
    assert_eq!(families("peers: [{address: 10.0.1.1, asn: 1}]"), [Family::Ipv4].into());
    assert_eq!(families("peers: [{address: 'fd01::1', asn: 1}]"), [Family::Ipv6].into());
    assert_eq!(families("peers: [{interface: eth1, asn: 1}]"), Family::ALL.into());
    assert_eq!(families("peers: [{address: 'fd01::1', asn: 1, families: [ipv4, ipv6]}]"), Family::ALL.into());
    assert_eq!(families("nextHop: {ipv6: 'fd01::2'}, peers: [{address: 10.0.1.1, asn: 1}]"), Family::ALL.into());
    let by_peer = "peers: [{address: 10.0.1.1, asn: 1, nextHop: {ipv6: 'fd01::2'}}]";
    assert_eq!(families(by_peer), Family::ALL.into());
    assert_eq!(settings("peers: [{interface: eth1, asn: 1}]").peers[0].name, PeerName::Interface("eth1".into()));
    assert_eq!(settings("maxSpecifics: 3, peers: [{interface: eth1, asn: 1}]").max_specifics, 3);
    for (value, expected) in [("off", None), ("30s", Some(Duration::from_secs(30)))] {
        let found = settings(&format!("gracefulRestart: {value}, peers: [{{interface: eth1, asn: 1}}]"));
        assert_eq!(found.graceful_restart, expected);
    }
}

/// What the annotation of a Node holds is read by the same code.
#[test]
fn annotated_peers_are_read() {
    let peers = annotated_peers("- {address: 10.0.1.1, asn: 65000}\n- {interface: eth1, asn: 65000, ttlSecurity: 1}\n");
    let peers = peers.unwrap();
    assert_eq!(peers.iter().map(|entry| entry.name.to_string()).collect::<Vec<_>>(), ["10.0.1.1", "eth1"]);
    assert!(peers.iter().all(|entry| entry.peer.families.is_empty()), "they follow from the configuration");
    assert_eq!(annotated_peers("[]"), Ok(Vec::new()));
    let cases = [
        (
            "{}",
            "mistaken in line 1, column 1: found a mapping",
            "a list of peers, each a mapping with at least address and asn",
        ),
        (
            "[{asn: 1}]",
            "mistaken in line 1, column 2: [0].address: missing",
            "the peer's IP address, or interface in its place",
        ),
        (
            "- {address: 10.0.1.1, asn: 0}",
            "mistaken in line 1, column 28: [0].asn: found 0",
            "an AS number from 1 to 4294967295",
        ),
        (
            "- {address: 10.0.1.1, asn: 1, passwordSecret: {name: a}}",
            "mistaken in line 1, column 47: [0].passwordSecret.namespace: missing",
            "the Secret's namespace",
        ),
    ];
    for (text, found, allowed) in cases {
        assert_eq!(annotated_peers(text), Err((found.to_owned(), allowed.to_owned())), "{text}");
    }
    // One that does not go with the file is there, and held.
    let shared = good(&format!("{SOURCE}bgp: {{asn: 65001, gobgpd: {{address: 'unix:/g'}}}}")).settings;
    let (settings, misfits) = Overrides { peers: Some(peers), ..Overrides::default() }.applied_to(&shared);
    let families: Vec<_> = settings.bgp.unwrap().peers.into_iter().map(|entry| entry.peer.families).collect();
    assert_eq!(families, [[Family::Ipv4].into(), Family::ALL.into()]);
    let keys: Vec<_> = misfits.iter().map(|(name, misfit)| (name.to_string(), misfit.key)).collect();
    assert_eq!(keys, [("eth1".to_owned(), "interface")]);
    for key in ["passwordFile: a", "passwordEnv: A", "nodeSelector: {}"] {
        let (found, _) = annotated_peers(&format!("[{{address: 10.0.1.1, asn: 1, {key}}}]")).unwrap_err();
        assert!(found.contains("unknown key"), "{found}");
    }
    assert_eq!(annotated_asn("65009"), Ok(65009));
    assert!(annotated_asn("64512.5").is_err_and(|(found, _)| found.contains("found 64512.5")));
}

/// Selectors as one file for several racks has them.
#[test]
fn node_selectors_are_read() {
    let selector = |pairs: &[(&str, &str)]| {
        Selector::new(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    };
    let config = good(&format!(
        "{SOURCE}nodeSelector: {{role: lb, example.org/tier: ''}}\n\
         ranges: {{clusterIPs: [10.96.0.0/16, {{prefix: 10.97.0.0/16, nodeSelector: {{rack: b}}}}]}}\n\
         bgp: {{asn: 1, peers: [{{address: 10.0.1.1, asn: 2, nodeSelector: {{rack: a}}}}, \
         {{address: 10.0.1.1, asn: 3, nodeSelector: {{rack: b}}}}, {{address: 10.0.1.1, asn: 4}}]}}\n"
    ));
    let settings = config.settings;
    assert_eq!(settings.node_selector, selector(&[("role", "lb"), ("example.org/tier", "")]));
    let ranges: Vec<_> = settings.cluster_ips.iter().flatten().map(|range| range.node_selector.clone()).collect();
    assert_eq!(ranges, [selector(&[]), selector(&[("rack", "b")])]);
    let bgp = settings.bgp.clone().unwrap();
    let of = |rack: &str| {
        let labels = [("rack".to_owned(), rack.to_owned())].into();
        let peers = bgp.peers_of(&labels);
        (peers.into_values().map(|entry| entry.peer.asn).collect::<Vec<_>>(), bgp.rival_entries(&labels))
    };
    let peer = || "10.0.1.1".parse::<PeerName>().unwrap();
    assert_eq!(of("a"), (vec![2], [(peer(), vec![0, 2])].into()), "the first that matches");
    assert_eq!(of("b"), (vec![3], [(peer(), vec![1, 2])].into()));
    assert_eq!(of("c"), (vec![4], [].into()));
    assert!(settings.selects_by_labels());
    assert!(!good(&format!("{SOURCE}bgp: {{{BGP}}}")).settings.selects_by_labels());
    for selecting in
        ["nodeSelector: {a: b}", "bgp: {asn: 1, peers: [{address: 10.0.1.1, asn: 2, nodeSelector: {a: b}}]}"]
    {
        assert!(good(&format!("{SOURCE}{selecting}")).settings.selects_by_labels(), "{selecting}");
    }
    let cluster = "source: {kubernetes: {}}\n";
    let every = good(&format!("{cluster}nodeSelector: {{}}\nshutdown: withdraw"));
    assert!(every.settings.node_selector.is_empty());
    assert_eq!(
        (every.shutdown, good(cluster).shutdown, good(SOURCE).shutdown),
        (Leave::Withdraw, Leave::Keep, Leave::Withdraw)
    );
    assert_eq!(good(cluster).settings.node_selector, selector(&[("role", "lb")]));
}

#[test]
fn ipv6_goes_over_ipv4_sessions_only_with_a_next_hop() {
    let peers = "peers: [{address: 10.0.1.1, asn: 1}, {address: 'fd01::1', asn: 1}]";
    let families =
        |settings: BgpSettings| settings.peers.into_iter().map(|entry| entry.peer.families).collect::<Vec<_>>();
    let (ipv4, ipv6) = (BTreeSet::from([Family::Ipv4]), BTreeSet::from([Family::Ipv6]));
    assert_eq!(families(bgp(&format!("asn: 7, {peers}"))), [ipv4, ipv6.clone()]);
    let explicit = bgp(&format!("asn: 7, nextHop: {{ipv6: 'fd01::2'}}, {peers}"));
    assert_eq!(families(explicit), [BTreeSet::from(Family::ALL), ipv6]);
    let range = "ranges: {clusterIPs: ['fd00:10:96::/112']}\n";
    for (bgp, range) in [
        (format!("{BGP}, nextHop: {{ipv6: 'fd01::2'}}"), range),
        ("asn: 7, peers: [{address: 'fd01::1', asn: 1}]".to_owned(), range),
        (BGP.to_owned(), "ranges: {clusterIPs: [{prefix: 'fd00:10:96::/112', announce: none}]}\n"),
    ] {
        good(&format!("{SOURCE}{range}bgp: {{{bgp}}}\n"));
    }
}

#[test]
fn gobgpd_can_be_somebody_elses() {
    for (address, expected) in [
        ("unix:/run/gobgpd/api.sock", "unix:/run/gobgpd/api.sock"),
        ("unix:///run/gobgpd/api.sock", "unix:/run/gobgpd/api.sock"),
        ("http://127.0.0.1:50051", "http://127.0.0.1:50051"),
        ("http://[::1]:50051/", "http://[::1]:50051"),
        ("http://gobgpd.example:50051", "http://gobgpd.example:50051"),
    ] {
        let config = good(&format!("{SOURCE}bgp: {{asn: 65001, gobgpd: {{address: {address:?}}}}}"));
        assert_eq!(config.gobgpd, Some(Gobgpd::Address(expected.to_owned())));
        let settings = config.settings.bgp.unwrap();
        assert!(!settings.exclusive && settings.peers.is_empty());
    }
    let config = good(&format!("{SOURCE}bgp: {{{BGP}, gobgpd: {{spawn: bin/gobgpd}}}}"));
    assert_eq!(config.gobgpd, Some(Gobgpd::Spawn(config.file.with_file_name("bin/gobgpd"))));
}

#[test]
fn a_missing_file_is_named() {
    let error = load(Path::new("/nonexistent/vipcast.yaml"), &|_| None).unwrap_err();
    assert_eq!(error.to_string(), "/nonexistent/vipcast.yaml: cannot be read: No such file or directory (os error 2)");
}

#[test]
fn secrets_stay_secret() {
    let text = format!("{SOURCE}bgp: {{asn: 1, peers: [{{address: 10.0.1.1, asn: 2, passwordFile: good}}]}}");
    assert!(!format!("{:?}", good(&text)).contains("hunter2"));
}

proptest::proptest! {
    /// Whatever the file holds, there is a configuration or a message that points into the file.
    #[test]
    fn any_text_is_answered(words in proptest::collection::vec(
        proptest::sample::select(vec![
            "source", "manifests", "bgp", "asn", "peers", "address", "ranges", "clusterIPs", "nodeIPs", "10.0.0.0/8",
            "fd00::/112", "10.0.1.1", "65001", "9s", "none", "~", ": ", ":", "\n", "\n  ", "- ", "{", "}", "[", "]", ", ",
            "\"", "'", "&a ", "*a", "!t ", "? ", "---\n", "...\n", "|\n", "# ", "\t", "\r\n", "%", "@", "é", "\u{0}",
        ]),
        0..40,
    )) {
        let text = words.concat();
        match load_text(&text).1 {
            Ok(config) => assert!(config.file.is_absolute()),
            Err(ConfigError::Mistaken { line, column, problem, .. }) => {
                // The end of the file counts as a line.
                assert!((1..=text.split(['\n', '\r']).count() + 1).contains(&line), "{text:?}: line {line}");
                assert!(column >= 1 && !problem.is_empty(), "{text:?}");
            }
            Err(error) => panic!("{text:?}: {error}"),
        }
    }
}

mod dataplane;
mod drain;
mod mistakes;
mod ranges;
