//! Paths.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use prost::Name;
use prost_types::Any;

use super::proto;
use crate::apply::bgp::api::Event;
use crate::model::bgp::{Community, NextHop, Path};
use crate::model::{Family, Prefix};

/// RFC 4271 section 5.1.1.
const ORIGIN_IGP: u32 = 0;

/// A family, unicast.
pub(super) fn family(family: Family) -> proto::Family {
    let afi = match family {
        Family::Ipv4 => proto::family::Afi::Ip,
        Family::Ipv6 => proto::family::Afi::Ip6,
    };
    proto::Family { afi: afi.into(), safi: proto::family::Safi::Unicast.into() }
}

/// Looks for `prefix` and no other.
pub(super) fn exactly(prefix: Prefix) -> proto::TableLookupPrefix {
    proto::TableLookupPrefix { prefix: prefix.to_string(), r#type: proto::table_lookup_prefix::Type::Exact.into() }
}

/// A path to announce, or the withdrawal of one.
pub(super) fn write(prefix: Prefix, path: Option<&Path>) -> proto::Path {
    let family = family(prefix.family());
    let nlri =
        any(&proto::IpAddressPrefix { prefix_len: prefix.length().into(), prefix: prefix.address().to_string() });
    let mut attributes = Vec::new();
    if let Some(path) = path {
        attributes.push(any(&proto::OriginAttribute { origin: ORIGIN_IGP }));
        let next_hop = match (path.next_hop, prefix.family()) {
            (NextHop::Address(address), _) => address,
            (NextHop::Own, Family::Ipv4) => Ipv4Addr::UNSPECIFIED.into(),
            (NextHop::Own, Family::Ipv6) => Ipv6Addr::UNSPECIFIED.into(),
        };
        attributes.push(if prefix.family() == Family::Ipv4 && next_hop.is_ipv4() {
            any(&proto::NextHopAttribute { next_hop: next_hop.to_string() })
        } else {
            any(&proto::MpReachNlriAttribute {
                family: Some(family),
                next_hops: vec![next_hop.to_string()],
                nlris: vec![nlri.clone()],
            })
        });
        if !path.communities.is_empty() {
            let communities = path.communities.iter().map(|community| community.0).collect();
            attributes.push(any(&proto::CommunitiesAttribute { communities }));
        }
    }
    proto::Path {
        nlri: Some(nlri),
        pattrs: attributes,
        is_withdraw: path.is_none(),
        family: Some(family),
        ..proto::Path::default()
    }
}

/// A local path as read back; `None` for any other.
pub(super) fn read(path: &proto::Path) -> Option<(Prefix, Path)> {
    Some((local(path)?, content(path)))
}

/// What an event says about a path; `None` unless it is a local one.
pub(super) fn change(path: &proto::Path) -> Option<Event> {
    Some(Event::Path(local(path)?, (!path.is_withdraw).then(|| content(path))))
}

/// The prefix of a local path: one that came by the API, and not beside another (by identifier, RFC 7911), since ours
/// have none and cannot replace or withdraw such a one.
fn local(path: &proto::Path) -> Option<Prefix> {
    let local = path.source_asn == 0 && matches!(path.neighbor_ip.as_str(), "" | "<nil>") && path.identifier == 0;
    let nlri: proto::IpAddressPrefix = path.nlri.as_ref().filter(|_| local)?.to_msg().ok()?;
    Prefix::containing(nlri.prefix.parse().ok()?, u8::try_from(nlri.prefix_len).ok()?)
}

/// What a path carries. One with attributes that we never send has a next hop that nothing desired has, the unspecified
/// address: it is found, and it differs.
fn content(path: &proto::Path) -> Path {
    let mut found = Path::new(NextHop::Own);
    let mut foreign = false;
    for attribute in &path.pattrs {
        if let Some(origin) = message::<proto::OriginAttribute>(attribute) {
            foreign |= origin.origin != ORIGIN_IGP;
        } else if let Some(hop) = message::<proto::NextHopAttribute>(attribute) {
            found.next_hop = next_hop(&hop.next_hop);
        } else if let Some(reach) = message::<proto::MpReachNlriAttribute>(attribute) {
            found.next_hop = next_hop(reach.next_hops.first().map_or("", String::as_str));
        } else if let Some(list) = message::<proto::CommunitiesAttribute>(attribute) {
            found.communities = list.communities.into_iter().map(Community).collect();
        } else {
            foreign = true;
        }
    }
    if foreign {
        found.next_hop = NextHop::Address(Ipv4Addr::UNSPECIFIED.into());
    }
    found
}

fn next_hop(text: &str) -> NextHop {
    match text.parse::<IpAddr>() {
        Ok(address) if !address.is_unspecified() => NextHop::Address(address),
        _ => NextHop::Own,
    }
}

fn any<M: Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}

