//! An entry of `bgp.peers`, or of the annotation `vipcast.io/peers` of a Node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::config::item::{Item, Mistake, Table};
use crate::config::password::{self, Password};
use crate::config::ranges::Taken;
use crate::config::{Context, attributes, bfd, labels, value};
use crate::model::Family;
use crate::model::bgp::{Export, Peer, PeerName, Ttl};
use crate::model::settings::{BgpSettings, PeerBfd, PeerEntry};

/// The keys wherever an entry stands; `attributes::KEYS` besides.
const KEYS: [&str; 15] = [
    "address",
    "interface",
    "asn",
    "localASN",
    "port",
    "localAddress",
    "families",
    "nextHop",
    "holdTime",
    "keepalive",
    "connectRetry",
    "passwordSecret",
    "multihop",
    "ttlSecurity",
    "bfd",
];

/// The keys that only the file has.
const OF_THE_FILE: [&str; 3] = ["passwordFile", "passwordEnv", "nodeSelector"];

/// An entry with its place, which its mistakes are told of.
pub(super) struct Located<'a> {
    table: Table<'a>,
    /// The entry.
    pub(super) entry: PeerEntry,
    /// Addresses that no range may hold.
    pub(super) taken: Vec<Taken>,
}

/// Reads an entry by itself: of the file, whose `context` that is, or of an annotation. Families stay empty where it does
/// not say any: they follow from the rest ([`BgpSettings::fit`]).
pub(super) fn read<'a>(item: &Item<'a>, context: Option<&Context>) -> Result<Located<'a>, Mistake> {
    let of_the_file = if context.is_some() { &OF_THE_FILE[..] } else { &[] };
    let table = item.table(&[&KEYS[..], of_the_file, &attributes::KEYS].concat())?;
    let mut taken = Vec::new();
    let name = name(&table, &mut taken)?;
    let asn = value::asn(table.require("asn", "the peer's AS number")?)?;
    let default = Peer::new(asn, []);
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
    let (password, secret) = match password::read(&table, context)? {
        Password::None => (None, None),
        Password::Known(password) => (Some(password), None),
        Password::In(secret) => (None, Some(secret)),
    };
    let peer = Peer {
        local_asn: table.read("localASN", value::asn)?,
        port: table.read("port", value::port)?.unwrap_or(default.port),
        local_address: table.read("localAddress", |item| local_address(item, &name, &mut taken))?,
        hold_time,
        keepalive: keepalive.unwrap_or(Duration::from_secs(longest)),
        // 5 s is the least that GoBGP takes.
        connect_retry: table
            .read("connectRetry", |item| value::seconds(item, 5, 3600))?
            .unwrap_or(default.connect_retry),
        password,
        ttl: ttl(&table)?,
        families: table.read("families", value::families)?.unwrap_or_default(),
        ..default
    };
    let export = Export {
        attributes: attributes::read(&table)?,
        next_hops: table.read("nextHop", |item| next_hops(item, &mut taken))?.unwrap_or_default(),
    };
    if let PeerName::Interface(_) = name {
        // The export policy finds a peer by its address, and that of an interface's other end is not ours to know.
        let keys = attributes::KEYS.into_iter().chain(["nextHop", "localAddress", "multihop"]);
        if let Some(item) = keys.filter_map(|key| table.get(key)).next() {
            let allowed = "this key only for a peer with an address";
            return Err(item.conflict("for a peer that is known by its interface", allowed));
        }
    }
    let bfd = table.read("bfd", bfd::of_peer)?.flatten();
    if let (PeerName::Interface(_), Some(PeerBfd { multihop: Some(_), .. }), Some(item)) =
        (&name, bfd, table.get("bfd"))
    {
        return Err(item.conflict("with multihop for a peer at the other end of a link", "bfd without multihop"));
    }
    let node_selector = table.read("nodeSelector", labels::selector)?.unwrap_or_default();
    Ok(Located { table, entry: PeerEntry { name, node_selector, peer, secret, export, bfd }, taken })
}

