//! The cluster's objects as the sources told them, folded into compact form. [`Cluster::apply`] stores one event and
//! answers which Services it concerns, so that the work of a change is proportional to the change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::node::Node;
use super::prefix::Prefix;
use super::service::{Service, ServiceKey, Slice};

/// The kinds of objects that vipcast reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `v1` Service.
    Service,
    /// `discovery.k8s.io/v1` EndpointSlice.
    EndpointSlice,
    /// `v1` Node, this node's own.
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

/// What an event concerns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Touched {
    /// Services whose claims may have changed.
    pub services: BTreeSet<ServiceKey>,
    /// The Node object changed.
    pub node: bool,
    /// The ServiceCIDR objects changed.
    pub ranges: bool,
    /// Objects of which something else is not understood than before.
    pub complaints: BTreeSet<ObjectRef>,
}

/// An object with the generation of the list that last told of it.
#[derive(Debug, Clone)]
struct Entry<T> {
    value: T,
    generation: u32,
}

/// All objects, and what is wrong with some.
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    services: BTreeMap<ServiceKey, Entry<Service>>,
    slices: BTreeMap<Arc<str>, Entry<Slice>>,
    slices_of: BTreeMap<ServiceKey, BTreeSet<Arc<str>>>,
    node: Option<Entry<Node>>,
    /// The Node object was there at some time since the start.
    node_seen: bool,
    cidrs: BTreeMap<Arc<str>, Entry<Vec<Prefix>>>,
    bad: BTreeMap<ObjectRef, Entry<String>>,
    troubles: BTreeMap<Arc<str>, String>,
    /// The number of the current list, by kind.
    generations: BTreeMap<Kind, u32>,
    listed: BTreeSet<Kind>,
}

impl Cluster {
    /// Stores what `event` says and answers what it concerns.
    pub fn apply(&mut self, event: Event) -> Touched {
        let mut touched = Touched::default();
        match event {
            Event::Listing(kind) => *self.generations.entry(kind).or_default() += 1,
            Event::Listed(kind) => {
                self.sweep(kind, &mut touched);
                self.listed.insert(kind);
            }
            Event::Put(object) => self.put(object, &mut touched),
            Event::Gone(object) => self.remove(&object, &mut touched),
            Event::Bad(object, problem) => self.mark_bad(object, problem, &mut touched),
            Event::Trouble { origin, problem: Some(problem) } => {
                self.troubles.insert(origin, problem);
            }
            Event::Trouble { origin, problem: None } => {
                self.troubles.remove(&origin);
            }
        }
        touched
    }

    /// Has each kind been listed completely at least once?
    pub fn is_listed(&self) -> bool {
        Kind::ALL.iter().all(|kind| self.listed.contains(kind))
    }

    /// Is there nothing that could not be understood: no bad object, and no file or watch in trouble?
    pub fn is_understood(&self) -> bool {
        self.bad.is_empty() && self.troubles.is_empty()
    }

    /// Has `kind` been listed completely at least once?
    pub fn has_listed(&self, kind: Kind) -> bool {
        self.listed.contains(&kind)
    }

    /// The Service called `key`.
    pub fn service(&self, key: &ServiceKey) -> Option<&Service> {
        self.services.get(key).map(|entry| &entry.value)
    }

    /// All Services, by name.
    pub fn services(&self) -> impl Iterator<Item = (&ServiceKey, &Service)> {
        self.services.iter().map(|(key, entry)| (key, &entry.value))
    }

    /// How many Services there are.
    pub fn service_count(&self) -> usize {
        self.services.len()
    }

    /// The EndpointSlices of a Service, by name.
    pub fn slices(&self, service: &ServiceKey) -> impl Iterator<Item = &Slice> {
        let names = self.slices_of.get(service).into_iter().flatten();
        names.filter_map(|name| self.slices.get(name)).map(|entry| &entry.value)
    }

    /// The names of a Service's EndpointSlices.
    pub fn slice_names(&self, service: &ServiceKey) -> impl Iterator<Item = &Arc<str>> {
        self.slices_of.get(service).into_iter().flatten()
    }

    /// The EndpointSlice called `name`.
    pub fn slice(&self, name: &str) -> Option<&Slice> {
        self.slices.get(name).map(|entry| &entry.value)
    }

    /// What of the object is not understood.
    pub fn complaint(&self, object: &ObjectRef) -> Option<&str> {
        self.bad.get(object).map(|entry| entry.value.as_str())
    }

    /// This node's Node object.
    pub fn node(&self) -> Option<&Node> {
        self.node.as_ref().map(|entry| &entry.value)
    }

    /// Has this node's Node object been there since the start? If it has, and is not there now, it was deleted.
    pub fn has_seen_node(&self) -> bool {
        self.node_seen
    }

    /// The prefixes of all ServiceCIDR objects.
    pub fn service_cidrs(&self) -> BTreeSet<Prefix> {
        self.cidrs.values().flat_map(|entry| entry.value.iter().copied()).collect()
    }

    /// Objects that could not be understood, with what is wrong.
    pub fn bad_objects(&self) -> impl Iterator<Item = (&ObjectRef, &str)> {
        self.bad.iter().map(|(object, entry)| (object, entry.value.as_str()))
    }

    /// Files and watches that are in trouble, with what is wrong.
    pub fn troubles(&self) -> impl Iterator<Item = (&str, &str)> {
        self.troubles.iter().map(|(origin, problem)| (&**origin, problem.as_str()))
    }

    fn generation(&self, kind: Kind) -> u32 {
        self.generations.get(&kind).copied().unwrap_or_default()
    }

