//! Who may leave: what the Leases of a fleet say. Pure.
//!
//! Each LB node that announces renews a Lease of its own, so that the others know who is there. Whoever leaves needs one of
//! `drain.maxUnavailable` slots, Leases too, of which the API server gives each to one node only.

/// How long a node that announces counts as there after its last word, in seconds.
pub(super) const PRESENCE: i64 = 30;

/// How long a node that left keeps its slot after its last word, in seconds: a machine that is being mended is off, and
/// away all the same. After that its place counts as given up.
pub(super) const ABSENCE: i64 = 3600;

/// A Lease of the fleet, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    /// Its name.
    pub(super) name: String,
    /// Who holds it; `None`: nobody does.
    pub(super) holder: Option<String>,
    /// Until when, in seconds since 1970, unless it is renewed.
    pub(super) until: i64,
}

/// What a node that asks to leave is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ruling {
    /// It has this slot already.
    Has(String),
    /// It may take this slot, if it gets it.
    May(String),
    /// It may not leave, for this reason.
    No(String),
}

/// The Leases of a fleet at a moment, seen by one of its nodes.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) fleet: &'a str,
    pub(super) node: &'a str,
    pub(super) leases: &'a [Held],
    /// In seconds since 1970.
    pub(super) now: i64,
}

/// The name of the Lease by which `node` says that it is there.
pub(super) fn presence(fleet: &str, node: &str) -> String {
    format!("{fleet}-here-{node}")
}

fn slot(fleet: &str, number: usize) -> String {
    format!("{fleet}-away-{number}")
}

