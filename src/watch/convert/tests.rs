use std::net::IpAddr;

use super::*;
use crate::model::node::{DrainAsked, Node};
use crate::model::service::{Endpoint, Service, ServicePort, Slice, SlicePort};
use crate::model::{Family, Prefix};

mod annotations;
mod fields;
mod service;
mod slice;

/// The reading of a manifest of `kind`.
fn read(kind: Kind, yaml: &str) -> Reading {
    from_value(kind, serde_saphyr::from_str(yaml).unwrap())
}

/// The Service `demo/web` with this spec.
fn service(spec: &str) -> Reading {
    read(
        Kind::Service,
        &format!("{{apiVersion: v1, kind: Service, metadata: {{namespace: demo, name: web}}, spec: {spec}}}"),
    )
}

/// The EndpointSlice `demo/web-1` of the Service `demo/web` with these fields.
fn slice(fields: &str) -> Reading {
    let labels = "labels: {kubernetes.io/service-name: web}";
    read(Kind::EndpointSlice, &format!("{{metadata: {{namespace: demo, name: web-1, {labels}}}, {fields}}}"))
}

/// What a Service asks for, in short: addresses and ports, or the problem.
fn summary(reading: &Reading) -> String {
    match reading {
        Reading::Good(Object::Service(_, service)) => {
            let ports = service.ports.iter().map(|port| format!("{}:{} {}", port.name, port.port, port.protocol));
            format!("{:?} {}", service.cluster_ips, ports.collect::<Vec<_>>().join(", "))
        }
        Reading::Good(object) => format!("{object:?}"),
        Reading::Partly(_, problem) | Reading::Bad(problem) => problem.clone(),
        Reading::Ignored => "ignored".to_owned(),
    }
}

#[test]
fn a_service_as_kubectl_prints_it() {
    let reading = read(
        Kind::Service,
        "
apiVersion: v1
kind: Service
metadata:
  annotations:
    example.org/owner: web
  creationTimestamp: 2026-01-01T00:00:01Z
  labels: {app: web}
  name: web
  namespace: demo
  resourceVersion: '1234'
  uid: 6f0e0f5e-0000-4000-8000-000000000001
spec:
  clusterIP: 10.96.0.10
  clusterIPs: [10.96.0.10, 'fd00:10:96::a']
  externalIPs: [192.0.2.7, 192.0.2.7]
  internalTrafficPolicy: Cluster
  ipFamilies: [IPv4, IPv6]
  ipFamilyPolicy: RequireDualStack
  ports:
  - {name: http, port: 80, protocol: TCP, targetPort: web}
  - {name: dns, port: 53, protocol: UDP, targetPort: 5353}
  - {name: dns-tcp, port: 53}
  - {name: sctp, port: 65535, protocol: SCTP}
  selector: {app: web}
  sessionAffinity: None
  type: ClusterIP
status:
  loadBalancer: {}
",
    );
    let port = |name: &str, protocol, port| ServicePort { name: Arc::from(name), protocol, port, node_port: None };
    let expected = Service {
        created: 1_767_225_601,
        uid: Some(Arc::from("6f0e0f5e-0000-4000-8000-000000000001")),
        cluster_ips: vec!["10.96.0.10".parse().unwrap(), "fd00:10:96::a".parse().unwrap()],
        external_ips: vec!["192.0.2.7".parse().unwrap()],
        ports: vec![
            port("http", Protocol::Tcp, 80),
            port("dns", Protocol::Udp, 53),
            port("dns-tcp", Protocol::Tcp, 53),
            port("sctp", Protocol::Sctp, 65535),
        ],
        ..Service::default()
    };
    assert_eq!(reading, Reading::Good(Object::Service(ServiceKey::new("demo", "web"), expected)));
}

#[test]
fn an_external_ip_that_is_not_understood_takes_nothing_from_the_service() {
    let spec = "{clusterIPs: [10.96.0.1], externalIPs: [192.0.2.7, 192.0.02.8], ports: [{port: 80}]}";
    let Reading::Partly(Object::Service(_, web), problem) = service(spec) else { panic!("not in part") };
    assert_eq!(web.external_ips, ["192.0.2.7".parse::<IpAddr>().unwrap()]);
    assert_eq!((web.cluster_ips.len(), web.ports.len()), (1, 1));
    assert!(problem.starts_with("spec.externalIPs[1] is \"192.0.02.8\""), "{problem}");
    let nothing = service(&spec.replace("clusterIPs: [10.96.0.1]", "clusterIP: None"));
    assert!(matches!(nothing, Reading::Good(_)), "who asks for nothing cannot ask in a wrong way: {nothing:?}");
}

