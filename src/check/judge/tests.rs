use std::collections::BTreeSet;

use super::super::facts::{Chain, Conntrack, Module, Parameter};
use super::super::{Answer, needed};
use super::*;
use crate::config;
use crate::model::Kind;
use crate::model::bgp::SecretKey;
use crate::model::ipvs::{Protocol, ServerKey};
use crate::model::sysctl::Sysctl;
use crate::watch::kubernetes::inquiry::{Inquiry, Rights};

const BASE: &str = "source: {manifests: cluster}\nnodeIPs: [10.0.1.2]\nranges: {clusterIPs: [10.96.0.0/16]}\n";
const PEER: &str = "peers: [{address: 10.0.1.1, asn: 65000, localAddress: 10.0.1.2}]";

fn config(text: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("vipcast.yaml");
    std::fs::write(&file, text).unwrap();
    let mut config = config::load(&file, &|_| None).unwrap();
    if let config::Source::Manifests(folder) = &mut config.source {
        *folder = "/cluster".into();
    }
    config
}

/// What a node has that is ready for `config`.
fn ready(config: &Config) -> Facts {
    let addresses = ["10.0.1.2", "127.0.0.1", "::1"].map(|address| address.parse().unwrap()).into();
    Facts {
        kernel: "6.12.41+deb13-amd64".to_owned(),
        modules: needed::modules(config).into_iter().map(|name| (name, Module::Present)).collect(),
        modules_disabled: false,
        connection_table_bits: None,
        capabilities: 1 << 12 | 1 << 13,
        initial_user_namespace: true,
        programs: needed::programs(config, &addresses).into_iter().map(|name| (name, Ok(()))).collect(),
        sysctls: needed::sysctls(config, &addresses)
            .into_iter()
            .map(|(name, value)| (name, Parameter { value, writable: true }))
            .collect(),
        sysctls_locked: false,
        conntrack: Some(Conntrack { count: 1000, max: 262_144, tcp: Some(432_000), udp: Some(120) }),
        ipv6: true,
        addresses,
        links: ["lo", "eth0", "vipcast0"].map(str::to_owned).into(),
        listening: [22].into(),
        processes: [("systemd".to_owned(), 1)].into(),
        virtual_servers: [server("10.96.0.1")].into(),
        chains: Ok(Vec::new()),
        manifests: Ok(3),
        api: None,
        secrets: Default::default(),
        gobgpd: None,
    }
}

fn server(address: &str) -> ServerKey {
    ServerKey { address: address.parse().unwrap(), protocol: Protocol::Tcp, port: 80 }
}

fn chain(family: &str, table: &str, name: &str) -> Chain {
    Chain { tool: "nft".into(), family: family.into(), table: table.into(), name: name.into(), ..Chain::default() }
}

fn base_chain(hook: &str, priority: i64) -> Chain {
    let name = hook.to_uppercase();
    Chain { hook: Some(hook.into()), priority, policy_drop: true, ..chain("ip", "filter", &name) }
}

/// Asserts that a node which is ready for `text` but for `change` has exactly the findings `expected`: `E` or `W`, a
/// colon, and the text.
fn assert_findings(text: &str, change: impl FnOnce(&mut Facts), expected: &[&str]) {
    let config = config(text);
    let mut facts = ready(&config);
    change(&mut facts);
    let found: Vec<String> = judge(&config, &facts)
        .into_iter()
        .map(|finding| format!("{}: {finding}", if finding.level == Level::Error { 'E' } else { 'W' }))
        .collect();
    assert_eq!(found, expected, "\n{text}");
}

#[test]
fn a_ready_node_has_no_findings() {
    for text in [
        BASE.to_owned(),
        format!("{BASE}bgp: {{asn: 65001, {PEER}}}"),
        format!("{BASE}dataplane: {{snatRule: ipvs-match}}"),
        "source: {manifests: cluster}".to_owned(),
    ] {
        assert_findings(&text, |_| {}, &[]);
    }
}

#[test]
fn the_kernel() {
    assert_findings(
        BASE,
        |facts| facts.kernel = "5.4.0-42-generic".into(),
        &[
            "E: kernel release: found 5.4.0-42-generic; wanted: 5.9 or later: before, a connection that reuses a port waits a second (net.ipv4.vs.conn_reuse_mode); install a later kernel",
        ],
    );
    assert_findings(
        BASE,
        |facts| facts.kernel = "6.1.0-18-amd64".into(),
        &[
            "W: kernel release: found 6.1.0-18-amd64; wanted: 6.3 or later: before, IPVS counts its statistics in one timer, which stalls the network with tens of thousands of destinations; install a later kernel, for example Debian's from backports",
        ],
    );
    assert_findings(
        BASE,
        |facts| facts.kernel = "next".into(),
        &["W: kernel release: found next; wanted: a number such as 6.12; find out which kernel this is"],
    );
    assert_findings(
        &BASE.replace("10.96.0.0/16]", "10.96.0.0/16, 'fd00:10:96::/112']"),
        |facts| facts.ipv6 = false,
        &[
            "E: IPv6: found a kernel without it, while there is an IPv6 range; wanted: IPv6; remove ipv6.disable=1 from the kernel's command line, or the IPv6 ranges from the configuration",
        ],
    );
}

