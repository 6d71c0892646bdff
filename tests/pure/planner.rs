//! The planner against the model node: the main job, its order, and what must not happen.

mod brake;
mod canary;
mod departure;
mod drain;
mod failures;
mod gobgpd;
mod notices;
mod orders;
mod proof;
mod ranges;
mod restart;
mod role;
mod routes;
mod sent;
mod settings;

use std::collections::BTreeSet;
use std::time::Duration;

use vipcast::model::settings::Announce;
use vipcast::model::{Event, Kind};
use vipcast::plan::change::Leave;
use vipcast::plan::{Change, Step};

use crate::support::build::{cidr, dual_stack, gone, host_routes, ip, prefix, range, service, settings, slice, web};
use crate::support::rig::Rig;

fn position(steps: &[String], what: &str) -> usize {
    steps.iter().position(|step| step.starts_with(what)).unwrap_or_else(|| panic!("no step {what} in {steps:#?}"))
}

#[test]
fn the_main_job_goes_forward_first_and_announces_after() {
    let mut rig = Rig::new(dual_stack());
    rig.list(web());
    let steps = rig.steps();
    let order = [
        "set net/ipv4/ip_forward",
        "add virtual server 10.96.0.10:80 TCP rr",
        "add destination 10.244.1.2:8080 weight 1 to 10.96.0.10:80 TCP",
        "set local route 10.96.0.0/16 src 10.0.1.2",
        "announce 10.96.0.0/16",
    ];
    assert!(order.windows(2).all(|pair| position(&steps, pair[0]) < position(&steps, pair[1])), "{steps:#?}");
    let table = "replace nftables table inet vipcast: masquerade 10.96.0.0/16 fd00:10:96::/112, guard ";
    let without = position(&steps, &format!("{table}none"));
    let with = position(&steps, &format!("{table}10.96.0.0/16 fd00:10:96::/112"));
    assert!(without < position(&steps, "add virtual server"), "SNAT comes first: {steps:#?}");
    assert!(position(&steps, "add destination [fd00:244::2]") < with && with < position(&steps, "set local route"));
    assert!(rig.node.state.bgp.as_ref().unwrap().paths.contains_key(&prefix("fd00:10:96::/112")));
    assert_eq!(rig.node.state.ipvs, rig.planner.desired_servers());
    assert_eq!(rig.steps(), Vec::<String>::new(), "a second pass does nothing");
}

#[test]
fn a_restart_adopts_what_is_there_and_changes_nothing() {
    let mut rig = Rig::new(dual_stack());
    rig.list(web()).run();
    let mut again = Rig::on(dual_stack(), rig.node.clone());
    assert_eq!(again.list(web()).steps(), Vec::<String>::new());
    assert_eq!(again.node.state, rig.node.state);
}

#[test]
fn nothing_happens_before_the_first_complete_list() {
    let mut rig = Rig::new(dual_stack());
    rig.tell(Event::Listing(Kind::Service));
    rig.tell_all(web());
    let steps = rig.steps();
    let early: Vec<&String> = steps.iter().filter(|step| !step.contains("peer") && !step.contains("BGP")).collect();
    assert_eq!(early, Vec::<&String>::new());
}

#[test]
fn the_last_endpoint_takes_the_virtual_server_with_it_and_the_aggregate_stays() {
    let mut rig = Rig::new(dual_stack());
    rig.list(web()).run();
    rig.tell(slice("web-4", "web", &[("http", 8080)], &[]));
    assert_eq!(rig.steps(), ["delete virtual server 10.96.0.10:80 TCP"]);
}

#[test]
fn destinations_are_added_before_others_take_no_more_connections_and_are_deleted() {
    let mut rig = Rig::new(dual_stack());
    rig.list(web()).run();
    rig.tell(slice("web-4", "web", &[("http", 8080)], &["10.244.1.2", "10.244.3.2"]));
    assert_eq!(
        rig.steps(),
        [
            "add destination 10.244.3.2:8080 weight 1 to 10.96.0.10:80 TCP",
            "set destination 10.244.2.2:8080 weight 0 of 10.96.0.10:80 TCP",
            "delete destination 10.244.2.2:8080 of 10.96.0.10:80 TCP"
        ]
    );
}

