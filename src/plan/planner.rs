//! The planner: everything known, and what follows from it. Changes go in, steps come out; nothing here waits.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::model::bgp::SessionState;
use crate::model::ipvs::{ServerKey, VirtualServer};
use crate::model::node::Host;
use crate::model::settings::Announce;
use crate::model::sysctl::Sysctls;
use crate::model::{Cluster, Event, Family, Prefix, ServiceKey, Settings, State, Time};

use super::change::{Change, Leave, Session};
use super::claims::{Claim, Ledger, claim};
use super::enact::enact;
use super::memory::{Key, Memory};
use super::news::News;
use super::preconditions::Footing;
use super::ranges::Ranges;
use super::step::{HostReading, Observation, Outcome, Report, Step, Target};
use super::{bgp, ipvs};

/// Everything known, and the memory of what was tried. See the module `pass` for what it decides.
#[derive(Debug, Clone)]
pub struct Planner {
    pub(super) settings: Settings,
    pub(super) cluster: Cluster,
    pub(super) ledger: Ledger,
    pub(super) ranges: Ranges,
    /// The node's address of each family: the preferred source of its connections to VIPs.
    pub(super) sources: BTreeMap<Family, IpAddr>,
    pub(super) actual: State,
    pub(super) host: HostBook,
    pub(super) servers: ServerBook,
    pub(super) speaker: SpeakerBook,
    pub(super) memory: Memory,
    /// Ranges and claims have been worked out at least once.
    pub(super) derived: bool,
    pub(super) leaving: Option<Leave>,
    pub(super) next_resync: Time,
    pub(super) news: Vec<News>,
}

/// What is known about the host reading.
#[derive(Debug, Clone, Default)]
pub(super) struct HostBook {
    /// Facts about the node; `None` before the first reading.
    pub(super) facts: Option<Host>,
    /// Kernel parameters as they were before the first write.
    pub(super) found: Sysctls,
    /// Why a part could not be read the last time, by part.
    pub(super) unread: BTreeMap<Part, String>,
    /// Parts that were read at least once.
    pub(super) known: BTreeSet<Part>,
    /// Nothing was written or reported as changed since the last reading.
    pub(super) fresh: bool,
    /// A reading is wanted.
    pub(super) wanted: bool,
    /// What was done since the last reading.
    pub(super) done: BTreeMap<Key, Step>,
    /// What had been done when the last reading was made: whoever wants to do the same again learns that it did not
    /// last.
    pub(super) proof: BTreeMap<Key, Step>,
}

/// A part of the host reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Sysctls,
    Addr,
    Nft,
    Facts,
}

impl Part {
    pub(super) const ALL: [Part; 4] = [Part::Sysctls, Part::Addr, Part::Nft, Part::Facts];

    pub(super) fn name(self) -> &'static str {
        match self {
            Part::Sysctls => "kernel parameters",
            Part::Addr => "link and routes",
            Part::Nft => "packet filter",
            Part::Facts => "node addresses",
        }
    }
}

/// Which virtual servers need attention.
#[derive(Debug, Clone, Default)]
pub(super) struct ServerBook {
    /// To be compared.
    pub(super) todo: BTreeSet<ServerKey>,
    /// With steps under way, and how many.
    pub(super) busy: BTreeMap<ServerKey, u32>,
    /// To be deleted once the route that promises them is gone.
    pub(super) held: BTreeSet<ServerKey>,
    /// When those have to be looked at again.
    pub(super) held_until: Option<Time>,
    /// Since when a change of the cluster waits to be in the kernel.
    pub(super) changed: BTreeMap<ServerKey, Time>,
    /// Written since they were last read.
    pub(super) unread: BTreeSet<ServerKey>,
    /// To be read.
    pub(super) to_read: BTreeSet<ServerKey>,
    /// Being read.
    pub(super) reading: BTreeSet<ServerKey>,
    /// A listing is wanted.
    pub(super) listing_wanted: bool,
    /// A listing came in, for the ranges in force.
    pub(super) listed: bool,
    /// All that the first listing named has been read: what an earlier run left is known.
    pub(super) adopted: bool,
}

