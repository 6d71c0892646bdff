//! Peers.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::{path, proto};
use crate::model::bgp::{Peer, PeerName, Ttl};
use crate::model::{Family, Secret};

/// The beginning of a description that makes a peer ours.
const MARK: &str = "vipcast";

/// Seconds without attempts after a reset by the operator: GoBGP's default.
const IDLE_HOLD_TIME: u64 = 30;

/// The TTL that packets leave with where it is used for security (RFC 5082 section 3).
const HIGHEST_TTL: u32 = 255;

/// For how many seconds a gobgpd that was restarted keeps its routes back until all peers have sent theirs. We take none, so
/// this bounds only what a peer that is away costs the others; GoBGP's own 360 would cost them the routes.
const DEFERRAL_TIME: u32 = 5;

/// A peer to add to a gobgpd of AS `asn`, with every field that GoBGP would fill in by itself. `address` is that of the
/// session, where it is known; `restarting` says that the peer knows a former gobgpd, and may keep its routes.
pub(super) fn write(asn: u32, name: &PeerName, address: String, peer: &Peer, restarting: bool) -> proto::Peer {
    let any: IpAddr = match name.address().map(Family::of) {
        Some(Family::Ipv4) => Ipv4Addr::UNSPECIFIED.into(),
        Some(Family::Ipv6) | None => Ipv6Addr::UNSPECIFIED.into(),
    };
    let neighbor_interface = match name {
        PeerName::Address(_) => String::new(),
        PeerName::Interface(interface) => interface.to_string(),
    };
    let asn = peer.local_asn.unwrap_or(asn);
    let kind = if peer.asn == asn { proto::PeerType::Internal } else { proto::PeerType::External };
    let restart = peer.graceful_restart.map(|time| u32::try_from(time.as_secs()).unwrap_or(u32::MAX));
    let families = peer.families.iter().map(|family| proto::AfiSafi {
        mp_graceful_restart: restart
            .map(|_| proto::MpGracefulRestart { config: Some(proto::MpGracefulRestartConfig { enabled: true }) }),
        config: Some(proto::AfiSafiConfig { family: Some(path::family(*family)), enabled: true }),
    });
    let (ebgp_multihop, ttl_security) = match peer.ttl {
        Ttl::Default => (None, None),
        Ttl::Multihop(ttl) => (Some(proto::EbgpMultihop { enabled: true, multihop_ttl: ttl.into() }), None),
        Ttl::Security(hops) => {
            let ttl_min = HIGHEST_TTL + 1 - u32::from(hops.max(1));
            (None, Some(proto::TtlSecurity { enabled: true, ttl_min }))
        }
    };
    proto::Peer {
        conf: Some(proto::PeerConf {
            auth_password: peer.password.as_ref().map_or("", Secret::reveal).to_owned(),
            description: Overwritten::of(peer).to_string(),
            local_asn: asn,
            neighbor_address: address,
            neighbor_interface,
            peer_asn: peer.asn,
            r#type: kind.into(),
        }),
        ebgp_multihop,
        graceful_restart: restart.map(|restart_time| proto::GracefulRestart {
            enabled: true,
            restart_time,
            deferral_time: DEFERRAL_TIME,
            local_restarting: restarting,
        }),
        ttl_security,
        state: None,
        timers: Some(proto::Timers {
            config: Some(proto::TimersConfig {
                connect_retry: peer.connect_retry.as_secs(),
                hold_time: peer.hold_time.as_secs(),
                keepalive_interval: peer.keepalive.as_secs(),
                idle_hold_time_after_reset: IDLE_HOLD_TIME,
            }),
            state: None,
        }),
        transport: Some(proto::Transport {
            local_address: peer.local_address.unwrap_or(any).to_string(),
            remote_port: u32::from(peer.port),
        }),
        afi_safis: families.collect(),
    }
}

/// What a peer is known by.
pub(super) fn name(conf: &proto::PeerConf) -> Option<PeerName> {
    match conf.neighbor_interface.as_str() {
        "" => conf.neighbor_address.parse().ok().map(PeerName::Address),
        interface => Some(PeerName::Interface(interface.into())),
    }
}

