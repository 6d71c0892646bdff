//! Both ends of a session as the configuration names them: are they there on this node?

use std::net::IpAddr;

use super::super::Finding;
use super::super::facts::Facts;
use super::error;
use crate::model::bgp::PeerName;

/// Says which of `localAddress` and `interface` of the entry for `name` this node does not have. `entry` is what the entry is
/// called, `who` what is at the other end.
pub(super) fn judge(
    (entry, who): (&str, &str),
    name: &PeerName,
    local_address: Option<IpAddr>,
    facts: &Facts,
    findings: &mut Vec<Finding>,
) {
    if let Some(local) = local_address.filter(|local| !facts.addresses.contains(local)) {
        findings.push(error(
            format!("localAddress of {entry} {name}"),
            format!("{local}, which no link of this node has"),
            "an address of this node",
            "correct localAddress, or leave it out",
        ));
    }
    if let PeerName::Interface(interface) = name
        && !facts.links.contains(&**interface)
    {
        findings.push(error(
            format!("interface of {entry} {interface}"),
            "no such link on this node",
            "the link at whose other end the switch is",
            format!("correct interface, or name the {who} by its address"),
        ));
    }
}
