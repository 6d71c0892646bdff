//! Connections end well: what drains, what does not, and for how long.

use std::sync::Arc;
use std::time::Duration;

use vipcast::model::ipvs::{Protocol, ServerKey, Timeouts};
use vipcast::model::service::{Endpoint, Slice};
use vipcast::model::{Event, Family, Kind, Object, ServiceKey, Settings};
use vipcast::plan::change::Leave;
use vipcast::plan::{Change, Report, Step};

use crate::support::build::{dual_stack, endpoint, gone, host_routes, ip, service, slice, tcp, web};
use crate::support::rig::Rig;

const WEB: &str = "10.96.0.10:80 TCP";

/// `web` with one virtual server and two destinations, at rest.
fn serving(settings: Settings) -> Rig {
    let mut rig = Rig::new(settings);
    rig.list(objects()).run();
    assert_eq!(rig.node.state.ipvs.len(), 1);
    rig
}

fn objects() -> Vec<Event> {
    vec![service("web", &["10.96.0.10"], &[("http", 80)]), pods(&["10.244.1.2", "10.244.2.2"])]
}

fn pods(endpoints: &[&str]) -> Event {
    slice("web-4", "web", &[("http", 8080)], endpoints)
}

/// The second pod of `web` is listed still and takes no traffic.
fn second_is_not_ready() -> Event {
    let Event::Put(Object::Slice(name, mut slice)) = pods(&["10.244.1.2", "10.244.2.2"]) else { unreachable!() };
    slice.endpoints[1].ready = false;
    slice.endpoints[1].serving = false;
    Event::Put(Object::Slice(name, slice))
}

/// The pod has so many connections.
fn connections(rig: &mut Rig, pod: &str, count: u64) {
    rig.node.connections.entry(tcp("10.96.0.10", 80)).or_default().set(endpoint(pod, 8080), count);
}

/// The writing steps of `rig` until nothing is left to do at this moment.
fn at_once(rig: &mut Rig) -> Vec<String> {
    let mut written = Vec::new();
    for _ in 0..100 {
        let plan = rig.planner.plan(rig.now);
        if plan.steps.is_empty() {
            return written;
        }
        for step in plan.steps {
            let outcome = rig.node.perform_one(&step);
            written.extend(Some(step.to_string()).filter(|_| !step.is_read()));
            rig.change(Change::Report(Report { step, outcome }));
        }
    }
    panic!("steps without end: {written:#?}");
}

/// The same after so many seconds, the planner being asked whenever it wants to.
fn after(rig: &mut Rig, seconds: u64) -> Vec<String> {
    let end = rig.now + Duration::from_secs(seconds);
    let mut written = at_once(rig);
    while rig.now < end {
        rig.now = rig.planner.plan(rig.now).wake_at.unwrap_or(end).clamp(rig.now, end);
        written.extend(at_once(rig));
    }
    written
}

#[test]
fn a_removed_destination_keeps_its_connections_until_they_end() {
    let mut rig = serving(dual_stack());
    connections(&mut rig, "10.244.2.2", 2);
    rig.tell(pods(&["10.244.1.2"]));
    let quiet = format!("set destination 10.244.2.2:8080 weight 0 of {WEB}");
    assert_eq!(at_once(&mut rig), [quiet]);
    assert_eq!(rig.planner.status().ipvs.draining, 1);
    assert_eq!(after(&mut rig, 12), Vec::<String>::new());
    connections(&mut rig, "10.244.2.2", 0);
    let delete = format!("delete destination 10.244.2.2:8080 of {WEB}");
    assert_eq!(after(&mut rig, 10), [delete]);
    assert_eq!(rig.planner.status().ipvs.draining, 0);
}

#[test]
fn connections_have_a_limited_time_from_when_no_slice_lists_their_pod() {
    let mut rig = serving(dual_stack());
    connections(&mut rig, "10.244.2.2", 2);
    rig.tell(second_is_not_ready());
    assert_eq!(after(&mut rig, 200).len(), 1, "it is listed");
    rig.tell(pods(&["10.244.1.2"]));
    assert_eq!(after(&mut rig, 29), Vec::<String>::new());
    assert_eq!(after(&mut rig, 1), [format!("delete destination 10.244.2.2:8080 of {WEB}")]);
}

