//! What follows from what is known: the ranges in force, the claims, and what has to be looked at because of them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::model::ipvs::ServerKey;
use crate::model::settings::Announce;
use crate::model::{Family, Prefix, ServiceKey, Time};

use super::canary;
use super::claims::{Claim, View, claim};
use super::news::News;
use super::planner::Planner;
use super::ranges::Ranges;
use super::surroundings::Surroundings;

impl Planner {
    /// Works out the node's addresses and the ranges in force anew; claims only where the ranges or the settings changed.
    pub(super) fn derive_ranges(&mut self, now: Time) {
        let Some(facts) = self.host.facts.as_ref().filter(|_| self.informed()) else { return };
        let candidates = self.node_ips();
        let present = |family| {
            let of_family = candidates.iter().filter(move |address| Family::of(**address) == family);
            of_family.copied().find(|address| facts.addresses.contains(address)).map(|address| (family, address))
        };
        self.sources = Family::ALL.into_iter().filter_map(present).collect();
        let here = Surroundings::of(&self.settings, &self.cluster, facts, &candidates);
        let ranges = if self.is_removing() {
            Ranges::none(&self.settings, &self.cluster, &here.addresses)
        } else {
            Ranges::in_force(
                &self.settings,
                &self.cluster,
                &candidates,
                &here.addresses,
                &self.actual.addr,
                self.servers.blind || self.holds_ranges(),
            )
        };
        self.derive_budget();
        let moved = ranges != self.ranges || !self.derived;
        if !moved && here == self.here && !self.unsettled {
            return;
        }
        self.servers.listing_wanted |= moved || here.node_port_addresses != self.here.node_port_addresses;
        // Of a shared gobgpd, only the paths that were ours were kept.
        if moved && !self.is_exclusive() {
            self.lose_sight(now);
        }
        self.health_changed = true;
        self.here = here;
        self.derived = true;
        self.unsettled = false;
        for (range, problem) in ranges.problems().filter(|found| self.ranges.problems().all(|known| known != *found)) {
            self.news.push(News::Range { range, problem: problem.to_owned() });
        }
        self.ranges = ranges;
        if moved {
            self.narrow_brake(now);
        }
        let claimants = self.ledger.services().cloned();
        let services = self.cluster.services().map(|(key, _)| key.clone());
        let known: BTreeSet<ServiceKey> = services.chain(claimants).chain([canary::claimant()]).collect();
        let claimed = self.servers.claimed.clone();
        known.iter().for_each(|service| self.derive_claim(service, now));
        // Who has what is known only now: on the way here a younger Service may have stood for an older one.
        if self.servers.blind {
            self.servers.claimed = claimed;
            let asked = self.ledger.servers().filter_map(|key| Some((*key, self.ledger.ask(key)?)));
            for (key, ask) in asked {
                self.servers.claimed.entry(key).or_default().extend(ask.destinations.keys());
            }
        }
        // Which of them are masqueraded one by one depends on the ranges.
        let servers: Vec<ServerKey> = self.ledger.servers().copied().collect();
        servers.into_iter().for_each(|key| self.want_elements(key));
        self.touch_all_vips();
        self.touch_routes();
        self.servers.todo.extend(self.actual.ipvs.keys().copied());
    }

    /// The node's addresses in order of preference: as configured, else from its Node object, else from the links of
    /// its default routes.
    pub(super) fn node_ips(&self) -> Vec<IpAddr> {
        if !self.settings.node_ips.is_empty() {
            return self.settings.node_ips.clone();
        }
        let node = self.cluster.node().map(|node| node.addresses.clone()).filter(|addresses| !addresses.is_empty());
        node.or_else(|| self.host.facts.as_ref().map(|facts| facts.default_addresses.clone())).unwrap_or_default()
    }

    /// Works out the claims of Services with VIPs that may be addresses of some Node or its pods.
    pub(super) fn derive_vips(&mut self, now: Time) {
        let services =
            self.cluster.services().filter(|(_, s)| !s.external_ips.is_empty() || !s.load_balancer_ips.is_empty());
        let services: Vec<ServiceKey> = services.map(|(key, _)| key.clone()).collect();
        services.iter().for_each(|service| self.derive_claim(service, now));
    }

