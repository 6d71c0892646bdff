//! `bgp`: this speaker, its gobgpd and its peers.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use self::peer::Located;
use super::item::{Item, Mistake};
use super::ranges::Taken;
use super::{Context, Gobgpd, attributes, value, yaml};
use crate::model::Family;
use crate::model::bgp::NextHop;
use crate::model::settings::{BgpSettings, PeerEntry};

pub(super) mod peer;

/// Where Debian's package `gobgpd` puts it.
const GOBGPD: &str = "/usr/bin/gobgpd";

/// How many VIPs inside aggregates may have a route of their own where the file does not say.
const MAX_SPECIFICS: usize = 64;

/// What has to be given in a list of peers.
const PEERS: &str = "a list of peers, each a mapping with at least address and asn";

/// The keys, `attributes::KEYS` apart.
const KEYS: [&str; 8] =
    ["asn", "routerID", "listenPort", "gobgpd", "nextHop", "maxSpecifics", "gracefulRestart", "peers"];

/// The section.
pub(super) struct Section<'a> {
    /// What decisions depend on.
    pub(super) settings: BgpSettings,
    /// Where gobgpd is.
    pub(super) gobgpd: Gobgpd,
    /// Addresses that no range may hold.
    pub(super) taken: Vec<Taken>,
    /// The first `passwordSecret`.
    pub(super) secret: Option<Item<'a>>,
}

/// Reads `bgp`. `node_ips` are those that the file gives this node.
pub(super) fn read<'a>(item: &Item<'a>, context: &Context, node_ips: &[IpAddr]) -> Result<Section<'a>, Mistake> {
    let table = item.table(&[&KEYS[..], &attributes::KEYS].concat())?;
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
    let items = match table.get("peers") {
        Some(list) if exclusive => list.filled_list(PEERS)?,
        Some(list) => list.list(PEERS)?,
        None if exclusive => return Err(table.missing("peers", PEERS)),
        None => Vec::new(),
    };
    let max_specifics = table.read("maxSpecifics", |item| item.number(0..=100_000, "a number of routes"))?;
    let mut settings = BgpSettings {
        asn,
        router_id,
        listen_port: table.read("listenPort", listen_port)?.flatten(),
        exclusive,
        next_hop_ipv4,
        next_hop_ipv6,
        attributes: attributes::read(&table)?,
        max_specifics: max_specifics.unwrap_or(MAX_SPECIFICS),
        graceful_restart: table.read("gracefulRestart", graceful_restart)?.flatten(),
        peers: Vec::new(),
    };
    let located = items.iter().map(|item| peer::read(item, Some(context))).collect::<Result<Vec<_>, _>>()?;
    settings.peers = located.iter().map(|located| located.fit(&settings)).collect::<Result<_, _>>()?;
    peer::check_distinct(&items, &settings.peers)?;
    taken.extend(located.iter().flat_map(|located| located.taken.iter().cloned()));
    if let Some(item) = table.get("prepend").filter(|_| settings.attributes.prepends()) {
        check_prepend(item, &settings)?;
    }
    let secret = located.iter().find_map(Located::secret).cloned();
    Ok(Section { settings, gobgpd, taken, secret })
}

/// Refuses prepends, asked for at `item` of routes that all peers are sent, while a peer would drop such routes as loops.
pub(super) fn check_prepend(item: &Item, settings: &BgpSettings) -> Result<(), Mistake> {
    match settings.peers.iter().find(|entry| entry.peer.asn == settings.asn) {
        Some(PeerEntry { name, .. }) => Err(item.conflict(
            format_args!("while the peer {name} is in the same AS and would drop such routes as loops"),
            "prepend where all peers are in other ASes, or for single peers",
        )),
        None => Ok(()),
    }
}

/// The peers that the annotation of a Node holds, each as it stands by itself; or the first mistake in words: what was
/// found, and what is allowed.
pub(crate) fn annotated_peers(text: &str) -> Result<Vec<PeerEntry>, (String, String)> {
    let read = || {
        let tree = yaml::parse(text)?;
        let items = Item::root(&tree).list(PEERS)?;
        let located = items.iter().map(|item| peer::read(item, None)).collect::<Result<Vec<_>, _>>()?;
        let entries: Vec<PeerEntry> = located.into_iter().map(|located| located.entry).collect();
        peer::check_distinct(&items, &entries)?;
        Ok(entries)
    };
    read().map_err(in_words)
}

/// The AS number that the annotation of a Node holds; or what was found, and what is allowed.
pub(crate) fn annotated_asn(text: &str) -> Result<u32, (String, String)> {
    yaml::parse(text).and_then(|tree| value::asn(&Item::root(&tree))).map_err(in_words)
}

/// A mistake in an annotation: where and what, and what is allowed.
fn in_words(mistake: Mistake) -> (String, String) {
    let (found, allowed) = mistake.text.split_once("; allowed: ").unwrap_or((&mistake.text, "YAML"));
    let found = format!("mistaken in line {}, column {}: {found}", mistake.at.line, mistake.at.column);
    (found, allowed.to_owned())
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

fn graceful_restart(item: &Item) -> Result<Option<Duration>, Mistake> {
    // GoBGP 3.10 takes nine seconds to be back; RFC 4724 section 3 has 12 bits for the number.
    let (least, most) = (10, 4095);
    item.parse(&format!("off, or whole seconds such as 30s, from {least}s to {most}s"), |text| match text {
        "off" => Some(None),
        _ => value::seconds(item, least, most).ok().map(Some),
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
