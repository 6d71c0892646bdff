//! What a route promises, and whether the node keeps it. A route goes out only once all of it was read back; it is
//! withdrawn when a part of it is broken and repair failed; what it promised stays until the withdrawal was heard.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::model::addr::{Link, LocalRoute};
use crate::model::ipvs::{Protocol, ServerKey};
use crate::model::settings::{Announce, Snat};
use crate::model::sysctl::Sysctls;
use crate::model::{Family, Prefix, Time};

use super::memory::Key;
use super::planner::{Part, Planner};
use super::sysctl;

/// How a range's infrastructure stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Footing {
    /// All of it was read back as it should be.
    Proven,
    /// Something is missing or not read back yet, and is being seen to.
    Mending(String),
    /// Something is missing and repair failed or is impossible.
    Broken(String),
}

impl Planner {
    /// The local route that the range `prefix` should have; none without an address of its family on the node.
    pub(super) fn desired_route(&self, prefix: Prefix) -> Option<LocalRoute> {
        let source = *self.sources.get(&prefix.family())?;
        Some(LocalRoute { source: Some(source), on_link: true })
    }

    /// The families of the ranges in force.
    pub(super) fn families(&self) -> BTreeSet<Family> {
        self.ranges.iter().map(|range| range.prefix.family()).collect()
    }

    /// The kernel parameters that should be set.
    pub(super) fn desired_sysctls(&self) -> Sysctls {
        sysctl::desired(&self.families())
    }

    /// Is the client's address replaced for connections to `prefix`, as configured?
    pub(super) fn snat_in_force(&self, prefix: Prefix) -> bool {
        match self.settings.snat {
            Snat::None => true,
            Snat::Nftables => self.actual.nft.table.as_ref().is_some_and(|table| cover(&table.masquerade, prefix)),
            Snat::IpvsMatch => self.actual.nft.classic.contains(&prefix.family()),
        }
    }

    /// Does the guard cover `prefix`?
    pub(super) fn guarded(&self, prefix: Prefix) -> bool {
        self.actual.nft.table.as_ref().is_some_and(|table| cover(&table.guard, prefix))
    }

    /// How the infrastructure of the range `prefix` stands: kernel parameters, SNAT, guard, link, local route.
    pub(super) fn footing(&self, prefix: Prefix) -> Footing {
        if let Some(part) = Part::ALL.into_iter().find(|part| !self.host.known.contains(part)) {
            let reason = self.host.unread.get(&part).map_or("not read yet", String::as_str);
            return Footing::Mending(format!("{}: {reason}", part.name()));
        }
        let Some(route) = self.desired_route(prefix) else {
            return Footing::Broken(format!("no {} address of this node is present", prefix.family()));
        };
        for (name, wanted) in self.desired_sysctls() {
            let found = self.actual.sysctls.get(&name);
            if found != Some(&wanted) {
                let found = found.map_or("missing", String::as_str);
                return self.unmet(Key::Sysctl(name.clone()), format!("{name} is {found}, not {wanted}"));
            }
        }
        if !self.snat_in_force(prefix) {
            let key = match self.settings.snat {
                Snat::IpvsMatch => Key::ClassicSnat(prefix.family()),
                Snat::None | Snat::Nftables => Key::Table,
            };
            return self.unmet(key, format!("no SNAT rule for {prefix}"));
        }
        if !self.guarded(prefix) || self.actual.nft.table.as_ref().is_some_and(|table| !table.stray.is_empty()) {
            return self.unmet(Key::Table, format!("no intact guard for {prefix}"));
        }
        if self.actual.addr.link != Some(Link::DESIRED) {
            return self.unmet(Key::Link, "the dummy link is missing or down".into());
        }
        if self.actual.addr.routes.get(&prefix) != Some(&route) {
            return self.unmet(Key::Route(prefix), format!("the local route {prefix} is missing"));
        }
        if !self.host.fresh {
            return Footing::Mending("not read back yet".into());
        }
        Footing::Proven
    }

    fn unmet(&self, key: Key, what: String) -> Footing {
        match self.memory.failure(&key) {
            Some(failure) => Footing::Broken(format!("{what}: {}", failure.reason)),
            None => Footing::Mending(what),
        }
    }

    /// Is each virtual server of the range as it should be, or reported as failed?
    pub(super) fn settled(&self, prefix: Prefix) -> bool {
        let (first, last) = bounds(prefix);
        self.servers.adopted
            && self.servers.todo.range(first..=last).next().is_none()
            && self.servers.busy.range(first..=last).next().is_none()
    }

    /// Virtual servers in `prefix` that were written since they were last read.
    pub(super) fn unread(&self, prefix: Prefix) -> impl Iterator<Item = &ServerKey> {
        let (first, last) = bounds(prefix);
        self.servers.unread.range(first..=last)
    }

    /// May what the routes over `address` promised be removed at `now`? Only if no such route is out that is not meant
    /// to stay, and peers had time to hear of its end. `Err` holds when to ask again, if time alone decides.
    pub(super) fn released(&self, address: IpAddr, now: Time) -> Result<(), Option<Time>> {
        if self.settings.bgp.is_none() {
            return Ok(());
        }
        let Some(range) = self.ranges.covering(address) else {
            return self.unheard(|route| route.contains(address), now);
        };
        match range.announce {
            Announce::None | Announce::Aggregate => Ok(()),
            Announce::Host if self.ledger.servers_at(address).next().is_some() => Ok(()),
            Announce::Host => self.unheard(|route| *route == Prefix::host(address), now),
        }
    }

    /// The same for the local route of `range`, which is no longer in force. Routes that lie in a range in force are
    /// none of its promises.
    pub(super) fn range_released(&self, range: Prefix, now: Time) -> Result<(), Option<Time>> {
        if self.settings.bgp.is_none() {
            return Ok(());
        }
        let kept = |route: Prefix| self.ranges.covering(route.address()).is_some_and(|kept| kept.prefix.covers(route));
        self.unheard(|route| route.overlaps(range) && !kept(*route), now)
    }

    /// Is one of these routes out, or withdrawn less than the delay ago?
    fn unheard(&self, concerns: impl Fn(&Prefix) -> bool, now: Time) -> Result<(), Option<Time>> {
        let Some(bgp) = &self.actual.bgp else { return Err(None) };
        if bgp.paths.keys().any(&concerns) {
            return Err(None);
        }
        let withdrawn = self.speaker.withdrawn.iter().filter(|(route, _)| concerns(route)).map(|(_, at)| *at).max();
        match withdrawn.map(|at| at + self.settings.withdraw_delay).filter(|heard| *heard > now) {
            Some(heard) => Err(Some(heard)),
            None => Ok(()),
        }
    }
}

/// Is `prefix` inside one of `ranges`?
fn cover(ranges: &BTreeSet<Prefix>, prefix: Prefix) -> bool {
    ranges.iter().any(|range| range.covers(prefix))
}

/// The first and the last key that a virtual server in `prefix` can have.
pub(super) fn bounds(prefix: Prefix) -> (ServerKey, ServerKey) {
    let first = ServerKey { address: prefix.address(), protocol: Protocol::Tcp, port: 0 };
    let last = ServerKey { address: prefix.last(), protocol: Protocol::Sctp, port: u16::MAX };
    (first, last)
}
