//! The planner: everything known, and what follows from it. Changes go in, steps come out; nothing here waits.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::model::bgp::{Peer, PeerName, SecretKey, Session};
use crate::model::ipvs::{ServerKey, VirtualServer};
use crate::model::load::{Load, Stray};
use crate::model::settings::Misfit;
use crate::model::{Cluster, Event, Family, Prefix, Secret, Settings, State, Time};

use super::bgp;
use super::books::{HostBook, ServerBook, SpeakerBook};
use super::brake::BrakeBook;
use super::change::{Change, Leave, Loaded};
use super::departure::AwayBook;
use super::explain::Inquiry;
use super::ledger::Ledger;
use super::memory::{Key, Memory};
use super::news::News;
use super::orders::LinkBook;
use super::peers::Held;
use super::problem::Notice;
use super::proof::ProofBook;
use super::ranges::Ranges;
use super::role::Role;
use super::step::Step;
use super::surroundings::Surroundings;

/// Everything known, and the memory of what was tried. See the module `pass` for what it decides.
#[derive(Debug, Clone)]
pub struct Planner {
    /// How the configuration file was found.
    pub(super) loaded: Option<Loaded>,
    /// As configured.
    pub(super) configured: Settings,
    /// The same with what the annotations of this node's Node say in its place: this is in force.
    pub(super) settings: Settings,
    pub(super) cluster: Cluster,
    pub(super) ledger: Ledger,
    pub(super) ranges: Ranges,
    pub(super) role: Role,
    pub(super) here: Surroundings,
    /// The peers that this node has by its labels; none before these are known.
    pub(super) peers: BTreeMap<PeerName, Peer>,
    /// Those of them that gobgpd is not told of.
    pub(super) held: BTreeMap<PeerName, Held>,
    /// Peers that do not go with the rest of the settings.
    pub(super) misfits: BTreeMap<PeerName, Misfit>,
    /// The Secrets that passwords come from.
    pub(super) wanted_secrets: BTreeSet<SecretKey>,
    /// The same as it was told last.
    pub(super) asked_secrets: BTreeSet<SecretKey>,
    /// What the Secrets hold that passwords come from, or why that cannot be had.
    pub(super) secrets: BTreeMap<SecretKey, Result<Secret, String>>,
    /// The node's address of each family: the preferred source of its connections to VIPs.
    pub(super) sources: BTreeMap<Family, IpAddr>,
    pub(super) actual: State,
    pub(super) host: HostBook,
    pub(super) servers: ServerBook,
    pub(super) speaker: SpeakerBook,
    pub(super) link: LinkBook,
    pub(super) memory: Memory,
    /// What vanished lately, and whether it is held.
    pub(super) brake: BrakeBook,
    /// What probes of the canaries have shown.
    pub(super) proof: ProofBook,
    /// Ranges and claims have been worked out at least once.
    pub(super) derived: bool,
    /// The settings are others than those that claims were worked out with.
    pub(super) unsettled: bool,
    pub(super) leaving: Option<Leave>,
    /// Draining, and coming back.
    pub(super) away: AwayBook,
    pub(super) next_resync: Time,
    /// How full the kernel's tables were found the last time.
    pub(super) load: Load,
    /// How many packets found no connection.
    pub(super) stray: Stray,
    /// Something about health check ports changed since they were told.
    pub(super) health_changed: bool,
    /// Explanations that somebody waits for.
    pub(super) inquiries: Vec<Inquiry>,
    pub(super) news: Vec<News>,
    pub(super) notices: Vec<Notice>,
}

impl Planner {
    /// A planner that knows nothing yet but `settings`.
    pub fn new(settings: Settings, now: Time) -> Planner {
        let next_resync = now + settings.resync;
        let cluster = Cluster::seen_from(&settings.node);
        let mut planner = Planner {
            loaded: None,
            configured: settings.clone(),
            settings,
            cluster,
            role: Role::Unknown,
            peers: BTreeMap::new(),
            held: BTreeMap::new(),
            misfits: BTreeMap::new(),
            wanted_secrets: BTreeSet::new(),
            asked_secrets: BTreeSet::new(),
            secrets: BTreeMap::new(),
            ledger: Ledger::default(),
            ranges: Ranges::default(),
            here: Surroundings::default(),
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
            link: LinkBook::default(),
            memory: Memory::default(),
            brake: BrakeBook::default(),
            proof: ProofBook::default(),
            derived: false,
            unsettled: false,
            leaving: None,
            away: AwayBook::default(),
            next_resync,
            load: Load::default(),
            stray: Stray::default(),
            health_changed: false,
            inquiries: Vec::new(),
            news: Vec::new(),
            notices: Vec::new(),
        };
        planner.derive_role();
        planner
    }

