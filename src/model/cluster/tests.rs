use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;
use proptest::sample::{Index, subsequence};

use super::*;
use crate::model::Family;
use crate::model::service::Endpoint;

fn unknown() -> Cluster {
    Cluster::seen_from("lb1")
}

fn key(name: &str) -> ServiceKey {
    ServiceKey::new("default", name)
}

fn object(kind: Kind, name: &str) -> ObjectRef {
    ObjectRef { kind, name: Arc::from(name) }
}

/// The Service `default/<name>`, of which `version` makes different ones.
fn service(name: &str, version: u8) -> Object {
    let cluster_ips = vec![IpAddr::V4(Ipv4Addr::new(10, 96, 0, version))];
    Object::Service(key(name), Service { cluster_ips, ..Service::default() })
}

/// The EndpointSlice `default/<name>` of the Service `default/<service>`.
fn slice(name: &str, service: &str, version: u8) -> Object {
    let endpoint = Endpoint::new(IpAddr::V4(Ipv4Addr::new(10, 1, 0, version)), true);
    let slice = Slice { service: key(service), family: Family::Ipv4, ports: Vec::new(), endpoints: vec![endpoint] };
    Object::Slice(key(name).name(), slice)
}

fn node(version: u8) -> Object {
    Object::Node(Node { addresses: vec![IpAddr::V4(Ipv4Addr::new(10, 0, 1, version))], ..Node::default() })
}

fn cidr(name: &str, version: u8) -> Object {
    Object::ServiceCidr(
        Arc::from(name),
        Prefix::containing(IpAddr::V4([10, version, 0, 0].into()), 16).into_iter().collect(),
    )
}

/// All that can be asked of a Cluster, in words.
fn content(cluster: &Cluster) -> Vec<String> {
    let mut content = Vec::new();
    for (key, value) in cluster.services() {
        content.push(format!("{key} {value:?} {:?}", cluster.slices(key).collect::<Vec<_>>()));
    }
    // Slices of Services that are not there are kept for when they come.
    content.extend(cluster.slices_of.keys().map(|key| format!("{key} {:?}", cluster.slices(key).collect::<Vec<_>>())));
    content.push(format!("{:?} {:?}", cluster.node(), cluster.service_cidrs()));
    content.extend(cluster.bad_objects().map(|(object, problem)| format!("{object}: {problem}")));
    content.extend(cluster.troubles().map(|(origin, problem)| format!("{origin}: {problem}")));
    content
}

fn put_all(cluster: &mut Cluster, objects: &[Object]) -> Vec<Touched> {
    objects.iter().map(|object| cluster.apply(Event::Put(object.clone()))).collect()
}

/// Lists all kinds; `told` are the events in between. Answers with what was touched, complaints left out.
fn list(cluster: &mut Cluster, told: impl IntoIterator<Item = Event>) -> Vec<Touched> {
    let events = Kind::ALL.into_iter().map(Event::Listing).chain(told).chain(Kind::ALL.into_iter().map(Event::Listed));
    let touched = events.map(|event| Touched { complaints: BTreeSet::new(), ..cluster.apply(event) });
    touched.filter(|touched| *touched != Touched::default()).collect()
}

fn services(names: &[&str]) -> Touched {
    Touched { services: names.iter().map(|name| key(name)).collect(), ..Touched::default() }
}

/// `touched`, and something else is not understood of the Service.
fn complaining(name: &str, touched: Touched) -> Touched {
    Touched { complaints: BTreeSet::from([object(Kind::Service, &format!("default/{name}"))]), ..touched }
}

