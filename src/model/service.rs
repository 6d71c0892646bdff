//! Services and EndpointSlices in the compact form that decisions need. The Kubernetes types stop in `watch::convert`.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::ipvs::Protocol;
use super::prefix::Family;

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
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// The first of its addresses; the API defines no meaning for others.
    pub address: IpAddr,
    /// `conditions.ready`, where absent means true.
    pub ready: bool,
}
