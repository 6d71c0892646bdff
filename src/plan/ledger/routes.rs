//! What the claims of a VIP mean for its route: the oldest of its claimants decides, and whoever wishes otherwise is told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{Ledger, Touched};
use crate::model::ipvs::ServerKey;
use crate::model::{Prefix, ServiceKey};
use crate::plan::claims::Claim;
use crate::plan::preconditions::bounds;
use crate::plan::problem::Problem;
use crate::plan::wish::RouteWish;

impl Ledger {
    /// The oldest Service that claims a virtual server at `vip`.
    pub fn vip_owner(&self, vip: IpAddr) -> Option<&ServiceKey> {
        self.oldest_at(vip).map(|(_, owner)| owner)
    }

    /// What the oldest claimant of `vip` wants of its route, where that is not just what the range does.
    pub fn wish(&self, vip: IpAddr) -> Option<&RouteWish> {
        if !self.is_wished_for(vip) {
            return None;
        }
        self.claims.get(self.vip_owner(vip)?)?.routes.get(&vip)
    }

    /// Does some claimant of `vip` want something of its route?
    pub fn is_wished_for(&self, vip: IpAddr) -> bool {
        self.wishers.contains_key(&vip)
    }

    /// VIPs of whose routes some claimant wants something.
    pub fn wished_vips(&self) -> impl Iterator<Item = IpAddr> {
        self.wishers.keys().copied()
    }

    /// Has the oldest claimant of `vip` itself usable endpoints there?
    pub fn is_served_by_owner(&self, vip: IpAddr) -> bool {
        let (first, last) = bounds(Prefix::host(vip));
        let claim = self.vip_owner(vip).and_then(|owner| self.claims.get(owner));
        claim.is_some_and(|claim| claim.servers.range(first..=last).any(|(_, ask)| !ask.destinations.is_empty()))
    }

    /// Does the VIP want a route of its own inside an aggregate, and get none, since older ones have all that there may be?
    pub fn is_crowded_out(&self, vip: IpAddr) -> bool {
        self.specifics.is_waiting(vip)
    }

    /// How many VIPs have routes of their own inside aggregates, and how many want one and get none.
    pub fn specifics(&self) -> (usize, usize) {
        self.specifics.counts()
    }

    /// So many VIPs may have routes of their own inside aggregates. Answers with those for which that makes a difference.
    pub fn set_max_specifics(&mut self, limit: usize) -> Vec<(ServiceKey, IpAddr)> {
        self.specifics.set_limit(limit)
    }

    fn oldest_at(&self, vip: IpAddr) -> Option<&(i64, ServiceKey)> {
        let (first, last) = bounds(Prefix::host(vip));
        self.claimants.range(first..=last).filter_map(|(_, claimants)| claimants.first()).min()
    }

    /// Notes for which VIPs `service` wishes something now.
    pub(super) fn note_wishes(
        &mut self,
        service: &ServiceKey,
        old: &BTreeMap<IpAddr, RouteWish>,
        new: &BTreeMap<IpAddr, RouteWish>,
    ) {
        for vip in old.keys().filter(|vip| !new.contains_key(vip)) {
            if let Some(wishers) = self.wishers.get_mut(vip) {
                wishers.remove(service);
                if wishers.is_empty() {
                    self.wishers.remove(vip);
                }
            }
        }
        for vip in new.keys() {
            self.wishers.entry(*vip).or_default().insert(service.clone());
        }
    }

    /// These virtual servers changed, and these wishes for VIPs: works out who has routes of their own inside aggregates.
    pub(super) fn judge_routes(&mut self, servers: BTreeSet<ServerKey>, wished: BTreeSet<IpAddr>) -> Touched {
        let at = servers.iter().map(|key| key.address).filter(|vip| self.is_wished_for(*vip));
        let vips: BTreeSet<IpAddr> = wished.into_iter().chain(at).collect();
        let mut touched = Touched { servers, ..Touched::default() };
        for vip in vips {
            let is_specific = self.wish(vip).is_some_and(|wish| wish.specific);
            let applicant = self.oldest_at(vip).filter(|_| is_specific).cloned();
            for (service, moved) in self.specifics.apply(vip, applicant) {
                touched.services.insert(service);
                touched.vips.insert(moved);
            }
            touched.vips.insert(vip);
        }
        touched
    }

    /// What of the wishes of `service` for routes is not fulfilled because of others.
    pub(super) fn route_problems<'a>(
        &'a self,
        service: &'a ServiceKey,
        claim: &'a Claim,
    ) -> impl Iterator<Item = Problem> + 'a {
        claim.routes.iter().filter_map(move |(vip, wish)| {
            let owner = self.vip_owner(*vip)?;
            if owner != service {
                let agrees = self.wish(*vip) == Some(wish);
                return (!agrees).then(|| Problem::RouteOverruled(*vip, owner.clone()));
            }
            let limit = self.specifics.limit();
            self.is_crowded_out(*vip).then_some(Problem::NoRoomForRoute(*vip, limit))
        })
    }
}
