use proptest::prelude::*;

use super::*;
use crate::model::{Cluster, Object};

fn object(name: &str) -> ObjectRef {
    ObjectRef { kind: Kind::ServiceCidr, name: Arc::from(name) }
}

/// A ServiceCIDR of which `version` makes different ones.
fn cidr(name: &str, version: u8) -> Object {
    Object::ServiceCidr(Arc::from(name), vec![format!("10.{version}.0.0/16").parse().unwrap()])
}

/// A file with these objects, in versions.
fn file(objects: &[(&str, u8)]) -> Content {
    let readings = objects.iter().map(|(name, version)| (object(name), Arc::new(Reading::Good(cidr(name, *version)))));
    Content { objects: readings.collect(), readable: true, ..Content::default() }
}

fn changes<const N: usize>(files: [(&str, Option<Content>); N]) -> Changes {
    files.into_iter().map(|(path, content)| (Arc::from(Path::new(path)), content)).collect()
}

fn put(name: &str, version: u8) -> Event {
    Event::Put(cidr(name, version))
}

fn gone(name: &str) -> Event {
    Event::Gone(object(name))
}

fn trouble(origin: &str, problem: &str) -> Event {
    Event::Trouble { origin: Arc::from(origin), problem: Some(problem.to_owned()) }
}

fn well(origin: &str) -> Event {
    Event::Trouble { origin: Arc::from(origin), problem: None }
}

#[test]
fn only_what_changed_is_told() {
    let mut ledger = Ledger::default();
    let first = changes([("a", Some(file(&[("x", 1), ("y", 1)]))), ("b", Some(file(&[("z", 1)])))]);
    assert_eq!(ledger.update(first), [put("x", 1), put("y", 1), put("z", 1)]);
    assert_eq!(ledger.update(changes([("a", Some(file(&[("x", 1), ("y", 1)])))])), []);
    let second = changes([("a", Some(file(&[("x", 1), ("w", 1)])))]);
    assert_eq!(ledger.update(second), [put("w", 1), gone("y")], "first what is there, then what is gone");
    assert_eq!(ledger.update(changes([("b", None)])), [gone("z")]);
    assert_eq!(ledger.update(changes([("b", None)])), []);
    assert_eq!((ledger.files().count(), ledger.object_count()), (1, 2));
}

#[test]
fn an_object_moves_between_files() {
    let mut ledger = Ledger::default();
    ledger.update(changes([("a", Some(file(&[("x", 1)]))), ("b", Some(file(&[])))]));
    let there = changes([("a", Some(file(&[]))), ("b", Some(file(&[("x", 1)])))]);
    assert_eq!(ledger.update(there), []);
    let back_and_changed = changes([("b", None), ("c", Some(file(&[("x", 2)])))]);
    assert_eq!(ledger.update(back_and_changed), [put("x", 2)]);
}

#[test]
fn of_two_files_the_first_counts() {
    let mut ledger = Ledger::default();
    let shadowed = trouble("b", "ServiceCIDR x is also in a, which counts");
    ledger.update(changes([("b", Some(file(&[("x", 2)])))]));
    let first = changes([("a", Some(file(&[("x", 1)])))]);
    assert_eq!(ledger.update(first), [put("x", 1), shadowed.clone()]);
    assert_eq!(ledger.update(changes([("b", Some(file(&[("x", 3)])))])), [], "who does not count changes nothing");
    let more = changes([("b", Some(file(&[("x", 3), ("y", 1)]))), ("a", Some(file(&[("x", 1), ("y", 1)])))]);
    let two = trouble("b", "ServiceCIDR x is also in a, which counts (and 1 more)");
    assert_eq!(ledger.update(more), [put("y", 1), two]);
    assert_eq!(ledger.update(changes([("a", Some(file(&[("x", 1)])))])), [shadowed]);
    assert_eq!(ledger.update(changes([("a", None)])), [put("x", 3), well("b")]);
}

#[test]
fn of_three_files_the_last_hears_of_a_new_first() {
    let mut ledger = Ledger::default();
    let all = changes(["a", "b", "c"].map(|path| (path, Some(file(&[("x", 1)])))));
    let in_a = "ServiceCIDR x is also in a, which counts";
    assert_eq!(ledger.update(all), [put("x", 1), trouble("b", in_a), trouble("c", in_a)]);
    let expected = [well("b"), trouble("c", "ServiceCIDR x is also in b, which counts")];
    assert_eq!(ledger.update(changes([("a", None)])), expected);
}