#[test]
fn modules() {
    let set = |name: &'static str, place| {
        move |facts: &mut Facts| assert!(facts.modules.insert(name.into(), place).is_some())
    };
    const WANTED: &str = "loaded, built in, or in /lib/modules for the kernel to load";
    let missing = |name: &str| {
        format!(
            "E: module {name}: found neither in the kernel nor in /lib/modules/6.12.41+deb13-amd64; wanted: {WANTED}; apt install linux-image-amd64 and boot it (Ubuntu: linux-modules-extra-$(uname -r)), or build the kernel with it"
        )
    };
    for name in ["ip_vs", "ip_vs_rr", "dummy", "veth", "nf_tables", "nf_conntrack", "nf_conntrack_netlink"] {
        assert_findings(BASE, set(name, Module::Missing), &[&missing(name)]);
        assert_findings(BASE, set(name, Module::Loadable), &[]);
    }
    let mh = format!("{BASE}dataplane: {{scheduler: mh, snatRule: ipvs-match}}");
    assert_findings(&mh, set("ip_vs_mh", Module::Missing), &[&missing("ip_vs_mh")]);
    assert_findings(&mh, set("xt_ipvs", Module::Missing), &[&missing("xt_ipvs")]);
    assert_findings(
        BASE,
        set("ip_vs", Module::Unknown),
        &[&format!(
            "W: module ip_vs: found not loaded, and there is no /lib/modules/6.12.41+deb13-amd64 to look in; wanted: {WANTED}; run `vipcast prepare` in a privileged container that has the host's /lib/modules, or on the host: modprobe ip_vs"
        )],
    );
    let disabled = |facts: &mut Facts| {
        facts.modules_disabled = true;
        set("ip_vs", Module::Loadable)(facts);
    };
    assert_findings(
        BASE,
        disabled,
        &[&format!(
            "E: module ip_vs: found not loaded, and the kernel loads no modules any more (kernel.modules_disabled = 1); wanted: {WANTED}; echo ip_vs > /etc/modules-load.d/ip_vs.conf, and boot again"
        )],
    );
    assert_findings(
        BASE,
        |facts| facts.connection_table_bits = Some(12),
        &[
            "W: parameter conn_tab_bits of module ip_vs: found 12, so 4096 buckets, which are searched one entry after the other; wanted: 20 on a node for a million connections (8 MiB); it is fixed when the module is loaded; set dataplane.connTabBits to 20, and boot the node again with `options ip_vs conn_tab_bits=20` in /etc/modprobe.d/ip_vs.conf (built in: ip_vs.conn_tab_bits=20 on the kernel's command line), or unload ip_vs, which ends all that it forwards, and run `vipcast prepare`",
        ],
    );
    assert_findings(BASE, |facts| facts.connection_table_bits = Some(20), &[]);
}

#[test]
fn rights() {
    assert_findings(
        BASE,
        |facts| facts.capabilities = 0,
        &[
            "E: capability CAP_NET_ADMIN: found not among this process's; wanted: CAP_NET_ADMIN, for IPVS, nftables, links and routes; run as root, or add NET_ADMIN to the container's capabilities",
            "E: capability CAP_NET_RAW: found not among this process's; wanted: CAP_NET_RAW, for the packets by which the data plane is proved; run as root, or add NET_RAW to the container's capabilities or CAP_NET_RAW to the unit's, or set proof.canaries to off",
        ],
    );
    assert_findings(&format!("{BASE}proof: {{canaries: off}}"), |facts| facts.capabilities = 1 << 12, &[]);
    let short = "lease: {ttl: 5s}\n";
    assert_findings(&format!("{BASE}{short}"), |_| {}, &[]);
    assert_findings(
        &format!("{BASE}{short}proof: {{canaries: off}}"),
        |_| {},
        &[
            "W: lease.ttl: found 5 s, without canaries; wanted: more than an upgrade of the agent takes: nothing else proves the data plane meanwhile, and the routes go; leave lease.ttl out (2m then), raise it, or set proof.canaries",
        ],
    );
    assert_findings(
        BASE,
        |facts| facts.initial_user_namespace = false,
        &[
            "E: user namespace: found not the initial one; wanted: the initial one: IPVS takes orders from nobody else; run without user namespaces (hostUsers: true; no rootless container)",
        ],
    );
    let port = |port: u16| format!("{BASE}bgp: {{asn: 65001, listenPort: {port}, {PEER}}}");
    assert_findings(
        &port(179),
        |_| {},
        &[
            "E: capability CAP_NET_BIND_SERVICE: found not among this process's; wanted: CAP_NET_BIND_SERVICE, for a bgp.listenPort below 1024; add it, or set bgp.listenPort to none",
        ],
    );
    assert_findings(&port(179), |facts| facts.capabilities |= 1 << 10, &[]);
    assert_findings(&port(1179), |_| {}, &[]);
}

