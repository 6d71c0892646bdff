//! `vipcast cleanup`, and what is not ours.

use super::*;

/// What others have on this node: some of it looks like ours.
const FOREIGN: &str = "
    ipvsadm -A -t 192.0.2.1:80 -s wlc; ipvsadm -a -t 192.0.2.1:80 -r 10.244.9.9:80 -m; ipvsadm -A -f 7 -s rr
    nft 'table inet other { chain input { type filter hook input priority 0; ip daddr 10.96.0.1 accept; }; }'
    nft add table ip vipcast
    ip link add other0 type dummy; ip link set other0 up; ip addr add 10.5.5.5/24 dev other0
    ip route add local 10.98.0.0/16 dev lo proto 99
    ip route add 10.97.0.0/16 dev uplink0 proto 118
    iptables -t nat -N OTHER; iptables -t nat -A POSTROUTING -j OTHER; iptables -t nat -A OTHER -p tcp -j MASQUERADE
    ip6tables -A INPUT -p tcp --dport 1 -j ACCEPT";

/// Everything on the node that commands of vipcast could touch, a line each.
fn everything(node: &Node) -> Result<Vec<String>> {
    let text = node.sh("
        ip -4 route show table all; ip -6 route show table all; ip -o addr; ip -o link; nft -s list ruleset
        iptables-save; ip6tables-save; ipvsadm -Sn")?;
    // Comments hold the time; the anycast addresses of a router come with IPv6 forwarding, which stays.
    let stays = |line: &&str| !line.starts_with('#') && !line.starts_with("anycast ");
    Ok(text.lines().filter(stays).map(str::to_owned).collect())
}

#[test]
fn only_what_is_ours_is_made_and_removed() -> Result<()> {
    on_node(|node| {
        node.sh(FOREIGN)?;
        let before = everything(node)?;
        node.start()?;
        node.vipcast(&["status"])?.ended(0)?;
        node.vipcast(&["plan", "--exit-code"])?.ended(0)?;
        let between = everything(node)?;
        let lost: Vec<_> = before.iter().filter(|line| !between.contains(line)).collect();
        ensure!(lost.is_empty() && between.len() > before.len(), "{lost:#?}");

        let refused = node.vipcast(&["cleanup"])?.ended(1)?;
        let pid = node.agent.as_ref().context("an agent")?.pid();
        ensure!(refused.stderr.contains(&format!("process {pid}")), "{refused:#?}");
        ensure!(everything(node)? == between, "a refused cleanup touches nothing");

        node.kill()?;
        for _ in 0..2 {
            let said = node.vipcast(&["cleanup"])?.ended(0)?;
            ensure!(said.stdout.contains("left as it is: net/ipv4/ip_forward = 1\n"), "{said:#?}");
            let after = everything(node)?;
            ensure!(after == before, "before {before:#?} after {after:#?}");
        }
        Ok(())
    })
}

#[test]
fn cleanup_ends_gobgpd_too() -> Result<()> {
    on_node(|node| {
        node.configure("resync: 1h", &format!("resync: 1h\ndataplane: {{snatRule: ipvs-match}}{BGP}"))?;
        node.start()?;
        ensure!(programs(node)?.iter().any(|name| name == "gobgpd"), "{:?}", programs(node)?);
        node.kill()?;
        node.vipcast(&["cleanup"])?.ended(0)?;
        ensure!(programs(node)?.is_empty(), "{:?}", programs(node)?);
        ensure!(!node.machine().path("run/vipcast/gobgpd.sock").exists());
        // iptables leaves the tables and chains that it made for itself, but nothing of ours.
        let ours =
            |line: &String| ["vipcast", "VIPCAST", "10.96.", "fd00:10:96:"].iter().any(|word| line.contains(word));
        let left: Vec<String> = everything(node)?.into_iter().filter(ours).collect();
        ensure!(left.is_empty(), "{left:#?}");
        node.vipcast(&["cleanup"])?.ended(0)?;
        Ok(())
    })
}

/// The programs that run on the node.
pub(super) fn programs(node: &Node) -> Result<Vec<String>> {
    let processes = node.machine().netns().processes()?;
    // One that has just ended has no name.
    let name = |pid| Some(fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim().to_owned());
    Ok(processes.into_iter().filter_map(name).collect())
}
