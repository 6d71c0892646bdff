//! Random virtual servers, made and changed by steps, always read back as they were asked for.

use proptest::collection::btree_map;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;

/// Few keys, so that a change meets what is there.
fn any_key() -> impl Strategy<Value = ServerKey> {
    (prop::sample::select(vec!["10.96.0.1", "10.96.0.2", "fd96::1"]), prop::sample::select(&PROTOCOLS), 80..82u16)
        .prop_map(|(address, protocol, port)| server(address, protocol, port))
}

fn any_settings() -> impl Strategy<Value = ServerSettings> {
    let flags = (any::<bool>(), 0..8u32).prop_map(|(persistent, other)| u32::from(persistent) | other << 2);
    (prop::sample::select(vec!["rr", "wrr", "wlc", "sh", "mh", "none"]), flags, 0..100_000u32).prop_map(
        |(scheduler, flags, timeout)| ServerSettings { flags: ServerFlags(flags), timeout, ..settings(scheduler) },
    )
}

fn any_destination() -> impl Strategy<Value = Destination> {
    use Forwarding::{DirectRouting, Masquerade, Tunnel};
    (0..5u32, prop::sample::select(vec![Masquerade, Tunnel, DirectRouting]))
        .prop_map(|(weight, forwarding)| Destination { weight, forwarding })
}

/// Virtual servers whose destinations are of their own family.
fn any_servers() -> impl Strategy<Value = BTreeMap<ServerKey, VirtualServer>> {
    let servers = btree_map(any_key(), (any_settings(), btree_map(0..8u16, any_destination(), 0..6)), 0..6);
    servers.prop_map(|servers| {
        let server = |(key, (settings, destinations)): (ServerKey, (_, BTreeMap<u16, _>))| {
            let address = if key.address.is_ipv4() { "10.1.0.1" } else { "fd01::1" };
            let destinations = destinations.into_iter().map(|(port, value)| (pod(address, 8080 + port), value));
            (key, VirtualServer { settings, destinations: destinations.collect() })
        };
        servers.into_iter().map(server).collect()
    })
}

/// The steps from one set of virtual servers to another.
fn mutation(from: &BTreeMap<ServerKey, VirtualServer>, to: &BTreeMap<ServerKey, VirtualServer>) -> Vec<Step> {
    let gone = from.keys().filter(|key| !to.contains_key(key));
    let mut steps: Vec<_> = gone.map(|key| Step::DeleteServer(*key)).collect();
    for (key, new) in to {
        let Some(old) = from.get(key) else {
            steps.extend(creation(*key, new));
            continue;
        };
        if old.settings != new.settings {
            steps.push(Step::SetServer(*key, new.settings.clone()));
        }
        for (name, value) in &new.destinations {
            match old.destinations.get(name) {
                None => steps.push(Step::AddDestination(*key, *name, *value)),
                Some(there) if there != value => steps.push(Step::SetDestination(*key, *name, *value)),
                Some(_) => {}
            }
        }
        let surplus = old.destinations.keys().filter(|name| !new.destinations.contains_key(name));
        steps.extend(surplus.map(|name| Step::DeleteDestination(*key, *name)));
    }
    steps
}

fn read_all(ipvs: &mut Ipvs) -> BTreeMap<ServerKey, VirtualServer> {
    let servers = list(ipvs);
    let read = |(key, settings)| {
        let server = read(ipvs, key).unwrap();
        assert_eq!(server.settings, settings, "the list and the object agree about {key}");
        (key, server)
    };
    servers.into_iter().map(read).collect()
}

#[test]
fn any_set_of_virtual_servers_becomes_any_other() {
    in_namespace(|| {
        let config = Config { cases: 40, failure_persistence: None, ..Config::default() };
        let sets = prop::collection::vec(any_servers(), 1..5);
        let result = TestRunner::new(config).run(&sets, |sets| {
            let mut ipvs = Ipvs::connect().unwrap();
            let mut actual = BTreeMap::new();
            for desired in sets.iter().chain([&BTreeMap::new()]) {
                for report in ipvs.perform(mutation(&actual, desired)) {
                    prop_assert_eq!(report.outcome, Outcome::Done, "{:?}", report.step);
                }
                actual = read_all(&mut ipvs);
                prop_assert_eq!(&actual, desired);
            }
            Ok(())
        });
        result.unwrap();
    });
}
