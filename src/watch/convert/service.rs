//! Services.
//!
//! A Service that asks for nothing (headless, ExternalName) cannot ask for it in a wrong way. In others, what decides
//! which virtual servers there are (ClusterIPs, port numbers) is understood as a whole or not at all; whatever else is
//! wrong hurts only itself, and the rest is served as if it had not been said. Protection is the exception: a Service
//! whose source ranges cannot be read is not opened to everybody.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;

use super::annotations::{self, Asked};
use super::field::{BadField, address, number, reachable, source_range};
use super::{Convert, is_others, partly, port_number, protocol};
use crate::model::service::{Service, ServicePort, TrafficPolicy};
use crate::model::{Family, Kind, Object, Prefix, ServiceKey};
use crate::watch::Reading;

/// How long a client keeps its endpoint where the Service does not say, in seconds (`spec.sessionAffinityConfig`).
const AFFINITY: u32 = 10_800;
/// The longest that the API server takes (`MaxClientIPServiceAffinitySeconds`).
const LONGEST_AFFINITY: u32 = 86_400;

impl Convert for core::Service {
    const KIND: Kind = Kind::Service;

    fn convert(self) -> Reading {
        if is_others(&self.metadata) {
            return Reading::Ignored;
        }
        let key = ServiceKey::from(self.reference().name);
        let created = self.metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second());
        let uid = self.metadata.uid.as_deref().map(Arc::from);
        let unknown = Service { created, uid, ..Service::default() };
        let nothing = core::ServiceSpec::default();
        let mut reader = Reader { spec: self.spec.as_ref().unwrap_or(&nothing), problems: Vec::new() };
        match reader.read(&self, unknown) {
            Ok(service) => partly(Object::Service(key, service), &reader.problems),
            Err(bad) => Reading::Bad(bad.to_string()),
        }
    }
}

/// Reads a Service, and collects what of it does not count.
struct Reader<'a> {
    spec: &'a core::ServiceSpec,
    problems: Vec<BadField>,
}

