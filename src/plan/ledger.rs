//! All claims, and who has what several Services ask for: of the claimants of a virtual server, ordered by creation time,
//! then name, the first has it. What becomes of a VIP's route, the first of all its claimants decides.

mod routes;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::model::ipvs::{ServerKey, VirtualServer};
use crate::model::{Prefix, ServiceKey};

use super::claims::{Ask, Claim};
use super::preconditions::bounds;
use super::problem::Problem;
use super::specifics::Specifics;

/// All claims, and the claimants of each virtual server in the order of their right to it.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    claims: BTreeMap<ServiceKey, Claim>,
    claimants: BTreeMap<ServerKey, Vec<(i64, ServiceKey)>>,
    /// The claimants of each health check port.
    health: BTreeMap<u16, BTreeSet<(i64, ServiceKey)>>,
    /// Who wants something of the routes of VIPs, by VIP.
    wishers: BTreeMap<IpAddr, BTreeSet<ServiceKey>>,
    /// How many destinations take connections, over all claims.
    endpoints: usize,
    /// Which VIPs have routes of their own inside aggregates.
    specifics: Specifics,
}

/// What may differ since a claim was put.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Touched {
    /// Virtual servers.
    pub servers: BTreeSet<ServerKey>,
    /// VIPs, as to their routes.
    pub vips: BTreeSet<IpAddr>,
    /// Other Services, as to their problems, beside the rivals.
    pub services: BTreeSet<ServiceKey>,
}

impl Ledger {
    /// Puts `claim` in the place of what `service` claimed before, and answers what may differ now.
    pub fn put(&mut self, service: &ServiceKey, claim: Claim) -> Touched {
        let old = self.claims.remove(service).unwrap_or_default();
        self.endpoints = self.endpoints + claim.endpoints() - old.endpoints();
        let mut servers = BTreeSet::new();
        let anew = claim.created != old.created || claim.settings != old.settings;
        for (key, ask) in &old.servers {
            if anew || claim.servers.get(key) != Some(ask) {
                servers.insert(*key);
                self.leave(key, service);
            }
        }
        for (key, ask) in &claim.servers {
            if anew || old.servers.get(key) != Some(ask) {
                servers.insert(*key);
                let claimants = self.claimants.entry(*key).or_default();
                claimants.push((claim.created, service.clone()));
                claimants.sort();
            }
        }
        if let Some((port, _)) = old.health {
            let claimants = self.health.entry(port).or_default();
            claimants.remove(&(old.created, service.clone()));
            if claimants.is_empty() {
                self.health.remove(&port);
            }
        }
        if let Some((port, _)) = claim.health {
            self.health.entry(port).or_default().insert((claim.created, service.clone()));
        }
        let wished: BTreeSet<IpAddr> = old.routes.keys().chain(claim.routes.keys()).copied().collect();
        self.note_wishes(service, &old.routes, &claim.routes);
        if !claim.servers.is_empty() || !claim.problems.is_empty() || claim.health.is_some() {
            self.claims.insert(service.clone(), claim);
        }
        self.judge_routes(servers, wished)
    }

    /// What the rightful claimant of the virtual server `key` asks of it; none where it has no destinations for it.
    pub fn ask(&self, key: &ServerKey) -> Option<&Ask> {
        self.rightful(key).map(|(_, ask)| ask)
    }

    /// The virtual server `key` as its rightful claimant wants it.
    pub fn server(&self, key: &ServerKey) -> Option<VirtualServer> {
        let (claim, ask) = self.rightful(key)?;
        Some(VirtualServer { settings: claim.settings.clone(), destinations: ask.destinations.clone() })
    }

    /// The claim that has the virtual server `key`, and what it asks of it, where that has destinations.
    fn rightful(&self, key: &ServerKey) -> Option<(&Claim, &Ask)> {
        let claim = self.claims.get(self.owner(key)?)?;
        let ask = claim.servers.get(key).filter(|ask| !ask.destinations.is_empty())?;
        Some((claim, ask))
    }

    /// Who has the virtual server `key`.
    pub fn owner(&self, key: &ServerKey) -> Option<&ServiceKey> {
        self.claimants.get(key)?.first().map(|(_, owner)| owner)
    }

