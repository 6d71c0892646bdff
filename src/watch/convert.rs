//! Kubernetes objects become model types here, and stop here.
//!
//! Each field that vipcast honours is read by one function of a kind's module, which knows its default and its limits;
//! `fields` lists them, and `annotations` knows those of Services. What the API server would never store (a manifest can
//! hold anything) is refused in words that name the field, what was found and what is allowed.

use std::sync::Arc;

use k8s_openapi::Metadata;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::api::networking::v1 as networking;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;
use serde_json::Value;

use self::field::{BadField, prefixes};
use super::Reading;
use crate::model::ipvs::Protocol;
use crate::model::{Kind, Object, ObjectRef, ServiceKey};

pub mod annotations;
mod field;
pub mod fields;
mod node;
mod service;
mod slice;

/// Says that somebody else's proxy serves the Service, whatever the value. kube-proxy leaves out Services and
/// EndpointSlices that carry it.
const LABEL_PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
/// Says that the Service is headless, whatever the value; left out likewise.
const LABEL_HEADLESS: &str = "service.kubernetes.io/headless";

/// A Kubernetes type that vipcast reads.
pub trait Convert: Metadata<Ty = ObjectMeta> + DeserializeOwned {
    /// Its kind.
    const KIND: Kind;

    /// What names this object. A missing namespace is `default`, as for `kubectl apply`.
    fn reference(&self) -> ObjectRef {
        let metadata = self.metadata();
        let name = metadata.name.as_deref().unwrap_or_default();
        reference(<Self as Convert>::KIND, metadata.namespace.as_deref(), name)
    }

    /// The object in compact form. Each Node is read as if it was this node's own.
    fn convert(self) -> Reading;
}

/// The group and version that objects of this kind are read in.
pub fn api_version(kind: Kind) -> &'static str {
    match kind {
        Kind::Service => <core::Service as k8s_openapi::Resource>::API_VERSION,
        Kind::EndpointSlice => <discovery::EndpointSlice as k8s_openapi::Resource>::API_VERSION,
        Kind::Node => <core::Node as k8s_openapi::Resource>::API_VERSION,
        Kind::ServiceCidr => <networking::ServiceCIDR as k8s_openapi::Resource>::API_VERSION,
    }
}

/// What names the object `name` of `kind`. A missing namespace is `default`; kinds without namespaces ignore it.
pub fn reference(kind: Kind, namespace: Option<&str>, name: &str) -> ObjectRef {
    let name = match kind {
        Kind::Service | Kind::EndpointSlice => {
            let namespace = namespace.filter(|namespace| !namespace.is_empty()).unwrap_or("default");
            ServiceKey::new(namespace, name).name()
        }
        Kind::Node | Kind::ServiceCidr => Arc::from(name),
    };
    ObjectRef { kind, name }
}

/// The object of `kind` that `value` holds, in compact form; a Node as if it was this node's own
/// ([`Reading::seen_from`]).
pub fn from_value(kind: Kind, value: Value) -> Reading {
    match kind {
        Kind::Service => typed::<core::Service>(value),
        Kind::EndpointSlice => typed::<discovery::EndpointSlice>(value),
        Kind::Node => typed::<core::Node>(value),
        Kind::ServiceCidr => typed::<networking::ServiceCIDR>(value),
    }
}

fn typed<T: Convert>(value: Value) -> Reading {
    match serde_path_to_error::deserialize::<_, T>(value) {
        Ok(object) => object.convert(),
        Err(error) => Reading::Bad(error.to_string()),
    }
}

/// An object that was understood, or the field that was not.
fn reading(object: Result<Object, BadField>) -> Reading {
    object.map_or_else(|bad| Reading::Bad(bad.to_string()), Reading::Good)
}

/// An object, and the parts of it that do not count.
fn partly(object: Object, problems: &[BadField]) -> Reading {
    match problems {
        [] => Reading::Good(object),
        [only] => Reading::Partly(object, only.with_consequence()),
        [first, others @ ..] => {
            Reading::Partly(object, format!("{} (and {} more)", first.with_consequence(), others.len()))
        }
    }
}

impl Convert for networking::ServiceCIDR {
    const KIND: Kind = Kind::ServiceCidr;

    fn convert(self) -> Reading {
        let name = self.reference().name;
        let cidrs = self.spec.and_then(|spec| spec.cidrs).unwrap_or_default();
        reading(prefixes("spec.cidrs", &cidrs).map(|cidrs| Object::ServiceCidr(name, cidrs)))
    }
}

/// Is the object labelled as one that this proxy must leave alone?
fn is_others(metadata: &ObjectMeta) -> bool {
    let has = |label| metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(label));
    has(LABEL_PROXY_NAME) || has(LABEL_HEADLESS)
}

fn protocol(port: &str, text: Option<&str>) -> Result<Protocol, BadField> {
    match text.unwrap_or_default() {
        "" | "TCP" => Ok(Protocol::Tcp),
        "UDP" => Ok(Protocol::Udp),
        "SCTP" => Ok(Protocol::Sctp),
        other => Err(BadField::new(format_args!("{port}.protocol"), format_args!("{other:?}"), "TCP, UDP, SCTP")),
    }
}

/// The number of a port, in the field `port` of `of`.
fn port_number(of: &str, port: i32) -> Result<u16, BadField> {
    field::number(format_args!("{of}.port"), port, 1..=u16::MAX)
}

#[cfg(test)]
mod tests;