    /// Works out the claim of `service`.
    pub(super) fn derive_claim(&mut self, service: &ServiceKey, now: Time) {
        let claim = self.claim_of(service);
        self.put_claim(service, claim, now);
    }

    /// Works out the claim of `service`, of which the source told something: what vanishes may be too much to be believed.
    pub(super) fn derive_told(&mut self, service: &ServiceKey, now: Time) {
        let claim = self.claim_of(service);
        self.note_loss(service, &claim, now);
        self.put_claim(service, claim, now);
    }

    fn claim_of(&self, service: &ServiceKey) -> Claim {
        match self.cluster.service(service) {
            Some(object) if !self.is_removing() => {
                let view =
                    View { settings: &self.settings, ranges: &self.ranges, here: &self.here, cluster: &self.cluster };
                claim(object, &self.cluster.slices(service).collect::<Vec<_>>(), view)
            }
            None if *service == canary::claimant() => self.canary_claim(),
            _ => Claim::default(),
        }
    }

    fn put_claim(&mut self, service: &ServiceKey, claim: Claim, now: Time) {
        let claim = self.with_held(service, claim);
        let mut concerned = self.ledger.rivals(service, &claim);
        concerned.insert(service.clone());
        let before: Vec<_> = concerned.into_iter().map(|name| (self.ledger.problems(&name), name)).collect();
        self.health_changed |= self.ledger.claim(service).and_then(|known| known.health) != claim.health;
        let touched = self.ledger.put(service, claim);
        for key in touched.servers {
            self.memory.forget_server(&key);
            self.want_elements(key);
            self.servers.todo.insert(key);
            // One without endpoints may have them in what was not understood.
            if self.servers.blind
                && let Some(ask) = self.ledger.ask(&key)
            {
                self.servers.claimed.entry(key).or_default().extend(ask.destinations.keys());
            }
            self.servers.changed.entry(key).or_insert(now);
            self.note_waiting(key.address, now);
            self.touch_vip(key.address);
        }
        touched.vips.into_iter().for_each(|vip| self.touch_vip(vip));
        let known: BTreeSet<ServiceKey> = before.iter().map(|(_, service)| service.clone()).collect();
        for (known, service) in before {
            if self.ledger.problems(&service) != known {
                self.tell_problems(service);
            }
        }
        touched.services.difference(&known).for_each(|service| self.tell_problems(service.clone()));
    }

    /// Tells of the problems of `service`, which are others now.
    fn tell_problems(&mut self, service: ServiceKey) {
        let problems = self.ledger.problems(&service);
        self.notices.push(self.notice(&service));
        self.news.push(News::Service { service, problems });
    }

    /// So many VIPs may have routes of their own inside aggregates, as the settings say.
    fn derive_budget(&mut self) {
        let limit = self.settings.bgp.as_ref().map_or(0, |bgp| bgp.max_specifics);
        let moved = self.ledger.set_max_specifics(limit);
        let services: BTreeSet<ServiceKey> = moved.iter().map(|(service, _)| service.clone()).collect();
        moved.into_iter().for_each(|(_, vip)| self.touch_vip(vip));
        services.into_iter().for_each(|service| self.tell_problems(service));
    }

    /// Notes that the routes of `vip`, the local one and that of BGP, have to be looked at, if it has any of its own.
    pub(super) fn touch_vip(&mut self, vip: IpAddr) {
        let Some(range) = self.ranges.covering(vip) else { return };
        self.host.vips.extend(Some(vip).filter(|_| !range.is_whole()));
        let may_have_route = self.may_have_route(vip)
            || self.actual.bgp.as_ref().is_some_and(|bgp| bgp.paths.contains_key(&Prefix::host(vip)));
        self.speaker.vips.extend(Some(vip).filter(|_| may_have_route));
    }

    /// Notes that every host route has to be looked at: those that are out and those that may be wanted.
    pub(super) fn touch_all_vips(&mut self) {
        let out = self.actual.bgp.iter().flat_map(|bgp| bgp.paths.keys()).filter(|prefix| prefix.is_host());
        self.speaker.vips.extend(out.map(|prefix| prefix.address()));
        if self.ranges.iter().any(|range| range.announce == Announce::Host) {
            self.speaker.vips.extend(self.ledger.servers().map(|key| key.address));
        }
        self.speaker.vips.extend(self.ledger.wished_vips());
    }
}