#[test]
fn programs() {
    let gone = |name: &'static str| {
        move |facts: &mut Facts| assert!(facts.programs.insert(name.into(), Err("nothing".into())).is_some())
    };
    let expected = |name: &str, package: &str| {
        format!("E: program {name}: found nothing; wanted: the program {name}; apt install {package}")
    };
    let ipvs_match =
        BASE.replace("[10.96.0.0/16]", "[10.96.0.0/16, 'fd00:10:96::/112']") + "dataplane: {snatRule: ipvs-match}";
    let bgp = format!("{BASE}bgp: {{asn: 65001, gobgpd: {{spawn: /opt/gobgpd}}, {PEER}}}");
    for (text, name, package) in [
        (BASE, "nft", "nftables"),
        (&ipvs_match, "iptables", "iptables"),
        (&ipvs_match, "ip6tables", "iptables"),
        (&bgp, "/opt/gobgpd", "gobgpd"),
    ] {
        assert_findings(text, gone(name), &[&expected(name, package)]);
    }
}

#[test]
fn kernel_parameters() {
    let name = || Sysctl("net/ipv4/vs/conntrack".into());
    let set = |value: &str, writable| {
        let parameter = Parameter { value: value.to_owned(), writable };
        move |facts: &mut Facts| assert!(facts.sysctls.insert(name(), parameter).is_some())
    };
    assert_findings(BASE, set("0", true), &[]);
    assert_findings(BASE, set("1", false), &[]);
    assert_findings(
        BASE,
        set("0", false),
        &[
            "E: kernel parameters: found net/ipv4/vs/conntrack=0, which this process cannot write; wanted: net/ipv4/vs/conntrack=1; run `vipcast prepare` in a privileged container, or on the host: sysctl -w net/ipv4/vs/conntrack=1",
        ],
    );
    assert_findings(BASE, |facts| assert!(facts.sysctls.remove(&name()).is_some()), &[]);
    let two = |facts: &mut Facts| {
        set("0", false)(facts);
        let forward = Parameter { value: "0".to_owned(), writable: false };
        assert!(facts.sysctls.insert(Sysctl("net/ipv4/ip_forward".into()), forward).is_some());
    };
    assert_findings(
        BASE,
        two,
        &[
            "E: kernel parameters: found net/ipv4/ip_forward=0 net/ipv4/vs/conntrack=0, which this process cannot write; wanted: net/ipv4/ip_forward=1 net/ipv4/vs/conntrack=1; run `vipcast prepare` in a privileged container, or on the host: sysctl -w net/ipv4/ip_forward=1 net/ipv4/vs/conntrack=1",
        ],
    );
    let locked = |facts: &mut Facts| {
        facts.sysctls.remove(&name());
        facts.sysctls_locked = true;
    };
    assert_findings(
        BASE,
        locked,
        &[
            "W: kernel parameters: found /proc/sys, which this process cannot write, without those of modules that are not loaded yet; wanted: net/ipv4/vs/conntrack=1; run `vipcast prepare` in a privileged container, or on the host: modprobe ip_vs; sysctl -w net/ipv4/vs/conntrack=1",
        ],
    );
    let conntrack =
        |count, max| move |facts: &mut Facts| facts.conntrack = Some(Conntrack { count, max, tcp: None, udp: None });
    assert_findings(
        BASE,
        conntrack(10, 65536),
        &[
            "W: kernel parameter net/netfilter/nf_conntrack_max: found 65536; wanted: 131072 or more: every connection through this node takes one; sysctl -w net/netfilter/nf_conntrack_max=1048576 (about 320 bytes each)",
        ],
    );
    assert_findings(
        BASE,
        conntrack(220_000, 262_144),
        &[
            "W: kernel parameter net/netfilter/nf_conntrack_max: found 220000 of 262144 connections in use; wanted: room: new connections are dropped when it is full; sysctl -w net/netfilter/nf_conntrack_max=1048576 (about 320 bytes each)",
        ],
    );
    assert_findings(BASE, conntrack(10, 0), &[]);
    assert_findings(BASE, |facts| facts.conntrack = None, &[]);
}

