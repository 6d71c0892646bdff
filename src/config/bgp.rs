//! `bgp`: this speaker, its gobgpd and its peers.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use super::item::{Item, Mistake};
use super::ranges::Taken;
use super::{Context, Gobgpd, labels, password, value};
use crate::model::Family;
use crate::model::bgp::{Attributes, NextHop, Peer, Ttl};
use crate::model::settings::{BgpSettings, PeerEntry};

/// Where Debian's package `gobgpd` puts it.
const GOBGPD: &str = "/usr/bin/gobgpd";

/// How many VIPs inside aggregates may have a route of their own where the file does not say.
const MAX_SPECIFICS: usize = 64;

/// The section.
pub(super) struct Section {
    /// What decisions depend on.
    pub(super) settings: BgpSettings,
    /// Where gobgpd is.
    pub(super) gobgpd: Gobgpd,
    /// Addresses that no range may hold.
    pub(super) taken: Vec<Taken>,
}

/// Reads `bgp`. `node_ips` are those that the file gives this node.
pub(super) fn read(item: &Item, context: &Context, node_ips: &[IpAddr]) -> Result<Section, Mistake> {
    let table = item.table(&["asn", "routerID", "listenPort", "gobgpd", "nextHop", "communities", "peers"])?;
    let mut taken = Vec::new();
    let asn = value::asn(table.require("asn", "this node's AS number")?)?;
    let router_id = table.read("routerID", router_id)?;
    if router_id.is_none() && !node_ips.is_empty() && node_ips.iter().all(IpAddr::is_ipv6) {
        return Err(table.missing("routerID", "an IPv4 address, which nodeIPs has none of"));
    }
    taken.extend(router_id.map(|id| (IpAddr::V4(id), "bgp.routerID".to_owned())));
    let gobgpd = match table.get("gobgpd") {
        Some(item) => gobgpd(item, context)?,
        None => Gobgpd::Spawn(PathBuf::from(GOBGPD)),
    };
    let exclusive = matches!(gobgpd, Gobgpd::Spawn(_));
    let [next_hop_ipv4, next_hop_ipv6] = next_hops(table.get("nextHop"), &mut taken)?;
    const PEERS: &str = "a list of peers, each a mapping with at least address and asn";
    let items = match table.get("peers") {
        Some(list) if exclusive => list.filled_list(PEERS)?,
        Some(list) => list.list(PEERS)?,
        None if exclusive => return Err(table.missing("peers", PEERS)),
        None => Vec::new(),
    };
    let mut peers: Vec<PeerEntry> = Vec::new();
    for item in &items {
        let entry = peer(item, asn, next_hop_ipv6, context, &mut taken)?;
        let same = |other: &PeerEntry| other.name == entry.name && other.node_selector == entry.node_selector;
        if let Some(first) = peers.iter().position(same) {
            let first = items[first].key();
            return Err(item.mistake(format_args!(
                "has the address {} of {first}; allowed: one peer per address, or each with a nodeSelector of its own",
                entry.name
            )));
        }
        peers.push(entry);
    }
    let settings = BgpSettings {
        asn,
        router_id,
        listen_port: table.read("listenPort", listen_port)?.flatten(),
        exclusive,
        next_hop_ipv4,
        next_hop_ipv6,
        attributes: Attributes {
            communities: table.read("communities", value::communities)?.unwrap_or_default(),
            ..Attributes::default()
        },
        max_specifics: MAX_SPECIFICS,
        peers,
    };
    Ok(Section { settings, gobgpd, taken })
}

fn router_id(item: &Item) -> Result<Ipv4Addr, Mistake> {
    // RFC 6286 section 2.1: any number but 0.
    item.parse("an IPv4 address other than 0.0.0.0, unique among the speakers of its AS", |text| {
        text.parse().ok().filter(|id: &Ipv4Addr| !id.is_unspecified())
    })
}

fn listen_port(item: &Item) -> Result<Option<u16>, Mistake> {
    item.parse("none, or a port from 1 to 65535", |text| match text {
        "none" => Some(None),
        _ => value::port(item).ok().map(Some),
    })
}

fn gobgpd(item: &Item, context: &Context) -> Result<Gobgpd, Mistake> {
    const ALLOWED: &str = "either spawn: PATH or address: unix:PATH or http://HOST:PORT";
    let table = item.table(&["spawn", "address"])?;
    match (table.get("spawn"), table.get("address")) {
        (Some(spawn), None) => Ok(Gobgpd::Spawn(context.path(spawn, "the path of the gobgpd program")?)),
        (None, Some(address)) => gobgpd_address(address).map(Gobgpd::Address),
        (None, None) => Err(item.refuse(ALLOWED)),
        (Some(_), Some(_)) => Err(item.conflict("with both spawn and address", ALLOWED)),
    }
}

