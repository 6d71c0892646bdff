//! `vipcast explain`: the good case, and what goes wrong most.

use vipcast::model::bgp::{Attributes, Session, SessionState};
use vipcast::model::service::{Announcing, Endpoint, TrafficPolicy};
use vipcast::model::settings::{Announce, BgpSettings, Range, Use};
use vipcast::model::{Event, Family, Object, Settings};
use vipcast::plan::rehearse::ask;
use vipcast::plan::step::Step;
use vipcast::plan::{Change, Outcome, Report};

use super::{check, converse, explained, keep_back, session, up};
use crate::support::build::{
    dual_stack, endpoint, host_routes, ip, prefix, range, service, service_created, settings, slice, tcp, web,
};
use crate::support::rig::Rig;

/// A node on which `web` is served and announced.
fn serving() -> Rig {
    let mut rig = Rig::new(dual_stack());
    rig.list(web()).run();
    converse(&mut rig);
    rig
}

/// The same, and each VIP of IPv4 has a route.
fn with_host_routes() -> Rig {
    let mut rig = Rig::new(host_routes());
    rig.list(web()).run();
    converse(&mut rig);
    rig
}

#[test]
fn all_is_well() {
    let mut rig = serving();
    let connections = rig.node.connections.entry(tcp("10.96.0.10", 80)).or_default();
    connections.set(endpoint("10.244.1.2", 8080), 12);
    connections.set(endpoint("10.244.2.2", 8080), 1);
    let answer = explained(&mut rig, "shop/web");
    assert!(answer.is_good());
    check("explain-good.txt", &answer.text());
    check("explain-good.json", &(serde_json::to_string_pretty(&answer).unwrap() + "\n"));
}

#[test]
fn one_port_of_a_vip() {
    let mut rig = with_host_routes();
    check("explain-port.txt", &explained(&mut rig, "10.96.0.10:80/TCP").text());
}

/// The broken case in the file `name`, which exits with 3 if it is `bad`.
fn case(name: &str, rig: &mut Rig, of: &str, bad: bool) {
    let answer = explained(rig, of);
    check(&format!("explain-{name}.txt"), &answer.text());
    assert_eq!(answer.is_good(), !bad, "{name}");
}

#[test]
fn no_endpoints() {
    let mut rig = with_host_routes();
    rig.tell(slice("web-4", "web", &[("http", 8080)], &[])).run();
    case("no-endpoints", &mut rig, "10.96.0.10", true);
}

#[test]
fn endpoints_that_are_not_ready() {
    let mut rig = with_host_routes();
    let Event::Put(Object::Slice(name, mut unready)) = slice("web-4", "web", &[("http", 8080)], &["10.244.1.2"]) else {
        panic!("a slice");
    };
    unready.endpoints = vec![Endpoint::new(ip("10.244.1.2"), false)];
    rig.tell(Event::Put(Object::Slice(name, unready))).run();
    case("not-ready", &mut rig, "10.96.0.10", true);
}

#[test]
fn another_port_name() {
    let mut rig = with_host_routes();
    rig.tell(slice("web-4", "web", &[("web", 8080)], &["10.244.1.2"])).run();
    case("port-name", &mut rig, "10.96.0.10", true);
}

#[test]
fn not_in_a_range() {
    let mut rig = serving();
    rig.tell(service("astray", &["10.97.0.1"], &[("http", 80)])).run();
    case("not-in-a-range", &mut rig, "shop/astray", true);
}

#[test]
fn taken_by_an_older_service() {
    let mut rig = serving();
    rig.tell(service_created(60, "late", &["10.96.0.10"], &[("http", 80)]));
    rig.tell(slice("late-4", "late", &[("http", 80)], &["10.244.7.7"])).run();
    case("taken", &mut rig, "shop/late", true);
}

#[test]
fn session_down() {
    let mut rig = serving();
    let reason = Some("peer sent: Hold Timer Expired".to_owned());
    session(&mut rig, "10.0.1.1", Session { reason, flaps: 2, ..Session::new(SessionState::Active) });
    rig.run();
    case("session-down", &mut rig, "10.96.0.10", true);
}

#[test]
fn family_not_negotiated() {
    let base = dual_stack();
    let bgp = base.bgp.clone().map(|mut bgp| {
        bgp.peers.truncate(1);
        bgp.peers[0].peer.families = Family::ALL.into();
        bgp
    });
    let mut rig = Rig::new(Settings { bgp, ..base });
    rig.list(web()).run();
    up(&mut rig, "10.0.1.1", "10.0.1.2", &[Family::Ipv4]);
    rig.run();
    case("family", &mut rig, "fd00:10:96::10", true);
}

