//! What the table does to packets: who gets in, whom the pod sees, what sizes both ends are told.

use std::net::SocketAddr;
use std::os::fd::AsFd;

use vipcast_lab::Netns;

use super::rig::{Addresses, Connection, IPV4, IPV6, Rig, ask, connect, ip, key, serve, with_rig};
use super::*;

fn base() -> Table {
    table(&[V4, V6], &[V4, V6])
}

/// Elements that are of both families.
fn of_both(put: impl Fn(&mut Elements, &Addresses)) -> Elements {
    let mut elements = Elements::default();
    put(&mut elements, &IPV4);
    put(&mut elements, &IPV6);
    elements
}

fn add(elements: &Elements) -> Step {
    Step::EditTable { add: elements.clone(), remove: Elements::default() }
}

fn remove(elements: &Elements) -> Step {
    Step::EditTable { add: Elements::default(), remove: elements.clone() }
}

/// Whom the pod sees, by TCP and by UDP.
fn seen(rig: &Rig, vip: &str) -> [IpAddr; 2] {
    [rig.connect(vip).unwrap().seen.ip(), ask(&rig.udp(vip)).unwrap().ip()]
}

fn protocols(addresses: &Addresses) -> [ServerKey; 2] {
    [Protocol::Tcp, Protocol::Udp].map(|protocol| key(addresses.vip, protocol))
}

#[test]
fn clients_are_masqueraded_unless_a_virtual_server_keeps_their_address() {
    with_rig(async |node, rig| {
        node.done([Step::ReplaceTable(base())]).await;
        let keep = of_both(|elements, addresses| elements.keep.extend(protocols(addresses)));
        for family in [IPV4, IPV6] {
            assert_eq!(seen(rig, family.vip), [ip(family.node_at_pod); 2]);
        }
        node.done([add(&keep)]).await;
        for family in [IPV4, IPV6] {
            assert_eq!(seen(rig, family.vip), [ip(family.client); 2]);
        }
        // A pod that is its own client gets an answer only if it does not see itself.
        node.done([Step::ReplaceTable(Table {
            pods: ranges(&["10.244.1.0/24", "fd00:244::/64"]),
            elements: keep.clone(),
            ..base()
        })])
        .await;
        for family in [IPV4, IPV6] {
            let itself = SocketAddr::new(ip(family.pod), 0);
            let connection = connect(&rig.pod, itself, family.vip, Duration::from_secs(20)).unwrap();
            assert_eq!(connection.seen.ip(), ip(family.node_at_pod));
            assert_eq!(seen(rig, family.vip), [ip(family.client); 2]);
        }
        node.done([remove(&keep)]).await;
        for family in [IPV4, IPV6] {
            assert_eq!(seen(rig, family.vip), [ip(family.node_at_pod); 2]);
        }
    });
}

/// What is kept is bound before iptables' chain is asked, whoever wrote its rule first.
#[test]
fn the_classic_rule_masquerades_what_is_not_kept() {
    with_rig(async |node, rig| {
        let keep = of_both(|elements, addresses| {
            elements.keep.insert(key(addresses.vip, Protocol::Tcp));
        });
        let table = Table { elements: keep, ..table(&[], &[V4, V6]) };
        let classic = Family::ALL.map(Step::SetClassicSnat);
        node.done([Step::ReplaceTable(table.clone())]).await;
        node.done(classic.clone()).await;
        for _ in 0..2 {
            for family in [IPV4, IPV6] {
                assert_eq!(seen(rig, family.vip), [ip(family.client), ip(family.node_at_pod)]);
            }
            node.done([Step::ReplaceTable(table.clone())]).await;
        }
    });
}

