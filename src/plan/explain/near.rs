//! What an explanation covers, and what may have been meant where nothing is known by the name that was asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::model::ipvs::ServerKey;
use crate::model::service::{Service, ServicePort};
use crate::model::{Kind, ObjectRef, Prefix, ServiceKey};
use crate::plan::planner::Planner;
use crate::plan::preconditions::bounds;

use super::{Asked, Unknown};

/// How many names are suggested.
const SUGGESTIONS: usize = 3;

/// What an explanation covers.
pub(in crate::plan) struct Scope {
    /// Services, of those that share a VIP the oldest first.
    pub(super) services: Vec<ServiceKey>,
    /// VIPs, with their virtual servers: those claimed and those left in the kernel.
    pub(super) vips: BTreeMap<IpAddr, BTreeSet<ServerKey>>,
}

/// All VIPs that a Service names.
pub(super) fn vips(service: &Service) -> impl Iterator<Item = IpAddr> {
    service.cluster_ips.iter().chain(&service.external_ips).chain(&service.load_balancer_ips).copied()
}

impl Planner {
    /// What an explanation of `asked` covers.
    pub(in crate::plan) fn scope(&self, asked: &Asked) -> Result<Scope, Unknown> {
        match asked {
            Asked::Service(name) => self.scope_of_service(name),
            Asked::Vip { address, port, .. } => self.scope_of_vip(asked, *address, port.is_none()),
        }
    }

    fn scope_of_service(&self, name: &ServiceKey) -> Result<Scope, Unknown> {
        let object = self.cluster.service(name);
        let is_bad = self.cluster.complaint(&ObjectRef { kind: Kind::Service, name: name.name() }).is_some();
        if object.is_none() && !is_bad {
            return Err(self.unknown_service(name));
        }
        let mut scope = Scope { services: vec![name.clone()], vips: BTreeMap::new() };
        scope.vips.extend(object.into_iter().flat_map(vips).map(|vip| (vip, BTreeSet::new())));
        let claimed = self.ledger.claim(name).into_iter().flat_map(|claim| claim.servers.keys());
        // What is left of it drains.
        for key in claimed.copied().chain(self.servers.drains.of_service(name)) {
            scope.vips.entry(key.address).or_default().insert(key);
        }
        Ok(scope)
    }

    /// The Services that name `vip`, whoever has it.
    fn naming(&self, vip: IpAddr) -> impl Iterator<Item = (&ServiceKey, &Service)> {
        self.cluster.services().filter(move |(_, service)| vips(service).any(|named| named == vip))
    }

    fn scope_of_vip(&self, asked: &Asked, vip: IpAddr, whole: bool) -> Result<Scope, Unknown> {
        let (first, last) = bounds(Prefix::host(vip));
        let claimed: Vec<_> = self.ledger.claimed_in(Prefix::host(vip)).filter(|(key, _)| asked.covers(key)).collect();
        let is_asked =
            |port: &ServicePort| asked.covers(&ServerKey { address: vip, protocol: port.protocol, port: port.port });
        let naming = self.naming(vip).filter(|(_, service)| whole || service.ports.iter().any(is_asked));
        let mut services: BTreeSet<_> = naming.map(|(name, service)| (service.created, name.clone())).collect();
        services.extend(claimed.iter().flat_map(|(_, claimants)| claimants.iter().cloned()));
        let left = self.actual.ipvs.range(first..=last).map(|(key, _)| key).filter(|key| asked.covers(key));
        let keys: BTreeSet<ServerKey> = claimed.iter().map(|(key, _)| *key).chain(left).copied().collect();
        if services.is_empty() && keys.is_empty() {
            return Err(self.unknown_vip(asked, vip));
        }
        let services = services.into_iter().map(|(_, service)| service).collect();
        Ok(Scope { services, vips: [(vip, keys)].into() })
    }

    fn unknown_service(&self, name: &ServiceKey) -> Unknown {
        let known = self.cluster.services().map(|(known, _)| known.as_str());
        let by_name = |text: &str| text.rsplit('/').next().unwrap_or_default().to_owned();
        let wanted = by_name(name.as_str());
        // The right name in another namespace is as near as a letter or two off.
        let distance = |known: &str| {
            let whole = strsim::damerau_levenshtein(known, name.as_str());
            if by_name(known) == wanted { whole.min(1) } else { whole }
        };
        let near = nearest(known.map(|known| (distance(known), known.to_owned())), name.as_str().len() / 3 + 1);
        Unknown::new(format!("there is no Service {name}, as far as this node knows{near}"))
    }

    fn unknown_vip(&self, asked: &Asked, vip: IpAddr) -> Unknown {
        let others = self.naming(vip).map(|(name, service)| format!("{name} has {}", ports(service)));
        let others: Vec<String> = others.collect();
        if !others.is_empty() {
            return Unknown::new(format!("no Service has {asked}; of the ports of {vip}, {}", others.join(", and ")));
        }
        let known = self.cluster.services().flat_map(|(name, service)| vips(service).map(move |vip| (vip, name)));
        let served = known.filter(|(known, _)| known.is_ipv4() == vip.is_ipv4());
        let candidates = served.map(|(known, name)| {
            let distance = strsim::damerau_levenshtein(&known.to_string(), &vip.to_string());
            (distance, format!("{known} ({name})"))
        });
        let near = nearest(candidates, 2);
        let range = match self.ranges.covering(vip) {
            Some(range) => format!("; it lies in the range {}", range.prefix),
            None => "; it lies in none of the ranges in force".to_owned(),
        };
        Unknown::new(format!("no Service has {asked}{range}{near}"))
    }
}

/// The ports of a Service in words.
pub(super) fn ports(service: &Service) -> String {
    let ports: Vec<String> = service.ports.iter().map(|port| format!("{}/{}", port.port, port.protocol)).collect();
    if ports.is_empty() { "none".to_owned() } else { ports.join(", ") }
}

/// The nearest of what is at most `limit` away, as the end of a sentence.
fn nearest(candidates: impl Iterator<Item = (usize, String)>, limit: usize) -> String {
    let near: BTreeSet<(usize, String)> = candidates.filter(|(distance, _)| *distance <= limit).collect();
    let names: Vec<String> = near.into_iter().map(|(_, name)| name).take(SUGGESTIONS).collect();
    if names.is_empty() { String::new() } else { format!("; did you mean {}?", names.join(" or ")) }
}
