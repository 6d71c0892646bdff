//! EndpointSlices.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::discovery::v1 as discovery;

use super::field::{BadField, reachable};
use super::{Convert, is_others, partly, port_number, protocol, reference};
use crate::model::service::{Endpoint, Hints, Slice, SlicePort};
use crate::model::{Family, Kind, Object, ServiceKey};
use crate::watch::Reading;

/// Names the Service that an EndpointSlice belongs to.
const LABEL_SERVICE_NAME: &str = "kubernetes.io/service-name";

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
        let mut shared = Shared::default();
        let mut problems = Vec::new();
        for (i, found) in self.endpoints.iter().enumerate() {
            match address(i, found, family) {
                Ok(address) => slice.endpoints.push(endpoint(address, found, &mut shared)),
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

/// The first of the addresses of `endpoints[index]`; the API defines no meaning for others.
fn address(index: usize, endpoint: &discovery::Endpoint, family: Family) -> Result<IpAddr, BadField> {
    let field = format!("endpoints[{index}].addresses[0]");
    let allowed = || format!("an {family} address, as addressType says");
    let Some(text) = endpoint.addresses.first() else { return Err(BadField::new(field, "missing", allowed())) };
    let address = reachable(&field, text)?;
    if Family::of(address) == family { Ok(address) } else { Err(BadField::new(field, address, allowed())) }
}

/// What is said of the endpoint at `address`, with the defaults that the API gives to absent conditions.
fn endpoint(address: IpAddr, endpoint: &discovery::Endpoint, shared: &mut Shared) -> Endpoint {
    let conditions = endpoint.conditions.as_ref();
    let condition = |of: fn(&discovery::EndpointConditions) -> Option<bool>| conditions.and_then(of);
    Endpoint {
        address,
        ready: condition(|found| found.ready).unwrap_or(true),
        serving: condition(|found| found.serving).unwrap_or(true),
        terminating: condition(|found| found.terminating).unwrap_or(false),
        node: endpoint.node_name.as_deref().and_then(|name| shared.name(name)),
        zone: endpoint.zone.as_deref().and_then(|name| shared.name(name)),
        hints: endpoint.hints.as_ref().and_then(|hints| shared.hints(hints)),
    }
}

/// What many endpoints of a slice have in common, kept once.
#[derive(Default)]
struct Shared {
    names: BTreeSet<Arc<str>>,
    hints: BTreeSet<Arc<Hints>>,
}

impl Shared {
    /// The name of a node or a zone; an empty one is none.
    fn name(&mut self, text: &str) -> Option<Arc<str>> {
        if text.is_empty() {
            return None;
        }
        if let Some(known) = self.names.get(text) {
            return Some(known.clone());
        }
        let name: Arc<str> = Arc::from(text);
        self.names.insert(name.clone());
        Some(name)
    }

    /// `hints`; those that name nobody are none.
    fn hints(&mut self, found: &discovery::EndpointHints) -> Option<Arc<Hints>> {
        let nodes = found.for_nodes.iter().flatten().filter_map(|node| self.name(&node.name)).collect();
        let zones = found.for_zones.iter().flatten().filter_map(|zone| self.name(&zone.name)).collect();
        let hints = Hints { nodes, zones };
        if hints == Hints::default() {
            return None;
        }
        if let Some(known) = self.hints.get(&hints) {
            return Some(known.clone());
        }
        let hints = Arc::new(hints);
        self.hints.insert(hints.clone());
        Some(hints)
    }
}
