//! One bad object hurts only itself; a source that is lost freezes the state; a secret is never shown.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use vipcast::model::ipvs::Protocol;
use vipcast::model::service::{Endpoint, Service, ServicePort, Slice, SlicePort};
use vipcast::model::{Event, Family, Kind, Object, ObjectRef, Secret, ServiceKey, Settings, State};
use vipcast::plan::{Change, Step};

use super::{any_gobgpd, cases};
use crate::support::build::{host_routes, ip, tcp, web};
use crate::support::rig::Rig;
use crate::support::sim::{Act, Sim, any_act};
use crate::support::world::{Happening, World, any_happening, any_world};

/// What can be wrong with one object.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Harm {
    /// Its ClusterIP lies in no range.
    OutsideRanges,
    /// The kernel refuses its endpoint.
    RefusedEndpoint,
    /// The kernel refuses its VIP.
    RefusedVip,
    /// An older Service has its VIP.
    Conflict,
    /// Its endpoint lies in a range itself.
    EndpointInRange,
}

const HARMS: [Harm; 5] =
    [Harm::OutsideRanges, Harm::RefusedEndpoint, Harm::RefusedVip, Harm::Conflict, Harm::EndpointInRange];

/// A VIP and an endpoint that no other object has.
const VIP: &str = "10.96.128.66";
const POD: &str = "10.244.66.66";

fn bad_service(harm: Harm) -> [Object; 2] {
    let vip = match harm {
        Harm::OutsideRanges => "10.97.0.66",
        Harm::Conflict => "10.96.128.1",
        _ => VIP,
    };
    let pod = if harm == Harm::EndpointInRange { "10.96.128.99" } else { POD };
    let name = ServiceKey::new("shop", "bad");
    let service = Service {
        created: 99,
        uid: None,
        cluster_ips: vec![ip(vip)],
        external_ips: Vec::new(),
        ports: vec![ServicePort { name: "http".into(), protocol: Protocol::Tcp, port: 80, node_port: None }],
        ..Service::default()
    };
    let slice = Slice {
        service: name.clone(),
        family: Family::Ipv4,
        ports: vec![SlicePort { name: "http".into(), protocol: Protocol::Tcp, port: 8080 }],
        endpoints: vec![Endpoint::new(ip(pod), true)],
    };
    [Object::Service(name, service), Object::Slice("shop/bad".into(), slice)]
}

/// The Service that has the VIP of [`Harm::Conflict`] first.
fn good_service() -> [Object; 2] {
    let [Object::Service(_, mut service), Object::Slice(_, mut slice)] = bad_service(Harm::Conflict) else {
        unreachable!("a Service and its slice")
    };
    let name = ServiceKey::new("shop", "first");
    service.created = -1;
    slice.service = name.clone();
    slice.endpoints[0].address = ip("10.244.66.1");
    [Object::Service(name, service), Object::Slice("shop/first".into(), slice)]
}

/// The state without what belongs to the bad Service.
fn others(mut state: State) -> State {
    state.ipvs.remove(&tcp(VIP, 80));
    if let Some(bgp) = &mut state.bgp {
        let path = vipcast::model::Prefix::host(ip(VIP));
        bgp.paths.remove(&path);
        bgp.sent.values_mut().for_each(|sent| drop(sent.remove(&path)));
    }
    state
}

/// Nothing of `before` is missing in `after`.
fn assert_kept(before: &State, after: &State) {
    for (key, server) in &before.ipvs {
        let there = after.ipvs.get(key).unwrap_or_else(|| panic!("{key} was removed"));
        let gone = server.destinations.keys().find(|name| !there.destinations.contains_key(name));
        assert_eq!(gone, None, "a destination of {key} was removed");
    }
    // What is known may add something: a younger Service, where the older one is what was not understood.
    assert_eq!(after.addr.link, before.addr.link);
    let lost = before.addr.routes.iter().find(|(prefix, route)| after.addr.routes.get(prefix) != Some(*route));
    assert_eq!(lost, None, "a local route was removed or changed");
    let bare = |state: &State| {
        let mut nft = state.nft.clone();
        nft.table.iter_mut().for_each(|table| table.elements = Default::default());
        nft
    };
    assert_eq!(bare(after), bare(before));
    let elements = |state: &State| state.nft.table.clone().unwrap_or_default().elements;
    let (had, has) = (elements(before), elements(after));
    assert!(had.keep.is_subset(&has.keep) && had.masquerade.is_subset(&has.masquerade), "{had:?} became {has:?}");
    let paths = |state: &State| state.bgp.clone().unwrap_or_default().paths;
    let gone = paths(before).into_keys().find(|path| !paths(after).contains_key(path));
    assert_eq!(gone, None, "a path was withdrawn");
}

