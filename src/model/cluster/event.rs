//! What a source can say: objects in compact form, and the events that tell of them.

use std::sync::Arc;

use crate::model::node::{Footprint, Node};
use crate::model::prefix::Prefix;
use crate::model::service::{Service, ServiceKey, Slice};

/// The kinds of objects that vipcast reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `v1` Service.
    Service,
    /// `discovery.k8s.io/v1` EndpointSlice.
    EndpointSlice,
    /// `v1` Node, this node's own and the others.
    Node,
    /// `networking.k8s.io/v1` ServiceCIDR.
    ServiceCidr,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 4] = [Kind::Service, Kind::EndpointSlice, Kind::Node, Kind::ServiceCidr];

    /// The name that Kubernetes has for it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Service => "Service",
            Kind::EndpointSlice => "EndpointSlice",
            Kind::Node => "Node",
            Kind::ServiceCidr => "ServiceCIDR",
        }
    }
}

/// What names an object: its kind and `namespace/name` (or `name` where it has no namespace).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// The kind.
    pub kind: Kind,
    /// `namespace/name`, or `name`.
    pub name: Arc<str>,
}

impl std::fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind.name(), self.name)
    }
}

/// An object in compact form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// A Service.
    Service(ServiceKey, Service),
    /// An EndpointSlice, by its own `namespace/name`.
    Slice(Arc<str>, Slice),
    /// This node's Node object.
    Node(Node),
    /// What is told of another Node, by name.
    OtherNode(Arc<str>, Footprint),
    /// A ServiceCIDR, by name.
    ServiceCidr(Arc<str>, Vec<Prefix>),
}

/// One thing that a source has to say. A source tells of each kind on its own, as the API server's watches do.
/// `watch` has the contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A list of this kind begins: whatever is not told before [`Event::Listed`] is gone then, and not before.
    Listing(Kind),
    /// The list is complete.
    Listed(Kind),
    /// The object is there, in this form.
    Put(Object),
    /// The object is gone.
    Gone(ObjectRef),
    /// The object is there, but cannot be understood: what was known of it stays in force. Right after a
    /// [`Event::Put`] of the same object it says that a part of it was left out.
    Bad(ObjectRef, String),
    /// Something else than a single object is wrong (a file, a watch, the API server): `origin` names it, and `None`
    /// says that it is well again. Nothing is removed because of it.
    Trouble {
        /// A file or a watch, in words for the operator.
        origin: Arc<str>,
        /// What is wrong.
        problem: Option<String>,
    },
}

impl Object {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Object::Service(..) => Kind::Service,
            Object::Slice(..) => Kind::EndpointSlice,
            Object::Node(_) | Object::OtherNode(..) => Kind::Node,
            Object::ServiceCidr(..) => Kind::ServiceCidr,
        }
    }

    /// What names it. This node's own Node goes by the empty name.
    pub fn reference(&self) -> ObjectRef {
        let name = match self {
            Object::Service(key, _) => key.name(),
            Object::Slice(name, _) | Object::OtherNode(name, _) | Object::ServiceCidr(name, _) => name.clone(),
            Object::Node(_) => Arc::from(""),
        };
        ObjectRef { kind: self.kind(), name }
    }
}
