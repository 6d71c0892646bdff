//! Which health check ports (`spec.healthCheckNodePort`) this node serves, and what they have to say. Cloud load balancers
//! and their like ask there whether a node has endpoints of a Service whose `externalTrafficPolicy` is Local.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::model::ServiceKey;

use super::planner::Planner;

/// All health check ports of this node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// The node's addresses, which they are served on.
    pub addresses: BTreeSet<IpAddr>,
    /// What each port says. Of several Services with one port, the oldest has it.
    pub checks: BTreeMap<u16, HealthCheck>,
}

impl Planner {
    /// The health check ports as they should be.
    pub(super) fn health(&self) -> Health {
        let own = self.node_ips().into_iter().filter(|address| self.here.addresses.contains(address));
        let check =
            |(port, service, local): (u16, &ServiceKey, usize)| (port, HealthCheck { service: service.clone(), local });
        Health {
            addresses: own.chain(self.here.node_port_addresses.iter().copied()).collect(),
            checks: self.ledger.health().map(check).collect(),
        }
    }
}

/// What a health check port says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// The Service.
    pub service: ServiceKey,
    /// How many distinct addresses of ready endpoints it has on this node. Terminating ones do not count, even if traffic
    /// falls back to them: no more should come.
    pub local: usize,
}
