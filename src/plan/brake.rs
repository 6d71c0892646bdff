//! The brake: when most endpoints vanish at once, or a source turns empty, that is more often a broken source than the truth
//! (an etcd that was restored from nothing, a controller that lost sight of all nodes). What vanished is held: destinations
//! keep their weights, virtual servers and routes stay, until it comes back, somebody confirms, or time has passed.
//!
//! What each Service had is remembered from its first loss on, for the length of the window, so that what vanished before it
//! was too much comes back too. No single Service can trip the brake: whoever scales one down means it.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::ipvs::Destination;
use crate::model::settings;
use crate::model::{ServiceKey, Time};

use super::claims::Claim;
use super::news::News;
use super::pass::Draft;
use super::planner::Planner;

/// Fewer endpoints than these are never too many.
const LEAST: usize = 10;

/// As few Services must have lost some.
const LEAST_SERVICES: usize = 2;

/// What a Service lost.
#[derive(Debug, Clone)]
struct Loss {
    /// What it claimed before.
    before: Claim,
    /// How many endpoints it has now, by the source.
    has: usize,
    /// When it lost the first.
    since: Time,
}

impl Loss {
    /// How many endpoints it has less than before.
    fn missing(&self) -> usize {
        self.before.endpoints().saturating_sub(self.has)
    }
}

/// Why the brake is on, and for how long.
#[derive(Debug, Clone)]
struct Engaged {
    reason: String,
    /// `None`: until what vanished comes back, or somebody confirms.
    until: Option<Time>,
}

/// What has vanished lately, and whether it is held.
#[derive(Debug, Clone, Default)]
pub(super) struct BrakeBook {
    losses: BTreeMap<ServiceKey, Loss>,
    /// The same by age.
    ages: BTreeSet<(Time, ServiceKey)>,
    /// How many endpoints all of them miss.
    missing: usize,
    engaged: Option<Engaged>,
    /// Somebody said that what is held is meant.
    confirmed: bool,
}

impl BrakeBook {
    /// The source says that `service`, which claims `before`, has so many endpoints now.
    fn note(&mut self, service: &ServiceKey, before: Option<&Claim>, has: usize, now: Time) {
        let had = before.map_or(0, Claim::endpoints);
        if let Some(before) = before.filter(|_| has < had && !self.losses.contains_key(service)) {
            self.ages.insert((now, service.clone()));
            self.losses.insert(service.clone(), Loss { before: before.clone(), has: had, since: now });
        }
    }

    /// `service` has so many endpoints now, by the source.
    fn count(&mut self, service: &ServiceKey, has: usize) {
        let Some(loss) = self.losses.get_mut(service) else { return };
        self.missing -= loss.missing();
        loss.has = has;
        self.missing += loss.missing();
        if loss.missing() == 0 && self.engaged.is_none() {
            let since = loss.since;
            self.losses.remove(service);
            self.ages.remove(&(since, service.clone()));
        }
    }

    /// Forgets what was lost before `then`.
    fn expire(&mut self, then: Time) {
        while self.ages.first().is_some_and(|(since, _)| *since < then) {
            let Some((_, service)) = self.ages.pop_first() else { return };
            self.missing -= self.losses.remove(&service).map_or(0, |loss| loss.missing());
        }
    }

    /// Are more than `share` percent of all endpoints missing, of which `left` are not?
    fn exceeds(&self, share: usize, left: usize) -> bool {
        self.missing * 100 > share * (self.missing + left)
    }

    /// Forgets everything; the Services that something is held of.
    pub(super) fn clear(&mut self) -> Vec<ServiceKey> {
        std::mem::take(self).losses.into_keys().collect()
    }
}

/// What is held, for the status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held<'a> {
    pub(super) reason: &'a str,
    pub(super) services: usize,
    pub(super) endpoints: usize,
    /// Does it take a confirmation, or the return of what vanished?
    pub(super) for_ever: bool,
}

