//! Why a node is not ready.

use crate::model::settings::Announce;
use crate::model::{Kind, Prefix};
use crate::plan::away::{Bearing, Phase};
use crate::plan::memory::Key;
use crate::plan::planner::Planner;
use crate::plan::preconditions::Footing;
use crate::plan::role::Role;

impl Planner {
    /// Why the node is not ready: the first list is incomplete, infrastructure is not proven, or a route is not out.
    pub(in crate::plan) fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.leaving().is_some() {
            reasons.push("the agent is leaving".to_owned());
        }
        if !self.cluster.is_listed() {
            let missing: Vec<&str> =
                Kind::ALL.iter().filter(|k| !self.cluster.has_listed(**k)).map(|k| k.name()).collect();
            reasons.push(format!("the first list is not complete: {} missing", missing.join(", ")));
            reasons.extend(self.cluster.troubles().map(|(origin, problem)| format!("{origin}: {problem}")));
        }
        reasons.extend(self.role.reason(&self.settings));
        if matches!(self.away.state.phase(), Phase::Shunned | Phase::Withdrawn | Phase::Holding | Phase::Away) {
            reasons.push(self.leaving_words());
        }
        reasons.extend(self.host.unread.iter().map(|(part, reason)| format!("cannot read {}: {reason}", part.name())));
        if let Some(failure) = self.memory.failure(&Key::Listing) {
            reasons.push(format!("cannot list virtual servers: {}", failure.reason));
        }
        if matches!(self.role, Role::Frozen | Role::StandingBy(_)) {
            let down = self.speaker.down.as_ref().filter(|_| self.settings.bgp.is_some() && !self.has_died());
            let held = down.filter(|_| self.is_standing_by() && !self.is_bare());
            reasons.extend(held.map(|why| {
                format!("gobgpd cannot be reached, so routes may still be out, and what they promise stays: {why}")
            }));
            return reasons;
        }
        reasons.extend(self.ranges.problems().map(|(_, problem)| problem.to_owned()));
        if self.derived && self.ranges.iter().next().is_none() {
            reasons
                .push("no ClusterIP range is in force: configure ranges.clusterIPs or create a ServiceCIDR".to_owned());
        }
        if self.derived {
            let problems = self.vip_ranges().filter_map(|range| self.range_problem(range.prefix, range.announce));
            reasons.extend(problems);
        }
        if self.settings.bgp.is_some() {
            reasons.extend(self.bgp_problem());
        }
        reasons
    }

    /// Why a range is not served or not announced.
    pub(super) fn range_problem(&self, prefix: Prefix, announce: Announce) -> Option<String> {
        let announced = self.settings.bgp.is_some() && announce == Announce::Aggregate;
        let paths = self.actual.bgp.as_ref().map(|bgp| &bgp.paths);
        let out = if announced {
            // Routes of single VIPs in it do not stand for that of the range.
            paths.is_some_and(|paths| paths.contains_key(&prefix))
        } else {
            self.routes_in(prefix) > 0
        };
        match self.footing(prefix) {
            Footing::Broken(reason) => return Some(format!("range {prefix}: {reason}")),
            Footing::Mending(reason) if !out => return Some(format!("range {prefix}: {reason}")),
            Footing::Mending(_) | Footing::Proven => {}
        }
        // That there is none then has its reason.
        if !announced || out || self.away.state.bearing() == Bearing::Withdraw {
            return None;
        }
        if !self.settled(prefix) {
            return Some(format!("range {prefix}: its virtual servers are being programmed"));
        }
        let settings = self.settings.bgp.as_ref()?;
        let reason = self.unannounceable(settings, prefix.family());
        let refused = self.memory.failure(&Key::Path(prefix)).map(|failure| failure.reason.clone());
        let reason = reason.or(refused).unwrap_or_else(|| "its route is not announced yet".to_owned());
        Some(format!("range {prefix}: {reason}"))
    }

    /// How many routes for `prefix`, or in it, gobgpd holds.
    pub(in crate::plan) fn routes_in(&self, prefix: Prefix) -> usize {
        let paths = self.actual.bgp.iter().flat_map(|bgp| bgp.paths.keys());
        paths.filter(|path| prefix.covers(**path)).count()
    }
}
