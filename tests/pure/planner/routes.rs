//! Which routes there are, with which attributes, and why: what ranges say, and what Services want to be otherwise.

use std::time::Duration;

use vipcast::model::bgp::{Attributes, Community, NextHop, Path};
use vipcast::model::service::{Announcing, Service, TrafficPolicy};
use vipcast::model::settings::{Announce, Use};
use vipcast::model::{Event, Object, Prefix, Settings};
use vipcast::plan::{Change, Step};

use crate::support::build::{dual_stack, node, range, selector, service_created, settings, slice};
use crate::support::rig::Rig;

/// The Service `shop/NAME`, created at some second, with one VIP and these wishes.
fn wishing(created: i64, name: &str, vip: &str, change: impl FnOnce(&mut Service)) -> Event {
    let Event::Put(Object::Service(key, mut service)) = service_created(created, name, &[vip], &[("http", 80)]) else {
        unreachable!("a Service")
    };
    change(&mut service);
    Event::Put(Object::Service(key, service))
}

fn asks(service: &mut Service, announcing: Announcing) {
    service.wishes.announcing = Some(Box::new(announcing));
}

fn wanted(is: bool) -> Announcing {
    Announcing { wanted: Use::ALL.into_iter().map(|usage| (usage, is)).collect(), ..Announcing::default() }
}

fn canary(labels: &str) -> Announcing {
    Announcing { nodes: Some(selector(labels)), ..Announcing::default() }
}

fn marked(number: u32) -> Announcing {
    let attributes = Attributes { communities: [Community(number)].into(), ..Attributes::default() };
    Announcing { attributes, ..Announcing::default() }
}

fn pods(name: &str) -> Event {
    slice(name, name, &[("http", 8080)], &["10.244.1.2"])
}

fn one_range(announce: Announce) -> Settings {
    settings(&[range("10.96.0.0/16", announce)])
}

fn out(rig: &Rig) -> Vec<String> {
    rig.node.state.bgp.as_ref().unwrap().paths.keys().map(Prefix::to_string).collect()
}

fn path(rig: &Rig, prefix: &str) -> Path {
    rig.node.state.bgp.as_ref().unwrap().paths[&prefix.parse::<Prefix>().unwrap()].clone()
}

/// Steps and lines of the log of a run.
fn happens(rig: &mut Rig) -> (Vec<String>, Vec<String>) {
    let stages = rig.run();
    let steps = stages.iter().flat_map(|stage| &stage.steps).map(Step::to_string).collect();
    (steps, stages.iter().flat_map(|stage| &stage.news).map(ToString::to_string).collect())
}

fn problems(rig: &Rig) -> Vec<String> {
    let problems = rig.planner.status().services.problems;
    problems.into_iter().map(|problem| format!("{}: {}", problem.subject, problem.problem)).collect()
}

#[test]
fn what_a_service_asks_in_a_range_of_each_kind() {
    const RANGE: &str = "10.96.0.0/16";
    const VIP: &str = "10.96.0.7/32";
    let local = |service: &mut Service| service.internal_policy = TrafficPolicy::Local;
    type Wish = Box<dyn Fn(&mut Service)>;
    let cases: [(Announce, &str, Wish, &[&str]); 17] = [
        (Announce::Aggregate, "nothing", Box::new(|_| {}), &[RANGE]),
        (Announce::Aggregate, "a route", Box::new(|s| asks(s, wanted(true))), &[RANGE, VIP]),
        (Announce::Aggregate, "no route", Box::new(|s| asks(s, wanted(false))), &[RANGE]),
        (Announce::Aggregate, "a community", Box::new(|s| asks(s, marked(1))), &[RANGE, VIP]),
        (Announce::Aggregate, "these nodes", Box::new(|s| asks(s, canary("rack=a"))), &[RANGE, VIP]),
        (Announce::Aggregate, "other nodes", Box::new(|s| asks(s, canary("rack=b"))), &[RANGE]),
        (Announce::Aggregate, "local endpoints, and none here", Box::new(local), &[RANGE]),
        (Announce::Host, "nothing", Box::new(|_| {}), &[VIP]),
        (Announce::Host, "a route", Box::new(|s| asks(s, wanted(true))), &[VIP]),
        (Announce::Host, "no route", Box::new(|s| asks(s, wanted(false))), &[]),
        (Announce::Host, "a community", Box::new(|s| asks(s, marked(1))), &[VIP]),
        (Announce::Host, "these nodes", Box::new(|s| asks(s, canary("rack=a role=lb"))), &[VIP]),
        (Announce::Host, "other nodes", Box::new(|s| asks(s, canary("rack=a role=x"))), &[]),
        (Announce::None, "nothing", Box::new(|_| {}), &[]),
        (Announce::None, "a route", Box::new(|s| asks(s, wanted(true))), &[VIP]),
        (Announce::None, "a community", Box::new(|s| asks(s, marked(1))), &[]),
        (Announce::None, "no route", Box::new(|s| asks(s, wanted(false))), &[]),
    ];
    for (announce, what, wish, expected) in cases {
        let mut rig = Rig::new(one_range(announce));
        rig.list([node("role=lb rack=a"), wishing(0, "cart", "10.96.0.7", wish), pods("cart")]).run();
        assert_eq!(out(&rig), expected, "{announce:?}, {what}");
        assert_eq!(rig.steps(), Vec::<String>::new());
    }
}