impl Planner {
    /// What is held, if something is.
    pub(super) fn held_back(&self) -> Option<Held<'_>> {
        let Engaged { reason, until } = self.brake.engaged.as_ref()?;
        let services = self.brake.losses.values().filter(|loss| loss.missing() > 0).count();
        Some(Held { reason, services, endpoints: self.brake.missing, for_ever: until.is_none() })
    }

    /// Somebody says that what is held is meant, if something is.
    pub(super) fn confirm(&mut self) {
        self.brake.confirmed = self.brake.engaged.is_some();
    }

    /// The source told something of `service`, which would claim `claim` by that.
    pub(super) fn note_loss(&mut self, service: &ServiceKey, claim: &Claim, now: Time) {
        if self.settings.brake.share < 100 && !self.is_removing() {
            self.brake.note(service, self.ledger.claim(service), claim.endpoints(), now);
        }
    }

    /// What `service` claims, with what is held.
    pub(super) fn with_held(&mut self, service: &ServiceKey, claim: Claim) -> Claim {
        self.brake.count(service, claim.endpoints());
        match self.brake.losses.get(service).filter(|_| self.brake.engaged.is_some()) {
            Some(loss) => with(claim, &loss.before),
            None => claim,
        }
    }

    /// Pulls the brake where too much has vanished, and lets go of it when that is over.
    pub(super) fn plan_brake(&mut self, now: Time, draft: &mut Draft) {
        let settings::Brake { share, window, hold } = self.settings.brake;
        let share = usize::from(share);
        let claimed = self.ledger.endpoints() - self.canaries().len().min(self.ledger.endpoints());
        let Some(engaged) = &self.brake.engaged else {
            self.brake.confirmed = false;
            self.brake.expire(Time(now.0.saturating_sub(window)));
            if self.brake.losses.len() < LEAST_SERVICES {
                return;
            }
            let (missing, all) = (self.brake.missing, self.brake.missing + claimed);
            let empty = self.is_source_empty();
            if !empty && (missing < LEAST || !self.brake.exceeds(share, claimed)) {
                return;
            }
            let reason = match empty {
                true => format!("the source has no Services any more: {missing} endpoints vanished"),
                false => format!("{missing} of {all} endpoints vanished within {} s", window.as_secs()),
            };
            let until = (!empty).then_some(now + hold);
            self.news.push(News::Held { reason: reason.clone(), hold: until.map(|_| hold) });
            self.brake.engaged = Some(Engaged { reason, until });
            let services: Vec<ServiceKey> = self.brake.losses.keys().cloned().collect();
            services.iter().for_each(|service| self.derive_claim(service, now));
            until.into_iter().for_each(|until| draft.wake(until));
            return;
        };
        // What is held is claimed, too.
        let left = claimed.saturating_sub(self.brake.missing);
        let cause = if self.brake.confirmed {
            "somebody confirmed it"
        } else if !self.brake.exceeds(share / 2, left) {
            "most of it came back"
        } else if engaged.until.is_some_and(|until| until <= now) {
            "brake.hold has passed"
        } else {
            engaged.until.into_iter().for_each(|until| draft.wake(until));
            return;
        };
        self.news.push(News::LetGo(cause));
        for service in self.brake.clear() {
            self.derive_claim(&service, now);
        }
    }

    /// Is there no Service but the API server's own, which comes back first?
    fn is_source_empty(&self) -> bool {
        let own = ServiceKey::new("default", "kubernetes");
        self.cluster.service_count() < 2 && self.cluster.services().all(|(service, _)| *service == own)
    }
}

/// `claim` with all that `before` has more.
fn with(mut claim: Claim, before: &Claim) -> Claim {
    if claim.servers.is_empty() {
        return before.clone();
    }
    for (key, old) in &before.servers {
        let ask = claim.servers.entry(*key).or_insert_with(|| old.clone());
        for (name, destination) in &old.destinations {
            let there: &mut Destination = ask.destinations.entry(*name).or_insert(*destination);
            if there.weight == 0 {
                *there = *destination;
            }
        }
    }
    for (vip, wish) in &before.routes {
        claim.routes.entry(*vip).or_insert_with(|| wish.clone());
    }
    claim.health = claim.health.or(before.health);
    claim
}