#[test]
fn a_returning_destination_gets_its_weight_back_and_no_more() {
    let mut rig = serving(dual_stack());
    connections(&mut rig, "10.244.2.2", 2);
    rig.tell(pods(&["10.244.1.2"]));
    after(&mut rig, 20);
    rig.tell(pods(&["10.244.1.2", "10.244.2.2"]));
    assert_eq!(after(&mut rig, 100), [format!("set destination 10.244.2.2:8080 weight 1 of {WEB}")]);
    assert_eq!(rig.node.state.ipvs, rig.planner.desired_servers());
}

#[test]
fn a_deleted_service_drains_behind_a_refusal() {
    let mut rig = serving(dual_stack());
    connections(&mut rig, "10.244.2.2", 2);
    rig.tell(gone(Kind::Service, "shop/web"));
    let steps = at_once(&mut rig);
    assert_eq!(
        steps[1..],
        [
            format!("set destination 10.244.1.2:8080 weight 0 of {WEB}"),
            format!("set destination 10.244.2.2:8080 weight 0 of {WEB}"),
            format!("delete destination 10.244.1.2:8080 of {WEB}")
        ]
    );
    let draining = |rig: &Rig| rig.node.state.nft.table.clone().unwrap().elements.draining;
    assert!(steps[0].contains("nftables") && draining(&rig).contains(&tcp("10.96.0.10", 80)), "{steps:#?}");
    assert_eq!(after(&mut rig, 10), Vec::<String>::new());
    connections(&mut rig, "10.244.2.2", 0);
    let steps = after(&mut rig, 10);
    assert_eq!(steps[0], format!("delete virtual server {WEB}"));
    assert!(steps.len() == 2 && draining(&rig).is_empty(), "{steps:#?}");
}

#[test]
fn a_virtual_server_without_connections_goes_at_once() {
    let mut rig = serving(dual_stack());
    rig.tell(gone(Kind::Service, "shop/web"));
    assert_eq!(at_once(&mut rig), [format!("delete virtual server {WEB}")]);
}

#[test]
fn a_service_that_returns_while_it_drains_takes_connections_again() {
    let mut rig = serving(dual_stack());
    let before = rig.node.state.clone();
    connections(&mut rig, "10.244.1.2", 1);
    connections(&mut rig, "10.244.2.2", 2);
    rig.tell(pods(&[]));
    after(&mut rig, 10);
    rig.tell(pods(&["10.244.1.2", "10.244.2.2"]));
    let steps = after(&mut rig, 100);
    assert!(steps.iter().all(|step| !step.starts_with("delete") && !step.starts_with("add")), "{steps:#?}");
    assert_eq!(rig.node.state, before);
}

#[test]
fn a_restart_in_the_middle_goes_on_and_the_time_begins_anew() {
    for whole in [false, true] {
        let mut rig = serving(dual_stack());
        connections(&mut rig, "10.244.2.2", 2);
        let told = if whole { objects().split_off(1) } else { vec![objects().remove(0), pods(&["10.244.1.2"])] };
        rig.tell(if whole { gone(Kind::Service, "shop/web") } else { pods(&["10.244.1.2"]) });
        after(&mut rig, 20);
        let before = rig.node.state.clone();
        let mut next = Rig::on(dual_stack(), rig.node);
        next.list(told);
        assert_eq!(after(&mut next, 29), Vec::<String>::new(), "whole: {whole}");
        assert_eq!(next.node.state, before);
        let steps = after(&mut next, 1);
        assert!(steps[0].starts_with("delete ") && steps.len() == if whole { 2 } else { 1 }, "{steps:#?}");
        assert_eq!(next.node.state.ipvs, next.planner.desired_servers());
        assert!(next.node.state.nft.table.unwrap().elements.draining.is_empty());
    }
}

#[test]
fn a_host_route_goes_before_its_virtual_server_drains() {
    let mut rig = serving(host_routes());
    connections(&mut rig, "10.244.2.2", 2);
    rig.tell(gone(Kind::Service, "shop/web"));
    let steps = after(&mut rig, 1);
    assert!(steps[0].contains("add draining") && steps[1].starts_with("withdraw"), "{steps:#?}");
    assert!(steps[2..].iter().all(|step| step.contains("weight 0")), "{steps:#?}");
    assert_eq!(after(&mut rig, 25), [format!("delete destination 10.244.1.2:8080 of {WEB}")]);
    connections(&mut rig, "10.244.2.2", 0);
    let steps = after(&mut rig, 10);
    assert_eq!(steps[0], format!("delete virtual server {WEB}"), "{steps:#?}");
}

