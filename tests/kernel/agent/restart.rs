//! One agent ends, whatever way, and the next goes on; perhaps with another configuration.

use super::*;

#[test]
fn a_killed_agent_is_followed_by_one_that_writes_nothing() -> Result<()> {
    on_node(|node| {
        node.configure("resync: 1h", &format!("resync: 1s{BGP}"))?;
        node.start()?;
        let before = node.ours()?;
        let start = node.restart()?;
        // A resync or two.
        std::thread::sleep(Duration::from_secs(2));
        ensure!(node.writes()? == 0.0, "{:#?}", node.steps(start));
        ensure!(node.ours()? == before);

        second_agent_is_refused(node)
    })
}

fn second_agent_is_refused(node: &Node) -> Result<()> {
    let said = node.vipcast(&["run"])?.ended(1)?;
    let pid = node.agent.as_ref().context("an agent")?.pid();
    ensure!(said.stderr.contains(&format!("another agent runs already, as process {pid}")), "{said:#?}");
    ensure!(node.ask("/readyz")?.0 == 200, "the first goes on");
    Ok(())
}

#[test]
fn the_snat_rule_is_exchanged_without_a_gap() -> Result<()> {
    on_node(|node| {
        node.start()?;
        node.configure("resync: 1h", "resync: 1h\ndataplane: {snatRule: ipvs-match}")?;
        let start = node.restart()?;
        wait_for_snat(node, (0, 2))?;
        for rule in ["set the IPv4 iptables SNAT rule", "set the IPv6 iptables SNAT rule"] {
            wait_for_order(node, start, rule, "masquerade none")?;
        }

        node.configure("snatRule: ipvs-match", "snatRule: nftables")?;
        let start = node.restart()?;
        wait_for_snat(node, (1, 0))?;
        for rule in ["delete the IPv4 iptables SNAT rule", "delete the IPv6 iptables SNAT rule"] {
            wait_for_order(node, start, "masquerade 10.96.0.0/16 fd00:10:96::/112", rule)?;
        }
        node.vipcast(&["plan", "--exit-code"])?.ended(0).map(drop)
    })
}

/// Waits until there are this many SNAT rules of nftables and of iptables.
fn wait_for_snat(node: &Node, expected: (usize, usize)) -> Result<()> {
    wait_for(PATIENCE, &format!("{expected:?} SNAT rules"), || {
        let table = node.sh("nft list set inet vipcast masquerade4")?;
        let classic = node.sh("iptables-save -t nat; ip6tables-save -t nat")?;
        let found = (table.matches("elements = ").count(), classic.matches("-j MASQUERADE").count());
        Ok(if found == expected { Ok(()) } else { Err((found, table, classic)) })
    })
}

/// Waits until the log has both steps, and fails unless the first came first.
fn wait_for_order(node: &Node, start: usize, first: &str, then: &str) -> Result<()> {
    let place = |steps: &[String], words: &str| steps.iter().position(|step| step.contains(words));
    let (steps, first_at, then_at) = wait_for(PATIENCE, &format!("{first:?} and {then:?}"), || {
        let steps = node.steps(start);
        let places = place(&steps, first).zip(place(&steps, then));
        Ok(places.map(|(first, then)| (steps.clone(), first, then)).ok_or(steps))
    })?;
    ensure!(first_at < then_at, "{first:?} has to come before {then:?}: {steps:#?}");
    Ok(())
}

#[test]
fn a_scheduler_changes_in_place() -> Result<()> {
    on_node(|node| {
        node.start()?;
        let original = node.ours()?;
        node.configure("resync: 1h", "resync: 1h\ndataplane: {scheduler: mh}")?;
        for scheduler in ["mh", "rr"] {
            let start = node.restart()?;
            for step in node.wait_for_steps(start, 3)? {
                let expected = format!(" to {scheduler}");
                ensure!(step.starts_with("set virtual server ") && step.ends_with(&expected), "{step}");
            }
            ensure!(node.sh("ipvsadm -Sn")?.matches(&format!(" -s {scheduler}")).count() == 3);
            node.configure(&format!("scheduler: {scheduler}"), "scheduler: rr")?;
        }
        ensure!(node.ours()? == original, "{}\n{original}", node.ours()?);
        Ok(())
    })
}

/// Ranges before and after, the IPv4 local routes that have to be left, and the virtual servers.
const RANGES: [(&str, &str, &str, bool); 4] = [
    ("10.96.0.0/16, \"fd00:10:96::/112\"", "10.96.0.0/16", "10.96.0.0/16", true),
    // Narrower than before, within what was local; then wider again.
    ("10.96.0.0/16", "10.96.0.0/17", "10.96.0.0/17", false),
    ("10.96.0.0/17", "10.96.0.0/16", "10.96.0.0/16", true),
    ("10.96.0.0/16", "10.97.0.0/16", "10.97.0.0/16", false),
];

#[test]
fn a_range_that_is_no_longer_configured_leaves_nothing_behind() -> Result<()> {
    on_node(|node| {
        node.configure("resync: 1h", &format!("resync: 1h{BGP}"))?;
        node.start()?;
        for (before, after, range, upper) in RANGES {
            node.configure(&format!("clusterIPs: [{before}]"), &format!("clusterIPs: [{after}]"))?;
            node.kill()?;
            let length = node.log().len();
            node.start()?;
            wait_for(PATIENCE, &format!("nothing but {after}"), || {
                let routes =
                    node.sh("ip -4 route show table local proto 118; ip -6 route show table local proto 118")?;
                let servers = node.sh("ipvsadm -Sn")?;
                let table = node.sh("nft list table inet vipcast")?;
                let alone = routes.lines().count() == 1
                    && routes.contains(range)
                    && !servers.contains("fd00")
                    && servers.contains("10.96.200.1:53") == upper
                    && !table.contains("fd00")
                    && table.contains(range)
                    && table.matches("elements = ").count() == 2;
                Ok(if alone { Ok(()) } else { Err((routes, servers, table)) })
            })?;
            let log = node.log();
            ensure!(!log[length..].contains(" failed: "), "{}", &log[length..]);
        }
        ensure!(node.sh("ipvsadm -Sn")?.is_empty());
        Ok(())
    })
}
