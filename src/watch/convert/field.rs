//! Values of fields: addresses and prefixes in their one form, and what to say of others.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;

use crate::model::Prefix;
use crate::model::prefix::PrefixError;

/// A field that was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {found}; allowed: {allowed}")]
pub(super) struct BadField {
    field: String,
    found: String,
    allowed: String,
    /// What happens without it, where the rest of the object counts.
    instead: &'static str,
}

impl BadField {
    pub(super) fn new(field: impl Display, found: impl Display, allowed: impl Display) -> BadField {
        let (field, found, allowed) = (field.to_string(), found.to_string(), allowed.to_string());
        BadField { field, found, allowed, instead: "left out" }
    }

    /// The same, of an object of which something else counts than just the rest.
    pub(super) fn instead(self, instead: &'static str) -> BadField {
        BadField { instead, ..self }
    }

    /// What is wrong, and what happens without the field.
    pub(super) fn with_consequence(&self) -> String {
        format!("{self}; {}", self.instead)
    }
}

/// `number`, where it is one of `allowed`.
pub(super) fn number<T: TryFrom<i32> + PartialOrd + Display>(
    field: impl Display,
    number: i32,
    allowed: RangeInclusive<T>,
) -> Result<T, BadField> {
    let valid = T::try_from(number).ok().filter(|number| allowed.contains(number));
    valid.ok_or_else(|| BadField::new(field, number, format_args!("{} to {}", allowed.start(), allowed.end())))
}

/// What was understood, and what was not.
pub(super) fn parts<T>(found: impl Iterator<Item = Result<T, BadField>>) -> (Vec<T>, Vec<BadField>) {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for found in found {
        match found {
            Ok(value) => good.push(value),
            Err(problem) => bad.push(problem),
        }
    }
    (good, bad)
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

/// A prefix of clients. The API server stores host bits here and spaces around; they mean nothing.
pub(super) fn source_range(field: &str, text: &str) -> Result<Prefix, BadField> {
    let bad = || BadField::new(field, format_args!("{text:?}"), "a prefix such as 192.0.2.0/24 or 2001:db8::/32");
    let prefix = match text.trim().parse() {
        Ok(prefix) | Err(PrefixError::HostBits(prefix)) => prefix,
        Err(PrefixError::Malformed) => return Err(bad()),
    };
    match prefix.address() {
        IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => Err(bad()),
        _ => Ok(prefix),
    }
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

/// An address that can be a VIP, or that of an endpoint. The API server refuses the others for endpoints: they would lead
/// to the node's own services.
pub(super) fn reachable(field: &str, text: &str) -> Result<IpAddr, BadField> {
    let address = address(field, text)?;
    if is_special(address) {
        let allowed = "no unspecified, loopback, link-local or multicast address";
        return Err(BadField::new(field, address, allowed));
    }
    Ok(address)
}

/// Is it an address that means something else on each node?
fn is_special(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    link_local || address.is_unspecified() || address.is_loopback() || address.is_multicast()
}