#[test]
fn an_export_policy_keeps_it_back() {
    let mut rig = Rig::new(dual_stack());
    rig.list(web()).run();
    converse(&mut rig);
    rig.change(Change::SpeakerMoved);
    keep_back(&mut rig, Family::Ipv4);
    case("kept-back", &mut rig, "10.96.0.10", true);
}

#[test]
fn local_policy_without_local_endpoints() {
    let base = dual_stack();
    let allowed = vec![Range::new(prefix("192.0.2.0/24"), Use::ExternalIp, Announce::Host)];
    let mut rig = Rig::new(Settings { allowed, ..base });
    let Event::Put(Object::Service(name, mut local)) = service("edge", &["10.96.0.20"], &[("http", 80)]) else {
        panic!("a Service");
    };
    local.external_ips = vec![ip("192.0.2.7")];
    local.external_policy = TrafficPolicy::Local;
    let objects = [Event::Put(Object::Service(name, local)), slice("edge", "edge", &[("http", 80)], &["10.244.1.2"])];
    rig.list(objects).run();
    converse(&mut rig);
    case("local-policy", &mut rig, "192.0.2.7", false);
}

#[test]
fn not_announced() {
    let mut rig = Rig::new(settings(&[range("10.96.0.0/16", Announce::None)]));
    rig.list(web()).run();
    converse(&mut rig);
    case("announce-off", &mut rig, "10.96.0.10", false);
}

/// A Service that wishes `announcing`.
fn wishful(created: i64, name: &str, vip: &str, announcing: Announcing) -> Event {
    let Event::Put(Object::Service(key, mut service)) = service_created(created, name, &[vip], &[("http", 80)]) else {
        panic!("a Service");
    };
    service.wishes.announcing = Some(Box::new(announcing));
    Event::Put(Object::Service(key, service))
}

#[test]
fn a_service_asks_for_no_route() {
    let mut rig = Rig::new(host_routes());
    let announcing = Announcing { wanted: [(Use::ClusterIp, false)].into(), ..Announcing::default() };
    let endpoints = slice("quiet", "quiet", &[("http", 80)], &["10.244.1.2"]);
    rig.list([wishful(0, "quiet", "10.96.0.30", announcing), endpoints]).run();
    converse(&mut rig);
    case("no-route-wished", &mut rig, "shop/quiet", false);
}

#[test]
fn older_services_have_all_routes_of_their_own() {
    let base = dual_stack();
    let bgp = base.bgp.clone().map(|bgp| BgpSettings { max_specifics: 1, ..bgp });
    let mut rig = Rig::new(Settings { bgp, ..base });
    let announcing =
        Announcing { attributes: Attributes { med: Some(10), ..Attributes::default() }, ..Announcing::default() };
    let mut objects = Vec::new();
    for (created, name, vip) in [(1, "first", "10.96.0.31"), (2, "second", "10.96.0.32")] {
        objects.push(wishful(created, name, vip, announcing.clone()));
        objects.push(slice(name, name, &[("http", 80)], &["10.244.1.2"]));
    }
    rig.list(objects).run();
    converse(&mut rig);
    case("specific", &mut rig, "shop/first", false);
    case("budget", &mut rig, "shop/second", true);
}

#[test]
fn the_kernel_refuses_a_virtual_server() {
    let mut rig = Rig::new(dual_stack());
    rig.list(web());
    for _ in 0..50 {
        for step in rig.planner.plan(rig.now).steps {
            let outcome = match &step {
                Step::AddServer(key, _) if key.address == ip("10.96.0.10") => {
                    Outcome::Refused("the kernel has no module ip_vs_rr".into())
                }
                step => rig.node.perform_one(step),
            };
            rig.change(Change::Report(Report { step, outcome }));
        }
    }
    up(&mut rig, "10.0.1.1", "10.0.1.2", &[Family::Ipv4]);
    up(&mut rig, "fd01::1", "fd01::2", &[Family::Ipv6]);
    case("refused", &mut rig, "10.96.0.10", true);
}

#[test]
fn gobgpd_cannot_be_reached() {
    let mut rig = serving();
    rig.change(Change::SpeakerGone("/run/vipcast/gobgpd.sock: connection refused".into()));
    case("no-gobgpd", &mut rig, "10.96.0.10", true);
}

#[test]
fn nothing_is_known_by_that_name() {
    let mut rig = serving();
    let mut text = String::new();
    for of in ["shop/wbe", "other/web", "nowhere/nothing", "10.96.0.1", "192.0.2.7:80", "10.96.0.10:81"] {
        let unknown = ask(&mut rig.planner, &mut rig.node, of.parse().unwrap(), rig.now).unwrap_err();
        text += &format!("{unknown}\n");
    }
    check("explain-unknown.txt", &text);
}