/// What a peer of a gobgpd of AS `asn` is, if it carries our mark.
pub(super) fn read(asn: u32, peer: proto::Peer) -> Option<Peer> {
    let conf = peer.conf?;
    let Overwritten { local_address, local_asn } = Overwritten::read(&conf.description)?;
    let timers = peer.timers.and_then(|timers| timers.config).unwrap_or_default();
    let families = peer.afi_safis.into_iter().filter_map(|one| one.config).filter(|config| config.enabled);
    let security = peer.ttl_security.filter(|security| security.enabled);
    let multihop = peer.ebgp_multihop.filter(|multihop| multihop.enabled);
    let restart = peer.graceful_restart.filter(|restart| restart.enabled);
    Some(Peer {
        asn: conf.peer_asn,
        // Where none was asked for, gobgpd says its own.
        local_asn: Some(conf.local_asn).filter(|found| local_asn.is_some() || *found != asn),
        port: u16::try_from(peer.transport.unwrap_or_default().remote_port).unwrap_or_default(),
        local_address,
        hold_time: Duration::from_secs(timers.hold_time),
        keepalive: Duration::from_secs(timers.keepalive_interval),
        connect_retry: Duration::from_secs(timers.connect_retry),
        password: Some(conf.auth_password).filter(|text| !text.is_empty()).map(Secret::new),
        ttl: match (security, multihop) {
            (Some(security), _) => {
                let hops = (HIGHEST_TTL + 1).saturating_sub(security.ttl_min);
                Ttl::Security(u8::try_from(hops).unwrap_or(u8::MAX))
            }
            (None, Some(multihop)) => Ttl::Multihop(u8::try_from(multihop.multihop_ttl).unwrap_or(u8::MAX)),
            (None, None) => Ttl::Default,
        },
        graceful_restart: restart.map(|restart| Duration::from_secs(restart.restart_time.into())),
        families: families.filter_map(|config| path::known_family(&config.family?)).collect(),
    })
}

/// What gobgpd does not tell as it was asked for: once a session was up, it says the address that was connected from, and
/// it always says an AS number of this node. The description carries these, after our mark.
#[derive(Debug, Default, PartialEq, Eq)]
struct Overwritten {
    local_asn: Option<u32>,
    local_address: Option<IpAddr>,
}

impl Overwritten {
    fn of(peer: &Peer) -> Overwritten {
        Overwritten { local_asn: peer.local_asn, local_address: peer.local_address }
    }

    /// `None` if the description is not ours.
    fn read(description: &str) -> Option<Overwritten> {
        let mut words = description.split(' ');
        if words.next() != Some(MARK) {
            return None;
        }
        let mut found = Overwritten::default();
        while let Some(word) = words.next() {
            match word {
                "as" => found.local_asn = Some(words.next()?.parse().ok()?),
                "from" => found.local_address = Some(words.next()?.parse().ok()?),
                _ => return None,
            }
        }
        Some(found)
    }
}

impl fmt::Display for Overwritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MARK)?;
        if let Some(asn) = self.local_asn {
            write!(f, " as {asn}")?;
        }
        self.local_address.map_or(Ok(()), |address| write!(f, " from {address}"))
    }
}

