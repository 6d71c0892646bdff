//! The netlink interface of connection tracking (`include/uapi/linux/netfilter/nfnetlink_conntrack.h`,
//! `net/netfilter/nf_conntrack_netlink.c`): asking for entries, deleting one, and what an entry says. Pure.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::apply::netlink::{Attributes, Batch, Request, Writer};
use crate::model::Family;
use crate::model::ipvs::{DestinationKey, Protocol, ServerKey};

/// `NFNL_SUBSYS_CTNETLINK`, in the upper byte of a message's kind.
const SUBSYSTEM: u16 = 1 << 8;
/// `IPCTNL_MSG_CT_GET` and `IPCTNL_MSG_CT_DELETE`, in the lower one.
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;
/// `NFNETLINK_V0`.
const VERSION: u8 = 0;

/// `CTA_*`: the attributes of an entry.
mod entry {
    pub(super) const ORIGINAL: u16 = 1;
    pub(super) const REPLY: u16 = 2;
    pub(super) const ID: u16 = 12;
    pub(super) const ZONE: u16 = 18;
    pub(super) const FILTER: u16 = 25;
}

/// `CTA_TUPLE_*`.
mod tuple {
    pub(super) const ADDRESSES: u16 = 1;
    pub(super) const TRANSPORT: u16 = 2;
    pub(super) const ZONE: u16 = 3;
}

/// `CTA_IP_*`.
mod addresses {
    pub(super) const SOURCE_4: u16 = 1;
    pub(super) const DESTINATION_4: u16 = 2;
    pub(super) const SOURCE_6: u16 = 3;
    pub(super) const DESTINATION_6: u16 = 4;
}

/// `CTA_PROTO_*`.
mod transport {
    pub(super) const PROTOCOL: u16 = 1;
    pub(super) const SOURCE_PORT: u16 = 2;
    pub(super) const DESTINATION_PORT: u16 = 3;
}

/// `CTA_FILTER_ORIG_FLAGS`: which parts of the original tuple an entry has to share (Linux 5.8; older ones list all).
const FILTER_ORIGINAL: u16 = 1;
/// `CTA_FILTER_F_CTA_IP_DST` and its like (`net/netfilter/nf_internals.h`).
const SAME_DESTINATION: u32 = 1 << 1;
const SAME_PROTOCOL: u32 = 1 << 3;
const SAME_DESTINATION_PORT: u32 = 1 << 5;

/// Flows to a virtual server, and who answers them.
pub type Flow = (ServerKey, DestinationKey);

/// One direction of a UDP flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuple {
    /// Who sends.
    pub source: (IpAddr, u16),
    /// Who receives.
    pub destination: (IpAddr, u16),
}

/// What conntrack knows of a UDP flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The kernel's name for it, as long as it lives.
    pub id: [u8; 4],
    /// The packets of who began it, as they came in.
    pub original: Tuple,
    /// The packets that answer, as they come in.
    pub reply: Tuple,
}

impl Entry {
    /// Where it was sent to, and who answers.
    pub fn flow(&self) -> Flow {
        let (address, port) = self.original.destination;
        let server = ServerKey { address, protocol: Protocol::Udp, port };
        let (address, port) = self.reply.source;
        (server, DestinationKey { address, port })
    }
}