#[test]
fn addresses_and_source() {
    assert_findings(
        BASE,
        |facts| facts.addresses = ["10.0.1.3".parse().unwrap()].into(),
        &[
            "E: nodeIPs: found 10.0.1.2, which no link of this node has; wanted: addresses of this node; correct nodeIPs, or leave it out to use the Node object's",
        ],
    );
    let bgp = format!("{}bgp: {{asn: 65001, routerID: 10.0.1.2, {PEER}}}", BASE.replace("nodeIPs: [10.0.1.2]\n", ""));
    assert_findings(
        &bgp,
        |facts| facts.addresses = BTreeSet::new(),
        &[
            "E: localAddress of peer 10.0.1.1: found 10.0.1.2, which no link of this node has; wanted: an address of this node; correct localAddress, or leave it out",
        ],
    );
    let vip = |facts: &mut Facts| assert!(facts.addresses.insert("10.96.3.4".parse().unwrap()));
    assert_findings(
        BASE,
        vip,
        &[
            "E: range 10.96.0.0/16: found 10.96.3.4 in it, which is an address of this node; wanted: a range that nothing but VIPs comes from: all of it becomes local to this node; correct ranges.clusterIPs, or remove the address",
        ],
    );
    assert_findings(
        BASE,
        |facts| facts.manifests = Err("No such file or directory (os error 2)".into()),
        &[
            "E: folder /cluster: found No such file or directory (os error 2); wanted: a folder with manifests of Services and EndpointSlices; create it, or correct source.manifests",
        ],
    );
    assert_findings(
        BASE,
        |facts| facts.manifests = Ok(0),
        &[
            "W: folder /cluster: found no file called *.yaml, *.yml or *.json; wanted: a folder with manifests of Services and EndpointSlices; put them into it",
        ],
    );
}

#[test]
fn allowed_ranges_and_node_ports() {
    let ranges = |text: &str| BASE.replace("10.96.0.0/16]", &format!("10.96.0.0/16], externalIPs: [{text}]"));
    let node_ports = |text: &str| format!("{BASE}dataplane: {{nodePorts: {{{text}}}}}");
    // A range of single VIPs may hold the node's addresses.
    assert_findings(&ranges("10.0.1.0/24"), |facts| assert!(facts.virtual_servers.insert(server("10.0.1.9"))), &[]);
    let whole = |facts: &mut Facts| assert!(facts.addresses.insert("192.0.2.7".parse().unwrap()));
    assert_findings(
        &ranges("{prefix: 192.0.2.0/24, announce: aggregate}"),
        whole,
        &[
            "E: range 192.0.2.0/24: found 192.0.2.7 in it, which is an address of this node; wanted: a range that nothing but VIPs comes from: all of it becomes local to this node; correct the range, give it announce: host, or remove the address",
        ],
    );
    assert_findings(
        &ranges("'2001:db8::/64'"),
        |facts| facts.ipv6 = false,
        &[
            "E: IPv6: found a kernel without it, while there is an IPv6 range; wanted: IPv6; remove ipv6.disable=1 from the kernel's command line, or the IPv6 ranges from the configuration",
        ],
    );
    let mut http = server("10.0.1.2");
    http.port = 30080;
    let here = node_ports("addresses: [10.0.1.0/24]");
    assert_findings(&here, |facts| assert!(facts.virtual_servers.insert(http)), &[]);
    assert_findings(
        &here,
        |facts| assert!(facts.listening.insert(30080)),
        &[
            "W: TCP port 30080: found somebody listening on it; wanted: nobody on the NodePorts (30000-32767): a Service that has this one would take its connections; ss -ltnp sport = :30080 names the program: move it, or narrow dataplane.nodePorts.ports",
        ],
    );
    assert_findings(
        &node_ports("addresses: [10.9.0.0/24, 'fd01::/64']"),
        |_| {},
        &[
            "W: dataplane.nodePorts.addresses: found no address of this node in 10.9.0.0/24, fd01::/64; wanted: prefixes that hold an address of this node: NodePorts are served nowhere else; correct them, or set dataplane.nodePorts to off",
        ],
    );
    assert_findings(
        BASE,
        |facts| assert!(facts.virtual_servers.insert(http)),
        &[
            "W: virtual servers: found 1 outside of our ranges, the first 10.0.1.2:30080 TCP; wanted: no other user of IPVS, whose kernel parameters would become ours; look at ipvsadm -Ln; vipcast leaves them alone",
        ],
    );
}

#[test]
fn conntrack_remembers_for_as_long_as_ipvs() {
    let idle = |tcp, udp| {
        move |facts: &mut Facts| {
            facts.conntrack = Some(Conntrack { count: 1000, max: 262_144, tcp: Some(tcp), udp: Some(udp) });
        }
    };
    assert_findings(BASE, idle(7500, 120), &[]);
    assert_findings(
        BASE,
        idle(3600, 120),
        &[
            "W: kernel parameter net/netfilter/nf_conntrack_tcp_timeout_established: found 3600 seconds, so conntrack forgets idle connections before IPVS does; wanted: 7500 or more, as dataplane.timeouts.tcp says; sysctl -w net/netfilter/nf_conntrack_tcp_timeout_established=7500, or a smaller dataplane.timeouts.tcp",
        ],
    );
    assert_findings(
        &format!("{BASE}dataplane: {{timeouts: {{tcp: 15m, udp: 5m}}}}"),
        idle(900, 120),
        &[
            "W: kernel parameter net/netfilter/nf_conntrack_udp_timeout_stream: found 120 seconds, so conntrack forgets idle connections before IPVS does; wanted: 300 or more, as dataplane.timeouts.udp says; sysctl -w net/netfilter/nf_conntrack_udp_timeout_stream=300, or a smaller dataplane.timeouts.udp",
        ],
    );
}

