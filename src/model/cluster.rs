//! The cluster's objects as the sources told them, folded into compact form. [`Cluster::apply`] stores one event and
//! answers which Services it concerns, so that the work of a change is proportional to the change.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use self::nodes::Nodes;
use super::node::{DrainAsked, Node};
use super::prefix::Prefix;
use super::service::{Service, ServiceKey, Slice};

pub use self::event::{Event, Kind, Object, ObjectRef};

mod event;
mod nodes;

/// What an event concerns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Touched {
    /// Services whose claims may have changed.
    pub services: BTreeSet<ServiceKey>,
    /// This node's Node object changed.
    pub node: bool,
    /// Addresses or pod ranges of some Node changed, this node's own included.
    pub nodes: bool,
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
    /// The name of this node's own Node.
    own: Arc<str>,
    services: BTreeMap<ServiceKey, Entry<Service>>,
    slices: BTreeMap<Arc<str>, Entry<Slice>>,
    slices_of: BTreeMap<ServiceKey, BTreeSet<Arc<str>>>,
    /// This node's own Node; how fresh it is, stands in `nodes`.
    node: Option<Node>,
    /// It was there at some time since the start.
    node_seen: bool,
    /// All Nodes, this node's own included.
    nodes: Nodes,
    cidrs: BTreeMap<Arc<str>, Entry<Vec<Prefix>>>,
    bad: BTreeMap<ObjectRef, Entry<String>>,
    troubles: BTreeMap<Arc<str>, String>,
    /// The number of the current list, by kind.
    generations: BTreeMap<Kind, u32>,
    listed: BTreeSet<Kind>,
}

impl Cluster {
    /// A cluster of which nothing is known, as the node sees it whose Node object is called `node`.
    pub fn seen_from(node: &str) -> Cluster {
        Cluster { own: Arc::from(node), ..Cluster::default() }
    }

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
            Event::Gone(object) => self.remove(&self.named(object), &mut touched),
            Event::Bad(object, problem) => self.mark_bad(self.named(object), problem, &mut touched),
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

    /// Is there nothing unknown: no bad object of which nothing is in force, and no file or watch in trouble? An object
    /// that is bad in part is known: whoever left that part out before made nothing of it. Bad Nodes of others do not
    /// count, since nothing that is served follows from them.
    pub fn is_understood(&self) -> bool {
        let is_others = |object: &ObjectRef| object.kind == Kind::Node && object.name != self.own;
        self.bad.keys().all(|object| is_others(object) || self.is_known(object)) && self.troubles.is_empty()
    }

    /// Is something of the object in force?
    fn is_known(&self, object: &ObjectRef) -> bool {
        match object.kind {
            Kind::Service => self.services.contains_key(&ServiceKey::from(object.name.clone())),
            Kind::EndpointSlice => self.slices.contains_key(&object.name),
            Kind::Node => self.node.is_some(),
            Kind::ServiceCidr => self.cidrs.contains_key(&object.name),
        }
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
        self.node.as_ref()
    }

    /// Has this node's Node object been there since the start? If it has, and is not there now, it was deleted.
    pub fn has_seen_node(&self) -> bool {
        self.node_seen
    }

    /// The name of the Node that has `address` (InternalIP or ExternalIP), this node's own included.
    pub fn node_owning(&self, address: IpAddr) -> Option<&str> {
        self.nodes.owning(address)
    }

    /// The narrowest of all Nodes' pod ranges that holds `address`, with the name of its Node, this node's own included.
    pub fn pod_range_holding(&self, address: IpAddr) -> Option<(Prefix, &str)> {
        self.nodes.pod_range_holding(address)
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

    /// What `object` is called here: nobody but this node's own Node goes by the empty name.
    fn named(&self, object: ObjectRef) -> ObjectRef {
        match object.kind {
            Kind::Node if object.name.is_empty() => ObjectRef { name: self.own.clone(), ..object },
            _ => object,
        }
    }

    fn put(&mut self, object: Object, touched: &mut Touched) {
        self.unmark_bad(&self.named(object.reference()), touched);
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
            Object::Node(mut value) => {
                if let Some(former) = &self.node {
                    value.bgp.keep(&former.bgp);
                    if value.drain == DrainAsked::Unread {
                        value.drain = former.drain;
                    }
                }
                touched.node = self.node.as_ref() != Some(&value);
                touched.nodes = self.nodes.put(self.own.clone(), value.footprint(), generation);
                self.node = Some(value);
                self.node_seen = true;
            }
            Object::OtherNode(name, value) => touched.nodes = self.nodes.put(name, value, generation),
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
            Kind::Node => {
                touched.node |= object.name == self.own && self.node.take().is_some();
                touched.nodes |= self.nodes.remove(&object.name);
            }
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
            Kind::Node => self.nodes.touch(&object.name, generation),
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

    /// Forgets the problem.
    fn unmark_bad(&mut self, object: &ObjectRef, touched: &mut Touched) {
        if self.bad.remove(object).is_some() {
            touched.complaints.insert(object.clone());
        }
    }

    /// Removes what the list that just ended did not tell of.
    fn sweep(&mut self, kind: Kind, touched: &mut Touched) {
        let current = self.generation(kind);
        let stale: Vec<Arc<str>> = match kind {
            Kind::Service => stale(&self.services, current).map(|key| key.name()).collect(),
            Kind::EndpointSlice => stale(&self.slices, current).cloned().collect(),
            Kind::Node => self.nodes.stale(current).cloned().collect(),
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

#[cfg(test)]
mod tests;
