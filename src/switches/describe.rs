//! From vipcast's configuration, and what it cannot know, to what the switch has to have.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Announced, Peering, Session, Switch, WIDTH};
use crate::config::Config;
use crate::model::bfd::Timers;
use crate::model::bgp::{Peer, Ttl};
use crate::model::settings::{Announce, Bfd, BgpSettings, PeerEntry, Range};
use crate::model::{Family, Prefix};

/// What is asked for beside the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// The switch's addresses among `bgp.peers`, or among `bfd.peers` with static routes; empty: all of them.
    pub peers: Vec<IpAddr>,
    /// The LB nodes' addresses; empty: those of the configuration's node.
    pub neighbors: Vec<IpAddr>,
    /// The ranges, where the configuration leaves them to ServiceCIDR objects.
    pub ranges: Vec<Prefix>,
    /// Static routes, and no BGP?
    pub static_routes: bool,
}

/// Why nothing can be printed. The text says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DescribeError {
    /// The ranges are not known.
    #[error(
        "ranges.clusterIPs is not there, so the ranges are those of the cluster's ServiceCIDR objects: give each of them \
         with --range, such as --range 10.96.0.0/16"
    )]
    NoRanges,
    /// The ranges are known, and were given too.
    #[error("ranges.clusterIPs has the ranges; --range is only for those of ServiceCIDR objects")]
    RangesTwice,
    /// No range is announced.
    #[error("ranges: every range has announce: none; allowed: at least one with aggregate or host")]
    NothingAnnounced,
    /// A range of single VIPs, which static routes cannot follow.
    #[error(
        "range {0}: its VIPs come and go one by one, and what leads to one that is not there would come back; allowed with \
         --static: announce: aggregate or none for it"
    )]
    StaticHosts(Prefix),
    /// There is no peer.
    #[error("bgp.peers has no peer, so there is no session to configure; allowed: a peer there, or --static")]
    NoPeers,
    /// A switch address that is no peer.
    #[error("--peer {0}: not in bgp.peers; allowed: {1}")]
    UnknownPeer(IpAddr, String),
    /// Peers of several switches.
    #[error(
        "bgp.peers has more than one switch ({0}): name the one to configure with --peer, once for each of its addresses"
    )]
    SeveralSwitches(String),
    /// Addresses of one switch whose settings differ.
    #[error("bgp.peers: {0} and {1} differ in {2}, so they cannot be one switch's; name one of them with --peer")]
    Differ(IpAddr, IpAddr, &'static str),
    /// A switch address that is not watched.
    #[error("--peer {0}: not in bfd.peers; allowed with --static: {1}")]
    UnknownWatch(IpAddr, String),
    /// Watched static routes whose timers differ.
    #[error(
        "bfd.peers: entries differ in their timers, so they cannot be one switch's; name its addresses with --peer"
    )]
    WatchesDiffer,
    /// No session would carry a route.
    #[error("the peers have no address of a family that is announced; allowed: --peer with an {0} address")]
    NothingCarried(Family),
    /// A family without LB nodes.
    #[error("no {0} address of an LB node is known: give those of all LB nodes with --neighbor")]
    NoNodes(Family),
    /// An LB node that no session is for.
    #[error("--neighbor {0}: nothing is announced over {1} to this switch; allowed: addresses of the other family")]
    UselessNode(IpAddr, Family),
    /// More LB nodes than a route has next hops.
    #[error("{0} LB nodes of one family; allowed: at most {WIDTH}, the next hops that a route can have")]
    TooManyNodes(usize),
}

/// What the switch of `config` has to have.
pub fn describe(config: &Config, request: &Request) -> Result<Switch, DescribeError> {
    let ranges = ranges(config, request)?;
    let announced: BTreeSet<Family> = ranges.iter().map(|range| range.prefix.family()).collect();
    let chosen = match (&config.settings.bgp, request.static_routes) {
        (_, true) => None,
        (None, false) => return Err(DescribeError::NoPeers),
        (Some(bgp), false) => Some((bgp, chosen(bgp, &request.peers)?)),
    };
    let peering = match &chosen {
        Some((bgp, peers)) => Some(peering(bgp, &config.settings.bfd, peers, &announced)?),
        None => None,
    };
    let over = match &peering {
        Some(peering) => peering.sessions.iter().map(|session| session.over).collect(),
        None => announced,
    };
    let nodes = match request.neighbors.as_slice() {
        [] => own_addresses(config, chosen.iter().flat_map(|(_, peers)| peers), &over),
        named => named.iter().copied().collect(),
    };
    check_nodes(&nodes, &over)?;
    Ok(Switch {
        file: config.file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        ranges,
        nodes,
        one_node: request.neighbors.is_empty(),
        watched: if request.static_routes { watched(&config.settings.bfd, &request.peers)? } else { None },
        interfaces: chosen.iter().flat_map(|(bgp, _)| interfaces(bgp, &request.peers)).collect(),
        peering,
    })
}

