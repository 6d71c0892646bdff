//! The table `inet vipcast` as text for `nft -f`, and what changes single elements. Pure.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::shape::{self, ALLOWED, Chain, DRAINING, FILTERED, GUARD, KEEP, MASQUERADE, NODE_PORTS, PODS, Set, TABLE};
use crate::model::ipvs::ServerKey;
use crate::model::nft::{Elements, Table};
use crate::model::{Family, Prefix};

/// The elements of sets, by the set's name.
type Members = BTreeMap<String, Vec<String>>;

/// Commands that replace the table in one transaction: packets see the old rules or the new ones.
pub(super) fn replacement(table: &Table) -> String {
    let mut members = of_elements(&table.elements);
    for (name, ranges) in [(MASQUERADE, &table.masquerade), (PODS, &table.pods), (GUARD, &table.guard)] {
        for range in ranges {
            members.entry(shape::set(name, range.family())).or_default().push(range.to_string());
        }
    }
    let mut text = removal();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "table {TABLE} {{");
    for part in shape::parts(&table.source, table.mss) {
        for set in part.sets {
            Family::ALL.into_iter().for_each(|family| write_set(&mut text, set, family, &members));
        }
        for counter in part.counters {
            let _ = writeln!(text, "\tcounter {counter} {{\n\t}}");
        }
        part.chains.iter().for_each(|chain| write_chain(&mut text, chain));
    }
    text.push_str("}\n");
    text
}

/// Commands that remove the table, whether it is there or not.
pub(super) fn removal() -> String {
    format!("add table {TABLE}\ndelete table {TABLE}\n")
}

/// Commands that take elements away and then put others in, in one transaction. It fails where one to take away is not
/// there, or one to put in is.
pub(super) fn edit(add: &Elements, remove: &Elements) -> String {
    let mut text = String::new();
    for (verb, elements) in [("delete", remove), ("create", add)] {
        for (set, members) in of_elements(elements) {
            let _ = writeln!(text, "{verb} element {TABLE} {set} {{ {} }}", members.join(", "));
        }
    }
    text
}

fn of_elements(elements: &Elements) -> Members {
    let mut members = Members::new();
    let mut put = |name, server: &ServerKey, element| {
        members.entry(shape::set(name, Family::of(server.address))).or_default().push(element);
    };
    let servers = [(KEEP, &elements.keep), (NODE_PORTS, &elements.masquerade), (DRAINING, &elements.draining)];
    for (name, keys) in servers {
        keys.iter().for_each(|key| put(name, key, server(key)));
    }
    for (key, sources) in &elements.sources {
        put(FILTERED, key, server(key));
        sources.iter().for_each(|source| put(ALLOWED, key, client(key, source)));
    }
    members
}

fn server(key: &ServerKey) -> String {
    format!("{} . {} . {}", key.address, key.protocol.number(), key.port)
}

fn client(key: &ServerKey, source: &Prefix) -> String {
    format!("{} . {source}", server(key))
}

fn write_set(text: &mut String, set: &Set, family: Family, members: &Members) {
    let name = set.of(family);
    let flags = if set.kind.interval() { " flags interval;" } else { "" };
    let _ = writeln!(text, "\tset {name} {{");
    let _ = writeln!(text, "\t\ttype {};{flags}", set.kind.fields(family).join(" . "));
    if let Some(members) = members.get(&name) {
        let _ = writeln!(text, "\t\telements = {{ {} }}", members.join(", "));
    }
    text.push_str("\t}\n");
}