#[test]
fn leaving_withdraws_first_and_waits_until_peers_heard() {
    let mut rig = Rig::new(dual_stack());
    rig.list(web()).run();
    let before = rig.now;
    rig.change(Change::Leave(Leave::Withdraw));
    assert_eq!(rig.steps(), ["withdraw 10.96.0.0/16", "withdraw fd00:10:96::/112"]);
    assert!(rig.planner.plan(rig.now).finished);
    assert_eq!(rig.now - before, Duration::from_secs(2));
    assert!(!rig.node.state.ipvs.is_empty(), "the data plane stays");
}

#[test]
fn cleanup_removes_all_that_is_ours_in_reverse_order() {
    let mut rig = Rig::new(dual_stack());
    rig.list(web()).run();
    let mut cleanup = Rig::on(dual_stack(), rig.node.clone());
    cleanup.change(Change::Leave(Leave::Remove));
    let steps = cleanup.steps();
    let order =
        ["withdraw 10.96.0.0/16", "delete virtual server", "delete local route", "delete nftables", "delete link"];
    assert!(order.windows(2).all(|pair| position(&steps, pair[0]) < position(&steps, pair[1])), "{steps:#?}");
    assert!(cleanup.planner.plan(cleanup.now).finished);
    let left = &cleanup.node.state;
    assert!(left.ipvs.is_empty() && left.addr == Default::default() && left.nft == Default::default());
    assert_eq!(left.bgp.as_ref().unwrap().global, None);
}

#[test]
fn a_range_that_goes_away_takes_its_route_first() {
    let mut all = dual_stack();
    all.cluster_ips = None;
    let mut rig = Rig::new(all);
    let events = [cidr("v4", &["10.96.0.0/16"]), cidr("v6", &["fd00:10:96::/112"])];
    rig.list(web().into_iter().chain(events)).run();
    rig.tell(gone(Kind::ServiceCidr, "v6"));
    let stages = rig.run();
    let touching: Vec<_> = stages.iter().filter(|stage| !stage.steps.is_empty()).collect();
    let first: Vec<String> = touching[0].steps.iter().map(Step::to_string).collect();
    assert_eq!(first, ["withdraw fd00:10:96::/112"]);
    assert!(touching[1..].iter().all(|stage| stage.after >= Duration::from_secs(2)), "{stages:#?}");
    assert!(rig.node.state.ipvs.keys().all(|key| key.address.is_ipv4()));
    assert_eq!(rig.node.state.addr.routes.len(), 1);
    assert!(rig.node.state.bgp.as_ref().unwrap().paths.contains_key(&prefix("10.96.0.0/16")));
}

#[test]
fn a_range_that_becomes_narrower_or_wider_stays_local_throughout() {
    let with = |text| settings(&[range(text, Announce::Aggregate)]);
    let upper = [
        service("upper", &["10.96.200.1"], &[("http", 80)]),
        slice("upper-4", "upper", &[("http", 8080)], &["10.244.1.9"]),
    ];
    let mut node = Rig::new(with("10.96.0.0/16")).node;
    for (text, before, servers) in [
        ("10.96.0.0/16", None, 2),
        ("10.96.0.0/17", Some("10.96.0.0/16"), 1),
        ("10.96.0.0/16", Some("10.96.0.0/17"), 2),
    ] {
        let mut rig = Rig::on(with(text), node);
        let steps = rig.list(web().into_iter().chain(upper.clone())).steps();
        if let Some(before) = before {
            let gone = position(&steps, &format!("delete local route {before}"));
            assert!(position(&steps, &format!("set local route {text}")) < gone, "{steps:#?}");
        }
        let only = BTreeSet::from([prefix(text)]);
        let table = rig.node.state.nft.table.as_ref().unwrap();
        assert_eq!((&table.masquerade, &table.guard), (&only, &only));
        assert!(rig.node.state.addr.routes.keys().eq(&only));
        assert!(rig.node.state.bgp.as_ref().unwrap().paths.keys().eq(&only));
        assert_eq!(rig.node.state.ipvs.len(), servers);
        node = rig.node;
    }
}