/// The ranges, ClusterIPs' first, and the addresses of SNAT pools, which are announced one by one.
fn ranges(config: &Config, request: &Request) -> Result<Vec<Announced>, DescribeError> {
    let settings = &config.settings;
    let announced = |range: &Range| {
        let hosts = range.announce == Announce::Host;
        (range.announce != Announce::None).then_some(Announced { prefix: range.prefix, hosts })
    };
    let mut ranges: Vec<Announced> = match (&settings.cluster_ips, request.ranges.as_slice()) {
        (None, []) => return Err(DescribeError::NoRanges),
        (None, named) => {
            let named: BTreeSet<Prefix> = named.iter().copied().collect();
            named.into_iter().map(|prefix| Announced { prefix, hosts: false }).collect()
        }
        (Some(ranges), []) => ranges.iter().filter_map(announced).collect(),
        (Some(_), _) => return Err(DescribeError::RangesTwice),
    };
    let allowed = settings.allowed.iter();
    if request.static_routes {
        if let Some(single) = allowed.clone().find(|range| !range.is_whole() && range.announce == Announce::Host) {
            return Err(DescribeError::StaticHosts(single.prefix));
        }
        ranges.extend(allowed.filter_map(announced));
    } else {
        let pools = settings.dataplane.snat_pool.iter().flat_map(|entry| Prefix::spanning(entry.first, entry.last));
        ranges.extend(allowed.filter_map(announced).chain(pools.map(|prefix| Announced { prefix, hosts: true })));
    }
    if ranges.is_empty() { Err(DescribeError::NothingAnnounced) } else { Ok(ranges) }
}

/// The peers that are the switch's addresses.
fn chosen<'a>(bgp: &'a BgpSettings, named: &[IpAddr]) -> Result<Vec<(IpAddr, &'a PeerEntry)>, DescribeError> {
    let list = || bgp.peers.iter().map(|entry| entry.name.to_string()).collect::<Vec<_>>().join(", ");
    if let Some(unknown) =
        named.iter().find(|address| bgp.peers.iter().all(|entry| entry.name.address() != Some(**address)))
    {
        return Err(DescribeError::UnknownPeer(*unknown, list()));
    }
    let all = bgp.peers.iter().filter_map(|entry| Some((entry.name.address()?, entry)));
    let peers: Vec<_> = all.filter(|(address, _)| named.is_empty() || named.contains(address)).collect();
    if peers.is_empty() {
        return Err(DescribeError::NoPeers);
    }
    // One address per family, all in one AS, can be one dual-stack switch. More is a guess that only the operator can make.
    let families: BTreeSet<Family> = peers.iter().map(|(address, _)| Family::of(*address)).collect();
    let numbers: BTreeSet<u32> = peers.iter().map(|(_, entry)| entry.peer.asn).collect();
    if named.is_empty() && (families.len() < peers.len() || numbers.len() > 1) {
        return Err(DescribeError::SeveralSwitches(list()));
    }
    Ok(peers)
}

/// The sessions with a switch that has the addresses `peers`.
fn peering(
    bgp: &BgpSettings,
    bfd: &Bfd,
    peers: &[(IpAddr, &PeerEntry)],
    announced: &BTreeSet<Family>,
) -> Result<Peering, DescribeError> {
    let mut sessions: Vec<Session> = Vec::new();
    for over in Family::ALL {
        let mut same = peers.iter().filter(|(address, _)| Family::of(*address) == over);
        let Some((first, entry)) = same.next() else { continue };
        let mut session = session(over, *first, entry, bfd, announced);
        for (address, other) in same {
            if let Some(what) = difference(entry, other, bfd) {
                return Err(DescribeError::Differ(*first, *address, what));
            }
            session.addresses.insert(*address);
        }
        // A session over which nothing would come is left out.
        if !session.carries.is_empty() {
            sessions.push(session);
        }
    }
    let (first, PeerEntry { peer, .. }) = peers[0];
    for (what, differs) in [
        ("asn", (|one: &Peer, other: &Peer| one.asn != other.asn) as fn(&Peer, &Peer) -> bool),
        ("localASN", |one, other| one.local_asn != other.local_asn),
    ] {
        if let Some((other, _)) = peers.iter().find(|(_, other)| differs(&other.peer, peer)) {
            return Err(DescribeError::Differ(first, *other, what));
        }
    }
    if sessions.is_empty() {
        let family = announced.first().copied().unwrap_or(Family::Ipv4);
        return Err(DescribeError::NothingCarried(family));
    }
    Ok(Peering {
        asn: peer.asn,
        node_asn: peer.local_asn.unwrap_or(bgp.asn),
        graceful_restart: bgp.graceful_restart.is_some(),
        sessions,
    })
}

