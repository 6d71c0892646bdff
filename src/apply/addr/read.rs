//! What rtnetlink's answers mean: our link and routes, and the facts about the node.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;

use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteType};

use super::rtnl::{Failure, Rtnl};
use super::{LOCAL_TABLE, local_routes, probe};
use crate::model::addr::{Addr, LINK, Link, LocalRoute, ROUTE_PROTOCOL};
use crate::model::node::Host;
use crate::model::{Family, Prefix};

/// Links whose addresses are VIPs, not addresses of the node: ours, that of kube-proxy's ipvs mode, kube-router's.
const VIP_LINKS: [&str; 3] = [LINK, "kube-ipvs0", "kube-dummy-if"];

/// Our links and routes as they are.
pub(super) async fn addr(rtnl: &Rtnl) -> Result<Addr, Failure> {
    let found = rtnl.link(LINK).await?;
    let mut routes = BTreeMap::new();
    for family in Family::ALL {
        for message in rtnl.routes(local_routes(family, Some(ROUTE_PROTOCOL))).await? {
            let index = found.as_ref().map(|link| link.header.index);
            routes.extend(our_route(&message, index));
        }
    }
    Ok(Addr { link: found.as_ref().map(link), routes, probe: probe::read(rtnl).await? })
}

/// What the kernel knows of the node.
pub(super) async fn host(rtnl: &Rtnl) -> Result<Host, Failure> {
    let mut vip_links = BTreeSet::new();
    for name in VIP_LINKS {
        vip_links.extend(rtnl.link(name).await?.map(|link| link.header.index));
    }
    let mut defaults = Vec::new();
    for family in Family::ALL {
        let mut filter = local_routes(family, None);
        filter.header.table = RouteHeader::RT_TABLE_MAIN;
        defaults.extend(rtnl.routes(filter).await?.into_iter().filter(is_default));
    }
    let mut router_advertised_links = BTreeSet::new();
    for index in defaults.iter().filter(|route| route.header.protocol == RouteProtocol::Ra).flat_map(links) {
        let name = rtnl.link_by_index(index).await?.as_ref().and_then(name);
        router_advertised_links.extend(name.filter(|name| forwarding_ends_advertisements(name)));
    }
    let addresses: Vec<Address> = rtnl
        .addresses()
        .await?
        .iter()
        .filter_map(Address::parse)
        .filter(|address| !vip_links.contains(&address.link))
        .collect();
    Ok(Host {
        addresses: addresses.iter().map(|address| address.ip).collect(),
        default_addresses: default_addresses(&defaults, &addresses),
        router_advertised_links,
    })
}

/// What matters of a link.
pub(super) fn link(message: &LinkMessage) -> Link {
    let kinds = message.attributes.iter().filter_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => Some(infos),
        _ => None,
    });
    Link {
        dummy: kinds.flatten().any(|info| *info == LinkInfo::Kind(InfoKind::Dummy)),
        up: message.header.flags.contains(LinkFlags::Up),
        noarp: message.header.flags.contains(LinkFlags::Noarp),
    }
}

fn name(message: &LinkMessage) -> Option<String> {
    message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })
}

/// The prefix that a route leads to.
pub(super) fn destination(route: &RouteMessage) -> Option<Prefix> {
    let length = route.header.destination_prefix_length;
    let address = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(IpAddr::V4(*address)),
        RouteAttribute::Destination(RouteAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    });
    // The kernel leaves the destination out where the length is 0.
    Prefix::containing(address?, length)
}

/// The table of a route: numbers over 255 are in an attribute only.
pub(super) fn table(route: &RouteMessage) -> u32 {
    let attribute = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    attribute.unwrap_or(u32::from(route.header.table))
}

/// The links that a route leads to, over all its next hops.
pub(super) fn links(route: &RouteMessage) -> Vec<u32> {
    let mut found = Vec::new();
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => found.push(*index),
            RouteAttribute::MultiPath(hops) => found.extend(hops.iter().map(|hop| hop.interface_index)),
            _ => {}
        }
    }
    found
}

/// A route as one of ours, whatever the kernel's filter let through.
fn our_route(route: &RouteMessage, link: Option<u32>) -> Option<(Prefix, LocalRoute)> {
    let ours = route.header.kind == RouteType::Local
        && route.header.protocol == RouteProtocol::from(ROUTE_PROTOCOL)
        && table(route) == u32::from(LOCAL_TABLE);
    if !ours {
        return None;
    }
    let source = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::PrefSource(RouteAddress::Inet(address)) => Some(IpAddr::V4(*address)),
        RouteAttribute::PrefSource(RouteAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    });
    let on_link = link.is_some_and(|link| links(route) == [link]);
    Some((destination(route)?, LocalRoute { source, on_link }))
}

fn is_default(route: &RouteMessage) -> bool {
    route.header.destination_prefix_length == 0
        && route.header.kind == RouteType::Unicast
        && table(route) == u32::from(RouteHeader::RT_TABLE_MAIN)
}

/// Will the kernel drop what routers advertise on this link once it forwards (Documentation/networking/ip-sysctl.rst,
/// `accept_ra`)? With 2 it does not.
fn forwarding_ends_advertisements(link: &str) -> bool {
    // Of the network namespace of the reading thread.
    fs::read_to_string(format!("/proc/sys/net/ipv6/conf/{link}/accept_ra")).is_ok_and(|value| value.trim() == "1")
}

/// Is it an address that others can reach the node by: neither a loopback nor a link-local one?
pub(in crate::apply) fn is_node_address(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    }
}

/// A node address that can be used.
struct Address {
    ip: IpAddr,
    link: u32,
    /// An IPv6 privacy address (RFC 8981), which will be replaced by another one.
    temporary: bool,
}

impl Address {
    /// An address, unless it is a loopback or link-local one, or not usable (yet) because IPv6 checks for duplicates.
    fn parse(message: &AddressMessage) -> Option<Address> {
        let mut ip = None;
        let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
        for attribute in &message.attributes {
            match attribute {
                // On point-to-point links, `IFA_ADDRESS` is the other end's.
                AddressAttribute::Local(local) => ip = Some(*local),
                AddressAttribute::Address(address) => ip = ip.or(Some(*address)),
                AddressAttribute::Flags(all) => flags = *all,
                _ => {}
            }
        }
        let ip = ip?;
        let unusable = flags.contains(AddressFlags::Dadfailed)
            || (flags.contains(AddressFlags::Tentative) && !flags.contains(AddressFlags::Optimistic));
        if unusable || !is_node_address(ip) {
            return None;
        }
        // `IFA_F_TEMPORARY` and IPv4's `IFA_F_SECONDARY` are the same bit.
        let temporary = ip.is_ipv6() && flags.contains(AddressFlags::Secondary);
        Some(Address { ip, link: message.header.index, temporary })
    }
}

/// The addresses of the links that the default routes lead to, in the order of the routes; privacy addresses are left
/// out, since they do not last.
fn default_addresses(defaults: &[RouteMessage], addresses: &[Address]) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for link in defaults.iter().flat_map(links) {
        for address in addresses.iter().filter(|address| address.link == link && !address.temporary) {
            if !found.contains(&address.ip) {
                found.push(address.ip);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests;