#[test]
fn cluster_ips_of_a_service() {
    let zeros = "spec.clusterIPs[0] is \"010.096.0.0\"; allowed: IPv4 numbers without leading zeros, 10.96.0.0 if they \
                 are meant as decimal";
    let mapped = "spec.clusterIP is \"::ffff:10.96.0.1\"; allowed: an IPv6 address, or the IPv4 address 10.96.0.1 in \
                  its own form";
    let cases = [
        ("{clusterIPs: [10.96.0.1]}", "[10.96.0.1] "),
        ("{clusterIP: 10.96.0.1}", "[10.96.0.1] "),
        ("{clusterIP: 10.96.0.1, clusterIPs: []}", "[10.96.0.1] "),
        ("{clusterIPs: ['fd00::1', 10.96.0.1]}", "[fd00::1, 10.96.0.1] "),
        ("{clusterIPs: ['FD00:0::1']}", "[fd00::1] "),
        ("{clusterIPs: ['']}", "[] "),
        ("{clusterIPs: [None]}", "[] "),
        ("{clusterIP: None}", "[] "),
        ("{clusterIP: ''}", "[] "),
        ("{}", "[] "),
        ("~", "[] "),
        ("{type: ExternalName, externalName: example.org, clusterIP: 10.96.0.1}", "[] "),
        ("{type: LoadBalancer, clusterIP: 10.96.0.1}", "[10.96.0.1] "),
        ("{type: ExternalName, ports: [{port: 0}]}", "[] "),
        (
            "{clusterIPs: [10.96.0.1, 10.96.0.2]}",
            "spec.clusterIPs is 10.96.0.1, 10.96.0.2; allowed: at most one address of each family",
        ),
        (
            "{clusterIPs: ['fd00::1', 10.96.0.1, 'fd00::2']}",
            "spec.clusterIPs is fd00::1, fd00::2; allowed: at most one address of each family",
        ),
        ("{clusterIPs: [10.96.0.1, none]}", "spec.clusterIPs[1] is \"none\"; allowed: an IPv4 or IPv6 address"),
        ("{clusterIP: 10.96.0.256}", "spec.clusterIP is \"10.96.0.256\"; allowed: an IPv4 or IPv6 address"),
        ("{clusterIP: 10.96.0}", "spec.clusterIP is \"10.96.0\"; allowed: an IPv4 or IPv6 address"),
        ("{clusterIP: 10.96..1}", "spec.clusterIP is \"10.96..1\"; allowed: an IPv4 or IPv6 address"),
        ("{clusterIPs: [010.096.0.0]}", zeros),
        ("{clusterIP: '::ffff:10.96.0.1'}", mapped),
        ("{clusterIPs: 10.96.0.1}", "spec.clusterIPs: invalid type: string \"10.96.0.1\", expected a sequence"),
    ];
    for (spec, expected) in cases {
        assert_eq!(summary(&service(spec)), expected, "{spec}");
    }
}

#[test]
fn ports_of_a_service() {
    let cases = [
        ("[]", ""),
        ("~", ""),
        ("[{port: 80}]", ":80 TCP"),
        ("[{port: 80, protocol: ''}]", ":80 TCP"),
        ("[{port: 53, protocol: UDP}, {port: 53}]", ":53 UDP, :53 TCP"),
        ("[{port: 0}]", "spec.ports[0].port is 0; allowed: 1 to 65535"),
        ("[{port: 80}, {name: x}]", "spec.ports[1].port is 0; allowed: 1 to 65535"),
        ("[{port: 65536}]", "spec.ports[0].port is 65536; allowed: 1 to 65535"),
        ("[{port: -1}]", "spec.ports[0].port is -1; allowed: 1 to 65535"),
        ("[{port: '80'}]", "spec.ports[0].port: invalid type: string \"80\", expected i32"),
        ("[{port: 80, protocol: tcp}]", "spec.ports[0].protocol is \"tcp\"; allowed: TCP, UDP, SCTP"),
        (
            "[{name: a, port: 80}, {name: b, port: 80}]",
            "spec.ports[1] is 80 TCP again; allowed: each number once for each protocol",
        ),
        (
            "[{name: a, port: 80}, {name: a, port: 81}]",
            "spec.ports[1] is \"a\" TCP again; allowed: each name once for each protocol",
        ),
    ];
    for (ports, expected) in cases {
        let found = summary(&service(&format!("{{clusterIP: 10.96.0.1, ports: {ports}}}")));
        assert_eq!(found.strip_prefix("[10.96.0.1] ").unwrap_or(&found), expected, "{ports}");
    }
}

