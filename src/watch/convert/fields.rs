//! Every field that is honoured, as the reference has it; the other fields of these objects change nothing. Annotations
//! are in [`annotations`](super::annotations).

use crate::model::Kind;

/// A field that changes what is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// The objects that have it.
    pub kind: Kind,
    /// Its path.
    pub path: &'static str,
    /// What is done with it, its default, and what it may say where that is not plain.
    pub meaning: &'static str,
}

const fn field(kind: Kind, path: &'static str, meaning: &'static str) -> Field {
    Field { kind, path, meaning }
}

/// All of them, in the order of an object.
pub const FIELDS: &[Field] = &[
    field(
        Kind::Service,
        "metadata.creationTimestamp",
        "of two Services with one address, port and protocol the older one has it, the other is told",
    ),
    field(Kind::Service, "metadata.uid", "another one under the same name is another Service"),
    field(Kind::Service, "metadata.labels", NOT_SERVED),
    field(Kind::Service, "metadata.annotations", "what the table of annotations says"),
    field(
        Kind::Service,
        "spec.type",
        "`ExternalName` asks for nothing, NodePorts need `NodePort` or `LoadBalancer`, load-balancer IPs need \
         `LoadBalancer`",
    ),
    field(Kind::Service, "spec.clusterIP", "where `clusterIPs` is missing"),
    field(Kind::Service, "spec.clusterIPs", "VIPs, at most one of each family; `None` or empty: nothing is served"),
    field(Kind::Service, "spec.externalIPs", "VIPs, as far as `ranges.externalIPs` allows them"),
    field(Kind::Service, "spec.ports[].name", "joins it to the ports of the EndpointSlices"),
    field(Kind::Service, "spec.ports[].protocol", "TCP (the default), UDP, SCTP"),
    field(Kind::Service, "spec.ports[].port", "the VIPs' port"),
    field(Kind::Service, "spec.ports[].nodePort", "as far as `dataplane.nodePorts` has it served; 0: none"),
    field(Kind::Service, "spec.internalTrafficPolicy", "rules the ClusterIPs: `Cluster` (the default), `Local`"),
    field(
        Kind::Service,
        "spec.externalTrafficPolicy",
        "rules external and load-balancer IPs and NodePorts: `Cluster` (the default), `Local`; nothing where there are none",
    ),
    field(Kind::Service, "spec.sessionAffinity", "`None` (the default), `ClientIP`"),
    field(Kind::Service, "spec.sessionAffinityConfig.clientIP.timeoutSeconds", "1 to 86400, else and by default 10800"),
    field(
        Kind::Service,
        "spec.loadBalancerSourceRanges",
        "who may use the load-balancer IPs; host bits mean nothing. One that cannot be read lets nobody in, and if it \
         leaves no other of a family, load-balancer IPs of that family are not served",
    ),
    field(
        Kind::Service,
        "spec.healthCheckNodePort",
        "where the type is `LoadBalancer` and the external policy is `Local`; 0: none",
    ),
    field(
        Kind::Service,
        "status.loadBalancer.ingress[].ip",
        "VIPs, as far as `ranges.loadBalancerIPs` allows them, while the type is `LoadBalancer`",
    ),
    field(Kind::Service, "status.loadBalancer.ingress[].ipMode", "`VIP` (the default); `Proxy`: not a VIP of ours"),
    field(Kind::EndpointSlice, "metadata.labels", SLICE_LABELS),
    field(Kind::EndpointSlice, "addressType", "`IPv4`, `IPv6`; `FQDN` is ignored"),
    field(Kind::EndpointSlice, "ports[].name", "joins it to the ports of the Service"),
    field(Kind::EndpointSlice, "ports[].protocol", "TCP (the default), UDP, SCTP"),
    field(Kind::EndpointSlice, "ports[].port", "the endpoints' port; without one: left out"),
    field(
        Kind::EndpointSlice,
        "endpoints[].addresses",
        "the first one; none that is unspecified, loopback, link-local or multicast",
    ),
    field(Kind::EndpointSlice, "endpoints[].conditions.ready", "missing: true"),
    field(
        Kind::EndpointSlice,
        "endpoints[].conditions.serving",
        "missing: true; with `terminating` it takes traffic while no endpoint is ready",
    ),
    field(Kind::EndpointSlice, "endpoints[].conditions.terminating", "missing: false"),
    field(Kind::EndpointSlice, "endpoints[].nodeName", "is the endpoint on this node, for the policy `Local`"),
    field(Kind::EndpointSlice, "endpoints[].zone", "its weight, where the Service weighs zones"),
    field(Kind::EndpointSlice, "endpoints[].hints.forNodes", "whose traffic it takes, where hints are followed"),
    field(Kind::EndpointSlice, "endpoints[].hints.forZones", "the same, where no hint names this node"),
    field(
        Kind::Node,
        "metadata.labels",
        "this node's: what `nodeSelector` asks for; `topology.kubernetes.io/zone` is its zone for hints",
    ),
    field(
        Kind::Node,
        "metadata.annotations",
        "this node's: `vipcast.io/asn`, `vipcast.io/router-id` and `vipcast.io/peers` (a YAML list as `bgp.peers`, without \
         `passwordFile`, `passwordEnv` and `nodeSelector`) stand in the place of what `bgp` says; a peer in that of the same \
         address or interface. `vipcast.io/drain`: `true` drains this node, `force` without asking the other LB nodes, `false` \
         does not. What is not understood leaves in force what was known",
    ),
    field(
        Kind::Node,
        "spec.podCIDRs",
        "none of any node's may hold a VIP; clients in this node's own keep no address where replies would miss this node",
    ),
    field(Kind::Node, "spec.podCIDR", "where `podCIDRs` is missing"),
    field(Kind::Node, "spec.taints[]", "this node's: those that `drain.taints` names drain it"),
    field(
        Kind::Node,
        "status.addresses[].address",
        "InternalIP and ExternalIP of any node are no VIPs. This node's InternalIPs give the preferred source and the \
         router ID; the source follows them, the router ID stays, since another one would end all sessions",
    ),
    field(
        Kind::Node,
        "status.conditions[].message",
        "this node's: if `Ready` is False since the node is shutting down, it is drained in haste",
    ),
    field(Kind::ServiceCidr, "spec.cidrs", "the default of `ranges.clusterIPs`"),
];

const NOT_SERVED: &str = "`service.kubernetes.io/service-proxy-name` and `service.kubernetes.io/headless`: not served \
                          here, whatever the value; added later, they act as deletion";
const SLICE_LABELS: &str = "`kubernetes.io/service-name`: its Service; those that keep a Service from being served keep \
                            its slices from being read";
