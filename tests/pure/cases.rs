//! kube-proxy's own unit cases, with the same objects and what this project makes of them: `case_01` to `case_38`, in the
//! order in which its ipvs mode tests them (`pkg/proxy/ipvs/proxier_test.go`, `graceful_termination_test.go`,
//! `endpointslicecache_test.go` and `topology_test.go`). Objects come in as Kubernetes YAML, through the same conversion as
//! from the API server; what the node then holds comes out in words. Where ours differs, the comment of the test says why.
//!
//! Three differences run through all of them. kube-proxy runs once for each family, this agent serves both. A port without
//! usable endpoints has no virtual server, since IPVS itself would answer slowly: the guard refuses at once. And VIPs
//! outside the ranges of ClusterIPs count only where the operator allows them, and have a local route and a BGP route of
//! their own while they have a virtual server.

mod affinity;
mod ending;
mod external;
mod kernel;
mod nodeport;
mod policy;
mod ports;
mod slices;

use std::collections::BTreeSet;

use serde_json::Value;
use vipcast::model::ipvs::{ServerFlags, ServerKey, ServerSettings, VirtualServer};
use vipcast::model::node::Host;
use vipcast::model::settings::{Announce, NodePorts, Range, Use};
use vipcast::model::{Cluster, Event, Kind, Prefix, Settings};
use vipcast::plan::ModelNode;
use vipcast::plan::claims::{View, claim};
use vipcast::plan::ranges::Ranges;
use vipcast::plan::surroundings::Surroundings;
use vipcast::watch::convert::{from_value, reference};

use crate::support::build::{gone, ip, listed, prefix, range, settings};
use crate::support::rig::Rig;

/// The addresses of the node `lb1`.
pub(crate) const NODE_IPS: [&str; 2] = ["100.101.102.103", "2001:db8::1:1"];

/// Settings of the node `lb1`: ranges of ClusterIPs, of external and of load-balancer IPs of both families, and NodePorts
/// on all of its addresses.
pub(crate) fn site() -> Settings {
    let whole = |text| range(text, Announce::Aggregate);
    let allowed = |text, usage| Range::new(prefix(text), usage, Announce::Host);
    let mut settings = settings(&[whole("10.20.0.0/16"), whole("172.16.0.0/16"), whole("fd00:172:16::/112")]);
    settings.allowed = vec![
        allowed("50.60.70.0/24", Use::ExternalIp),
        allowed("2012::/64", Use::ExternalIp),
        allowed("1.2.3.0/24", Use::LoadBalancerIp),
        allowed("2001:db8:1::/64", Use::LoadBalancerIp),
    ];
    let addresses = vec![prefix("100.101.102.0/24"), prefix("2001:db8::/64")];
    settings.dataplane.node_ports = Some(NodePorts { addresses, ports: (3000, 32767) });
    settings.node_ips = NODE_IPS.map(ip).into();
    settings
}

/// The Service `shop/NAME` with this spec, as YAML.
pub(crate) fn service(name: &str, spec: &str) -> String {
    ingress(name, spec, "")
}

/// The same with these `status.loadBalancer.ingress`.
pub(crate) fn ingress(name: &str, spec: &str, ingress: &str) -> String {
    let metadata = format!("{{namespace: shop, name: {name}, uid: {name}}}");
    let status = format!("{{loadBalancer: {{ingress: [{ingress}]}}}}");
    format!("{{apiVersion: v1, kind: Service, metadata: {metadata}, spec: {{{spec}}}, status: {status}}}")
}

/// The EndpointSlice `shop/NAME` of the Service `shop/SERVICE` as YAML, of the family of its `endpoints`.
pub(crate) fn slice(name: &str, service: &str, ports: &str, endpoints: &[&str]) -> String {
    let metadata = format!("{{namespace: shop, name: {name}, labels: {{kubernetes.io/service-name: {service}}}}}");
    let family = if endpoints.iter().any(|endpoint| endpoint.contains("::")) { "IPv6" } else { "IPv4" };
    let endpoints: Vec<String> = endpoints.iter().map(|endpoint| format!("{{{endpoint}}}")).collect();
    format!(
        "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {metadata}, addressType: {family}, \
         ports: [{ports}], endpoints: [{}]}}",
        endpoints.join(", ")
    )
}

