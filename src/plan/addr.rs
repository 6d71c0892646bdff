//! The part of a pass that is about the dummy link and the local routes.

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
        let wanted: Vec<Prefix> = self.ranges.prefixes().into_iter().collect();
        if !wanted.is_empty() && link != Some(Link::DESIRED) {
            self.send(Step::EnsureLink, now, draft);
        }
        for prefix in wanted {
            let Some(route) = self.desired_route(prefix) else { continue };
            let there = self.actual.addr.routes.get(&prefix);
            let stands =
                self.snat_in_force(prefix) && self.guarded(prefix) && (there.is_some() || self.settled(prefix));
            if there != Some(&route) && link == Some(Link::DESIRED) && stands {
                self.send(Step::SetRoute(prefix, route), now, draft);
            }
        }
        for prefix in self.lingering().collect::<Vec<_>>() {
            match self.outlived(prefix, now) {
                Ok(()) if self.stands_on(prefix) => {}
                Ok(()) => {
                    self.send(Step::DeleteRoute(prefix), now, draft);
                }
                Err(until) => until.into_iter().for_each(|until| draft.wake(until)),
            }
        }
        if self.is_removing() && self.is_bare() && link.is_some_and(|link| link.dummy) {
            self.send(Step::DeleteLink, now, draft);
        }
    }

    /// Is the local route of a range that is no longer in force still of use?
    fn stands_on(&self, prefix: Prefix) -> bool {
        let (first, last) = bounds(prefix);
        // Virtual servers go first: under a route of ours they can still be told from somebody else's.
        let mut servers = self.actual.ipvs.range(first..=last).map(|(server, _)| server.address);
        // What a narrower or wider range keeps stays local throughout.
        let mut successors = self.ranges.iter().filter(|range| range.prefix.overlaps(prefix));
        servers.any(|address| self.ranges.covering(address).is_none())
            || successors.any(|range| !self.actual.addr.routes.contains_key(&range.prefix))
    }

    /// Is nothing of ours left in the kernel but the link?
    pub(super) fn is_bare(&self) -> bool {
        self.servers.adopted
            && self.actual.ipvs.is_empty()
            && self.actual.addr.routes.is_empty()
            && self.actual.nft == Default::default()
    }

    /// Ranges that are no longer in force but still local.
    pub(super) fn lingering(&self) -> impl Iterator<Item = Prefix> {
        self.actual.addr.routes.keys().copied().filter(|prefix| !self.ranges.contains(*prefix))
    }
}