/// A range that other nodes announce: a wish for a route does not make this one announce it.
#[test]
fn a_wish_does_not_overrule_which_nodes_announce_a_range() {
    for announce in [Announce::Aggregate, Announce::Host, Announce::None] {
        let mut settings = one_range(announce);
        settings.cluster_ips.iter_mut().flatten().for_each(|range| range.node_selector = selector("rack=b"));
        let mut rig = Rig::new(settings);
        let cart = wishing(0, "cart", "10.96.0.7", |service| asks(service, wanted(true)));
        rig.list([node("rack=a"), cart, pods("cart")]).run();
        assert_eq!(out(&rig), Vec::<String>::new());
        rig.tell(node("rack=b")).run();
        assert!(out(&rig).contains(&"10.96.0.7/32".to_owned()));
    }
}

/// A label comes and goes: the routes that are for nodes with it follow at once.
#[test]
fn routes_follow_the_labels_of_the_node() {
    const VIP: &str = "10.96.0.7/32";
    for announce in [Announce::Aggregate, Announce::Host] {
        let mut rig = Rig::new(one_range(announce));
        let cart = wishing(0, "cart", "10.96.0.7", |service| asks(service, canary("canary=yes")));
        rig.list([node("rack=a"), cart, pods("cart")]).run();
        assert!(!out(&rig).contains(&VIP.to_owned()), "{announce:?}");
        rig.tell(node("rack=a canary=yes"));
        assert_eq!(rig.steps(), [format!("announce {VIP}")], "{announce:?}");
        rig.tell(node("rack=a"));
        let (steps, news) = happens(&mut rig);
        assert_eq!(steps, [format!("withdraw {VIP}")], "{announce:?}");
        let missing = format!("withdrew {VIP}: other nodes announce it: this one has not the label canary=yes");
        assert_eq!(news, [missing], "{announce:?}");
    }
}

#[test]
fn attributes_of_all_routes_of_a_range_and_of_a_service_come_together() {
    let mut settings = one_range(Announce::Host);
    let bgp = settings.bgp.as_mut().unwrap();
    bgp.attributes = Attributes { communities: [Community(1)].into(), med: Some(1), ..Attributes::default() };
    let of_range = Attributes { communities: [Community(2)].into(), prepend: Some(3), ..Attributes::default() };
    settings.cluster_ips.as_mut().unwrap()[0].attributes = of_range;
    let asked = Attributes {
        communities: [Community(3)].into(),
        med: Some(7),
        local_pref: Some(50),
        prepend: Some(1),
        ..Attributes::default()
    };
    let announcing = Announcing { attributes: asked, ..Announcing::default() };
    let mut rig = Rig::new(settings);
    rig.list([wishing(0, "cart", "10.96.0.7", |service| asks(service, announcing)), pods("cart")]).run();
    let expected = Path {
        communities: [Community(1), Community(2), Community(3)].into(),
        med: Some(7),
        local_pref: Some(50),
        as_path: vec![65001],
        ..Path::new(NextHop::Own)
    };
    assert_eq!(path(&rig, "10.96.0.7/32"), expected);
    // The wish goes: the route stays, with other attributes, and nothing else is touched.
    rig.tell(wishing(0, "cart", "10.96.0.7", |_| {}));
    let (steps, news) = happens(&mut rig);
    assert_eq!(steps, ["announce 10.96.0.7/32"]);
    let words = "announced 10.96.0.7/32 with communities 0:1 0:2, MED 1, 3 prepends: its attributes are others now";
    assert_eq!(news, [words]);
    assert_eq!(path(&rig, "10.96.0.7/32").as_path, [65001, 65001, 65001]);
}

