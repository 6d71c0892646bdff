//! The ranges in force: those of ClusterIPs from the configuration, else from the ServiceCIDR objects; those that allow
//! other VIPs; and the SNAT pool. Where a whole range becomes local on this node, it is checked against what must not lie
//! in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use crate::model::addr::Addr;
use crate::model::settings::{Announce, Range, Use};
use crate::model::{Cluster, Family, Labels, Prefix, Settings};

use super::canary;
use super::role::labels;

/// The ranges in force, none inside another, and why others are not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranges {
    ranges: BTreeMap<Prefix, Range>,
    problems: BTreeMap<Prefix, String>,
    pool: BTreeMap<Family, (IpAddr, IpAddr)>,
    /// How ranges are announced whose `nodeSelector` does not select this node, by those that it does.
    elsewhere: BTreeMap<Prefix, Announce>,
}

impl Ranges {
    /// The ranges in force. One that is local on this node already stays in force whatever is found in it, so that an
    /// edit elsewhere (a Node object, say) cannot take down what works; the problem is told all the same. While objects
    /// are `unknown`, or not believed to be gone, one of them may be the ServiceCIDR of any range that is local.
    pub fn in_force(
        settings: &Settings,
        cluster: &Cluster,
        node_ips: &[IpAddr],
        own: &BTreeSet<IpAddr>,
        local: &Addr,
        unknown: bool,
    ) -> Ranges {
        let mut wanted: Vec<Range> = match &settings.cluster_ips {
            Some(ranges) => ranges.clone(),
            None => {
                let is_given = |prefix: &Prefix| settings.allowed.iter().any(|range| range.prefix.overlaps(*prefix));
                let left = local.routes.keys().copied();
                let left = left.filter(|prefix| unknown && !prefix.is_host() && !is_given(prefix));
                cluster.service_cidrs().into_iter().chain(left).map(aggregate).collect()
            }
        };
        wanted.sort_by_key(|range| (range.prefix.length(), range.prefix));
        let labels = labels(cluster);
        wanted.extend(settings.allowed.iter().cloned().chain(pool(settings, &labels, own)));
        let mut elsewhere = BTreeMap::new();
        for range in wanted.iter_mut().filter(|range| !range.node_selector.matches(&labels)) {
            elsewhere.insert(range.prefix, range.announce);
            range.announce = Announce::None;
        }
        // Who gives a range of other VIPs may overlook an address of some link; ClusterIPs may be on links of kube-proxy's.
        let all: Vec<IpAddr> = node_ips.iter().chain(own).copied().collect();
        let mut result = Ranges { elsewhere, ..Ranges::default() };
        for range in wanted {
            // ClusterIP ranges come first, the widest first.
            if let Some(other) = result.ranges.keys().find(|other| other.overlaps(range.prefix)) {
                if !range.uses.contains(&Use::ClusterIp) {
                    let problem = format!("range {} shares addresses with the range {other}", range.prefix);
                    result.problems.insert(range.prefix, problem);
                }
                continue;
            }
            let addresses = if range.uses.contains(&Use::ClusterIp) { node_ips } else { &all };
            let problem = intruder(range.prefix, settings, cluster, addresses).filter(|_| range.is_whole());
            if let Some(problem) = &problem {
                result.problems.insert(range.prefix, problem.clone());
            }
            if problem.is_none() || local.routes.contains_key(&range.prefix) {
                result.ranges.insert(range.prefix, range);
            }
        }
        result.add_canaries(settings, cluster, &all, local);
        result.with_pool(settings, &labels, own)
    }

    /// The canaries of the families that are served, on a node with the addresses `all`.
    fn add_canaries(&mut self, settings: &Settings, cluster: &Cluster, all: &[IpAddr], local: &Addr) {
        let served: BTreeSet<Family> = self.ranges.keys().map(|prefix| prefix.family()).collect();
        for (prefix, canary) in canary::configured(settings) {
            if !served.contains(&canary.family()) || !all.iter().any(|ip| Family::of(*ip) == canary.family()) {
                continue;
            }
            let problem = match self.ranges.keys().find(|other| other.overlaps(prefix)) {
                Some(other) => Some(format!("the canary's range {prefix} shares addresses with the range {other}")),
                None => intruder(prefix, settings, cluster, all)
                    .map(|problem| format!("the canary's {problem}: set proof.canaries")),
            };
            let range = canary::range(&canary);
            let overlaps = self.ranges.keys().any(|other| other.overlaps(prefix));
            if problem.is_none() || !overlaps && local.routes.contains_key(&range.prefix) {
                self.ranges.insert(range.prefix, range);
            }
            self.problems.extend(problem.map(|problem| (prefix, problem)));
        }
    }

