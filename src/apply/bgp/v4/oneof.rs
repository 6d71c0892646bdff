//! Attributes, prefixes and capabilities, each of which is one of several kinds.

use super::proto::attribute;
use super::proto::capability::Cap;
use super::proto::nlri::Nlri as Kind;
use super::proto::{Attribute, Capability, Family, IpAddressPrefix, Nlri};

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
    let found = capabilities.iter().filter_map(|capability| capability.cap);
    found.filter_map(|Cap::MultiProtocol(found)| found.family).collect()
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
