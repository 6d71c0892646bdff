//! `vipcast switch-config`: the switch's side of the peering, in the words of each vendor.
//!
//! [`Switch`] says what the switch has to have, as a value that knows no vendor; one file per vendor writes it down.
//! What differs between vendors is the words, never what is asked for, so the comments (`why`) are the same in all.
//! `deploy/switches/README.md` says which of them a lab loads, and which documents the others were checked against.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use clap::ValueEnum;

use crate::model::bfd::Timers;
use crate::model::{Family, Prefix};
use page::{Page, Style};

mod bfd;
mod bird;
mod classic;
mod describe;
mod eos;
mod frr;
mod junos;
mod nxos;
mod page;
mod sonic;
mod srlinux;
mod why;

#[cfg(test)]
mod tests;

pub use describe::{DescribeError, Request, describe};

/// How many next hops a route may have. NX-OS (`maximum-paths`) takes no more; more LB nodes than this are refused.
const WIDTH: usize = 64;

/// What stands where the TCP MD5 password has to be put in by hand. The password itself is never printed.
const PLACEHOLDER: &str = "REPLACE-ME";

/// Whose words to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Vendor {
    /// FRRouting on Linux.
    Frr,
    /// SONiC, with FRR's configuration kept apart (`docker_routing_config_mode: split`).
    Sonic,
    /// Arista EOS.
    #[value(alias = "eos")]
    AristaEos,
    /// Cisco NX-OS.
    #[value(alias = "nxos")]
    CiscoNxos,
    /// Juniper Junos.
    #[value(alias = "junos")]
    JuniperJunos,
    /// Nokia SR Linux.
    #[value(alias = "srlinux")]
    NokiaSrlinux,
    /// BIRD 2 on Linux.
    Bird,
}

/// What one switch (ToR) has to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switch {
    /// The name of the configuration file that it follows from, without its folder.
    pub file: String,
    /// The ranges that LB nodes announce, in the file's order.
    pub ranges: Vec<Announced>,
    /// The LB nodes' addresses, of both families.
    pub nodes: BTreeSet<IpAddr>,
    /// Are these the addresses of one LB node only, because no others were named?
    pub one_node: bool,
    /// BGP; `None`: static routes.
    pub peering: Option<Peering>,
    /// The timers of the BFD sessions that watch static routes; `None`: nothing watches them.
    pub watched: Option<Timers>,
    /// Peers that are left out, since they are known by interfaces.
    pub interfaces: BTreeSet<String>,
}

/// A range as the switch hears of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// The range.
    pub prefix: Prefix,
    /// As host routes in it, and not as one route.
    pub hosts: bool,
}

/// The BGP sessions between a switch and its LB nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peering {
    /// The switch's AS number.
    pub asn: u32,
    /// The LB nodes' AS number.
    pub node_asn: u32,
    /// Do LB nodes ask for graceful restart, so that the switch keeps the routes of a gobgpd that ended without a word?
    pub graceful_restart: bool,
    /// One kind of session per address family that sessions run over.
    pub sessions: Vec<Session>,
}

/// The sessions over one address family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The family of both ends' addresses.
    pub over: Family,
    /// The switch's addresses that LB nodes connect to.
    pub addresses: BTreeSet<IpAddr>,
    /// The port that they connect to.
    pub port: u16,
    /// Hold time, whole seconds.
    pub hold_time: Duration,
    /// Keepalive interval, whole seconds.
    pub keepalive: Duration,
    /// Do the sessions have a TCP MD5 password?
    pub password: bool,
    /// TTL, if LB nodes are more than one hop away.
    pub multihop: Option<u8>,
    /// How many hops away LB nodes are at most, if both ends have that proven by TTLs (GTSM, RFC 5082).
    pub ttl_security: Option<u8>,
    /// The timers of the BFD sessions that watch the ways to LB nodes; `None`: none do.
    pub bfd: Option<Timers>,
    /// The families of the routes that the sessions carry.
    pub carries: BTreeSet<Family>,
}

impl Switch {
    /// The ranges of a family.
    fn ranges(&self, family: Family) -> impl Iterator<Item = Announced> {
        self.ranges.iter().copied().filter(move |range| range.prefix.family() == family)
    }

    /// The families that have ranges, IPv4 first.
    fn families(&self) -> impl Iterator<Item = Family> {
        Family::ALL.into_iter().filter(|family| self.ranges(*family).next().is_some())
    }

