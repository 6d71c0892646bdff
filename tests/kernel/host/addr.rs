//! The link, its routes, and the facts about the node.

use vipcast::model::node::Host;

use super::*;

#[test]
fn what_was_set_is_read_back_and_setting_it_again_changes_nothing() {
    with_kernel(async |node| {
        node.with_uplink();
        assert_eq!(node.addr().await, Addr::default());
        let expected = link_with(&[(V4, "10.0.1.2"), (V6, "fd01::2"), ("192.0.2.7/32", "10.0.1.2")]);
        for _ in 0..2 {
            node.done([
                Step::EnsureLink,
                set_route(V4, "10.0.1.2"),
                set_route(V6, "fd01::2"),
                set_route("192.0.2.7/32", "10.0.1.2"),
            ])
            .await;
            assert_eq!(node.addr().await, expected);
        }
        // What it is for: every address of the range is local, and the node speaks to it from its own address.
        assert!(sh("ip route get 10.96.12.34").starts_with("local 10.96.12.34 dev lo src 10.0.1.2"));
    });
}

#[test]
fn a_route_without_a_source_is_read_back() {
    with_kernel(async |node| {
        let route = LocalRoute { source: None, on_link: true };
        node.done([Step::EnsureLink, Step::SetRoute(prefix(V4), route), Step::SetRoute(prefix(V6), route)]).await;
        let expected = [V4, V6].map(|range| (prefix(range), route));
        assert_eq!(node.addr().await.routes, expected.into());
    });
}

#[test]
fn the_source_is_replaced() {
    with_kernel(async |node| {
        node.with_uplink();
        node.done([Step::EnsureLink, set_route(V4, "10.0.1.2"), set_route(V6, "fd01::2")]).await;
        node.done([set_route(V4, "10.0.1.3"), set_route(V6, "fd01::3")]).await;
        assert_eq!(node.addr().await, link_with(&[(V4, "10.0.1.3"), (V6, "fd01::3")]));
        assert_eq!(sh("ip -4 route show table local proto 118").lines().count(), 1);
        assert_eq!(sh("ip -6 route show table local proto 118").lines().count(), 1);
    });
}

#[test]
fn deleting_is_done_even_twice() {
    with_kernel(async |node| {
        node.with_uplink();
        node.done([Step::EnsureLink, set_route(V4, "10.0.1.2"), set_route(V6, "fd01::2")]).await;
        for _ in 0..2 {
            node.done([Step::DeleteRoute(prefix(V4)), Step::DeleteRoute(prefix(V6))]).await;
            assert_eq!(node.addr().await, link_with(&[]));
        }
        for _ in 0..2 {
            node.done([Step::DeleteLink]).await;
            assert_eq!(node.addr().await, Addr::default());
        }
    });
}

#[test]
fn a_source_that_is_no_address_of_the_node_is_refused() {
    with_kernel(async |node| {
        node.with_uplink();
        node.done([Step::EnsureLink]).await;
        for (range, source) in [(V4, "10.9.9.9"), (V6, "fd09::9")] {
            let words = node.refused(set_route(range, source)).await;
            assert!(
                words.starts_with(&format!("cannot set the local route {range} with source {source}: ")),
                "{words}"
            );
            assert!(words.contains("an address of this node"), "{words}");
        }
        assert_eq!(node.addr().await, link_with(&[]));
    });
}

#[test]
fn a_route_waits_for_its_link() {
    with_kernel(async |node| {
        node.with_uplink();
        let outcome = node.perform(set_route(V4, "10.0.1.2")).await;
        assert!(matches!(&outcome, Outcome::Drifted(words) if words.contains("no link vipcast0")), "{outcome:?}");
        node.done([Step::EnsureLink]).await;
        // IPv4 needs the link to exist, IPv6 needs it up.
        sh("ip link set vipcast0 down");
        node.done([set_route(V4, "10.0.1.2")]).await;
        let outcome = node.perform(set_route(V6, "fd01::2")).await;
        assert!(matches!(&outcome, Outcome::Drifted(words) if words.contains("Network is down")), "{outcome:?}");
    });
}

#[test]
fn a_link_that_was_down_and_up_is_repaired() {
    with_kernel(async |node| {
        node.with_uplink();
        let steps = [Step::EnsureLink, set_route(V4, "10.0.1.2"), set_route(V6, "fd01::2")];
        let whole = link_with(&[(V4, "10.0.1.2"), (V6, "fd01::2")]);
        node.done(steps.clone()).await;

        sh("ip link set vipcast0 down");
        let down = node.addr().await;
        assert_eq!(down.link, Some(Link { up: false, ..Link::DESIRED }));
        sh("ip link set vipcast0 up arp on");
        let up = node.addr().await;
        assert_eq!(up.link, Some(Link { noarp: false, ..Link::DESIRED }));
        assert!(!up.routes.contains_key(&prefix(V6)), "the kernel is kinder than it was: {up:?}");

        node.done(steps).await;
        assert_eq!(node.addr().await, whole);
    });
}

