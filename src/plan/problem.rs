//! Why a part of a Service is not served, and what of that its owner can mend and should be told of.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::model::ipvs::ServerKey;
use crate::model::{ObjectRef, ServiceKey};

/// Why a part of a Service is not served.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Problem {
    /// A ClusterIP lies in none of the ranges in force, which are these in words.
    OutsideRanges(IpAddr, Arc<str>),
    /// No range allows this address of `spec.externalIPs`.
    ExternalIpNotAllowed(IpAddr),
    /// An endpoint lies inside a ClusterIP range itself: forwarding to it would lead back here.
    EndpointInRange(IpAddr),
    /// The virtual server belongs to an older Service that asks for it too.
    Taken(ServerKey, ServiceKey),
}

impl Problem {
    /// What kubectl shows as the reason of the event, where the owner of the Service can mend it: one word, which people
    /// filter by. The ranges are the operator's business.
    pub fn reason(&self) -> Option<&'static str> {
        match self {
            Problem::OutsideRanges(..) => None,
            Problem::ExternalIpNotAllowed(_) => Some("ExternalIPNotAllowed"),
            Problem::EndpointInRange(_) => Some("EndpointNotAllowed"),
            Problem::Taken(..) => Some("AddressTaken"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::OutsideRanges(address, ranges) => {
                write!(f, "ClusterIP {address} lies in none of the ranges ({ranges}); not served")
            }
            Problem::ExternalIpNotAllowed(address) => {
                write!(f, "external IP {address} is not allowed: vipcast serves no external IPs yet")
            }
            Problem::EndpointInRange(address) => {
                write!(f, "endpoint {address} is itself inside a ClusterIP range; left out")
            }
            Problem::Taken(key, owner) => write!(f, "{key} is claimed by the older Service {owner} too, which has it"),
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