/// What is known about gobgpd and its routes.
#[derive(Debug, Clone, Default)]
pub(super) struct SpeakerBook {
    /// Why it cannot be reached; `None` while it can.
    pub(super) down: Option<String>,
    /// A reading is wanted.
    pub(super) wanted: bool,
    /// The reading under way was asked for before gobgpd went away or came back: it is worth nothing.
    pub(super) stale: bool,
    /// Until when it was unknown what gobgpd holds: a path may have gone until then that nobody here knows of.
    pub(super) dark: Time,
    /// Sessions by peer.
    pub(super) sessions: BTreeMap<IpAddr, Session>,
    /// When paths were withdrawn whose promises may not be removed yet.
    pub(super) withdrawn: BTreeMap<Prefix, Time>,
    /// VIPs whose host route has to be looked at.
    pub(super) vips: BTreeSet<IpAddr>,
    /// VIPs whose host route waits for what its range stands on.
    pub(super) waiting: BTreeSet<IpAddr>,
    /// Paths that are out and are no host routes.
    pub(super) wide: BTreeSet<Prefix>,
    /// Paths that this agent sent or found: they stay ours when the range that they were for is gone.
    pub(super) ours: BTreeSet<Prefix>,
    /// How the infrastructure of each range stood in the last pass.
    pub(super) footings: BTreeMap<Prefix, Footing>,
}

impl Planner {
    /// A planner that knows nothing yet but `settings`.
    pub fn new(settings: Settings, now: Time) -> Planner {
        let next_resync = now + settings.resync;
        Planner {
            settings,
            cluster: Cluster::default(),
            ledger: Ledger::default(),
            ranges: Ranges::default(),
            sources: BTreeMap::new(),
            actual: State::default(),
            host: HostBook { wanted: true, ..HostBook::default() },
            servers: ServerBook { listing_wanted: true, ..ServerBook::default() },
            speaker: SpeakerBook {
                down: Some("not connected yet".into()),
                wanted: true,
                dark: now,
                ..SpeakerBook::default()
            },
            memory: Memory::default(),
            derived: false,
            leaving: None,
            next_resync,
            news: Vec::new(),
        }
    }

    /// Takes in one fact.
    pub fn apply(&mut self, change: Change, now: Time) {
        match change {
            Change::Source(event) => self.on_event(event, now),
            Change::Report(report) => self.on_report(report, now),
            Change::HostMoved => {
                self.host.wanted = true;
                self.host.fresh = false;
            }
            Change::SpeakerMoved => self.speaker.wanted = true,
            Change::SpeakerUp => {
                self.speaker.wanted = true;
                self.speaker.stale = self.memory.is_in_flight(&Key::SpeakerReading);
                self.memory.forget_speaker();
                if self.speaker.down.take().is_some() {
                    self.news.push(News::SpeakerUp);
                }
            }
            Change::SpeakerDown(reason) => self.on_speaker_down(reason, now),
            Change::Session(peer, session) => self.on_session(peer, session),
            Change::Leave(leave) => {
                self.leaving = Some(leave);
                self.touch_all_vips();
                self.derive_ranges(now);
            }
        }
    }

    /// Desired state as far as virtual servers go, for those who need it whole.
    pub fn desired_servers(&self) -> BTreeMap<ServerKey, VirtualServer> {
        self.ledger.servers().filter_map(|key| Some((*key, self.desired_server(key)?))).collect()
    }

    /// Has the first list of all objects been told?
    pub fn is_listed(&self) -> bool {
        self.cluster.is_listed()
    }

    /// Is nothing under way, and nothing failing?
    pub fn is_idle(&self) -> bool {
        self.memory.in_flight().next().is_none() && self.memory.failures().next().is_none()
    }

