//! The part of a pass that is about packet filter rules: SNAT comes before everything else, the guard once the virtual
//! servers behind it are in place.

use std::collections::BTreeSet;

use crate::model::nft::{Elements, Source, Table};
use crate::model::settings::Snat;
use crate::model::{Family, Prefix, Time};

use super::books::Part;
use super::pass::Draft;
use super::planner::Planner;
use super::step::Step;

impl Planner {
    /// Prefixes that the rules have to cover: the ranges in force; those that are still local; and those whose paths
    /// peers may still follow.
    fn covered(&self, now: Time, draft: &mut Draft) -> BTreeSet<Prefix> {
        let mut covered = self.ranges.prefixes();
        covered.extend(&self.host.lingering);
        let table = self.actual.nft.table.iter();
        let found = table.flat_map(|table| table.guard.union(&table.masquerade)).copied();
        let left = found.filter(|prefix| !covered.contains(prefix) && !self.is_piece(*prefix));
        for prefix in left.collect::<Vec<_>>() {
            if let Err(until) = self.outlived(prefix, now) {
                covered.insert(prefix);
                until.into_iter().for_each(|until| draft.wake(until));
            }
        }
        covered
    }

    pub(super) fn plan_snat(&mut self, now: Time, draft: &mut Draft) {
        if !self.host.known.contains(&Part::Nft) {
            return;
        }
        let classic = self.settings.dataplane.snat == Snat::IpvsMatch;
        let covered = self.covered(now, draft);
        let needed: BTreeSet<Family> = covered.iter().map(|prefix| prefix.family()).collect();
        for family in Family::ALL {
            let wanted = classic && needed.contains(&family);
            let there = self.actual.nft.classic.contains(&family);
            let broken = self.actual.nft.classic_broken.contains(&family);
            if wanted && !there {
                self.send(Step::SetClassicSnat(family), now, draft);
            } else if !wanted && (broken || there && self.replacement_in_force(family)) {
                self.send(Step::DeleteClassicSnat(family), now, draft);
            }
        }
        let guard = self.actual.nft.table.as_ref().map(|table| table.guard.clone()).unwrap_or_default();
        self.send_table(self.rules(&covered, guard, now, draft), now, draft);
    }

    /// The SNAT pool of `family` as far as it is in force as ranges of its own.
    pub(super) fn pool(&self, family: Family) -> impl Iterator<Item = Prefix> {
        let pools = self.ranges.iter().filter(|range| range.uses.is_empty() && !range.is_canary());
        pools.filter(move |range| range.prefix.family() == family).map(|range| range.prefix)
    }

    /// Is what replaces the classic SNAT rule of `family` in force already?
    fn replacement_in_force(&self, family: Family) -> bool {
        let mut of_family = self.ranges.iter().filter(|range| range.prefix.family() == family);
        let nothing = Elements::default();
        let there = self.actual.nft.table.as_ref().map_or(&nothing, |table| &table.elements);
        of_family.all(|range| self.snat_in_force(range.prefix))
            && self.host.elements.masquerade.is_subset(&there.masquerade)
    }

    /// Once the virtual servers of a range are in place, the guard refuses what they do not take.
    pub(super) fn plan_guard(&mut self, now: Time, draft: &mut Draft) {
        if !self.host.known.contains(&Part::Nft) {
            return;
        }
        let local = |prefix: &Prefix| self.actual.addr.routes.contains_key(prefix);
        let there = || self.actual.nft.table.iter().flat_map(|table| &table.guard);
        let begun = |range: Prefix| there().any(|piece| self.is_piece(*piece) && range.covers(*piece));
        let ready = |range: &Prefix| self.guarded(*range) || begun(*range) || local(range) || self.settled(*range);
        let covered = self.covered(now, draft);
        let guard = covered.iter().copied().filter(|prefix| !self.ranges.contains(*prefix) || ready(prefix));
        let guard = guard.flat_map(|prefix| self.to_guard(prefix)).collect();
        let table = self.rules(&covered, guard, now, draft);
        self.send_table(table, now, draft);
    }

    /// Is `prefix` a piece of a range in force in which just single VIPs are local? The guard has such a range in pieces,
    /// around the node's own addresses, and other pieces when these change.
    fn is_piece(&self, prefix: Prefix) -> bool {
        let range = self.ranges.covering(prefix.address());
        range.is_some_and(|range| !range.is_whole() && range.prefix.covers(prefix))
    }

