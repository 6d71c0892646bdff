//! An object as the API server sent it.

use std::borrow::Cow;

use kube::Resource;
use kube::core::{DynamicResourceScope, ObjectMeta};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::model::{Kind, ObjectRef};
use crate::watch::{Reading, convert};

/// Whatever JSON there was, and the little of its metadata that a watch is kept going with. It takes anything, so that
/// one object that nobody understands is told as such, and the watch goes on.
#[derive(Debug, Clone)]
pub(super) struct Raw {
    meta: ObjectMeta,
    value: Value,
}

impl Raw {
    /// What names it.
    pub(super) fn reference(&self, kind: Kind) -> ObjectRef {
        convert::reference(kind, self.meta.namespace.as_deref(), self.meta.name.as_deref().unwrap_or_default())
    }

    /// It in compact form, as the node sees it whose Node object is called `node`.
    pub(super) fn read(self, kind: Kind, node: &str) -> Reading {
        let object = self.reference(kind);
        convert::from_value(kind, self.value).seen_from(node, &object)
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Raw, D::Error> {
        let mut value = Value::deserialize(deserializer)?;
        let meta = metadata(&value);
        if let Some(Value::Object(metadata)) = value.get_mut("metadata") {
            // Often the greater part of an object, and nobody here reads them.
            metadata.remove("managedFields");
            if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
                annotations.retain(|name, _| convert::annotations::is_read(name));
            }
        }
        Ok(Raw { meta, value })
    }
}

/// The metadata of an object that a watch is kept going with.
pub(super) fn metadata(object: &Value) -> ObjectMeta {
    let text = |key: &str| object.pointer(key).and_then(Value::as_str).map(str::to_owned);
    ObjectMeta {
        name: text("/metadata/name"),
        namespace: text("/metadata/namespace"),
        resource_version: text("/metadata/resourceVersion"),
        ..ObjectMeta::default()
    }
}

/// The group of a kind, and its name in paths.
pub(super) fn place(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Service => ("", "services"),
        Kind::EndpointSlice => ("discovery.k8s.io", "endpointslices"),
        Kind::Node => ("", "nodes"),
        Kind::ServiceCidr => ("networking.k8s.io", "servicecidrs"),
    }
}

/// The resource of `kind` as `kubectl` and RBAC call it, such as `endpointslices.discovery.k8s.io`.
pub(super) fn resource(kind: Kind) -> String {
    let (group, plural) = place(kind);
    if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") }
}

impl Resource for Raw {
    type DynamicType = Kind;
    type Scope = DynamicResourceScope;

    fn kind(kind: &Kind) -> Cow<'_, str> {
        kind.name().into()
    }

    fn group(kind: &Kind) -> Cow<'_, str> {
        place(*kind).0.into()
    }

    fn version(_: &Kind) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural(kind: &Kind) -> Cow<'_, str> {
        place(*kind).1.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn anything_is_taken() {
        for value in [json!(null), json!([1]), json!({"metadata": 1}), json!({"metadata": {"name": {}}})] {
            let raw: Raw = serde_json::from_value(value).unwrap();
            assert_eq!(raw.reference(Kind::Node).to_string(), "Node ");
        }
        let value = json!({"metadata": {"name": "a", "namespace": "b", "resourceVersion": "7",
            "managedFields": [1], "annotations": {"x": "y", "vipcast.io/scheduler": "mh"}}, "spec": 5});
        let raw: Raw = serde_json::from_value(value).unwrap();
        assert_eq!(raw.reference(Kind::Service).to_string(), "Service b/a");
        assert_eq!(raw.meta().resource_version.as_deref(), Some("7"));
        let annotations = json!({"vipcast.io/scheduler": "mh"});
        let metadata = json!({"name": "a", "namespace": "b", "resourceVersion": "7", "annotations": annotations});
        assert_eq!(raw.value["metadata"], metadata);
        assert!(matches!(raw.read(Kind::Service, "lb1"), Reading::Bad(problem) if problem.starts_with("spec: ")));
    }

    #[test]
    fn resources_are_where_the_api_server_has_them() {
        let cases = [
            (Kind::Service, "/api/v1/services", "services"),
            (Kind::EndpointSlice, "/apis/discovery.k8s.io/v1/endpointslices", "endpointslices.discovery.k8s.io"),
            (Kind::Node, "/api/v1/nodes", "nodes"),
            (Kind::ServiceCidr, "/apis/networking.k8s.io/v1/servicecidrs", "servicecidrs.networking.k8s.io"),
        ];
        for (kind, path, name) in cases {
            assert_eq!(Raw::url_path(&kind, None), path);
            assert_eq!(resource(kind), name);
            assert_eq!(Raw::api_version(&kind), convert::api_version(kind));
        }
    }
}