#[test]
fn objects_of_another_proxy_and_headless_ones_are_ignored() {
    for label in ["service-proxy-name: cilium", "service-proxy-name: ''", "headless: ''", "headless: 'false'"] {
        let metadata = |more: &str| format!("metadata: {{name: web, labels: {{service.kubernetes.io/{label}{more}}}}}");
        let spec = "spec: {clusterIP: wrong}";
        assert_eq!(read(Kind::Service, &format!("{{{}, {spec}}}", metadata(""))), Reading::Ignored, "{label}");
        let labels = metadata(", kubernetes.io/service-name: web");
        assert_eq!(read(Kind::EndpointSlice, &format!("{{{labels}, addressType: IPv4}}")), Reading::Ignored, "{label}");
    }
}

#[test]
fn a_slice_as_kubectl_prints_it() {
    let reading = read(
        Kind::EndpointSlice,
        "
addressType: IPv4
apiVersion: discovery.k8s.io/v1
endpoints:
- addresses: [10.1.0.1]
  conditions: {ready: true, serving: true, terminating: false}
  nodeName: worker-1
  targetRef: {kind: Pod, name: web-1, namespace: demo}
  zone: a
- addresses: [10.1.0.2, 10.1.0.3]
  conditions: {ready: false, serving: true, terminating: true}
- addresses: [10.1.0.4]
- addresses: [10.1.0.5]
  conditions: {}
kind: EndpointSlice
metadata:
  generateName: web-
  labels:
    endpointslice.kubernetes.io/managed-by: endpointslice-controller.k8s.io
    kubernetes.io/service-name: web
  name: web-abcde
  namespace: demo
ports:
- {name: http, port: 8080, protocol: TCP}
- {port: 8081}
- {name: all}
- {name: zero, port: 0}
- {name: dns, port: 53, protocol: UDP, appProtocol: dns}
",
    );
    let port = |name: &str, protocol, port| SlicePort { name: Arc::from(name), protocol, port };
    let endpoint = |last: u8| Endpoint::new(IpAddr::V4([10, 1, 0, last].into()), true);
    let name = |text: &str| Some(Arc::from(text));
    let expected = Slice {
        service: ServiceKey::new("demo", "web"),
        family: Family::Ipv4,
        ports: vec![port("http", Protocol::Tcp, 8080), port("", Protocol::Tcp, 8081), port("dns", Protocol::Udp, 53)],
        endpoints: vec![
            Endpoint { node: name("worker-1"), zone: name("a"), ..endpoint(1) },
            Endpoint { ready: false, terminating: true, ..endpoint(2) },
            endpoint(4),
            endpoint(5),
        ],
    };
    assert_eq!(reading, Reading::Good(Object::Slice(Arc::from("demo/web-abcde"), expected)));
}

#[test]
fn slices_that_are_not_for_us_and_bad_ones() {
    let cases = [
        ("addressType: FQDN, endpoints: [{addresses: [example.org]}]", "ignored"),
        ("addressType: ipv4", "addressType is \"ipv4\"; allowed: IPv4, IPv6, FQDN"),
        ("ports: []", "addressType is \"\"; allowed: IPv4, IPv6, FQDN"),
        ("addressType: IPv4, ports: [{port: 65536}]", "ports[0].port is 65536; allowed: 1 to 65535"),
        ("addressType: IPv4, ports: [{port: -1}]", "ports[0].port is -1; allowed: 1 to 65535"),
        (
            "addressType: IPv4, ports: [{}, {port: 1, protocol: ICMP}]",
            "ports[1].protocol is \"ICMP\"; allowed: TCP, UDP, SCTP",
        ),
        (
            "addressType: IPv4, endpoints: [{addresses: 10.1.0.1}]",
            "endpoints[0].addresses: invalid type: string \"10.1.0.1\", expected a sequence",
        ),
    ];
    for (fields, expected) in cases {
        assert_eq!(summary(&slice(fields)), expected, "{fields}");
    }
    for metadata in ["name: x", "name: x, labels: {app: web}", "name: x, labels: {kubernetes.io/service-name: ''}"] {
        let yaml = format!("{{metadata: {{{metadata}}}, addressType: wrong}}");
        assert_eq!(read(Kind::EndpointSlice, &yaml), Reading::Ignored, "{metadata}");
    }
}

