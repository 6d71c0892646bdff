//! `ranges`: which VIPs there are, how they are announced, and what must not be among them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::item::{Item, Mistake};
use super::{labels, value};
use crate::model::Family;
use crate::model::bgp::NextHop;
use crate::model::settings::{Announce, BgpSettings, Range, Use};

/// An address that is in use for something else than a VIP, and what for.
pub(super) type Taken = (IpAddr, String);

/// A range with the item that names its prefix, for complaints.
pub(super) struct Located<'a> {
    prefix: Item<'a>,
    range: Range,
}

/// Reads `ranges`; `None`: the ClusterIP ranges are not given.
pub(super) fn read<'a>(item: &Item<'a>) -> Result<Option<Vec<Located<'a>>>, Mistake> {
    let table = item.table(&["clusterIPs"])?;
    let ranges: Option<Vec<Located>> = table.read("clusterIPs", |list| {
        list.filled_list("a list of ranges; without the key, the ServiceCIDR objects say")?.iter().map(range).collect()
    })?;
    if let Some(ranges) = &ranges {
        check_overlaps(ranges)?;
    }
    Ok(ranges)
}

/// One range: a prefix, or a mapping that has one.
fn range<'a>(item: &Item<'a>) -> Result<Located<'a>, Mistake> {
    if !item.is_table() {
        let range = Range::new(value::range(item)?, Use::ClusterIp, Announce::Aggregate);
        return Ok(Located { prefix: item.clone(), range });
    }
    let table = item.table(&["prefix", "announce", "communities", "nodeSelector"])?;
    let prefix = table.require("prefix", "the range, such as 10.96.0.0/16")?;
    let announce = table.read("announce", |item| {
        item.choice(&[("aggregate", Announce::Aggregate), ("host", Announce::Host), ("none", Announce::None)])
    })?;
    let range = Range {
        prefix: value::range(prefix)?,
        uses: BTreeSet::from([Use::ClusterIp]),
        announce: announce.unwrap_or(Announce::Aggregate),
        communities: table.read("communities", value::communities)?.unwrap_or_default(),
        node_selector: table.read("nodeSelector", labels::selector)?.unwrap_or_default(),
    };
    Ok(Located { prefix: prefix.clone(), range })
}

fn check_overlaps(ranges: &[Located]) -> Result<(), Mistake> {
    for (index, later) in ranges.iter().enumerate() {
        for earlier in &ranges[..index] {
            if earlier.range.prefix.overlaps(later.range.prefix) {
                let trouble = format!("which shares addresses with {}, {}", earlier.prefix.key(), earlier.range.prefix);
                return Err(later.prefix.conflict(trouble, "ranges that are apart"));
            }
        }
    }
    Ok(())
}

/// Refuses ranges that hold an address in use: all of a range is local to this node, so it could reach nothing there.
pub(super) fn check_taken(ranges: &[Located], taken: &[Taken]) -> Result<(), Mistake> {
    for Located { prefix, range } in ranges {
        if let Some((address, what)) = taken.iter().find(|(address, _)| range.prefix.contains(*address)) {
            let trouble = format!("which holds {address}, {what}");
            return Err(prefix.conflict(trouble, "a range that nothing but VIPs comes from"));
        }
    }
    Ok(())
}

/// Refuses ranges whose routes no peer would install.
///
/// Next hop self over an IPv4 session becomes `::ffff:a.b.c.d` on an IPv6 path: routers show such a path as best and
/// never install it. So IPv6 needs an IPv6 session or a next hop in words. IPv4 goes over IPv4 sessions only.
pub(super) fn check_announceable(ranges: &[Located], bgp: &BgpSettings) -> Result<(), Mistake> {
    let peers = |family| bgp.peers.iter().any(|entry| Family::of(entry.address) == family);
    for Located { prefix, range } in ranges.iter().filter(|located| located.range.announce != Announce::None) {
        match range.prefix.family() {
            Family::Ipv4 if !bgp.peers.is_empty() && !peers(Family::Ipv4) => {
                return Err(prefix.conflict(
                    "an IPv4 range that no peer would hear of, since all have IPv6 addresses",
                    "a peer with an IPv4 address in bgp.peers, or announce: none for this range",
                ));
            }
            Family::Ipv6 if !peers(Family::Ipv6) && bgp.next_hop_ipv6 == NextHop::Own => {
                return Err(prefix.conflict(
                    "an IPv6 range that no router would install, since no peer has an IPv6 address and \
                     bgp.nextHop.ipv6 is self",
                    "a peer with an IPv6 address, an address in bgp.nextHop.ipv6, or announce: none for this range",
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The ranges alone.
pub(super) fn settings(ranges: Vec<Located>) -> Vec<Range> {
    ranges.into_iter().map(|located| located.range).collect()
}
