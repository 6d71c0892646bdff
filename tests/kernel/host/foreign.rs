//! What is not ours stays as it was, whatever we do.

use vipcast::model::Family;
use vipcast::model::nft::Table;

use super::*;

/// Everything on the node that is not ours, as text.
fn others() -> Vec<String> {
    let mut found = Vec::new();
    for command in [
        "ip -4 route show table all",
        "ip -6 route show table all",
        "ip -o addr",
        "nft -s list ruleset",
        "iptables-save",
        "ip6tables-save",
    ] {
        let output = sh(command);
        // Comments hold the time.
        found.extend(output.lines().filter(|line| !line.starts_with('#')).map(str::to_owned));
    }
    found
}

#[test]
fn every_step_leaves_what_is_not_ours() {
    with_kernel(async |node| {
        node.with_uplink();
        sh("ip route add 10.97.0.0/16 dev uplink0");
        sh("ip route add local 10.98.0.0/16 dev lo proto static");
        sh("ip -6 route add local fd00:10:98::/112 dev lo proto static table local");
        sh("ip route add 10.99.0.0/16 dev uplink0 proto 118");
        sh("ip link add mine0 type dummy");
        sh("nft add table inet other");
        sh("nft add chain inet other input { type filter hook input priority 0; }");
        sh("nft add rule inet other input ip daddr 10.96.0.1 accept");
        sh("nft add table ip vipcast");
        for iptables in ["iptables", "ip6tables"] {
            sh(&format!("{iptables} -t nat -N OTHER"));
            sh(&format!("{iptables} -t nat -A POSTROUTING -j OTHER"));
            sh(&format!("{iptables} -t nat -A OTHER -p tcp -j MASQUERADE"));
        }
        let before = others();

        let both = ranges(&[V4, V6]);
        let table = Table { masquerade: both.clone(), guard: both, ..Table::default() };
        let there = vec![
            Step::EnsureLink,
            set_route(V4, "10.0.1.2"),
            set_route(V6, "fd01::2"),
            Step::ReplaceTable(table),
            Step::SetClassicSnat(Family::Ipv4),
            Step::SetClassicSnat(Family::Ipv6),
        ];
        let back = vec![
            Step::DeleteClassicSnat(Family::Ipv4),
            Step::DeleteClassicSnat(Family::Ipv6),
            Step::DeleteTable,
            Step::DeleteRoute(prefix(V4)),
            Step::DeleteRoute(prefix(V6)),
            Step::DeleteLink,
        ];
        node.done(there).await;
        let between = others();
        for line in &before {
            assert!(between.contains(line), "{line} is gone from {between:#?}");
        }
        node.done(back).await;
        assert_eq!(others(), before);
    });
}

#[test]
fn a_route_of_somebody_else_for_our_range_is_not_replaced() {
    with_kernel(async |node| {
        node.with_uplink();
        node.done([Step::EnsureLink]).await;
        sh("ip route add local 10.96.0.0/16 dev lo proto 99");
        sh("ip -6 route add local fd00:10:96::/112 dev lo proto 99 table local");
        for (range, source) in [(V4, "10.0.1.2"), (V6, "fd01::2")] {
            let words = node.refused(set_route(range, source)).await;
            assert!(words.ends_with(&format!("a route for {range} that is not ours (protocol 99)")), "{words}");
            node.done([Step::DeleteRoute(prefix(range))]).await;
        }
        assert_eq!(node.addr().await, link_with(&[]));
        assert_eq!(sh("ip -4 route show table local proto 99").lines().count(), 1);
        assert_eq!(sh("ip -6 route show table local proto 99").lines().count(), 1);
    });
}

#[test]
fn an_address_that_is_a_vip_is_not_replaced() {
    with_kernel(async |node| {
        node.with_uplink();
        node.done([Step::EnsureLink]).await;
        sh("ip addr add 192.0.2.7/32 dev uplink0");
        let words = node.refused(set_route("192.0.2.7/32", "10.0.1.2")).await;
        assert!(words.ends_with("a route for 192.0.2.7/32 that is not ours (protocol 2)"), "{words}");
    });
}
