//! What is known of this node, its Node object and what the kernel says about it; and what matters of other Nodes.

mod overrides;

use std::collections::BTreeSet;
use std::net::IpAddr;

pub use self::overrides::{Overrides, Unread};
use super::labels::Labels;
use super::prefix::Prefix;
use super::settings::Taint;

/// This node's Node object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    /// `status.addresses` of type InternalIP.
    pub addresses: Vec<IpAddr>,
    /// `status.addresses` of type ExternalIP.
    pub external_addresses: Vec<IpAddr>,
    /// `spec.podCIDRs`.
    pub pod_cidrs: Vec<Prefix>,
    /// `metadata.labels`.
    pub labels: Labels,
    /// kubelet says that the machine is going down.
    pub shutting_down: bool,
    /// `spec.taints`.
    pub taints: BTreeSet<Taint>,
    /// What the annotation `vipcast.io/drain` asks for.
    pub drain: DrainAsked,
    /// What `metadata.annotations` say of BGP on this node.
    pub bgp: Overrides,
}

impl Node {
    /// What must not be a VIP because of this Node.
    pub fn footprint(&self) -> Footprint {
        Footprint {
            addresses: self.addresses.iter().chain(&self.external_addresses).copied().collect(),
            pod_cidrs: self.pod_cidrs.iter().copied().collect(),
        }
    }
}

/// What the annotation `vipcast.io/drain` of a Node asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DrainAsked {
    /// Nothing: it is absent or `false`.
    #[default]
    No,
    /// `true`: that the node leaves when the other LB nodes can spare it.
    Yes,
    /// `force`: that it leaves whatever becomes of the others.
    Forced,
    /// It is not understood, and may have been anything before.
    Unread,
}

/// What must not be a VIP because of a Node. Heartbeats and the order of addresses do not show in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Footprint {
    /// `status.addresses` of type InternalIP and ExternalIP.
    pub addresses: BTreeSet<IpAddr>,
    /// `spec.podCIDRs`.
    pub pod_cidrs: BTreeSet<Prefix>,
}

/// What the kernel says about this node, beside what is ours.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Host {
    /// All addresses on the node's links, our link apart and those on which kube-proxy and kube-router keep VIPs.
    /// Loopback and link-local ones are left out, and IPv6 ones that are not usable yet.
    pub addresses: BTreeSet<IpAddr>,
    /// The addresses of the links that the default routes lead to, in the kernel's order; IPv6 privacy addresses, which
    /// do not last, are left out.
    pub default_addresses: Vec<IpAddr>,
    /// Links that learned an IPv6 default route by router advertisement and would lose it when forwarding goes on
    /// (`accept_ra` is 1).
    pub router_advertised_links: BTreeSet<String>,
}
