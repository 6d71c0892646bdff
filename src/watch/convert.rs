//! Kubernetes objects become model types here, and stop here.
//!
//! Each field that vipcast honours is read by one function below, which knows its default and its limits. What the API
//! server would never store (a manifest can hold anything) is refused in words that name the field, what was found and
//! what is allowed.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::Metadata;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::api::networking::v1 as networking;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;
use serde_json::Value;

use self::field::{BadField, address, is_special, prefix, prefixes};
use super::Reading;
use crate::model::ipvs::Protocol;
use crate::model::node::Node;
use crate::model::service::{Endpoint, Service, ServicePort, Slice, SlicePort};
use crate::model::{Family, Kind, Object, ObjectRef, Prefix, ServiceKey};

mod field;

/// Says that somebody else's proxy serves the Service, whatever the value. kube-proxy leaves out Services and
/// EndpointSlices that carry it.
const LABEL_PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
/// Says that the Service is headless, whatever the value; left out likewise.
const LABEL_HEADLESS: &str = "service.kubernetes.io/headless";
/// Names the Service that an EndpointSlice belongs to.
const LABEL_SERVICE_NAME: &str = "kubernetes.io/service-name";

/// A Kubernetes type that vipcast reads.
pub trait Convert: Metadata<Ty = ObjectMeta> + DeserializeOwned {
    /// Its kind.
    const KIND: Kind;

    /// What names this object. A missing namespace is `default`, as for `kubectl apply`.
    fn reference(&self) -> ObjectRef {
        let metadata = self.metadata();
        let name = metadata.name.as_deref().unwrap_or_default();
        reference(<Self as Convert>::KIND, metadata.namespace.as_deref(), name)
    }

    /// The object in compact form. Which Node object is this node's, the source has to know.
    fn convert(self) -> Reading;
}

/// The group and version that objects of this kind are read in.
pub fn api_version(kind: Kind) -> &'static str {
    match kind {
        Kind::Service => <core::Service as k8s_openapi::Resource>::API_VERSION,
        Kind::EndpointSlice => <discovery::EndpointSlice as k8s_openapi::Resource>::API_VERSION,
        Kind::Node => <core::Node as k8s_openapi::Resource>::API_VERSION,
        Kind::ServiceCidr => <networking::ServiceCIDR as k8s_openapi::Resource>::API_VERSION,
    }
}

/// What names the object `name` of `kind`. A missing namespace is `default`; kinds without namespaces ignore it.
pub fn reference(kind: Kind, namespace: Option<&str>, name: &str) -> ObjectRef {
    let name = match kind {
        Kind::Service | Kind::EndpointSlice => {
            let namespace = namespace.filter(|namespace| !namespace.is_empty()).unwrap_or("default");
            ServiceKey::new(namespace, name).name()
        }
        Kind::Node | Kind::ServiceCidr => Arc::from(name),
    };
    ObjectRef { kind, name }
}

/// The object of `kind` that `value` holds, in compact form.
pub fn from_value(kind: Kind, value: Value) -> Reading {
    match kind {
        Kind::Service => typed::<core::Service>(value),
        Kind::EndpointSlice => typed::<discovery::EndpointSlice>(value),
        Kind::Node => typed::<core::Node>(value),
        Kind::ServiceCidr => typed::<networking::ServiceCIDR>(value),
    }
}

fn typed<T: Convert>(value: Value) -> Reading {
    match serde_path_to_error::deserialize::<_, T>(value) {
        Ok(object) => object.convert(),
        Err(error) => Reading::Bad(error.to_string()),
    }
}

/// An object that was understood, or the field that was not.
fn reading(object: Result<Object, BadField>) -> Reading {
    object.map_or_else(|bad| Reading::Bad(bad.to_string()), Reading::Good)
}

/// An object, and the parts of it that were left out.
fn partly(object: Object, problems: &[BadField]) -> Reading {
    match problems {
        [] => Reading::Good(object),
        [only] => Reading::Partly(object, format!("{only}; left out")),
        [first, others @ ..] => Reading::Partly(object, format!("{first}; left out, and {} more", others.len())),
    }
}

impl Convert for core::Service {
    const KIND: Kind = Kind::Service;

    fn convert(self) -> Reading {
        if is_others(&self.metadata) {
            return Reading::Ignored;
        }
        let key = ServiceKey::from(self.reference().name);
        let created = self.metadata.creation_timestamp.map_or(0, |time| time.0.as_second());
        let uid = self.metadata.uid.map(Arc::from);
        let spec = self.spec.unwrap_or_default();
        let read = cluster_ips(&spec).and_then(|addresses| {
            // A Service that asks for nothing cannot ask for it in a wrong way.
            let ports = if addresses.is_empty() { Vec::new() } else { service_ports(&spec)? };
            Ok((addresses, ports))
        });
        let (cluster_ips, ports) = match read {
            Ok(read) => read,
            Err(bad) => return Reading::Bad(bad.to_string()),
        };
        let (external_ips, problems) = if cluster_ips.is_empty() { Default::default() } else { external_ips(&spec) };
        let service = Service { created, uid, cluster_ips, external_ips, ports, ..Service::default() };
        partly(Object::Service(key, service), &problems)
    }
}

