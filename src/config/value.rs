//! Single values: numbers, times, addresses, names.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;

use super::item::{Item, Mistake};
use crate::model::bgp::{Community, LargeCommunity};
use crate::model::ipvs::Scheduler;
use crate::model::prefix::PrefixError;
use crate::model::{Family, Prefix};

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
    match unreachable(address, loopback) {
        Some(trouble) => Err(item.conflict(trouble, what)),
        None => Ok(address),
    }
}

/// Why `address` is not that of one machine which others can reach, loopback apart if `loopback` is allowed.
pub(super) fn unreachable(address: IpAddr, loopback: bool) -> Option<&'static str> {
    match address {
        address if address.is_unspecified() => Some("which means no address"),
        address if address.is_multicast() => Some("a multicast address"),
        IpAddr::V4(address) if address.is_broadcast() => Some("the broadcast address"),
        IpAddr::V4(address) if address.is_link_local() => Some("a link-local address"),
        IpAddr::V6(address) if address.is_unicast_link_local() => Some("a link-local address"),
        IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => Some("an IPv4 address in IPv6 clothes"),
        address if address.is_loopback() && !loopback => Some("a loopback address"),
        _ => None,
    }
}

/// Prefixes that are never the address of a service (RFC 6890 sections 2.2.2 and 2.2.3), with their names.
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

/// The first special prefix of which `is_so` holds, and its name.
pub(super) fn special(is_so: impl Fn(Prefix) -> bool) -> Option<(&'static str, &'static str)> {
    SPECIAL.into_iter().find(|(special, _)| special.parse().is_ok_and(&is_so))
}

/// A prefix without host bits.
pub(super) fn prefix(item: &Item, allowed: &str) -> Result<Prefix, Mistake> {
    item.parse(allowed, |text| Some(text.to_owned()))?.parse().map_err(|error| match error {
        PrefixError::Malformed => item.refuse(allowed),
        PrefixError::HostBits(prefix) => {
            item.conflict("which has bits set after its length", format_args!("{prefix}, if that is what is meant"))
        }
    })
}

/// A prefix of addresses that can be VIPs.
pub(super) fn range(item: &Item) -> Result<Prefix, Mistake> {
    let prefix = prefix(item, "a prefix such as 10.96.0.0/16 or fd00:10:96::/112")?;
    match special(|special| special.overlaps(prefix)) {
        Some((special, name)) => Err(item.conflict(
            format_args!("which shares addresses with {special} ({name})"),
            "a range whose every address can be a VIP",
        )),
        None => Ok(prefix),
    }
}

/// The first and the last of some ports, written `FIRST-LAST`, none below `least`.
pub(super) fn ports(item: &Item, least: u16) -> Result<(u16, u16), Mistake> {
    let allowed = format!("FIRST-LAST, two ports from {least} to 65535, the smaller one first");
    item.parse(&allowed, |text| {
        let (first, last) = text.split_once('-')?;
        let port = |text: &str| {
            text.parse().ok().filter(|port: &u16| text.starts_with(|c: char| c.is_ascii_digit()) && *port >= least)
        };
        let (first, last) = (port(first)?, port(last)?);
        (first <= last).then_some((first, last))
    })
}

/// A list of standard communities.
pub(super) fn communities(item: &Item) -> Result<BTreeSet<Community>, Mistake> {
    const ALLOWED: &str = "a community such as 65001:100 (two numbers up to 65535) or no-export";
    distinct(item, "a list of communities such as [65001:100]", ALLOWED, "each community once")
}

/// A list of large communities.
pub(super) fn large_communities(item: &Item) -> Result<BTreeSet<LargeCommunity>, Mistake> {
    const ALLOWED: &str = "a large community such as 65001:1:100 (three numbers up to 4294967295)";
    distinct(item, "a list of large communities such as [65001:1:100]", ALLOWED, "each community once")
}

/// The address families of a session.
pub(super) fn families(item: &Item) -> Result<BTreeSet<Family>, Mistake> {
    const LIST: &str = "a list of ipv4, ipv6 or both";
    let mut families = BTreeSet::new();
    for item in item.filled_list(LIST)? {
        if !families.insert(item.choice(&[("ipv4", Family::Ipv4), ("ipv6", Family::Ipv6)])?) {
            return Err(item.conflict("for the second time", "each family once"));
        }
    }
    Ok(families)
}

/// A list of texts that mean something else each.
fn distinct<T: FromStr + Ord>(item: &Item, list: &str, allowed: &str, once: &str) -> Result<BTreeSet<T>, Mistake> {
    let mut values = BTreeSet::new();
    for item in item.list(list)? {
        if !values.insert(item.parse(allowed, |text| text.parse().ok())?) {
            return Err(item.conflict("for the second time", once));
        }
    }
    Ok(values)
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
