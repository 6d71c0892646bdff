//! Somebody damages what is ours: it is repaired at once where the kernel tells of it, at the next resync where not.

use super::*;

#[test]
fn what_the_kernel_tells_of_is_repaired_at_once() -> Result<()> {
    on_node(|node| {
        node.start()?;
        let whole = node.ours()?;
        ensure!(whole.contains("10.96.200.1:53") && whole.contains("fd00:10:96::/112"), "{whole}");
        for damage in [
            "ip link del vipcast0",
            // IPv6 routes do not come back by themselves.
            "ip link set vipcast0 down; ip link set vipcast0 up",
            "ip link set vipcast0 down",
            "ip link set vipcast0 arp on",
            "ip route del table local local 10.96.0.0/16; ip -6 route del table local local fd00:10:96::/112",
            "ip route replace table local local 10.96.0.0/16 dev vipcast0 proto 118",
            "nft delete table inet vipcast",
            "nft flush ruleset",
            "for chain in $(nft list table inet vipcast | sed -n 's/.*chain \\(.*\\) {/\\1/p'); do
                 nft flush chain inet vipcast $chain; done",
            "nft add element inet vipcast $(nft list sets inet | sed -n 's/.*set \\(.*\\) {/\\1/p' | head -1) \
             '{ 203.0.113.0/24 }'",
        ] {
            node.sh(damage)?;
            node.wait_for_ours(&whole, damage)?;
        }
        ensure!(node.agent.as_ref().is_some_and(|agent| agent.ended().is_ok_and(|end| end.is_none())));
        Ok(())
    })
}

#[test]
fn what_the_kernel_does_not_tell_is_repaired_at_the_resync() -> Result<()> {
    on_node(|node| {
        node.configure("resync: 1h", "resync: 1s")?;
        node.start()?;
        let whole = node.ours()?;
        for damage in [
            "ipvsadm -C",
            "ipvsadm -d -t 10.96.0.10:80 -r 10.244.1.2:8080",
            "ipvsadm -a -t 10.96.0.10:80 -r 10.99.99.99:8080 -m",
            "ipvsadm -e -t 10.96.0.10:80 -r 10.244.1.3:8080 -m -w 0",
            "ipvsadm -E -t 10.96.0.10:80 -s wlc -p 77",
            "ipvsadm -D -t '[fd00:10:96::10]:80'",
            // The agent may be faster than the second command.
            "ipvsadm -A -t 10.96.77.77:80; ipvsadm -a -t 10.96.77.77:80 -r 10.99.99.99:80 -m || true",
            "echo 0 > /proc/sys/net/ipv4/ip_forward; echo 0 > /proc/sys/net/ipv4/vs/conntrack",
        ] {
            node.sh(damage)?;
            node.wait_for_ours(&whole, damage)?;
        }
        // At rest again, a resync writes nothing.
        let writes = node.writes()?;
        std::thread::sleep(Duration::from_secs(3));
        ensure!(node.writes()? == writes, "{}", node.log());
        Ok(())
    })
}

#[test]
fn without_its_source_address_a_range_is_withdrawn_and_with_it_announced_again() -> Result<()> {
    on_node(|node| {
        node.configure("resync: 1h", &format!("resync: 1h{BGP}"))?;
        node.start()?;
        let whole = node.ours()?;
        wait_for_routes(node, &["10.96.0.0/16", "fd00:10:96::/112"])?;
        node.sh("ip addr del 10.0.1.2/24 dev uplink0")?;
        wait_for_routes(node, &["fd00:10:96::/112"])?;
        let (code, reasons) = node.ask("/readyz")?;
        ensure!(code == 503 && reasons.contains("IPv4"), "{code} {reasons}");

        node.sh("ip addr add 10.0.1.2/24 dev uplink0")?;
        wait_for_routes(node, &["10.96.0.0/16", "fd00:10:96::/112"])?;
        node.wait_until_ready()?;
        node.wait_for_ours(&whole, "the address came back")?;
        let way = node.sh("ip route get 10.96.12.34; ip -4 route show table local 10.96.0.0/16")?;
        ensure!(way.starts_with("local 10.96.12.34 dev lo src 10.0.1.2") && !way.contains("dead"), "{way}");
        Ok(())
    })
}

/// Waits until gobgpd, asked by its own tool, holds routes for just these prefixes.
fn wait_for_routes(node: &Node, expected: &[&str]) -> Result<()> {
    let socket = node.machine().path("run/vipcast/gobgpd.sock");
    wait_for(PATIENCE, &format!("the routes {expected:?}"), || {
        let mut found = Vec::new();
        for family in ["ipv4", "ipv6"] {
            let target = format!("unix://{}", socket.display());
            let ask = node.machine().command("gobgp").args(["--target", &target, "-j", "global", "rib", "-a", family]);
            let table: serde_json::Value = serde_json::from_str(&ask.run()?.stdout)?;
            found.extend(table.as_object().into_iter().flat_map(|table| table.keys().cloned()));
        }
        Ok(if found == expected { Ok(()) } else { Err(found) })
    })
}
