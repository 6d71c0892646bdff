//! The part of a pass that is about the dummy link and the local routes: one for each range that is wholly local, which are
//! few and looked at in every pass, and one for each VIP in use of other ranges, looked at when something touched it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::model::addr::Link;
use crate::model::{Prefix, Time};

use super::books::Part;
use super::pass::Draft;
use super::planner::Planner;
use super::preconditions::bounds;
use super::step::Step;

impl Planner {
    pub(super) fn plan_addr(&mut self, now: Time, draft: &mut Draft) {
        if !self.host.known.contains(&Part::Addr) {
            return;
        }
        let link = self.actual.addr.link;
        let vips = std::mem::take(&mut self.host.vips);
        let needed = self.ranges.iter().next().is_some();
        if needed && link != Some(Link::DESIRED) {
            self.send(Step::EnsureLink, now, draft);
        }
        for range in self.ranges.whole() {
            self.plan_route_of(range, now, draft);
        }
        for vip in vips {
            if self.plan_own_route(vip, now, draft) {
                self.host.vips.insert(vip);
            }
        }
        for prefix in self.host.lingering.clone() {
            if !self.stands_on(prefix) {
                self.remove_route(prefix, now, draft);
            }
        }
        if self.is_removing() && self.is_bare() && link.is_some_and(|link| link.dummy) {
            self.send(Step::DeleteLink, now, draft);
        }
    }

    /// Makes `prefix` local, once SNAT and guard cover it and its virtual servers are in place. Answers whether it is.
    fn plan_route_of(&mut self, prefix: Prefix, now: Time, draft: &mut Draft) -> bool {
        let Some(route) = self.desired_route(prefix) else { return false };
        let there = self.actual.addr.routes.get(&prefix);
        if there == Some(&route) {
            return true;
        }
        let covered = self.ranges.covering(prefix.address()).map(|range| range.prefix);
        let covered = covered.is_some_and(|range| self.snat_in_force(range) && self.guarded(range));
        let linked = self.actual.addr.link == Some(Link::DESIRED);
        if linked && covered && (there.is_some() || self.settled(prefix)) {
            self.send(Step::SetRoute(prefix, route), now, draft);
        }
        false
    }

    /// The local route of a VIP that has one of its own: it is there while a virtual server is. Answers whether it has to
    /// be looked at again.
    fn plan_own_route(&mut self, vip: IpAddr, now: Time, draft: &mut Draft) -> bool {
        let prefix = Prefix::host(vip);
        if !self.has_own_route(vip) {
            return false;
        }
        let (first, last) = bounds(prefix);
        let is_served = self.actual.ipvs.range(first..=last).next().is_some();
        let is_claimed = self.ledger.servers_at(vip).next().is_some();
        let is_local = self.actual.addr.routes.contains_key(&prefix);
        match (is_claimed, is_served) {
            (true, true) => !self.plan_route_of(prefix, now, draft),
            // Once a virtual server is made or gone, the VIP is touched again.
            (true, false) | (false, true) => false,
            (false, false) if is_local && self.settled(prefix) => {
                self.remove_route(prefix, now, draft);
                true
            }
            (false, false) => is_local,
        }
    }

    fn remove_route(&mut self, prefix: Prefix, now: Time, draft: &mut Draft) {
        match self.outlived(prefix, now) {
            Ok(()) => {
                self.send(Step::DeleteRoute(prefix), now, draft);
            }
            Err(until) => until.into_iter().for_each(|until| draft.wake(until)),
        }
    }

    /// Is the local route of a range that is no longer in force still of use?
    fn stands_on(&self, prefix: Prefix) -> bool {
        let (first, last) = bounds(prefix);
        // Virtual servers go first: under a route of ours they can still be told from somebody else's.
        let mut servers = self.actual.ipvs.range(first..=last).map(|(server, _)| server.address);
        // What a narrower or wider range keeps stays local throughout.
        let mut successors = self.ranges.iter().filter(|range| range.prefix.overlaps(prefix));
        let routes = &self.actual.addr.routes;
        servers.any(|address| self.ranges.covering(address).is_none())
            || successors.any(|range| {
                if range.is_whole() {
                    return !routes.contains_key(&range.prefix);
                }
                self.own_routes_in(range.prefix).any(|vip| !routes.contains_key(&Prefix::host(vip)))
            })
    }

    /// Does `address`, as a VIP, have a local route of its own? Where NodePorts are served the kernel has one already.
    fn has_own_route(&self, address: IpAddr) -> bool {
        self.ranges.has_own_route(address) && !self.here.addresses.contains(&address)
    }

    /// The VIPs in `prefix` that somebody claims, and that have a local route of their own.
    fn own_routes_in(&self, prefix: Prefix) -> impl Iterator<Item = IpAddr> {
        self.ledger.servers_in(prefix).map(|key| key.address).filter(|vip| self.has_own_route(*vip))
    }

    /// Notes that every VIP with a local route of its own has to be looked at, and which routes nobody has a use for.
    pub(super) fn touch_routes(&mut self) {
        let of_vip = |prefix: &Prefix| prefix.is_host() && self.has_own_route(prefix.address());
        let whole = self.ranges.whole();
        let routes = || self.actual.addr.routes.keys().copied();
        let lingering = routes().filter(|prefix| !whole.contains(prefix) && !of_vip(prefix)).collect();
        let mut vips: BTreeSet<IpAddr> = routes().filter(of_vip).map(|prefix| prefix.address()).collect();
        for range in self.ranges.iter().filter(|range| !range.is_whole()) {
            vips.extend(self.own_routes_in(range.prefix));
        }
        self.host.lingering = lingering;
        self.host.vips.extend(vips);
    }

    /// Is nothing of ours left in the kernel but the link?
    pub(super) fn is_bare(&self) -> bool {
        self.servers.adopted
            && self.actual.ipvs.is_empty()
            && self.actual.addr.routes.is_empty()
            && self.actual.nft == Default::default()
    }
}