    /// Is nothing under way, and no virtual server to be compared or read?
    pub fn is_settled(&self) -> bool {
        let servers = &self.servers;
        self.memory.in_flight().next().is_none() && servers.todo.is_empty() && servers.to_read.is_empty()
    }

    /// How long peers get to hear a withdrawal.
    pub fn withdraw_delay(&self) -> Duration {
        self.settings.withdraw_delay
    }

    /// When everything is read the next time, whatever happens.
    pub fn next_resync(&self) -> Time {
        self.next_resync
    }

    /// Actual state, as far as it is known.
    pub fn actual(&self) -> &State {
        &self.actual
    }

    /// The virtual server `key` as it should be.
    pub(super) fn desired_server(&self, key: &ServerKey) -> Option<VirtualServer> {
        let destinations = self.ledger.destinations(key)?.clone();
        Some(VirtualServer { settings: ipvs::settings(&self.settings), destinations })
    }

    /// Have the cluster's objects and the node been understood well enough to decide about ranges and claims?
    pub(super) fn informed(&self) -> bool {
        self.host.facts.is_some() && (self.cluster.is_listed() || self.leaving == Some(Leave::Remove))
    }

    /// Is a virtual server at `address` ours: inside a range in force or configured, or under a local route of ours?
    pub(super) fn owns(&self, address: IpAddr) -> bool {
        let configured = self.settings.cluster_ips.iter().flatten();
        self.ranges.covering(address).is_some()
            || configured.map(|range| range.prefix).any(|prefix| prefix.contains(address))
            || self.actual.addr.routes.keys().any(|prefix| prefix.contains(address))
    }

    /// Is gobgpd ours alone?
    pub(super) fn is_exclusive(&self) -> bool {
        self.settings.bgp.as_ref().is_some_and(|bgp| bgp.exclusive)
    }

    /// Is a path for `prefix` ours?
    pub(super) fn owns_path(&self, prefix: Prefix) -> bool {
        self.is_exclusive() || self.owns(prefix.address()) && self.owns(prefix.last())
    }

    fn on_event(&mut self, event: Event, now: Time) {
        let complete_before = self.cluster.is_listed();
        let touched = self.cluster.apply(event);
        if !self.informed() {
            return;
        }
        if touched.node || touched.ranges || !complete_before {
            self.derive_ranges(now);
        }
        for service in touched.services {
            self.derive_claim(&service, now);
        }
    }