    /// The virtual servers that there should be at `vip`: its reference count is their number.
    pub fn servers_at(&self, vip: IpAddr) -> impl Iterator<Item = &ServerKey> {
        self.servers_in(Prefix::host(vip))
    }

    /// The virtual servers in `prefix` that there should be.
    pub fn servers_in(&self, prefix: Prefix) -> impl Iterator<Item = &ServerKey> {
        let (first, last) = bounds(prefix);
        self.claimants.range(first..=last).map(|(key, _)| key).filter(|key| self.ask(key).is_some())
    }

    /// The virtual servers in `prefix` that somebody claims, with their claimants in the order of their right: when each
    /// was created, and its name.
    pub fn claimed_in(&self, prefix: Prefix) -> impl Iterator<Item = (&ServerKey, &[(i64, ServiceKey)])> {
        let (first, last) = bounds(prefix);
        self.claimants.range(first..=last).map(|(key, claimants)| (key, claimants.as_slice()))
    }

    /// All virtual servers that there should be.
    pub fn servers(&self) -> impl Iterator<Item = &ServerKey> {
        self.claimants.keys().filter(|key| self.ask(key).is_some())
    }

    /// How many destinations take connections, over all claims.
    pub fn endpoints(&self) -> usize {
        self.endpoints
    }

    /// The claim of `service`; none if it asks for nothing.
    pub fn claim(&self, service: &ServiceKey) -> Option<&Claim> {
        self.claims.get(service)
    }

    /// What is wrong with the claims of `service`, lost virtual servers included.
    pub fn problems(&self, service: &ServiceKey) -> Vec<Problem> {
        let Some(claim) = self.claims.get(service) else { return Vec::new() };
        let lost = claim.servers.keys().filter_map(|key| {
            let owner = self.owner(key).filter(|owner| *owner != service)?;
            Some(Problem::Taken(*key, owner.clone()))
        });
        let owner = claim.health.and_then(|(port, _)| Some((port, self.health_owner(port)?)));
        let owner = owner.filter(|(_, owner)| *owner != service);
        let health = owner.map(|(port, owner)| Problem::HealthPortTaken(port, owner.clone()));
        let problems = claim.problems.iter().cloned().chain(lost).chain(health);
        problems.chain(self.route_problems(service, claim)).collect()
    }

    /// Other Services that claim what `service` claims, or would with `claim`.
    pub fn rivals(&self, service: &ServiceKey, claim: &Claim) -> BTreeSet<ServiceKey> {
        let old = self.claims.get(service).into_iter().flat_map(|old| old.servers.keys());
        let claimants = old.chain(claim.servers.keys()).filter_map(|key| self.claimants.get(key)).flatten();
        let ports = self.claims.get(service).and_then(|old| old.health).into_iter().chain(claim.health);
        let claimants = claimants.chain(ports.filter_map(|(port, _)| self.health.get(&port)).flatten());
        let old = self.claims.get(service).into_iter().flat_map(|old| old.servers.keys());
        let vips: BTreeSet<IpAddr> = old.chain(claim.servers.keys()).map(|key| key.address).collect();
        let wishers = vips.iter().filter_map(|vip| self.wishers.get(vip)).flatten();
        let claimants = claimants.map(|(_, claimant)| claimant).chain(wishers);
        claimants.filter(|claimant| *claimant != service).cloned().collect()
    }

    /// Health check ports, each with the Service that has it and the number of its ready endpoints on this node.
    pub fn health(&self) -> impl Iterator<Item = (u16, &ServiceKey, usize)> {
        self.health.keys().filter_map(|port| {
            let owner = self.health_owner(*port)?;
            let (_, local) = self.claims.get(owner)?.health?;
            Some((*port, owner, local))
        })
    }

    fn health_owner(&self, port: u16) -> Option<&ServiceKey> {
        self.health.get(&port)?.first().map(|(_, owner)| owner)
    }

    /// All Services that claim something or have a problem.
    pub fn services(&self) -> impl Iterator<Item = &ServiceKey> {
        self.claims.keys()
    }

    fn leave(&mut self, key: &ServerKey, service: &ServiceKey) {
        if let Some(claimants) = self.claimants.get_mut(key) {
            claimants.retain(|(_, claimant)| claimant != service);
            if claimants.is_empty() {
                self.claimants.remove(key);
            }
        }
    }
}
