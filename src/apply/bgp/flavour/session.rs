//! Sessions.

use super::any::{families, keeps_routes, next_hops};
use super::{path, peer, proto};
use crate::apply::bgp::api::{Event, Listed, Notifications};
use crate::model::Family;
use crate::model::bgp::{PeerName, SHUT_DOWN, SessionState};

/// What a listed peer says about its session.
pub(super) fn read(peer: &proto::Peer) -> Option<Listed> {
    use proto::peer_state::AdminState;

    let found = peer.state.as_ref()?;
    let state = known_state(found)?;
    let is_established = state == SessionState::Established;
    let since = peer.timers.as_ref().and_then(|timers| timers.state.as_ref()?.uptime).map(|uptime| uptime.seconds);
    let local = peer.transport.as_ref().and_then(|transport| path::address(&transport.local_address));
    let configured = peer.afi_safis.iter().filter_map(|one| one.config.as_ref()).filter(|config| config.enabled);
    let mut carried: Vec<_> = families(&found.remote_cap).iter().filter_map(path::known_family).collect();
    if carried.is_empty() {
        // A side that names no family carries this one (RFC 4760 section 8).
        carried.push(Family::Ipv4);
    }
    if peer.conf.as_ref().and_then(peer::name).is_some_and(|name| !is_ipv4(&name)) && !takes_ipv6_next_hops(found) {
        // gobgpd sends them all the same; who has not said that it can may end the session over them (RFC 8950 section 4).
        carried.retain(|family| *family != Family::Ipv4);
    }
    let both = configured.filter_map(|config| path::known_family(config.family.as_ref()?));
    let messages = found.messages.unwrap_or_default();
    Some(Listed {
        state,
        shut: match found.admin_state() {
            AdminState::Down => Some(SHUT_DOWN),
            AdminState::PfxCt => Some("shut down by gobgpd: the peer sent more prefixes than its limit"),
            _ => None,
        },
        since: since.filter(|_| is_established),
        local_address: local.filter(|address| is_established && !address.is_unspecified()),
        families: both.filter(|family| is_established && carried.contains(family)).collect(),
        keeps_routes: is_established && keeps_routes(&found.remote_cap),
        notifications: Notifications {
            received: messages.received.unwrap_or_default().notification,
            sent: messages.sent.unwrap_or_default().notification,
        },
    })
}

/// Is the session with this peer one over IPv4?
fn is_ipv4(name: &PeerName) -> bool {
    name.address().is_some_and(|address| address.is_ipv4())
}

/// Has the peer said that it takes IPv4 routes with IPv6 next hops?
fn takes_ipv6_next_hops(found: &proto::PeerState) -> bool {
    let [ipv4, ipv6] = Family::ALL.map(path::family);
    next_hops(&found.remote_cap).iter().any(|pair| {
        // Of the next hop the capability names the address family alone.
        pair.nlri_family == Some(ipv4) && pair.nexthop_family.is_some_and(|family| family.afi == ipv6.afi)
    })
}

/// What an event says about a session.
pub(super) fn change(peer: &proto::Peer) -> Option<Event> {
    let state = peer.state.as_ref()?;
    Some(Event::Session(peer::name(peer.conf.as_ref()?)?, known_state(state)?))
}

fn known_state(state: &proto::PeerState) -> Option<SessionState> {
    use proto::peer_state::SessionState as Found;

    match state.session_state() {
        Found::Idle => Some(SessionState::Idle),
        Found::Connect => Some(SessionState::Connect),
        Found::Active => Some(SessionState::Active),
        Found::Opensent => Some(SessionState::OpenSent),
        Found::Openconfirm => Some(SessionState::OpenConfirm),
        Found::Established => Some(SessionState::Established),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::any;
    use super::*;
    use proto::peer_state::{AdminState, SessionState as Found};

    fn peer(state: Found, admin: AdminState) -> proto::Peer {
        let message = |notification| Some(proto::Message { notification });
        let afi_safis = Family::ALL.map(|family| proto::AfiSafi {
            config: Some(proto::AfiSafiConfig { family: Some(path::family(family)), enabled: true }),
            mp_graceful_restart: None,
        });
        let uptime = prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 };
        proto::Peer {
            conf: Some(proto::PeerConf { neighbor_address: "192.0.2.1".to_owned(), ..Default::default() }),
            state: Some(proto::PeerState {
                session_state: state.into(),
                admin_state: admin.into(),
                messages: Some(proto::Messages { received: message(2), sent: message(1) }),
                ..Default::default()
            }),
            timers: Some(proto::Timers { state: Some(proto::TimersState { uptime: Some(uptime) }), config: None }),
            transport: Some(proto::Transport { local_address: "fe80::2%eth1".to_owned(), ..Default::default() }),
            afi_safis: afi_safis.into(),
            ..Default::default()
        }
    }

    #[test]
    fn an_established_session_tells_all_and_another_what_still_holds() {
        let established = Listed {
            state: SessionState::Established,
            shut: None,
            since: Some(1_700_000_000),
            local_address: Some("fe80::2".parse().unwrap()),
            families: [Family::Ipv4].into(),
            keeps_routes: false,
            notifications: Notifications { received: 2, sent: 1 },
        };
        assert_eq!(read(&peer(Found::Established, AdminState::Up)), Some(established.clone()));
        let down = Listed {
            state: SessionState::Idle,
            shut: Some(SHUT_DOWN),
            since: None,
            local_address: None,
            families: [].into(),
            ..established
        };
        assert_eq!(read(&peer(Found::Idle, AdminState::Down)), Some(down));
        assert_eq!(read(&proto::Peer::default()), None);
    }

    #[test]
    fn ipv4_goes_over_ipv6_to_those_alone_who_take_it() {
        let carried = |address: &str, interface: &str, offers: bool| {
            let mut peer = peer(Found::Established, AdminState::Up);
            let conf = peer.conf.as_mut().unwrap();
            (conf.neighbor_address, conf.neighbor_interface) = (address.to_owned(), interface.to_owned());
            peer.state.as_mut().unwrap().remote_cap = any::offer(&Family::ALL.map(path::family), offers);
            read(&peer).unwrap().families
        };
        for (address, interface) in [("2001:db8::1", ""), ("fe80::1%eth1", "eth1")] {
            assert_eq!(carried(address, interface, false), [Family::Ipv6].into());
            assert_eq!(carried(address, interface, true), Family::ALL.into());
        }
        assert_eq!(carried("192.0.2.1", "", false), Family::ALL.into());
    }

    #[test]
    fn events_name_the_peer_as_it_is_known() {
        let mut peer = peer(Found::Opensent, AdminState::Up);
        let event = |name: &str| Some(Event::Session(name.parse().unwrap(), SessionState::OpenSent));
        assert_eq!(change(&peer), event("192.0.2.1"));
        peer.conf.as_mut().unwrap().neighbor_interface = "eth1".to_owned();
        assert_eq!(change(&peer), event("eth1"));
        // The end of what was there when the watch began.
        let nobody = proto::PeerConf { neighbor_address: "<nil>".to_owned(), ..Default::default() };
        assert_eq!(change(&proto::Peer { conf: Some(nobody), ..peer }), None);
    }
}