#[test]
fn an_event_touches_what_it_concerns_and_nothing_else() {
    let nothing = Touched::default();
    let node_only = Touched { node: true, nodes: true, ..Touched::default() };
    let ranges_only = Touched { ranges: true, ..Touched::default() };
    let steps = [
        ("a new Service", Event::Put(service("a", 1)), services(&["a"])),
        ("the same again", Event::Put(service("a", 1)), nothing.clone()),
        ("a changed Service", Event::Put(service("a", 2)), services(&["a"])),
        ("a slice of it", Event::Put(slice("a-1", "a", 1)), services(&["a"])),
        ("the same slice again", Event::Put(slice("a-1", "a", 1)), nothing.clone()),
        ("a slice before its Service", Event::Put(slice("b-1", "b", 1)), services(&["b"])),
        ("a slice that changes hands", Event::Put(slice("a-1", "b", 1)), services(&["a", "b"])),
        ("a slice that goes", Event::Gone(object(Kind::EndpointSlice, "default/a-1")), services(&["b"])),
        ("a slice that is not there", Event::Gone(object(Kind::EndpointSlice, "default/a-1")), nothing.clone()),
        (
            "a bad Service",
            Event::Bad(object(Kind::Service, "default/a"), "no".into()),
            complaining("a", nothing.clone()),
        ),
        ("as bad as before", Event::Bad(object(Kind::Service, "default/a"), "no".into()), nothing.clone()),
        (
            "bad in another way",
            Event::Bad(object(Kind::Service, "default/a"), "oh".into()),
            complaining("a", nothing.clone()),
        ),
        ("a Service that goes", Event::Gone(object(Kind::Service, "default/a")), complaining("a", services(&["a"]))),
        ("a Service that is not there", Event::Gone(object(Kind::Service, "default/a")), nothing.clone()),
        ("the node", Event::Put(node(1)), node_only.clone()),
        ("the same node", Event::Put(node(1)), nothing.clone()),
        ("a range", Event::Put(cidr("kubernetes", 96)), ranges_only.clone()),
        ("the same range", Event::Put(cidr("kubernetes", 96)), nothing.clone()),
        ("the range goes", Event::Gone(object(Kind::ServiceCidr, "kubernetes")), ranges_only),
        ("the node goes, under its real name", Event::Gone(object(Kind::Node, "lb1")), node_only),
        ("a trouble", Event::Trouble { origin: "x".into(), problem: Some("no".into()) }, nothing),
    ];
    let mut cluster = unknown();
    for (what, event, touched) in steps {
        assert_eq!(cluster.apply(event), touched, "{what}");
    }
    assert_eq!(cluster.slices(&key("b")).count(), 1, "a slice waits for its Service");
}

#[test]
fn a_service_that_was_recreated_is_another_one() {
    let mut cluster = unknown();
    let with_uid = |uid: &str| {
        let Object::Service(key, value) = service("a", 1) else { panic!("not a Service") };
        Event::Put(Object::Service(key, Service { uid: Some(Arc::from(uid)), ..value }))
    };
    cluster.apply(with_uid("1"));
    assert_eq!(cluster.apply(with_uid("2")), services(&["a"]));
}

#[test]
fn it_is_listed_when_every_kind_was() {
    let mut cluster = unknown();
    for kind in Kind::ALL {
        assert!(!cluster.is_listed());
        cluster.apply(Event::Listing(kind));
        assert!(!cluster.is_listed());
        cluster.apply(Event::Listed(kind));
    }
    assert!(cluster.is_listed());
    cluster.apply(Event::Listing(Kind::Service));
    assert!(cluster.is_listed(), "a new list does not undo the first");
}

#[test]
fn a_list_that_does_not_end_removes_nothing() {
    let mut cluster = unknown();
    list(&mut cluster, [service("a", 1), service("b", 1)].map(Event::Put));
    cluster.apply(Event::Listing(Kind::Service));
    cluster.apply(Event::Put(service("a", 1)));
    assert_eq!(cluster.service_count(), 2);
    // It failed; the next one tells of the other object only, and is complete.
    cluster.apply(Event::Listing(Kind::Service));
    cluster.apply(Event::Put(service("b", 1)));
    assert_eq!(cluster.apply(Event::Listed(Kind::Service)), services(&["a"]));
}

#[test]
fn the_end_of_a_list_concerns_its_own_kind_only() {
    let mut cluster = unknown();
    list(&mut cluster, [service("a", 1), slice("a-1", "a", 1), node(1), cidr("kubernetes", 96)].map(Event::Put));
    cluster.apply(Event::Bad(object(Kind::EndpointSlice, "default/a-2"), "no".into()));
    cluster.apply(Event::Listing(Kind::Service));
    assert_eq!(cluster.apply(Event::Listed(Kind::Service)), services(&["a"]));
    assert_eq!(cluster.slices(&key("a")).count(), 1);
    assert_eq!(cluster.bad_objects().count(), 1);
    assert!(cluster.node().is_some() && !cluster.service_cidrs().is_empty());
}

#[test]
fn a_bad_object_keeps_what_was_known_through_lists() {
    let cases = [
        (service("a", 1), object(Kind::Service, "default/a")),
        (slice("a-1", "a", 1), object(Kind::EndpointSlice, "default/a-1")),
        (node(1), object(Kind::Node, "lb1")),
        (cidr("kubernetes", 96), object(Kind::ServiceCidr, "kubernetes")),
    ];
    for (value, name) in cases {
        let mut cluster = unknown();
        list(&mut cluster, [Event::Put(value.clone())]);
        let good = content(&cluster);
        cluster.apply(Event::Bad(name.clone(), "no".into()));
        let bad = content(&cluster);
        assert_eq!(bad.len(), good.len() + 1, "{name}: only the problem is new");
        assert_eq!(list(&mut cluster, [Event::Bad(name.clone(), "no".into())]), [], "{name}");
        assert_eq!(content(&cluster), bad, "{name}");
        assert_eq!(list(&mut cluster, [Event::Put(value.clone())]), [], "{name}: well again, and as it was");
        assert_eq!(content(&cluster), good, "{name}");
        cluster.apply(Event::Bad(name.clone(), "no".into()));
        assert_eq!(list(&mut cluster, []).len(), 1, "{name}: gone");
        assert_eq!(content(&cluster), content(&unknown()), "{name}: the problem goes with it");
    }
}

