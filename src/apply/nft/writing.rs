//! The table `inet vipcast` as text for `nft -f`. Pure.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::shape::{GUARD, MASQUERADE, Part, TABLE, set_type};
use crate::model::nft::Table;
use crate::model::{Family, Prefix};

/// Commands that replace the table in one transaction: packets see the old rules or the new ones.
pub(super) fn replacement(table: &Table) -> String {
    let mut text = removal();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "table {TABLE} {{");
    part(&mut text, &MASQUERADE, &table.masquerade);
    part(&mut text, &GUARD, &table.guard);
    text.push_str("}\n");
    text
}

/// Commands that remove the table, whether it is there or not.
pub(super) fn removal() -> String {
    format!("add table {TABLE}\ndelete table {TABLE}\n")
}

fn part(text: &mut String, part: &Part, ranges: &BTreeSet<Prefix>) {
    if ranges.is_empty() {
        return;
    }
    for family in Family::ALL {
        let _ = writeln!(text, "\tset {} {{", part.set(family));
        let _ = writeln!(text, "\t\ttype {}; flags interval;", set_type(family));
        let elements: Vec<String> =
            ranges.iter().filter(|range| range.family() == family).map(Prefix::to_string).collect();
        if !elements.is_empty() {
            let _ = writeln!(text, "\t\telements = {{ {} }}", elements.join(", "));
        }
        text.push_str("\t}\n");
    }
    // A chain has to be there before a rule leads to it.
    for chain in part.chains.iter().rev() {
        let _ = writeln!(text, "\tchain {} {{", chain.name);
        if let Some(hook) = &chain.hook {
            let (kind, point, priority) = (hook.kind, hook.hook, hook.priority);
            let _ = writeln!(text, "\t\ttype {kind} hook {point} priority {priority}; policy accept;");
        }
        for rule in chain.rules {
            let _ = writeln!(text, "\t\t{}", rule.text);
        }
        text.push_str("\t}\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(prefixes: &[&str]) -> BTreeSet<Prefix> {
        prefixes.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_whole_table() {
        let table = Table {
            masquerade: ranges(&["10.96.0.0/16", "192.0.2.7/32", "fd00:10:96::/112"]),
            guard: ranges(&["10.96.0.0/16"]),
            ..Table::default()
        };
        assert_eq!(
            replacement(&table),
            "\
add table inet vipcast
delete table inet vipcast
table inet vipcast {
	set masquerade4 {
		type ipv4_addr; flags interval;
		elements = { 10.96.0.0/16, 192.0.2.7/32 }
	}
	set masquerade6 {
		type ipv6_addr; flags interval;
		elements = { fd00:10:96::/112 }
	}
	chain postrouting {
		type nat hook postrouting priority 100; policy accept;
		ct original ip daddr @masquerade4 ip daddr != @masquerade4 masquerade fully-random
		ct original ip6 daddr @masquerade6 ip6 daddr != @masquerade6 masquerade fully-random
	}
	set guard4 {
		type ipv4_addr; flags interval;
		elements = { 10.96.0.0/16 }
	}
	set guard6 {
		type ipv6_addr; flags interval;
	}
	chain refuse {
		meta l4proto { 1, 58 } accept
		meta l4proto 6 reject with tcp reset
		reject with icmpx port-unreachable
	}
	chain input {
		type filter hook input priority 101; policy accept;
		ct direction reply accept
		ip daddr @guard4 goto refuse
		ip6 daddr @guard6 goto refuse
	}
}
"
        );
    }

    #[test]
    fn parts_without_ranges_are_left_out() {
        assert_eq!(
            replacement(&Table::default()),
            "add table inet vipcast\ndelete table inet vipcast\ntable inet vipcast {\n}\n"
        );
        let guard = replacement(&Table { guard: ranges(&["fd00::/112"]), ..Table::default() });
        assert!(guard.contains("chain refuse") && !guard.contains("postrouting"), "{guard}");
    }
}
