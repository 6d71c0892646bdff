//! Why a part of a Service is not served, and what of that its owner can mend and should be told of.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::model::ipvs::{Scheduler, ServerKey};
use crate::model::settings::Use;
use crate::model::{ObjectRef, Prefix, ServiceKey};

/// Why a part of a Service is not served.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Problem {
    /// A ClusterIP lies in none of the ranges in force, which are these in words.
    OutsideRanges(IpAddr, Arc<str>),
    /// No range allows this use of the address.
    NotAllowed(Use, IpAddr),
    /// A range allows it, but the address is in use for something else, as the words say.
    InUse(Use, IpAddr, Arc<str>),
    /// A NodePort lies outside the ports that NodePorts may have, from the first to the last.
    NodePortOutside(u16, u16, u16),
    /// An endpoint lies inside a range that is wholly local: forwarding to it would lead back here.
    EndpointInRange(IpAddr),
    /// Weights are asked for, and a scheduler that knows none.
    WeightsIgnored(Scheduler),
    /// The health check port belongs to an older Service that asks for it too.
    HealthPortTaken(u16, ServiceKey),
    /// The virtual server belongs to an older Service that asks for it too.
    Taken(ServerKey, ServiceKey),
    /// The VIP is not to be announced, and lies in a range that is, as a whole.
    CoveredByRange(IpAddr, Prefix),
    /// The VIP wants a route of its own inside a range that is announced as a whole, and older ones have all that there may
    /// be, which are so many.
    NoRoomForRoute(IpAddr, usize),
    /// The wishes for the VIP's route are not those of the older Service that has the VIP too.
    RouteOverruled(IpAddr, ServiceKey),
    /// Prepends are asked for, and some peer is in the own AS, which is this one.
    PrependIgnored(u32),
}

impl Problem {
    /// What kubectl shows as the reason of the event, where the owner of the Service can mend it: one word, which people
    /// filter by. The ranges are the operator's business.
    pub fn reason(&self) -> Option<&'static str> {
        match self {
            Problem::OutsideRanges(..) => None,
            Problem::NotAllowed(Use::LoadBalancerIp, _) | Problem::InUse(Use::LoadBalancerIp, ..) => {
                Some("LoadBalancerIPNotAllowed")
            }
            Problem::NotAllowed(..) | Problem::InUse(..) => Some("ExternalIPNotAllowed"),
            Problem::NodePortOutside(..) => None,
            Problem::EndpointInRange(_) => Some("EndpointNotAllowed"),
            Problem::WeightsIgnored(_) => Some("WeightsIgnored"),
            Problem::Taken(..) => Some("AddressTaken"),
            Problem::HealthPortTaken(..) => Some("HealthCheckPortTaken"),
            Problem::CoveredByRange(..) => Some("AnnouncedByRange"),
            Problem::NoRoomForRoute(..) => Some("RouteBudgetExhausted"),
            Problem::RouteOverruled(..) => Some("RouteOverruled"),
            Problem::PrependIgnored(_) => Some("PrependIgnored"),
        }
    }
}

impl Problem {
    /// The VIP that it is about, if it is about one.
    pub fn place(&self) -> Option<IpAddr> {
        match self {
            Problem::OutsideRanges(address, _) | Problem::NotAllowed(_, address) | Problem::InUse(_, address, _) => {
                Some(*address)
            }
            Problem::CoveredByRange(vip, _) | Problem::NoRoomForRoute(vip, _) | Problem::RouteOverruled(vip, _) => {
                Some(*vip)
            }
            Problem::Taken(key, _) => Some(key.address),
            Problem::NodePortOutside(..)
            | Problem::EndpointInRange(_)
            | Problem::WeightsIgnored(_)
            | Problem::PrependIgnored(_)
            | Problem::HealthPortTaken(..) => None,
        }
    }