/// Written by hand since it holds a password.
impl fmt::Debug for proto::PeerConf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerConf")
            .field("neighbor_address", &self.neighbor_address)
            .field("neighbor_interface", &self.neighbor_interface)
            .field("peer_asn", &self.peer_asn)
            .field("description", &self.description)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> Peer {
        Peer { password: Some(Secret::new("correct horse")), ..Peer::new(65000, Family::ALL) }
    }

    fn written(peer: &Peer) -> proto::Peer {
        write(65001, &"192.0.2.1".parse().unwrap(), "192.0.2.1".to_owned(), peer, false)
    }

    #[test]
    fn what_is_written_reads_back() {
        let peers = [
            peer(),
            Peer::new(65001, [Family::Ipv4]),
            Peer { port: 1790, ttl: Ttl::Multihop(2), ..peer() },
            Peer { ttl: Ttl::Security(1), ..peer() },
            Peer { ttl: Ttl::Security(254), connect_retry: Duration::from_secs(7), ..peer() },
            Peer { local_address: Some("192.0.2.2".parse().unwrap()), ..peer() },
            Peer { local_asn: Some(65010), ..peer() },
            Peer { graceful_restart: Some(Duration::from_secs(30)), ..peer() },
            Peer { local_asn: Some(65001), local_address: Some("fd00::2".parse().unwrap()), ..peer() },
        ];
        for peer in peers {
            assert_eq!(read(65001, written(&peer)), Some(peer));
        }
    }

    #[test]
    fn a_gobgpd_that_was_restarted_says_so_and_nothing_else() {
        let graceful = Peer { graceful_restart: Some(Duration::from_secs(30)), ..peer() };
        let name = "192.0.2.1".parse().unwrap();
        for (peer, expected) in [(graceful, Some(true)), (peer(), None)] {
            let restarting = write(65001, &name, "192.0.2.1".to_owned(), &peer, true);
            assert_eq!(restarting.graceful_restart.as_ref().map(|restart| restart.local_restarting), expected);
            assert_eq!(read(65001, restarting), Some(peer));
        }
    }

    #[test]
    fn a_peer_is_known_by_its_interface_if_it_has_one() {
        let interface = PeerName::Interface("eth1".into());
        for address in ["fe80::1%eth1", "invalid IP", ""] {
            let conf = write(65001, &interface, address.to_owned(), &peer(), false).conf.unwrap();
            assert_eq!((conf.neighbor_address.as_str(), name(&conf)), (address, Some(interface.clone())));
        }
        assert_eq!(name(&written(&peer()).conf.unwrap()), Some("192.0.2.1".parse().unwrap()));
        assert_eq!(name(&proto::PeerConf::default()), None);
    }

    #[test]
    fn what_gobgpd_overwrites_is_the_configured_even_after_the_session_was_up() {
        let mut written = written(&peer());
        assert_eq!(written.transport.as_ref().unwrap().local_address, "0.0.0.0");
        written.transport.as_mut().unwrap().local_address = "192.0.2.2".to_owned();
        assert_eq!(read(65001, written), Some(peer()));
    }

    #[test]
    fn a_local_as_number_that_was_not_asked_for_is_seen() {
        assert_eq!(read(65002, written(&peer())), Some(Peer { local_asn: Some(65001), ..peer() }));
    }

    #[test]
    fn peers_with_our_mark_are_ours() {
        let cases = [
            ("vipcast", true),
            ("vipcast from 192.0.2.2", true),
            ("vipcast from fd00::2", true),
            ("vipcast as 65010", true),
            ("vipcast as 65010 from 192.0.2.2", true),
            ("", false),
            ("top of rack", false),
            ("vipcasting", false),
            ("vipcast from elsewhere", false),
            ("vipcast from", false),
            ("vipcast as us", false),
        ];
        for (description, ours) in cases {
            let mut written = written(&peer());
            written.conf.as_mut().unwrap().description = description.to_owned();
            assert_eq!(read(65001, written).is_some(), ours, "{description:?}");
        }
    }

    #[test]
    fn the_type_of_the_session_follows_from_the_as_numbers() {
        let kind =
            |asn, peer| write(asn, &"::1".parse().unwrap(), "::1".to_owned(), &peer, false).conf.unwrap().r#type();
        assert_eq!(kind(65001, peer()), proto::PeerType::External);
        assert_eq!(kind(65000, peer()), proto::PeerType::Internal);
        assert_eq!(kind(65001, Peer { local_asn: Some(65000), ..peer() }), proto::PeerType::Internal);
    }

    #[test]
    fn debug_output_has_no_password() {
        let text = format!("{:?}", written(&peer()));
        assert!(text.contains("192.0.2.1"), "{text}");
        assert!(!text.contains("correct horse"), "{text}");
    }
}
