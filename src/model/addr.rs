//! The dummy link and the local routes on it; and the link by which the data plane is proved.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::prefix::Prefix;

/// The name of our dummy link.
pub const LINK: &str = "vipcast0";

/// The probe's link, as the kernel's routing sees it: behind it are the client and the destination of each canary.
pub const PROBE_LINK: &str = "vipcast1";

/// The other end of the probe's link, where the prober speaks for both of them.
pub const PROBER_LINK: &str = "vipcast2";

/// Our route protocol number (`rtm_protocol`): it marks a route as ours. Free in iproute2's `rt_protos`.
pub const ROUTE_PROTOCOL: u8 = 118;

/// The link and the routes that are ours.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Addr {
    /// The link [`LINK`].
    pub link: Option<Link>,
    /// Routes of type `local` in the local table with our protocol number.
    pub routes: BTreeMap<Prefix, LocalRoute>,
    /// The link [`PROBE_LINK`].
    pub probe: Option<ProbeLink>,
}

/// What matters of the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Is it of kind `dummy`?
    pub dummy: bool,
    /// `IFF_UP`.
    pub up: bool,
    /// `IFF_NOARP`.
    pub noarp: bool,
}

impl Link {
    /// The link as it should be.
    pub const DESIRED: Link = Link { dummy: true, up: true, noarp: true };
}

/// A `local` route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalRoute {
    /// The preferred source: without it, connections from the node to a VIP would use the VIP as their source.
    pub source: Option<IpAddr>,
    /// Does it lead to [`LINK`]?
    pub on_link: bool,
}

/// The probe's link: a pair of virtual Ethernet ends, both without ARP, so that the kernel sends everything to the MAC address of
/// the end that it sends from (`arp_constructor` in net/ipv4/arp.c, `ndisc_constructor` in net/ipv6/ndisc.c). The stack
/// takes nothing of that at the other end, since it is for another machine (`PACKET_OTHERHOST`), and the prober sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProbeLink {
    /// Is it a pair whose other end is [`PROBER_LINK`]? If not, it is somebody else's.
    pub paired: bool,
    /// Are both ends up (`IFF_UP`) and without ARP (`IFF_NOARP`)?
    pub ready: bool,
    /// The routes of our protocol in the main table that lead to it.
    pub routes: BTreeSet<Prefix>,
}

impl ProbeLink {
    /// The link as it should be where these are the canaries' `routes`.
    pub fn desired(routes: BTreeSet<Prefix>) -> ProbeLink {
        ProbeLink { paired: true, ready: true, routes }
    }
}
