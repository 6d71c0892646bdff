//! The canaries: what the data plane is proved by. A canary's VIP is a range of its own that nobody announces, and its virtual
//! server is claimed as any Service's, so the kernel holds it in the same way; only the probe's link is there for nothing
//! else.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::addr::ProbeLink;
use crate::model::canary::{Canary, PORT};
use crate::model::ipvs::{Destination, DestinationKey, Forwarding, ServerSettings};
use crate::model::settings::{Announce, Range, Snat};
use crate::model::{Prefix, ServiceKey, Settings, Time};

use super::books::Part;
use super::claims::{Ask, Claim};
use super::memory::Key;
use super::pass::Draft;
use super::planner::Planner;
use super::step::Step;

/// What claims the canaries' virtual servers. No Service has such a name, which has no namespace.
pub(super) fn claimant() -> ServiceKey {
    ServiceKey::from(Arc::from("the canary"))
}

/// The canaries that `settings` ask for.
pub(super) fn configured(settings: &Settings) -> impl Iterator<Item = (Prefix, Canary)> {
    let masqueraded = settings.dataplane.snat != Snat::None;
    settings.proof.canaries.iter().filter_map(move |range| Some((*range, Canary::of(*range, masqueraded)?)))
}

/// The canary's VIP as a range.
pub(super) fn range(canary: &Canary) -> Range {
    Range {
        prefix: Prefix::host(canary.vip),
        uses: BTreeSet::new(),
        announce: Announce::None,
        attributes: Default::default(),
        node_selector: Default::default(),
    }
}

impl Planner {
    /// The canaries in force, one at most of each family that is served.
    pub fn canaries(&self) -> Vec<Canary> {
        let in_force = |canary: &Canary| self.ranges.covering(canary.vip).is_some_and(Range::is_canary);
        configured(&self.settings).map(|(_, canary)| canary).filter(in_force).collect()
    }

    /// What the canaries ask of the node, older than any Service.
    pub(super) fn canary_claim(&self) -> Claim {
        let destination = Destination { forwarding: Forwarding::Masquerade, weight: 1 };
        let ask = |canary: Canary| {
            let name = DestinationKey { address: canary.destination, port: PORT };
            (canary.server(), Ask { destinations: [(name, destination)].into(), ..Ask::default() })
        };
        let scheduler = self.settings.dataplane.scheduler.clone();
        Claim {
            created: i64::MIN,
            settings: ServerSettings { scheduler, ..ServerSettings::default() },
            servers: self.canaries().into_iter().map(ask).collect(),
            ..Claim::default()
        }
    }

    /// The probe's link: there while there are canaries.
    pub(super) fn plan_probe(&mut self, now: Time, draft: &mut Draft) {
        if !self.host.known.contains(&Part::Addr) {
            return;
        }
        let wanted: BTreeSet<Prefix> = self.canaries().iter().filter_map(Canary::beyond).collect();
        let there = self.actual.addr.probe.as_ref();
        if wanted.is_empty() {
            if there.is_some_and(|link| link.paired) {
                self.send(Step::DeleteProbe, now, draft);
            }
        } else if there != Some(&ProbeLink::desired(wanted.clone())) {
            self.send(Step::EnsureProbe(wanted), now, draft);
        }
    }

    /// Is all in the kernel, as far as it is known, that `canary` is made of?
    pub(super) fn is_laid(&self, canary: &Canary) -> bool {
        let link = self.actual.addr.probe.as_ref().filter(|link| link.paired && link.ready);
        let name = DestinationKey { address: canary.destination, port: PORT };
        let server = self.actual.ipvs.get(&canary.server());
        canary.beyond().is_some_and(|beyond| link.is_some_and(|link| link.routes.contains(&beyond)))
            && self.actual.addr.routes.contains_key(&Prefix::host(canary.vip))
            && server.is_some_and(|server| server.destinations.contains_key(&name))
    }

    /// What keeps `canary` from being in place, if that failed.
    pub(super) fn canary_failure(&self, canary: &Canary) -> Option<String> {
        let keys = [Key::Probe, Key::Server(canary.server()), Key::Route(Prefix::host(canary.vip))];
        keys.iter().find_map(|key| self.memory.failure(key)).map(|failure| failure.reason.clone())
    }
}