    /// Works out the node's addresses and the ranges in force anew; claims only where the ranges changed.
    pub(super) fn derive_ranges(&mut self, now: Time) {
        let Some(facts) = self.host.facts.as_ref().filter(|_| self.informed()) else { return };
        let candidates = self.node_ips();
        let present = |family| {
            let of_family = candidates.iter().filter(move |address| Family::of(**address) == family);
            of_family.copied().find(|address| facts.addresses.contains(address)).map(|address| (family, address))
        };
        self.sources = Family::ALL.into_iter().filter_map(present).collect();
        let ranges = match self.leaving {
            Some(Leave::Remove) => Ranges::default(),
            _ => Ranges::in_force(&self.settings, &self.cluster, &candidates, &self.actual.addr),
        };
        if ranges == self.ranges && self.derived {
            return;
        }
        self.derived = true;
        for (range, problem) in ranges.problems().filter(|found| self.ranges.problems().all(|known| known != *found)) {
            self.news.push(News::Range { range, problem: problem.to_owned() });
        }
        self.ranges = ranges;
        self.servers.listing_wanted = true;
        // Of a shared gobgpd, only the paths that were ours were kept.
        if !self.is_exclusive() {
            self.lose_sight(now);
        }
        let claimed = self.ledger.services().cloned();
        let known: BTreeSet<ServiceKey> = self.cluster.services().map(|(key, _)| key.clone()).chain(claimed).collect();
        known.iter().for_each(|service| self.derive_claim(service, now));
        self.touch_all_vips();
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

    fn derive_claim(&mut self, service: &ServiceKey, now: Time) {
        let claim = match self.cluster.service(service) {
            Some(object) if self.leaving != Some(Leave::Remove) => {
                claim(object, &self.cluster.slices(service).collect::<Vec<_>>(), &self.ranges)
            }
            _ => Claim::default(),
        };
        let mut concerned = self.ledger.rivals(service, &claim);
        concerned.insert(service.clone());
        let before: Vec<_> = concerned.into_iter().map(|name| (self.ledger.problems(&name), name)).collect();
        for key in self.ledger.put(service, claim) {
            self.memory.forget_server(&key);
            self.servers.todo.insert(key);
            self.servers.changed.entry(key).or_insert(now);
            self.touch_vip(key.address);
        }
        for (known, service) in before {
            let problems = self.ledger.problems(&service);
            if problems != known {
                self.news.push(News::Service { service, problems });
            }
        }
    }

    /// Notes that the host route of `vip` has to be looked at, if it has one.
    pub(super) fn touch_vip(&mut self, vip: IpAddr) {
        if self.ranges.covering(vip).is_some_and(|range| range.announce == Announce::Host) {
            self.speaker.vips.insert(vip);
        }
    }

    /// Notes that every host route has to be looked at: those that are out and those that may be wanted.
    pub(super) fn touch_all_vips(&mut self) {
        let out = self.actual.bgp.iter().flat_map(|bgp| bgp.paths.keys()).filter(|prefix| prefix.is_host());
        self.speaker.vips.extend(out.map(|prefix| prefix.address()));
        if self.ranges.iter().any(|range| range.announce == Announce::Host) {
            self.speaker.vips.extend(self.ledger.servers().map(|key| key.address));
        }
    }

    fn on_speaker_down(&mut self, reason: String, now: Time) {
        if self.speaker.down.is_none() {
            self.news.push(News::SpeakerDown(reason.clone()));
        }
        self.speaker.down = Some(reason);
        self.speaker.sessions.clear();
        self.speaker.stale = self.memory.is_in_flight(&Key::SpeakerReading);
        self.lose_sight(now);
    }

    /// What gobgpd holds is unknown until it is read.
    fn lose_sight(&mut self, now: Time) {
        self.actual.bgp = None;
        self.speaker.wanted = true;
        self.speaker.dark = now;
    }

    fn on_session(&mut self, peer: IpAddr, session: Session) {
        let old = self.speaker.sessions.insert(peer, session.clone());
        let established = |session: &Session| session.state == SessionState::Established;
        if old.is_some_and(|old| established(&old)) != established(&session) {
            self.news.push(News::Session { peer, session });
        }
    }

    fn on_report(&mut self, report: Report, now: Time) {
        let Report { step, outcome } = report;
        let key = step.key();
        self.memory.returned(&key);
        match outcome {
            Outcome::Done => self.on_done(&step, now),
            Outcome::Read(observation) => {
                self.on_observation(&step, observation, now);
                if step == Step::ReadHost && !self.host.unread.is_empty() {
                    let reasons: Vec<&str> = self.host.unread.values().map(String::as_str).collect();
                    self.memory.failed(key, reasons.join("; "), false, now);
                } else {
                    self.memory.forget(&key);
                }
            }
            Outcome::Drifted(reason) => {
                self.look_again(&step, now);
                if !self.follows_failed_creation(&step) {
                    self.memory.failed(key, reason, false, now);
                }
            }
            Outcome::Refused(reason) => {
                if step.is_read() {
                    self.look_again(&step, now);
                }
                self.fail(&step, reason, true, now);
            }
            // It may have been done all the same.
            Outcome::Later(reason) => {
                self.look_again(&step, now);
                self.fail(&step, reason, false, now);
            }
        }
        if let Some(server) = server_of(&step) {
            self.settle(server);
        }
        if let Step::Announce(prefix, _) | Step::Withdraw(prefix) = step
            && prefix.is_host()
        {
            self.speaker.vips.insert(prefix.address());
        }
    }

    /// A try failed; it is news if the last one did not fail in the same way.
    pub(super) fn fail(&mut self, step: &Step, reason: String, refused: bool, now: Time) {
        let key = step.key();
        if self.memory.failure(&key).is_none_or(|failure| failure.reason != reason) {
            self.news.push(News::Failed { step: step.clone(), reason: reason.clone() });
        }
        self.memory.failed(key, reason, refused, now);
    }

    /// Was the step to fill a virtual server that could not be made? Whatever came of it, that failure is the one that
    /// counts: what is there is not the one that was to be filled.
    fn follows_failed_creation(&self, step: &Step) -> bool {
        let creates = matches!(step, Step::AddServer(..));
        server_of(step).is_some_and(|server| !creates && !self.actual.ipvs.contains_key(&server))
    }

    /// A step for `server` came back; with the last one, the virtual server is compared again.
    fn settle(&mut self, server: ServerKey) {
        let left = self.servers.busy.get(&server).map_or(0, |count| count - 1);
        if left > 0 {
            self.servers.busy.insert(server, left);
            return;
        }
        self.servers.busy.remove(&server);
        self.servers.todo.insert(server);
        self.touch_vip(server.address);
    }

    fn on_done(&mut self, step: &Step, now: Time) {
        match step.target() {
            Target::Sysctl | Target::Addr | Target::Nft => {
                enact(&mut self.actual, step);
                self.host.fresh = false;
                self.host.wanted = true;
                // Whether a failure is over, the reading tells.
                self.host.done.insert(step.key(), step.clone());
            }
            Target::Ipvs => {
                if !self.follows_failed_creation(step) {
                    enact(&mut self.actual, step);
                    self.memory.forget(&step.key());
                }
                if let Some(server) = server_of(step) {
                    match step {
                        Step::DeleteServer(_) => self.servers.unread.remove(&server),
                        _ => self.servers.unread.insert(server),
                    };
                }
            }
            Target::Bgp => {
                self.memory.forget(&step.key());
                // A report can come in after gobgpd went away: it tells nothing of the next one.
                if self.actual.bgp.is_some() {
                    enact(&mut self.actual, step);
                }
            }
        }
        match step {
            Step::Withdraw(prefix) => {
                self.speaker.ours.remove(prefix);
                self.speaker.withdrawn.insert(*prefix, now);
                self.servers.held_until = Some(Time::ZERO);
                self.news.push(News::Withdrawn(*prefix));
            }
            Step::Announce(prefix, path) => {
                self.speaker.withdrawn.remove(prefix);
                self.speaker.wide.extend(Some(*prefix).filter(|prefix| !prefix.is_host()));
                self.news.push(News::Announced(*prefix, path.clone()));
            }
            Step::StartBgp(_) => self.touch_all_vips(),
            Step::StopBgp => {
                self.speaker.wanted = true;
                self.speaker.dark = now;
            }
            _ => {}
        }
    }

    /// The world was not as believed, or may not be: what the step is about is read before it is planned again.
    fn look_again(&mut self, step: &Step, now: Time) {
        match step {
            Step::ListServers => self.servers.listing_wanted = true,
            // It is wanted again when its time comes.
            Step::ReadServer(key) => drop(self.servers.reading.remove(key)),
            Step::ReadSpeaker => {
                self.speaker.wanted = true;
                self.speaker.stale = false;
            }
            _ => match step.target() {
                Target::Sysctl | Target::Addr | Target::Nft => {
                    self.host.wanted = true;
                    self.host.fresh = false;
                }
                Target::Ipvs => self.servers.to_read.extend(server_of(step)),
                Target::Bgp => self.lose_sight(now),
            },
        }
    }

    fn on_observation(&mut self, step: &Step, observation: Observation, now: Time) {
        match observation {
            Observation::Host(reading) => self.on_host(*reading, now),
            Observation::Servers(found) => {
                let ours = found.into_keys().filter(|key| self.owns(key.address)).collect::<BTreeSet<_>>();
                self.servers.to_read.extend(ours);
                // The kernel's dumps can skip: what is missing from one is looked up by itself.
                self.servers.to_read.extend(self.actual.ipvs.keys().copied());
                self.servers.listed = true;
            }
            Observation::Server(found) => {
                let Step::ReadServer(key) = step else { return };
                self.servers.reading.remove(key);
                if self.servers.unread.remove(key) && self.actual.ipvs.get(key) != found.as_ref() {
                    let reason = "what was written to it did not last".to_owned();
                    self.memory.failed(Key::Server(*key), reason, false, now);
                }
                match found {
                    Some(server) => self.actual.ipvs.insert(*key, server),
                    None => self.actual.ipvs.remove(key),
                };
                self.servers.todo.insert(*key);
                self.touch_vip(key.address);
            }
            Observation::Speaker(found) => {
                let stale = std::mem::take(&mut self.speaker.stale);
                if stale || self.speaker.down.is_some() {
                    self.speaker.wanted = true;
                    return;
                }
                let mut found = *found;
                found.paths.retain(|prefix, _| self.owns_path(*prefix) || self.speaker.ours.contains(prefix));
                self.speaker.ours = found.paths.keys().copied().collect();
                let known = self.actual.bgp.as_ref().map(|bgp| &bgp.paths);
                if known.is_none_or(|paths| paths.keys().any(|prefix| !found.paths.contains_key(prefix))) {
                    self.speaker.dark = now;
                }
                self.speaker.wide = found.paths.keys().copied().filter(|prefix| !prefix.is_host()).collect();
                self.actual.bgp = Some(found);
                self.touch_all_vips();
                self.servers.held_until = Some(Time::ZERO);
            }
        }
    }

    fn on_host(&mut self, reading: HostReading, now: Time) {
        let HostReading { sysctls, addr, nft, host } = reading;
        let unread = std::mem::take(&mut self.host.unread);
        self.take(Part::Sysctls, sysctls, |planner, value| {
            if planner.host.found.is_empty() {
                planner.host.found = value.clone();
            }
            planner.actual.sysctls = value;
        });
        self.take(Part::Addr, addr, |planner, value| planner.actual.addr = value);
        self.take(Part::Nft, nft, |planner, value| planner.actual.nft = value);
        self.take(Part::Facts, host, |planner, value| planner.host.facts = Some(value));
        // What was told while the reading was under way is not in it.
        self.host.fresh = self.host.unread.is_empty() && !self.host.wanted;
        if self.host.unread.is_empty() {
            self.host.proof = std::mem::take(&mut self.host.done);
        }
        for (part, reason) in &self.host.unread {
            if unread.get(part) != Some(reason) {
                self.news.push(News::Unreadable { part: part.name(), reason: reason.clone() });
            }
        }
        self.derive_ranges(now);
    }

    fn take<T>(&mut self, part: Part, value: Result<T, String>, store: impl FnOnce(&mut Planner, T)) {
        match value {
            Ok(value) => {
                store(self, value);
                self.host.known.insert(part);
            }
            Err(reason) => {
                self.host.unread.insert(part, reason);
            }
        }
    }
}

/// The virtual server that a writing step is about.
pub(super) fn server_of(step: &Step) -> Option<ServerKey> {
    match step {
        Step::AddServer(key, _)
        | Step::SetServer(key, _)
        | Step::DeleteServer(key)
        | Step::AddDestination(key, ..)
        | Step::SetDestination(key, ..)
        | Step::DeleteDestination(key, _) => Some(*key),
        _ => None,
    }
}

/// The first address of the node that gives a router ID. It stays for long, so nothing is taken before it is known which
/// addresses are the node's.
pub(super) fn router_id_source(planner: &Planner) -> Option<std::net::Ipv4Addr> {
    if !planner.derived {
        return None;
    }
    bgp::first_ipv4(planner.sources.values().copied().chain(planner.node_ips()))
}