/// `spec.clusterIPs`, or `spec.clusterIP` where only that is given. `None`, the empty text and the type ExternalName
/// (even with an address) stand for no address.
fn cluster_ips(spec: &core::ServiceSpec) -> Result<Vec<IpAddr>, BadField> {
    if spec.type_.as_deref() == Some("ExternalName") {
        return Ok(Vec::new());
    }
    let texts: Vec<(String, &str)> = match spec.cluster_ips.as_deref() {
        Some(texts) if !texts.is_empty() => {
            texts.iter().enumerate().map(|(i, text)| (format!("spec.clusterIPs[{i}]"), text.as_str())).collect()
        }
        _ => spec.cluster_ip.iter().map(|text| ("spec.clusterIP".to_owned(), text.as_str())).collect(),
    };
    if texts.iter().any(|(_, text)| *text == "None") {
        return Ok(Vec::new());
    }
    let mut found: Vec<IpAddr> = Vec::new();
    for (field, text) in texts.iter().filter(|(_, text)| !text.is_empty()) {
        let address = address(field, text)?;
        if let Some(other) = found.iter().find(|other| Family::of(**other) == Family::of(address)) {
            let both = format!("{other}, {address}");
            return Err(BadField::new("spec.clusterIPs", both, "at most one address of each family"));
        }
        found.push(address);
    }
    Ok(found)
}

/// `spec.externalIPs`, each once: the API server takes repetitions. One that is not understood takes nothing from the
/// others.
fn external_ips(spec: &core::ServiceSpec) -> (Vec<IpAddr>, Vec<BadField>) {
    let (mut found, mut problems): (Vec<IpAddr>, Vec<BadField>) = Default::default();
    for (i, text) in spec.external_ips.iter().flatten().enumerate() {
        match address(&format!("spec.externalIPs[{i}]"), text) {
            Ok(address) if found.contains(&address) => {}
            Ok(address) => found.push(address),
            Err(bad) => problems.push(bad),
        }
    }
    (found, problems)
}

/// `spec.ports`. Names and protocols together tell ports apart when endpoints are looked up, numbers and protocols when
/// packets are.
fn service_ports(spec: &core::ServiceSpec) -> Result<Vec<ServicePort>, BadField> {
    let mut ports: Vec<ServicePort> = Vec::new();
    for (i, port) in spec.ports.iter().flatten().enumerate() {
        let field = format!("spec.ports[{i}]");
        let port = ServicePort {
            name: Arc::from(port.name.as_deref().unwrap_or_default()),
            protocol: protocol(&field, port.protocol.as_deref())?,
            port: port_number(&field, port.port)?,
            node_port: None,
        };
        for other in ports.iter().filter(|other| other.protocol == port.protocol) {
            if other.port == port.port {
                let again = format!("{} {} again", port.port, port.protocol);
                return Err(BadField::new(field, again, "each number once for each protocol"));
            }
            if other.name == port.name {
                let again = format!("{:?} {} again", port.name, port.protocol);
                return Err(BadField::new(field, again, "each name once for each protocol"));
            }
        }
        ports.push(port);
    }
    Ok(ports)
}

impl Convert for discovery::EndpointSlice {
    const KIND: Kind = Kind::EndpointSlice;

    fn convert(self) -> Reading {
        let service = self.metadata.labels.as_ref().and_then(|labels| labels.get(LABEL_SERVICE_NAME));
        let Some(service) = service.filter(|service| !service.is_empty()) else { return Reading::Ignored };
        if is_others(&self.metadata) || self.address_type == "FQDN" {
            return Reading::Ignored;
        }
        let service = ServiceKey::from(reference(Kind::Service, self.metadata.namespace.as_deref(), service).name);
        let name = self.reference().name;
        let slice = address_type(&self.address_type).and_then(|family| {
            let ports = slice_ports(self.ports.as_deref().unwrap_or_default())?;
            Ok((Slice { service, family, ports, endpoints: Vec::with_capacity(self.endpoints.len()) }, family))
        });
        let (mut slice, family) = match slice {
            Ok(slice) => slice,
            Err(bad) => return Reading::Bad(bad.to_string()),
        };
        let mut problems = Vec::new();
        for (i, found) in self.endpoints.iter().enumerate() {
            match endpoint(i, found, family) {
                Ok(endpoint) => slice.endpoints.push(endpoint),
                Err(bad) => problems.push(bad),
            }
        }
        partly(Object::Slice(name, slice), &problems)
    }
}

/// `addressType`.
fn address_type(text: &str) -> Result<Family, BadField> {
    match text {
        "IPv4" => Ok(Family::Ipv4),
        "IPv6" => Ok(Family::Ipv6),
        _ => Err(BadField::new("addressType", format_args!("{text:?}"), "IPv4, IPv6, FQDN")),
    }
}