    /// Who can do what about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Problem::OutsideRanges(..) => {
                "the operator: add the range to `ranges.clusterIPs`, or create the ServiceCIDR that the address is from"
            }
            Problem::NotAllowed(Use::ExternalIp | Use::ClusterIp, _) => {
                "the owner: take an address that is allowed; the operator: allow its range in `ranges.externalIPs`"
            }
            Problem::NotAllowed(Use::LoadBalancerIp, _) => {
                "the operator: have the controller give addresses of `ranges.loadBalancerIPs`, or allow their range there"
            }
            Problem::InUse(..) => "the owner: take another address; it can be no VIP while it is in use",
            Problem::NodePortOutside(..) => {
                "the operator: make `dataplane.nodePorts.ports` what the API server's `--service-node-port-range` is"
            }
            Problem::EndpointInRange(_) => {
                "the owner: name the pods, not another Service's VIP, in a hand-written EndpointSlice"
            }
            Problem::WeightsIgnored(_) => {
                "the owner: ask for `wrr`, `wlc`, `mh` or another scheduler that minds weights"
            }
            Problem::HealthPortTaken(..) => "the owner: have another port allocated",
            Problem::Taken(..) => "the owner: use another port or address, or delete the older Service's",
            Problem::CoveredByRange(..) => {
                "the owner: remove the annotation, or take an address of another range; the operator: announce the range by \
                 VIP (`announce: host`)"
            }
            Problem::NoRoomForRoute(..) => {
                "the operator: raise `bgp.maxSpecifics`, if the switches have room; the owner: remove what makes its route \
                 differ"
            }
            Problem::RouteOverruled(..) => "the owner: ask for the same as the older Service, or use another address",
            Problem::PrependIgnored(_) => "the owner: ask for a MED or a community instead",
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::OutsideRanges(address, ranges) => {
                write!(f, "ClusterIP {address} lies in none of the ranges ({ranges}); not served")
            }
            Problem::NotAllowed(usage, address) => {
                write!(f, "{usage} {address} is not allowed: no range of {} holds it; not served", usage.key())
            }
            Problem::InUse(usage, address, what) => write!(f, "{usage} {address} is not allowed: {what}; not served"),
            Problem::NodePortOutside(port, first, last) => {
                write!(f, "NodePort {port} is not among {first}-{last} (dataplane.nodePorts.ports); not served")
            }
            Problem::EndpointInRange(address) => {
                write!(f, "endpoint {address} is itself inside a range of VIPs; left out")
            }
            Problem::WeightsIgnored(scheduler) => {
                write!(f, "weights are asked for, and the scheduler {scheduler}, which knows none")
            }
            Problem::HealthPortTaken(port, owner) => {
                write!(f, "health check port {port} is claimed by the older Service {owner} too, which has it")
            }
            Problem::Taken(key, owner) => write!(f, "{key} is claimed by the older Service {owner} too, which has it"),
            Problem::CoveredByRange(vip, range) => {
                write!(f, "{vip} is not to be announced, and the route of the range {range} covers it")
            }
            Problem::NoRoomForRoute(vip, limit) => write!(
                f,
                "{vip} gets no route of its own: older Services have the {limit} that bgp.maxSpecifics allows; the route of \
                 its range covers it"
            ),
            Problem::RouteOverruled(vip, owner) => {
                write!(f, "the route of {vip} is as the older Service {owner} asks, which has this address too")
            }
            Problem::PrependIgnored(asn) => write!(
                f,
                "prepends are asked for and left out: a peer in AS {asn} would find its own number in the path and drop the \
                 route"
            ),
        }
    }
}

/// The reason of an event about an object that was not understood, or not whole.
pub(super) const UNSUPPORTED: &str = "UnsupportedValue";

/// All that the owner of an object can mend, at this time: it takes the place of what was told of the object before,
/// and is empty when all is well. It says nothing of this node, so that every node says the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The object.
    pub object: ObjectRef,
    /// Its `metadata.uid`, by which kubectl finds what belongs to it.
    pub uid: Option<Arc<str>>,
    /// Reasons of one word each, with what is wrong.
    pub problems: Vec<(&'static str, String)>,
}