#[test]
fn a_pool_and_its_ports_are_what_the_pod_sees() {
    with_rig(async |node, rig| {
        let pool = |first: &str, last: &str| (Family::of(ip(first)), (ip(first), ip(last)));
        let pools = [pool("198.51.100.10", "198.51.100.13"), pool("fd03::a", "fd03::d")];
        let source = Source { pool: pools.into(), ports: Some((20000, 20100)) };
        node.done([Step::ReplaceTable(Table { source: source.clone(), ..base() })]).await;
        for family in [IPV4, IPV6] {
            let (first, last) = source.pool[&Family::of(ip(family.vip))];
            for _ in 0..8 {
                let tcp = rig.connect(family.vip).unwrap().seen;
                for seen in [tcp, ask(&rig.udp(family.vip)).unwrap()] {
                    assert!((first..=last).contains(&seen.ip()) && (20000..=20100).contains(&seen.port()), "{seen}");
                }
            }
        }
        // Ports alone.
        let source = Source { ports: Some((30000, 30000)), ..Source::default() };
        node.done([Step::ReplaceTable(Table { source, ..base() })]).await;
        for family in [IPV4, IPV6] {
            let seen = rig.connect(family.vip).unwrap().seen;
            assert_eq!(seen, SocketAddr::new(ip(family.node_at_pod), 30000));
        }
    });
}

#[test]
fn node_ports_are_masqueraded_by_element() {
    with_rig(async |node, rig| {
        node.done([Step::ReplaceTable(base())]).await;
        for family in [IPV4, IPV6] {
            let keys = [Protocol::Tcp, Protocol::Udp].map(|protocol| key(family.node, protocol));
            for key in keys {
                serve(node, key, family.pod).await;
            }
            assert_eq!(seen(rig, family.node), [ip(family.client); 2]);
            let masquerade = Elements { masquerade: keys.into(), ..Elements::default() };
            node.done([add(&masquerade)]).await;
            assert_eq!(seen(rig, family.node), [ip(family.node_at_pod); 2]);
            // Kept, they are masqueraded for this node's pods alone.
            node.done([add(&Elements { keep: keys.into(), ..Elements::default() })]).await;
            assert_eq!(seen(rig, family.node), [ip(family.client); 2]);
        }
    });
}

#[test]
fn only_allowed_clients_get_through_and_others_are_cut_off() {
    with_rig(async |node, rig| {
        node.done([Step::ReplaceTable(base())]).await;
        for family in [IPV4, IPV6] {
            let from = |client: &str| rig.connect_from(SocketAddr::new(ip(client), 0), family.vip);
            let sources = |prefixes: BTreeSet<Prefix>| Elements {
                sources: [(key(family.vip, Protocol::Tcp), prefixes)].into(),
                ..Elements::default()
            };
            let allowed = sources([Prefix::host(ip(family.client))].into());
            let nobody = sources(BTreeSet::new());
            let before = from(family.other_client).unwrap();
            before.exchange().unwrap();

            node.done([add(&allowed)]).await;
            let good = from(family.client).unwrap();
            from(family.other_client).unwrap_err();
            before.exchange().unwrap_err();
            // It is about that port and protocol.
            ask(&rig.udp(family.vip)).unwrap();

            node.done([Step::EditTable { add: nobody.clone(), remove: allowed }]).await;
            good.exchange().unwrap_err();
            from(family.client).unwrap_err();

            node.done([remove(&nobody)]).await;
            from(family.other_client).unwrap();
        }
    });
}

/// Ends a connection so that only the client knows.
fn forget(rig: &Rig, connection: Connection) {
    let mute = "nft add table inet mute { chain output { type filter hook output priority 0; policy drop; }; }";
    let in_client = |line: &str| sh(&format!("ip netns exec {} {line}", rig.client.name()));
    in_client(mute);
    rustix::net::sockopt::set_socket_linger(connection.stream.as_fd(), Some(Duration::ZERO)).unwrap();
    drop(connection);
    in_client("nft delete table inet mute");
}

