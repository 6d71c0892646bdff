//! Attributes, prefixes and capabilities, each of which travels as an `Any` that names its type.

use prost::Name;
use prost_types::Any;

use super::proto;

/// What a path carries.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Attr {
    Origin(proto::OriginAttribute),
    AsPath(proto::AsPathAttribute),
    NextHop(proto::NextHopAttribute),
    MultiExitDisc(proto::MultiExitDiscAttribute),
    LocalPref(proto::LocalPrefAttribute),
    Communities(proto::CommunitiesAttribute),
    MpReach(proto::MpReachNlriAttribute),
    LargeCommunities(proto::LargeCommunitiesAttribute),
}

pub(super) fn pack(attr: &Attr) -> Any {
    match attr {
        Attr::Origin(message) => any(message),
        Attr::AsPath(message) => any(message),
        Attr::NextHop(message) => any(message),
        Attr::MultiExitDisc(message) => any(message),
        Attr::LocalPref(message) => any(message),
        Attr::Communities(message) => any(message),
        Attr::MpReach(message) => any(message),
        Attr::LargeCommunities(message) => any(message),
    }
}

/// `None` for an attribute that we never send.
pub(super) fn unpack(any: &Any) -> Option<Attr> {
    None.or_else(|| message(any).map(Attr::Origin))
        .or_else(|| message(any).map(Attr::AsPath))
        .or_else(|| message(any).map(Attr::NextHop))
        .or_else(|| message(any).map(Attr::MultiExitDisc))
        .or_else(|| message(any).map(Attr::LocalPref))
        .or_else(|| message(any).map(Attr::Communities))
        .or_else(|| message(any).map(Attr::MpReach))
        .or_else(|| message(any).map(Attr::LargeCommunities))
}

pub(super) fn pack_prefix(prefix: &proto::IpAddressPrefix) -> Any {
    any(prefix)
}

pub(super) fn unpack_prefix(nlri: &Any) -> Option<proto::IpAddressPrefix> {
    message(nlri)
}

/// The families among a peer's capabilities.
pub(super) fn families(capabilities: &[Any]) -> Vec<proto::Family> {
    capabilities.iter().filter_map(message::<proto::MultiProtocolCapability>).filter_map(|found| found.family).collect()
}

/// The pairs among a peer's capabilities of the family of a route and that of its next hop, where it is another.
pub(super) fn next_hops(capabilities: &[Any]) -> Vec<proto::ExtendedNexthopCapabilityTuple> {
    capabilities.iter().filter_map(message::<proto::ExtendedNexthopCapability>).flat_map(|found| found.tuples).collect()
}

/// Is there among a peer's capabilities that it keeps the routes of a gobgpd that restarts (RFC 4724 section 3)?
pub(super) fn keeps_routes(capabilities: &[Any]) -> bool {
    capabilities.iter().any(|any| message::<proto::GracefulRestartCapability>(any).is_some())
}

/// The capabilities of a peer that carries `families`, and says that it takes routes of the first with next hops of the
/// second, or does not.
#[cfg(test)]
pub(super) fn offer(families: &[proto::Family; 2], takes_other_next_hops: bool) -> Vec<Any> {
    let [nlri_family, nexthop_family] = families.map(Some);
    let tuples = vec![proto::ExtendedNexthopCapabilityTuple { nlri_family, nexthop_family }];
    let extended = takes_other_next_hops.then(|| any(&proto::ExtendedNexthopCapability { tuples }));
    let carried = families.map(|family| any(&proto::MultiProtocolCapability { family: Some(family) }));
    carried.into_iter().chain(extended).collect()
}

fn any<M: Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}

fn message<M: Name + Default>(any: &Any) -> Option<M> {
    if any.type_url == M::type_url() { any.to_msg().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_named_as_gobgp_names_them() {
        let next_hop = pack(&Attr::NextHop(proto::NextHopAttribute { next_hop: "192.0.2.1".to_owned() }));
        assert_eq!(next_hop.type_url, "type.googleapis.com/apipb.NextHopAttribute");
        let reach = pack(&Attr::MpReach(proto::MpReachNlriAttribute::default()));
        assert_eq!(reach.type_url, "type.googleapis.com/apipb.MpReachNLRIAttribute");
        let prefix = pack_prefix(&proto::IpAddressPrefix::default());
        assert_eq!(prefix.type_url, "type.googleapis.com/apipb.IPAddressPrefix");
    }

    #[test]
    fn what_we_never_send_is_no_attribute() {
        let unknown = Any { type_url: "type.googleapis.com/apipb.AggregatorAttribute".to_owned(), value: Vec::new() };
        assert_eq!(unpack(&unknown), None);
    }
}
