//! What each Service asks of this node, and who wins where two ask for the same.
//!
//! A [`Claim`] is a pure function of one Service and its EndpointSlices, so the work of a change is proportional to the
//! Service that changed. The [`Ledger`] keeps all claims and orders the claimants of each virtual server by creation
//! time, then name: the oldest has it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::model::ipvs::{Destination, DestinationKey, Forwarding, Protocol, ServerKey};
use crate::model::service::{Service, ServicePort, Slice};
use crate::model::{Family, ServiceKey};

use super::problem::Problem;
use super::ranges::Ranges;

/// The destinations of one virtual server.
pub type Destinations = BTreeMap<DestinationKey, Destination>;

/// What one Service asks of the node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claim {
    /// `metadata.creationTimestamp` of the Service, in seconds.
    pub created: i64,
    /// Its virtual servers. A port without usable endpoints has none: the guard then refuses at once.
    pub servers: BTreeMap<ServerKey, Destinations>,
    /// Why parts of it are not served.
    pub problems: Vec<Problem>,
}

/// The claim of `service` with its `slices`.
pub fn claim(service: &Service, slices: &[&Slice], ranges: &Ranges) -> Claim {
    let mut claim = Claim { created: service.created, ..Claim::default() };
    for &address in &service.cluster_ips {
        if ranges.covering(address).is_none() {
            claim.problems.push(Problem::OutsideRanges(address, Arc::from(ranges.to_string())));
            continue;
        }
        for port in &service.ports {
            let of_family = slices.iter().copied().filter(|slice| slice.family == Family::of(address));
            let destinations = destinations(port, of_family, ranges, &mut claim.problems);
            if !destinations.is_empty() {
                claim.servers.insert(ServerKey { address, protocol: port.protocol, port: port.port }, destinations);
            }
        }
    }
    claim.problems.extend(service.external_ips.iter().copied().map(Problem::ExternalIpNotAllowed));
    claim
}

/// The ready endpoints of a port: joined by port name and protocol, each address and port once.
fn destinations<'a>(
    port: &ServicePort,
    slices: impl Iterator<Item = &'a Slice>,
    ranges: &Ranges,
    problems: &mut Vec<Problem>,
) -> Destinations {
    let mut destinations = Destinations::new();
    for slice in slices {
        let ports = slice.ports.iter().filter(|p| p.name == port.name && p.protocol == port.protocol);
        for number in ports.map(|p| p.port) {
            for endpoint in slice.endpoints.iter().filter(|endpoint| endpoint.ready) {
                if ranges.covering(endpoint.address).is_some() {
                    problems.push(Problem::EndpointInRange(endpoint.address));
                    continue;
                }
                let key = DestinationKey { address: endpoint.address, port: number };
                destinations.insert(key, Destination { weight: 1, forwarding: Forwarding::Masquerade });
            }
        }
    }
    destinations
}

/// All claims, and the claimants of each virtual server in the order of their right to it.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    claims: BTreeMap<ServiceKey, Claim>,
    claimants: BTreeMap<ServerKey, Vec<(i64, ServiceKey)>>,
}

impl Ledger {
    /// Puts `claim` in the place of what `service` claimed before, and answers which virtual servers may differ now.
    pub fn put(&mut self, service: &ServiceKey, claim: Claim) -> BTreeSet<ServerKey> {
        let old = self.claims.remove(service).unwrap_or_default();
        let mut touched = BTreeSet::new();
        for (key, destinations) in &old.servers {
            if claim.servers.get(key) != Some(destinations) || claim.created != old.created {
                touched.insert(*key);
                self.leave(key, service);
            }
        }
        for (key, destinations) in &claim.servers {
            if old.servers.get(key) != Some(destinations) || claim.created != old.created {
                touched.insert(*key);
                let claimants = self.claimants.entry(*key).or_default();
                claimants.push((claim.created, service.clone()));
                claimants.sort();
            }
        }
        if !claim.servers.is_empty() || !claim.problems.is_empty() {
            self.claims.insert(service.clone(), claim);
        }
        touched
    }

    /// The destinations that the virtual server `key` should have: those that its rightful claimant asks for.
    pub fn destinations(&self, key: &ServerKey) -> Option<&Destinations> {
        let (_, owner) = self.claimants.get(key)?.first()?;
        self.claims.get(owner)?.servers.get(key)
    }

    /// Who has the virtual server `key`.
    pub fn owner(&self, key: &ServerKey) -> Option<&ServiceKey> {
        self.claimants.get(key)?.first().map(|(_, owner)| owner)
    }

    /// The virtual servers that somebody claims at `vip`: its reference count is their number.
    pub fn servers_at(&self, vip: IpAddr) -> impl Iterator<Item = &ServerKey> {
        let first = ServerKey { address: vip, protocol: Protocol::Tcp, port: 0 };
        self.claimants.range(first..).map(|(key, _)| key).take_while(move |key| key.address == vip)
    }

    /// All virtual servers that somebody claims.
    pub fn servers(&self) -> impl Iterator<Item = &ServerKey> {
        self.claimants.keys()
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
        claim.problems.iter().cloned().chain(lost).collect()
    }

    /// Other Services that claim what `service` claims, or would with `claim`.
    pub fn rivals(&self, service: &ServiceKey, claim: &Claim) -> BTreeSet<ServiceKey> {
        let old = self.claims.get(service).into_iter().flat_map(|old| old.servers.keys());
        let claimants = old.chain(claim.servers.keys()).filter_map(|key| self.claimants.get(key)).flatten();
        claimants.map(|(_, claimant)| claimant).filter(|claimant| *claimant != service).cloned().collect()
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