/// Under the policy Local the nodes with endpoints draw the traffic by a longer match, and only they.
#[test]
fn inside_an_aggregate_a_local_policy_draws_traffic_to_the_endpoints() {
    let mut rig = Rig::new(dual_stack());
    let local = wishing(0, "cart", "10.96.0.7", |service| service.internal_policy = TrafficPolicy::Local);
    let pods_on = |node: &str| {
        let Event::Put(Object::Slice(name, mut slice)) = pods("cart") else { unreachable!("a slice") };
        slice.endpoints[0].node = Some(node.into());
        Event::Put(Object::Slice(name, slice))
    };
    rig.list([local, pods_on("lb1")]).run();
    let of_ranges = ["10.96.0.0/16", "fd00:10:96::/112"];
    assert_eq!(out(&rig), ["10.96.0.0/16", "10.96.0.7/32", "fd00:10:96::/112"]);
    rig.tell(pods_on("lb2"));
    let stages = rig.run();
    let steps: Vec<_> = stages.iter().flat_map(|s| s.steps.iter().map(|step| (s.after, step.to_string()))).collect();
    let at = |what: &str| steps.iter().find(|(_, step)| step == what).unwrap_or_else(|| panic!("{what}: {steps:#?}")).0;
    assert_eq!(at("withdraw 10.96.0.7/32"), Duration::ZERO);
    assert!(at("delete virtual server 10.96.0.7:80 TCP") >= Duration::from_secs(2), "the route drew traffic here");
    assert_eq!(out(&rig), of_ranges);
    let news: Vec<String> = stages.iter().flat_map(|stage| &stage.news).map(ToString::to_string).collect();
    assert_eq!(news, ["withdrew 10.96.0.7/32: no usable endpoint in shop/cart on this node"]);
}

#[test]
fn a_route_says_why_it_comes_and_goes() {
    let mut rig = Rig::new(one_range(Announce::Host));
    rig.list([]).run();
    let cart = || wishing(0, "cart", "10.96.0.7", |_| {});
    let off = wishing(0, "cart", "10.96.0.7", |service| asks(service, wanted(false)));
    let gone = Event::Gone(vipcast::model::ObjectRef { kind: vipcast::model::Kind::Service, name: "shop/cart".into() });
    let none = slice("cart", "cart", &[("http", 8080)], &[]);
    let announced = "announced 10.96.0.7/32: shop/cart has usable endpoints";
    let turns: [(Vec<Event>, Option<&str>); 6] = [
        (vec![cart(), pods("cart")], Some(announced)),
        (vec![none.clone()], Some("withdrew 10.96.0.7/32: no usable endpoint in shop/cart")),
        (vec![pods("cart")], Some(announced)),
        (vec![off], Some("withdrew 10.96.0.7/32: shop/cart asks for no route")),
        (vec![cart()], Some(announced)),
        (vec![gone], Some("withdrew 10.96.0.7/32: no Service has this VIP")),
    ];
    for (events, expected) in turns {
        let what = format!("{events:?}");
        rig.tell_all(events);
        let (_, news) = happens(&mut rig);
        assert_eq!(news.iter().map(String::as_str).collect::<Vec<_>>(), Vec::from_iter(expected), "{what}");
    }
}

#[test]
fn specifics_have_a_budget_and_the_oldest_come_first() {
    let mut limited = dual_stack();
    limited.bgp.as_mut().unwrap().max_specifics = 2;
    let mut rig = Rig::new(limited.clone());
    let cart = |created, n: u8| {
        let name = format!("s{n}");
        let vip = format!("10.96.0.{n}");
        [wishing(created, &name, &vip, |service| asks(service, wanted(true))), pods(&name)]
    };
    let hosts = |rig: &Rig| out(rig).into_iter().filter(|prefix| prefix.ends_with("/32")).collect::<Vec<_>>();
    rig.list(cart(5, 1).into_iter().chain(cart(5, 2)).chain(cart(5, 3))).run();
    assert_eq!(hosts(&rig), ["10.96.0.1/32", "10.96.0.2/32"]);
    let full = |n: u8| {
        format!(
            "shop/s{n}: 10.96.0.{n} gets no route of its own: older Services have the 2 that bgp.maxSpecifics allows; the \
             route of its range covers it"
        )
    };
    assert_eq!(problems(&rig), [full(3)]);
    // An older one takes the place of the youngest, even if it has no endpoints here: every node has to say the same.
    let [older, _] = cart(1, 4);
    rig.tell(older);
    let (steps, news) = happens(&mut rig);
    assert_eq!(steps, ["withdraw 10.96.0.2/32"]);
    assert!(
        news.iter().any(|line| line.starts_with("Service shop/s2: 10.96.0.2 gets no route of its own")),
        "{news:?}"
    );
    assert_eq!(problems(&rig), [full(2), full(3)]);
    rig.tell(wishing(1, "s4", "10.96.0.4", |_| {}));
    let (steps, news) = happens(&mut rig);
    assert_eq!(steps, ["announce 10.96.0.2/32"]);
    assert!(news.contains(&"Service shop/s2 is well again".to_owned()), "{news:?}");
    // There is more room.
    limited.bgp.as_mut().unwrap().max_specifics = 64;
    rig.change(Change::Settings(Box::new(limited)));
    assert_eq!(rig.steps(), ["announce 10.96.0.3/32"]);
    assert_eq!(problems(&rig), Vec::<String>::new());
}

