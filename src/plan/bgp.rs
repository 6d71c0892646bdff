//! What gobgpd should hold: itself, its peers and paths, and what it should send.

pub mod sent;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use crate::model::bgp::{Attributes, Bgp, Export, Global, Path, Peer, PeerName};
use crate::model::settings::{BgpSettings, Range};
use crate::model::{Family, Prefix};

/// gobgpd's identity. `running` is the one that it has: a router ID that nobody configured stays as it is, since
/// another one would end all sessions; and the port that somebody else's gobgpd listens on is their business.
pub fn global(settings: &BgpSettings, running: Option<&Global>, node_ipv4: Option<Ipv4Addr>) -> Option<Global> {
    let router_id = settings.router_id.or(running.map(|global| global.router_id)).or(node_ipv4)?;
    let theirs = running.filter(|_| !settings.exclusive).map(|global| global.listen_port);
    Some(Global { asn: settings.asn, router_id, listen_port: theirs.unwrap_or(settings.listen_port) })
}

/// The neighbours whose routes the import policy has to reject, in the form of [`Bgp::rejected`]: all, or, in a gobgpd
/// that is somebody else's, only our `peers`, those included that are about to be added or deleted. A peer that we left to
/// somebody else stays theirs.
pub fn rejected<T>(settings: &BgpSettings, peers: &BTreeMap<PeerName, T>, actual: &Bgp) -> Option<BTreeSet<Prefix>> {
    let neighbors: BTreeSet<Prefix> = if settings.exclusive {
        Family::ALL.map(Prefix::all).into()
    } else {
        let wanted = peers.keys().filter(|name| !actual.foreign_peers.contains(name));
        wanted.chain(actual.peers.keys()).filter_map(PeerName::address).map(Prefix::host).collect()
    };
    Some(neighbors).filter(|neighbors| !neighbors.is_empty())
}

/// The path that announces `prefix`, which is `range` itself or a host in it; `wish` is what the Service behind it asks for.
pub fn path(settings: &BgpSettings, range: &Range, prefix: Prefix, wish: Option<&Attributes>) -> Path {
    let next_hop = match prefix.family() {
        Family::Ipv4 => settings.next_hop_ipv4,
        Family::Ipv6 => settings.next_hop_ipv6,
    };
    let of_range = settings.attributes.refined(&range.attributes);
    let Attributes { communities, large_communities, med, local_pref, prepend } = match wish {
        Some(wish) => of_range.refined(wish),
        None => of_range,
    };
    let as_path = vec![settings.asn; prepend.unwrap_or_default().into()];
    Path { next_hop, as_path, communities, large_communities, med, local_pref }
}

/// What of `export` a policy can say: in GoBGP no prepend and a LOCAL_PREF of 0 are as if they were not asked for
/// (`NewLocalPrefAction` in `internal/pkg/table/policy.go`).
pub fn exported(export: &Export) -> Export {
    let Attributes { prepend, local_pref, .. } = export.attributes;
    let (prepend, local_pref) = (prepend.filter(|count| *count > 0), local_pref.filter(|value| *value > 0));
    Export { attributes: Attributes { prepend, local_pref, ..export.attributes.clone() }, ..export.clone() }
}

/// Why none of the node's `peers` can carry routes of `family`, if so: next hop self over an IPv4 session makes an IPv6
/// route that routers show as best and never install.
pub fn unannounceable<'a>(
    settings: &BgpSettings,
    peers: impl IntoIterator<Item = &'a Peer>,
    family: Family,
) -> Option<String> {
    if peers.into_iter().any(|peer| peer.families.contains(&family)) {
        return None;
    }
    if settings.peers.iter().any(|entry| entry.peer.families.contains(&family)) {
        return Some(format!("none of bgp.peers that select this node by its labels carries {family} routes"));
    }
    let hint = match family {
        Family::Ipv4 => "add a peer with an IPv4 address",
        Family::Ipv6 => "add a peer with an IPv6 address, or set bgp.nextHop.ipv6 to an address of this node",
    };
    Some(format!("no peer carries {family} routes: {hint}"))
}

/// The addresses whose family is IPv4.
pub fn first_ipv4(addresses: impl IntoIterator<Item = IpAddr>) -> Option<Ipv4Addr> {
    addresses.into_iter().find_map(|address| match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    })
}
