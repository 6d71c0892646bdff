//! Ranges that come, go, grow and shrink.

use std::collections::BTreeSet;
use std::time::Duration;

use vipcast::model::settings::{Announce, Dataplane, PoolEntry};
use vipcast::model::{Kind, Prefix, Selector, Settings};
use vipcast::plan::{Change, ModelNode, Observation, Outcome, Report, Step};

use crate::support::build::{cidr, gone, host, ip, prefix, range, service, settings, slice};
use crate::support::rig::Rig;

fn from_cidrs() -> Settings {
    Settings { cluster_ips: None, ..settings(&[]) }
}

fn objects() -> Vec<vipcast::model::Event> {
    vec![
        service("low", &["10.96.0.1"], &[("http", 80)]),
        slice("low", "low", &[("http", 8080)], &["10.244.1.2"]),
        service("high", &["10.96.128.1"], &[("http", 80)]),
        slice("high", "high", &[("http", 8080)], &["10.244.1.3"]),
    ]
}

/// The kernel's sets refuse a prefix inside another one.
fn without_overlap(set: &BTreeSet<Prefix>) -> bool {
    set.iter().all(|one| set.iter().all(|other| one == other || !one.overlaps(*other)))
}

/// From one range to another that overlaps it: rules, routes, paths and virtual servers follow, and none is left.
#[test]
fn a_range_grows_and_shrinks() {
    let steps = [
        ("10.96.0.0/17", "10.96.0.0/16"),
        ("10.96.128.0/17", "10.96.0.0/16"),
        ("10.96.0.0/16", "10.96.0.0/17"),
        ("10.96.0.0/16", "10.96.128.0/17"),
    ];
    for (before, after) in steps {
        let mut rig = Rig::new(from_cidrs());
        rig.list(objects().into_iter().chain([cidr("a", &[before])])).run();
        let kept = rig.node.state.ipvs.keys().copied().find(|key| prefix(after).contains(key.address));
        rig.tell(cidr("a", &[after]));
        let steps: Vec<Step> = rig.run().into_iter().flat_map(|stage| stage.steps).collect();
        for step in &steps {
            if let Step::ReplaceTable(table) = step {
                assert!(without_overlap(&table.masquerade) && without_overlap(&table.guard), "{step}");
            }
            assert!(kept.is_none_or(|kept| *step != Step::DeleteServer(kept)), "{before} to {after}: {step}");
        }
        let state = &rig.node.state;
        let only: BTreeSet<Prefix> = [prefix(after)].into();
        assert_eq!(state.addr.routes.keys().copied().collect::<BTreeSet<_>>(), only, "{before} to {after}: {steps:#?}");
        assert_eq!(state.bgp.as_ref().unwrap().paths.keys().copied().collect::<BTreeSet<_>>(), only);
        let table = state.nft.table.clone().unwrap();
        assert_eq!((table.masquerade, table.guard), (only.clone(), only));
        assert_eq!(state.ipvs, rig.planner.desired_servers());
        assert_eq!(state.ipvs.len(), if after == "10.96.0.0/16" { 2 } else { 1 });
    }
}

/// Replies to a SNAT pool have to find this node, so each of its addresses that the node does not have is local and announced,
/// and all of them go with the pool.
#[test]
fn a_pool_is_announced_address_by_address() {
    let ranges = [range("10.96.0.0/16", Announce::Aggregate)];
    let pool = |addresses: &[(&str, &str)]| {
        let entry = |(first, last): &(&str, &str)| PoolEntry {
            first: ip(first),
            last: ip(last),
            node_selector: Selector::default(),
        };
        let snat_pool = addresses.iter().map(entry).collect();
        Settings { dataplane: Dataplane { snat_pool, ..Dataplane::default() }, ..settings(&ranges) }
    };
    let mut node = ModelNode { host: host(), ..ModelNode::default() };
    for (addresses, expected) in [
        (&[("10.0.1.2", "10.0.1.5")][..], &["10.0.1.3/32", "10.0.1.4/32", "10.0.1.5/32", "10.96.0.0/16"][..]),
        (&[("198.18.0.2", "198.18.0.3")], &["10.96.0.0/16", "198.18.0.2/32", "198.18.0.3/32"]),
        (&[], &["10.96.0.0/16"]),
    ] {
        let mut rig = Rig::on(pool(addresses), node);
        rig.list(objects()).run();
        let expected: BTreeSet<Prefix> = expected.iter().map(|text| prefix(text)).collect();
        let state = &rig.node.state;
        assert_eq!(state.bgp.as_ref().unwrap().paths.keys().copied().collect::<BTreeSet<_>>(), expected);
        assert_eq!(state.addr.routes.keys().copied().collect::<BTreeSet<_>>(), expected);
        node = rig.node;
    }
}

/// Which virtual servers are ours depends on the routes: while those cannot be read, nothing is decided about them.
#[test]
fn what_lies_under_an_old_route_goes_even_if_the_routes_are_read_late() {
    let mut rig = Rig::new(settings(&[range("10.96.0.0/16", Announce::Aggregate)]));
    rig.list(objects()).run();
    let mut next = Rig::on(settings(&[range("10.96.0.0/17", Announce::Aggregate)]), rig.node);
    next.list(objects());
    let mut readings = 0;
    while readings < 2 {
        for step in next.planner.plan(next.now).steps {
            let mut outcome = next.node.perform_one(&step);
            if let Outcome::Read(Observation::Host(reading)) = &mut outcome {
                readings += 1;
                if readings == 1 {
                    reading.addr = Err("netlink: timeout".into());
                }
            }
            next.change(Change::Report(Report { step, outcome }));
        }
        next.now = next.now + Duration::from_millis(50);
    }
    next.run();
    assert_eq!(next.node.state.ipvs, next.planner.desired_servers());
    assert_eq!(next.node.state.addr.routes.len(), 1);
}

/// A link that only has our name is not ours to delete.
#[test]
fn cleaning_up_leaves_a_link_that_is_no_dummy() {
    let mut rig = Rig::new(from_cidrs());
    let foreign = vipcast::model::addr::Link { dummy: false, up: true, noarp: false };
    rig.node.state.addr.link = Some(foreign);
    rig.change(Change::Leave(vipcast::plan::change::Leave::Remove)).run();
    assert_eq!(rig.node.state.addr.link, Some(foreign));
    assert!(rig.planner.plan(rig.now).finished);
}

/// The last range goes: nothing of it is left, and the node says that it serves nothing.
#[test]
fn without_a_range_nothing_is_left() {
    let mut rig = Rig::new(from_cidrs());
    rig.list(objects().into_iter().chain([cidr("a", &["10.96.0.0/16"])])).run();
    rig.tell(gone(Kind::ServiceCidr, "a")).run();
    let state = &rig.node.state;
    assert!(state.ipvs.is_empty() && state.addr.routes.is_empty() && state.nft == Default::default());
    assert!(state.bgp.as_ref().unwrap().paths.is_empty());
    assert!(!rig.planner.status().ready);
}