#[test]
fn host_routes_follow_their_vips() {
    let mut rig = Rig::new(host_routes());
    rig.list(web()).run();
    let vip = prefix("10.96.0.10/32");
    let out = |rig: &Rig| rig.node.state.bgp.as_ref().unwrap().paths.keys().copied().collect::<Vec<_>>();
    assert_eq!(out(&rig), [vip]);
    rig.tell(slice("web-4", "web", &[("http", 8080)], &[]));
    let stages = rig.run();
    let steps: Vec<_> = stages.iter().flat_map(|s| s.steps.iter().map(|step| (s.after, step.to_string()))).collect();
    assert_eq!(
        steps,
        [
            // Nobody waits for the route to be gone: new connections are refused at once.
            (0, "edit nftables table inet vipcast: add draining 10.96.0.10:80 TCP"),
            (0, "withdraw 10.96.0.10/32"),
            (0, "set destination 10.244.1.2:8080 weight 0 of 10.96.0.10:80 TCP"),
            (0, "set destination 10.244.2.2:8080 weight 0 of 10.96.0.10:80 TCP"),
            (2, "delete virtual server 10.96.0.10:80 TCP"),
            (2, "edit nftables table inet vipcast: remove draining 10.96.0.10:80 TCP"),
        ]
        .map(|(seconds, step)| (Duration::from_secs(seconds), step.to_owned()))
    );
    rig.tell(slice("web-4", "web", &[("http", 8080)], &["10.244.1.2"])).run();
    assert_eq!(out(&rig), [vip]);
}

#[test]
fn broken_infrastructure_is_repaired_while_the_route_stays() {
    let mut rig = Rig::new(dual_stack());
    rig.list(web()).run();
    rig.node.state.addr = Default::default();
    rig.node.state.nft = Default::default();
    rig.change(Change::HostMoved);
    let steps = rig.steps();
    assert!(position(&steps, "set up link") < position(&steps, "set local route"), "{steps:#?}");
    assert!(steps.iter().all(|step| !step.contains("withdraw")), "{steps:#?}");
    assert!(rig.node.state.nft.table.is_some());
}

#[test]
fn the_preferred_source_gone_withdraws_the_route_and_its_return_announces_it() {
    let mut rig = Rig::new(dual_stack());
    rig.list(web()).run();
    rig.node.host.addresses.remove(&ip("10.0.1.2"));
    rig.change(Change::HostMoved);
    assert_eq!(rig.steps(), ["withdraw 10.96.0.0/16"]);
    rig.node.host.addresses.insert(ip("10.0.1.2"));
    rig.change(Change::HostMoved);
    assert_eq!(rig.steps(), ["announce 10.96.0.0/16"]);
}

#[test]
fn flushed_virtual_servers_come_back_at_the_resync() {
    let mut rig = Rig::new(dual_stack());
    rig.list(web()).run();
    let before = rig.node.state.ipvs.clone();
    rig.node.state.ipvs.clear();
    rig.now = rig.now + Duration::from_secs(300);
    rig.run();
    assert_eq!(rig.node.state.ipvs, before);
}

#[test]
fn gobgpd_that_comes_back_empty_gets_its_paths_before_its_peers() {
    let mut rig = Rig::new(dual_stack());
    rig.list(web()).run();
    rig.change(Change::SpeakerDown("killed".into()));
    rig.node.state.bgp = None;
    rig.change(Change::SpeakerUp);
    let steps = rig.steps();
    assert!(position(&steps, "announce") < position(&steps, "add peer"), "{steps:#?}");
    assert!(steps.iter().all(|step| !step.contains("virtual server")));
}

#[test]
fn what_a_broken_file_may_hold_is_kept_over_a_restart() {
    let mut rig = Rig::new(dual_stack());
    rig.list(web()).run();
    let trouble =
        |problem: Option<&str>| Event::Trouble { origin: "web.yaml".into(), problem: problem.map(str::to_owned) };
    let other = [
        service("other", &["10.96.0.11"], &[("http", 80)]),
        slice("other-4", "other", &[("http", 8080)], &["10.244.1.9"]),
    ];
    let mut again = Rig::on(dual_stack(), rig.node);
    again.list([trouble(Some("no YAML"))].into_iter().chain(other.clone())).run();
    let servers = |rig: &Rig| rig.node.state.ipvs.len();
    assert_eq!(servers(&again), 3, "the virtual servers of web.yaml stay");
    again.tell(slice("other-4", "other", &[("http", 8080)], &[])).run();
    assert_eq!(servers(&again), 2, "what was claimed since the start goes as always");
    again.tell(trouble(None)).run();
    assert_eq!(servers(&again), 0, "the file is well and holds none of them");
}
