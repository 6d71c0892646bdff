//! The brake: when most endpoints vanish at once, or a source turns empty, that is more often a broken source than the truth
//! (an etcd that was restored from nothing, a controller that lost sight of all nodes). What vanished is held: destinations
//! keep their weights, virtual servers and routes stay, until it comes back, somebody confirms, or time has passed.
//!
//! What each Service had is remembered from its first loss on, for the length of the window, so that what vanished before it
//! was too much comes back too. No single Service can trip the brake: whoever scales one down means it. An agent that finds
//! an empty source when it starts knows no Service, so it keeps the virtual servers that it finds; and a source that has no
//! ServiceCIDR any more takes no range away.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::model::ipvs::Destination;
use crate::model::settings::{self, Use};
use crate::model::{Prefix, ServiceKey, Time};

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
    since: Time,
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
    /// Somebody said so, and there is no ServiceCIDR still.
    believed: bool,
    /// The first list of all objects was empty: what an earlier agent left may be wanted all the same.
    doubted: bool,
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

    /// Forgets what was lost at addresses that are not `served` any more.
    fn narrow(&mut self, served: impl Fn(IpAddr) -> bool) {
        for loss in self.losses.values_mut() {
            self.missing -= loss.missing();
            loss.before.servers.retain(|key, _| served(key.address));
            loss.before.routes.retain(|vip, _| served(*vip));
            self.missing += loss.missing();
        }
    }

    /// Is it doubted that nobody wants what an earlier agent left?
    pub(super) fn is_doubting(&self) -> bool {
        self.doubted
    }

    /// Forgets everything; the Services that something is held of.
    fn clear(&mut self) -> Vec<ServiceKey> {
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
        let Engaged { reason, until, .. } = self.brake.engaged.as_ref()?;
        let services = self.brake.losses.values().filter(|loss| loss.missing() > 0).count();
        Some(Held { reason, services, endpoints: self.brake.missing + self.left_over(), for_ever: until.is_none() })
    }

    /// Somebody says that what is held is meant, if something is.
    pub(super) fn confirm(&mut self) {
        self.brake.confirmed = self.brake.engaged.is_some();
    }

    /// The source told something of `service`, which would claim `claim` by that.
    pub(super) fn note_loss(&mut self, service: &ServiceKey, claim: &Claim, now: Time) {
        let settings::Brake { share, window, .. } = self.settings.brake;
        // What is held without an end must not gather what comes and goes meanwhile.
        let is_later = |engaged: &Engaged| engaged.until.is_none() && now > engaged.since + window;
        let is_meant = self.brake.engaged.as_ref().is_some_and(is_later) && claim.endpoints() > 0;
        if share < 100 && !is_meant && !self.is_removing() {
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
        let Some(engaged) = &self.brake.engaged else {
            self.brake.confirmed = false;
            self.brake.believed &= self.cluster.service_cidrs().is_empty();
            self.brake.expire(Time(now.0.saturating_sub(window)));
            let Some((reason, for_ever)) = self.what_vanished() else {
                if self.brake.doubted && self.servers.adopted {
                    self.brake.doubted = false;
                    self.open_eyes();
                    self.derive_ranges(now);
                }
                return;
            };
            let until = self.engage(reason, (!for_ever).then_some(hold), now);
            let services: Vec<ServiceKey> = self.brake.losses.keys().cloned().collect();
            services.iter().for_each(|service| self.derive_claim(service, now));
            until.into_iter().for_each(|until| draft.wake(until));
            return;
        };
        // Which of several kinds of objects is heard of first is chance.
        if engaged.until.is_some()
            && let Some(reason) = self.what_is_empty()
        {
            self.engage(reason, None, now);
        }
        let Some(engaged) = &self.brake.engaged else { return };
        let half = usize::from(share) / 2;
        // What is held is claimed, too.
        let left = self.claimed_endpoints().saturating_sub(self.brake.missing);
        let over = self.left_over();
        let is_back = !self.brake.exceeds(half, left) && over * 100 <= half * (over + left);
        let cause = if self.brake.confirmed {
            "somebody confirmed it"
        } else if is_back && self.vanished_ranges().is_empty() {
            "most of it came back"
        } else if engaged.until.is_some_and(|until| until <= now) {
            "brake.hold has passed"
        } else {
            engaged.until.into_iter().for_each(|until| draft.wake(until));
            return;
        };
        self.let_go(cause, now);
        self.derive_ranges(now);
    }

    /// Holds what vanished, for so long or without an end. Answers when that is over.
    fn engage(&mut self, reason: String, hold: Option<Duration>, now: Time) -> Option<Time> {
        let until = hold.map(|hold| now + hold);
        self.news.push(News::Held { reason: reason.clone(), hold });
        self.brake.engaged = Some(Engaged { reason, since: now, until });
        until
    }

    /// What vanished that is too much to be believed, and whether that takes a confirmation.
    fn what_vanished(&self) -> Option<(String, bool)> {
        if let Some(reason) = self.what_is_empty() {
            return Some((reason, true));
        }
        let settings::Brake { share, window, .. } = self.settings.brake;
        let (claimed, missing) = (self.claimed_endpoints(), self.brake.missing);
        let is_much = missing >= LEAST && self.brake.exceeds(usize::from(share), claimed);
        (self.brake.losses.len() >= LEAST_SERVICES && is_much).then(|| {
            let (all, seconds) = (missing + claimed, window.as_secs());
            (format!("{missing} of {all} endpoints vanished within {seconds} s"), false)
        })
    }

    /// What there is none of any more, which time alone does not make true.
    fn what_is_empty(&self) -> Option<String> {
        let (missing, over) = (self.brake.missing, self.left_over());
        if self.servers.adopted && over >= LEAST {
            return Some(format!("the source has no Services, and {over} endpoints are served"));
        }
        if self.brake.losses.len() >= LEAST_SERVICES && self.is_source_empty() {
            return Some(format!("the source has no Services any more: {missing} endpoints vanished"));
        }
        if !self.cluster.service_cidrs().is_empty() {
            return None;
        }
        let ranges: Vec<String> = self.vanished_ranges().iter().map(ToString::to_string).collect();
        (!ranges.is_empty()).then(|| format!("the source has no ServiceCIDR any more for {}", ranges.join(", ")))
    }

    /// How many endpoints Services claim.
    fn claimed_endpoints(&self) -> usize {
        self.ledger.endpoints().saturating_sub(self.canaries().len())
    }

    /// How many endpoints an earlier agent left that nobody claims, while that is doubted.
    fn left_over(&self) -> usize {
        if !self.brake.doubted {
            return 0;
        }
        let servers = self.actual.ipvs.iter().filter(|(key, _)| self.ledger.owner(key).is_none());
        servers.map(|(_, server)| server.destinations.len()).sum()
    }

    /// The first list of all objects is there: may it be believed, where it is empty?
    pub(super) fn doubt_emptiness(&mut self) {
        self.brake.doubted = self.settings.brake.share < 100 && self.is_source_empty();
    }

    /// Do ranges stay whose ServiceCIDR vanished? They do while something else is held, and while there is no ServiceCIDR at
    /// all: the API server makes one by itself.
    pub(super) fn holds_ranges(&self) -> bool {
        let is_empty = self.cluster.service_cidrs().is_empty();
        let is_on = self.settings.brake.share < 100 && self.settings.cluster_ips.is_none() && !self.is_removing();
        is_on && (self.brake.engaged.is_some() || is_empty && !self.brake.believed)
    }

    /// The ranges in force that are held, since their ServiceCIDR vanished.
    fn vanished_ranges(&self) -> Vec<Prefix> {
        if !self.holds_ranges() {
            return Vec::new();
        }
        let there = self.cluster.service_cidrs();
        let derived = self.vip_ranges().filter(|range| range.uses.contains(&Use::ClusterIp));
        derived.map(|range| range.prefix).filter(|prefix| !there.contains(prefix)).collect()
    }

    /// The ranges are others now, or the node's role is: what is held outside of them is not held any more.
    pub(super) fn narrow_brake(&mut self, now: Time) {
        if self.is_removing() {
            if self.brake.engaged.is_some() {
                self.let_go("this node is to have nothing of vipcast's", now);
            }
            self.brake.clear();
            return;
        }
        let (ranges, here) = (&self.ranges, &self.here);
        self.brake.narrow(|address| ranges.covering(address).is_some() || here.node_port_addresses.contains(&address));
    }

    fn let_go(&mut self, cause: &'static str, now: Time) {
        self.news.push(News::LetGo(cause));
        let believed = self.brake.confirmed;
        let services = self.brake.clear();
        self.brake.believed = believed;
        self.open_eyes();
        services.iter().for_each(|service| self.derive_claim(service, now));
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
