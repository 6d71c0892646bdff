//! A new agent begins while a part of the cluster's objects cannot be understood.

use vipcast::model::{Event, Kind, Settings};

use crate::support::build::{cidr, dual_stack, host_routes, listed, prefix, reference, settings, slice, web};
use crate::support::rig::Rig;

fn bad(kind: Kind, name: &str) -> Event {
    Event::Bad(reference(kind, name), "cannot be understood".into())
}

/// A new agent on the node of one that served `web` and `more`, told the complete list `told`.
fn restarted(settings: Settings, more: &[Event], told: Vec<Event>) -> Rig {
    let mut rig = Rig::new(settings.clone());
    rig.list(web().into_iter().chain(more.iter().cloned())).run();
    let mut next = Rig::on(settings, rig.node);
    next.tell_all(listed(told));
    next
}

#[test]
fn the_endpoints_of_a_slice_that_is_bad_stay() {
    let more = [slice("more", "web", &[("http", 8080)], &["10.244.7.7"])];
    let told = web().into_iter().chain([bad(Kind::EndpointSlice, "shop/more")]).collect();
    let mut rig = restarted(dual_stack(), &more, told);
    assert_eq!(rig.steps(), Vec::<String>::new());
    rig.tell(slice("web-4", "web", &[("http", 8080)], &["10.244.1.2"]));
    assert_eq!(
        rig.steps(),
        [
            "set destination 10.244.2.2:8080 weight 0 of 10.96.0.10:80 TCP",
            "delete destination 10.244.2.2:8080 of 10.96.0.10:80 TCP"
        ],
        "what was told goes as always"
    );
    rig.tell(Event::Gone(reference(Kind::EndpointSlice, "shop/more")));
    assert_eq!(
        rig.steps(),
        [
            "set destination 10.244.7.7:8080 weight 0 of 10.96.0.10:80 TCP",
            "delete destination 10.244.7.7:8080 of 10.96.0.10:80 TCP"
        ]
    );
}

#[test]
fn the_range_of_a_service_cidr_that_is_bad_stays() {
    let from_cidrs = Settings { cluster_ips: None, ..settings(&[]) };
    let more = [cidr("a", &["10.96.0.0/16"])];
    let told = web().into_iter().chain([bad(Kind::ServiceCidr, "a")]).collect();
    let mut rig = restarted(from_cidrs, &more, told);
    assert_eq!(rig.steps(), Vec::<String>::new());
    rig.tell(cidr("a", &["10.96.0.0/17"]));
    let steps = rig.steps();
    assert!(steps.contains(&"withdraw 10.96.0.0/16".to_owned()), "{steps:#?}");
    assert_eq!(rig.node.state.addr.routes.keys().copied().collect::<Vec<_>>(), [prefix("10.96.0.0/17")]);
}

#[test]
fn the_host_route_of_a_service_that_is_bad_stays() {
    let told = web().into_iter().skip(1).chain([bad(Kind::Service, "shop/web")]).collect();
    let mut rig = restarted(host_routes(), &[], told);
    assert_eq!(rig.steps(), Vec::<String>::new());
    rig.tell(Event::Gone(reference(Kind::Service, "shop/web")));
    assert_eq!(
        rig.steps(),
        [
            "edit nftables table inet vipcast: add draining 10.96.0.10:80 TCP",
            "withdraw 10.96.0.10/32",
            "set destination 10.244.1.2:8080 weight 0 of 10.96.0.10:80 TCP",
            "set destination 10.244.2.2:8080 weight 0 of 10.96.0.10:80 TCP",
            "delete virtual server 10.96.0.10:80 TCP",
            "edit nftables table inet vipcast: remove draining 10.96.0.10:80 TCP",
        ]
    );
}