fn session(over: Family, address: IpAddr, entry: &PeerEntry, bfd: &Bfd, announced: &BTreeSet<Family>) -> Session {
    let peer = &entry.peer;
    Session {
        over,
        addresses: BTreeSet::from([address]),
        port: peer.port,
        hold_time: peer.hold_time,
        keepalive: peer.keepalive,
        password: has_password(entry),
        multihop: match peer.ttl {
            Ttl::Multihop(ttl) => Some(ttl),
            Ttl::Default | Ttl::Security(_) => None,
        },
        ttl_security: match peer.ttl {
            Ttl::Security(hops) => Some(hops),
            Ttl::Default | Ttl::Multihop(_) => None,
        },
        bfd: bfd.watching(entry).map(|session| session.timers),
        carries: peer.families.intersection(announced).copied().collect(),
    }
}

/// Is there a password, wherever it is?
fn has_password(entry: &PeerEntry) -> bool {
    entry.peer.password.is_some() || entry.secret.is_some()
}

/// The peers that are known by an interface, where no others are asked for.
fn interfaces(bgp: &BgpSettings, named: &[IpAddr]) -> BTreeSet<String> {
    let unnamed = bgp.peers.iter().filter(|entry| named.is_empty() && entry.name.address().is_none());
    unnamed.map(|entry| entry.name.to_string()).collect()
}

/// What two peers of one family differ in, so that one group of the switch's configuration cannot serve both.
fn difference(one: &PeerEntry, other: &PeerEntry, bfd: &Bfd) -> Option<&'static str> {
    let (a, b) = (&one.peer, &other.peer);
    let timers = |entry| bfd.watching(entry).map(|session| session.timers);
    let checks = [
        (a.asn == b.asn, "asn"),
        (a.port == b.port, "port"),
        (a.hold_time == b.hold_time, "holdTime"),
        (a.keepalive == b.keepalive, "keepalive"),
        (has_password(one) == has_password(other), "having a password"),
        (a.ttl == b.ttl, "multihop or ttlSecurity"),
        (a.families == b.families, "families"),
        (timers(one) == timers(other), "bfd"),
    ];
    checks.into_iter().find(|(same, _)| !same).map(|(_, what)| what)
}

/// The timers with which LB nodes watch a switch that has static routes. `named` are its addresses; empty: all that are
/// watched are one switch's.
fn watched(bfd: &Bfd, named: &[IpAddr]) -> Result<Option<Timers>, DescribeError> {
    let known: Vec<IpAddr> = bfd.peers.iter().filter_map(|entry| entry.name.address()).collect();
    if let Some(unknown) = named.iter().find(|address| !known.contains(address)) {
        let list = bfd.peers.iter().map(|entry| entry.name.to_string()).collect::<Vec<_>>().join(", ");
        return Err(DescribeError::UnknownWatch(*unknown, list));
    }
    let is_named =
        |address: Option<IpAddr>| named.is_empty() || address.is_some_and(|address| named.contains(&address));
    let mut timers = bfd.peers.iter().filter(|entry| is_named(entry.name.address())).map(|entry| entry.timers);
    let first = timers.next();
    if timers.all(|other| Some(other) == first) { Ok(first) } else { Err(DescribeError::WatchesDiffer) }
}

/// The addresses that the configuration's node connects from: as the peers say, else the node's own of that family.
fn own_addresses<'a>(
    config: &Config,
    peers: impl Iterator<Item = &'a (IpAddr, &'a PeerEntry)>,
    over: &BTreeSet<Family>,
) -> BTreeSet<IpAddr> {
    let mut own: BTreeSet<IpAddr> = peers.filter_map(|(_, entry)| entry.peer.local_address).collect();
    for family in over {
        if !own.iter().any(|address| Family::of(*address) == *family) {
            // The first is the one that is preferred.
            own.extend(config.settings.node_ips.iter().find(|address| Family::of(**address) == *family));
        }
    }
    own.retain(|address| over.contains(&Family::of(*address)));
    own
}

fn check_nodes(nodes: &BTreeSet<IpAddr>, over: &BTreeSet<Family>) -> Result<(), DescribeError> {
    if let Some(useless) = nodes.iter().find(|node| !over.contains(&Family::of(**node))) {
        return Err(DescribeError::UselessNode(*useless, Family::of(*useless)));
    }
    for family in over {
        match nodes.iter().filter(|node| Family::of(**node) == *family).count() {
            0 => return Err(DescribeError::NoNodes(*family)),
            count if count > WIDTH => return Err(DescribeError::TooManyNodes(count)),
            _ => {}
        }
    }
    Ok(())
}
