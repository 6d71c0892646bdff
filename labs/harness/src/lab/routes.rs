//! What a router knows: its BGP routes with their attributes, its sessions, and its kernel's forwarding table. The same for
//! FRR and BIRD, so that tests need not know which one they look at.

mod bird;
mod frr;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::Node;

/// A route as a router heard it from one neighbour.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// The AS path, nearest first.
    pub as_path: Vec<u32>,
    /// The next hop; with IPv6 the global address, where there is one.
    pub next_hop: String,
    /// Communities as `65001:100`, well-known ones by their names in RFC 1997 (`no-export`).
    pub communities: BTreeSet<String>,
    /// Large communities as `65001:1:100`.
    pub large_communities: BTreeSet<String>,
    /// MULTI_EXIT_DISC. Unknown is not told from 0 by every router.
    pub med: Option<u32>,
    /// LOCAL_PREF, which only neighbours of the same AS send; routers have a default for the others.
    pub local_pref: Option<u32>,
}

/// A BGP session as the router sees it.
#[derive(Clone, Debug)]
pub struct Session {
    /// Is it established?
    pub established: bool,
    since: Since,
}

/// What tells one establishment of a session from the next.
#[derive(Clone, Copy, Debug)]
enum Since {
    /// The how manieth it is.
    Count(u64),
    /// When it began, a time of day in milliseconds. BIRD works it out anew each time that it is asked.
    Clock(u64),
}

/// How far two answers for the same moment are apart, at most. No session ends and is back within that.
const BLUR: u64 = 100;

impl Session {
    /// Is it established, then and now, and was it never lost in between?
    pub fn went_on(&self, now: &Session) -> bool {
        self.established
            && now.established
            && match (self.since, now.since) {
                (Since::Count(then), Since::Count(now)) => then == now,
                (Since::Clock(then), Since::Clock(now)) => then.abs_diff(now) < BLUR,
                _ => false,
            }
    }
}

/// One way of a route in a kernel's forwarding table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hop {
    /// The next hop's address, of either family.
    pub gateway: String,
    /// The interface.
    pub interface: String,
}

impl Node {
    /// What the node's router heard of exactly this prefix in BGP, by neighbour: with FRR its address, or the interface that
    /// it is behind; with BIRD the protocol's name. Routes that its policy refused are left out.
    pub fn heard(&self, prefix: &str) -> Result<BTreeMap<String, Heard>> {
        if self.has_bird() {
            return bird::heard(&self.bird_routes(prefix)?);
        }
        let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
        frr::heard(self.vtysh_json(&format!("show bgp {family} unicast {prefix}"))?)
    }

    /// The node's BGP sessions, by neighbour as in [`heard`](Node::heard).
    pub fn sessions(&self) -> Result<BTreeMap<String, Session>> {
        match self.has_bird() {
            true => bird::sessions(&self.birdc("show protocols")?),
            false => frr::sessions(self.vtysh_json("show bgp summary")?),
        }
    }

    /// The BFD sessions of a node that runs BIRD, by the other side's address. Established means up.
    pub fn bfd_sessions(&self) -> Result<BTreeMap<String, Session>> {
        bird::bfd_sessions(&self.birdc("show bfd sessions")?)
    }

    /// The ways that the node's kernel has for exactly this prefix.
    pub fn forwarding(&self, prefix: &str) -> Result<BTreeSet<Hop>> {
        let family = if prefix.contains(':') { "-6" } else { "-4" };
        let said = self.command("ip").args([family, "-json", "route", "show", "exact", prefix]).run()?.stdout;
        hops(&said).with_context(|| format!("routes for {prefix}: {said}"))
    }
}

/// As `ip -json route` prints it: a route with one way has it inside, one with several has a list.
#[derive(Deserialize)]
struct Route {
    #[serde(flatten)]
    only: Way,
    #[serde(default)]
    nexthops: Vec<Way>,
}

#[derive(Deserialize)]
struct Way {
    dev: Option<String>,
    gateway: Option<String>,
    /// A next hop of the other family (RFC 8950).
    via: Option<Via>,
}

#[derive(Deserialize)]
struct Via {
    host: String,
}

fn hops(said: &str) -> Result<BTreeSet<Hop>> {
    // Without routes, `ip` may say nothing at all.
    let routes: Vec<Route> = if said.trim().is_empty() { Vec::new() } else { serde_json::from_str(said)? };
    // IPv6 routes come one by one in older versions, together in newer ones.
    let ways = routes.into_iter().flat_map(|route| route.nexthops.into_iter().chain([route.only]));
    Ok(ways
        .filter_map(|way| {
            Some(Hop { gateway: way.gateway.or_else(|| way.via.map(|via| via.host))?, interface: way.dev? })
        })
        .collect())
}

#[cfg(test)]
mod tests;
