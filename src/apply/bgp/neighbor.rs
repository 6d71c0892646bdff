//! Who is at the other end of an interface.

use std::net::Ipv6Addr;

use futures::TryStreamExt;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::{Handle, new_connection};

/// The link-local address of the one neighbour on `interface`, with the zone; as `fe80::1%eth1`. The kernel knows of it
/// once it was heard: a router that speaks BGP over the interface sends router advertisements.
///
/// # Errors
/// In words, when there is none, or more than one that may be meant.
pub(super) async fn find(interface: &str) -> Result<String, String> {
    let (connection, handle, _) = new_connection().map_err(|error| format!("rtnetlink: {error}"))?;
    let connection = tokio::spawn(connection);
    let found = neighbors(&handle, interface).await;
    connection.abort();
    let address = choose(&found?, interface)?;
    Ok(format!("{address}%{interface}"))
}

/// A link-local neighbour, and whether it is a router.
type Neighbor = (Ipv6Addr, bool);

async fn neighbors(handle: &Handle, interface: &str) -> Result<Vec<Neighbor>, String> {
    let failed = |error: rtnetlink::Error| format!("interface {interface}: {error}");
    let link = handle.link().get().match_name(interface.to_owned()).execute().try_next().await.map_err(failed)?;
    let index = link.ok_or_else(|| format!("there is no interface {interface}"))?.header.index;
    let all = handle.neighbours().get().set_address_family(AddressFamily::Inet6).execute();
    let all: Vec<NeighbourMessage> = all.try_collect().await.map_err(failed)?;
    Ok(all.iter().filter(|one| one.header.ifindex == index).filter_map(neighbor).collect())
}

/// A neighbour that was heard, if it is one with a link-local address.
fn neighbor(message: &NeighbourMessage) -> Option<Neighbor> {
    use NeighbourState::{Failed, Incomplete, Noarp};
    if matches!(message.header.state, Failed | Incomplete | Noarp) {
        return None;
    }
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => Some(*address),
        _ => None,
    });
    let address = address.filter(Ipv6Addr::is_unicast_link_local)?;
    Some((address, message.header.flags.contains(NeighbourFlags::Router)))
}

/// The one router among them, else the one neighbour.
fn choose(found: &[Neighbor], interface: &str) -> Result<Ipv6Addr, String> {
    let routers: Vec<_> = found.iter().filter(|(_, is_router)| *is_router).collect();
    match (routers.as_slice(), found) {
        ([(address, _)], _) | ([], [(address, _)]) => Ok(*address),
        (_, []) => Err(format!(
            "no neighbour was heard on interface {interface}: the peer has to send router advertisements there, and the \
             link has to be up"
        )),
        (_, several) => {
            let addresses: Vec<String> = several.iter().map(|(address, _)| address.to_string()).collect();
            Err(format!(
                "interface {interface} has to lead to one neighbour, and there are several: {}",
                addresses.join(", ")
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(address: &str, state: NeighbourState, flags: NeighbourFlags) -> NeighbourMessage {
        let mut message = NeighbourMessage::default();
        (message.header.state, message.header.flags) = (state, flags);
        let address = NeighbourAddress::Inet6(address.parse().unwrap());
        message.attributes.push(NeighbourAttribute::Destination(address));
        message
    }

    #[test]
    fn the_one_router_is_meant_or_else_the_one_neighbour() {
        let (host, router) = (NeighbourFlags::default(), NeighbourFlags::Router);
        let (stale, failed) = (NeighbourState::Stale, NeighbourState::Failed);
        let cases = [
            (vec![message("fe80::1", stale.clone(), host)], Some("fe80::1")),
            (vec![message("fe80::1", stale.clone(), host), message("fe80::2", stale.clone(), router)], Some("fe80::2")),
            (vec![message("fe80::1", failed, router), message("fe80::2", stale.clone(), host)], Some("fe80::2")),
            (vec![message("fd00::1", stale.clone(), host), message("fe80::2", stale.clone(), host)], Some("fe80::2")),
            (vec![message("fe80::1", stale.clone(), host), message("fe80::2", stale.clone(), host)], None),
            (vec![message("fe80::1", stale.clone(), router), message("fe80::2", stale, router)], None),
            (vec![], None),
        ];
        for (messages, expected) in cases {
            let found: Vec<_> = messages.iter().filter_map(neighbor).collect();
            assert_eq!(choose(&found, "eth1").ok(), expected.map(|text| text.parse().unwrap()), "{messages:?}");
        }
    }

    #[tokio::test]
    async fn an_interface_that_is_not_there_is_named() {
        let why = find("no-such-link").await.unwrap_err();
        assert!(why.contains("no-such-link"), "{why}");
    }
}
