use proptest::prelude::*;

use super::*;
use crate::model::ipvs::Protocol;

fn key(port: u16) -> ServerKey {
    ServerKey { address: "10.96.0.1".parse().unwrap(), protocol: Protocol::Tcp, port }
}

fn prefixes(texts: &[&str]) -> BTreeSet<Prefix> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn any_elements() -> impl Strategy<Value = Elements> {
    let keys = || prop::collection::btree_set((0..4u16).prop_map(key), 0..4);
    let sources = prop::sample::select(vec![vec![], vec!["192.0.2.0/24"], vec!["192.0.2.0/24", "198.51.100.0/24"]]);
    let sources = prop::collection::btree_map((0..4u16).prop_map(key), sources.prop_map(|s| prefixes(&s)), 0..4);
    (keys(), keys(), keys(), sources).prop_map(|(keep, masquerade, draining, sources)| Elements {
        keep,
        masquerade,
        draining,
        sources,
    })
}

proptest! {
    #[test]
    fn the_difference_makes_one_of_the_other(a in any_elements(), b in any_elements()) {
        let (add, remove) = (b.without(&a), a.without(&b));
        prop_assert_eq!(a.edited(&add, &remove), Some(b.clone()));
        // And is nothing where nothing differs.
        prop_assert_eq!(a == b, add == Elements::default() && remove == Elements::default());
    }
}

#[test]
fn an_edit_of_something_else_does_not_fit() {
    let sources = |texts: &[&str]| Elements { sources: [(key(1), prefixes(texts))].into(), ..Elements::default() };
    let keep = |ports: &[u16]| Elements { keep: ports.iter().map(|port| key(*port)).collect(), ..Elements::default() };
    let none = Elements::default();
    for (there, add, remove) in [
        (keep(&[1]), keep(&[1]), none.clone()),
        (keep(&[1]), none.clone(), keep(&[2])),
        (sources(&["192.0.2.0/24"]), sources(&["198.51.100.0/24"]), none.clone()),
        (sources(&["192.0.2.0/24"]), none.clone(), sources(&["198.51.100.0/24"])),
        (sources(&["192.0.2.0/24"]), none.clone(), sources(&[])),
        (none.clone(), none.clone(), sources(&[])),
    ] {
        assert_eq!(there.edited(&add, &remove), None, "{there:?} + {add:?} - {remove:?}");
    }
    assert_eq!(keep(&[1]).edited(&keep(&[1]), &keep(&[1])), Some(keep(&[1])));
}

#[test]
fn sources_that_cannot_be_are_named() {
    let misfit = |texts: &[&str]| {
        let sources = [(key(0), prefixes(&[])), (key(80), prefixes(texts))].into();
        Elements { sources, ..Elements::default() }.misfit()
    };
    assert_eq!(misfit(&["192.0.2.0/25", "192.0.2.128/25"]), None);
    assert_eq!(
        misfit(&["192.0.2.0/24", "192.0.2.128/25"]).unwrap(),
        "source 192.0.2.128/25 of 10.96.0.1:80 TCP is inside another one"
    );
    assert_eq!(misfit(&["fd00::/8"]).unwrap(), "source fd00::/8 of 10.96.0.1:80 TCP is of another family");
}