    /// What the guard has to cover of `prefix`: all of it, but not the node's own addresses in a range of which just single
    /// VIPs are local.
    pub(super) fn to_guard(&self, prefix: Prefix) -> Vec<Prefix> {
        let range = self.ranges.covering(prefix.address()).filter(|range| range.prefix == prefix);
        if range.is_some_and(|range| range.is_whole()) { vec![prefix] } else { prefix.without(&self.here.addresses) }
    }

    /// The table, its elements apart, with this guard and the masquerade that is due. The kernel's sets take no prefix
    /// inside another.
    fn rules(&self, covered: &BTreeSet<Prefix>, guard: BTreeSet<Prefix>, now: Time, draft: &mut Draft) -> Table {
        let dataplane = &self.settings.dataplane;
        let classic_in_force = |prefix: &Prefix| self.actual.nft.classic.contains(&prefix.family());
        let there = |prefix: &Prefix| self.actual.nft.table.as_ref().is_some_and(|t| covers(&t.masquerade, *prefix));
        // In a range of which just single VIPs are local, single virtual servers are masqueraded.
        let mut promised = |prefix: Prefix| {
            let unheard = self.unheard(std::iter::once(prefix), now).err();
            unheard.into_iter().flatten().for_each(|until| draft.wake(until));
            unheard.is_some()
        };
        let whole = covered.iter().copied().filter(|prefix| {
            match self.ranges.covering(prefix.address()).filter(|range| range.prefix == *prefix) {
                // One that was whole stays so until nobody follows its route any more.
                Some(range) => range.is_whole() || there(prefix) && promised(*prefix),
                // What is left of earlier ranges is masqueraded as it was.
                None => there(prefix) || self.host.lingering.contains(prefix) && !prefix.is_host(),
            }
        });
        let masquerade = match dataplane.snat {
            Snat::Nftables => whole.collect(),
            Snat::None => BTreeSet::new(),
            // The nftables rule stays until the classic one has taken over.
            Snat::IpvsMatch => whole.filter(|p| there(p) && !classic_in_force(p)).collect(),
        };
        let guard = outermost(guard);
        let is_used = !covered.is_empty() || self.host.elements != Elements::default();
        let rewrites = is_used && dataplane.snat == Snat::Nftables;
        let source = Source { pool: self.ranges.pool().clone(), ports: dataplane.snat_ports };
        // While the Node may be among what could not be understood, its pod ranges are those that an earlier run knew.
        let known = self.actual.nft.table.iter().filter(|_| self.is_blind()).flat_map(|table| &table.pods);
        let pods = self.here.pod_ranges.iter().chain(known).copied().collect();
        Table {
            masquerade: outermost(masquerade),
            guard,
            source: Some(source).filter(|_| rewrites).unwrap_or_default(),
            pods: if is_used && dataplane.snat != Snat::None { outermost(pods) } else { BTreeSet::new() },
            mss: dataplane.mss.filter(|_| is_used),
            ..Table::default()
        }
    }

    /// Sends what makes the table like `rules`, with all elements. Elements alone are edited, so that a Service costs what
    /// it changes.
    fn send_table(&mut self, rules: Table, now: Time, draft: &mut Draft) {
        let there = self.actual.nft.table.as_ref();
        if rules == Table::default() && self.host.elements == Elements::default() {
            if there.is_some() {
                self.send(Step::DeleteTable, now, draft);
            }
            return;
        }
        match there.filter(|there| there.is_like(&rules)).map(|there| &there.elements) {
            None => {
                let table = Table { elements: self.host.elements.clone(), ..rules };
                self.send(Step::ReplaceTable(table), now, draft);
            }
            Some(there) if *there != self.host.elements => {
                let (add, remove) = (self.host.elements.without(there), there.without(&self.host.elements));
                self.send(Step::EditTable { add, remove }, now, draft);
            }
            Some(_) => {}
        }
    }
}

/// Is all of `prefix` inside one of `set`?
pub(super) fn covers(set: &BTreeSet<Prefix>, prefix: Prefix) -> bool {
    set.iter().any(|outer| outer.covers(prefix))
}

/// Those that lie inside no other.
pub(super) fn outermost(set: BTreeSet<Prefix>) -> BTreeSet<Prefix> {
    let mut result = BTreeSet::new();
    // An outer prefix comes before those inside it, and between them come only others inside it.
    let mut last: Option<Prefix> = None;
    for prefix in set {
        if last.is_none_or(|outer| !outer.covers(prefix)) {
            result.insert(prefix);
            last = Some(prefix);
        }
    }
    result
}