    /// Takes in one fact.
    pub fn apply(&mut self, change: Change, now: Time) {
        match change {
            Change::Source(event) => self.on_event(event, now),
            Change::Report(report) => self.on_report(report, now),
            Change::HostMoved => {
                self.host.wanted = true;
                self.host.fresh = false;
                // One part that cannot be read must not hold up the repair of the others.
                self.memory.forget(&Key::HostReading);
            }
            Change::SpeakerMoved => self.speaker.wanted = true,
            Change::SpeakerUp => {
                self.speaker.wanted = true;
                self.speaker.stale = self.memory.is_in_flight(&Key::SpeakerReading);
                self.memory.forget_speaker();
                self.speaker.gone = false;
                if self.speaker.down.take().is_some() {
                    self.news.push(News::SpeakerUp);
                }
            }
            Change::SpeakerDown(reason) => self.on_speaker_down(reason, false, now),
            Change::SpeakerGone(reason) => self.on_speaker_down(reason, true, now),
            Change::Session(peer, session) => self.on_session(peer, session),
            Change::Load(load) => self.load = load,
            Change::Stray(stray) => self.stray = stray,
            Change::Probe(canary, result) => self.on_probe(canary, result, now),
            Change::Settings(settings) => self.on_settings(*settings, now),
            Change::Loaded(loaded) => self.loaded = Some(loaded),
            Change::Secret(key, value) => {
                self.secrets.insert(key, value);
                self.derive_role();
            }
            Change::Lease(lease) => self.on_lease(lease),
            Change::Bfd(peer, status) => self.on_bfd(peer, status),
            Change::HeldDown(held) => self.link.held = held,
            Change::Explain(ticket, asked) => self.inquire(ticket, asked, now),
            Change::Leave(leave) => self.on_leave(leave, now),
            Change::End(configured) => self.on_end(configured, now),
            Change::Command(command) => self.on_command(command),
            Change::Remembered(saved) => self.on_remembered(saved, now),
            Change::Fleet(verdict) => self.away.state.told(verdict),
        }
    }

    /// Desired state as far as virtual servers go, for those who need it whole.
    pub fn desired_servers(&self) -> BTreeMap<ServerKey, VirtualServer> {
        self.ledger.servers().filter_map(|key| Some((*key, self.ledger.server(key)?))).collect()
    }

    /// Has the first list of all objects been told?
    pub fn is_listed(&self) -> bool {
        self.cluster.is_listed()
    }