#[test]
fn a_bad_endpoint_hurts_only_itself() {
    let no_family = |family: &str| format!("allowed: an {family} address, as addressType says; left out");
    let special = "allowed: no unspecified, loopback, link-local or multicast address; left out";
    let cases = [
        ("IPv4", "[10.1.0.1]", Ok(())),
        ("IPv6", "['fd00::1']", Ok(())),
        ("IPv4", "['fd00::1']", Err(format!("fd00::1; {}", no_family("IPv4")))),
        ("IPv6", "[10.1.0.1]", Err(format!("10.1.0.1; {}", no_family("IPv6")))),
        ("IPv4", "[]", Err(format!("missing; {}", no_family("IPv4")))),
        ("IPv4", "[example.org]", Err("\"example.org\"; allowed: an IPv4 or IPv6 address; left out".to_owned())),
        ("IPv4", "[0.0.0.0]", Err(format!("0.0.0.0; {special}"))),
        ("IPv4", "[127.0.0.1]", Err(format!("127.0.0.1; {special}"))),
        ("IPv4", "[169.254.169.254]", Err(format!("169.254.169.254; {special}"))),
        ("IPv4", "[224.0.0.1]", Err(format!("224.0.0.1; {special}"))),
        ("IPv6", "['::']", Err(format!("::; {special}"))),
        ("IPv6", "['::1']", Err(format!("::1; {special}"))),
        ("IPv6", "['fe80::1']", Err(format!("fe80::1; {special}"))),
    ];
    for (family, addresses, expected) in cases {
        let good = if family == "IPv4" { "10.1.0.9" } else { "'fd00::9'" };
        let endpoints = format!("[{{addresses: [{good}]}}, {{addresses: {addresses}}}]");
        let (object, problem) = match slice(&format!("addressType: {family}, endpoints: {endpoints}")) {
            Reading::Good(object) => (object, Ok(())),
            Reading::Partly(object, problem) => (object, Err(problem)),
            other => panic!("{addresses}: {other:?}"),
        };
        let Object::Slice(_, slice) = object else { panic!("{addresses}: not a slice") };
        assert_eq!(slice.endpoints.len(), if problem.is_ok() { 2 } else { 1 }, "{addresses}");
        let expected = expected.map_err(|problem| format!("endpoints[1].addresses[0] is {problem}"));
        assert_eq!(problem, expected, "{family} {addresses}");
    }
    let many = slice("addressType: IPv4, endpoints: [{addresses: []}, {addresses: [x]}, {addresses: [10.1.0.1]}]");
    assert!(summary(&many).ends_with("; left out (and 1 more)"), "{}", summary(&many));
}

