//! Services and EndpointSlices in the compact form that decisions need. The Kubernetes types stop in `watch::convert`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::bgp::Attributes;
use super::ipvs::{Protocol, Scheduler, ServerFlags};
use super::labels::Selector;
use super::prefix::{Family, Prefix};
use super::settings::Use;

/// The name of a namespaced object: `namespace/name`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKey(Arc<str>);

impl ServiceKey {
    /// The object `name` in `namespace`.
    pub fn new(namespace: &str, name: &str) -> ServiceKey {
        ServiceKey(Arc::from(format!("{namespace}/{name}")))
    }

    /// `namespace/name`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `namespace/name`, shared.
    pub fn name(&self) -> Arc<str> {
        self.0.clone()
    }
}

impl From<Arc<str>> for ServiceKey {
    /// The object called `name`, which is of the form `namespace/name`.
    fn from(name: Arc<str>) -> ServiceKey {
        ServiceKey(name)
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A Service. Headless and `ExternalName` Services have no ClusterIPs and therefore ask for nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Service {
    /// `metadata.creationTimestamp`, seconds since 1970; 0 where absent. Of two claimants the older one wins.
    pub created: i64,
    /// `metadata.uid`: another one under the same name is another Service.
    pub uid: Option<Arc<str>>,
    /// `spec.clusterIPs`, at most one of each family.
    pub cluster_ips: Vec<IpAddr>,
    /// `spec.externalIPs`, each once.
    pub external_ips: Vec<IpAddr>,
    /// `status.loadBalancer.ingress[].ip`, each once, while `spec.type` is LoadBalancer; those with the `ipMode` Proxy are
    /// left out.
    pub load_balancer_ips: Vec<IpAddr>,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
    /// `spec.internalTrafficPolicy`: it rules the ClusterIPs.
    pub internal_policy: TrafficPolicy,
    /// `spec.externalTrafficPolicy`: it rules external and load-balancer IPs and NodePorts.
    pub external_policy: TrafficPolicy,
    /// `spec.sessionAffinityConfig.clientIP.timeoutSeconds` where `spec.sessionAffinity` is ClientIP.
    pub affinity: Option<u32>,
    /// `spec.loadBalancerSourceRanges`: who may use the load-balancer IPs, none inside another; empty: everybody.
    pub source_ranges: Vec<Prefix>,
    /// `spec.healthCheckNodePort`, where the type and the external policy give it a meaning.
    pub health_check_port: Option<u16>,
    /// What its annotations ask for.
    pub wishes: Box<Wishes>,
}

/// Which endpoints take the traffic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrafficPolicy {
    /// Those of the whole cluster.
    #[default]
    Cluster,
    /// Those on this node.
    Local,
}

/// What the annotations of a Service ask for; what they leave open, the configuration says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wishes {
    /// The scheduler.
    pub scheduler: Option<Scheduler>,
    /// The scheduler's flags.
    pub flags: Option<ServerFlags>,
    /// How destinations are weighted.
    pub weights: Weights,
    /// Are the hints of EndpointSlices followed?
    pub topology_hints: Option<bool>,
    /// How its VIPs are announced; `None`: as their ranges are.
    pub announcing: Option<Box<Announcing>>,
}

/// How the VIPs of a Service are to be announced where it wants that to differ from its range.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Announcing {
    /// Are its VIPs of each use to have a route of their own? Where it says nothing, the range does.
    pub wanted: BTreeMap<Use, bool>,
    /// The nodes that announce these routes; `None`: as the range says.
    pub nodes: Option<Selector>,
    /// The attributes of these routes; what they leave open, the range says.
    pub attributes: Attributes,
}

/// How destinations are weighted against each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Weights {
    /// All alike.
    #[default]
    Even,
    /// Each zone gets the same share, however many endpoints it has.
    ZonesAlike,
    /// Each endpoint has the weight of its zone, and 1 in a zone that is not named.
    ByZone(Arc<BTreeMap<Arc<str>, u32>>),
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name; empty where it has none. EndpointSlices refer to it.
    pub name: Arc<str>,
    /// Its protocol.
    pub protocol: Protocol,
    /// The VIP's port.
    pub port: u16,
    /// `nodePort`.
    pub node_port: Option<u16>,
}

/// An EndpointSlice (`discovery.k8s.io/v1`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// The Service that it belongs to (label `kubernetes.io/service-name`).
    pub service: ServiceKey,
    /// `addressType`; slices of type FQDN never get here.
    pub family: Family,
    /// Its ports; those without a number are left out.
    pub ports: Vec<SlicePort>,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// A port of an EndpointSlice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlicePort {
    /// Its name; empty where it has none.
    pub name: Arc<str>,
    /// Its protocol.
    pub protocol: Protocol,
    /// The endpoints' port.
    pub port: u16,
}

/// An endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The first of its addresses; the API defines no meaning for others.
    pub address: IpAddr,
    /// `conditions.ready`, where absent means true.
    pub ready: bool,
    /// `conditions.serving`, where absent means true, whatever `ready` is (`discovery.k8s.io/v1`).
    pub serving: bool,
    /// `conditions.terminating`, where absent means false.
    pub terminating: bool,
    /// `nodeName`.
    pub node: Option<Arc<str>>,
    /// `zone`.
    pub zone: Option<Arc<str>>,
    /// `hints`, where there are any.
    pub hints: Option<Arc<Hints>>,
}

impl Endpoint {
    /// An endpoint of which no more is known than whether it is `ready`.
    pub fn new(address: IpAddr, ready: bool) -> Endpoint {
        Endpoint { address, ready, serving: ready, terminating: false, node: None, zone: None, hints: None }
    }
}

/// Whose traffic an endpoint should take (`hints` of an EndpointSlice).
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hints {
    /// `forNodes`.
    pub nodes: Vec<Arc<str>>,
    /// `forZones`.
    pub zones: Vec<Arc<str>>,
}