    /// The LB nodes' addresses of a family.
    fn nodes(&self, family: Family) -> impl Iterator<Item = IpAddr> {
        self.nodes.iter().copied().filter(move |node| Family::of(*node) == family)
    }

    /// How many routes of a family a session may bring: twice what vipcast announces, and at least ten. Of a range that
    /// is announced by host routes, 5,000 VIPs count at most: far more than one cluster has, far less than hurts a
    /// switch.
    fn limit(&self, family: Family) -> u32 {
        let expected = self.ranges(family).map(|range| match (range.hosts, range.prefix.is_host()) {
            (true, false) => {
                let bits = u32::from(Prefix::host(range.prefix.address()).length() - range.prefix.length());
                1_u32.checked_shl(bits).unwrap_or(u32::MAX).min(5000)
            }
            _ => 1,
        });
        (2 * expected.sum::<u32>()).max(10)
    }

    /// The size of a fixed table of next hops, for resilient hashing: room for as many LB nodes again as there are, since
    /// to enlarge the table moves every flow.
    fn slots(&self) -> usize {
        let most = Family::ALL.into_iter().map(|family| self.nodes(family).count()).max().unwrap_or(0);
        (2 * most).next_power_of_two().clamp(8, WIDTH)
    }
}

impl Session {
    /// Do IPv4 routes have an IPv6 next hop here (RFC 8950)?
    fn extends_next_hops(&self) -> bool {
        self.over == Family::Ipv6 && self.carries.contains(&Family::Ipv4)
    }
}

impl Announced {
    /// The length that routes in it have, where that is not the range's own.
    fn host_length(self) -> Option<u8> {
        (self.hosts && !self.prefix.is_host()).then(|| Prefix::host(self.prefix.address()).length())
    }
}

impl Peering {
    /// Are the sessions internal (iBGP)?
    fn internal(&self) -> bool {
        self.asn == self.node_asn
    }

    /// The families that any session carries, IPv4 first.
    fn families(&self) -> impl Iterator<Item = Family> {
        Family::ALL.into_iter().filter(|family| self.sessions.iter().any(|session| session.carries.contains(family)))
    }

    /// An IPv4 address of the switch, for those that need a router ID.
    fn router_id(&self) -> Option<IpAddr> {
        self.sessions.iter().flat_map(|session| &session.addresses).copied().find(IpAddr::is_ipv4)
    }
}

/// 4 or 6, for names.
fn digit(family: Family) -> char {
    match family {
        Family::Ipv4 => '4',
        Family::Ipv6 => '6',
    }
}

/// `ip` or `ipv6`, as most command lines begin.
fn ip(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "ip",
        Family::Ipv6 => "ipv6",
    }
}

/// The whole configuration, which ends with a newline.
pub fn print(vendor: Vendor, switch: &Switch) -> String {
    let mut page = Page::new(match vendor {
        Vendor::Frr | Vendor::Sonic => Style::Bang { indent: 1 },
        Vendor::AristaEos => Style::Bang { indent: 3 },
        Vendor::CiscoNxos => Style::Bang { indent: 2 },
        Vendor::JuniperJunos => Style::Slash,
        Vendor::NokiaSrlinux | Vendor::Bird => Style::Hash,
    });
    type Write = (&'static str, fn(&mut Page, &Switch, &Peering), fn(&mut Page, &Switch));
    let (name, peering, routes): Write = match vendor {
        Vendor::Frr => ("FRRouting 8.4 or newer, on Linux", frr::peering, frr::routes),
        Vendor::Sonic => ("SONiC", sonic::peering, sonic::routes),
        Vendor::AristaEos => ("Arista EOS", eos::peering, eos::routes),
        Vendor::CiscoNxos => ("Cisco NX-OS", nxos::peering, nxos::routes),
        Vendor::JuniperJunos => ("Juniper Junos", junos::peering, junos::routes),
        Vendor::NokiaSrlinux => ("Nokia SR Linux 25.3 or newer", srlinux::peering, srlinux::routes),
        Vendor::Bird => ("BIRD 2, on Linux", bird::peering, bird::routes),
    };
    let is_complete = matches!(vendor, Vendor::Frr | Vendor::Sonic | Vendor::Bird);
    why::head(&mut page, name, switch, is_complete);
    match &switch.peering {
        Some(it) => peering(&mut page, switch, it),
        None => routes(&mut page, switch),
    }
    page.finish()
}
