//! Values of fields: addresses and prefixes in their one form, and what to say of others.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr};

use crate::model::Prefix;
use crate::model::prefix::PrefixError;

/// A field that was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {found}; allowed: {allowed}")]
pub(super) struct BadField {
    field: String,
    found: String,
    allowed: String,
}

impl BadField {
    pub(super) fn new(field: impl Display, found: impl Display, allowed: impl Display) -> BadField {
        BadField { field: field.to_string(), found: found.to_string(), allowed: allowed.to_string() }
    }
}

pub(super) fn prefixes(field: &str, texts: &[String]) -> Result<Vec<Prefix>, BadField> {
    texts.iter().enumerate().map(|(i, text)| prefix(&format!("{field}[{i}]"), text)).collect()
}

pub(super) fn prefix(field: &str, text: &str) -> Result<Prefix, BadField> {
    let bad = |allowed: String| BadField::new(field, format_args!("{text:?}"), allowed);
    text.parse().map_err(|error| match error {
        PrefixError::HostBits(prefix) => bad(format!("a prefix without host bits, here {prefix}")),
        PrefixError::Malformed => bad("a prefix such as 10.96.0.0/16 or fd00:10:96::/112".to_owned()),
    })
}

/// An address in its one canonical form. Kubernetes still stores IPv4 numbers with leading zeros that were created long
/// ago; programs disagree on whether `010` is ten or eight (CVE-2021-29923), so they are refused.
pub(super) fn address(field: &str, text: &str) -> Result<IpAddr, BadField> {
    let bad = |allowed: String| BadField::new(field, format_args!("{text:?}"), allowed);
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => match address.to_ipv4_mapped() {
            Some(v4) => Err(bad(format!("an IPv6 address, or the IPv4 address {v4} in its own form"))),
            None => Ok(IpAddr::V6(address)),
        },
        Ok(address) => Ok(address),
        Err(_) => match without_leading_zeros(text) {
            Some(v4) => Err(bad(format!("IPv4 numbers without leading zeros, {v4} if they are meant as decimal"))),
            None => Err(bad("an IPv4 or IPv6 address".to_owned())),
        },
    }
}

/// The address that `text` is, if only leading zeros keep it from being one.
fn without_leading_zeros(text: &str) -> Option<Ipv4Addr> {
    let plain = text.split('.').map(|number| match number.trim_start_matches('0') {
        "" if !number.is_empty() => "0",
        stripped => stripped,
    });
    plain.collect::<Vec<_>>().join(".").parse().ok()
}

pub(super) fn is_special(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    link_local || address.is_unspecified() || address.is_loopback() || address.is_multicast()
}
