//! Resilient hashing on a ToR, which FRR does not do by itself: a next-hop group of the kernel's type `resilient` that follows
//! FRR's route and takes its place.
//!
//! Two processes of `ip` live as long as it does, since starting one takes as long as a BFD detection.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};
use vipcast_lab::{Node, wait_for};

use super::stage::{LONG, RANGE};

/// The number of the group; next hops have the numbers after it.
const GROUP: u32 = 100;

/// The routing table that is asked first. In the main one, zebra would learn the route and give up that of BGP for it.
const TABLE: u32 = 77;

/// The group on one router. Dropped, FRR's route is alone again.
pub(super) struct Hasher {
    monitor: Child,
    follower: Option<JoinHandle<()>>,
    /// Ends a process of `ip` that is fed by the follower.
    shell: Child,
}

impl Hasher {
    /// Follows FRR's route from now on, and begins with the next hops that it has.
    pub(super) fn start(node: &Node) -> Result<Hasher> {
        let mut monitor = node.command("ip").args(["-4", "-o", "monitor", "route"]).stdout(Stdio::piped()).spawn()?;
        // Errors are told and passed over: a next hop whose link went down is gone already. Without a family, which groups
        // must not have.
        let command = node.command("ip").args(["-force", "-batch", "-"]).stdin(Stdio::piped());
        let mut shell = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let lines = BufReader::new(monitor.stdout.take().context("read from ip monitor")?).lines();
        let orders = shell.stdin.take().context("write to ip -batch")?;
        let now = node.command("ip").args(["-4", "-o", "route", "show", "exact", RANGE, "proto", "bgp"]).run()?.stdout;
        let mut group = Group { hops: BTreeMap::new(), orders };
        group.follow(now.lines().next().unwrap_or_default())?;
        let follower = thread::spawn(move || {
            for line in lines.map_while(Result::ok).filter(|line| is_ours(line)) {
                if group.follow(&line).is_err() {
                    return;
                }
            }
        });
        let hasher = Hasher { monitor, follower: Some(follower), shell };
        // Its errors are not read, so what it is for is looked at.
        let table = TABLE.to_string();
        wait_for(LONG, &format!("the resilient group of {}", node.name()), || {
            let found = node.command("ip").args(["-4", "route", "show", "table", &table]).run()?.stdout;
            Ok(if found.contains(&format!("{RANGE} nhid {GROUP}")) { Ok(()) } else { Err(found) })
        })?;
        Ok(hasher)
    }

    /// Takes the group off a router, if it has one, and makes room for the next.
    pub(super) fn clear(node: &Node) -> Result<()> {
        let line = format!(
            "(ip rule del lookup {TABLE}; ip route flush table {TABLE}; for id in $(seq {GROUP} {}); do ip nexthop del id $id; done) \
             2>/dev/null; ip rule add priority 100 lookup {TABLE}",
            GROUP + 9
        );
        node.command("sh").arg("-c").arg(line).run().map(drop)
    }
}

impl Drop for Hasher {
    fn drop(&mut self) {
        // Its end ends the follower, whose end ends the shell.
        let _ = self.monitor.kill();
        let _ = self.monitor.wait();
        if let Some(follower) = self.follower.take() {
            let _ = follower.join();
        }
        let _ = self.shell.wait();
    }
}

/// Is this line of `ip monitor` about FRR's route, and does it say what the route is from now on?
fn is_ours(line: &str) -> bool {
    line.starts_with(RANGE) && line.contains(" proto bgp ")
}

/// What the group has.
struct Group<W> {
    /// The number of each next hop that there ever was, by its address.
    hops: BTreeMap<String, u32>,
    orders: W,
}

impl<W: Write> Group<W> {
    /// Makes the group what a route is.
    fn follow(&mut self, route: &str) -> std::io::Result<()> {
        let first = self.hops.is_empty();
        let mut members = Vec::new();
        for (gateway, link) in hops(route) {
            let fresh = GROUP + 1 + u32::try_from(self.hops.len()).unwrap_or_default();
            let number = *self.hops.entry(gateway.to_owned()).or_insert(fresh);
            // Not if it is there: to replace a member is to replace its buckets.
            writeln!(self.orders, "nexthop add id {number} via {gateway} dev {link}")?;
            members.push(number.to_string());
        }
        if members.is_empty() {
            return Ok(());
        }
        let members = members.join("/");
        // Buckets without a packet for 2 s may move: those of a client that comes back soon stay.
        let timers = "buckets 128 idle_timer 2 unbalanced_timer 0";
        if first {
            writeln!(self.orders, "nexthop add id {GROUP} group {members} type resilient {timers}")?;
            writeln!(self.orders, "route add {RANGE} nhid {GROUP} table {TABLE}")?;
        } else {
            writeln!(self.orders, "nexthop replace id {GROUP} group {members} type resilient")?;
        }
        self.orders.flush()
    }
}

/// The next hops in a line of `ip -o route`.
fn hops(route: &str) -> Vec<(&str, &str)> {
    let words: Vec<&str> = route.split_whitespace().collect();
    let ways = words.windows(4).filter(|four| four[0] == "via" && four[2] == "dev");
    ways.map(|four| (four[1], four[3])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_follows_the_route() {
        let mut group = Group { hops: BTreeMap::new(), orders: Vec::new() };
        let four = "10.96.0.0/16 proto bgp metric 20 \\\tnexthop via 10.1.1.2 dev eth2 weight 1 \\\tnexthop via 10.1.2.2 dev eth3 weight 1";
        let one = "10.96.0.0/16 via 10.1.2.2 dev eth3 proto bgp metric 20";
        assert!(is_ours(four) && is_ours(one));
        assert!(!is_ours(&format!("Deleted {one}")) && !is_ours("10.96.0.0/16 nhid 100 table 77 proto boot"));
        for line in [four, one, four] {
            group.follow(line).expect("written");
        }
        let orders = String::from_utf8(group.orders.clone()).expect("text");
        assert_eq!(
            orders,
            "nexthop add id 101 via 10.1.1.2 dev eth2\nnexthop add id 102 via 10.1.2.2 dev eth3\n\
             nexthop add id 100 group 101/102 type resilient buckets 128 idle_timer 2 unbalanced_timer 0\n\
             route add 10.96.0.0/16 nhid 100 table 77\n\
             nexthop add id 102 via 10.1.2.2 dev eth3\nnexthop replace id 100 group 102 type resilient\n\
             nexthop add id 101 via 10.1.1.2 dev eth2\nnexthop add id 102 via 10.1.2.2 dev eth3\n\
             nexthop replace id 100 group 101/102 type resilient\n"
        );
    }
}