#[test]
fn a_put_and_then_bad_is_in_force_and_has_a_problem() {
    let mut cluster = unknown();
    assert_eq!(cluster.apply(Event::Put(slice("a-1", "a", 1))), services(&["a"]));
    cluster.apply(Event::Bad(object(Kind::EndpointSlice, "default/a-1"), "endpoints[1]".into()));
    assert_eq!(cluster.slices(&key("a")).count(), 1);
    assert_eq!(cluster.bad_objects().count(), 1);
}

#[test]
fn troubles_come_and_go_by_origin() {
    let mut cluster = unknown();
    let trouble = |origin: &str, problem: Option<&str>| Event::Trouble {
        origin: Arc::from(origin),
        problem: problem.map(str::to_owned),
    };
    for event in [trouble("a", Some("1")), trouble("b", Some("2")), trouble("a", Some("3")), trouble("b", None)] {
        cluster.apply(event);
    }
    assert_eq!(cluster.troubles().collect::<Vec<_>>(), [("a", "3")]);
}

/// Some distinct objects of all kinds.
fn objects() -> impl Strategy<Value = Vec<Object>> {
    let all: Vec<(u8, u8)> = (0..12).flat_map(|i| [(0, i), (1, i), (3, i)]).chain([(2, 0)]).collect();
    (subsequence(all, 0..=20), any::<[u8; 4]>()).prop_map(|(some, versions)| {
        let version = |i: u8| versions[usize::from(i) % versions.len()];
        let object = |(kind, i)| match kind {
            0 => service(&format!("s{i}"), version(i)),
            1 => slice(&format!("e{i}"), &format!("s{}", i / 2), version(i)),
            2 => node(version(i)),
            _ => cidr(&format!("c{i}"), version(i)),
        };
        some.into_iter().map(object).collect()
    })
}

proptest! {
    #[test]
    fn the_order_of_events_does_not_matter(
        (objects, shuffled) in objects().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        late in any::<Index>(),
    ) {
        let (mut one, mut other) = (unknown(), unknown());
        list(&mut one, objects.iter().cloned().map(Event::Put));
        // The other one hears a part of it within the list and the rest after it.
        let (within, after) = shuffled.split_at(late.index(shuffled.len() + 1));
        list(&mut other, within.iter().cloned().map(Event::Put));
        put_all(&mut other, after);
        prop_assert_eq!(content(&one), content(&other));
    }

    #[test]
    fn a_relist_of_the_same_objects_touches_nothing(
        (objects, shuffled) in objects().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
    ) {
        let mut cluster = unknown();
        list(&mut cluster, objects.into_iter().map(Event::Put));
        let before = content(&cluster);
        prop_assert_eq!(list(&mut cluster, shuffled.into_iter().map(Event::Put)), []);
        prop_assert_eq!(content(&cluster), before);
    }

    #[test]
    fn a_list_removes_exactly_what_it_does_not_tell_of(
        (all, kept) in objects().prop_flat_map(|all| {
            let count = all.len();
            (Just(all.clone()), subsequence(all, 0..=count))
        }),
    ) {
        let (mut cluster, mut expected) = (unknown(), unknown());
        list(&mut cluster, all.into_iter().map(Event::Put));
        list(&mut cluster, kept.iter().cloned().map(Event::Put));
        list(&mut expected, kept.into_iter().map(Event::Put));
        prop_assert_eq!(content(&cluster), content(&expected));
    }

    #[test]
    fn bad_objects_keep_their_last_good_form_through_a_relist(
        (all, bad) in objects().prop_flat_map(|all| {
            let count = all.len();
            (Just(all.clone()), subsequence(all, 0..=count))
        }),
    ) {
        let mut cluster = unknown();
        list(&mut cluster, all.iter().cloned().map(Event::Put));
        let before = content(&cluster);
        let told = all.into_iter().map(|object| {
            if bad.contains(&object) { Event::Bad(object.reference(), "no".into()) } else { Event::Put(object) }
        });
        prop_assert_eq!(list(&mut cluster, told), []);
        prop_assert_eq!(cluster.bad_objects().count(), bad.len());
        let after: Vec<String> = content(&cluster).into_iter().filter(|line| !line.ends_with(": no")).collect();
        prop_assert_eq!(after, before);
    }
}