    /// No range, where the node is to have nothing of ours; a pool of its own addresses stays until the rules are gone.
    pub fn none(settings: &Settings, cluster: &Cluster, own: &BTreeSet<IpAddr>) -> Ranges {
        Ranges::default().with_pool(settings, &labels(cluster), own)
    }

    fn with_pool(mut self, settings: &Settings, labels: &Labels, own: &BTreeSet<IpAddr>) -> Ranges {
        let usable = |host: Prefix| own.contains(&host.address()) || self.ranges.contains_key(&host);
        let in_force = |family| {
            let pool = settings.dataplane.pool(family, labels)?;
            let mut hosts = Prefix::spanning(pool.0, pool.1).into_iter().flat_map(Prefix::hosts);
            hosts.all(usable).then_some((family, pool))
        };
        self.pool = Family::ALL.into_iter().filter_map(in_force).collect();
        self
    }

    /// The range that holds `address`.
    pub fn covering(&self, address: IpAddr) -> Option<&Range> {
        let (prefix, range) = self.ranges.range(..=Prefix::host(address)).next_back()?;
        prefix.contains(address).then_some(range)
    }

    /// How `range` is announced by the nodes that it selects; this may be none of them.
    pub fn configured(&self, range: &Range) -> Announce {
        self.elsewhere.get(&range.prefix).copied().unwrap_or(range.announce)
    }

    /// All ranges.
    pub fn iter(&self) -> impl Iterator<Item = &Range> {
        self.ranges.values()
    }

    /// The prefixes of all ranges.
    pub fn prefixes(&self) -> BTreeSet<Prefix> {
        self.ranges.keys().copied().collect()
    }

    /// The prefixes of the ranges that are wholly local.
    pub fn whole(&self) -> BTreeSet<Prefix> {
        self.iter().filter(|range| range.is_whole()).map(|range| range.prefix).collect()
    }

    /// The first and the last address of the SNAT pool of each family, where all of it is this node's own or in force: one that
    /// is not would lose every reply.
    pub fn pool(&self) -> &BTreeMap<Family, (IpAddr, IpAddr)> {
        &self.pool
    }

    /// Is `address` in a range in which each VIP has a local route of its own?
    pub fn has_own_route(&self, address: IpAddr) -> bool {
        self.covering(address).is_some_and(|range| !range.is_whole())
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
        let mut of_vips = self.iter().filter(|range| !range.uses.is_empty()).map(|range| range.prefix).peekable();
        if of_vips.peek().is_none() {
            return f.write_str("none in force");
        }
        for (index, prefix) in of_vips.enumerate() {
            write!(f, "{}{prefix}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// A range as a ServiceCIDR object implies it.
fn aggregate(prefix: Prefix) -> Range {
    Range::new(prefix, Use::ClusterIp, Announce::Aggregate)
}

/// The part of the SNAT pool that this node does not have as its own addresses: replies to it have to find this node, so it
/// is announced, and what IPVS does not take of it is refused, as with a range that nobody has a VIP in. Each address by
/// itself: switches let in host routes only, and where a pool begins is nobody's prefix.
fn pool(settings: &Settings, labels: &Labels, own: &BTreeSet<IpAddr>) -> Vec<Range> {
    let pools = Family::ALL.into_iter().filter_map(|family| settings.dataplane.pool(family, labels));
    let prefixes = pools.flat_map(|(first, last)| Prefix::spanning(first, last));
    let ours = prefixes.flat_map(Prefix::hosts).filter(|host| !own.contains(&host.address()));
    ours.map(|prefix| Range { uses: BTreeSet::new(), ..aggregate(prefix) }).collect()
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
    let mut watched = settings.bfd.peers.iter().filter_map(|entry| entry.name.address());
    if let Some(peer) = watched.find(|peer| range.contains(*peer)) {
        return Some(format!("range {range} holds the BFD peer {peer}"));
    }
    let bgp = settings.bgp.as_ref()?;
    if let Some(peer) = bgp.peers.iter().filter_map(|entry| entry.name.address()).find(|peer| range.contains(*peer)) {
        return Some(format!("range {range} holds the BGP peer {peer}"));
    }
    let router_id = bgp.router_id.map(IpAddr::from).filter(|id| range.contains(*id))?;
    Some(format!("range {range} holds the router ID {router_id}"))
}
