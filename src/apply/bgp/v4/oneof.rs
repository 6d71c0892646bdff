//! Attributes, prefixes and capabilities, each of which is one of several kinds.

use super::proto::attribute;
use super::proto::capability::Cap;
use super::proto::nlri::Nlri as Kind;
use super::proto::{Attribute, Capability, ExtendedNexthopCapabilityTuple, Family, IpAddressPrefix, Nlri};

/// What a path carries.
pub(super) use attribute::Attr;

pub(super) fn pack(attr: &Attr) -> Attribute {
    Attribute { attr: Some(attr.clone()) }
}

/// `None` for an attribute that we never send.
pub(super) fn unpack(attribute: &Attribute) -> Option<Attr> {
    attribute.attr.clone()
}

pub(super) fn pack_prefix(prefix: &IpAddressPrefix) -> Nlri {
    Nlri { nlri: Some(Kind::Prefix(prefix.clone())) }
}

pub(super) fn unpack_prefix(nlri: &Nlri) -> Option<IpAddressPrefix> {
    nlri.nlri.clone().map(|Kind::Prefix(prefix)| prefix)
}

/// The families among a peer's capabilities.
pub(super) fn families(capabilities: &[Capability]) -> Vec<Family> {
    let family = |capability: &Capability| match &capability.cap {
        Some(Cap::MultiProtocol(found)) => found.family,
        Some(Cap::ExtendedNexthop(_) | Cap::GracefulRestart(_)) | None => None,
    };
    capabilities.iter().filter_map(family).collect()
}

/// The pairs among a peer's capabilities of the family of a route and that of its next hop, where it is another.
pub(super) fn next_hops(capabilities: &[Capability]) -> Vec<ExtendedNexthopCapabilityTuple> {
    let pairs = |capability: &Capability| match &capability.cap {
        Some(Cap::ExtendedNexthop(found)) => found.tuples.clone(),
        Some(Cap::MultiProtocol(_) | Cap::GracefulRestart(_)) | None => Vec::new(),
    };
    capabilities.iter().flat_map(pairs).collect()
}

/// Is there among a peer's capabilities that it keeps the routes of a gobgpd that restarts (RFC 4724 section 3)?
pub(super) fn keeps_routes(capabilities: &[Capability]) -> bool {
    capabilities.iter().any(|capability| matches!(capability.cap, Some(Cap::GracefulRestart(_))))
}

/// The capabilities of a peer that carries `families`, and says that it takes routes of the first with next hops of the
/// second, or does not.
#[cfg(test)]
pub(super) fn offer(families: &[Family; 2], takes_other_next_hops: bool) -> Vec<Capability> {
    use super::proto::{ExtendedNexthopCapability, MultiProtocolCapability};

    let [nlri_family, nexthop_family] = families.map(Some);
    let tuples = vec![ExtendedNexthopCapabilityTuple { nlri_family, nexthop_family }];
    let extended = takes_other_next_hops.then_some(Cap::ExtendedNexthop(ExtendedNexthopCapability { tuples }));
    let carried = families.map(|family| Cap::MultiProtocol(MultiProtocolCapability { family: Some(family) }));
    carried.into_iter().chain(extended).map(|cap| Capability { cap: Some(cap) }).collect()
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[test]
    fn what_we_never_send_is_no_attribute() {
        // Field 8, an aggregator, without content.
        let aggregator = Attribute::decode(&[8 << 3 | 2, 0][..]).unwrap();
        assert_eq!(unpack(&aggregator), None);
    }
}