/// The Node `name` in this zone with these addresses, as YAML.
pub(crate) fn node(name: &str, zone: &str, addresses: &[&str]) -> String {
    let address = |address: &&str| format!("{{type: InternalIP, address: '{address}'}}");
    let addresses: Vec<String> = addresses.iter().map(address).collect();
    let metadata = format!("{{name: {name}, labels: {{topology.kubernetes.io/zone: {zone}}}}}");
    format!("{{apiVersion: v1, kind: Node, metadata: {metadata}, status: {{addresses: [{}]}}}}", addresses.join(", "))
}

/// What the node `lb1` is told of an object.
pub(crate) fn told(yaml: &str) -> Vec<Event> {
    let value: Value = serde_saphyr::from_str(yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"));
    let kinds = |kind: &Kind| value["kind"] == kind.name();
    let kind = Kind::ALL.into_iter().find(kinds).unwrap_or_else(|| panic!("no kind in {yaml}"));
    let text = |field: &str| value["metadata"][field].as_str().unwrap_or_default().to_owned();
    let object = reference(kind, Some(&text("namespace")), &text("name"));
    from_value(kind, value.clone()).seen_from("lb1", &object).events(&object)
}

/// The node `lb1` and what it is told.
pub(crate) struct Site {
    pub(crate) rig: Rig,
    settings: Settings,
    cluster: Cluster,
}

impl Site {
    /// It begins with nothing but `objects` in the cluster.
    pub(crate) fn new(objects: &[String]) -> Site {
        Site::with(site(), objects)
    }

    /// The same with other settings. The node has the addresses that `settings` name.
    pub(crate) fn with(settings: Settings, objects: &[String]) -> Site {
        let default_addresses = settings.node_ips.clone();
        let addresses = default_addresses.iter().copied().collect();
        let host = Host { addresses, default_addresses, ..Host::default() };
        Site::on(settings, ModelNode { host, ..ModelNode::default() }, objects)
    }

    /// An agent begins on this `node`.
    pub(crate) fn on(settings: Settings, node: ModelNode, objects: &[String]) -> Site {
        let cluster = Cluster::seen_from(&settings.node);
        let mut site = Site { rig: Rig::on(settings.clone(), node), settings, cluster };
        let events = objects.iter().flat_map(|yaml| told(yaml));
        site.tell(listed(events));
        site
    }

    /// The agent is killed, and the next one begins on the same node.
    pub(crate) fn restarted(&self, objects: &[String]) -> Site {
        Site::on(self.settings.clone(), self.rig.node.clone(), objects)
    }

    fn tell(&mut self, events: Vec<Event>) -> &mut Site {
        for event in events {
            self.cluster.apply(event.clone());
            self.rig.tell(event);
        }
        self
    }

    /// The objects are there in this form now.
    pub(crate) fn put(&mut self, objects: &[String]) -> &mut Site {
        self.tell(objects.iter().flat_map(|yaml| told(yaml)).collect())
    }

    /// An object `shop/NAME` is gone.
    pub(crate) fn delete(&mut self, kind: Kind, name: &str) -> &mut Site {
        self.tell(vec![gone(kind, &format!("shop/{name}"))])
    }

    /// The writing steps until nothing is left to do, in words.
    pub(crate) fn steps(&mut self) -> Vec<String> {
        self.rig.steps()
    }

    /// All that the node holds for Services, and what is wrong with objects, in words: virtual servers, with their
    /// settings where they differ from `rr` alone, their destinations with weights that are not 1, and what the packet
    /// filter does for them; then the VIPs that have a route of their own, also inside an aggregate; health check ports; problems.
    pub(crate) fn outcome(&mut self) -> Vec<String> {
        self.rig.run();
        let state = &self.rig.node.state;
        for (key, server) in self.rig.planner.desired_servers() {
            assert_eq!(state.ipvs.get(&key), Some(&server), "{key}");
        }
        let mut lines = self.servers();
        let elements = state.nft.table.clone().unwrap_or_default().elements;
        let named = [&elements.keep, &elements.masquerade, &elements.draining].into_iter().flatten();
        let useless = named.chain(elements.sources.keys()).find(|key| !state.ipvs.contains_key(key));
        assert_eq!(useless, None, "an element without a virtual server");
        lines.extend(self.routes());
        lines.extend(self.health());
        let status = self.rig.planner.status();
        let problems = status.source.bad_objects.into_iter().chain(status.services.problems);
        lines.extend(problems.map(|problem| format!("{}: {}", problem.subject, problem.problem)));
        lines
    }

    /// The virtual servers that the node holds, wanted or not, in words.
    pub(crate) fn servers(&self) -> Vec<String> {
        self.rig.node.state.ipvs.iter().map(|(key, server)| self.line(key, server)).collect()
    }

    fn line(&self, key: &ServerKey, server: &VirtualServer) -> String {
        let destination = |(name, value): (&_, &vipcast::model::ipvs::Destination)| match value.weight {
            1 => format!(" {name}"),
            weight => format!(" {name}*{weight}"),
        };
        let destinations: String = server.destinations.iter().map(destination).collect();
        let elements = self.rig.node.state.nft.table.clone().unwrap_or_default().elements;
        let mut notes = String::new();
        let sets = [
            (&elements.masquerade, "; masquerade"),
            (&elements.keep, "; keep"),
            (&elements.draining, "; refuses new connections"),
        ];
        for (_, note) in sets.into_iter().filter(|(set, _)| set.contains(key)) {
            notes += note;
        }
        if let Some(sources) = elements.sources.get(key) {
            let sources: Vec<String> = sources.iter().map(Prefix::to_string).collect();
            notes += &format!("; only from {}", sources.join(" "));
        }
        format!("{key}{} ->{destinations}{notes}", in_words(&server.settings))
    }

    /// The VIPs with routes of their own: the same in the kernel and in BGP, and ranges as a whole beside them. Those inside
    /// such a range need a route in BGP only.
    fn routes(&self) -> Vec<String> {
        let state = &self.rig.node.state;
        let local: BTreeSet<Prefix> = state.addr.routes.keys().copied().collect();
        let paths = state.bgp.as_ref().unwrap().paths.keys().copied();
        let covered = |path: &Prefix| local.iter().any(|range| range != path && range.covers(*path));
        let (specifics, announced): (BTreeSet<Prefix>, BTreeSet<Prefix>) = paths.partition(covered);
        assert_eq!(local, announced, "local and announced");
        let (hosts, ranges): (BTreeSet<Prefix>, BTreeSet<Prefix>) = local.iter().partition(|prefix| prefix.is_host());
        let wanted = self.settings.cluster_ips.iter().flatten().map(|range| range.prefix);
        assert_eq!(ranges, wanted.collect());
        let line = |name: &str, prefixes: BTreeSet<Prefix>| {
            let vips: Vec<String> = prefixes.iter().map(|prefix| prefix.address().to_string()).collect();
            (!vips.is_empty()).then(|| format!("{name}: {}", vips.join(" ")))
        };
        [line("routes", hosts), line("specifics", specifics)].into_iter().flatten().collect()
    }

    /// What the health check ports tell, which follows from the claims.
    fn health(&self) -> Vec<String> {
        let Settings { node_ips, .. } = &self.settings;
        let here = Surroundings::of(&self.settings, &self.cluster, &self.rig.node.host, node_ips);
        let (own, nothing) = (&here.addresses, Default::default());
        let ranges = Ranges::in_force(&self.settings, &self.cluster, node_ips, own, &nothing, false);
        let view = View { settings: &self.settings, ranges: &ranges, here: &here, cluster: &self.cluster };
        let claims = self.cluster.services().filter_map(|(key, service)| {
            let (port, count) = claim(service, &self.cluster.slices(key).collect::<Vec<_>>(), view).health?;
            Some(format!("health check port {port} of {key}: {count} ready here"))
        });
        claims.collect()
    }

    /// Is a connection to `address` that no virtual server takes refused at once?
    pub(crate) fn is_guarded(&self, address: &str) -> bool {
        let table = self.rig.node.state.nft.table.clone().unwrap_or_default();
        table.guard.iter().any(|prefix| prefix.contains(ip(address)))
    }
}

/// The settings of a virtual server, where they say anything special.
fn in_words(settings: &ServerSettings) -> String {
    if *settings == ServerSettings::default() {
        return String::new();
    }
    let flags = [
        (ServerFlags::MH_FALLBACK, " fallback"),
        (ServerFlags::MH_PORT, " port"),
        (ServerFlags::PERSISTENT, " persistent"),
    ];
    let set: String = flags.iter().filter(|(bit, _)| settings.flags.0 & bit != 0).map(|(_, name)| *name).collect();
    let timeout = if settings.timeout == 0 { String::new() } else { format!(" {} s", settings.timeout) };
    format!(" [{}{set}{timeout}]", settings.scheduler)
}
