//! `ranges`: which VIPs there are, how they are announced, and what must not be among them.

use std::net::IpAddr;

use super::item::{Item, Mistake};
use super::{attributes, bgp, labels, value};
use crate::model::Family;
use crate::model::bgp::NextHop;
use crate::model::settings::{Announce, BgpSettings, Range, Use};

/// An address that is in use for something else than a VIP, and what for.
pub(super) type Taken = (IpAddr, String);

/// A range with the item that names its prefix, for complaints.
struct Located<'a> {
    prefix: Item<'a>,
    /// The item of its `prepend`.
    prepend: Option<Item<'a>>,
    range: Range,
}

/// The section. No two of its ranges share an address.
#[derive(Default)]
pub(super) struct Ranges<'a> {
    /// The ClusterIP ranges; `None`: they are not given.
    cluster_ips: Option<Vec<Located<'a>>>,
    /// Where external and load-balancer IPs may come from.
    allowed: Vec<Located<'a>>,
}

/// Reads `ranges`.
pub(super) fn read<'a>(item: &Item<'a>) -> Result<Ranges<'a>, Mistake> {
    let table = item.table(&["clusterIPs", "externalIPs", "loadBalancerIPs"])?;
    let mut ranges = Ranges::default();
    if let Some(list) = table.get("clusterIPs") {
        ranges.cluster_ips = Some(Vec::new());
        for item in list.filled_list("a list of ranges; without the key, the ServiceCIDR objects say")? {
            let later = range(&item, Use::ClusterIp)?;
            ranges.check_overlap(&later)?;
            ranges.cluster_ips.get_or_insert_default().push(later);
        }
    }
    for (key, usage) in [("externalIPs", Use::ExternalIp), ("loadBalancerIPs", Use::LoadBalancerIp)] {
        let Some(list) = table.get(key) else { continue };
        for item in list.list("a list of ranges; empty, or without the key, none is allowed")? {
            ranges.allow(range(&item, usage)?)?;
        }
    }
    Ok(ranges)
}

/// One range: a prefix, or a mapping that has one. ClusterIPs are announced as one route by default, single VIPs by their
/// own.
fn range<'a>(item: &Item<'a>, usage: Use) -> Result<Located<'a>, Mistake> {
    let default = if usage == Use::ClusterIp { Announce::Aggregate } else { Announce::Host };
    if !item.is_table() {
        let range = Range::new(value::range(item)?, usage, default);
        return Ok(Located { prefix: item.clone(), prepend: None, range });
    }
    let table = item.table(&[&["prefix", "announce", "nodeSelector"], &attributes::KEYS[..]].concat())?;
    let prefix = table.require("prefix", "the range, such as 10.96.0.0/16")?;
    let announce = table.read("announce", |item| {
        item.choice(&[("aggregate", Announce::Aggregate), ("host", Announce::Host), ("none", Announce::None)])
    })?;
    let range = Range {
        attributes: attributes::read(&table)?,
        node_selector: table.read("nodeSelector", labels::selector)?.unwrap_or_default(),
        ..Range::new(value::range(prefix)?, usage, announce.unwrap_or(default))
    };
    Ok(Located { prefix: prefix.clone(), prepend: table.get("prepend").cloned(), range })
}