    fn put(&mut self, object: Object, touched: &mut Touched) {
        self.unmark_bad(&object.reference(), touched);
        let generation = self.generation(object.kind());
        match object {
            Object::Service(key, value) => {
                let old = self.services.insert(key.clone(), Entry { value, generation });
                if old.map(|entry| entry.value).as_ref() != self.service(&key) {
                    touched.services.insert(key);
                }
            }
            Object::Slice(name, value) => {
                let service = value.service.clone();
                let old = self.slices.insert(name.clone(), Entry { value, generation }).map(|entry| entry.value);
                if old.as_ref() == self.slices.get(&name).map(|entry| &entry.value) {
                    return;
                }
                if let Some(old) = old.filter(|old| old.service != service) {
                    self.unlink(&old.service, &name);
                    touched.services.insert(old.service);
                }
                self.slices_of.entry(service.clone()).or_default().insert(name);
                touched.services.insert(service);
            }
            Object::Node(value) => {
                touched.node = self.node() != Some(&value);
                self.node = Some(Entry { value, generation });
                self.node_seen = true;
            }
            Object::ServiceCidr(name, value) => {
                let old = self.cidrs.insert(name.clone(), Entry { value, generation }).map(|entry| entry.value);
                touched.ranges = old.as_ref() != self.cidrs.get(&name).map(|entry| &entry.value);
            }
        }
    }

    fn remove(&mut self, object: &ObjectRef, touched: &mut Touched) {
        self.unmark_bad(object, touched);
        match object.kind {
            Kind::Service => {
                let key = ServiceKey::from(object.name.clone());
                if self.services.remove(&key).is_some() {
                    touched.services.insert(key);
                }
            }
            Kind::EndpointSlice => {
                if let Some(old) = self.slices.remove(&object.name) {
                    self.unlink(&old.value.service, &object.name);
                    touched.services.insert(old.value.service);
                }
            }
            Kind::Node => touched.node |= self.node.take().is_some(),
            Kind::ServiceCidr => touched.ranges |= self.cidrs.remove(&object.name).is_some(),
        }
    }

    /// Notes the problem, and that the object is still there, so that the end of a list does not remove it.
    fn mark_bad(&mut self, object: ObjectRef, problem: String, touched: &mut Touched) {
        let generation = self.generation(object.kind);
        match object.kind {
            Kind::Service => {
                if let Some(entry) = self.services.get_mut(&ServiceKey::from(object.name.clone())) {
                    entry.generation = generation;
                }
            }
            Kind::EndpointSlice => {
                if let Some(entry) = self.slices.get_mut(&object.name) {
                    entry.generation = generation;
                }
            }
            Kind::Node => {
                if let Some(entry) = &mut self.node {
                    entry.generation = generation;
                }
            }
            Kind::ServiceCidr => {
                if let Some(entry) = self.cidrs.get_mut(&object.name) {
                    entry.generation = generation;
                }
            }
        }
        let known = self.bad.insert(object.clone(), Entry { value: problem, generation });
        if known.map(|entry| entry.value).as_ref() != self.bad.get(&object).map(|entry| &entry.value) {
            touched.complaints.insert(object);
        }
    }

    /// Forgets the problem. Problems of the Node object are told under its real name, and there is but one Node here.
    fn unmark_bad(&mut self, object: &ObjectRef, touched: &mut Touched) {
        match object.kind {
            Kind::Node => self.bad.retain(|bad, _| bad.kind != Kind::Node),
            Kind::Service | Kind::EndpointSlice | Kind::ServiceCidr => {
                if self.bad.remove(object).is_some() {
                    touched.complaints.insert(object.clone());
                }
            }
        }
    }

    /// Removes what the list that just ended did not tell of.
    fn sweep(&mut self, kind: Kind, touched: &mut Touched) {
        let current = self.generation(kind);
        let stale: Vec<Arc<str>> = match kind {
            Kind::Service => stale(&self.services, current).map(|key| key.name()).collect(),
            Kind::EndpointSlice => stale(&self.slices, current).cloned().collect(),
            Kind::Node => self.node.iter().filter(|node| node.generation != current).map(|_| Arc::from("")).collect(),
            Kind::ServiceCidr => stale(&self.cidrs, current).cloned().collect(),
        };
        for name in stale {
            self.remove(&ObjectRef { kind, name }, touched);
        }
        self.bad.retain(|object, entry| {
            let stays = object.kind != kind || entry.generation == current;
            if !stays {
                touched.complaints.insert(object.clone());
            }
            stays
        });
    }

    fn unlink(&mut self, service: &ServiceKey, slice: &Arc<str>) {
        if let Some(names) = self.slices_of.get_mut(service) {
            names.remove(slice);
            if names.is_empty() {
                self.slices_of.remove(service);
            }
        }
    }
}

/// The keys of all entries that a list other than `current` told of last.
fn stale<K, T>(entries: &BTreeMap<K, Entry<T>>, current: u32) -> impl Iterator<Item = &K> {
    entries.iter().filter(move |(_, entry)| entry.generation != current).map(|(key, _)| key)
}

impl Object {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Object::Service(..) => Kind::Service,
            Object::Slice(..) => Kind::EndpointSlice,
            Object::Node(_) => Kind::Node,
            Object::ServiceCidr(..) => Kind::ServiceCidr,
        }
    }

    /// What names it. The Node object, of which there is one, goes by the empty name.
    pub fn reference(&self) -> ObjectRef {
        let name = match self {
            Object::Service(key, _) => key.name(),
            Object::Slice(name, _) | Object::ServiceCidr(name, _) => name.clone(),
            Object::Node(_) => Arc::from(""),
        };
        ObjectRef { kind: self.kind(), name }
    }
}

#[cfg(test)]
mod tests;
