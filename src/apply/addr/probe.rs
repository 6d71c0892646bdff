//! The probe's link and the routes that lead to it: in the main table, with our protocol.

use std::collections::BTreeSet;

use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::{LinkUnspec, LinkVeth};
use rustix::io::Errno;

use super::gone;
use super::read::{destination, links, table};
use super::rtnl::{self, Failure, Rtnl};
use crate::model::addr::{PROBE_LINK, PROBER_LINK, ProbeLink, ROUTE_PROTOCOL};
use crate::model::{Family, Prefix};
use crate::plan::Outcome;

/// The link as it is.
pub(super) async fn read(rtnl: &Rtnl) -> Result<Option<ProbeLink>, Failure> {
    let Some(link) = rtnl.link(PROBE_LINK).await? else { return Ok(None) };
    let other = rtnl.link(PROBER_LINK).await?;
    let routes = routes(rtnl, &link).await?;
    let is_pair = |other: &LinkMessage| {
        is_veth(&link)
            && is_veth(other)
            && peer(&link) == Some(other.header.index)
            && peer(other) == Some(link.header.index)
    };
    let is_ready = |end: &LinkMessage| end.header.flags.contains(LinkFlags::Up | LinkFlags::Noarp);
    Ok(Some(ProbeLink {
        paired: other.as_ref().is_some_and(is_pair),
        ready: is_ready(&link) && other.as_ref().is_some_and(is_ready),
        routes: routes.iter().filter_map(destination).collect(),
    }))
}

/// Makes the pair if it is missing, sets both ends up and without ARP, and makes just `wanted` lead to it.
pub(super) async fn ensure(rtnl: &Rtnl, wanted: &BTreeSet<Prefix>) -> Result<Outcome, Failure> {
    match read(rtnl).await? {
        Some(ProbeLink { paired: false, .. }) => return Ok(Outcome::Refused(not_ours())),
        Some(_) => {}
        None => {
            let request = rtnl.handle.link().add(LinkVeth::new(PROBE_LINK, PROBER_LINK).build());
            rtnl::answer(format!("create the links {PROBE_LINK} and {PROBER_LINK}"), request.execute()).await?;
        }
    }
    // The kernel's end last: a route to it is there only while it has a carrier.
    for name in [PROBER_LINK, PROBE_LINK] {
        let Some(end) = rtnl.link(name).await? else {
            return Ok(Outcome::Drifted(format!("the link {name} is gone")));
        };
        let message = LinkUnspec::new_with_index(end.header.index).up().arp(false).build();
        rtnl::answer(format!("set up the link {name}"), rtnl.handle.link().set(message).execute()).await?;
    }
    let Some(link) = rtnl.link(PROBE_LINK).await? else {
        return Ok(Outcome::Drifted(format!("the link {PROBE_LINK} is gone")));
    };
    let found: BTreeSet<Prefix> = routes(rtnl, &link).await?.iter().filter_map(destination).collect();
    for prefix in found.difference(wanted) {
        let request = rtnl.handle.route().del(route(*prefix, &link));
        gone(rtnl::answer(format!("delete the route {prefix} to {PROBE_LINK}"), request.execute()).await)?;
    }
    for prefix in wanted.difference(&found) {
        let what = format!("set the route {prefix} to {PROBE_LINK}");
        match rtnl::answer(what.clone(), rtnl.handle.route().add(route(*prefix, &link)).execute()).await {
            Err(failure) if failure.is(Errno::EXIST) => {
                return Ok(Outcome::Refused(format!("cannot {what}: the main table has another one for this prefix")));
            }
            other => other?,
        }
    }
    Ok(Outcome::Done)
}

/// Deletes the pair, and with it the routes.
pub(super) async fn delete(rtnl: &Rtnl) -> Result<Outcome, Failure> {
    match read(rtnl).await? {
        None => return Ok(Outcome::Done),
        Some(ProbeLink { paired: false, .. }) => return Ok(Outcome::Refused(not_ours())),
        Some(_) => {}
    }
    let Some(link) = rtnl.link(PROBE_LINK).await? else { return Ok(Outcome::Done) };
    let request = rtnl.handle.link().del(link.header.index);
    gone(rtnl::answer(format!("delete the link {PROBE_LINK}"), request.execute()).await)
}

fn not_ours() -> String {
    format!(
        "a link {PROBE_LINK} exists that is not one end of a veth pair whose other end is {PROBER_LINK} in this network \
         namespace, so it is not ours: rename or delete it"
    )
}

/// Routes of our protocol in the main table that lead to `link`.
async fn routes(rtnl: &Rtnl, link: &LinkMessage) -> Result<Vec<RouteMessage>, Failure> {
    let mut found = Vec::new();
    for family in Family::ALL {
        found.extend(rtnl.routes(main_routes(family)).await?);
    }
    let ours = |route: &RouteMessage| {
        route.header.protocol == RouteProtocol::from(ROUTE_PROTOCOL)
            && table(route) == u32::from(RouteHeader::RT_TABLE_MAIN)
            && links(route) == [link.header.index]
    };
    found.retain(ours);
    Ok(found)
}

/// What requests for the routes of a family have in common.
fn main_routes(family: Family) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = match family {
        Family::Ipv4 => AddressFamily::Inet,
        Family::Ipv6 => AddressFamily::Inet6,
    };
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::from(ROUTE_PROTOCOL);
    message.header.kind = RouteType::Unicast;
    message
}

fn route(prefix: Prefix, link: &LinkMessage) -> RouteMessage {
    let mut message = main_routes(prefix.family());
    message.header.destination_prefix_length = prefix.length();
    message.header.scope = RouteScope::Link;
    message.attributes.push(RouteAttribute::Destination(RouteAddress::from(prefix.address())));
    message.attributes.push(RouteAttribute::Oif(link.header.index));
    message
}

fn is_veth(link: &LinkMessage) -> bool {
    let mut infos = link.attributes.iter().filter_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => Some(infos),
        _ => None,
    });
    infos.any(|infos| infos.contains(&LinkInfo::Kind(InfoKind::Veth)))
}

/// The number of the link's other end, if that is in this network namespace.
fn peer(link: &LinkMessage) -> Option<u32> {
    let elsewhere = link.attributes.iter().any(|attribute| matches!(attribute, LinkAttribute::LinkNetNsId(_)));
    let mut peers = link.attributes.iter().filter_map(|attribute| match attribute {
        LinkAttribute::Link(index) => Some(*index),
        _ => None,
    });
    peers.next().filter(|_| !elsewhere)
}
