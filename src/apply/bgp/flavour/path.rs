//! Paths.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::any::{Attr, pack, pack_prefix, unpack, unpack_prefix};
use super::proto;
use super::proto::as_segment::Type::AsSequence;
use crate::apply::bgp::api::Event;
use crate::model::bgp::{Community, LargeCommunity, NextHop, Path};
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

/// Which of ours a family is.
pub(super) fn known_family(found: &proto::Family) -> Option<Family> {
    Family::ALL.into_iter().find(|ours| family(*ours) == *found)
}

/// Looks for `prefix` and no other.
pub(super) fn exactly(prefix: Prefix) -> proto::TableLookupPrefix {
    proto::TableLookupPrefix { prefix: prefix.to_string(), r#type: proto::table_lookup_prefix::Type::Exact.into() }
}

/// A path to announce, or the withdrawal of one.
pub(super) fn write(prefix: Prefix, path: Option<&Path>) -> proto::Path {
    let family = family(prefix.family());
    let nlri = proto::IpAddressPrefix { prefix_len: prefix.length().into(), prefix: prefix.address().to_string() };
    let nlri = pack_prefix(&nlri);
    let mut attributes = Vec::new();
    if let Some(path) = path {
        attributes.push(Attr::Origin(proto::OriginAttribute { origin: ORIGIN_IGP }));
        if !path.as_path.is_empty() {
            let segment = proto::AsSegment { r#type: AsSequence.into(), numbers: path.as_path.clone() };
            attributes.push(Attr::AsPath(proto::AsPathAttribute { segments: vec![segment] }));
        }
        let next_hop = match (path.next_hop, prefix.family()) {
            (NextHop::Address(address), _) => address,
            (NextHop::Own, Family::Ipv4) => Ipv4Addr::UNSPECIFIED.into(),
            (NextHop::Own, Family::Ipv6) => Ipv6Addr::UNSPECIFIED.into(),
        };
        // An unspecified IPv4 address becomes the session's own address of whatever family; an unspecified IPv6 one does
        // not on a session over IPv4.
        attributes.push(if prefix.family() == Family::Ipv4 && next_hop.is_ipv4() {
            Attr::NextHop(proto::NextHopAttribute { next_hop: next_hop.to_string() })
        } else {
            Attr::MpReach(proto::MpReachNlriAttribute {
                family: Some(family),
                next_hops: vec![next_hop.to_string()],
                nlris: vec![nlri.clone()],
            })
        });
        attributes.extend(path.med.map(|med| Attr::MultiExitDisc(proto::MultiExitDiscAttribute { med })));
        attributes.extend(path.local_pref.map(|local_pref| Attr::LocalPref(proto::LocalPrefAttribute { local_pref })));
        if !path.communities.is_empty() {
            let communities = path.communities.iter().map(|community| community.0).collect();
            attributes.push(Attr::Communities(proto::CommunitiesAttribute { communities }));
        }
        if !path.large_communities.is_empty() {
            let communities = path.large_communities.iter().map(|community| proto::LargeCommunity {
                global_admin: community.0,
                local_data1: community.1,
                local_data2: community.2,
            });
            let communities = communities.collect();
            attributes.push(Attr::LargeCommunities(proto::LargeCommunitiesAttribute { communities }));
        }
    }
    proto::Path {
        nlri: Some(nlri),
        pattrs: attributes.iter().map(pack).collect(),
        is_withdraw: path.is_none(),
        family: Some(family),
        ..proto::Path::default()
    }
}

/// A local path as read back; `None` for any other.
pub(super) fn read(path: &proto::Path) -> Option<(Prefix, Path)> {
    Some((local(path)?, content(path)))
}

/// A path of whatever origin.
pub(super) fn read_any(path: &proto::Path) -> Option<(Prefix, Path)> {
    Some((prefix(path)?, content(path)))
}

/// What an event says about a path; `None` unless it is a local one.
pub(super) fn change(path: &proto::Path) -> Option<Event> {
    Some(Event::Path(local(path)?, (!path.is_withdraw).then(|| content(path))))
}

/// The prefix of a local path: one that came by the API, and not beside another (by identifier, RFC 7911), since ours
/// have none and cannot replace or withdraw such a one.
fn local(path: &proto::Path) -> Option<Prefix> {
    let local = path.source_asn == 0 && matches!(path.neighbor_ip.as_str(), "" | "<nil>") && path.identifier == 0;
    local.then(|| prefix(path)).flatten()
}

fn prefix(path: &proto::Path) -> Option<Prefix> {
    let nlri = unpack_prefix(path.nlri.as_ref()?)?;
    Prefix::containing(nlri.prefix.parse().ok()?, u8::try_from(nlri.prefix_len).ok()?)
}

/// What a path carries. One with attributes that we never send has a next hop that nothing desired has, the unspecified
/// address: it is found, and it differs.
fn content(path: &proto::Path) -> Path {
    let mut found = Path::new(NextHop::Own);
    let mut foreign = false;
    for attribute in &path.pattrs {
        match unpack(attribute) {
            Some(Attr::Origin(origin)) => foreign |= origin.origin != ORIGIN_IGP,
            Some(Attr::AsPath(as_path)) => match as_path.segments.as_slice() {
                [] => {}
                [one] if one.r#type() == AsSequence => found.as_path.clone_from(&one.numbers),
                _ => foreign = true,
            },
            Some(Attr::NextHop(hop)) => found.next_hop = next_hop(&hop.next_hop),
            Some(Attr::MpReach(reach)) => {
                found.next_hop = next_hop(reach.next_hops.first().map_or("", String::as_str));
            }
            Some(Attr::MultiExitDisc(attribute)) => found.med = Some(attribute.med),
            Some(Attr::LocalPref(attribute)) => found.local_pref = Some(attribute.local_pref),
            Some(Attr::Communities(list)) => {
                found.communities = list.communities.into_iter().map(Community).collect();
            }
            Some(Attr::LargeCommunities(list)) => {
                let numbers = list.communities.into_iter();
                let large = numbers.map(|one| LargeCommunity(one.global_admin, one.local_data1, one.local_data2));
                found.large_communities = large.collect();
            }
            None => foreign = true,
        }
    }
    if foreign {
        found.next_hop = NextHop::Address(Ipv4Addr::UNSPECIFIED.into());
    }
    found
}

fn next_hop(text: &str) -> NextHop {
    match address(text) {
        Some(address) if !address.is_unspecified() => NextHop::Address(address),
        _ => NextHop::Own,
    }
}

/// An address, without the zone that follows a link-local one.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    text.split('%').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::{prop_assert_eq, proptest};

    use super::*;

    fn path(next_hop: NextHop, communities: &[u32]) -> Path {
        Path { communities: communities.iter().copied().map(Community).collect(), ..Path::new(next_hop) }
    }

    fn attributes(path: &proto::Path) -> Vec<Attr> {
        path.pattrs.iter().map(|attribute| unpack(attribute).unwrap()).collect()
    }

    #[test]
    fn what_is_written_reads_back() {
        let own = NextHop::Own;
        let address = |text: &str| NextHop::Address(text.parse().unwrap());
        let cases = [
            ("10.96.0.0/16", own, &[][..], false),
            ("0.0.0.0/0", address("192.0.2.1"), &[65001 << 16 | 100, 7], false),
            ("10.96.0.0/16", address("2001:db8::1"), &[], true),
            ("fd00:10:96::/112", own, &[1], true),
            ("fd00:10:96::1/128", address("2001:db8::1"), &[], true),
        ];
        for (prefix, next_hop, communities, reach) in cases {
            let (prefix, path) = (prefix.parse().unwrap(), path(next_hop, communities));
            let written = write(prefix, Some(&path));
            assert!(matches!(attributes(&written)[0], Attr::Origin(_)));
            assert_eq!(matches!(attributes(&written)[1], Attr::MpReach(_)), reach, "{prefix}");
            assert_eq!(read(&written), Some((prefix, path.clone())));
            assert_eq!(change(&written), Some(Event::Path(prefix, Some(path))));
            assert_eq!(change(&write(prefix, None)), Some(Event::Path(prefix, None)));
        }
    }

    proptest! {
        #[test]
        fn any_path_reads_back(
            address: IpAddr, length in 0..=128_u8, hop: Option<IpAddr>, communities: BTreeSet<u32>, as_path: Vec<u32>,
            large: BTreeSet<(u32, u32, u32)>, med: Option<u32>, local_pref: Option<u32>,
        ) {
            let longest = if address.is_ipv4() { 32 } else { 128 };
            let prefix = Prefix::containing(address, length.min(longest)).unwrap();
            let hop = hop.filter(|hop| !hop.is_unspecified()).map_or(NextHop::Own, NextHop::Address);
            let large_communities = large.into_iter().map(|(a, b, c)| LargeCommunity(a, b, c)).collect();
            let path = Path { as_path, large_communities, med, local_pref, ..path(hop, &Vec::from_iter(communities)) };
            prop_assert_eq!(read(&write(prefix, Some(&path))), Some((prefix, path)));
        }
    }

    #[test]
    fn only_local_paths_are_read() {
        let ours = write("10.96.0.0/16".parse().unwrap(), Some(&path(NextHop::Own, &[])));
        assert!(read(&proto::Path { neighbor_ip: "<nil>".to_owned(), ..ours.clone() }).is_some());
        assert_eq!(read(&proto::Path { neighbor_ip: "192.0.2.1".to_owned(), ..ours.clone() }), None);
        assert_eq!(read(&proto::Path { source_asn: 65000, ..ours.clone() }), None);
        assert_eq!(read(&proto::Path { identifier: 1, ..ours.clone() }), None);
        assert_eq!(read(&proto::Path { nlri: None, ..ours.clone() }), None);
        assert!(read_any(&proto::Path { source_asn: 65000, ..ours }).is_some());
    }

    #[test]
    fn a_path_with_attributes_that_we_never_send_differs_from_every_path_of_ours() {
        let ours = path(NextHop::Own, &[1]);
        let written = write("10.96.0.0/16".parse().unwrap(), Some(&ours));
        let mut incomplete = written.clone();
        incomplete.pattrs[0] = pack(&Attr::Origin(proto::OriginAttribute { origin: 2 }));
        let mut set = written.clone();
        let segment = proto::AsSegment { r#type: proto::as_segment::Type::AsSet.into(), numbers: vec![65001] };
        set.pattrs.push(pack(&Attr::AsPath(proto::AsPathAttribute { segments: vec![segment] })));
        let mut other = written;
        other.pattrs.push(Default::default());
        for foreign in [incomplete, set, other] {
            let (_, found) = read(&foreign).unwrap();
            assert_eq!(found, path(NextHop::Address(Ipv4Addr::UNSPECIFIED.into()), &[1]));
        }
    }

    #[test]
    fn a_link_local_next_hop_has_no_zone() {
        let (prefix, hop) = ("10.96.0.0/16".parse().unwrap(), NextHop::Address("fe80::1".parse().unwrap()));
        let mut written = write(prefix, Some(&path(hop, &[])));
        let reach = proto::MpReachNlriAttribute { next_hops: vec!["fe80::1%eth1".to_owned()], ..Default::default() };
        written.pattrs[1] = pack(&Attr::MpReach(reach));
        assert_eq!(read_any(&written), Some((prefix, path(hop, &[]))));
    }
}
