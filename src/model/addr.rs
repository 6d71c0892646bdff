//! The dummy link and the local routes on it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::prefix::Prefix;

/// The name of our dummy link.
pub const LINK: &str = "vipcast0";

/// Our route protocol number (`rtm_protocol`): it marks a route as ours. Free in iproute2's `rt_protos`.
pub const ROUTE_PROTOCOL: u8 = 118;

/// The link and the routes that are ours.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Addr {
    /// The link [`LINK`].
    pub link: Option<Link>,
    /// Routes of type `local` in the local table with our protocol number.
    pub routes: BTreeMap<Prefix, LocalRoute>,
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
