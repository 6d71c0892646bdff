//! A small cluster that changes at random: few names, few addresses, so that claims collide often.

mod objects;
mod setup;

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use vipcast::model::node::Node;
use vipcast::model::{Event, Kind, Labels, Object, ObjectRef, ServiceKey};

use self::objects::{OTHER_NODE, any_cidr, any_node, any_other_node, any_service, any_slice};
use super::build::labels;

pub(crate) use self::setup::{Setup, any_setup};

const SERVICES: usize = 5;
const SLICES: usize = 6;

/// What is really there.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct World {
    pub(crate) objects: BTreeMap<ObjectRef, Object>,
}

/// Something that happens in the cluster or to a source.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Happening {
    /// An object is there in this form.
    Put(Object),
    /// An object is gone.
    Gone(ObjectRef),
    /// An object is there, but nobody understands it.
    Bad(ObjectRef),
    /// A file or a watch is in trouble, or well again.
    Trouble(bool),
    /// A source lists a kind anew, and completely.
    List(Kind),
    /// A source begins to list a kind, and breaks off after so many objects.
    BreakOff(Kind, usize),
}

impl World {
    /// Lets it happen; answers with what a source tells of it.
    pub(crate) fn happen(&mut self, happening: Happening) -> Vec<Event> {
        match happening {
            Happening::Put(object) => {
                self.objects.insert(object.reference(), object.clone());
                vec![Event::Put(object)]
            }
            Happening::Gone(object) => {
                self.objects.remove(&object);
                vec![Event::Gone(object)]
            }
            Happening::Bad(object) => vec![Event::Bad(object, "cannot be understood".into())],
            Happening::Trouble(is) => {
                vec![Event::Trouble { origin: "a watch".into(), problem: is.then(|| "is down".into()) }]
            }
            Happening::List(kind) => self.list(kind, usize::MAX, true),
            Happening::BreakOff(kind, count) => self.list(kind, count, false),
        }
    }

    /// This node's Node object.
    pub(crate) fn node(&self) -> Option<&Node> {
        self.objects.values().find_map(|object| match object {
            Object::Node(node) => Some(node),
            _ => None,
        })
    }

    /// The labels of this node: none if it has no Node object.
    pub(crate) fn labels(&self) -> Labels {
        self.node().map(|node| node.labels.clone()).unwrap_or_default()
    }

    /// The node has these labels now.
    pub(crate) fn label(&mut self, text: &str) -> Happening {
        let node = self.node().cloned().unwrap_or_default();
        Happening::Put(Object::Node(Node { labels: labels(text), ..node }))
    }

    /// All kinds, listed completely.
    pub(crate) fn list_all(&self) -> Vec<Event> {
        Kind::ALL.into_iter().flat_map(|kind| self.list(kind, usize::MAX, true)).collect()
    }

    fn list(&self, kind: Kind, count: usize, to_the_end: bool) -> Vec<Event> {
        let of_kind = self.objects.values().filter(|object| object.kind() == kind).take(count).cloned();
        let end = to_the_end.then_some(Event::Listed(kind));
        std::iter::once(Event::Listing(kind)).chain(of_kind.map(Event::Put)).chain(end).collect()
    }
}

fn service_key(index: usize) -> ServiceKey {
    ServiceKey::new("shop", &format!("s{index}"))
}

fn slice_name(index: usize) -> Arc<str> {
    format!("shop/e{index}").into()
}

/// Any object.
pub(crate) fn any_object() -> impl Strategy<Value = Object> {
    prop_oneof![8 => any_service(), 10 => any_slice(), 2 => any_node(), 1 => any_other_node(), 2 => any_cidr()]
}

/// The name of any object.
fn any_reference() -> impl Strategy<Value = ObjectRef> {
    prop_oneof![
        3 => (0..SERVICES).prop_map(|index| (Kind::Service, service_key(index).name())),
        4 => (0..SLICES).prop_map(|index| (Kind::EndpointSlice, slice_name(index))),
        1 => select(vec!["a", "b"]).prop_map(|name| (Kind::ServiceCidr, name.into())),
        1 => Just((Kind::Node, "".into())),
        1 => Just((Kind::Node, OTHER_NODE.into())),
    ]
    .prop_map(|(kind, name)| ObjectRef { kind, name })
}

fn any_kind() -> impl Strategy<Value = Kind> {
    select(Kind::ALL.to_vec())
}

/// Anything that can happen.
pub(crate) fn any_happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        20 => any_object().prop_map(Happening::Put),
        6 => any_reference().prop_map(Happening::Gone),
        2 => any_reference().prop_map(Happening::Bad),
        1 => any::<bool>().prop_map(Happening::Trouble),
        2 => any_kind().prop_map(Happening::List),
        1 => (any_kind(), 0..4_usize).prop_map(|(kind, count)| Happening::BreakOff(kind, count)),
    ]
}

/// A world with something in it.
pub(crate) fn any_world() -> impl Strategy<Value = World> {
    vec(any_object(), 8..30).prop_map(|objects| {
        let objects = objects.into_iter().map(|object| (object.reference(), object)).collect();
        World { objects }
    })
}
