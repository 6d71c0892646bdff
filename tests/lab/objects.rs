//! Services and their endpoints, written into the lab's manifests.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::{Value, json};
use vipcast_lab::Lab;

/// A pod of the lab: its name, its node, its addresses.
pub(crate) type Pod = (&'static str, &'static str, [&'static str; 2]);

pub(crate) const W1A: Pod = ("w1a", "w1", ["10.244.1.2", "fd00:244:1::2"]);
pub(crate) const W1B: Pod = ("w1b", "w1", ["10.244.1.3", "fd00:244:1::3"]);
pub(crate) const W2A: Pod = ("w2a", "w2", ["10.244.2.2", "fd00:244:2::2"]);
pub(crate) const W2B: Pod = ("w2b", "w2", ["10.244.2.3", "fd00:244:2::3"]);
/// The pod on lb1.
pub(crate) const L1A: Pod = ("l1a", "lb1", ["10.244.3.2", "fd00:244:3::2"]);
/// The pod on lb2.
pub(crate) const L2A: Pod = ("l2a", "lb2", ["10.244.4.2", "fd00:244:4::2"]);

/// How an endpoint is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Condition {
    Ready,
    /// Deleted, and still able to serve.
    Terminating,
    /// Its readiness probe fails.
    Unready,
}

/// Endpoints that are all ready.
pub(crate) fn ready(pods: &[Pod]) -> Vec<(Pod, Condition)> {
    pods.iter().map(|pod| (*pod, Condition::Ready)).collect()
}

/// A Service of the namespace `demo`.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    name: &'static str,
    spec: Value,
    ingress: Vec<&'static str>,
    annotations: BTreeMap<&'static str, &'static str>,
}

impl Service {
    /// One with the VIPs and policies of `spec`, ClusterIPs among them (without one it is served nowhere). Where that has no ports, they are 80 by TCP, 53 by UDP and 2905 by SCTP.
    pub(crate) fn new(name: &'static str, spec: Value) -> Service {
        let mut service = Service { name, spec, ingress: Vec::new(), annotations: BTreeMap::new() };
        if service.spec["ports"].is_null() {
            service.spec["ports"] = json!([port("http", 80), port("dns", 53), port("sigtran", 2905)]);
        }
        service
    }

    /// With load-balancer IPs, and so of that type.
    pub(crate) fn ingress(mut self, addresses: &[&'static str]) -> Service {
        self.spec["type"] = json!("LoadBalancer");
        self.ingress = addresses.to_vec();
        self
    }

    /// With these annotations of ours (`vipcast.io/` comes before each), and no others.
    pub(crate) fn annotated(mut self, annotations: &[(&'static str, &'static str)]) -> Service {
        self.annotations = annotations.iter().copied().collect();
        self
    }

    /// Writes it and its endpoints, in one file, so that they change together.
    pub(crate) fn put(&self, lab: &Lab, endpoints: &[(Pod, Condition)]) -> Result<()> {
        let annotations: BTreeMap<String, &str> =
            self.annotations.iter().map(|(name, value)| (format!("vipcast.io/{name}"), *value)).collect();
        let ingress: Vec<Value> = self.ingress.iter().map(|ip| json!({"ip": ip})).collect();
        let service = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": self.name, "namespace": "demo", "annotations": annotations},
            "spec": self.spec,
            "status": {"loadBalancer": {"ingress": ingress}},
        });
        let documents = [service, self.slice(0, endpoints), self.slice(1, endpoints)];
        let text: Vec<String> = documents.iter().map(Value::to_string).collect();
        // JSON is YAML.
        lab.write_shared(self.file(), &text.join("\n---\n"))
    }

    /// Removes it and its endpoints.
    pub(crate) fn delete(&self, lab: &Lab) -> Result<()> {
        lab.remove_shared(self.file())
    }

    fn file(&self) -> String {
        format!("cluster/{}.yaml", self.name)
    }

    fn slice(&self, family: usize, endpoints: &[(Pod, Condition)]) -> Value {
        let endpoints: Vec<Value> = endpoints
            .iter()
            .map(|((_, node, addresses), condition)| {
                let conditions = match condition {
                    Condition::Ready => json!({"ready": true, "serving": true, "terminating": false}),
                    Condition::Terminating => json!({"ready": false, "serving": true, "terminating": true}),
                    Condition::Unready => json!({"ready": false, "serving": false, "terminating": false}),
                };
                json!({"addresses": [addresses[family]], "nodeName": node, "conditions": conditions})
            })
            .collect();
        let kind = ["IPv4", "IPv6"][family];
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": format!("{}-{}", self.name, kind.to_lowercase()),
                "namespace": "demo",
                "labels": {"kubernetes.io/service-name": self.name},
            },
            "addressType": kind,
            "ports": [
                {"name": "http", "port": 8080, "protocol": "TCP"},
                {"name": "dns", "port": 5353, "protocol": "UDP"},
                {"name": "sigtran", "port": 9905, "protocol": "SCTP"},
            ],
            "endpoints": endpoints,
        })
    }
}

/// A Service's port, by the name that endpoints have for it: `http`, `dns` or `sigtran`.
pub(crate) fn port(name: &str, number: u16) -> Value {
    let protocol = match name {
        "http" => "TCP",
        "dns" => "UDP",
        _ => "SCTP",
    };
    json!({"name": name, "port": number, "protocol": protocol})
}