#[test]
fn the_oldest_service_of_a_vip_decides_about_its_route() {
    let mut rig = Rig::new(one_range(Announce::Host));
    let shared = |created, name: &str, port, number| {
        wishing(created, name, "10.96.0.7", |service| {
            service.ports[0].port = port;
            asks(service, marked(number));
        })
    };
    rig.list([shared(2, "young", 80, 2), pods("young")]).run();
    assert_eq!(path(&rig, "10.96.0.7/32").communities, [Community(2)].into());
    rig.tell_all([shared(1, "old", 443, 1)]);
    assert_eq!(rig.steps(), ["announce 10.96.0.7/32"], "without endpoints of its own");
    assert_eq!(path(&rig, "10.96.0.7/32").communities, [Community(1)].into());
    let told = "shop/young: the route of 10.96.0.7 is as the older Service shop/old asks, which has this address too";
    assert_eq!(problems(&rig), [told]);
    // Who asks for the same is not overruled.
    rig.tell(shared(2, "young", 80, 1)).run();
    assert_eq!(problems(&rig), Vec::<String>::new());
    // The VIP goes with the last of its endpoints.
    rig.tell(slice("young", "young", &[("http", 8080)], &[])).run();
    assert_eq!(out(&rig), Vec::<String>::new());
}

#[test]
fn what_cannot_be_had_is_told_the_owner() {
    let mut settings = dual_stack();
    settings.bgp.as_mut().unwrap().peers[1].peer.asn = 65001;
    let mut rig = Rig::new(settings);
    let prepending = Attributes { prepend: Some(2), ..Attributes::default() };
    let announcing = Announcing { attributes: prepending, ..wanted(true) };
    rig.list([
        wishing(0, "hidden", "10.96.0.6", |service| asks(service, wanted(false))),
        pods("hidden"),
        wishing(0, "long", "10.96.0.7", |service| asks(service, announcing)),
        pods("long"),
    ]);
    rig.run();
    assert_eq!(out(&rig), ["10.96.0.0/16", "10.96.0.7/32", "fd00:10:96::/112"]);
    assert_eq!(path(&rig, "10.96.0.7/32").as_path, Vec::<u32>::new());
    assert_eq!(
        problems(&rig),
        [
            "shop/hidden: 10.96.0.6 is not to be announced, and the route of the range 10.96.0.0/16 covers it",
            "shop/long: prepends are asked for and left out: a peer in AS 65001 would find its own number in the path and \
             drop the route",
        ]
    );
}

/// What an earlier run announced for a Service that cannot be understood any more stays as it is.
#[test]
fn the_route_of_what_is_not_understood_at_the_start_stays_as_it_is() {
    for announce in [Announce::Host, Announce::Aggregate] {
        let cart = || wishing(0, "cart", "10.96.0.7", |service| asks(service, marked(5)));
        let mut rig = Rig::new(one_range(announce));
        rig.list([cart(), pods("cart")]).run();
        let before = path(&rig, "10.96.0.7/32");
        let mut next = Rig::on(one_range(announce), rig.node);
        let name = vipcast::model::ObjectRef { kind: vipcast::model::Kind::Service, name: "shop/cart".into() };
        next.list([Event::Bad(name, "cannot be understood".into()), pods("cart")]);
        assert_eq!(next.steps(), Vec::<String>::new(), "{announce:?}");
        assert_eq!(path(&next, "10.96.0.7/32"), before);
        next.tell(cart());
        assert_eq!(next.steps(), Vec::<String>::new(), "{announce:?}");
    }
}

/// From the change of the cluster that made the route wanted until gobgpd has it.
#[test]
fn the_time_to_a_route_is_told_once() {
    let mut rig = Rig::new(one_range(Announce::Host));
    rig.list([wishing(0, "cart", "10.96.0.7", |_| {}), wishing(0, "hat", "10.96.0.8", |s| asks(s, wanted(false)))]);
    rig.run();
    rig.tell_all([pods("cart"), pods("hat")]);
    let mut told = Vec::new();
    for _ in 0..20 {
        rig.now = rig.now + Duration::from_millis(10);
        let plan = rig.planner.plan(rig.now);
        told.extend(plan.route_latencies);
        for step in plan.steps {
            let outcome = rig.node.perform_one(&step);
            rig.change(Change::Report(vipcast::plan::Report { step, outcome }));
        }
    }
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0] > Duration::ZERO && told[0] < Duration::from_millis(200), "{told:?}");
    assert_eq!(out(&rig), ["10.96.0.7/32"]);
}
