//! Peers and their sessions.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::{path, proto};
use crate::apply::bgp::api::Event;
use crate::model::bgp::{Peer, PeerName, Session, SessionState, Ttl};
use crate::model::{Family, Secret};

/// The beginning of a description that makes a peer ours.
const MARK: &str = "vipcast";

/// Seconds without attempts after a reset by the operator: GoBGP's default.
const IDLE_HOLD_TIME: u64 = 30;

/// A peer to add, with every field that GoBGP would fill in by itself.
pub(super) fn write(asn: u32, name: &PeerName, peer: &Peer) -> proto::Peer {
    let any: IpAddr = match name.address().map(Family::of) {
        Some(Family::Ipv4) => Ipv4Addr::UNSPECIFIED.into(),
        Some(Family::Ipv6) | None => Ipv6Addr::UNSPECIFIED.into(),
    };
    let (neighbor_address, neighbor_interface) = spelled(name);
    let asn = peer.local_asn.unwrap_or(asn);
    let kind = if peer.asn == asn { proto::PeerType::Internal } else { proto::PeerType::External };
    let families = peer.families.iter().map(|family| proto::AfiSafi {
        config: Some(proto::AfiSafiConfig { family: Some(path::family(*family)), enabled: true }),
    });
    proto::Peer {
        conf: Some(proto::PeerConf {
            auth_password: peer.password.as_ref().map_or("", Secret::reveal).to_owned(),
            description: description(peer.local_address),
            local_asn: asn,
            neighbor_address,
            neighbor_interface,
            peer_asn: peer.asn,
            r#type: kind.into(),
        }),
        ebgp_multihop: match peer.ttl {
            Ttl::Multihop(ttl) => Some(proto::EbgpMultihop { enabled: true, multihop_ttl: u32::from(ttl) }),
            Ttl::Default | Ttl::Security(_) => None,
        },
        state: None,
        timers: Some(proto::Timers {
            config: Some(proto::TimersConfig {
                connect_retry: peer.connect_retry.as_secs(),
                hold_time: peer.hold_time.as_secs(),
                keepalive_interval: peer.keepalive.as_secs(),
                idle_hold_time_after_reset: IDLE_HOLD_TIME,
            }),
        }),
        transport: Some(proto::Transport {
            local_address: peer.local_address.unwrap_or(any).to_string(),
            remote_port: u32::from(peer.port),
        }),
        afi_safis: families.collect(),
    }
}

/// The address and the interface of a peer, of which it has one.
pub(super) fn spelled(name: &PeerName) -> (String, String) {
    match name {
        PeerName::Address(address) => (address.to_string(), String::new()),
        PeerName::Interface(interface) => (String::new(), interface.to_string()),
    }
}

/// A peer's name and, if it carries our mark, what it is.
pub(super) fn read(peer: proto::Peer) -> Option<(PeerName, Option<Peer>)> {
    let conf = peer.conf?;
    let name = match conf.neighbor_interface.as_str() {
        "" => PeerName::Address(conf.neighbor_address.parse().ok()?),
        interface => PeerName::Interface(interface.into()),
    };
    let Some(local_address) = local_address(&conf.description) else {
        return Some((name, None));
    };
    let timers = peer.timers.and_then(|timers| timers.config).unwrap_or_default();
    let families = peer.afi_safis.into_iter().filter_map(|one| one.config).filter(|config| config.enabled);
    let families = families.filter_map(|config| {
        let found = config.family?;
        Family::ALL.into_iter().find(|family| path::family(*family) == found)
    });
    let found = Peer {
        asn: conf.peer_asn,
        local_asn: None,
        port: u16::try_from(peer.transport.unwrap_or_default().remote_port).unwrap_or_default(),
        local_address,
        hold_time: Duration::from_secs(timers.hold_time),
        keepalive: Duration::from_secs(timers.keepalive_interval),
        connect_retry: Duration::from_secs(timers.connect_retry),
        password: Some(conf.auth_password).filter(|text| !text.is_empty()).map(Secret::new),
        ttl: match peer.ebgp_multihop.filter(|multihop| multihop.enabled) {
            Some(multihop) => Ttl::Multihop(u8::try_from(multihop.multihop_ttl).unwrap_or(u8::MAX)),
            None => Ttl::Default,
        },
        families: families.collect(),
    };
    Some((name, Some(found)))
}

/// Our mark, with the address to connect from: once a session was up, GoBGP tells the address that it used in place of
/// the one that was configured.
fn description(local_address: Option<IpAddr>) -> String {
    match local_address {
        None => MARK.to_owned(),
        Some(address) => format!("{MARK} from {address}"),
    }
}