#[test]
fn nodes() {
    let node = |fields: &str| read(Kind::Node, &format!("{{metadata: {{name: lb1}}, {fields}}}"));
    let ips = |texts: &[&str]| -> Vec<IpAddr> { texts.iter().map(|text| text.parse().unwrap()).collect() };
    let prefixes = |texts: &[&str]| -> Vec<Prefix> { texts.iter().map(|text| text.parse().unwrap()).collect() };
    let good = |external: &[&str], addresses: &[&str], pod_cidrs: &[&str]| {
        let (addresses, external_addresses, pod_cidrs) = (ips(addresses), ips(external), prefixes(pod_cidrs));
        Reading::Good(Object::Node(Node { addresses, external_addresses, pod_cidrs, ..Node::default() }))
    };
    let addresses = "status: {addresses: [
        {type: Hostname, address: lb1},
        {type: InternalIP, address: 10.0.1.2}, {type: ExternalIP, address: 192.0.2.1},
        {type: InternalIP, address: 'fd01::2'}]}";
    assert_eq!(node(addresses), good(&["192.0.2.1"], &["10.0.1.2", "fd01::2"], &[]));
    assert_eq!(node("spec: {}"), good(&[], &[], &[]));
    assert_eq!(node("spec: {podCIDR: 10.244.1.0/24}"), good(&[], &[], &["10.244.1.0/24"]));
    assert_eq!(
        node("spec: {podCIDR: 10.244.1.0/24, podCIDRs: [10.244.1.0/24, 'fd02:0:0:1::/64']}"),
        good(&[], &[], &["10.244.1.0/24", "fd02:0:0:1::/64"])
    );
    let cases = [
        (
            "spec: {podCIDRs: [10.244.1.1/24]}",
            "spec.podCIDRs[0] is \"10.244.1.1/24\"; allowed: a prefix without host bits, here 10.244.1.0/24",
        ),
        (
            "status: {addresses: [{type: Hostname, address: lb1}, {type: InternalIP, address: lb1}]}",
            "status.addresses[1].address is \"lb1\"; allowed: an IPv4 or IPv6 address",
        ),
    ];
    for (fields, expected) in cases {
        assert_eq!(summary(&node(fields)), expected);
        assert!(matches!(node(fields), Reading::Bad(_)), "what was known of it stays: {fields}");
    }
    let external = "status: {addresses: [
        {type: InternalIP, address: 10.0.1.2}, {type: ExternalIP, address: x}, {type: ExternalIP, address: 192.0.2.1}]}";
    let Reading::Partly(Object::Node(found), problem) = node(external) else { panic!("not in part") };
    assert_eq!((found.addresses, found.external_addresses), (ips(&["10.0.1.2"]), ips(&["192.0.2.1"])));
    assert_eq!(problem, "status.addresses[1].address is \"x\"; allowed: an IPv4 or IPv6 address; left out");
}

#[test]
fn labels_of_nodes() {
    let node = |metadata: &str| read(Kind::Node, &format!("metadata: {{name: lb1, {metadata}}}"));
    let labels = |labels: &[(&str, &str)]| {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Reading::Good(Object::Node(Node { labels, ..Node::default() }))
    };
    assert_eq!(node("labels: {role: lb, rack: ''}"), labels(&[("role", "lb"), ("rack", "")]));
    assert_eq!(node("annotations: {role: lb}"), labels(&[]));
}

#[test]
fn a_node_that_shuts_down() {
    let message = "[container runtime is down, node is shutting down]";
    let cases = [
        ("Ready", "False", "node is shutting down", true),
        ("Ready", "False", message, true),
        ("Ready", "False", "container runtime network not ready", false),
        ("Ready", "True", "node is shutting down", false),
        ("Ready", "Unknown", "node is shutting down", false),
        ("DiskPressure", "False", "node is shutting down", false),
    ];
    for (kind, status, message, expected) in cases {
        let condition = format!("{{type: {kind}, status: '{status}', reason: KubeletNotReady, message: '{message}'}}");
        let node = read(Kind::Node, &format!("{{metadata: {{name: lb1}}, status: {{conditions: [{condition}]}}}}"));
        let expected = Reading::Good(Object::Node(Node { shutting_down: expected, ..Node::default() }));
        assert_eq!(node, expected, "{kind} {status} {message}");
    }
    // Neither a heartbeat nor a kubelet that is silent changes anything.
    let silent = "{metadata: {name: lb1}, status: {conditions: [{type: Ready, status: 'True',
        lastHeartbeatTime: '2026-01-01T00:00:00Z', lastTransitionTime: '2026-01-01T00:00:00Z'}]}}";
    assert_eq!(read(Kind::Node, silent), Reading::Good(Object::Node(Node::default())));
}

#[test]
fn service_cidrs() {
    let read = |spec: &str| read(Kind::ServiceCidr, &format!("{{metadata: {{name: kubernetes}}, spec: {spec}}}"));
    let good = |cidrs: &[&str]| {
        let cidrs = cidrs.iter().map(|text| text.parse().unwrap()).collect();
        Reading::Good(Object::ServiceCidr(Arc::from("kubernetes"), cidrs))
    };
    assert_eq!(read("{cidrs: [10.96.0.0/16, 'fd00:10:96::/112']}"), good(&["10.96.0.0/16", "fd00:10:96::/112"]));
    assert_eq!(read("{}"), good(&[]));
    assert_eq!(
        summary(&read("{cidrs: [10.96.0.0]}")),
        "spec.cidrs[0] is \"10.96.0.0\"; allowed: a prefix such as 10.96.0.0/16 or fd00:10:96::/112"
    );
}

