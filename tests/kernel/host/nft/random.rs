//! Random tables and random edits of their elements, read back.

use crate::rules;

use super::*;

/// Some random values; few, since each costs the start of programs.
fn some<T: std::fmt::Debug>(strategy: impl Strategy<Value = T>, number: usize) -> Vec<T> {
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
    (0..number).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

#[test]
fn any_table_is_read_back() {
    with_kernel(async |node| {
        for table in some(rules::table(), 24) {
            node.done([Step::ReplaceTable(table.clone())]).await;
            assert_eq!(node.table().await, table);
        }
    });
}

#[test]
fn edits_end_where_a_replacement_does() {
    with_kernel(async |node| {
        let mut table = some(rules::table(), 1).remove(0);
        node.done([Step::ReplaceTable(table.clone())]).await;
        // From one to any other, and back to nothing.
        let mut goals = some(rules::elements(rules::ranges()), 12);
        // Sources that hold those before, and are held by them.
        let key = ServerKey { address: "10.96.0.1".parse().unwrap(), protocol: Protocol::Tcp, port: 80 };
        for prefixes in [&["192.0.2.0/25", "192.0.2.128/25"][..], &["192.0.2.0/24"], &["192.0.2.7/32"], &["0.0.0.0/0"]]
        {
            goals.push(Elements { sources: [(key, ranges(prefixes))].into(), ..Elements::default() });
        }
        goals.push(Elements::default());
        for goal in goals {
            let (add, remove) = (goal.without(&table.elements), table.elements.without(&goal));
            node.done([Step::EditTable { add, remove }]).await;
            table.elements = goal;
            assert_eq!(node.table().await, table);
        }
    });
}

#[test]
fn an_edit_of_a_table_that_is_another_drifts_and_changes_nothing() {
    with_kernel(async |node| {
        let key = |port| ServerKey { address: "fd00:10:96::1".parse().unwrap(), protocol: Protocol::Udp, port };
        let keep = |ports: &[u16]| Elements { keep: ports.iter().copied().map(key).collect(), ..Elements::default() };
        let edit = |add: &[u16], remove: &[u16]| Step::EditTable { add: keep(add), remove: keep(remove) };
        assert!(matches!(node.perform(edit(&[1], &[])).await, Outcome::Drifted(_)));
        assert_eq!(node.nft().await, Nft::default());

        let there = Table { elements: keep(&[1, 2]), ..table(&[V4], &[V4]) };
        node.done([Step::ReplaceTable(there.clone())]).await;
        for (add, remove) in [(&[3, 1][..], &[][..]), (&[3], &[4]), (&[], &[1, 4])] {
            let outcome = node.perform(edit(add, remove)).await;
            assert!(matches!(outcome, Outcome::Drifted(_)), "{add:?} {remove:?}: {outcome:?}");
            assert_eq!(node.table().await, there);
        }
        node.done([edit(&[1, 3], &[1, 2])]).await;
        assert_eq!(node.table().await.elements, keep(&[1, 3]));
    });
}

/// The kernel takes some sources that overlap, and then takes one for the other.
#[test]
fn sources_that_overlap_never_reach_the_kernel() {
    with_kernel(async |node| {
        let good = table(&[V4], &[V4]);
        node.done([Step::ReplaceTable(good.clone())]).await;
        let key = ServerKey { address: "10.96.0.1".parse().unwrap(), protocol: Protocol::Tcp, port: 80 };
        let sources = [(key, ranges(&["192.0.2.0/24", "192.0.2.7/32"]))].into();
        let elements = Elements { sources, ..Elements::default() };
        let expected = "source 192.0.2.7/32 of 10.96.0.1:80 TCP is inside another one";
        let edit = Step::EditTable { add: elements.clone(), remove: Elements::default() };
        assert_eq!(node.refused(edit).await, expected);
        assert_eq!(node.refused(Step::ReplaceTable(Table { elements, ..good.clone() })).await, expected);
        assert_eq!(node.table().await, good);
    });
}