impl Reader<'_> {
    /// What `service` asks for besides what is `known` of it.
    fn read(&mut self, service: &core::Service, known: Service) -> Result<Service, BadField> {
        let cluster_ips = cluster_ips(self.spec)?;
        if cluster_ips.is_empty() {
            return Ok(known);
        }
        let ports = self.ports()?;
        let asked = annotations::read(service.metadata.annotations.as_ref(), &mut self.problems);
        let external_ips = self.external_ips();
        let (load_balancer_ips, source_ranges) = self.load_balancer(service.status.as_ref(), &asked);
        let external_policy = self.external_policy(&asked);
        Ok(Service {
            cluster_ips,
            external_ips,
            load_balancer_ips,
            ports,
            internal_policy: self.internal_policy(&asked),
            external_policy,
            affinity: self.affinity(),
            source_ranges,
            health_check_port: self.health_check_port(external_policy),
            wishes: Box::new(asked.wishes),
            ..known
        })
    }

    /// What was read; if it was not, that is noted.
    fn note<T>(&mut self, read: Result<T, BadField>) -> Option<T> {
        read.map_err(|bad| self.problems.push(bad)).ok()
    }

    fn is_load_balancer(&self) -> bool {
        self.spec.type_.as_deref() == Some("LoadBalancer")
    }

    fn has_node_ports(&self) -> bool {
        self.is_load_balancer() || self.spec.type_.as_deref() == Some("NodePort")
    }

    /// `spec.ports`. Names and protocols together tell ports apart when endpoints are looked up, numbers and protocols
    /// when packets are.
    fn ports(&mut self) -> Result<Vec<ServicePort>, BadField> {
        let mut ports: Vec<ServicePort> = Vec::new();
        for (i, port) in self.spec.ports.iter().flatten().enumerate() {
            let field = format!("spec.ports[{i}]");
            let number = port.node_port;
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
            let node_port = self.node_port(&field, number, &port, &ports);
            ports.push(ServicePort { node_port, ..port });
        }
        Ok(ports)
    }

    /// `nodePort` of `port`, which comes after `others`. It means nothing where the type has none; 0 is none.
    fn node_port(
        &mut self,
        field: &str,
        found: Option<i32>,
        port: &ServicePort,
        others: &[ServicePort],
    ) -> Option<u16> {
        let found = found.filter(|number| *number != 0 && self.has_node_ports())?;
        let field = format!("{field}.nodePort");
        let number = self.note(number(&field, found, 1..=u16::MAX))?;
        if others.iter().any(|other| other.protocol == port.protocol && other.node_port == Some(number)) {
            let again = format!("{number} {} again", port.protocol);
            self.problems.push(BadField::new(field, again, "each number once for each protocol"));
            return None;
        }
        Some(number)
    }

    /// `spec.externalIPs`, each once: the API server takes repetitions.
    fn external_ips(&mut self) -> Vec<IpAddr> {
        let texts = self.spec.external_ips.iter().flatten().enumerate();
        let read = texts.map(|(i, text)| reachable(&format!("spec.externalIPs[{i}]"), text));
        self.each_once(read.collect())
    }

    /// The load-balancer IPs, and who may use them. Both mean nothing unless the type is LoadBalancer: the status may
    /// outlive a change of the type for a while, and its addresses be somebody else's by then.
    ///
    /// A source range that is not understood is left out, which keeps its clients away. If no other of its family is
    /// left, nobody would be kept away: then the addresses of that family are not served at all.
    fn load_balancer(&mut self, status: Option<&core::ServiceStatus>, asked: &Asked) -> (Vec<IpAddr>, Vec<Prefix>) {
        if !self.is_load_balancer() {
            return Default::default();
        }
        let mut addresses = self.load_balancer_ips(status);
        let before = self.problems.len();
        let ranges = self.source_ranges();
        if self.problems.len() > before {
            addresses.retain(|address| ranges.iter().any(|range| range.family() == Family::of(*address)));
        }
        if asked.no_load_balancer_ips {
            addresses.clear();
        }
        (addresses, ranges)
    }

    /// `status.loadBalancer.ingress[].ip`, each once, those left out to which a load balancer of another kind listens,
    /// which sends to NodePorts or pods (`ipMode` Proxy). Names are for DNS.
    fn load_balancer_ips(&mut self, status: Option<&core::ServiceStatus>) -> Vec<IpAddr> {
        let ingress = status.and_then(|status| status.load_balancer.as_ref()?.ingress.as_ref());
        let mut read = Vec::new();
        for (i, found) in ingress.into_iter().flatten().enumerate() {
            let field = format!("status.loadBalancer.ingress[{i}]");
            let Some(text) = found.ip.as_deref().filter(|text| !text.is_empty()) else { continue };
            match found.ip_mode.as_deref().unwrap_or_default() {
                "" | "VIP" => read.push(reachable(&format!("{field}.ip"), text)),
                "Proxy" => {}
                other => {
                    let field = format!("{field}.ipMode");
                    read.push(Err(BadField::new(field, format_args!("{other:?}"), "VIP, Proxy")
                        .instead("the address is left out")));
                }
            }
        }
        self.each_once(read)
    }

    /// `spec.loadBalancerSourceRanges`, sorted; those inside another one add nothing.
    fn source_ranges(&mut self) -> Vec<Prefix> {
        let texts = self.spec.load_balancer_source_ranges.iter().flatten().enumerate();
        let read: Vec<_> =
            texts.map(|(i, text)| source_range(&format!("spec.loadBalancerSourceRanges[{i}]"), text)).collect();
        let ranges: BTreeSet<Prefix> = read.into_iter().filter_map(|range| self.note(range)).collect();
        // Whatever covers a prefix comes before it, and nothing that is disjoint from both comes between.
        let mut found: Vec<Prefix> = Vec::new();
        for range in ranges {
            if found.last().is_none_or(|last| !last.covers(range)) {
                found.push(range);
            }
        }
        found
    }

    fn each_once(&mut self, read: Vec<Result<IpAddr, BadField>>) -> Vec<IpAddr> {
        let mut found = Vec::new();
        for address in read.into_iter().filter_map(|address| self.note(address)) {
            if !found.contains(&address) {
                found.push(address);
            }
        }
        found
    }

    /// `spec.internalTrafficPolicy`.
    fn internal_policy(&mut self, asked: &Asked) -> TrafficPolicy {
        if asked.local {
            return TrafficPolicy::Cluster;
        }
        self.policy("spec.internalTrafficPolicy", self.spec.internal_traffic_policy.as_deref())
    }

    /// `spec.externalTrafficPolicy`, where anything can be reached from outside that it could rule.
    fn external_policy(&mut self, asked: &Asked) -> TrafficPolicy {
        let has_external_ips = self.spec.external_ips.as_ref().is_some_and(|addresses| !addresses.is_empty());
        if !has_external_ips && !self.has_node_ports() {
            return TrafficPolicy::Cluster;
        }
        if asked.local {
            return TrafficPolicy::Local;
        }
        self.policy("spec.externalTrafficPolicy", self.spec.external_traffic_policy.as_deref())
    }

    fn policy(&mut self, field: &str, text: Option<&str>) -> TrafficPolicy {
        match text.unwrap_or_default() {
            "" | "Cluster" => TrafficPolicy::Cluster,
            "Local" => TrafficPolicy::Local,
            other => {
                let bad = BadField::new(field, format_args!("{other:?}"), "Cluster, Local");
                self.problems.push(bad.instead("Cluster counts"));
                TrafficPolicy::Cluster
            }
        }
    }

    /// `spec.sessionAffinity` and its timeout in seconds.
    fn affinity(&mut self) -> Option<u32> {
        match self.spec.session_affinity.as_deref().unwrap_or_default() {
            "" | "None" => None,
            "ClientIP" => {
                let config = self.spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
                let Some(found) = config.and_then(|config| config.timeout_seconds) else { return Some(AFFINITY) };
                let field = "spec.sessionAffinityConfig.clientIP.timeoutSeconds";
                let read = number(field, found, 1..=LONGEST_AFFINITY).map_err(|bad| bad.instead("10800 counts"));
                Some(self.note(read).unwrap_or(AFFINITY))
            }
            other => {
                let bad = BadField::new("spec.sessionAffinity", format_args!("{other:?}"), "None, ClientIP");
                self.problems.push(bad.instead("None counts"));
                None
            }
        }
    }

    /// `spec.healthCheckNodePort`, where a load balancer has to know which nodes have endpoints; 0 is none.
    fn health_check_port(&mut self, external: TrafficPolicy) -> Option<u16> {
        let found = self.spec.health_check_node_port.filter(|number| *number != 0)?;
        if !self.is_load_balancer() || external != TrafficPolicy::Local {
            return None;
        }
        self.note(number("spec.healthCheckNodePort", found, 1..=u16::MAX))
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
