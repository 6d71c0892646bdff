//! `bfd`: timers of all BFD sessions, and sessions of their own for switches with static routes; and `bgp.peers[].bfd`.

use std::time::Duration;

use super::bgp::peer;
use super::item::{Item, Mistake, Table};
use super::ranges::Taken;
use super::{labels, value};
use crate::model::bfd::{Distance, Timers};
use crate::model::bgp::PeerName;
use crate::model::settings::{Bfd, BfdEntry, PeerBfd};

/// What has to be given in a list of peers.
const PEERS: &str = "a list of switches with static routes, each a mapping with at least address or interface";

/// The section.
#[derive(Debug, Default)]
pub(super) struct Section {
    /// What decisions depend on.
    pub(super) settings: Bfd,
    /// Addresses that no range may hold.
    pub(super) taken: Vec<Taken>,
}

/// Reads `bfd`.
pub(super) fn read(item: &Item) -> Result<Section, Mistake> {
    let table = item.table(&["interval", "multiplier", "peers"])?;
    let timers = timers(&table, Timers::default())?;
    let mut taken = Vec::new();
    let items = table.read("peers", |item| item.list(PEERS))?.unwrap_or_default();
    let peers = items.iter().map(|item| entry(item, timers, &mut taken)).collect::<Result<Vec<_>, _>>()?;
    for (index, entry) in peers.iter().enumerate() {
        let same = |other: &BfdEntry| other.name == entry.name && other.node_selector == entry.node_selector;
        if let Some(first) = peers[..index].iter().position(same) {
            return Err(items[index].mistake(format_args!(
                "is for {}, as {} is; allowed: one entry per peer, or each with a nodeSelector of its own",
                entry.name,
                items[first].key()
            )));
        }
    }
    Ok(Section { settings: Bfd { timers, peers }, taken })
}

/// `bgp.peers[].bfd`.
pub(super) fn of_peer(item: &Item) -> Result<Option<PeerBfd>, Mistake> {
    const ALLOWED: &str = "off, on, or a mapping with the keys interval, multiplier, multihop";
    if !item.is_table() {
        return item.parse(ALLOWED, |text| match text {
            "off" => Some(None),
            "on" => Some(Some(PeerBfd::default())),
            _ => None,
        });
    }
    let table = item.table(&["interval", "multiplier", "multihop"])?;
    Ok(Some(PeerBfd {
        interval: table.read("interval", interval)?,
        multiplier: table.read("multiplier", multiplier)?,
        multihop: table.read("multihop", least_ttl)?,
    }))
}

fn entry(item: &Item, default: Timers, taken: &mut Vec<Taken>) -> Result<BfdEntry, Mistake> {
    let keys = ["address", "interface", "interval", "multiplier", "localAddress", "multihop", "nodeSelector"];
    let table = item.table(&keys)?;
    let name = peer::name(&table, taken)?;
    if let PeerName::Interface(_) = name
        && let Some(item) = ["localAddress", "multihop"].into_iter().find_map(|key| table.get(key))
    {
        let allowed = "this key only for a peer with an address";
        return Err(item.conflict("for a peer that is known by its interface", allowed));
    }
    Ok(BfdEntry {
        node_selector: table.read("nodeSelector", labels::selector)?.unwrap_or_default(),
        timers: timers(&table, default)?,
        local_address: table.read("localAddress", |item| peer::local_address(item, &name, taken))?,
        distance: table.read("multihop", least_ttl)?.map_or(Distance::SingleHop, Distance::Multihop),
        name,
    })
}

fn timers(table: &Table, default: Timers) -> Result<Timers, Mistake> {
    Ok(Timers {
        interval: table.read("interval", interval)?.unwrap_or(default.interval),
        multiplier: table.read("multiplier", multiplier)?.unwrap_or(default.multiplier),
    })
}

/// Below 10 ms a host without real-time scheduling cannot keep its word.
fn interval(item: &Item) -> Result<Duration, Mistake> {
    let range = Duration::from_millis(10)..=Duration::from_secs(60);
    value::duration(item, range, "a time such as 300ms, from 10ms to 60s")
}

/// With 1 a single lost packet would end the session.
fn multiplier(item: &Item) -> Result<u8, Mistake> {
    item.number(2..=255, "a number of intervals")
}

fn least_ttl(item: &Item) -> Result<u8, Mistake> {
    item.number(1..=255, "the least TTL that packets arrive with,")
}