#[test]
fn other_service_proxies() {
    let runs = |name: &'static str| move |facts: &mut Facts| assert!(facts.processes.insert(name.into(), 77).is_none());
    const KUBE_PROXY: &str = "E: kube-proxy: found running (process 77); wanted: no kube-proxy here: it takes packets to VIPs before IPVS sees them, and in ipvs mode it deletes virtual servers that it does not know; keep kube-proxy's DaemonSet off this node (nodeAffinity: role NotIn [lb]), then kube-proxy --cleanup";
    assert_findings(BASE, runs("kube-proxy"), &[KUBE_PROXY]);
    assert_findings(
        BASE,
        runs("kube-router"),
        &[
            "E: kube-router: found running (process 77); wanted: no service proxy of kube-router's here: it deletes virtual servers that it does not know; run kube-router with --run-service-proxy=false on this node",
        ],
    );
    for (chain, place) in [
        (chain("ip", "nat", "KUBE-SERVICES"), "chain KUBE-SERVICES of table ip nat (nft)"),
        (chain("ip6", "kube-proxy", "services"), "chain services of table ip6 kube-proxy (nft)"),
    ] {
        let with_process = |facts: &mut Facts| {
            facts.chains = Ok(vec![chain.clone()]);
            runs("kube-proxy")(facts);
        };
        assert_findings(BASE, with_process, &[KUBE_PROXY]);
        assert_findings(
            BASE,
            |facts| facts.chains = Ok(vec![chain.clone()]),
            &[&format!(
                "E: kube-proxy: found its rules in {place}; wanted: no rules of kube-proxy's: they take packets to VIPs before IPVS sees them; kube-proxy --cleanup"
            )],
        );
    }
    let leftover = |facts: &mut Facts| {
        facts.links.insert("kube-ipvs0".into());
        facts.addresses.insert("10.96.0.1".parse().unwrap());
    };
    assert_findings(
        BASE,
        leftover,
        &[
            "W: link kube-ipvs0: found there, from kube-proxy; wanted: no VIPs on another link; ip link delete kube-ipvs0, once vipcast serves the VIPs",
        ],
    );
}

#[test]
fn other_virtual_servers() {
    let foreign = |facts: &mut Facts| facts.virtual_servers.extend([server("192.0.2.7"), server("192.0.2.8")]);
    assert_findings(
        BASE,
        foreign,
        &[
            "W: virtual servers: found 2 outside of our ranges, the first 192.0.2.7:80 TCP; wanted: no other user of IPVS, whose kernel parameters would become ours; look at ipvsadm -Ln; vipcast leaves them alone",
        ],
    );
    let keepalived = |facts: &mut Facts| {
        facts.virtual_servers.insert(server("192.0.2.7"));
        facts.processes.insert("keepalived".into(), 5);
    };
    assert_findings(
        BASE,
        keepalived,
        &[
            "W: virtual servers: found 1 outside of our ranges, the first 192.0.2.7:80 TCP; keepalived is running (process 5); wanted: no other user of IPVS, whose kernel parameters would become ours; look at ipvsadm -Ln; vipcast leaves them alone",
        ],
    );
    assert_findings("source: {manifests: cluster}", foreign, &[]);
}

#[test]
fn a_host_firewall() {
    let with = |chain: Chain| |facts: &mut Facts| facts.chains = Ok(vec![chain]);
    for (hook, traffic) in [
        ("input", "packets to the VIPs"),
        ("forward", "the pods' answers and those of the canaries (169.254.77.0/29, fd76:6970:6361:7374::/125)"),
        ("output", "packets that IPVS sends on to the pods"),
    ] {
        let name = hook.to_uppercase();
        let expected = |refusal: &str| {
            format!(
                "W: host firewall, hook {hook}: found {refusal} in chain {name} of table ip filter (nft); wanted: a rule before it that accepts {traffic}; no rule of vipcast's can overrule it; accept {traffic} in that chain, or set its policy to accept"
            )
        };
        assert_findings(BASE, with(base_chain(hook, 0)), &[&expected("policy drop")]);
        let refusal = Chain { policy_drop: false, refusal: Some("rule 7 (reject)".into()), ..base_chain(hook, 10) };
        assert_findings(BASE, with(refusal), &[&expected("rule 7 (reject)")]);
    }
    for harmless in [
        Chain { policy_drop: false, ..base_chain("input", 0) },
        base_chain("input", 101),
        base_chain("prerouting", 0),
        Chain { family: "inet".into(), table: "vipcast".into(), ..base_chain("input", 0) },
        Chain { hook: None, ..base_chain("input", 0) },
    ] {
        assert_findings(BASE, with(harmless), &[]);
    }
    assert_findings(
        BASE,
        |facts| facts.chains = Err("nft: not found".into()),
        &[
            "W: host firewall: found unknown: nft: not found; wanted: chains on the hooks input, forward and output that let VIP traffic pass; look yourself: nft list ruleset; iptables-save",
        ],
    );
}