#[test]
fn a_source_that_went_away_is_seen_and_replaced() {
    with_kernel(async |node| {
        node.with_uplink();
        node.done([Step::EnsureLink, set_route(V4, "10.0.1.2"), set_route(V6, "fd01::2")]).await;
        sh("ip addr del 10.0.1.2/24 dev uplink0");
        sh("ip addr del fd01::2/64 dev uplink0");
        // The kernel lets the routes stay, so the addresses have to tell.
        let reading = node.read().await;
        assert_eq!(reading.addr, Ok(link_with(&[(V4, "10.0.1.2"), (V6, "fd01::2")])));
        let addresses = reading.host.unwrap().addresses;
        assert!(
            !["10.0.1.2", "fd01::2"].iter().any(|gone| addresses.contains(&gone.parse().unwrap())),
            "{addresses:?}"
        );
        // Deleting a link's first IPv4 address takes its other ones of the same subnet along.
        sh("ip addr replace 10.0.1.3/24 dev uplink0");
        node.done([set_route(V4, "10.0.1.3"), set_route(V6, "fd01::3")]).await;
        assert_eq!(node.addr().await, link_with(&[(V4, "10.0.1.3"), (V6, "fd01::3")]));
    });
}

#[test]
fn a_deleted_link_takes_its_routes_along() {
    with_kernel(async |node| {
        node.with_uplink();
        node.done([Step::EnsureLink, set_route(V4, "10.0.1.2"), set_route(V6, "fd01::2")]).await;
        sh("ip link del vipcast0");
        assert_eq!(node.addr().await, Addr::default());
    });
}

#[test]
fn our_route_on_another_link_is_seen_and_brought_home() {
    with_kernel(async |node| {
        node.with_uplink();
        node.done([Step::EnsureLink]).await;
        sh("ip route add local 10.96.0.0/16 dev uplink0 src 10.0.1.2 proto 118");
        sh("ip -6 route add local fd00:10:96::/112 dev uplink0 src fd01::2 proto 118 table local");
        let astray = |source| LocalRoute { on_link: false, ..from(source) };
        let expected = [(prefix(V4), astray("10.0.1.2")), (prefix(V6), astray("fd01::2"))];
        assert_eq!(node.addr().await.routes, expected.into());
        node.done([set_route(V4, "10.0.1.2"), set_route(V6, "fd01::2")]).await;
        assert_eq!(node.addr().await, link_with(&[(V4, "10.0.1.2"), (V6, "fd01::2")]));
    });
}

#[test]
fn a_link_of_our_name_and_another_kind_is_left_alone() {
    with_kernel(async |node| {
        sh("ip link add vipcast0 type veth peer name other0");
        for step in [Step::EnsureLink, set_route(V4, "10.0.1.2"), Step::DeleteLink] {
            let words = node.refused(step).await;
            assert!(words.contains("vipcast0") && words.contains("not of kind dummy"), "{words}");
        }
        assert_eq!(node.addr().await.link, Some(Link { dummy: false, up: false, noarp: false }));
    });
}

#[test]
fn facts_about_the_node() {
    with_kernel(async |node| {
        node.with_uplink();
        sh("ip link add other0 type dummy");
        sh("ip link set other0 up");
        sh("ip addr add 10.0.2.2/24 dev other0");
        sh("ip addr add 169.254.20.10/32 dev other0");
        // VIPs of others.
        sh("ip link add kube-ipvs0 type dummy");
        sh("ip addr add 10.96.0.1/32 dev kube-ipvs0");
        // A loopback address that others can reach.
        sh("ip addr add 10.255.0.1/32 dev lo");
        node.done([Step::EnsureLink]).await;
        sh("ip addr add 10.96.0.2/32 dev vipcast0");

        let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpAddr>>();
        let all = addresses(&["10.0.1.2", "10.0.1.3", "10.0.2.2", "10.255.0.1", "fd01::2", "fd01::3"]);
        let mut expected = Host { addresses: all.into_iter().collect(), ..Host::default() };
        assert_eq!(node.read().await.host, Ok(expected.clone()));

        sh("ip route add default via 10.0.2.1 metric 50");
        expected.default_addresses = addresses(&["10.0.2.2"]);
        assert_eq!(node.read().await.host, Ok(expected.clone()));

        sh("ip -6 route add default via fe80::1 dev uplink0 proto ra");
        expected.router_advertised_links = ["uplink0".to_owned()].into();
        let host = node.read().await.host.unwrap();
        assert_eq!(host.router_advertised_links, expected.router_advertised_links);
        // The IPv4 default route comes first; the kernel orders the addresses of a link.
        assert_eq!(host.default_addresses[0], expected.default_addresses[0]);
        assert_eq!(
            host.default_addresses[1..].iter().copied().collect::<BTreeSet<_>>(),
            addresses(&["10.0.1.2", "10.0.1.3", "fd01::2", "fd01::3"]).into_iter().collect()
        );

        std::fs::write("/proc/sys/net/ipv6/conf/uplink0/accept_ra", "2").unwrap();
        assert!(node.read().await.host.unwrap().router_advertised_links.is_empty());
    });
}