#[test]
fn cleanup_does_not_wait_for_connections() {
    let mut rig = serving(dual_stack());
    connections(&mut rig, "10.244.2.2", 2);
    rig.change(Change::Leave(Leave::Remove));
    let steps = after(&mut rig, 2);
    assert!(steps.contains(&format!("delete virtual server {WEB}")), "{steps:#?}");
    after(&mut rig, 5);
    assert!(rig.planner.plan(rig.now).finished);
}

#[test]
fn udp_destinations_go_at_once_and_their_flows_are_forgotten() {
    let dns = |endpoints: &[&str]| {
        let Event::Put(Object::Slice(name, slice)) = slice("dns", "dns", &[("dns", 5353)], endpoints) else {
            unreachable!()
        };
        let ports =
            slice.ports.into_iter().map(|port| vipcast::model::service::SlicePort { protocol: Protocol::Udp, ..port });
        Event::Put(Object::Slice(name, Slice { ports: ports.collect(), ..slice }))
    };
    let Event::Put(Object::Service(name, mut object)) = service("dns", &["10.96.0.53"], &[("dns", 53)]) else {
        unreachable!()
    };
    object.ports[0].protocol = Protocol::Udp;
    let key = ServerKey { protocol: Protocol::Udp, ..tcp("10.96.0.53", 53) };
    let mut rig = Rig::new(dual_stack());
    let steps: Vec<String> = {
        rig.list([Event::Put(Object::Service(name, object)), dns(&["10.244.1.3", "10.244.2.3"])]);
        rig.steps()
    };
    // What passed by before there was a virtual server.
    let place =
        |words: &str| steps.iter().position(|step| step.starts_with(words)).unwrap_or_else(|| panic!("{steps:#?}"));
    assert!(
        place("add destination 10.244.2.3:5353")
            < place("forget flows to 10.96.0.53:53 UDP that 10.96.0.53:53 answers")
    );
    assert_eq!(steps.iter().filter(|step| step.starts_with("forget")).count(), 1);

    rig.node.connections.entry(key).or_default().set(endpoint("10.244.2.3", 5353), 7);
    rig.tell(dns(&["10.244.1.3"]));
    let forgotten = |pod: &str| format!("forget flows to 10.96.0.53:53 UDP that {pod}:5353 answers");
    let deleted = "delete destination 10.244.2.3:5353 of 10.96.0.53:53 UDP".to_owned();
    assert_eq!(at_once(&mut rig), [deleted, forgotten("10.244.2.3")]);
    rig.tell(gone(Kind::Service, "shop/dns"));
    assert_eq!(at_once(&mut rig), ["delete virtual server 10.96.0.53:53 UDP".to_owned(), forgotten("10.244.1.3")]);
}

#[test]
fn timeouts_are_set_once_and_again_when_they_differ() {
    let set = |timeouts| Step::SetTimeouts(timeouts).to_string();
    let wanted = Timeouts { tcp: 4000, tcp_fin: 30, udp: 60 };
    assert_eq!(set(wanted), "set IPVS timeouts: TCP 4000 s, TCP after FIN 30 s, UDP 60 s");
    let mut settings = dual_stack();
    settings.dataplane.timeouts = wanted;
    let mut rig = Rig::new(settings.clone());
    let steps = rig.list(web()).steps();
    assert_eq!(steps.iter().filter(|step| **step == set(wanted)).count(), 1, "{steps:#?}");
    let mut again = Rig::on(settings, rig.node);
    assert_eq!(again.list(web()).steps(), Vec::<String>::new());
    again.node.state.timeouts = Some(Timeouts::default());
    again.change(Change::HostMoved);
    assert_eq!(again.steps(), [set(wanted)]);
    let timeouts = again.planner.status().ipvs.timeouts.unwrap();
    assert_eq!((timeouts.tcp, timeouts.tcp_fin, timeouts.udp), (4000, 30, 60));
}

/// Who begins after a slice of `web` came to be listed for another Service does not mistake it.
#[test]
fn only_slices_of_the_same_service_keep_a_connection() {
    let mut rig = serving(dual_stack());
    connections(&mut rig, "10.244.2.2", 2);
    let endpoints = vec![Endpoint::new(ip("10.244.2.2"), true)];
    let other = Slice { service: ServiceKey::new("shop", "other"), family: Family::Ipv4, ports: Vec::new(), endpoints };
    rig.tell(Event::Put(Object::Slice(Arc::from("shop/other"), other)));
    rig.tell(pods(&["10.244.1.2"]));
    let steps = after(&mut rig, 30);
    assert_eq!(steps.last(), Some(&format!("delete destination 10.244.2.2:8080 of {WEB}")));
}