impl<'a> Ranges<'a> {
    fn iter(&self) -> impl Iterator<Item = &Located<'a>> {
        self.cluster_ips.iter().flatten().chain(&self.allowed)
    }

    fn check_overlap(&self, later: &Located) -> Result<(), Mistake> {
        match self.iter().find(|earlier| earlier.range.prefix.overlaps(later.range.prefix)) {
            Some(Located { prefix, range, .. }) => {
                let trouble = format!("which shares addresses with {}, {}", prefix.key(), range.prefix);
                Err(later.prefix.conflict(trouble, "ranges that are apart"))
            }
            None => Ok(()),
        }
    }

    /// Adds an allowed range. One that stands in the other list already has a second use from now on.
    fn allow(&mut self, later: Located<'a>) -> Result<(), Mistake> {
        let same = |earlier: &&mut Located| {
            earlier.range.prefix == later.range.prefix && earlier.range.uses.is_disjoint(&later.range.uses)
        };
        let Some(earlier) = self.allowed.iter_mut().find(same) else {
            self.check_overlap(&later)?;
            self.allowed.push(later);
            return Ok(());
        };
        let (one, other) = (&earlier.range, &later.range);
        let differs = [
            (one.announce != other.announce).then_some("announce"),
            attributes::differing(&one.attributes, &other.attributes),
            (one.node_selector != other.node_selector).then_some("nodeSelector"),
        ];
        if let Some(what) = differs.into_iter().flatten().next() {
            let trouble = format!("which {} has with another {what}", earlier.prefix.key());
            return Err(later.prefix.conflict(trouble, "the same in both lists, since it is one range"));
        }
        earlier.range.uses.extend(later.range.uses);
        Ok(())
    }

    /// Refuses ranges that are wholly local to this node and hold an address in use: it could reach nothing there. In other
    /// ranges each VIP is looked at by itself.
    pub(super) fn check_taken(&self, taken: &[Taken]) -> Result<(), Mistake> {
        for Located { prefix, range, .. } in self.iter().filter(|located| located.range.is_whole()) {
            if let Some((address, what)) = taken.iter().find(|(address, _)| range.prefix.contains(*address)) {
                let or = if range.uses.contains(&Use::ClusterIp) { "" } else { ", or announce: host" };
                return Err(prefix.conflict(
                    format_args!("which holds {address}, {what}"),
                    format_args!("a range that nothing but VIPs comes from{or}"),
                ));
            }
        }
        Ok(())
    }

    /// Refuses ranges whose routes no peer would install: those of a family that no peer is sent, which follows from the
    /// peers' families, and with those from the next hops ([`BgpSettings::fit`]); and prepends that peers in the own AS
    /// would take for loops.
    pub(super) fn check_announceable(&self, settings: &BgpSettings) -> Result<(), Mistake> {
        let is_sent = |family| settings.peers.iter().any(|entry| entry.peer.families.contains(&family));
        for Located { prefix, range, prepend } in self.iter().filter(|l| l.range.announce != Announce::None) {
            match range.prefix.family() {
                Family::Ipv4 if !settings.peers.is_empty() && !is_sent(Family::Ipv4) => {
                    return Err(prefix.conflict(
                        "an IPv4 range that no peer would hear of, since none has the family ipv4",
                        "a peer with an IPv4 address in bgp.peers or with families: [ipv4, ipv6], or announce: none for \
                         this range",
                    ));
                }
                Family::Ipv6 if !is_sent(Family::Ipv6) && settings.next_hop_ipv6 == NextHop::Own => {
                    return Err(prefix.conflict(
                        "an IPv6 range that no router would install, since no peer has the family ipv6 and \
                         bgp.nextHop.ipv6 is self",
                        "a peer with an IPv6 address, an address in bgp.nextHop.ipv6, or announce: none for this range",
                    ));
                }
                Family::Ipv6 if !settings.peers.is_empty() && !is_sent(Family::Ipv6) => {
                    return Err(prefix.conflict(
                        "an IPv6 range that no peer would hear of, since none has the family ipv6",
                        "a peer with ipv6 among its families, or announce: none for this range",
                    ));
                }
                _ => {}
            }
            if let Some(item) = prepend.as_ref().filter(|_| range.attributes.prepends()) {
                bgp::check_prepend(item, settings)?;
            }
        }
        Ok(())
    }

    /// The key and the range that shares an address with those from `first` to `last`.
    pub(super) fn sharing(&self, first: IpAddr, last: IpAddr) -> Option<(&str, &Range)> {
        let shares = |range: &Range| {
            let prefix = range.prefix;
            prefix.family() == Family::of(first) && prefix.address() <= last && first <= prefix.last()
        };
        self.iter().find(|located| shares(&located.range)).map(|located| (located.prefix.key(), &located.range))
    }

    /// The ClusterIP ranges, and those that are allowed, without their places.
    pub(super) fn settings(self) -> (Option<Vec<Range>>, Vec<Range>) {
        let bare = |ranges: Vec<Located>| ranges.into_iter().map(|located| located.range).collect();
        (self.cluster_ips.map(bare), bare(self.allowed))
    }
}