fn write_chain(text: &mut String, chain: &Chain) {
    let _ = writeln!(text, "\tchain {} {{", chain.name);
    if let Some(hook) = &chain.hook {
        let (kind, point, priority) = (hook.kind, hook.hook, hook.priority);
        let _ = writeln!(text, "\t\ttype {kind} hook {point} priority {priority}; policy accept;");
    }
    for rule in &chain.rules {
        let _ = writeln!(text, "\t\t{}", rule.text);
    }
    text.push_str("\t}\n");
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;
    use std::net::IpAddr;

    use super::*;
    use crate::model::ipvs::Protocol;
    use crate::model::nft::{Mss, Source};

    fn ranges(prefixes: &[&str]) -> BTreeSet<Prefix> {
        prefixes.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// What nft 1.0.6 lists after it read [`WHOLE`] is in the tests of `listing`.
    const WHOLE: &str = include_str!("writing/whole.nft");

    fn key(address: &str, protocol: Protocol, port: u16) -> ServerKey {
        ServerKey { address: address.parse().unwrap(), protocol, port }
    }

    fn elements() -> Elements {
        let web = key("10.96.0.1", Protocol::Tcp, 80);
        let dns = key("fd00:10:96::1", Protocol::Udp, 53);
        Elements {
            keep: [web, dns].into(),
            masquerade: [key("10.0.1.2", Protocol::Sctp, 30000)].into(),
            draining: [dns].into(),
            sources: [(web, ranges(&["192.0.2.0/24", "198.51.100.7/32"])), (dns, BTreeSet::new())].into(),
        }
    }

    /// The table of [`WHOLE`].
    pub(in crate::apply::nft) fn whole() -> Table {
        let pool = ["192.0.2.10", "192.0.2.13"].map(|text| text.parse().unwrap());
        Table {
            masquerade: ranges(&["10.96.0.0/16", "192.0.2.7/32", "fd00:10:96::/112"]),
            source: Source { pool: [(Family::Ipv4, pool.into())].into(), ports: Some((1024, 65535)) },
            guard: ranges(&["10.96.0.0/16"]),
            pods: ranges(&["10.244.1.0/24"]),
            mss: Some(Mss::Size(1240)),
            elements: elements(),
            stray: BTreeSet::new(),
        }
    }

    #[test]
    fn the_whole_table() {
        assert_eq!(replacement(&whole()), WHOLE);
    }

    #[test]
    fn sources_and_segment_sizes_are_as_long_as_they_are_said() {
        let text = |pool: [&str; 2], ports, mss| {
            let [first, last]: [IpAddr; 2] = pool.map(|text| text.parse().unwrap());
            let source = Source { pool: [(Family::of(first), (first, last))].into(), ports };
            replacement(&Table { source, mss, ..Table::default() })
        };
        let one = text(["192.0.2.10", "192.0.2.10"], Some((2000, 2000)), Some(Mss::Auto));
        assert!(one.contains(" snat ip to 192.0.2.10:2000 fully-random\n"), "{one}");
        assert!(
            one.contains("meta nfproto 10 meta l4proto { 6, 17, 132 } masquerade to :2000 fully-random\n"),
            "{one}"
        );
        assert!(one.contains("meta nfproto 10 tcp option maxseg size set rt mtu\n"), "{one}");
        let v6 = text(["fd01::a", "fd01::d"], None, Some(Mss::Size(1240)));
        assert!(v6.contains("meta nfproto 10 snat ip6 to [fd01::a]-[fd01::d] fully-random\n"), "{v6}");
        assert!(v6.contains("meta nfproto 2 masquerade fully-random\n"), "{v6}");
        assert!(v6.contains("meta nfproto 10 tcp option maxseg size set 1220\n"), "{v6}");
    }

    #[test]
    fn an_edit_takes_out_first() {
        let web = key("10.96.0.1", Protocol::Tcp, 80);
        let add = Elements { sources: [(web, ranges(&["192.0.2.0/25"]))].into(), ..Elements::default() };
        assert_eq!(
            edit(&add, &elements()),
            "\
delete element inet vipcast allowed4 { 10.96.0.1 . 6 . 80 . 192.0.2.0/24, 10.96.0.1 . 6 . 80 . 198.51.100.7/32 }
delete element inet vipcast draining6 { fd00:10:96::1 . 17 . 53 }
delete element inet vipcast filtered4 { 10.96.0.1 . 6 . 80 }
delete element inet vipcast filtered6 { fd00:10:96::1 . 17 . 53 }
delete element inet vipcast keep4 { 10.96.0.1 . 6 . 80 }
delete element inet vipcast keep6 { fd00:10:96::1 . 17 . 53 }
delete element inet vipcast nodeports4 { 10.0.1.2 . 132 . 30000 }
create element inet vipcast allowed4 { 10.96.0.1 . 6 . 80 . 192.0.2.0/25 }
create element inet vipcast filtered4 { 10.96.0.1 . 6 . 80 }
"
        );
    }
}
