//! The Service, and the endpoints behind each of its ports.

use crate::model::ipvs::ServerKey;
use crate::model::service::{Service, ServicePort, TrafficPolicy};
use crate::model::{Family, Kind, ObjectRef, ServiceKey};
use crate::plan::endpoints;
use crate::plan::planner::Planner;
use crate::plan::problem::Problem;

use super::near::{Scope, ports};
use super::{Link, LinkKind, Verdict};

impl Planner {
    pub(super) fn explain_service(&self, name: &ServiceKey, scope: &Scope, links: &mut Vec<Link>) {
        let link = |verdict, found: String| Link::new(LinkKind::Service, name, verdict, found);
        match self.cluster.service(name) {
            Some(service) => {
                let (verdict, found) = match describe(service) {
                    Some(found) => (Verdict::Ok, found),
                    None => (Verdict::NotHere, "has no VIP: it is headless, or an ExternalName".to_owned()),
                };
                links.push(link(verdict, found));
            }
            None => links.push(link(Verdict::NotHere, "is gone; what is left of it drains".to_owned())),
        }
        if let Some(complaint) = self.cluster.complaint(&ObjectRef { kind: Kind::Service, name: name.name() }) {
            let fix = "mend the object; until then what was known of it before stays in force";
            links.push(link(Verdict::Wrong, "cannot be understood".to_owned()).because(complaint).mended_by(fix));
        }
        let concerns = |problem: &Problem| match problem.place() {
            Some(address) => scope.vips.contains_key(&address),
            None => true,
        };
        for problem in self.ledger.problems(name).into_iter().filter(concerns) {
            let reason = problem.to_string();
            links.push(link(Verdict::Wrong, "does not get all".into()).because(reason).mended_by(problem.remedy()));
        }
    }

    /// The endpoints behind the virtual server `key`, by the Service that has it.
    pub(super) fn explain_endpoints(&self, key: &ServerKey) -> Option<Link> {
        let name = self.ledger.owner(key)?;
        let service = self.cluster.service(name)?;
        let port = self.port_of(service, key)?;
        let slices: Vec<_> = self.cluster.slices(name).collect();
        let found = endpoints::of_port(port, Family::of(key.address), &slices);
        let ready = found.values().filter(|endpoint| endpoint.ready).count();
        let ending = found.values().filter(|endpoint| !endpoint.ready && endpoint.serving && endpoint.terminating);
        let ending = ending.count();
        let unready = found.len() - ready - ending;
        let local = found.values().filter(|endpoint| endpoint.ready && self.here.is_local(endpoint)).count();
        let policy = policy(service, key);
        let used = self.ledger.ask(key).map_or(0, |ask| ask.destinations.len());
        let mut text =
            format!("{ready} ready, {local} of them on this node; {ending} terminating, {unready} not ready");
        if policy == TrafficPolicy::Local {
            text += "; policy Local: those on this node are used";
        }
        let label = format!(
            "{}/{}{}",
            port.port,
            port.protocol,
            Some(&*port.name).filter(|n| !n.is_empty()).map(|n| format!(" {n}")).unwrap_or_default()
        );
        let link = |verdict| Link::new(LinkKind::Endpoints, &label, verdict, text.clone());
        if used > 0 {
            return Some(link(Verdict::Ok));
        }
        if policy == TrafficPolicy::Local && ready + ending > 0 {
            return Some(link(Verdict::NotHere).because("none of its endpoints is on this node"));
        }
        let (namespace, short) = name.as_str().split_once('/').unwrap_or_default();
        let of_family = || slices.iter().filter(|slice| slice.family == Family::of(key.address));
        let reason = if slices.is_empty() {
            "it has no EndpointSlice: its selector matches no pod, or it has none".to_owned()
        } else if of_family().next().is_none() {
            format!("none of its EndpointSlices is for {}", Family::of(key.address))
        } else if found.is_empty() && of_family().any(|slice| !slice.endpoints.is_empty()) {
            let ports = of_family().flat_map(|slice| &slice.ports);
            let mut names: Vec<String> = ports.map(|port| format!("{:?} {}", &*port.name, port.protocol)).collect();
            names.sort();
            names.dedup();
            format!("no EndpointSlice has the port {:?} {}; they have {}", &*port.name, port.protocol, names.join(", "))
        } else if found.is_empty() {
            "its EndpointSlices list no endpoint".to_owned()
        } else {
            "none of its endpoints is ready, and none that terminates still serves".to_owned()
        };
        let fix = format!("kubectl -n {namespace} get pods,endpointslices -l kubernetes.io/service-name={short}");
        let fix = if found.is_empty() {
            format!("{fix}, and compare the Service's selector and port names")
        } else {
            format!(
                "look why its pods are not ready: kubectl -n {namespace} describe endpointslices -l kubernetes.io/service-name={short}"
            )
        };
        Some(link(Verdict::Wrong).because(reason).mended_by(fix))
    }

    /// The port of `service` that the virtual server `key` is for.
    fn port_of<'a>(&self, service: &'a Service, key: &ServerKey) -> Option<&'a ServicePort> {
        let is_node = self.here.node_port_addresses.contains(&key.address);
        let number = |port: &ServicePort| if is_node { port.node_port } else { Some(port.port) };
        service.ports.iter().find(|port| port.protocol == key.protocol && number(port) == Some(key.port))
    }
}

/// The policy that rules the virtual server `key` of `service`.
fn policy(service: &Service, key: &ServerKey) -> TrafficPolicy {
    if service.cluster_ips.contains(&key.address) { service.internal_policy } else { service.external_policy }
}

/// Its VIPs and ports in words; none without VIPs.
fn describe(service: &Service) -> Option<String> {
    let uses = [
        ("ClusterIP", &service.cluster_ips),
        ("external IP", &service.external_ips),
        ("load-balancer IP", &service.load_balancer_ips),
    ];
    let vips: Vec<String> =
        uses.iter().flat_map(|(usage, vips)| vips.iter().map(move |vip| format!("{usage} {vip}"))).collect();
    (!vips.is_empty()).then(|| format!("{}; ports {}", vips.join(", "), ports(service)))
}