/// Asks for the entries among which those of `flows` are. The kernel leaves out others as far as it can: its comparison of
/// IPv6 addresses is the wrong way round in many versions (`ctnetlink_filter_match_tuple`), so these are not given to it.
pub fn list(family: Family, flows: &BTreeSet<Flow>) -> Batch {
    let servers: BTreeSet<ServerKey> = flows.iter().map(|(server, _)| *server).collect();
    let only = servers.first().filter(|_| servers.len() == 1);
    let address = only.map(|server| server.address).filter(IpAddr::is_ipv4);
    let mut flags = SAME_PROTOCOL;
    flags |= address.map_or(0, |_| SAME_DESTINATION) | only.map_or(0, |_| SAME_DESTINATION_PORT);
    Batch::of(request(GET, family, true), |w| {
        w.nest(entry::ORIGINAL, |w| {
            w.nest(tuple::ADDRESSES, |w| {
                address.into_iter().for_each(|address| write(w, address, addresses::DESTINATION_4, 0));
            });
            w.nest(tuple::TRANSPORT, |w| {
                w.u8(transport::PROTOCOL, Protocol::Udp.number());
                only.into_iter().for_each(|server| w.be16(transport::DESTINATION_PORT, server.port));
            });
        });
        w.nest(entry::FILTER, |w| w.u32(FILTER_ORIGINAL, flags));
    })
}

/// Adds the request that deletes `found` to `batch`. With its number, another flow between the same ends that began since is
/// not meant. A request without the tuple would empty the whole table.
pub fn delete(batch: &mut Batch, family: Family, found: &Entry) {
    batch.push(request(DELETE, family, false), |w| {
        w.nest(entry::ORIGINAL, |w| {
            w.nest(tuple::ADDRESSES, |w| {
                write(w, found.original.source.0, addresses::SOURCE_4, addresses::SOURCE_6);
                write(w, found.original.destination.0, addresses::DESTINATION_4, addresses::DESTINATION_6);
            });
            w.nest(tuple::TRANSPORT, |w| {
                w.u8(transport::PROTOCOL, Protocol::Udp.number());
                w.be16(transport::SOURCE_PORT, found.original.source.1);
                w.be16(transport::DESTINATION_PORT, found.original.destination.1);
            });
        });
        w.bytes(entry::ID, &found.id);
    });
}

/// The entry of a message; none where it is no UDP flow, or one of a zone, in which IPVS has no part.
pub fn parse(message: &Attributes<'_>) -> Option<Entry> {
    if message.get(entry::ZONE).is_some() {
        return None;
    }
    let id = message.get(entry::ID)?.value.try_into().ok()?;
    let original = parse_tuple(&message.get(entry::ORIGINAL)?.nested())?;
    let reply = parse_tuple(&message.get(entry::REPLY)?.nested())?;
    Some(Entry { id, original, reply })
}

fn parse_tuple(nest: &Attributes<'_>) -> Option<Tuple> {
    let ends = nest.get(tuple::ADDRESSES)?.nested();
    let layer = nest.get(tuple::TRANSPORT)?.nested();
    if layer.get(transport::PROTOCOL)?.value != [Protocol::Udp.number()] || nest.get(tuple::ZONE).is_some() {
        return None;
    }
    let address = |kind_4, kind_6| match ends.get(kind_4) {
        Some(found) => found.value.try_into().ok().map(|bytes: [u8; 4]| Ipv4Addr::from(bytes).into()),
        None => ends.get(kind_6)?.value.try_into().ok().map(|bytes: [u8; 16]| Ipv6Addr::from(bytes).into()),
    };
    let port = |kind| layer.get(kind)?.be16();
    Some(Tuple {
        source: (address(addresses::SOURCE_4, addresses::SOURCE_6)?, port(transport::SOURCE_PORT)?),
        destination: (address(addresses::DESTINATION_4, addresses::DESTINATION_6)?, port(transport::DESTINATION_PORT)?),
    })
}

/// A request about entries of `family`: netfilter's own header (`struct nfgenmsg`) begins with the family.
fn request(kind: u16, family: Family, dump: bool) -> Request {
    let command = match family {
        Family::Ipv4 => 2,
        Family::Ipv6 => 10,
    };
    Request { family: kind, command, version: VERSION, dump }
}

fn write(w: &mut Writer, address: IpAddr, kind_4: u16, kind_6: u16) {
    match address {
        IpAddr::V4(address) => w.bytes(kind_4, &address.octets()),
        IpAddr::V6(address) => w.bytes(kind_6, &address.octets()),
    }
}

#[cfg(test)]
mod tests;
