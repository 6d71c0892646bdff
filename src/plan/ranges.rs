//! The ClusterIP ranges in force: from the configuration, else from the ServiceCIDR objects; checked against what must
//! not lie in them, since a whole range becomes local on this node.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use crate::model::addr::Addr;
use crate::model::settings::{Announce, Range, Use};
use crate::model::{Cluster, Prefix, Settings};

use super::role::labels;

/// The ranges in force, none inside another, and why others are not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranges {
    ranges: BTreeMap<Prefix, Range>,
    problems: BTreeMap<Prefix, String>,
}

impl Ranges {
    /// The ranges in force. One that is local on this node already stays in force whatever is found in it, so that an
    /// edit elsewhere (a Node object, say) cannot take down what works; the problem is told all the same. While some
    /// object has been `unknown` since the start, it may be the ServiceCIDR of any range that is local.
    pub fn in_force(
        settings: &Settings,
        cluster: &Cluster,
        node_ips: &[IpAddr],
        local: &Addr,
        unknown: bool,
    ) -> Ranges {
        let mut wanted: Vec<Range> = match &settings.cluster_ips {
            Some(ranges) => ranges.clone(),
            None => {
                let left = local.routes.keys().copied().filter(|_| unknown);
                cluster.service_cidrs().into_iter().chain(left).map(aggregate).collect()
            }
        };
        let labels = labels(cluster);
        for range in wanted.iter_mut().filter(|range| !range.node_selector.matches(&labels)) {
            range.announce = Announce::None;
        }
        wanted.sort_by_key(|range| (range.prefix.length(), range.prefix));
        let mut result = Ranges::default();
        for range in wanted {
            if result.ranges.keys().any(|outer| outer.covers(range.prefix)) {
                continue;
            }
            let problem = intruder(range.prefix, settings, cluster, node_ips);
            if let Some(problem) = &problem {
                result.problems.insert(range.prefix, problem.clone());
            }
            if problem.is_none() || local.routes.contains_key(&range.prefix) {
                result.ranges.insert(range.prefix, range);
            }
        }
        result
    }

    /// The range that holds `address`.
    pub fn covering(&self, address: IpAddr) -> Option<&Range> {
        let (prefix, range) = self.ranges.range(..=Prefix::host(address)).next_back()?;
        prefix.contains(address).then_some(range)
    }

    /// All ranges.
    pub fn iter(&self) -> impl Iterator<Item = &Range> {
        self.ranges.values()
    }

    /// The prefixes of all ranges.
    pub fn prefixes(&self) -> BTreeSet<Prefix> {
        self.ranges.keys().copied().collect()
    }

    /// Is `prefix` a range in force?
    pub fn contains(&self, prefix: Prefix) -> bool {
        self.ranges.contains_key(&prefix)
    }

    /// Ranges that something speaks against, with what.
    pub fn problems(&self) -> impl Iterator<Item = (Prefix, &str)> {
        self.problems.iter().map(|(prefix, problem)| (*prefix, problem.as_str()))
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ranges.is_empty() {
            return f.write_str("none in force");
        }
        for (index, prefix) in self.ranges.keys().enumerate() {
            write!(f, "{}{prefix}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// A range as a ServiceCIDR object implies it.
fn aggregate(prefix: Prefix) -> Range {
    Range::new(prefix, Use::ClusterIp, Announce::Aggregate)
}

/// What must not be inside a range but is.
fn intruder(range: Prefix, settings: &Settings, cluster: &Cluster, node_ips: &[IpAddr]) -> Option<String> {
    if let Some(address) = node_ips.iter().find(|address| range.contains(**address)) {
        return Some(format!("range {range} holds this node's address {address}"));
    }
    let pods = cluster.node().map(|node| node.pod_cidrs.as_slice()).unwrap_or_default();
    if let Some(pods) = pods.iter().find(|pods| pods.overlaps(range)) {
        return Some(format!("range {range} overlaps this node's pod range {pods}"));
    }
    let bgp = settings.bgp.as_ref()?;
    if let Some(peer) = bgp.peers.iter().map(|entry| entry.address).find(|peer| range.contains(*peer)) {
        return Some(format!("range {range} holds the BGP peer {peer}"));
    }
    let router_id = bgp.router_id.map(IpAddr::from).filter(|id| range.contains(*id))?;
    Some(format!("range {range} holds the router ID {router_id}"))
}