#[test]
fn a_broken_file_keeps_what_it_held() {
    let mut ledger = Ledger::default();
    ledger.update(changes([("a", Some(file(&[("x", 1), ("y", 1)])))]));
    let broken = || changes([("a", Some(Content::unreadable("no")))]);
    assert_eq!(ledger.update(broken()), [trouble("a", "no")]);
    assert_eq!(ledger.update(broken()), [], "the same words are not told again");
    assert!(!ledger.is_readable(Path::new("a")));
    assert_eq!(ledger.update(changes([("a", Some(file(&[("y", 1)])))])), [gone("x"), well("a")]);
    assert_eq!(ledger.update(broken()), [trouble("a", "no")]);
    assert_eq!(ledger.update(changes([("a", None)])), [gone("y"), well("a")], "a deleted one does not");
    assert_eq!(ledger.update(broken()), [trouble("a", "no")], "a new one has nothing to keep");
    assert_eq!(ledger.object_count(), 0);
}

#[test]
fn a_file_that_is_partly_wrong_changes_and_adds_but_removes_nothing() {
    let mut ledger = Ledger::default();
    ledger.update(changes([("a", Some(file(&[("x", 1), ("y", 1)])))]));
    let partly = Content { problem: Some("line 9: no".to_owned()), ..file(&[("x", 2), ("z", 1)]) };
    let events = ledger.update(changes([("a", Some(partly))]));
    assert_eq!(events, [put("x", 2), put("z", 1), trouble("a", "line 9: no")]);
    let events = ledger.update(changes([("a", Some(file(&[("x", 2), ("z", 1)])))]));
    assert_eq!(events, [gone("y"), well("a")]);
}

#[test]
fn objects_that_are_bad_or_not_for_us() {
    let mut ledger = Ledger::default();
    let with = |reading: Reading| {
        let objects = BTreeMap::from([(object("x"), Arc::new(reading))]);
        changes([("a", Some(Content { objects, readable: true, ..Content::default() }))])
    };
    let bad = |problem: &str| Event::Bad(object("x"), problem.to_owned());
    assert_eq!(ledger.update(with(Reading::Ignored)), []);
    assert_eq!(ledger.update(with(Reading::Bad("no".to_owned()))), [bad("no")]);
    assert_eq!(ledger.update(with(Reading::Bad("no, no".to_owned()))), [bad("no, no")]);
    assert_eq!(ledger.update(with(Reading::Good(cidr("x", 1)))), [put("x", 1)]);
    let partly = Reading::Partly(cidr("x", 1), "a bit".to_owned());
    assert_eq!(ledger.update(with(partly)), [put("x", 1), bad("a bit")]);
    assert_eq!(ledger.update(with(Reading::Ignored)), [gone("x")]);
    assert_eq!(ledger.update(with(Reading::Bad("no".to_owned()))), [bad("no")]);
    assert_eq!(ledger.update(changes([("a", None)])), [gone("x")]);
}

/// What a file may hold at some time: `None` if there is none, else objects and whether something is wrong with it.
fn contents() -> impl Strategy<Value = Option<(BTreeMap<u8, u8>, bool)>> {
    prop::option::of((prop::collection::btree_map(0..4u8, 0..3u8, 0..4), prop::bool::weighted(0.2)))
}

proptest! {
    /// Whoever hears the events from the start knows as much as whoever hears a list now, and is told nothing twice.
    #[test]
    fn events_and_lists_agree(updates in prop::collection::vec(prop::collection::btree_map(0..3u8, contents(), 1..3), 0..12)) {
        let mut ledger = Ledger::default();
        let mut heard = Cluster::default();
        for update in updates {
            let update: Changes = update.into_iter().map(|(path, content)| {
                let content = content.map(|(objects, wrong)| {
                    let names: Vec<(String, u8)> = objects.into_iter().map(|(name, v)| (name.to_string(), v)).collect();
                    let objects: Vec<(&str, u8)> = names.iter().map(|(name, v)| (name.as_str(), *v)).collect();
                    Content { problem: wrong.then(|| "wrong".to_owned()), ..file(&objects) }
                });
                (Arc::from(Path::new(&path.to_string())), content)
            }).collect();
            for event in ledger.update(update) {
                let touched = heard.apply(event.clone());
                prop_assert!(touched.ranges || matches!(event, Event::Trouble { .. }), "{:?} says nothing new", event);
            }
            let mut listed = Cluster::default();
            for event in ledger.list() {
                listed.apply(event);
            }
            let cidrs = |cluster: &Cluster| cluster.service_cidrs();
            prop_assert_eq!(cidrs(&heard), cidrs(&listed));
        }
    }
}