impl View<'_> {
    /// Is it a slot of the fleet?
    fn is_slot(&self, lease: &Held) -> bool {
        let number = lease.name.strip_prefix(self.fleet).and_then(|rest| rest.strip_prefix("-away-"));
        number.is_some_and(|number| number.parse::<usize>().is_ok_and(|n| slot(self.fleet, n) == lease.name))
    }

    fn holder<'l>(&self, lease: &'l Held) -> Option<&'l str> {
        lease.holder.as_deref().filter(|_| lease.until > self.now)
    }

    /// The slots that this node has.
    pub(super) fn own_slots(&self) -> Vec<String> {
        let own = self.leases.iter().filter(|lease| self.is_slot(lease) && lease.holder.as_deref() == Some(self.node));
        own.map(|lease| lease.name.clone()).collect()
    }

    /// The other nodes that are away, by the slots that they hold.
    fn away(&self) -> Vec<&str> {
        let slots = self.leases.iter().filter(|lease| self.is_slot(lease));
        let mut away: Vec<&str> = slots.filter_map(|lease| self.holder(lease)).filter(|n| *n != self.node).collect();
        away.sort_unstable();
        away.dedup();
        away
    }

    /// The other nodes that announce and are not about to leave.
    fn there(&self) -> Vec<&str> {
        let away = self.away();
        let there = self.leases.iter().filter_map(|lease| {
            let node = self.holder(lease)?;
            (lease.name == presence(self.fleet, node)).then_some(node)
        });
        there.filter(|node| *node != self.node && !away.contains(node)).collect()
    }

    /// Why this node must not leave, whether it has a slot or not.
    fn objection(&self, max_unavailable: u32) -> Option<String> {
        let away = self.away();
        let list = away.join(", ");
        let (is, are) = if away.len() == 1 { ("is", "is") } else { ("are", "are") };
        if self.there().is_empty() {
            let others = if away.is_empty() { String::new() } else { format!(" ({list} {is} away)") };
            return Some(format!("{} is the last LB node that announces{others}", self.node));
        }
        let limit = usize::try_from(max_unavailable).unwrap_or(usize::MAX);
        if away.len() >= limit {
            let who = if away.is_empty() { "no LB node may leave".to_owned() } else { format!("{list} {are} away") };
            return Some(format!("{who}, and drain.maxUnavailable is {max_unavailable}"));
        }
        None
    }

    /// What to tell this node, which asks.
    pub(super) fn ruling(&self, max_unavailable: u32) -> Ruling {
        if let Some(reason) = self.objection(max_unavailable) {
            return Ruling::No(reason);
        }
        match self.own_slots().into_iter().next() {
            Some(slot) => Ruling::Has(slot),
            None => Ruling::May(self.free_slot()),
        }
    }

    /// The first slot that nobody has. There are fewer in use than `maxUnavailable` says where nobody objects, but one that is
    /// forced takes whatever is free.
    pub(super) fn free_slot(&self) -> String {
        let is_taken = |name: &str| self.leases.iter().any(|lease| lease.name == name && self.holder(lease).is_some());
        let mut names = (0..).map(|number| slot(self.fleet, number));
        names.find(|name| !is_taken(name)).unwrap_or_else(|| slot(self.fleet, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000;

    fn held(name: &str, holder: &str, until: i64) -> Held {
        Held { name: name.into(), holder: Some(holder.into()).filter(|h: &String| !h.is_empty()), until: NOW + until }
    }

    fn here(node: &str) -> Held {
        held(&presence("vipcast", node), node, 20)
    }

    fn ruling(leases: &[Held], max: u32) -> Ruling {
        View { fleet: "vipcast", node: "lb1", leases, now: NOW }.ruling(max)
    }

    fn no(reason: &str) -> Ruling {
        Ruling::No(reason.into())
    }

    #[test]
    fn a_node_may_leave_while_another_stays_and_there_is_a_slot() {
        let all = [here("lb1"), here("lb2"), here("lb3")];
        let with = |more: &[Held]| [&all[..], more].concat();
        let cases = [
            (with(&[]), 1, Ruling::May("vipcast-away-0".into())),
            (with(&[]), 0, no("no LB node may leave, and drain.maxUnavailable is 0")),
            (with(&[held("vipcast-away-0", "lb2", 9)]), 1, no("lb2 is away, and drain.maxUnavailable is 1")),
            (with(&[held("vipcast-away-0", "lb2", 9)]), 2, Ruling::May("vipcast-away-1".into())),
            // Its holder has given it back, or is not heard of any more.
            (with(&[held("vipcast-away-0", "", 9)]), 1, Ruling::May("vipcast-away-0".into())),
            (with(&[held("vipcast-away-0", "lb2", 0)]), 1, Ruling::May("vipcast-away-0".into())),
            // It was forced.
            (with(&[held("vipcast-away-7", "lb2", 9)]), 1, no("lb2 is away, and drain.maxUnavailable is 1")),
            (with(&[held("vipcast-away-0", "lb1", 9)]), 1, Ruling::Has("vipcast-away-0".into())),
            // Somebody else's Leases.
            (
                with(&[held("vipcast-away-00", "lb2", 9), held("other-away-0", "lb3", 9)]),
                1,
                Ruling::May("vipcast-away-0".into()),
            ),
        ];
        for (leases, max, expected) in cases {
            assert_eq!(ruling(&leases, max), expected, "{leases:#?}");
        }
    }

    #[test]
    fn the_last_one_stays() {
        let cases = [
            (vec![], "lb1 is the last LB node that announces"),
            (vec![here("lb1")], "lb1 is the last LB node that announces"),
            (vec![here("lb1"), held("vipcast-here-lb2", "lb2", 0)], "lb1 is the last LB node that announces"),
            (
                vec![here("lb1"), here("lb2"), held("vipcast-away-0", "lb2", 9)],
                "lb1 is the last LB node that announces (lb2 is away)",
            ),
            (
                vec![here("lb2"), held("vipcast-away-0", "lb2", 9), held("vipcast-away-1", "lb3", 9)],
                "lb1 is the last LB node that announces (lb2, lb3 are away)",
            ),
            // It has a slot and found that so has everybody else.
            (
                vec![here("lb2"), held("vipcast-away-0", "lb1", 9), held("vipcast-away-1", "lb2", 9)],
                "lb1 is the last LB node that announces (lb2 is away)",
            ),
        ];
        for (leases, expected) in cases {
            assert_eq!(ruling(&leases, 9), no(expected), "{leases:#?}");
        }
    }
}
