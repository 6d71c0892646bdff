//! Our packet filter rules as a value: the nftables table `inet vipcast`, and the classic SNAT rule of iptables.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::ipvs::ServerKey;
use super::prefix::{Family, Prefix, first_overlap};

/// All packet filter state that is ours.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Nft {
    /// The table `inet vipcast`; `None` where there is none.
    pub table: Option<Table>,
    /// Families in which our iptables chain holds exactly the classic rule and is jumped to
    /// (`-m ipvs --vdir ORIGINAL --vmethod MASQ -j MASQUERADE`).
    pub classic: BTreeSet<Family>,
    /// Families in which something of our iptables chain is there, but not as it should be.
    pub classic_broken: BTreeSet<Family>,
}

/// The table `inet vipcast`. Its rules follow from all but the elements and are replaced as a whole; elements come and go
/// by themselves. Within a set of ranges no range holds another: `nft` refuses overlapping ones, and with them the table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table {
    /// SNAT for connections whose original destination lies in these ranges (postrouting).
    pub masquerade: BTreeSet<Prefix>,
    /// What their clients' addresses become.
    pub source: Source,
    /// The guard: what IPVS did not take of these ranges is refused (input, after IPVS).
    pub guard: BTreeSet<Prefix>,
    /// Pod ranges of this node: their pods are masqueraded even on the way to where other clients keep their address,
    /// since the reply would not pass this node's stack else.
    pub pods: BTreeSet<Prefix>,
    /// The clamp on the segment size of TCP connections to VIPs.
    pub mss: Option<Mss>,
    /// What varies with Services.
    pub elements: Elements,
    /// Whatever else was found in the table; never desired.
    pub stray: BTreeSet<String>,
}

/// What a client's address becomes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Source {
    /// The first and the last address of the pool of each family that has one; without, it is the address of the link that
    /// the packet leaves by.
    pub pool: BTreeMap<Family, (IpAddr, IpAddr)>,
    /// The first and the last port to take; without, any from 1024 on.
    pub ports: Option<(u16, u16)>,
}

/// A bound on the segment size that both ends of a TCP connection are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mss {
    /// What fits the routes to both ends.
    Auto,
    /// So many bytes, less the difference of headers for IPv6 (20 bytes).
    Size(u16),
}

/// Members of the table's sets that belong to single virtual servers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Elements {
    /// Clients keep their address, though the VIP lies in a masqueraded range.
    pub keep: BTreeSet<ServerKey>,
    /// Clients are masqueraded, though the address lies in no range: NodePorts.
    pub masquerade: BTreeSet<ServerKey>,
    /// New connections are refused before IPVS sees them.
    pub draining: BTreeSet<ServerKey>,
    /// Only clients in these prefixes get through; none of the prefixes holds another. An empty set lets nobody through.
    pub sources: BTreeMap<ServerKey, BTreeSet<Prefix>>,
}

impl Table {
    /// Does `other` have the same rules and ranges, whatever its elements?
    pub fn is_like(&self, other: &Table) -> bool {
        let Table { masquerade, source, guard, pods, mss, elements: _, stray } = self;
        (masquerade, source, guard, pods) == (&other.masquerade, &other.source, &other.guard, &other.pods)
            && (mss, stray) == (&other.mss, &other.stray)
    }
}

impl Elements {
    /// What is in here about `key`, but that it drains.
    pub fn about(&self, key: &ServerKey) -> Elements {
        Elements {
            keep: self.keep.get(key).copied().into_iter().collect(),
            masquerade: self.masquerade.get(key).copied().into_iter().collect(),
            draining: BTreeSet::new(),
            sources: self.sources.get(key).map(|sources| (*key, sources.clone())).into_iter().collect(),
        }
    }

    /// Takes all that is about `key` out, but that it drains.
    pub fn forget(&mut self, key: &ServerKey) {
        self.keep.remove(key);
        self.masquerade.remove(key);
        self.sources.remove(key);
    }

    /// Puts all of `other` in.
    pub fn merge(&mut self, other: Elements) {
        self.keep.extend(other.keep);
        self.masquerade.extend(other.masquerade);
        self.draining.extend(other.draining);
        self.sources.extend(other.sources);
    }

    /// What of these is not among `other`, or other there. So what makes `b` of `a` is to put in `b.without(a)` and to take
    /// out `a.without(b)`; a virtual server whose sources change is in both.
    pub fn without(&self, other: &Elements) -> Elements {
        let differs = |(key, sources): &(&ServerKey, &BTreeSet<Prefix>)| other.sources.get(key) != Some(*sources);
        Elements {
            keep: &self.keep - &other.keep,
            masquerade: &self.masquerade - &other.masquerade,
            draining: &self.draining - &other.draining,
            sources: self.sources.iter().filter(differs).map(|(key, sources)| (*key, sources.clone())).collect(),
        }
    }

    /// These after those of `remove` were taken out and those of `add` put in; `None` where one to take out is not there, or
    /// one to put in is.
    pub fn edited(&self, add: &Elements, remove: &Elements) -> Option<Elements> {
        let mut edited = self.without(remove);
        let edit = |set: &BTreeSet<ServerKey>, edited: &mut BTreeSet<ServerKey>, add: &BTreeSet<ServerKey>, remove| {
            let fits = set.is_superset(remove) && edited.is_disjoint(add);
            edited.extend(add);
            fits
        };
        let mut fits = edit(&self.keep, &mut edited.keep, &add.keep, &remove.keep)
            && edit(&self.masquerade, &mut edited.masquerade, &add.masquerade, &remove.masquerade)
            && edit(&self.draining, &mut edited.draining, &add.draining, &remove.draining);
        fits &= remove.sources.iter().all(|(key, sources)| self.sources.get(key) == Some(sources));
        for (key, sources) in &add.sources {
            fits &= edited.sources.insert(*key, sources.clone()).is_none();
        }
        fits.then_some(edited)
    }

    /// In words, why these cannot be: a source prefix is of another family than its virtual server, or shares an address with
    /// another one of it. The kernel takes some that overlap, and then mistakes them for each other (`nft_pipapo_insert` in
    /// net/netfilter/nft_set_pipapo.c).
    pub fn misfit(&self) -> Option<String> {
        self.sources.iter().find_map(|(key, sources)| {
            if let Some(source) = sources.iter().find(|source| source.family() != Family::of(key.address)) {
                return Some(format!("source {source} of {key} is of another family"));
            }
            first_overlap(sources).map(|source| format!("source {source} of {key} is inside another one"))
        })
    }
}

#[cfg(test)]
mod tests;
