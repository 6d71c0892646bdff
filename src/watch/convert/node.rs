//! Nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use k8s_openapi::api::core::v1 as core;

use super::field::{BadField, address, parts, prefix, prefixes};
use super::{Convert, partly};
use crate::config::{annotated_asn, annotated_peers};
use crate::model::node::{DrainAsked, Node, Overrides};
use crate::model::settings::Taint;
use crate::model::{Kind, Object, Prefix};
use crate::watch::Reading;

/// This node's AS number, in place of `bgp.asn`.
const ASN: &str = "vipcast.io/asn";
/// This node's BGP identifier, in place of `bgp.routerID`.
const ROUTER_ID: &str = "vipcast.io/router-id";
/// Peers of this node: a YAML list as in `bgp.peers`.
const PEERS: &str = "vipcast.io/peers";
/// Is this node to leave?
const DRAIN: &str = "vipcast.io/drain";

impl Convert for core::Node {
    const KIND: Kind = Kind::Node;

    fn convert(self) -> Reading {
        let addresses = addresses_of(&self, "InternalIP").collect::<Result<Vec<_>, _>>();
        let pod_cidrs = pod_cidrs(self.spec.as_ref());
        let (addresses, pod_cidrs) = match addresses.and_then(|addresses| Ok((addresses, pod_cidrs?))) {
            Ok(read) => read,
            Err(bad) => return Reading::Bad(bad.to_string()),
        };
        // Nothing that is served follows from these, so a bad one takes nothing from the rest.
        let (external_addresses, mut problems) = parts(addresses_of(&self, "ExternalIP"));
        let shutting_down = is_shutting_down(&self);
        let taints = taints(&self);
        let annotations = self.metadata.annotations.as_ref();
        let bgp = overrides(annotations, &mut problems);
        let drain = drain(annotations, &mut problems);
        let labels = self.metadata.labels.unwrap_or_default();
        let node = Node { addresses, external_addresses, pod_cidrs, labels, shutting_down, taints, drain, bgp };
        partly(Object::Node(node), &problems)
    }
}

/// Takes in the text of an annotation, or answers with what was found and what is allowed.
type Take<'a> = &'a mut dyn FnMut(&str) -> Result<(), (String, String)>;

/// What the annotations say of BGP on this node. One that is not understood changes nothing of what was known.
fn overrides(annotations: Option<&BTreeMap<String, String>>, problems: &mut Vec<BadField>) -> Overrides {
    let mut overrides = Overrides::default();
    let mut read = |name: &str, take: Take| {
        let Some(text) = annotations.and_then(|annotations| annotations.get(name)) else { return false };
        let Err((found, allowed)) = take(text) else { return false };
        problems.push(BadField::new(format_args!("annotation {name}"), found, allowed).instead("what was known stays"));
        true
    };
    overrides.unread.asn = read(ASN, &mut |text| {
        overrides.asn = Some(annotated_asn(text)?);
        Ok(())
    });
    overrides.unread.router_id = read(ROUTER_ID, &mut |text| {
        let id = text.parse().ok().filter(|id: &Ipv4Addr| !id.is_unspecified());
        let allowed = || (format!("{text:?}"), "an IPv4 address other than 0.0.0.0".to_owned());
        overrides.router_id = Some(id.ok_or_else(allowed)?);
        Ok(())
    });
    overrides.unread.peers = read(PEERS, &mut |text| {
        overrides.peers = Some(annotated_peers(text)?);
        Ok(())
    });
    overrides
}

/// Is the node to leave, by its annotation? One that is not understood changes nothing of what was known.
fn drain(annotations: Option<&BTreeMap<String, String>>, problems: &mut Vec<BadField>) -> DrainAsked {
    match annotations.and_then(|annotations| annotations.get(DRAIN)).map(String::as_str) {
        None | Some("false") => DrainAsked::No,
        Some("true") => DrainAsked::Yes,
        Some("force") => DrainAsked::Forced,
        Some(other) => {
            let bad = BadField::new(format_args!("annotation {DRAIN}"), format!("{other:?}"), "true, force or false");
            problems.push(bad.instead("what was known stays"));
            DrainAsked::Unread
        }
    }
}

/// `spec.taints`.
fn taints(node: &core::Node) -> BTreeSet<Taint> {
    let taints = node.spec.iter().flat_map(|spec| &spec.taints).flatten();
    let taint = |found: &core::Taint| Taint {
        key: found.key.clone(),
        value: found.value.clone().filter(|value| !value.is_empty()),
        effect: Some(found.effect.clone()),
    };
    taints.map(taint).collect()
}

/// `status.addresses` of this type.
fn addresses_of(node: &core::Node, kind: &str) -> impl Iterator<Item = Result<IpAddr, BadField>> {
    let addresses = node.status.iter().flat_map(|status| &status.addresses).flatten().enumerate();
    let of_kind = addresses.filter(move |(_, found)| found.type_ == kind);
    of_kind.map(|(i, found)| address(&format!("status.addresses[{i}].address"), &found.address))
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
fn pod_cidrs(spec: Option<&core::NodeSpec>) -> Result<Vec<Prefix>, BadField> {
    let Some(spec) = spec else { return Ok(Vec::new()) };
    match spec.pod_cidrs.as_deref() {
        Some(texts) if !texts.is_empty() => prefixes("spec.podCIDRs", texts),
        _ => spec.pod_cidr.iter().filter(|text| !text.is_empty()).map(|text| prefix("spec.podCIDR", text)).collect(),
    }
}
