//! The other end of a link, for peers that are known by the interface that leads to them (unnumbered).

use std::io;
use std::net::{Ipv6Addr, SocketAddrV6};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rustix::net::{
    AddressFamily, SendFlags, SocketFlags, SocketType, ipproto, netdevice, sendto, socket_with, sockopt,
};

use super::rtnl::Rtnl;

/// All nodes of a link (RFC 4291 section 2.7.1).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// A router advertisement (RFC 4861 section 4.2): type 134, code 0, the checksum that the kernel fills in, no hop limit to
/// use, no flags, and a lifetime of 0: the sender is nobody's default router. Timers are left open.
const ADVERTISEMENT: [u8; 16] = [134, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// The link-local address of the one neighbour at the other end of `interface`, from the kernel's neighbour table. Of
/// several, the one that says it is a router.
///
/// # Errors
/// In words: there is no such interface, nobody has been seen on it yet, or several were.
pub(crate) async fn link_local(interface: &str) -> Result<Ipv6Addr, String> {
    let rtnl = Rtnl::connect().map_err(|error| format!("cannot open a netlink socket: {error}"))?;
    let link = rtnl.link(interface).await.map_err(|failure| failure.to_string())?;
    let link = link.ok_or_else(|| format!("there is no interface {interface}"))?;
    let found = rtnl.neighbors(link.header.index).await.map_err(|failure| failure.to_string())?;
    choose(&found).map_err(|count| match count {
        0 => format!(
            "no neighbour has been seen on {interface} yet: the switch has to send IPv6 router advertisements there"
        ),
        count => format!("{count} neighbours on {interface}, where one is expected: give the peer's address instead"),
    })
}

/// Sends one router advertisement on `interface`: what switches with unnumbered peers wait for before they connect, or let
/// anybody connect (FRR's `neighbor IFACE interface`). The capability NET_RAW is needed.
///
/// # Errors
/// As the kernel says.
pub(crate) fn advertise(interface: &str) -> io::Result<()> {
    let socket = socket_with(
        AddressFamily::INET6,
        SocketType::RAW,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        Some(ipproto::ICMPV6),
    )?;
    let index = netdevice::name_to_index(&socket, interface)?;
    // RFC 4861 section 6.1.2: one that may have passed a router is not taken.
    sockopt::set_ipv6_multicast_hops(&socket, 255)?;
    sockopt::set_ipv6_multicast_if(&socket, index)?;
    sendto(&socket, &ADVERTISEMENT, SendFlags::empty(), &SocketAddrV6::new(ALL_NODES, 0, 0, index))?;
    Ok(())
}

/// The neighbour that is meant, or how many there are.
fn choose(found: &[NeighbourMessage]) -> Result<Ipv6Addr, usize> {
    let seen: Vec<(Ipv6Addr, bool)> = found.iter().filter_map(seen).collect();
    let routers: Vec<Ipv6Addr> = seen.iter().filter(|(_, is_router)| *is_router).map(|(address, _)| *address).collect();
    match (seen.as_slice(), routers.as_slice()) {
        ([(one, _)], _) | (_, [one]) => Ok(*one),
        _ => Err(seen.len()),
    }
}

/// A link-local neighbour that has answered, and whether it is a router.
fn seen(message: &NeighbourMessage) -> Option<(Ipv6Addr, bool)> {
    use NeighbourState::{Failed, Incomplete, Noarp, None as Unknown};

    let answered = !matches!(message.header.state, Failed | Incomplete | Noarp | Unknown);
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => Some(*address),
        _ => None,
    })?;
    let is_router = message.header.flags.contains(NeighbourFlags::Router);
    (answered && address.is_unicast_link_local()).then_some((address, is_router))
}

impl Rtnl {
    /// The IPv6 neighbours on the link with this index.
    async fn neighbors(&self, link: u32) -> Result<Vec<NeighbourMessage>, super::rtnl::Failure> {
        let mut request = NeighbourMessage::default();
        request.header.family = netlink_packet_route::AddressFamily::Inet6;
        self.dump("list the neighbours", RouteNetlinkMessage::GetNeighbour(request), |message| match message {
            RouteNetlinkMessage::NewNeighbour(neighbor) if neighbor.header.ifindex == link => Some(neighbor),
            _ => None,
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn neighbor(address: &str, state: NeighbourState, flags: NeighbourFlags) -> NeighbourMessage {
        let mut message = NeighbourMessage::default();
        message.header.state = state;
        message.header.flags = flags;
        message.attributes = vec![NeighbourAttribute::Destination(NeighbourAddress::Inet6(address.parse().unwrap()))];
        message
    }

    #[test]
    fn the_neighbour_is_the_only_one_or_the_only_router() {
        use NeighbourState::{Failed, Incomplete, Reachable, Stale};

        let host = NeighbourFlags::empty();
        let router = NeighbourFlags::Router;
        let address = |text: &str| Ok(text.parse().unwrap());
        for (found, expected) in [
            (vec![], Err(0)),
            (vec![neighbor("fe80::1", Failed, router)], Err(0)),
            (vec![neighbor("fe80::1", Incomplete, host), neighbor("fd00::1", Reachable, router)], Err(0)),
            (vec![neighbor("fe80::1", Stale, host)], address("fe80::1")),
            (vec![neighbor("fe80::1", Stale, host), neighbor("fe80::2", Stale, router)], address("fe80::2")),
            (vec![neighbor("fe80::1", Stale, host), neighbor("fe80::2", Stale, host)], Err(2)),
            (vec![neighbor("fe80::1", Stale, router), neighbor("fe80::2", Stale, router)], Err(2)),
        ] {
            assert_eq!(choose(&found), expected, "{found:?}");
        }
    }

    #[tokio::test]
    async fn an_interface_that_is_not_there_is_named() {
        assert_eq!(link_local("vipcast-none").await, Err("there is no interface vipcast-none".to_owned()));
    }
}