    /// Is there a Node object of this node?
    pub fn knows_node(&self) -> bool {
        self.cluster.node().is_some()
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

    /// How the agent is leaving, if it is.
    pub fn leaving(&self) -> Option<Leave> {
        self.leaving.or(self.away.ending)
    }

    /// When everything is read the next time, whatever happens.
    pub fn next_resync(&self) -> Time {
        self.next_resync
    }

    /// Actual state, as far as it is known.
    pub fn actual(&self) -> &State {
        &self.actual
    }

    /// Have the cluster's objects and the node been understood well enough to decide about ranges and claims?
    pub(super) fn informed(&self) -> bool {
        let told = self.cluster.is_listed() && self.role != Role::Frozen;
        self.host.facts.is_some() && (told || self.leaving == Some(Leave::Remove))
    }

    /// Is `address` in our care: inside a range in force or configured, or under a local route of ours?
    pub(super) fn owns(&self, address: IpAddr) -> bool {
        let configured = self.settings.cluster_ips.iter().flatten().chain(&self.settings.allowed);
        self.ranges.covering(address).is_some()
            || configured.map(|range| range.prefix).any(|prefix| prefix.contains(address))
            || self.is_standing_by() && self.cluster.service_cidrs().iter().any(|prefix| prefix.contains(address))
            || self.actual.addr.routes.keys().any(|prefix| prefix.contains(address))
    }

    /// Is gobgpd ours alone?
    pub(super) fn is_exclusive(&self) -> bool {
        self.settings.bgp.as_ref().is_some_and(|bgp| bgp.exclusive)
    }

    /// Is something unknown that what an earlier run left may belong to?
    pub(super) fn is_blind(&self) -> bool {
        self.servers.blind && self.leaving.is_none() && !self.is_standing_by()
    }

    /// May something that could not be understood at the start want the virtual server `key`?
    pub(super) fn may_be_wanted(&self, key: &ServerKey) -> bool {
        self.is_blind() && !self.servers.claimed.contains_key(key)
    }

    /// Is a path for `prefix` ours?
    pub(super) fn owns_path(&self, prefix: Prefix) -> bool {
        self.is_exclusive() || self.owns(prefix.address()) && self.owns(prefix.last())
    }

    fn on_event(&mut self, event: Event, now: Time) {
        let complete_before = self.cluster.is_listed();
        let touched = self.cluster.apply(event);
        let understood = self.cluster.is_understood();
        let sees = self.servers.blind && understood && !self.brake.is_doubting();
        if !complete_before && self.cluster.is_listed() {
            self.doubt_emptiness();
            self.servers.blind = !understood || self.brake.is_doubting();
        } else if sees {
            self.open_eyes();
        }
        self.notice_complaints(touched.complaints);
        // The addresses that health check ports are served on follow the Node.
        self.health_changed |= touched.node;
        if touched.node || !complete_before && self.cluster.is_listed() {
            self.derive_role();
        }
        if touched.node {
            // Ranges and Services may name the nodes that announce them by labels.
            self.touch_all_vips();
        }
        if !self.informed() {
            return;
        }
        if touched.node || touched.ranges || !complete_before || sees {
            self.derive_ranges(now);
        }
        if touched.nodes {
            self.derive_vips(now);
        }
        for service in touched.services {
            self.derive_told(&service, now);
            // Which slices list an address decides how long its connections may go on.
            self.servers.todo.extend(self.servers.drains.of_service(&service));
        }
    }

    /// Nothing that an earlier run left may belong to something unknown any more, if all is understood.
    pub(super) fn open_eyes(&mut self) {
        if !self.servers.blind || !self.cluster.is_understood() {
            return;
        }
        self.servers.blind = false;
        self.servers.claimed.clear();
        self.servers.todo.extend(self.ledger.servers());
        self.servers.held_until = Some(Time::ZERO);
        self.touch_all_vips();
    }

    fn on_speaker_down(&mut self, reason: String, gone: bool, now: Time) {
        if self.speaker.down.is_none() {
            self.news.push(News::SpeakerDown(reason.clone()));
        }
        self.speaker.down = Some(reason);
        self.speaker.sessions.clear();
        self.speaker.audits.clear();
        self.speaker.stale = self.memory.is_in_flight(&Key::SpeakerReading);
        // How long it has been gone counts from the moment at which that was noticed first.
        if !(gone && self.speaker.gone) {
            self.lose_sight(now);
        }
        self.speaker.gone = gone;
    }

    /// What gobgpd holds is unknown until it is read.
    pub(super) fn lose_sight(&mut self, now: Time) {
        if let Some(known) = self.actual.bgp.take() {
            self.speaker.last = Some(known);
        }
        self.speaker.wanted = true;
        self.speaker.dark = now;
    }

    fn on_session(&mut self, peer: PeerName, session: Session) {
        let old = self.speaker.sessions.insert(peer.clone(), session.clone());
        let old = old.filter(Session::is_established);
        let new = Some(&session).filter(|session| session.is_established());
        // What goes over it depends on these two as well.
        let ends = |session: &Session| (session.local_address, session.families.clone());
        if old.as_ref().map(ends) != new.map(ends) {
            self.on_listener(&peer, new.is_some());
        }
        if old.is_some() != new.is_some() {
            let session = Session { reason: self.session_reason(&peer), ..session };
            self.news.push(News::Session { peer, session });
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