#[test]
fn bfd() {
    let daemon = |facts: &mut Facts| assert!(facts.processes.insert("bfdd".to_owned(), 77).is_none());
    let other = "W: another BFD daemon: found bfdd (process 77); wanted: UDP ports 3784 and 4784 free for vipcast speaker, or shared by address; stop its BFD, or give each session a localAddress and have the daemon bind to its own";
    assert_findings(BASE, daemon, &[]);
    assert_findings(&format!("{BASE}bfd: {{interval: 50ms}}"), daemon, &[]);
    let switch = |more: &str| format!("{BASE}bfd: {{peers: [{{{more}}}]}}");
    assert_findings(&switch("address: 10.0.1.1, localAddress: 10.0.1.2"), daemon, &[other]);
    let late = |millis: u64| {
        format!(
            "W: capability CAP_SYS_NICE for BFD every {millis} ms: found not among this process's; wanted: CAP_SYS_NICE for vipcast speaker: without it a busy node may be late, and switches drop it; add SYS_NICE to the speaker container's capabilities or CAP_SYS_NICE to its unit's, or raise bfd.interval"
        )
    };
    let watched = format!("{BASE}bgp: {{asn: 65001, {}}}", PEER.replace('}', ", bfd: {interval: 50ms}}"));
    assert_findings(&watched, |_| {}, &[&late(50)]);
    assert_findings(&watched, |facts| facts.capabilities |= 1 << 23, &[]);
    assert_findings(&switch("address: 10.0.1.1, interval: 100ms"), |_| {}, &[]);
    assert_findings(
        &switch("address: 10.0.1.1, localAddress: 10.0.1.9"),
        |_| {},
        &[
            "E: localAddress of bfd.peers 10.0.1.1: found 10.0.1.9, which no link of this node has; wanted: an address of this node; correct localAddress, or leave it out",
        ],
    );
    assert_findings(
        &switch("interface: eth9"),
        |_| {},
        &[
            "E: interface of bfd.peers eth9: found no such link on this node; wanted: the link at whose other end the switch is; correct interface, or name the switch by its address",
        ],
    );
    assert_findings(&switch("interface: eth9, nodeSelector: {rack: a}"), |_| {}, &[]);
}

#[test]
fn other_speakers() {
    let spawned = format!("{BASE}bgp: {{asn: 65001, listenPort: 1790, {PEER}}}");
    let foreign = format!("{BASE}bgp: {{asn: 65001, gobgpd: {{address: 'unix:/g'}}, {PEER}}}");
    let taken = |facts: &mut Facts| assert!(facts.listening.insert(1790));
    assert_findings(
        &spawned,
        taken,
        &[
            "E: TCP port 1790: found somebody listening on it; wanted: a free port for bgp.listenPort: gobgpd exits when it is taken; ss -ltnp 'sport = 1790' names the process; or set bgp.listenPort to none",
        ],
    );
    assert_findings(&foreign, taken, &[]);
    let runs = |names: &'static [&'static str]| {
        move |facts: &mut Facts| facts.processes.extend(names.iter().map(|name| ((*name).to_owned(), 77)))
    };
    let expected = |name: &str| {
        format!(
            "W: another BGP speaker: found {name} (process 77); wanted: no second session with a peer from one address: most routers end one of the two; give each speaker peers, or a localAddress, of its own"
        )
    };
    assert_findings(&spawned, runs(&["bird", "speaker"]), &[&expected("bird"), &expected("speaker")]);
    assert_findings(&spawned, runs(&["gobgpd"]), &[&expected("gobgpd")]);
    assert_findings(BASE, runs(&["bird", "gobgpd"]), &[]);
    // The running agent's own.
    let own = |facts: &mut Facts| {
        runs(&["vipcast", "gobgpd"])(facts);
        taken(facts);
    };
    assert_findings(&spawned, own, &[]);
    assert_findings(&foreign, runs(&["gobgpd"]), &[]);
    assert_findings(&foreign, |facts| facts.gobgpd = Some(Ok(())), &[]);
    assert_findings(
        &foreign,
        |facts| facts.gobgpd = Some(Err("refused".into())),
        &[
            "E: gobgpd: found no answer at unix:/g: refused; wanted: a gobgpd that is running, with its gRPC interface there; start it with --api-hosts, or correct bgp.gobgpd.address",
        ],
    );
}

