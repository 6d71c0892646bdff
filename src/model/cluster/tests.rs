use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;
use proptest::sample::{Index, subsequence};

use super::*;
use crate::model::Family;
use crate::model::node::Footprint;
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

/// The Node `name`, which is not this node's, with one address and one pod range.
fn other(name: &str, version: u8) -> Object {
    let address = IpAddr::V4(Ipv4Addr::new(10, 0, 2, version));
    let pods = Prefix::containing(IpAddr::V4(Ipv4Addr::new(10, 244, version, 0)), 24);
    let footprint = Footprint { addresses: BTreeSet::from([address]), pod_cidrs: pods.into_iter().collect() };
    Object::OtherNode(Arc::from(name), footprint)
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
    content.extend(cluster.nodes.footprints().map(|(name, footprint)| format!("{name} {footprint:?}")));
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
    let nodes_only = Touched { nodes: true, ..Touched::default() };
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
        ("another node", Event::Put(other("lb2", 1)), nodes_only.clone()),
        ("a heartbeat of it", Event::Put(other("lb2", 1)), nothing.clone()),
        ("its address changes", Event::Put(other("lb2", 2)), nodes_only.clone()),
        ("labels of ours change", Event::Put(labelled(node(1))), Touched { node: true, ..nothing.clone() }),
        ("the other node goes", Event::Gone(object(Kind::Node, "lb2")), nodes_only),
        ("a node that is not there", Event::Gone(object(Kind::Node, "lb2")), nothing.clone()),
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
    list(
        &mut cluster,
        [service("a", 1), slice("a-1", "a", 1), node(1), other("lb2", 1), cidr("kubernetes", 96)].map(Event::Put),
    );
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
        (other("lb2", 1), object(Kind::Node, "lb2")),
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

fn labelled(node: Object) -> Object {
    let Object::Node(node) = node else { panic!("not this node's") };
    Object::Node(Node { labels: [("role".to_owned(), "lb".to_owned())].into(), ..node })
}

/// Who has `address`, by its addresses and by its pod ranges.
fn whose(cluster: &Cluster, address: &str) -> (Option<String>, Option<String>) {
    let address = address.parse().unwrap();
    let pods = cluster.pod_range_holding(address).map(|(pods, node)| format!("{pods} {node}"));
    (cluster.node_owning(address).map(str::to_owned), pods)
}

#[test]
fn nodes_are_found_by_their_addresses_and_pod_ranges() {
    let found = |address: Option<&str>, pods: Option<&str>| (address.map(str::to_owned), pods.map(str::to_owned));
    let mut cluster = unknown();
    let footprint = |addresses: &[&str], pods: &[&str]| Footprint {
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        pod_cidrs: pods.iter().map(|text| text.parse().unwrap()).collect(),
    };
    let put = |cluster: &mut Cluster, name: &str, footprint: Footprint| {
        cluster.apply(Event::Put(Object::OtherNode(Arc::from(name), footprint)));
    };
    put(&mut cluster, "w2", footprint(&["10.0.2.2", "fd01::2"], &["10.244.0.0/16", "fd02::/64"]));
    put(&mut cluster, "w1", footprint(&["10.0.2.1", "10.0.2.2"], &["10.244.1.0/24"]));
    let own = Node {
        addresses: vec!["10.0.1.2".parse().unwrap()],
        external_addresses: vec!["192.0.2.2".parse().unwrap()],
        pod_cidrs: vec!["10.245.0.0/24".parse().unwrap()],
        ..Node::default()
    };
    cluster.apply(Event::Put(Object::Node(own)));
    let cases = [
        ("10.0.2.1", found(Some("w1"), None)),
        ("10.0.2.2", found(Some("w1"), None)),
        ("fd01::2", found(Some("w2"), None)),
        ("10.0.2.3", found(None, None)),
        ("10.0.1.2", found(Some("lb1"), None)),
        ("192.0.2.2", found(Some("lb1"), None)),
        ("10.245.0.255", found(None, Some("10.245.0.0/24 lb1"))),
        ("10.245.1.0", found(None, None)),
        ("10.244.1.9", found(None, Some("10.244.1.0/24 w1"))),
        ("10.244.2.9", found(None, Some("10.244.0.0/16 w2"))),
        ("fd02::9", found(None, Some("fd02::/64 w2"))),
        ("fd02:0:0:1::9", found(None, None)),
    ];
    for (address, expected) in cases {
        assert_eq!(whose(&cluster, address), expected, "{address}");
    }
    put(&mut cluster, "w1", footprint(&["10.0.2.1"], &[]));
    assert_eq!(whose(&cluster, "10.0.2.2"), found(Some("w2"), None), "of two that claim it one is left");
    assert_eq!(whose(&cluster, "10.244.1.9"), found(None, Some("10.244.0.0/16 w2")));
    cluster.apply(Event::Gone(object(Kind::Node, "w2")));
    cluster.apply(Event::Gone(object(Kind::Node, "lb1")));
    for address in ["10.0.2.2", "10.244.1.9", "10.0.1.2", "10.245.0.1"] {
        assert_eq!(whose(&cluster, address), found(None, None), "{address}");
    }
}

/// What another Node does, or that nobody understands it, is not about this node's own.
#[test]
fn our_node_is_not_taken_for_another_one() {
    let mut cluster = unknown();
    list(&mut cluster, [node(1), other("lb2", 1)].map(Event::Put));
    cluster.apply(Event::Gone(object(Kind::Node, "lb3")));
    cluster.apply(Event::Gone(object(Kind::Node, "lb2")));
    assert!(cluster.node().is_some());
    cluster.apply(Event::Bad(object(Kind::Node, "lb2"), "no".into()));
    assert!(cluster.is_understood() && cluster.bad_objects().count() == 1, "told, and nothing waits for it");
    cluster.apply(Event::Put(node(1)));
    assert_eq!(cluster.bad_objects().count(), 1, "ours is no answer to it");
    cluster.apply(Event::Bad(object(Kind::Node, "lb1"), "no".into()));
    assert_eq!(cluster.bad_objects().count(), 2);
    assert_eq!(list(&mut cluster, [Event::Put(other("lb2", 1))]).len(), 2, "ours is gone, the other is there");
    assert!(cluster.node().is_none() && cluster.has_seen_node() && cluster.is_understood());
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
    let all: Vec<(u8, u8)> =
        (0..12).flat_map(|i| [(0, i), (1, i), (3, i)]).chain([(2, 0)]).chain((0..4).map(|i| (4, i))).collect();
    (subsequence(all, 0..=20), any::<[u8; 4]>()).prop_map(|(some, versions)| {
        let version = |i: u8| versions[usize::from(i) % versions.len()];
        let object = |(kind, i)| match kind {
            0 => service(&format!("s{i}"), version(i)),
            1 => slice(&format!("e{i}"), &format!("s{}", i / 2), version(i)),
            2 => node(version(i)),
            4 => other(&format!("n{i}"), version(i)),
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

/// What is left out of an object was left out by an earlier run too.
#[test]
fn an_object_that_is_bad_in_part_is_known() {
    for (name, put) in [
        (object(Kind::Service, "default/a"), service("a", 1)),
        (object(Kind::EndpointSlice, "default/a-1"), slice("a-1", "a", 1)),
        (object(Kind::Node, "lb1"), node(1)),
        (object(Kind::ServiceCidr, "a"), Object::ServiceCidr("a".into(), Vec::new())),
    ] {
        let mut cluster = unknown();
        cluster.apply(Event::Bad(name.clone(), "no".into()));
        assert!(!cluster.is_understood(), "{name}");
        cluster.apply(Event::Put(put));
        cluster.apply(Event::Bad(name.clone(), "a part of it".into()));
        assert!(cluster.is_understood() && cluster.bad_objects().count() == 1, "{name}");
    }
}