#[test]
fn a_draining_virtual_server_refuses_new_connections_and_keeps_the_old_ones() {
    with_rig(async |node, rig| {
        node.done([Step::ReplaceTable(base())]).await;
        let draining = of_both(|elements, addresses| elements.draining.extend(protocols(addresses)));
        let open = |family: &Addresses| {
            let udp = rig.udp(family.vip);
            ask(&udp).unwrap();
            (rig.connect(family.vip).unwrap(), rig.connect(family.vip).unwrap(), udp)
        };
        let before = [open(&IPV4), open(&IPV6)];
        node.done([add(&draining)]).await;
        for (family, (connection, lost, udp)) in [IPV4, IPV6].into_iter().zip(before) {
            for _ in 0..50 {
                assert_eq!(rig.connect(family.vip).unwrap_err().kind(), ErrorKind::ConnectionRefused);
            }
            assert_eq!(ask(&rig.udp(family.vip)).unwrap_err().kind(), ErrorKind::ConnectionRefused);
            connection.exchange().unwrap();
            ask(&udp).unwrap();
            // Conntrack takes a SYN from a port that was used before for part of the old connection.
            let source = lost.stream.local_addr().unwrap();
            forget(rig, lost);
            assert_eq!(rig.connect_from(source, family.vip).unwrap_err().kind(), ErrorKind::ConnectionRefused);
            connection.exchange().unwrap();
            // A VIP that drains is still pinged.
            sh(&format!("ip netns exec {} ping -c 1 -W 10 {}", rig.client.name(), family.vip));
        }
        node.done([remove(&draining)]).await;
        for family in [IPV4, IPV6] {
            rig.connect(family.vip).unwrap();
        }
    });
}

/// Notes the segment sizes that a namespace is told.
fn watch_sizes(netns: &Netns) {
    let rules = "nft table inet seen { set sizes { typeof tcp option maxseg size; flags dynamic; size 64; }; \
                 chain in { type filter hook input priority 0; tcp flags syn add @sizes { tcp option maxseg size }; }; }";
    sh(&format!("ip netns exec {} {rules}", netns.name()));
}

/// The segment sizes that it was told since the last time.
fn sizes(netns: &Netns) -> Vec<u64> {
    let inside = |line: &str| sh(&format!("ip netns exec {} {line}", netns.name()));
    let listing: serde_json::Value = serde_json::from_str(&inside("nft -j list set inet seen sizes")).unwrap();
    inside("nft flush set inet seen sizes");
    let elements = listing["nftables"][1]["set"]["elem"].as_array().cloned().unwrap_or_default();
    // With a counter or a timeout an element is an object, without it is the value.
    elements.iter().map(|element| element.as_u64().unwrap()).collect()
}

#[test]
fn both_ends_are_told_segment_sizes_that_fit_the_way() {
    with_rig(async |node, rig| {
        watch_sizes(&rig.client);
        watch_sizes(&rig.pod);
        serve(node, key(IPV4.node, Protocol::Tcp), IPV4.pod).await;
        let told = |vip: &str| {
            rig.connect(vip).unwrap();
            (sizes(&rig.pod), sizes(&rig.client))
        };
        let both = |size: u64| (vec![size], vec![size]);
        let elements = Elements { masquerade: [key(IPV4.node, Protocol::Tcp)].into(), ..Elements::default() };
        let set = |mss| Step::ReplaceTable(Table { mss, elements: elements.clone(), ..base() });

        node.done([set(None)]).await;
        assert_eq!([told(IPV4.vip), told(IPV6.vip), told(IPV4.node)], [both(1460), both(1440), both(1460)]);
        node.done([set(Some(Mss::Size(1000)))]).await;
        assert_eq!([told(IPV4.vip), told(IPV6.vip), told(IPV4.node)], [both(1000), both(980), both(1000)]);
        node.done([set(Some(Mss::Size(9000)))]).await;
        assert_eq!([told(IPV4.vip), told(IPV6.vip)], [both(1460), both(1440)], "never raised");

        node.done([set(Some(Mss::Auto))]).await;
        // Whichever of the node's links is the narrow one, and whoever keeps whose address.
        let keep = of_both(|elements, addresses| elements.keep.extend(protocols(addresses)));
        for (client, pod) in [(1500, 1300), (1300, 1500)] {
            sh(&format!("ip link set client0 mtu {client}"));
            sh(&format!("ip link set pod0 mtu {pod}"));
            let expected = [both(1260), both(1240), both(1260)];
            assert_eq!([told(IPV4.vip), told(IPV6.vip), told(IPV4.node)], expected, "{client} {pod}");
            node.done([add(&keep)]).await;
            assert_eq!([told(IPV4.vip), told(IPV6.vip)], [both(1260), both(1240)], "{client} {pod}, kept");
            node.done([remove(&keep)]).await;
        }
        // A range without masquerade is clamped too.
        node.done([Step::ReplaceTable(Table { mss: Some(Mss::Size(1000)), ..table(&[], &[V4]) })]).await;
        assert_eq!(told(IPV4.vip), both(1000));
    });
}