#[test]
fn peers_by_interface_and_with_secrets() {
    let with = |peer: &str| format!("{BASE}bgp: {{asn: 65001, peers: [{{asn: 65000, {peer}}}]}}");
    assert_findings(&with("interface: eth0"), |_| {}, &[]);
    assert_findings(
        &with("interface: eth9"),
        |_| {},
        &[
            "E: interface of peer eth9: found no such link on this node; wanted: the link at whose other end the switch is; correct interface, or name the peer by its address",
        ],
    );
    let unproved = |peer: &str| format!("{}\nproof: {{canaries: off}}", with(peer));
    assert_findings(&unproved("address: 10.0.1.1"), |facts| facts.capabilities = 1 << 12, &[]);
    assert_findings(
        &unproved("interface: eth0"),
        |facts| facts.capabilities = 1 << 12,
        &[
            "E: capability CAP_NET_RAW for peer eth0: found not among this process's; wanted: CAP_NET_RAW, for the router advertisements that the switch waits for before it connects; run as root, or add NET_RAW to the container's capabilities or CAP_NET_RAW to the unit's",
        ],
    );
    let key = SecretKey { namespace: "vipcast".into(), name: "tor".into(), key: "password".into() };
    assert_findings(
        &with("interface: eth0"),
        |facts| drop(facts.secrets.insert(key, "does not exist".to_owned())),
        &[
            "E: password in the Secret vipcast/tor[password]: found that it does not exist; wanted: a Secret with the password of a peer, of one line and at most 80 bytes; create it, or let the agent's Role read it (deploy/base/rbac.yaml); until then the peer is not told to gobgpd",
        ],
    );
}

#[test]
fn essentials_are_the_errors_that_no_step_survives() {
    let config = config(BASE);
    let mut facts = ready(&config);
    facts.kernel = "6.1.0".to_owned();
    facts.manifests = Err("gone".to_owned());
    facts.processes.insert("kube-proxy".to_owned(), 7);
    assert_eq!(essentials(&config, &facts), []);
    facts.capabilities = 0;
    facts.modules.insert("ip_vs".to_owned(), Module::Missing);
    let subjects: Vec<String> = essentials(&config, &facts).into_iter().map(|finding| finding.subject).collect();
    assert_eq!(subjects, ["module ip_vs", "capability CAP_NET_ADMIN", "capability CAP_NET_RAW"]);
}

#[test]
fn errors_come_first_and_decide() {
    let config = config(BASE);
    let mut facts = ready(&config);
    facts.kernel = "6.1.0".to_owned();
    let warned = Answer::new(judge(&config, &facts));
    assert!(warned.ready && warned.errors.is_empty() && warned.warnings.len() == 1);
    facts.manifests = Err("gone".to_owned());
    let failed = Answer::new(judge(&config, &facts));
    assert!(!failed.ready);
    let expected = "ERROR    folder /cluster\n  found  gone\n  \
                    wanted a folder with manifests of Services and EndpointSlices\n  \
                    do     create it, or correct source.manifests\n\nWARNING  kernel release\n";
    let table = failed.table();
    assert!(table.starts_with(expected), "{table}");
    assert!(table.ends_with("\n\nnot ready (errors: 1, warnings: 1)\n"), "{table}");
    let json = serde_json::to_value(&failed).unwrap();
    assert_eq!(json["ready"], false);
    assert_eq!(json["errors"][0]["found"], "gone");
    assert_eq!(json["warnings"][0]["subject"], "kernel release");
}

#[test]
fn the_size_of_the_connection_table_is_compared() {
    const REMEDY: &str = "boot the node again with `options ip_vs conn_tab_bits=20` in /etc/modprobe.d/ip_vs.conf (built in: ip_vs.conn_tab_bits=20 on the kernel's command line), or unload ip_vs, which ends all that it forwards, and run `vipcast prepare`";
    let asked = format!("{BASE}dataplane: {{connTabBits: 20}}");
    assert_findings(&asked, |facts| facts.connection_table_bits = Some(20), &[]);
    assert_findings(&asked, |_| {}, &[]);
    assert_findings(
        &asked,
        |facts| facts.connection_table_bits = Some(16),
        &[&format!(
            "W: parameter conn_tab_bits of module ip_vs: found 16; wanted: 20, as dataplane.connTabBits says; it is fixed when the module is loaded; {REMEDY}"
        )],
    );
    let much = format!("{BASE}dataplane: {{connTabBits: 22}}");
    assert_findings(&much, |_| {}, &[]);
    assert_findings(
        &much,
        |facts| facts.kernel = "6.4.0".into(),
        &[
            "E: dataplane.connTabBits: found 22; wanted: at most 20: kernel 6.4.0 falls back to its default with more; correct it, or install kernel 6.5 or later",
        ],
    );
}

#[test]
fn a_stricter_arp_ignore_is_as_good() {
    let set = |value: &'static str| {
        move |facts: &mut Facts| {
            let name = Sysctl("net/ipv4/conf/all/arp_ignore".into());
            facts.sysctls.insert(name, Parameter { value: value.into(), writable: false });
        }
    };
    assert_findings(BASE, set("2"), &[]);
    assert_findings(
        BASE,
        set("0"),
        &[
            "E: kernel parameters: found net/ipv4/conf/all/arp_ignore=0, which this process cannot write; wanted: net/ipv4/conf/all/arp_ignore=1; run `vipcast prepare` in a privileged container, or on the host: sysctl -w net/ipv4/conf/all/arp_ignore=1",
        ],
    );
}

