//! The part of a pass that is about packet filter rules: SNAT comes before everything else, the guard once the virtual
//! servers behind it are in place.

use std::collections::BTreeSet;

use crate::model::nft::{Elements, Table};
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
        covered.extend(self.lingering());
        let table = self.actual.nft.table.iter().flat_map(|table| table.guard.union(&table.masquerade));
        for prefix in table.copied().filter(|prefix| !covered.contains(prefix)).collect::<Vec<_>>() {
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
        self.send_table(self.table(&covered, guard), now, draft);
    }

    /// Is what replaces the classic SNAT rule of `family` in force already?
    fn replacement_in_force(&self, family: Family) -> bool {
        let mut of_family = self.ranges.iter().filter(|range| range.prefix.family() == family);
        of_family.all(|range| self.snat_in_force(range.prefix))
    }

    /// Once the virtual servers of a range are in place, the guard refuses what they do not take.
    pub(super) fn plan_guard(&mut self, now: Time, draft: &mut Draft) {
        if !self.host.known.contains(&Part::Nft) {
            return;
        }
        let local = |prefix: &Prefix| self.actual.addr.routes.contains_key(prefix);
        let ready = |prefix: &Prefix| self.guarded(*prefix) || local(prefix) || self.settled(*prefix);
        let covered = self.covered(now, draft);
        let guard = covered.iter().copied().filter(|prefix| !self.ranges.contains(*prefix) || ready(prefix));
        let table = self.table(&covered, guard.collect());
        self.send_table(table, now, draft);
    }

    /// The table with this guard and the masquerade that is due. The kernel's sets take no prefix inside another.
    fn table(&self, covered: &BTreeSet<Prefix>, guard: BTreeSet<Prefix>) -> Table {
        let classic_in_force = |prefix: &Prefix| self.actual.nft.classic.contains(&prefix.family());
        let there = |prefix: &Prefix| self.actual.nft.table.as_ref().is_some_and(|t| covers(&t.masquerade, *prefix));
        let masquerade = match self.settings.dataplane.snat {
            Snat::Nftables => covered.clone(),
            Snat::None => BTreeSet::new(),
            // The nftables rule stays until the classic one has taken over.
            Snat::IpvsMatch => covered.iter().copied().filter(|p| there(p) && !classic_in_force(p)).collect(),
        };
        let elements = Elements { draining: self.servers.draining.clone(), ..Elements::default() };
        Table { masquerade: outermost(masquerade), guard: outermost(guard), elements, ..Table::default() }
    }

    fn send_table(&mut self, table: Table, now: Time, draft: &mut Draft) {
        if table == Table::default() {
            if self.actual.nft.table.is_some() {
                self.send(Step::DeleteTable, now, draft);
            }
        } else if self.actual.nft.table.as_ref() != Some(&table) {
            self.send(Step::ReplaceTable(table), now, draft);
        }
    }
}

/// Is all of `prefix` inside one of `set`?
pub(super) fn covers(set: &BTreeSet<Prefix>, prefix: Prefix) -> bool {
    set.iter().any(|outer| outer.covers(prefix))
}

/// Those that lie inside no other.
fn outermost(set: BTreeSet<Prefix>) -> BTreeSet<Prefix> {
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
