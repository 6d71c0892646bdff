//! What the owners of objects are told of.

use vipcast::model::{Event, Kind, Object, ObjectRef};

use crate::support::build::{dual_stack, gone, service, service_created, slice, web};
use crate::support::rig::Rig;

/// What there is to say since the last time, in words.
fn notices(rig: &mut Rig) -> Vec<String> {
    let words = |problems: &[(&str, String)]| match problems {
        [] => "well".to_owned(),
        problems => problems.iter().map(|(reason, note)| format!("{reason}: {note}")).collect::<Vec<_>>().join("; "),
    };
    let notices = rig.planner.plan(rig.now).notices;
    notices.iter().map(|notice| format!("{}: {}", notice.object, words(&notice.problems))).collect()
}

fn rig() -> Rig {
    let mut rig = Rig::new(dual_stack());
    rig.list(web()).run();
    assert_eq!(notices(&mut rig), [] as [&str; 0]);
    rig
}

fn of(kind: Kind, name: &str) -> ObjectRef {
    ObjectRef { kind, name: name.into() }
}

#[test]
fn the_younger_of_two_services_at_an_address_is_told_until_the_older_one_goes() {
    let mut rig = rig();
    rig.tell(slice("late-4", "late", &[("http", 8080)], &["10.244.1.9"]));
    rig.tell(service_created(9, "late", &["10.96.0.10"], &[("http", 80)]));
    let taken = "AddressTaken: 10.96.0.10:80 TCP is claimed by the older Service shop/web too, which has it";
    assert_eq!(notices(&mut rig), [format!("Service shop/late: {taken}")]);
    rig.tell(gone(Kind::Service, "shop/web"));
    assert_eq!(notices(&mut rig), ["Service shop/late: well"]);
}

#[test]
fn an_external_ip_that_no_range_allows_is_told_with_the_uid() {
    let mut rig = rig();
    let Event::Put(Object::Service(key, mut value)) = service("web", &["10.96.0.10"], &[("http", 80)]) else {
        panic!()
    };
    value.external_ips = vec!["192.0.2.7".parse().unwrap()];
    value.uid = Some("u-1".into());
    rig.tell(Event::Put(Object::Service(key, value)));
    let notice = rig.planner.plan(rig.now).notices.pop().unwrap();
    assert_eq!(notice.uid.as_deref(), Some("u-1"));
    let (reason, note) = &notice.problems[0];
    assert_eq!(*reason, "ExternalIPNotAllowed");
    assert!(note.starts_with("external IP 192.0.2.7 is not allowed"), "{note}");
}

#[test]
fn a_range_of_the_operator_is_no_business_of_users() {
    let mut rig = rig();
    rig.tell(service("far", &["10.50.0.1"], &[("http", 80)]));
    assert_eq!(notices(&mut rig), ["Service shop/far: well"]);
    assert_eq!(rig.planner.status().services.problems[0].subject, "shop/far");
}

#[test]
fn what_is_not_understood_of_a_slice_is_told_at_its_service() {
    let mut rig = rig();
    let known = of(Kind::EndpointSlice, "shop/web-4");
    rig.tell(Event::Bad(known.clone(), "endpoints[0] is odd".into()));
    let at_service = "Service shop/web: UnsupportedValue: EndpointSlice shop/web-4: endpoints[0] is odd";
    assert_eq!(notices(&mut rig), [at_service, "EndpointSlice shop/web-4: well"]);
    rig.tell(Event::Bad(known, "endpoints[0] is odd".into()));
    assert_eq!(notices(&mut rig), [] as [&str; 0], "nothing new");
    rig.tell(slice("web-4", "web", &[("http", 8080)], &["10.244.1.2"]));
    assert_eq!(notices(&mut rig)[0], "Service shop/web: well");
    rig.tell(Event::Bad(of(Kind::EndpointSlice, "shop/lost"), "addressType is odd".into()));
    assert_eq!(notices(&mut rig), ["EndpointSlice shop/lost: UnsupportedValue: addressType is odd"]);
}

#[test]
fn a_service_that_is_not_understood_is_told_until_a_list_is_without_it() {
    let mut rig = rig();
    rig.tell(Event::Bad(of(Kind::Service, "shop/odd"), "spec.ports[0] is odd".into()));
    assert_eq!(notices(&mut rig), ["Service shop/odd: UnsupportedValue: spec.ports[0] is odd"]);
    rig.list(web());
    assert_eq!(notices(&mut rig), ["Service shop/odd: well"]);
}