#[test]
fn the_api_server_has_to_answer_and_to_allow() {
    let text = "source: {kubernetes: {}}\nnodeIPs: [10.0.1.2]\nranges: {clusterIPs: [10.96.0.0/16]}\n";
    let derived = "source: {kubernetes: {}}\nnodeIPs: [10.0.1.2]\n";
    let rights = || Rights { server: "https://10.0.0.1:6443".to_owned(), ..Rights::default() };
    let inquiry = |given: &str, answer: Result<Rights, &str>| Inquiry {
        given: vec![given.parse().unwrap()],
        in_cluster: false,
        remembered: 0,
        reached: answer.is_ok(),
        answer: answer.map_err(str::to_owned),
    };
    let direct = "https://10.0.0.1:6443";
    let vip = "https://10.96.0.1:443";
    assert_findings(text, |facts| facts.api = Some(inquiry(direct, Ok(rights()))), &[]);
    assert_findings(
        text,
        |facts| facts.api = Some(inquiry(direct, Err("https://10.0.0.1:6443: connection refused"))),
        &["E: API server: found https://10.0.0.1:6443: connection refused; wanted: an API server that answers; \
           correct source.kubernetes or the credentials, or mend the way there"],
    );
    let denied = Rights { denied: vec!["list services".to_owned(), "watch nodes".to_owned()], ..rights() };
    assert_findings(
        text,
        |facts| facts.api = Some(inquiry(direct, Ok(denied))),
        &[
            "E: API server: found https://10.0.0.1:6443, which does not allow: list services, watch nodes; wanted: leave to \
           get our Node, and to list and watch Services, EndpointSlices, ServiceCIDRs and our Node; apply the ClusterRole \
           and its binding of deploy/",
        ],
    );
    let mute = Rights { denied_events: true, ..rights() };
    assert_findings(
        text,
        |facts| facts.api = Some(inquiry(direct, Ok(mute))),
        &[
            "W: API server: found https://10.0.0.1:6443, which does not allow: create events.events.k8s.io; wanted: leave \
           to tell the owners of Services by Events what is wrong with them; apply the ClusterRole and its binding of \
           deploy/",
        ],
    );
    let alone = || Rights { denied_leases: true, ..rights() };
    assert_findings(
        text,
        |facts| facts.api = Some(inquiry(direct, Ok(alone()))),
        &["W: API server: found https://10.0.0.1:6443, which does not allow to list, create and update \
           leases.coordination.k8s.io in vipcast; wanted: leave to agree with the other LB nodes who may be drained; \
           without, only --force drains this node; apply the Role and its binding of deploy/, or set drain.fleet: off"],
    );
    let off = format!("{text}drain: {{fleet: off}}\n");
    assert_findings(&off, |facts| facts.api = Some(inquiry(direct, Ok(alone()))), &[]);
    let old = || Rights { absent: vec![Kind::ServiceCidr], ..rights() };
    assert_findings(text, |facts| facts.api = Some(inquiry(direct, Ok(old()))), &[]);
    assert_findings(
        derived,
        |facts| facts.api = Some(inquiry(direct, Ok(old()))),
        &[
            "E: ranges.clusterIPs: found none configured, and an API server without ServiceCIDR objects (Kubernetes has them \
           since 1.33); wanted: the ClusterIP ranges from one or the other; configure ranges.clusterIPs",
        ],
    );

    // The loop: whether the address is known to be a VIP from the ranges, or from the kubelet.
    let works = "W: API server: found https://10.96.0.1:443, which answers, but is a ClusterIP: without kube-proxy it \
                 works only while vipcast serves it, and after a reboot nothing does; wanted: an address that works \
                 without vipcast; set source.kubernetes.server to the API servers' own addresses";
    let fails = "E: API server: found https://10.96.0.1:443, which is a ClusterIP and does not answer (timed out): without \
                 kube-proxy it works only once vipcast serves it, and vipcast cannot serve it before it has read the API \
                 server; wanted: an address that works without vipcast; set source.kubernetes.server to the API servers' \
                 own addresses";
    for (text, in_cluster) in [(text, false), (derived, true)] {
        let looped = |answer| Inquiry { in_cluster, ..inquiry(vip, answer) };
        assert_findings(text, |facts| facts.api = Some(looped(Ok(rights()))), &[works]);
        assert_findings(text, |facts| facts.api = Some(looped(Err("timed out"))), &[fails]);
        let refused = Inquiry { reached: true, ..looped(Err("401")) };
        let wrong = "E: API server: found 401; wanted: an API server that answers; correct source.kubernetes or the \
                     credentials, or mend the way there";
        assert_findings(text, |facts| facts.api = Some(refused), &[wrong]);
        let remembered = Inquiry { remembered: 3, ..looped(Ok(rights())) };
        assert_findings(text, |facts| facts.api = Some(remembered), &[]);
    }
    let served = |facts: &mut Facts| {
        facts.processes.insert("kube-proxy".to_owned(), 7);
        facts.api = Some(inquiry(vip, Ok(rights())));
    };
    let config = config(text);
    let mut facts = ready(&config);
    served(&mut facts);
    let subjects: Vec<String> = judge(&config, &facts).into_iter().map(|finding| finding.subject).collect();
    assert_eq!(subjects, ["kube-proxy"]);
}