/// `ports`. One without a number stands for all ports, which only headless Services can use; it is left out.
fn slice_ports(ports: &[discovery::EndpointPort]) -> Result<Vec<SlicePort>, BadField> {
    let mut found = Vec::with_capacity(ports.len());
    for (i, port) in ports.iter().enumerate() {
        let Some(number) = port.port.filter(|number| *number != 0) else { continue };
        let field = format!("ports[{i}]");
        found.push(SlicePort {
            name: Arc::from(port.name.as_deref().unwrap_or_default()),
            protocol: protocol(&field, port.protocol.as_deref())?,
            port: port_number(&field, number)?,
        });
    }
    Ok(found)
}

/// `endpoints[index]`: the first of its addresses, and whether it is ready. The addresses that are refused are those
/// that the API server refuses too: a tenant must not reach the node's own services through a VIP.
fn endpoint(index: usize, endpoint: &discovery::Endpoint, family: Family) -> Result<Endpoint, BadField> {
    let field = format!("endpoints[{index}].addresses[0]");
    let allowed = || format!("an {family} address, as addressType says");
    let Some(text) = endpoint.addresses.first() else { return Err(BadField::new(field, "missing", allowed())) };
    let address = address(&field, text)?;
    if Family::of(address) != family {
        return Err(BadField::new(field, address, allowed()));
    }
    if is_special(address) {
        let allowed = "no unspecified, loopback, link-local or multicast address";
        return Err(BadField::new(field, address, allowed));
    }
    let ready = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true);
    Ok(Endpoint::new(address, ready))
}

impl Convert for core::Node {
    const KIND: Kind = Kind::Node;

    fn convert(self) -> Reading {
        reading(node_addresses(&self).and_then(|addresses| {
            let shutting_down = is_shutting_down(&self);
            let pod_cidrs = pod_cidrs(&self.spec.unwrap_or_default())?;
            let labels = self.metadata.labels.unwrap_or_default();
            Ok(Object::Node(Node { addresses, pod_cidrs, labels, shutting_down }))
        }))
    }
}

/// `status.addresses` of type InternalIP.
fn node_addresses(node: &core::Node) -> Result<Vec<IpAddr>, BadField> {
    let addresses = node.status.iter().flat_map(|status| &status.addresses).flatten().enumerate();
    addresses
        .filter(|(_, found)| found.type_ == "InternalIP")
        .map(|(i, found)| address(&format!("status.addresses[{i}].address"), &found.address))
        .collect()
}

/// Does the condition `Ready` say that kubelet shuts the node down gracefully? Its message then holds these words: the
/// error of `ShutdownStatus` in `pkg/kubelet/nodeshutdown/nodeshutdown_manager_linux.go`, alone or in a list of several
/// errors (`ReadyCondition` in `pkg/kubelet/nodestatus/setters.go`); no reason of its own tells of it.
fn is_shutting_down(node: &core::Node) -> bool {
    const WORDS: &str = "node is shutting down";
    let mut conditions = node.status.iter().flat_map(|status| &status.conditions).flatten();
    conditions.any(|found| {
        let message = found.message.as_deref().unwrap_or_default();
        found.type_ == "Ready" && found.status == "False" && message.contains(WORDS)
    })
}

/// `spec.podCIDRs`, or `spec.podCIDR` where only that is given.
fn pod_cidrs(spec: &core::NodeSpec) -> Result<Vec<Prefix>, BadField> {
    match spec.pod_cidrs.as_deref() {
        Some(texts) if !texts.is_empty() => prefixes("spec.podCIDRs", texts),
        _ => spec.pod_cidr.iter().filter(|text| !text.is_empty()).map(|text| prefix("spec.podCIDR", text)).collect(),
    }
}

impl Convert for networking::ServiceCIDR {
    const KIND: Kind = Kind::ServiceCidr;

    fn convert(self) -> Reading {
        let name = self.reference().name;
        let cidrs = self.spec.and_then(|spec| spec.cidrs).unwrap_or_default();
        reading(prefixes("spec.cidrs", &cidrs).map(|cidrs| Object::ServiceCidr(name, cidrs)))
    }
}

/// Is the object labelled as one that this proxy must leave alone?
fn is_others(metadata: &ObjectMeta) -> bool {
    let has = |label| metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(label));
    has(LABEL_PROXY_NAME) || has(LABEL_HEADLESS)
}

fn protocol(port: &str, text: Option<&str>) -> Result<Protocol, BadField> {
    match text.unwrap_or_default() {
        "" | "TCP" => Ok(Protocol::Tcp),
        "UDP" => Ok(Protocol::Udp),
        "SCTP" => Ok(Protocol::Sctp),
        other => Err(BadField::new(format_args!("{port}.protocol"), format_args!("{other:?}"), "TCP, UDP, SCTP")),
    }
}

fn port_number(port: &str, number: i32) -> Result<u16, BadField> {
    let valid = u16::try_from(number).ok().filter(|number| *number != 0);
    valid.ok_or_else(|| BadField::new(format_args!("{port}.port"), number, "1 to 65535"))
}

#[cfg(test)]
mod tests;