/// The address to connect from in a description of ours; `None` if the description is not ours.
fn local_address(description: &str) -> Option<Option<IpAddr>> {
    let rest = description.strip_prefix(MARK)?;
    if rest.is_empty() {
        return Some(None);
    }
    rest.strip_prefix(" from ")?.parse().ok().map(Some)
}

/// What an event says about a session.
pub(super) fn session(peer: proto::Peer) -> Option<Event> {
    use proto::peer_state::{AdminState, SessionState as Found};

    let state = peer.state?;
    let name = PeerName::Address(state.neighbor_address.parse().ok()?);
    let reason = match state.admin_state() {
        AdminState::Up => None,
        AdminState::Down => Some("shut down in gobgpd by an operator".to_owned()),
        AdminState::PfxCt => Some("shut down by gobgpd: the peer sent more prefixes than its limit".to_owned()),
    };
    let state = match state.session_state() {
        Found::Unknown => return None,
        Found::Idle => SessionState::Idle,
        Found::Connect => SessionState::Connect,
        Found::Active => SessionState::Active,
        Found::Opensent => SessionState::OpenSent,
        Found::Openconfirm => SessionState::OpenConfirm,
        Found::Established => SessionState::Established,
    };
    Some(Event::Session(name, Session { reason, ..Session::new(state) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> Peer {
        Peer {
            port: 1790,
            password: Some(Secret::new("correct horse")),
            ttl: Ttl::Multihop(2),
            ..Peer::new(65000, Family::ALL)
        }
    }

    fn name() -> PeerName {
        "192.0.2.1".parse().unwrap()
    }

    #[test]
    fn what_is_written_reads_back() {
        let plain = Peer { password: None, ttl: Ttl::Default, families: [Family::Ipv4].into(), ..peer() };
        let from = Peer { local_address: Some("192.0.2.2".parse().unwrap()), ..peer() };
        for peer in [peer(), plain, from] {
            assert_eq!(read(write(65001, &name(), &peer)), Some((name(), Some(peer))));
        }
    }

    #[test]
    fn the_local_address_is_the_configured_one_even_after_the_session_was_up() {
        let mut written = write(65001, &name(), &peer());
        assert_eq!(written.transport.as_ref().unwrap().local_address, "0.0.0.0");
        written.transport.as_mut().unwrap().local_address = "192.0.2.2".to_owned();
        assert_eq!(read(written), Some((name(), Some(peer()))));
    }

    #[test]
    fn peers_with_our_mark_are_ours() {
        let cases = [
            ("vipcast", true),
            ("vipcast from 192.0.2.2", true),
            ("vipcast from fd00::2", true),
            ("", false),
            ("top of rack", false),
            ("vipcasting", false),
            ("vipcast from elsewhere", false),
        ];
        for (description, ours) in cases {
            let mut written = write(65001, &name(), &peer());
            written.conf.as_mut().unwrap().description = description.to_owned();
            assert_eq!(read(written).unwrap().1.is_some(), ours, "{description:?}");
        }
    }

    #[test]
    fn the_type_of_the_session_follows_from_the_as_numbers() {
        let kind = |asn| write(asn, &name(), &peer()).conf.unwrap().r#type();
        assert_eq!(kind(65001), proto::PeerType::External);
        assert_eq!(kind(65000), proto::PeerType::Internal);
    }

    #[test]
    fn debug_output_has_no_password() {
        let text = format!("{:?}", write(65001, &name(), &peer()));
        assert!(text.contains("192.0.2.1"), "{text}");
        assert!(!text.contains("correct horse"), "{text}");
    }

    #[test]
    fn sessions_are_read_from_events() {
        use proto::peer_state::AdminState;

        let event = |address: &str, session: i32, admin: AdminState| {
            let state = proto::PeerState {
                neighbor_address: address.to_owned(),
                session_state: session,
                admin_state: admin.into(),
            };
            session_of(state)
        };
        let session_of_first = |state, reason: Option<&str>| {
            let reason = reason.map(str::to_owned);
            Some(Event::Session(name(), Session { reason, ..Session::new(state) }))
        };
        assert_eq!(event("192.0.2.1", 6, AdminState::Up), session_of_first(SessionState::Established, None));
        assert_eq!(
            event("192.0.2.1", 1, AdminState::Down),
            session_of_first(SessionState::Idle, Some("shut down in gobgpd by an operator"))
        );
        assert_eq!(event("192.0.2.1", 0, AdminState::Up), None);
        assert_eq!(event("<nil>", 1, AdminState::Up), None);
    }

    fn session_of(state: proto::PeerState) -> Option<Event> {
        session(proto::Peer { state: Some(state), ..proto::Peer::default() })
    }
}
