//! `dataplane.snat`, `snatRule` and `snatPorts`: what a client's address and port become.

use std::net::IpAddr;

use super::item::{Item, Mistake, Table};
use super::ranges::Ranges;
use super::{labels, value};
use crate::model::Family;
use crate::model::settings::{BgpSettings, PoolEntry, Snat};

/// How many addresses an entry of the pool may have. Each that the node does not have becomes a local route and a BGP route
/// of its own; this many give 16 million connections to one endpoint.
const LARGEST: u128 = 256;

/// The three keys.
pub(super) struct Source<'a> {
    /// The rule, if there is any.
    pub(super) snat: Snat,
    /// The entries of the pool, each with its item.
    pool: Vec<(Item<'a>, PoolEntry)>,
    /// The first and the last port.
    pub(super) ports: Option<(u16, u16)>,
}

/// Reads them from `dataplane`, and refuses what contradicts itself.
pub(super) fn read<'a>(dataplane: &Table<'a>) -> Result<Source<'a>, Mistake> {
    let pool = dataplane.read("snat", pool)?.unwrap_or(Some(Vec::new()));
    let choices = [("nftables", Snat::Nftables), ("ipvs-match", Snat::IpvsMatch)];
    let rule = dataplane.read("snatRule", |item| item.choice(&choices))?.unwrap_or(Snat::Nftables);
    let snat = if pool.is_some() { rule } else { Snat::None };
    let pool = pool.unwrap_or_default();
    if let Some(item) = dataplane.get("snatRule").filter(|_| snat == Snat::IpvsMatch && !pool.is_empty()) {
        return Err(item.conflict("while dataplane.snat has a pool", "nftables with a pool"));
    }
    let ports = dataplane.read("snatPorts", |item| {
        let ports = value::ports(item, 1024)?;
        match snat {
            Snat::Nftables => Ok(ports),
            Snat::None => Err(item.conflict("while dataplane.snat is none", "snatPorts with masquerade or a pool")),
            Snat::IpvsMatch => {
                Err(item.conflict("while dataplane.snatRule is ipvs-match", "snatPorts with snatRule: nftables"))
            }
        }
    })?;
    Ok(Source { snat, pool, ports })
}

/// `snat`: the pool, which is empty for `masquerade`; `None` for `none`.
fn pool<'a>(item: &Item<'a>) -> Result<Option<Vec<(Item<'a>, PoolEntry)>>, Mistake> {
    if !item.is_table() {
        return item.parse("masquerade, none, or {pool: [FIRST-LAST]}", |text| match text {
            "masquerade" => Some(Some(Vec::new())),
            "none" => Some(None),
            _ => None,
        });
    }
    const POOL: &str = "a list of this node's SNAT addresses, such as [192.0.2.10-192.0.2.13]";
    let table = item.table(&["pool"])?;
    let mut pool: Vec<(Item, PoolEntry)> = Vec::new();
    for item in table.require("pool", POOL)?.filled_list(POOL)? {
        let (item, later) = entry(&item)?;
        for (place, earlier) in pool.iter().filter(|(_, e)| Family::of(e.first) == Family::of(later.first)) {
            if earlier.first <= later.last && later.first <= earlier.last {
                let trouble = format!("which shares addresses with {}", place.key());
                return Err(item.conflict(trouble, "addresses of one node alone, since replies come back to them"));
            }
            if earlier.node_selector == later.node_selector {
                let trouble = format!("for the same nodes as {}", place.key());
                return Err(item.conflict(trouble, "one entry of each family, or each with a nodeSelector of its own"));
            }
        }
        pool.push((item, later));
    }
    Ok(Some(pool))
}

/// An entry: addresses, or a mapping that has them. With the item that names the addresses.
fn entry<'a>(item: &Item<'a>) -> Result<(Item<'a>, PoolEntry), Mistake> {
    let (item, node_selector) = if item.is_table() {
        let table = item.table(&["addresses", "nodeSelector"])?;
        let addresses = table.require("addresses", "FIRST-LAST, such as 192.0.2.10-192.0.2.13")?.clone();
        (addresses, table.read("nodeSelector", labels::selector)?.unwrap_or_default())
    } else {
        (item.clone(), Default::default())
    };
    let (first, last) = item.parse("an address, or FIRST-LAST of one family", |text| {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (first.trim().parse::<IpAddr>().ok()?, last.trim().parse::<IpAddr>().ok()?);
        (Family::of(first) == Family::of(last)).then_some((first, last))
    })?;
    const ALLOWED: &str = "addresses that others can reach";
    if let Some(trouble) = [first, last].into_iter().find_map(|address| value::unreachable(address, false)) {
        return Err(item.conflict(trouble, ALLOWED));
    }
    match PoolEntry::count(first, last) {
        0 => Err(item.conflict("whose last address comes before its first", "FIRST-LAST")),
        size if size > LARGEST => {
            Err(item.conflict(format_args!("{size} addresses"), format_args!("at most {LARGEST} addresses")))
        }
        _ => Ok((item, PoolEntry { first, last, node_selector })),
    }
}

impl Source<'_> {
    /// Refuses a pool that holds a VIP, since a Service could take the address, or a peer.
    pub(super) fn check(&self, ranges: &Ranges, bgp: Option<&BgpSettings>) -> Result<(), Mistake> {
        const ALLOWED: &str = "addresses that are used for nothing else";
        for (item, PoolEntry { first, last, .. }) in &self.pool {
            if let Some((key, range)) = ranges.sharing(*first, *last) {
                return Err(item.conflict(format_args!("which shares addresses with {key}, {}", range.prefix), ALLOWED));
            }
            let mut peers = bgp.iter().flat_map(|bgp| &bgp.peers).filter_map(|entry| entry.name.address());
            let inside = |peer: &IpAddr| Family::of(*peer) == Family::of(*first) && first <= peer && peer <= last;
            if let Some(peer) = peers.find(inside) {
                return Err(item.conflict(format_args!("which holds the BGP peer {peer}"), ALLOWED));
            }
        }
        Ok(())
    }

    /// The entries of the pool.
    pub(super) fn pool(self) -> Vec<PoolEntry> {
        self.pool.into_iter().map(|(_, entry)| entry).collect()
    }
}