/// The address of somebody else's gobgpd, in the one spelling that the gRPC client takes.
fn gobgpd_address(item: &Item) -> Result<String, Mistake> {
    item.parse("unix:PATH with an absolute path, or http://HOST:PORT", |text| {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return (path.starts_with('/') && path.len() > 1).then(|| format!("unix:{path}"));
        }
        let authority = text.strip_prefix("http://")?;
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let (host, port) = authority.rsplit_once(':')?;
        let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => value::is_node_name(&host.to_lowercase()),
        };
        (is_host && port.parse::<u16>().is_ok_and(|port| port != 0)).then(|| format!("http://{authority}"))
    })
}

/// The next hops, IPv4's first.
fn next_hops(item: Option<&Item>, taken: &mut Vec<Taken>) -> Result<[NextHop; 2], Mistake> {
    let Some(item) = item else { return Ok([NextHop::Own; 2]) };
    let table = item.table(&["ipv4", "ipv6"])?;
    let mut read = |key: &str, family: Family| {
        let Some(item) = table.get(key) else { return Ok(NextHop::Own) };
        if item.parse("", |text| Some(text == "self")).unwrap_or(false) {
            return Ok(NextHop::Own);
        }
        let allowed = format!("self, or an {family} address that the peers can reach");
        let address = value::address(item, &allowed, false)?;
        if Family::of(address) != family {
            return Err(item.refuse(allowed));
        }
        taken.push((address, item.key().to_owned()));
        Ok(NextHop::Address(address))
    };
    Ok([read("ipv4", Family::Ipv4)?, read("ipv6", Family::Ipv6)?])
}

/// One entry, of a speaker in `own_asn`.
fn peer(
    item: &Item,
    own_asn: u32,
    next_hop_ipv6: NextHop,
    context: &Context,
    taken: &mut Vec<Taken>,
) -> Result<PeerEntry, Mistake> {
    let table = item.table(&[
        "address",
        "asn",
        "port",
        "localAddress",
        "holdTime",
        "keepalive",
        "passwordFile",
        "passwordEnv",
        "multihop",
        "nodeSelector",
    ])?;
    const ADDRESS: &str = "the peer's IP address";
    let address_item = table.require("address", ADDRESS)?;
    let address = value::address(address_item, ADDRESS, true)?;
    taken.push((address, address_item.key().to_owned()));
    let asn = value::asn(table.require("asn", "the peer's AS number")?)?;
    let local_address = table.read("localAddress", |item| {
        let allowed = format!("an {} address of this node, as the peer has one", Family::of(address));
        let local = value::address(item, &allowed, true)?;
        if Family::of(local) != Family::of(address) {
            return Err(item.refuse(allowed));
        }
        taken.push((local, item.key().to_owned()));
        Ok(local)
    })?;
    let families = match address {
        // An IPv4 session carries IPv6 only where the next hop is given: see `ranges::check_announceable`.
        IpAddr::V4(_) if next_hop_ipv6 != NextHop::Own => BTreeSet::from(Family::ALL),
        _ => BTreeSet::from([Family::of(address)]),
    };
    let default = Peer::new(asn, families);
    // RFC 4271 section 4.2: 0 or at least 3 s. 0 would never notice a dead peer.
    let hold_time = table.read("holdTime", |item| value::seconds(item, 3, 65535))?.unwrap_or(default.hold_time);
    // RFC 4271 section 4.4: a third of the hold time at most.
    let longest = hold_time.as_secs() / 3;
    let keepalive = table.read("keepalive", |item| {
        value::seconds(item, 1, longest).map_err(|_| {
            item.refuse(format_args!(
                "whole seconds from 1s to {longest}s, a third of holdTime ({}s)",
                hold_time.as_secs()
            ))
        })
    })?;
    let multihop = table.read("multihop", |item| {
        let ttl = item.number(2..=255, "a TTL")?;
        if asn == own_asn {
            return Err(item.conflict("while the peer is in the same AS", "multihop only for peers of another AS"));
        }
        Ok(ttl)
    })?;
    let peer = Peer {
        port: table.read("port", value::port)?.unwrap_or(default.port),
        local_address,
        hold_time,
        keepalive: keepalive.unwrap_or(Duration::from_secs(longest)),
        password: password::read(&table, context)?,
        ttl: multihop.map_or(Ttl::Default, Ttl::Multihop),
        ..default
    };
    let node_selector = table.read("nodeSelector", labels::selector)?.unwrap_or_default();
    Ok(PeerEntry { node_selector, ..PeerEntry::new(address, peer) })
}
