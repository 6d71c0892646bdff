//! Single values: numbers, times, addresses, names.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use jiff::SignedDuration;

use super::item::{Item, Mistake};
use crate::model::Prefix;
use crate::model::bgp::Community;
use crate::model::ipvs::Scheduler;
use crate::model::prefix::PrefixError;

/// An autonomous system number that a speaker may have.
pub(super) fn asn(item: &Item) -> Result<u32, Mistake> {
    let asn = item.number(1..=u64::from(u32::MAX), "an AS number")?;
    match asn {
        23456 => Err(item.conflict("which stands for 4-byte numbers (RFC 6793)", "an AS number of your own")),
        65535 | u32::MAX => Err(item.conflict("which is reserved (RFC 7300)", "an AS number of your own")),
        asn => Ok(asn),
    }
}

/// A TCP port.
pub(super) fn port(item: &Item) -> Result<u16, Mistake> {
    item.number(1..=65535, "a port")
}

/// A length of time, written with its unit, within `range`; `limits` says the same in words.
pub(super) fn duration(item: &Item, range: RangeInclusive<Duration>, limits: &str) -> Result<Duration, Mistake> {
    item.parse(limits, |text| {
        let duration = Duration::try_from(text.parse::<SignedDuration>().ok()?).ok()?;
        range.contains(&duration).then_some(duration)
    })
}

/// A length of time in whole seconds, from `least` to `most` of them.
pub(super) fn seconds(item: &Item, least: u64, most: u64) -> Result<Duration, Mistake> {
    let limits = format!("whole seconds from {least}s to {most}s");
    let duration = duration(item, Duration::from_secs(least)..=Duration::from_secs(most), &limits)?;
    if duration.subsec_nanos() == 0 { Ok(duration) } else { Err(item.refuse(limits)) }
}

/// The address of one machine that others can reach, loopback apart if `loopback` is allowed.
pub(super) fn address(item: &Item, what: &str, loopback: bool) -> Result<IpAddr, Mistake> {
    if item.is_table() {
        return Err(item.refuse(format_args!("{what}, in quotes if it ends with a colon")));
    }
    let address: IpAddr = item.parse(what, |text| text.parse().ok())?;
    let trouble = match address {
        address if address.is_unspecified() => "which means no address",
        address if address.is_multicast() => "a multicast address",
        IpAddr::V4(address) if address.is_broadcast() => "the broadcast address",
        IpAddr::V4(address) if address.is_link_local() => "a link-local address",
        IpAddr::V6(address) if address.is_unicast_link_local() => "a link-local address",
        IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => "an IPv4 address in IPv6 clothes",
        address if address.is_loopback() && !loopback => "a loopback address",
        address => return Ok(address),
    };
    Err(item.conflict(trouble, what))
}

/// A prefix of addresses that can be VIPs.
pub(super) fn range(item: &Item) -> Result<Prefix, Mistake> {
    const ALLOWED: &str = "a prefix such as 10.96.0.0/16 or fd00:10:96::/112";
    // RFC 6890 sections 2.2.2 and 2.2.3: never the address of a service.
    const SPECIAL: [(&str, &str); 9] = [
        ("0.0.0.0/8", "this network"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
        ("::/127", "unspecified and loopback"),
        ("::ffff:0:0/96", "IPv4-mapped"),
        ("fe80::/10", "link-local"),
        ("ff00::/8", "multicast"),
    ];
    let prefix: Prefix = item.parse(ALLOWED, |text| Some(text.to_owned()))?.parse().map_err(|error| match error {
        PrefixError::Malformed => item.refuse(ALLOWED),
        PrefixError::HostBits(prefix) => {
            item.conflict("which has bits set after its length", format_args!("{prefix}, if that is what is meant"))
        }
    })?;
    for (special, name) in SPECIAL {
        if special.parse().is_ok_and(|special: Prefix| special.overlaps(prefix)) {
            return Err(item.conflict(
                format_args!("which shares addresses with {special} ({name})"),
                "a range whose every address can be a VIP",
            ));
        }
    }
    Ok(prefix)
}

/// A list of standard communities.
pub(super) fn communities(item: &Item) -> Result<BTreeSet<Community>, Mistake> {
    const ALLOWED: &str = "a community such as 65001:100 (two numbers up to 65535)";
    let mut communities = BTreeSet::new();
    for item in item.list("a list of communities such as [65001:100]")? {
        let community = item.parse(ALLOWED, |text| text.parse().ok())?;
        if !communities.insert(community) {
            return Err(item.conflict("for the second time", "each community once"));
        }
    }
    Ok(communities)
}

/// The name of an IPVS scheduler; whether this kernel has it is not known here.
pub(super) fn scheduler(item: &Item) -> Result<Scheduler, Mistake> {
    let allowed = "the name of a scheduler, such as rr, wrr, lc, wlc, sh or mh (at most 15 of a-z, 0-9, _)";
    item.parse(allowed, Scheduler::named)
}

/// Can a Node object be called `name` (RFC 1123 subdomain)?
pub(super) fn is_node_name(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let label = |label: &str| {
        label.bytes().all(|byte| letter(byte) || byte == b'-') && !label.starts_with('-') && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(|part| !part.is_empty() && label(part))
}