fn message<M: Name + Default>(any: &Any) -> Option<M> {
    if any.type_url == M::type_url() { any.to_msg().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::{prop_assert_eq, proptest};

    use super::*;

    fn path(next_hop: NextHop, communities: &[u32]) -> Path {
        Path { communities: communities.iter().copied().map(Community).collect(), ..Path::new(next_hop) }
    }

    #[test]
    fn what_is_written_reads_back() {
        let own = NextHop::Own;
        let address = |text: &str| NextHop::Address(text.parse().unwrap());
        let cases = [
            ("10.96.0.0/16", own, &[][..], "NextHopAttribute"),
            ("0.0.0.0/0", address("192.0.2.1"), &[65001 << 16 | 100, 7], "NextHopAttribute"),
            ("10.96.0.0/16", address("2001:db8::1"), &[], "MpReachNLRIAttribute"),
            ("fd00:10:96::/112", own, &[1], "MpReachNLRIAttribute"),
            ("fd00:10:96::1/128", address("2001:db8::1"), &[], "MpReachNLRIAttribute"),
        ];
        for (prefix, next_hop, communities, attribute) in cases {
            let (prefix, path) = (prefix.parse().unwrap(), path(next_hop, communities));
            let written = write(prefix, Some(&path));
            let urls: Vec<_> = written.pattrs.iter().map(|any| any.type_url.as_str()).collect();
            assert_eq!(
                urls[..2],
                ["type.googleapis.com/apipb.OriginAttribute", &format!("type.googleapis.com/apipb.{attribute}")]
            );
            assert_eq!(read(&written), Some((prefix, path.clone())));
            assert_eq!(change(&written), Some(Event::Path(prefix, Some(path))));
            assert_eq!(change(&write(prefix, None)), Some(Event::Path(prefix, None)));
        }
    }

    proptest! {
        #[test]
        fn any_path_reads_back(
            address: IpAddr, length in 0..=128_u8, hop: Option<IpAddr>, communities: BTreeSet<u32>,
        ) {
            let longest = if address.is_ipv4() { 32 } else { 128 };
            let prefix = Prefix::containing(address, length.min(longest)).unwrap();
            let hop = hop.filter(|hop| !hop.is_unspecified()).map_or(NextHop::Own, NextHop::Address);
            let path = path(hop, &Vec::from_iter(communities));
            prop_assert_eq!(read(&write(prefix, Some(&path))), Some((prefix, path)));
        }
    }

    #[test]
    fn the_prefix_is_spelled_as_gobgp_spells_it() {
        let nlri = write("10.96.0.0/16".parse().unwrap(), None).nlri.unwrap();
        assert_eq!(nlri.type_url, "type.googleapis.com/apipb.IPAddressPrefix");
    }

    #[test]
    fn only_local_paths_are_read() {
        let ours = write("10.96.0.0/16".parse().unwrap(), Some(&path(NextHop::Own, &[])));
        assert!(read(&proto::Path { neighbor_ip: "<nil>".to_owned(), ..ours.clone() }).is_some());
        assert_eq!(read(&proto::Path { neighbor_ip: "192.0.2.1".to_owned(), ..ours.clone() }), None);
        assert_eq!(read(&proto::Path { source_asn: 65000, ..ours.clone() }), None);
        assert_eq!(read(&proto::Path { identifier: 1, ..ours.clone() }), None);
        assert_eq!(read(&proto::Path { nlri: None, ..ours }), None);
    }

    #[test]
    fn a_path_with_attributes_that_we_never_send_differs_from_every_path_of_ours() {
        let ours = path(NextHop::Own, &[1]);
        let written = write("10.96.0.0/16".parse().unwrap(), Some(&ours));
        let med = Any { type_url: "type.googleapis.com/apipb.MultiExitDiscAttribute".to_owned(), value: vec![8, 5] };
        let mut with_med = written.clone();
        with_med.pattrs.push(med);
        let mut incomplete = written;
        incomplete.pattrs[0] = any(&proto::OriginAttribute { origin: 2 });
        for other in [with_med, incomplete] {
            let (_, found) = read(&other).unwrap();
            assert_eq!(found, path(NextHop::Address(Ipv4Addr::UNSPECIFIED.into()), &[1]));
        }
    }
}