/// The same for every node, whatever its labels.
fn everywhere(mut settings: Settings) -> Settings {
    settings.node_selector = Default::default();
    settings.cluster_ips.iter_mut().flatten().for_each(|range| range.node_selector = Default::default());
    let peers = settings.bgp.iter_mut().flat_map(|bgp| &mut bgp.peers);
    peers.for_each(|entry| entry.node_selector = Default::default());
    settings
}

proptest! {
    #![proptest_config(cases(150))]

    /// A bad Service beside others, from the start or later: they are served and announced as they would be without
    /// it, and the status names it.
    #[test]
    fn a_bad_service_hurts_only_itself(
        setup in any_gobgpd(),
        mut world in any_world(),
        harm in select(HARMS.to_vec()),
        from_the_start in any::<bool>(),
    ) {
        let mut settings = everywhere(setup.0);
        settings.cluster_ips = settings.cluster_ips.filter(|ranges| ranges[0].prefix.contains(ip(VIP)));
        if settings.cluster_ips.is_none() {
            settings = host_routes();
        }
        world.objects.extend(good_service().map(|object| (object.reference(), object)));
        let without = {
            let mut sim = Sim::new(settings.clone());
            sim.world = world.clone();
            sim.list();
            sim.settle();
            sim.assert_converged();
            sim.node.model.state
        };
        let mut sim = Sim::new(settings);
        sim.world = world;
        match harm {
            Harm::RefusedEndpoint => drop(sim.node.refused.insert(ip(POD))),
            Harm::RefusedVip => drop(sim.node.refused.insert(ip(VIP))),
            _ => {}
        }
        if !from_the_start {
            sim.list();
            sim.settle();
        }
        for object in bad_service(harm) {
            sim.act(Act::Happen(Happening::Put(object)));
        }
        sim.list();
        sim.run_for(Duration::from_secs(700));
        prop_assert_eq!(others(sim.node.model.state.clone()), others(without));
        let status = sim.planner.status();
        prop_assert!(status.services.problems.iter().any(|problem| problem.subject == "shop/bad"), "{:?}", status.services);
    }

    /// Objects that cannot be understood, lists that break off and sources in trouble change nothing at all.
    #[test]
    fn a_lost_source_freezes_the_state(
        setup in any_gobgpd(),
        world in any_world(),
        kinds in vec(select(Kind::ALL.to_vec()), 1..4),
        told in 0..5_usize,
    ) {
        let mut sim = Sim::new(setup.0);
        sim.world = world.clone();
        sim.list();
        sim.settle();
        let before = (sim.node.model.state.clone(), sim.writes.clone());
        for kind in kinds {
            sim.act(Act::Happen(Happening::BreakOff(kind, told)));
            sim.act(Act::Happen(Happening::Trouble(true)));
            sim.turn();
        }
        for name in world.objects.keys() {
            sim.act(Act::Happen(Happening::Bad(name.clone())));
        }
        sim.run_for(Duration::from_secs(700));
        prop_assert_eq!(&(sim.node.model.state.clone(), sim.writes.clone()), &before);
        let source = sim.planner.status().source;
        prop_assert_eq!(source.bad_objects.len(), world.objects.len());
        prop_assert_eq!(source.troubles.len(), 1);
    }

    /// An agent that begins while some objects cannot be understood removes nothing that an earlier one left, and all
    /// that is too much once it sees.
    #[test]
    fn an_agent_that_begins_half_blind_removes_nothing(
        setup in any_gobgpd(),
        world in any_world(),
        unknown in vec(any::<Index>(), 1..6),
    ) {
        let mut sim = Sim::new(setup.0.clone());
        sim.world = world.clone();
        sim.list();
        sim.settle();
        let before = sim.node.model.state.clone();
        let names: Vec<ObjectRef> = world.objects.keys().cloned().collect();
        let mut known = world;
        for index in unknown {
            known.objects.remove(index.get(&names));
        }
        let hidden = names.into_iter().filter(|name| !known.objects.contains_key(name)).collect::<Vec<_>>();
        let mut next = sim.successor(known);
        let (ends, begins) = next.world.list_all().into_iter().partition::<Vec<_>, _>(|e| matches!(e, Event::Listed(_)));
        next.tell(begins);
        next.tell(hidden.into_iter().map(|name| Event::Bad(name, "cannot be understood".into())));
        next.tell(ends);
        next.run_for(Duration::from_secs(700));
        assert_kept(&before, &next.node.model.state);
        next.list();
        next.settle();
        next.assert_converged();
    }

    /// Nothing but BGP's own identity and peers before the first list is complete, whatever is told of it.
    #[test]
    fn nothing_of_the_cluster_is_done_before_the_first_list_is_complete(
        setup in any_gobgpd(),
        happenings in vec(any_happening(), 0..30),
        missing in select(Kind::ALL.to_vec()),
    ) {
        let mut sim = Sim::new(setup.0);
        for kind in Kind::ALL.into_iter().filter(|kind| *kind != missing) {
            sim.act(Act::Happen(Happening::List(kind)));
        }
        let is_missing = |happening: &Happening| matches!(happening, Happening::List(kind) if *kind == missing);
        for happening in happenings.into_iter().filter(|happening| !is_missing(happening)) {
            sim.act(Act::Happen(happening));
            sim.act(Act::Turn);
        }
        sim.run_for(Duration::from_secs(700));
        prop_assert_eq!(&sim.writes, &Vec::<String>::new());
    }

    /// The password of a peer is in none of all the words that an operator can see.
    #[test]
    fn no_secret_is_ever_shown(setup in any_gobgpd(), world in any_world(), acts in vec(any_act(), 0..40)) {
        let mut settings = everywhere(setup.0);
        for peer in settings.bgp.iter_mut().flat_map(|bgp| bgp.peers.iter_mut()) {
            peer.peer.password = Some(Secret::new("correct horse"));
        }
        let mut sim = Sim::new(settings);
        sim.world = world;
        sim.list();
        for act in acts.into_iter().filter(|act| !matches!(act, Act::Kill(_))) {
            sim.act(act);
        }
        sim.heal();
        sim.settle();
        let added = sim.writes.iter().filter(|step| step.starts_with("add peer")).count();
        prop_assert!(added >= 2, "the peers were added: {:?}", sim.writes);
        let status = sim.planner.status();
        sim.seen.push(format!("{status:?} {} {:?}", serde_json::to_string(&status).unwrap(), sim.planner));
        prop_assert!(sim.seen.iter().all(|words| !words.contains("horse")));
    }
}

