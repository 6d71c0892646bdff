//! What a route promises, and whether the node keeps it. A route goes out only once all of it was read back; it is
//! withdrawn when a part of it is broken and repair failed; what it promised stays until the withdrawal was heard.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::model::addr::{Link, LocalRoute};
use crate::model::ipvs::{Protocol, ServerKey};
use crate::model::settings::{Announce, Snat};
use crate::model::sysctl::{Sysctl, Sysctls};
use crate::model::{Family, Prefix, Time};

use super::books::Part;
use super::memory::Key;
use super::nft::covers;
use super::planner::Planner;
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

    /// The families of the ranges in force, and of the addresses with NodePorts.
    pub(super) fn families(&self) -> BTreeSet<Family> {
        let nodes = self.here.node_port_addresses.iter().filter(|_| !self.is_removing());
        self.ranges.iter().map(|range| range.prefix.family()).chain(nodes.map(|address| Family::of(*address))).collect()
    }

    /// The kernel parameters that should be set.
    pub(super) fn desired_sysctls(&self) -> Sysctls {
        sysctl::desired(&self.families())
    }

    /// Is the kernel parameter as it should be?
    pub(super) fn has_sysctl(&self, name: &Sysctl, wanted: &str) -> bool {
        sysctl::satisfies(name, self.actual.sysctls.get(name).map(String::as_str), wanted)
    }

    /// Is the client's address replaced for connections to `prefix`, as configured? Where just single VIPs are local, each
    /// virtual server sees to it by itself.
    pub(super) fn snat_in_force(&self, prefix: Prefix) -> bool {
        if self.ranges.has_own_route(prefix.address()) && self.settings.dataplane.snat == Snat::Nftables {
            return true;
        }
        match self.settings.dataplane.snat {
            Snat::None => true,
            Snat::Nftables => self.actual.nft.table.as_ref().is_some_and(|table| covers(&table.masquerade, prefix)),
            Snat::IpvsMatch => self.actual.nft.classic.contains(&prefix.family()),
        }
    }

    /// Does the guard cover `prefix`?
    pub(super) fn guarded(&self, prefix: Prefix) -> bool {
        let table = self.actual.nft.table.as_ref();
        table.is_some_and(|table| self.to_guard(prefix).into_iter().all(|piece| covers(&table.guard, piece)))
    }

    /// How the infrastructure of the range `prefix` stands: kernel parameters, SNAT, guard, link, local route, and what the
    /// canary tells.
    pub(super) fn footing(&self, prefix: Prefix) -> Footing {
        if let Some(part) = Part::ALL.into_iter().find(|part| !self.host.known.contains(part)) {
            let reason = self.host.unread.get(&part).map_or("not read yet", String::as_str);
            return Footing::Mending(format!("{}: {reason}", part.name()));
        }
        let Some(route) = self.desired_route(prefix) else {
            return Footing::Broken(format!("no {} address of this node is present", prefix.family()));
        };
        for (name, wanted) in self.desired_sysctls() {
            if !self.has_sysctl(&name, &wanted) {
                let found = self.actual.sysctls.get(&name).map_or("missing", String::as_str);
                return self.unmet(Key::Sysctl(name.clone()), format!("{name} is {found}, not {wanted}"));
            }
        }
        if !self.snat_in_force(prefix) {
            let key = match self.settings.dataplane.snat {
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
        let is_whole = !self.ranges.has_own_route(prefix.address());
        if is_whole && self.actual.addr.routes.get(&prefix) != Some(&route) {
            return self.unmet(Key::Route(prefix), format!("the local route {prefix} is missing"));
        }
        let proof = self.proof_of(prefix);
        if let Some(broken @ Footing::Broken(_)) = proof {
            return broken;
        }
        if let Some(host) = self.pool(prefix.family()).find(|host| !self.actual.addr.routes.contains_key(host)) {
            return self.unmet(Key::Route(host), format!("the local route {host} of the SNAT pool is missing"));
        }
        if !self.host.fresh || self.memory.is_writing_host() {
            return Footing::Mending("not read back yet".into());
        }
        proof.unwrap_or(Footing::Proven)
    }

    fn unmet(&self, key: Key, what: String) -> Footing {
        match self.memory.failure(&key) {
            Some(failure) if failure.lasts() => Footing::Broken(format!("{what}: {}", failure.reason)),
            Some(failure) => Footing::Mending(format!("{what}: {}", failure.reason)),
            None => Footing::Mending(what),
        }
    }

    /// Why the local route of its own that `vip` needs, or a rule for its virtual servers, is missing for good.
    pub(super) fn unmendable(&self, vip: IpAddr) -> Option<String> {
        let key = Key::Route(Prefix::host(vip));
        let failure = self.memory.failure(&key).filter(|failure| failure.lasts() && self.ranges.has_own_route(vip))?;
        Some(format!("{key}: {}", failure.reason))
    }

    /// Does `vip` have the local route of its own that it needs, and its virtual servers what they need of the packet
    /// filter?
    pub(super) fn is_footed(&self, vip: IpAddr) -> bool {
        let prefix = Prefix::host(vip);
        let route = self.actual.addr.routes.get(&prefix);
        let local = !self.ranges.has_own_route(vip) || route.is_some() && route.copied() == self.desired_route(prefix);
        local && self.ledger.servers_at(vip).all(|key| self.is_filtered(key))
    }

    /// Is each virtual server of the range as it should be, or reported as failed?
    pub(super) fn settled(&self, prefix: Prefix) -> bool {
        let (first, last) = bounds(prefix);
        self.servers.adopted
            && self.servers.todo.range(first..=last).next().is_none()
            && self.servers.busy.range(first..=last).next().is_none()
            && self.servers.unfiltered.range(first..=last).next().is_none()
    }

    /// Virtual servers in `prefix` that were written since they were last read, but for those that the kernel refuses
    /// to show, which are reported as failed.
    pub(super) fn unread(&self, prefix: Prefix) -> impl Iterator<Item = &ServerKey> {
        let (first, last) = bounds(prefix);
        let refused = |key| self.memory.failure(&Key::ServerReading(key)).is_some_and(|failure| failure.refused);
        self.servers.unread.range(first..=last).filter(move |key| !refused(**key))
    }

    /// May the virtual servers at `address` be removed at `now`, for all that routes promise? Only if no route over it is
    /// out that is not meant to stay, and peers had time to hear of its end. `Err` holds when to ask again, if time
    /// alone decides.
    pub(super) fn released(&self, address: IpAddr, now: Time) -> Result<(), Option<Time>> {
        // A NodePort is announced by nobody.
        if self.here.addresses.contains(&address) {
            return Ok(());
        }
        let Some(range) = self.ranges.covering(address) else {
            let lengths = 0..=Prefix::host(address).length();
            return self.unheard(lengths.filter_map(|length| Prefix::containing(address, length)), now);
        };
        if self.ledger.servers_at(address).next().is_some() {
            return Ok(());
        }
        let host = Prefix::host(address);
        let known = self.may_be_out(host) || self.speaker.withdrawn.contains_key(&host);
        // The route of such a range promises no single virtual server; a host route is one that was left behind.
        if range.announce != Announce::Host && !known {
            return Ok(());
        }
        self.unheard(std::iter::once(host), now)
    }

    /// May the route and the rules of `prefix` be removed at `now`, for all that routes promise? A path inside a range
    /// that is in force and local stands on that one.
    pub(super) fn outlived(&self, prefix: Prefix, now: Time) -> Result<(), Option<Time>> {
        let stands = |path: Prefix| {
            let range = self.ranges.covering(path.address()).map(|range| range.prefix);
            range.is_some_and(|range| range.covers(path) && self.actual.addr.routes.contains_key(&range))
        };
        let out = self.actual.bgp.iter().flat_map(|bgp| bgp.paths.keys());
        let under_way = self.memory.in_flight().filter_map(|key| match key {
            Key::Path(path) => Some(path),
            _ => None,
        });
        let paths = out.chain(under_way).chain(self.speaker.withdrawn.keys()).copied();
        self.unheard(paths.filter(|path| path.overlaps(prefix) && !stands(*path)), now)
    }

    /// Is one of `paths` out, or withdrawn less than the delay ago?
    pub(super) fn unheard(&self, paths: impl Iterator<Item = Prefix>, now: Time) -> Result<(), Option<Time>> {
        self.fell(now)?;
        if self.settings.bgp.is_none() {
            return Ok(());
        }
        if self.actual.bgp.is_none() && !(self.is_removing() && self.has_died()) {
            return Err(None);
        }
        let mut last = self.speaker.dark;
        for path in paths {
            if self.may_be_out(path) {
                return Err(None);
            }
            last = last.max(self.speaker.withdrawn.get(&path).copied().unwrap_or_default());
        }
        let heard = last + self.settings.withdraw_delay;
        if heard > now { Err(Some(heard)) } else { Ok(()) }
    }

    /// Is gobgpd gone, and with it all routes? Only of one that is ours alone is that known: its death ends the sessions.
    pub(super) fn has_died(&self) -> bool {
        self.is_exclusive() && self.speaker.gone
    }

    /// Does gobgpd hold a path for `prefix`, as far as is known, or is one on its way there?
    fn may_be_out(&self, prefix: Prefix) -> bool {
        self.actual.bgp.as_ref().is_some_and(|bgp| bgp.paths.contains_key(&prefix))
            || self.memory.is_in_flight(&Key::Path(prefix))
    }
}

/// The first and the last key that a virtual server in `prefix` can have.
pub(super) fn bounds(prefix: Prefix) -> (ServerKey, ServerKey) {
    let first = ServerKey { address: prefix.address(), protocol: Protocol::Tcp, port: 0 };
    let last = ServerKey { address: prefix.last(), protocol: Protocol::Sctp, port: u16::MAX };
    (first, last)
}
