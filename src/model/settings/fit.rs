//! What of a peer follows from the rest of `bgp`, and what of it does not go with that.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{BgpSettings, PeerEntry};
use crate::model::bgp::{Attributes, NextHop, PeerName, Ttl};
use crate::model::prefix::Family;

/// A key of a peer that does not go with the rest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}, {trouble}; allowed: {allowed}")]
pub struct Misfit {
    /// The key, as in `bgp.peers[]`.
    pub key: &'static str,
    /// Why it cannot be.
    pub trouble: String,
    /// What could be in its place.
    pub allowed: String,
}

impl Misfit {
    fn new(key: &'static str, trouble: impl Into<String>, allowed: impl Into<String>) -> Misfit {
        Misfit { key, trouble: trouble.into(), allowed: allowed.into() }
    }
}

impl Attributes {
    /// Is the own AS number put in front of AS_PATH more than once?
    pub fn prepends(&self) -> bool {
        self.prepend.is_some_and(|times| times > 0)
    }
}

impl BgpSettings {
    /// `entry`, read by itself, as a peer of a speaker with these settings: families that it leaves open are filled in.
    /// `prepends` says whether there are routes that all peers are sent with prepends.
    ///
    /// A peer that is in the own AS finds that AS in front of a path with prepends, and drops the path as a loop (RFC 4271
    /// section 9.1.2); it is never told a path's own AS, and is the only one that is told a local preference (sections
    /// 5.1.2 and 5.1.5). Next hop self over an IPv4 session would become `::ffff:a.b.c.d` on an IPv6 path, which routers
    /// never install.
    ///
    /// A switch that is known by its interface is for a gobgpd of our own only.
    pub fn fit(&self, entry: PeerEntry, prepends: bool) -> Result<PeerEntry, Misfit> {
        let entry = self.filled(entry);
        let peer = &entry.peer;
        if let (PeerName::Interface(_), false) = (&entry.name, self.exclusive) {
            // Their import policy rejects by neighbours' addresses, of which an interface has none that is known before:
            // what the switch tells would be taken, and handed on to the others.
            let trouble = "while gobgpd is somebody else's (bgp.gobgpd.address) and would hand on the switch's routes";
            return Err(Misfit::new("interface", trouble, "interface with bgp.gobgpd.spawn, or the peer's address"));
        }
        let is_own_as = peer.asn == self.asn;
        if prepends && is_own_as {
            let trouble = "which is this node's own, while routes have prepends and would look like loops to the peer";
            return Err(Misfit::new("asn", trouble, "a peer of another AS, or no prepend in bgp and ranges"));
        }
        if let Ttl::Multihop(_) = peer.ttl
            && is_own_as
        {
            let allowed = "multihop only for peers of another AS";
            return Err(Misfit::new("multihop", "while the peer is in the same AS", allowed));
        }
        if let Some(local) = peer.local_asn {
            const ALLOWED: &str =
                "an AS number that is neither the speaker's nor the peer's, towards a peer of another AS";
            let trouble = [
                (local == self.asn, "which bgp.asn is already"),
                (local == peer.asn, "which is the peer's, so that it would find itself in every path"),
                (is_own_as, "while the peer is in the same AS"),
            ];
            if let Some((_, trouble)) = trouble.into_iter().find(|(is_so, _)| *is_so) {
                return Err(Misfit::new("localASN", trouble, ALLOWED));
            }
        }
        let attributes = &entry.export.attributes;
        if attributes.prepends() && is_own_as {
            let trouble = "while the peer is in the same AS and would drop such routes as loops";
            return Err(Misfit::new("prepend", trouble, "prepend only for peers of another AS"));
        }
        if attributes.local_pref.is_some() && !is_own_as {
            let trouble = "while the peer is in another AS and is never told one";
            return Err(Misfit::new("localPref", trouble, "localPref only for peers of the same AS"));
        }
        let families = &peer.families;
        let by_ipv4 = matches!(entry.name, PeerName::Address(IpAddr::V4(_)));
        if families.contains(&Family::Ipv6) && by_ipv4 && !self.has_ipv6_next_hop(&entry) {
            return Err(Misfit::new(
                "families",
                "with ipv6 over an IPv4 session and without an IPv6 next hop, which no router would install",
                "ipv6 with an address in bgp.nextHop.ipv6 or in nextHop.ipv6 of this peer",
            ));
        }
        if let Some(family) = entry.export.next_hops.keys().find(|family| !families.contains(family)) {
            let trouble = format!("for {family} routes, which this peer is not sent");
            return Err(Misfit::new("nextHop", trouble, "next hops of the families of this peer"));
        }
        Ok(entry)
    }

    /// `entry` with the families that it leaves open, whether it goes with the rest or not.
    pub(crate) fn filled(&self, mut entry: PeerEntry) -> PeerEntry {
        if entry.peer.families.is_empty() {
            entry.peer.families = match &entry.name {
                PeerName::Interface(_) => BTreeSet::from(Family::ALL),
                PeerName::Address(IpAddr::V4(_)) if self.has_ipv6_next_hop(&entry) => BTreeSet::from(Family::ALL),
                PeerName::Address(address) => BTreeSet::from([Family::of(*address)]),
            };
        }
        entry
    }

    /// Do IPv6 routes have another next hop towards this peer than the address of the session?
    fn has_ipv6_next_hop(&self, entry: &PeerEntry) -> bool {
        self.next_hop_ipv6 != NextHop::Own || entry.export.next_hops.contains_key(&Family::Ipv6)
    }
}