/// Each kind of object that cannot be understood is reported, and its end is noticed.
#[test]
fn bad_objects_are_reported_by_namespace_and_name_until_they_are_well() {
    let mut rig = Rig::new(host_routes());
    rig.list(web()).run();
    let name = ObjectRef { kind: Kind::EndpointSlice, name: "shop/web-4".into() };
    rig.tell(Event::Bad(name, "endpoints[0].addresses is empty".into()));
    assert_eq!(rig.steps(), Vec::<String>::new());
    let bad = rig.planner.status().source.bad_objects;
    let words: Vec<_> = bad.iter().map(|bad| format!("{}: {}", bad.subject, bad.problem)).collect();
    assert_eq!(words, ["EndpointSlice shop/web-4: endpoints[0].addresses is empty"]);
    rig.tell_all(web());
    assert_eq!(rig.steps(), Vec::<String>::new());
    assert_eq!(rig.planner.status().source.bad_objects, []);
}

/// A Service that loses its virtual server to an older one, or gets it back, is told of too.
#[test]
fn both_sides_of_a_conflict_are_news() {
    let mut rig = Rig::new(host_routes());
    let mut world = World::default();
    let [service, slice] = bad_service(Harm::Conflict);
    rig.tell_all(world.list_all());
    world.happen(Happening::Put(service));
    world.happen(Happening::Put(slice));
    rig.tell_all(world.list_all()).run();
    let news = |rig: &mut Rig| -> Vec<String> {
        let stages = rig.run().into_iter().flat_map(|stage| stage.news);
        stages.map(|news| news.to_string()).filter(|line| line.starts_with("Service ")).collect()
    };
    for object in good_service() {
        rig.tell(Event::Put(object));
    }
    let lost = "10.96.128.1:80 TCP is claimed by the older Service shop/first too, which has it";
    assert_eq!(news(&mut rig), [format!("Service shop/bad: {lost}")]);
    rig.change(Change::Source(Event::Gone(ObjectRef { kind: Kind::Service, name: "shop/first".into() })));
    assert_eq!(news(&mut rig), ["Service shop/bad is well again"]);
    assert!(rig.planner.plan(rig.now).steps.iter().all(Step::is_read));
}
