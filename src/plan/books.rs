//! What the planner keeps beside desired and actual: how fresh its knowledge is, and what needs attention.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::model::bgp::{Bgp, Path, PeerName, Session};
use crate::model::ipvs::{DestinationKey, ServerKey};
use crate::model::nft::Elements;
use crate::model::node::Host;
use crate::model::sysctl::Sysctls;
use crate::model::{Prefix, Time};

use super::audit::{Audit, Repairs};
use super::drain::DrainBook;
use super::memory::Key;
use super::preconditions::Footing;
use super::step::Step;

/// What is known about the host reading.
#[derive(Debug, Clone, Default)]
pub(super) struct HostBook {
    /// Facts about the node; `None` before the first reading.
    pub(super) facts: Option<Host>,
    /// Kernel parameters as they were before the first write.
    pub(super) found: Sysctls,
    /// Why a part could not be read the last time, by part.
    pub(super) unread: BTreeMap<Part, String>,
    /// Parts that were read at least once.
    pub(super) known: BTreeSet<Part>,
    /// Nothing was written or reported as changed since the last reading.
    pub(super) fresh: bool,
    /// A reading is wanted.
    pub(super) wanted: bool,
    /// Members that the packet filter's sets should have.
    pub(super) elements: Elements,
    /// VIPs whose own local route has to be looked at.
    pub(super) vips: BTreeSet<IpAddr>,
    /// Local routes that no range in force has a use for.
    pub(super) lingering: BTreeSet<Prefix>,
    /// What was done since the last reading.
    pub(super) done: BTreeMap<Key, Step>,
    /// What had been done when the last reading was made: whoever wants to do the same again learns that it did not
    /// last.
    pub(super) proof: BTreeMap<Key, Step>,
}

/// A part of the host reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Sysctls,
    Addr,
    Nft,
    Timeouts,
    Facts,
}

impl Part {
    pub(super) const ALL: [Part; 5] = [Part::Sysctls, Part::Addr, Part::Nft, Part::Timeouts, Part::Facts];

    pub(super) fn name(self) -> &'static str {
        match self {
            Part::Sysctls => "kernel parameters",
            Part::Addr => "link and routes",
            Part::Nft => "packet filter",
            Part::Timeouts => "IPVS timeouts",
            Part::Facts => "node addresses",
        }
    }
}

/// Which virtual servers need attention.
#[derive(Debug, Clone, Default)]
pub(super) struct ServerBook {
    /// To be compared.
    pub(super) todo: BTreeSet<ServerKey>,
    /// With steps under way, and how many.
    pub(super) busy: BTreeMap<ServerKey, u32>,
    /// To be compared once the packet filter has been written.
    pub(super) unfiltered: BTreeSet<ServerKey>,
    /// To be deleted once the route that promises them is gone.
    pub(super) held: BTreeSet<ServerKey>,
    /// When those have to be looked at again.
    pub(super) held_until: Option<Time>,
    /// Since when a change of the cluster waits to be in the kernel.
    pub(super) changed: BTreeMap<ServerKey, Time>,
    /// Written since they were last read.
    pub(super) unread: BTreeSet<ServerKey>,
    /// To be read.
    pub(super) to_read: BTreeSet<ServerKey>,
    /// Being read.
    pub(super) reading: BTreeSet<ServerKey>,
    /// A listing is wanted.
    pub(super) listing_wanted: bool,
    /// A listing came in, for the ranges in force.
    pub(super) listed: bool,
    /// All that the first listing named has been read: what an earlier run left is known.
    pub(super) adopted: bool,
    /// The first list came with something that could not be understood, and that is still so: virtual servers that
    /// nobody has claimed since the start may belong to it.
    pub(super) blind: bool,
    /// Virtual servers that somebody has claimed since the start, with all destinations that were claimed for them,
    /// while that matters.
    pub(super) claimed: BTreeMap<ServerKey, BTreeSet<DestinationKey>>,
    /// Destinations on their way out.
    pub(super) drains: DrainBook,
    /// UDP flows that the kernel has to forget.
    pub(super) flows: BTreeSet<(ServerKey, DestinationKey)>,
}

/// What is known about gobgpd and its routes.
#[derive(Debug, Clone, Default)]
pub(super) struct SpeakerBook {
    /// Why it cannot be reached; `None` while it can.
    pub(super) down: Option<String>,
    /// Its process is known to be gone.
    pub(super) gone: bool,
    /// A reading is wanted.
    pub(super) wanted: bool,
    /// The reading under way was asked for before gobgpd went away or came back: it is worth nothing.
    pub(super) stale: bool,
    /// Until when it was unknown what gobgpd holds: a path may have gone until then that nobody here knows of.
    pub(super) dark: Time,
    /// Sessions by peer.
    pub(super) sessions: BTreeMap<PeerName, Session>,
    /// When paths were withdrawn whose promises may not be removed yet.
    pub(super) withdrawn: BTreeMap<Prefix, Time>,
    /// VIPs whose host route has to be looked at.
    pub(super) vips: BTreeSet<IpAddr>,
    /// VIPs whose host route waits for what its range stands on.
    pub(super) waiting: BTreeSet<IpAddr>,
    /// Since when VIPs with usable endpoints wait for their route.
    pub(super) changed: BTreeMap<IpAddr, Time>,
    /// How long VIPs waited for routes that are out now, since this was told last.
    pub(super) latencies: Vec<Duration>,
    /// Why routes, peers and policies are being changed.
    pub(super) causes: BTreeMap<Key, String>,
    /// Peers that were deleted and are to be added again, since their keys are others now.
    pub(super) replaced: BTreeSet<PeerName>,
    /// What was not found in gobgpd as it was believed to be, and has not been put right since.
    pub(super) drifted: BTreeSet<Key>,
    /// What gobgpd was believed to hold when that became unknown.
    pub(super) last: Option<Bgp>,
    /// What is known of what peers are sent.
    pub(super) audits: BTreeMap<PeerName, Audit>,
    /// How often something was put right.
    pub(super) repairs: Repairs,
    /// Paths that are out and are no host routes.
    pub(super) wide: BTreeSet<Prefix>,
    /// Paths that this agent sent or found: they stay ours when the range that they were for is gone.
    pub(super) ours: BTreeSet<Prefix>,
    /// Local paths of somebody else's, as read the last time.
    pub(super) foreign: BTreeMap<Prefix, Path>,
    /// How the infrastructure of each range stood in the last pass.
    pub(super) footings: BTreeMap<Prefix, Footing>,
}