#[test]
fn references() {
    let cases = [
        (Kind::Service, Some("demo"), "demo/x"),
        (Kind::Service, None, "default/x"),
        (Kind::EndpointSlice, Some(""), "default/x"),
        (Kind::Node, Some("demo"), "x"),
        (Kind::ServiceCidr, None, "x"),
    ];
    for (kind, namespace, expected) in cases {
        assert_eq!(&*reference(kind, namespace, "x").name, expected, "{kind:?} {namespace:?}");
    }
}

/// What annotations say of BGP on a node; what is wrong there leaves the rest as it is.
#[test]
fn annotations_of_nodes() {
    let node = |annotations: Value| {
        from_value(Kind::Node, serde_json::json!({"metadata": {"name": "lb1", "annotations": annotations}}))
    };
    let read = |annotations| match node(annotations) {
        Reading::Good(Object::Node(node)) => (node.bgp, None),
        Reading::Partly(Object::Node(node), problem) => (node.bgp, Some(problem)),
        reading => panic!("{reading:?}"),
    };
    let peers = "- {address: 10.0.1.1, asn: 65000}\n- interface: eth1\n  asn: 65000\n";
    let good = serde_json::json!({
        "vipcast.io/asn": "65009", "vipcast.io/router-id": "10.0.1.9", "vipcast.io/peers": peers, "example.org/x": "y",
    });
    let (found, problem) = read(good);
    assert_eq!((found.asn, found.router_id, problem), (Some(65009), Some([10, 0, 1, 9].into()), None));
    let names: Vec<_> = found.peers.iter().flatten().map(|entry| entry.name.to_string()).collect();
    assert_eq!(names, ["10.0.1.1", "eth1"]);
    assert!(!found.is_blind());
    let cases = [
        (
            "vipcast.io/asn",
            "0",
            "annotation vipcast.io/asn is mistaken in line 1, column 1: found 0; allowed: an AS number from 1 to 4294967295; what was known stays",
        ),
        (
            "vipcast.io/router-id",
            "fd01::2",
            "annotation vipcast.io/router-id is \"fd01::2\"; allowed: an IPv4 address other than 0.0.0.0; what was known stays",
        ),
        (
            "vipcast.io/peers",
            "- {address: 10.0.1.1, asn: 65000}\n- {address: 10.0.1.2}",
            "annotation vipcast.io/peers is mistaken in line 2, column 3: [1].asn: missing; allowed: the peer's AS number; what was known stays",
        ),
    ];
    for (name, text, expected) in cases {
        let (found, problem) = read(serde_json::json!({"vipcast.io/asn": "7", name: text}));
        assert_eq!(problem.as_deref(), Some(expected));
        assert_eq!((found.asn, found.is_blind()), ((name != "vipcast.io/asn").then_some(7), true));
    }
}

#[test]
fn what_drains_a_node() {
    let read = |metadata: serde_json::Value, spec: serde_json::Value| {
        let node = serde_json::json!({"metadata": metadata, "spec": spec});
        match from_value(Kind::Node, node) {
            Reading::Good(Object::Node(node)) => (node, None),
            Reading::Partly(Object::Node(node), problem) => (node, Some(problem)),
            reading => panic!("{reading:?}"),
        }
    };
    let drain = |value: &str| {
        let annotations = serde_json::json!({"vipcast.io/drain": value});
        let (node, problem) =
            read(serde_json::json!({"name": "lb1", "annotations": annotations}), serde_json::json!({}));
        (node.drain, problem)
    };
    assert_eq!(drain("true"), (DrainAsked::Yes, None));
    assert_eq!(drain("force"), (DrainAsked::Forced, None));
    assert_eq!(drain("false"), (DrainAsked::No, None));
    let problem = "annotation vipcast.io/drain is \"yes\"; allowed: true, force or false; what was known stays";
    assert_eq!(drain("yes"), (DrainAsked::Unread, Some(problem.to_owned())));
    let taints = serde_json::json!({"taints": [
        {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule", "timeAdded": "2026-01-01T00:00:00Z"},
        {"key": "a/b", "value": "c", "effect": "NoExecute"},
    ]});
    let (node, problem) = read(serde_json::json!({"name": "lb1"}), taints);
    let words: Vec<String> = node.taints.iter().map(ToString::to_string).collect();
    assert_eq!(words, ["a/b=c:NoExecute", "node.kubernetes.io/unschedulable:NoSchedule"]);
    assert_eq!(problem, None);
}