impl<'a> Located<'a> {
    /// The entry as a peer of a speaker with these settings. Prepends are complained of where they stand.
    pub(super) fn fit(&self, settings: &BgpSettings) -> Result<PeerEntry, Mistake> {
        settings.fit(self.entry.clone(), false).map_err(|misfit| {
            let item = self.table.get(misfit.key).unwrap_or_else(|| self.table.whole());
            item.conflict(&misfit.trouble, &misfit.allowed)
        })
    }

    /// The value of `passwordSecret`, if it is given.
    pub(super) fn secret(&self) -> Option<&Item<'a>> {
        self.table.get("passwordSecret")
    }
}

/// What the peer is known by: one of `address` and `interface`.
pub(in crate::config) fn name(table: &Table, taken: &mut Vec<Taken>) -> Result<PeerName, Mistake> {
    const ADDRESS: &str = "the peer's IP address";
    match (table.get("address"), table.get("interface")) {
        (Some(address), None) => {
            let found = value::address(address, ADDRESS, true)?;
            taken.push((found, address.key().to_owned()));
            Ok(PeerName::Address(found))
        }
        (None, Some(interface)) => {
            interface.parse("the name of the interface at whose other end the peer is", |text| match text.parse() {
                Ok(name @ PeerName::Interface(_)) => Some(name),
                Ok(PeerName::Address(_)) | Err(_) => None,
            })
        }
        (None, None) => Err(table.missing("address", &format!("{ADDRESS}, or interface in its place"))),
        (Some(_), Some(_)) => Err(table.whole().mistake("has both address and interface; allowed: one of them")),
    }
}

/// The address to send from, of the peer's family.
pub(in crate::config) fn local_address(
    item: &Item,
    peer: &PeerName,
    taken: &mut Vec<Taken>,
) -> Result<IpAddr, Mistake> {
    let Some(family) = peer.address().map(Family::of) else {
        return value::address(item, "an address of this node", true);
    };
    let allowed = format!("an {family} address of this node, as the peer has one");
    let local = value::address(item, &allowed, true)?;
    if Family::of(local) != family {
        return Err(item.refuse(allowed));
    }
    taken.push((local, item.key().to_owned()));
    Ok(local)
}

fn ttl(table: &Table) -> Result<Ttl, Mistake> {
    let multihop = table.read("multihop", |item| item.number(2..=255, "a TTL"))?;
    let security = table.read("ttlSecurity", |item| item.number(1..=254, "a number of hops"))?;
    match (multihop, security) {
        (None, None) => Ok(Ttl::Default),
        (Some(ttl), None) => Ok(Ttl::Multihop(ttl)),
        (None, Some(hops)) => Ok(Ttl::Security(hops)),
        (Some(_), Some(_)) => Err(table.whole().mistake("has both multihop and ttlSecurity; allowed: one of them")),
    }
}

/// The peer's own `nextHop`.
fn next_hops(item: &Item, taken: &mut Vec<Taken>) -> Result<BTreeMap<Family, IpAddr>, Mistake> {
    let table = item.table(&["ipv4", "ipv6"])?;
    let mut next_hops = BTreeMap::new();
    for (key, family) in [("ipv4", Family::Ipv4), ("ipv6", Family::Ipv6)] {
        let Some(item) = table.get(key) else { continue };
        let allowed = format!("an {family} address that the peer can reach");
        let address = value::address(item, &allowed, false)?;
        if Family::of(address) != family {
            return Err(item.refuse(allowed));
        }
        taken.push((address, item.key().to_owned()));
        next_hops.insert(family, address);
    }
    Ok(next_hops)
}

/// That the entries at `items` are for distinct peers or distinct nodes.
pub(super) fn check_distinct(items: &[Item], entries: &[PeerEntry]) -> Result<(), Mistake> {
    let mut seen = BTreeSet::new();
    for (index, entry) in entries.iter().enumerate() {
        let same = |other: &PeerEntry| other.name == entry.name && other.node_selector == entry.node_selector;
        if seen.insert(&entry.name) {
            continue;
        }
        if let Some(first) = entries[..index].iter().position(same) {
            let (what, first) =
                (if entry.name.address().is_some() { "address" } else { "interface" }, items[first].key());
            return Err(items[index].mistake(format_args!(
                "has the {what} {} of {first}; allowed: one peer per {what}, or each with a nodeSelector of its own",
                entry.name
            )));
        }
    }
    Ok(())
}
