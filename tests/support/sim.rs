//! A planner, a node that can fail, and everything that may happen between a step and its report: steps wait, reports
//! are under way, somebody else meddles, gobgpd dies, the agent is killed. Time is a value.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use vipcast::model::addr::Link;
use vipcast::model::bgp::{Attributes, Export, NextHop, Path, PeerName, Session, SessionState};
use vipcast::model::ipvs::{
    DestinationKey, Protocol, Scheduler, ServerFlags, ServerKey, ServerSettings, VirtualServer,
};
use vipcast::model::{Event, Family, Prefix, Settings, State, Time};
use vipcast::plan::away::Saved;
use vipcast::plan::change::{Command, Leave};
use vipcast::plan::pass::is_for_speaker;
use vipcast::plan::{Change, ModelNode, Plan, Planner, Report, Step};

use super::build::{DESTINATION, endpoint, host, ip, prefix, tcp};
use super::expected;
use super::node::{Fault, Node};
use super::watchman::{FOREIGN, Moment, Watchman};
use super::world::{Happening, Setup, World, any_happening, any_setup};

/// Steps on their way to an executor, and reports on their way back: both keep their order.
#[derive(Debug, Clone, Default)]
struct Lane {
    steps: VecDeque<Step>,
    reports: VecDeque<Report>,
}

/// Which executor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Kernel,
    Speaker,
}

/// What somebody else does to the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meddling {
    DeleteLink,
    LinkDown,
    DeleteRoutes,
    DeleteTable,
    Stray,
    LoseGuard,
    LoseClassic,
    Sysctl,
    AddressGone,
    AddressBack,
    DeleteServer(usize),
    ChangeScheduler(usize),
    DeleteDestination(usize),
    AddDestination(usize),
    AddServer,
    DeletePath(usize),
    ChangePath(usize),
    AddPath,
    DeletePeer,
    AcceptImports,
    /// Somebody else's attributes for what a peer hears, or none of ours.
    ChangeExports(bool),
    /// What a peer is sent of a path is lost, or spoiled.
    LoseUpdate(usize),
    SpoilUpdate(usize),
    /// All sessions end and come back.
    Flap,
}

/// One thing that happens in a run.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// The planner makes a pass.
    Plan,
    /// An executor performs so many steps.
    Perform(Side, usize),
    /// So many of its reports come in.
    Report(Side, usize),
    /// Passes, steps and reports follow each other until nothing is under way.
    Turn,
    /// Time passes.
    Wait(u64),
    /// Time passes until the planner wants to be asked.
    Sleep,
    /// Something happens in the cluster, and the source tells.
    Happen(Happening),
    /// The next steps of an executor fail.
    Fail(Side, Vec<Fault>),
    /// Somebody else changes the node.
    Meddle(Meddling),
    /// A client connects to one of the destinations that take connections, for so many milliseconds.
    Connect(usize, u64),
    /// An operator drains the node, or takes that back.
    Drain(bool),
    /// gobgpd cannot be reached any more; it lost all if it died.
    SpeakerDown { died: bool },
    /// gobgpd can be reached again.
    SpeakerUp,
    /// gobgpd died and was started anew before anybody noticed.
    SpeakerBlinks,
    /// The agent is killed, steps and reports under way with it; the next one has these settings.
    Kill(Box<Setup>),
}

pub(crate) struct Sim {
    pub(crate) settings: Settings,
    pub(crate) planner: Planner,
    pub(crate) node: Node,
    pub(crate) world: World,
    pub(crate) now: Time,
    pub(crate) finished: bool,
    /// What the next agent is told.
    saved: Saved,
    /// All that an operator could have seen.
    pub(crate) seen: Vec<String>,
    /// The writing steps of all passes, in words.
    pub(crate) writes: Vec<String>,
    /// How many latencies were counted.
    pub(crate) latencies: usize,
    /// Virtual servers that nothing on the node told apart from somebody else's when an agent began.
    strays: BTreeSet<ServerKey>,
    /// When connections end.
    ends: Vec<(Time, ServerKey, DestinationKey)>,
    kernel: Lane,
    speaker: Lane,
    watchman: Watchman,
    wake_at: Option<Time>,
    /// Passes in a row that did nothing, waited for nothing and wanted to be asked again at once.
    idle_passes: usize,
}

impl Sim {
    /// On a node that has somebody else's virtual server, and one in a range that an earlier run left.
    pub(crate) fn new(settings: Settings) -> Sim {
        let mut model = ModelNode { host: host(), ..ModelNode::default() };
        let foreign = ServerSettings { scheduler: Scheduler::new("wlc"), flags: ServerFlags(0), timeout: 0 };
        let server =
            VirtualServer { settings: foreign, destinations: [(endpoint("192.0.2.80", 80), DESTINATION)].into() };
        model.state.ipvs.insert(FOREIGN, server.clone());
        model.state.ipvs.insert(LEFT_BEHIND, server);
        Sim::on(settings, Node::new(model), World::default())
    }

    pub(crate) fn on(settings: Settings, node: Node, world: World) -> Sim {
        let mut planner = Planner::new(settings.clone(), Time::ZERO);
        planner.apply(Change::SpeakerUp, Time::ZERO);
        for (name, session) in node.model.sessions.clone() {
            planner.apply(Change::Session(name, session), Time::ZERO);
        }
        let mut watchman = Watchman::default();
        watchman.stray_paths.insert(foreign_path());
        Sim {
            settings,
            planner,
            node,
            world,
            now: Time::ZERO,
            finished: false,
            saved: Saved::default(),
            seen: Vec::new(),
            writes: Vec::new(),
            latencies: 0,
            strays: [FOREIGN].into(),
            ends: Vec::new(),
            kernel: Lane::default(),
            speaker: Lane::default(),
            watchman,
            wake_at: None,
            idle_passes: 0,
        }
    }

    /// A new agent with the same settings on a copy of the node.
    pub(crate) fn successor(&self, world: World) -> Sim {
        let mut sim = Sim::on(self.settings.clone(), Node::new(self.node.model.clone()), world);
        sim.strays = self.strays.clone();
        sim.watchman.stray_paths = self.watchman.stray_paths.clone();
        sim
    }

    pub(crate) fn change(&mut self, change: Change) {
        self.planner.apply(change, self.now);
    }

    pub(crate) fn tell(&mut self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            self.change(Change::Source(event));
        }
    }

    /// The source lists all that is there.
    pub(crate) fn list(&mut self) {
        self.tell(self.world.list_all());
    }

    /// The source is well and lists all that is there.
    pub(crate) fn recover(&mut self) {
        self.act(Act::Happen(Happening::Trouble(false)));
        self.list();
    }

    pub(crate) fn act(&mut self, act: Act) {
        match act {
            Act::Plan => drop(self.plan()),
            Act::Perform(side, count) => while_so_often(count, || self.perform(side)),
            Act::Report(side, count) => while_so_often(count, || self.report(side)),
            Act::Turn => self.turn(),
            Act::Wait(milliseconds) => self.now = self.now + Duration::from_millis(milliseconds),
            Act::Sleep => self.now = self.wake_at.unwrap_or(self.now).max(self.now),
            Act::Happen(happening) => {
                let events = self.world.happen(happening);
                self.tell(events);
            }
            Act::Fail(Side::Kernel, faults) => self.node.kernel_faults.extend(faults),
            Act::Fail(Side::Speaker, faults) => self.node.speaker_faults.extend(faults),
            Act::Meddle(meddling) => self.meddle(meddling),
            Act::Connect(n, milliseconds) => self.connect(n, Duration::from_millis(milliseconds)),
            Act::SpeakerDown { died } => self.speaker_down(died),
            Act::SpeakerUp => self.speaker_up(),
            Act::SpeakerBlinks => {
                self.speaker_down(true);
                self.speaker_up();
            }
            Act::Drain(true) => self.change(Change::Command(Command::Drain { force: false })),
            Act::Drain(false) => self.change(Change::Command(Command::Undrain)),
            Act::Kill(setup) => self.kill(setup.0),
        }
    }

    /// A client connects for so long, to a destination that the kernel gives new connections to.
    fn connect(&mut self, n: usize, duration: Duration) {
        let state = &self.node.model.state;
        let refuses = |key| state.nft.table.as_ref().is_some_and(|table| table.elements.draining.contains(key));
        let servers = state.ipvs.iter().filter(|(key, _)| **key != FOREIGN && !refuses(*key));
        let open =
            servers.flat_map(|(key, server)| server.destinations.iter().map(move |(name, value)| (key, name, value)));
        let open: Vec<_> = open.filter(|(.., value)| value.weight > 0).map(|(key, name, _)| (*key, *name)).collect();
        if open.is_empty() {
            return;
        }
        let (key, name) = open[n % open.len()];
        let connections = self.node.model.connections.entry(key).or_default();
        connections.set(name, connections.of(&name) + 1);
        *self.node.model.arrived.entry(key).or_default() += 1;
        self.ends.push((self.now + duration, key, name));
        self.watchman.connected(key, name);
    }

    /// Connections whose time has come end.
    fn end_connections(&mut self) {
        let over: Vec<_> = self.ends.extract_if(.., |(at, ..)| *at <= self.now).collect();
        for (_, key, name) in over {
            let connections = self.node.model.connections.entry(key).or_default();
            connections.set(name, connections.of(&name).saturating_sub(1));
        }
    }

    /// The agent is killed, and started with these settings.
    pub(crate) fn kill(&mut self, settings: Settings) {
        self.settings = settings;
        self.planner = Planner::new(self.settings.clone(), self.now);
        self.change(Change::Remembered(self.saved));
        self.kernel = Lane::default();
        self.speaker = Lane::default();
        self.wake_at = None;
        self.watchman.restart();
        self.note_strays();
        self.watchman.look_at_paths(&self.node.model.state, self.now);
        if !self.node.silent {
            self.change(Change::SpeakerUp);
            self.tell_sessions();
        }
        self.list();
    }

    /// Sessions come up with peers that gobgpd has, and go with those that it has no more; the agent is told.
    fn follow_peers(&mut self) {
        let peers = self.node.model.state.bgp.iter().flat_map(|bgp| bgp.peers.clone()).collect::<BTreeMap<_, _>>();
        let known: BTreeSet<PeerName> = self.node.model.sessions.keys().cloned().collect();
        for name in known.iter().filter(|name| !peers.contains_key(name)) {
            self.node.model.sessions.remove(name);
            self.change(Change::Session(name.clone(), Session::new(SessionState::Idle)));
        }
        for (name, peer) in peers.into_iter().filter(|(name, _)| !known.contains(name)) {
            let local = if peer.families.contains(&Family::Ipv4) { ip("10.0.1.2") } else { ip("fd01::2") };
            let up = Session::new(SessionState::Established);
            let session = Session { local_address: Some(local), families: peer.families, ..up };
            self.node.model.sessions.insert(name.clone(), session.clone());
            self.change(Change::Session(name, session));
        }
        self.node.model.send_paths(None);
    }

    fn tell_sessions(&mut self) {
        for (name, session) in self.node.model.sessions.clone() {
            self.change(Change::Session(name, session));
        }
    }

    /// An agent that has not read the node yet will not tell these from somebody else's.
    fn note_strays(&mut self) {
        let state = &self.node.model.state;
        let local = local(&self.settings, state, &self.world);
        let own = host().addresses;
        let is_ours = |key: &ServerKey| {
            if own.contains(&key.address) {
                is_node_port(&self.settings, state, key)
            } else {
                holds(&local, key.address)
            }
        };
        self.strays.extend(state.ipvs.keys().filter(|key| !is_ours(key)));
        if self.settings.bgp.as_ref().is_some_and(|bgp| !bgp.exclusive) {
            let ours = |path: &&Prefix| holds(&local, path.address()) && holds(&local, path.last());
            let paths = state.bgp.iter().flat_map(|bgp| bgp.paths.keys());
            self.watchman.stray_paths.extend(paths.filter(|path| !ours(path)));
        }
    }

    /// Who stands by on a node that shows nothing of an agent takes what is there for somebody else's.
    fn note_others(&mut self) {
        let State { addr, nft, ipvs, .. } = self.planner.actual();
        if self.planner.status().role == "standing by" && *addr == Default::default() && *nft == Default::default() {
            let truth = self.node.model.state.ipvs.keys();
            self.strays.extend(truth.filter(|key| !ipvs.contains_key(key)));
        }
    }

    fn speaker_down(&mut self, died: bool) {
        self.node.silent = true;
        if died {
            self.node.model.state.bgp = None;
            self.node.model.sessions.clear();
            self.watchman.look_at_paths(&self.node.model.state, self.now);
        }
        let change = if died { Change::SpeakerGone } else { Change::SpeakerDown };
        self.change(change("no answer".into()));
    }

    fn speaker_up(&mut self) {
        self.node.silent = false;
        self.change(Change::SpeakerUp);
        self.tell_sessions();
    }

    /// One pass. Its steps wait for their executors.
    pub(crate) fn plan(&mut self) -> Vec<Step> {
        self.end_connections();
        let plan = self.planner.plan(self.now);
        let (kernel, speaker) = (&self.kernel.steps, &self.speaker.steps);
        let pending = || kernel.iter().chain(speaker).cloned().collect::<Vec<_>>();
        let moment = Moment {
            settings: &self.settings,
            planner: &self.planner,
            truth: &self.node.model.state,
            connections: &self.node.model.connections,
            pending: &pending,
            now: self.now,
        };
        self.watchman.planned(&plan.steps, &moment);
        self.spin_guard(&plan);
        self.wake_at = plan.wake_at;
        self.finished = plan.finished;
        self.saved = plan.saved.unwrap_or(self.saved);
        self.latencies += plan.latencies.len();
        self.seen.extend(plan.news.iter().map(|news| format!("{news} {news:?}")));
        self.seen.extend(plan.steps.iter().map(|step| format!("{step} {step:?}")));
        self.writes.extend(plan.steps.iter().filter(|step| !step.is_read()).map(Step::to_string));
        for step in &plan.steps {
            let lane = if is_for_speaker(step) { &mut self.speaker } else { &mut self.kernel };
            lane.steps.push_back(step.clone());
        }
        plan.steps
    }

    /// A planner that has nothing to do must not ask to be asked at once for ever.
    fn spin_guard(&mut self, plan: &Plan) {
        let waits = !self.is_quiet() || !plan.steps.is_empty() || plan.wake_at.is_none_or(|at| at > self.now);
        self.idle_passes = if waits { 0 } else { self.idle_passes + 1 };
        assert!(self.idle_passes < 4, "the planner spins at {:?}", self.now);
    }

    /// Is nothing under way?
    pub(crate) fn is_quiet(&self) -> bool {
        let lanes = [&self.kernel, &self.speaker];
        lanes.into_iter().all(|lane| lane.steps.is_empty() && lane.reports.is_empty())
    }

    /// An executor performs its next step; false if it has none.
    pub(crate) fn perform(&mut self, side: Side) -> bool {
        let lane = match side {
            Side::Kernel => &mut self.kernel,
            Side::Speaker => &mut self.speaker,
        };
        let Some(step) = lane.steps.pop_front() else { return false };
        self.end_connections();
        self.watchman.performing(&step, self.node.silent, &self.node.model.state);
        let outcome = self.node.perform(&step);
        if matches!(step, Step::AddPeer(..) | Step::DeletePeer(_) | Step::StopBgp) {
            self.follow_peers();
        }
        self.watchman.performed(&step, &outcome, &self.node.model.state, self.now);
        let lane = match side {
            Side::Kernel => &mut self.kernel,
            Side::Speaker => &mut self.speaker,
        };
        lane.reports.push_back(Report { step, outcome });
        true
    }

    /// The next report of an executor comes in; false if there is none.
    pub(crate) fn report(&mut self, side: Side) -> bool {
        let lane = match side {
            Side::Kernel => &mut self.kernel,
            Side::Speaker => &mut self.speaker,
        };
        let Some(report) = lane.reports.pop_front() else { return false };
        if report.step == Step::ListServers {
            self.note_others();
        }
        self.change(Change::Report(report));
        true
    }

    /// Passes, steps and reports until nothing is under way and a pass adds nothing.
    pub(crate) fn turn(&mut self) {
        for _ in 0..1000 {
            self.plan();
            if self.is_quiet() && self.wake_at.is_none_or(|at| at > self.now) {
                return;
            }
            for side in [Side::Kernel, Side::Speaker] {
                while self.perform(side) {}
                while self.report(side) {}
            }
        }
        panic!("no end of steps at one moment");
    }

    /// The agent works for so long.
    pub(crate) fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            self.turn();
            self.now = self.wake_at.unwrap_or(end).clamp(self.now, end);
        }
        self.turn();
    }

    /// Turns, and lets time pass, until the planner sleeps until the resync. Then the resync, and all that again.
    pub(crate) fn settle(&mut self) {
        for _ in 0..3 {
            for _ in 0..1000 {
                self.turn();
                match self.wake_at {
                    Some(at) if at < self.planner.next_resync() && !self.finished => self.now = self.now.max(at),
                    _ => break,
                }
            }
            assert!(self.finished || self.wake_at >= Some(self.planner.next_resync()), "no rest");
            if self.finished {
                return;
            }
            self.now = self.planner.next_resync();
        }
        self.turn();
    }

    /// All faults end: gobgpd answers, the node's addresses are there, nobody wants it to leave.
    pub(crate) fn heal(&mut self) {
        self.node.kernel_faults.clear();
        self.node.speaker_faults.clear();
        self.node.refused.clear();
        self.meddle(Meddling::AddressBack);
        self.act(Act::Drain(false));
        if self.node.silent {
            self.speaker_up();
        }
    }

    /// The role that the node has to have.
    fn assert_role(&self) -> String {
        let role = self.planner.status().role;
        let selector = &self.settings.node_selector;
        let allowed: &[&str] = match self.world.node() {
            _ if !self.settings.selects_by_labels() => &["serving"],
            Some(node) if selector.matches(&node.labels) => &["serving"],
            Some(_) => &["standing by"],
            // It depends on whether this agent has seen it.
            None if selector.is_empty() => &["serving", "frozen"],
            None => &["standing by", "frozen"],
        };
        assert!(allowed.contains(&role.as_str()), "{role}, not {allowed:?}");
        role
    }

    /// Nothing of ours is left, and what is somebody else's is as it was.
    fn assert_bare(&self) {
        let state = &self.node.model.state;
        assert!(state.ipvs.contains_key(&FOREIGN), "somebody else's virtual server is gone");
        let left: Vec<_> = state.ipvs.keys().filter(|key| !self.strays.contains(key) && **key != LEFT_BEHIND).collect();
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(state.addr, Default::default());
        assert_eq!(state.nft, Default::default());
        let bgp = state.bgp.clone().unwrap_or_default();
        let exclusive = self.settings.bgp.as_ref().is_some_and(|bgp| bgp.exclusive);
        let ours = |path: &&Prefix| exclusive || !self.watchman.stray_paths.contains(path);
        assert_eq!(bgp.paths.keys().find(ours), None);
        assert!(bgp.peers.is_empty() && bgp.rejected.is_none() && bgp.exports.is_none(), "{bgp:?}");
        assert!(self.planner.is_idle(), "{:?}", self.planner.status().failures);
    }

    /// Everything is as it should be, and what is somebody else's is as it was.
    pub(crate) fn assert_converged(&mut self) {
        match self.assert_role().as_str() {
            "serving" => self.assert_serving(),
            "standing by" => self.assert_bare(),
            // What an earlier agent left stays, whatever it is.
            _ => assert!(self.planner.is_idle(), "{:?}", self.planner.status().failures),
        }
    }

    fn assert_serving(&mut self) {
        let state = &self.node.model.state;
        let mut wanted = expected::kernel(&self.settings, &self.world);
        assert!(state.ipvs.contains_key(&FOREIGN), "somebody else's virtual server is gone");
        let mut ours = State { bgp: None, ..state.clone() };
        let in_force = expected::ranges(&self.settings, &self.world);
        let own = host().addresses;
        let in_range = |key: &ServerKey| {
            !own.contains(&key.address) && in_force.iter().any(|range| range.prefix.contains(key.address))
        };
        let wants = |key: &ServerKey| in_range(key) || wanted.ipvs.contains_key(key);
        ours.ipvs.retain(|key, _| wants(key) || !self.strays.contains(key) && *key != LEFT_BEHIND);
        assert_eq!(ours.ipvs, wanted.ipvs);
        assert_eq!(self.planner.desired_servers(), wanted.ipvs);
        if wanted.addr.link.is_none() {
            wanted.addr.link = ours.addr.link;
        }
        assert_eq!(ours.addr, wanted.addr);
        assert_eq!(ours.nft, wanted.nft);
        assert!(in_force.is_empty() || ours.timeouts == wanted.timeouts, "{:?}", ours.timeouts);
        for (name, value) in &wanted.sysctls {
            assert_eq!(ours.sysctls.get(name), Some(value), "{name}");
        }
        let settings = self.settings.bgp.as_ref().expect("BGP");
        let bgp = state.bgp.as_ref().expect("gobgpd");
        let peers = settings.peers_of(&self.world.labels());
        assert_eq!(bgp.global.map(|global| global.asn), Some(65001));
        assert_eq!(bgp.rejected, vipcast::plan::bgp::rejected(settings, &peers, bgp));
        assert_eq!(bgp.peers, peers.into_iter().map(|(name, entry)| (name, entry.peer)).collect());
        assert_eq!(bgp.exports, expected::exports(&self.settings, &self.world));
        let wanted = expected::paths(&self.settings, &self.world);
        let strays = &self.watchman.stray_paths;
        let is_stray = |prefix: &Prefix| !settings.exclusive && strays.contains(prefix) && !wanted.contains_key(prefix);
        let ours: BTreeMap<Prefix, Path> =
            bgp.paths.iter().filter(|(prefix, _)| !is_stray(prefix)).map(|(p, path)| (*p, path.clone())).collect();
        assert_eq!(ours, wanted);
        // Whatever was lost on the way to a peer has been sent again.
        let mut well = self.node.model.clone();
        well.send_paths(None);
        for (peer, sent) in &well.state.bgp.as_ref().expect("gobgpd").sent {
            for prefix in sent.keys().filter(|prefix| !is_stray(prefix)) {
                assert_eq!(bgp.sent[peer].get(prefix), sent.get(prefix), "{prefix} to {peer}");
            }
        }
        assert!(self.planner.is_idle(), "{:?}", self.planner.status().failures);
    }

    fn meddle(&mut self, meddling: Meddling) {
        let state = &mut self.node.model.state;
        let in_force = expected::ranges(&self.settings, &self.world);
        let meddled_range = in_force.iter().any(|range| range.prefix.contains(ip("10.96.0.1")));
        let nth = |count: usize, n: usize| if count == 0 { None } else { Some(n % count) };
        let ours: Vec<_> = state.ipvs.keys().copied().filter(|key| *key != FOREIGN).collect();
        let server = |n: usize| nth(ours.len(), n).map(|n| ours[n]);
        match meddling {
            Meddling::DeleteLink => state.addr = Default::default(),
            Meddling::LinkDown => {
                if let Some(link) = &mut state.addr.link {
                    *link = Link { up: false, ..*link };
                    state.addr.routes.retain(|prefix, _| prefix.address().is_ipv4());
                }
            }
            Meddling::DeleteRoutes => state.addr.routes.clear(),
            Meddling::DeleteTable => state.nft.table = None,
            Meddling::Stray => {
                if let Some(table) = &mut state.nft.table {
                    table.stray.insert("a rule".into());
                }
            }
            Meddling::LoseGuard => {
                if let Some(table) = &mut state.nft.table {
                    table.guard.clear();
                }
            }
            Meddling::LoseClassic => {
                let broken = std::mem::take(&mut state.nft.classic);
                state.nft.classic_broken.extend(broken);
            }
            Meddling::Sysctl => {
                if let Some(value) = state.sysctls.values_mut().next() {
                    *value = "0".into();
                }
            }
            Meddling::AddressGone => {
                self.node.model.host.addresses.remove(&ip("10.0.1.2"));
            }
            Meddling::AddressBack => {
                self.node.model.host.addresses.insert(ip("10.0.1.2"));
            }
            Meddling::DeleteServer(n) => drop(server(n).map(|key| state.ipvs.remove(&key))),
            Meddling::ChangeScheduler(n) => {
                if let Some(server) = server(n).and_then(|key| state.ipvs.get_mut(&key)) {
                    server.settings.scheduler = Scheduler::new("lc");
                }
            }
            Meddling::DeleteDestination(n) => {
                if let Some(server) = server(n).and_then(|key| state.ipvs.get_mut(&key)) {
                    server.destinations.pop_first();
                }
            }
            Meddling::AddDestination(n) => {
                if let Some(server) = server(n).and_then(|key| state.ipvs.get_mut(&key)) {
                    server.destinations.insert(endpoint("192.0.2.99", 99), DESTINATION);
                }
            }
            Meddling::AddServer if !meddled_range => {}
            Meddling::AddServer => {
                let server = state.ipvs[&FOREIGN].clone();
                state.ipvs.insert(tcp("10.96.0.1", 80), server);
                // Until it is seen, it is ours only as long as the range is.
                self.strays.insert(tcp("10.96.0.1", 80));
            }
            Meddling::DeletePath(n) => {
                if let Some(bgp) = &mut state.bgp {
                    let victim = nth(bgp.paths.len(), n).and_then(|n| bgp.paths.keys().nth(n).copied());
                    victim.map(|prefix| bgp.paths.remove(&prefix));
                }
            }
            Meddling::ChangePath(n) => {
                if let Some(bgp) = &mut state.bgp {
                    let victim = nth(bgp.paths.len(), n).and_then(|n| bgp.paths.values_mut().nth(n));
                    if let Some(path) = victim {
                        path.next_hop = NextHop::Address(ip("192.0.2.1"));
                    }
                }
            }
            Meddling::AddPath => {
                if let Some(bgp) = &mut state.bgp
                    && bgp.global.is_some()
                {
                    let path = Path::new(NextHop::Own);
                    bgp.paths.insert(foreign_path(), path);
                }
            }
            Meddling::DeletePeer => drop(state.bgp.as_mut().map(|bgp| bgp.peers.pop_first())),
            Meddling::AcceptImports => {
                if let Some(bgp) = &mut state.bgp {
                    bgp.rejected = None;
                }
            }
            Meddling::ChangeExports(theirs) => {
                if let Some(bgp) = state.bgp.as_mut().filter(|bgp| bgp.global.is_some()) {
                    let attributes = Attributes { med: Some(666), ..Attributes::default() };
                    let export = Export { attributes, ..Export::default() };
                    bgp.exports = theirs.then(|| BTreeMap::from([(ip("10.0.1.1"), export)]));
                }
            }
            Meddling::LoseUpdate(n) => drop(nth_update(state, n).map(|(sent, prefix)| sent.remove(&prefix))),
            Meddling::SpoilUpdate(n) => {
                if let Some(path) = nth_update(state, n).and_then(|(sent, prefix)| sent.get_mut(&prefix)) {
                    path.med = Some(667);
                }
            }
            Meddling::Flap => self.node.model.sessions.clear(),
        }
        self.watchman.meddle(match meddling {
            Meddling::DeleteServer(n)
            | Meddling::ChangeScheduler(n)
            | Meddling::DeleteDestination(n)
            | Meddling::AddDestination(n) => server(n),
            Meddling::AddServer => Some(tcp("10.96.0.1", 80)),
            _ => None,
        });
        match meddling {
            Meddling::DeletePath(_) | Meddling::ChangePath(_) | Meddling::AddPath | Meddling::ChangeExports(_) => {
                self.node.model.send_paths(None);
            }
            Meddling::DeletePeer => self.follow_peers(),
            Meddling::Flap => {
                for name in
                    self.planner.actual().bgp.iter().flat_map(|bgp| bgp.peers.keys().cloned()).collect::<Vec<_>>()
                {
                    self.change(Change::Session(name, Session::new(SessionState::Idle)));
                }
                self.follow_peers();
            }
            _ => {}
        }
        let known = self.planner.actual();
        if known.addr.routes.is_empty() || known.bgp.is_none() {
            self.note_strays();
        }
        self.watchman.look_at_paths(&self.node.model.state, self.now);
        match meddling {
            Meddling::Sysctl
            | Meddling::DeleteServer(_)
            | Meddling::ChangeScheduler(_)
            | Meddling::DeleteDestination(_)
            | Meddling::AddDestination(_)
            | Meddling::AddServer
            | Meddling::LoseUpdate(_)
            | Meddling::SpoilUpdate(_)
            | Meddling::Flap => {}
            Meddling::ChangeExports(_)
            | Meddling::DeletePath(_)
            | Meddling::ChangePath(_)
            | Meddling::AddPath
            | Meddling::DeletePeer
            | Meddling::AcceptImports => self.change(Change::SpeakerMoved),
            _ => self.change(Change::HostMoved),
        }
    }

    /// The agent is asked to leave, and does: true once it is done. Nothing but time passes beside it.
    pub(crate) fn leave(&mut self, leave: Leave) -> bool {
        self.change(Change::Leave(leave));
        for _ in 0..200 {
            self.turn();
            if self.finished {
                return true;
            }
            self.now = self.now.max(self.wake_at.unwrap_or(self.now));
        }
        false
    }

    /// The same while the kernel's executor does nothing at all.
    pub(crate) fn leave_with_stuck_kernel(&mut self, leave: Leave) -> bool {
        self.change(Change::Leave(leave));
        for _ in 0..200 {
            self.plan();
            if self.finished {
                // What gobgpd was still given has its effect.
                while self.perform(Side::Speaker) {}
                return true;
            }
            let mut moved = false;
            while self.perform(Side::Speaker) {}
            while self.report(Side::Speaker) {
                moved = true;
            }
            if !moved {
                self.now = self.now.max(self.wake_at.unwrap_or(self.now));
            }
        }
        false
    }
}

/// The nth of all that gobgpd sends.
fn nth_update(state: &mut State, n: usize) -> Option<(&mut BTreeMap<Prefix, Path>, Prefix)> {
    let all = state.bgp.iter().flat_map(|bgp| &bgp.sent);
    let all: Vec<(PeerName, Prefix)> =
        all.flat_map(|(peer, sent)| sent.keys().map(move |prefix| (peer.clone(), *prefix))).collect();
    let (peer, prefix) = all.get(n.checked_rem(all.len())?)?.clone();
    Some((state.bgp.as_mut()?.sent.get_mut(&peer)?, prefix))
}

/// Does it until there is nothing to do, but only so often.
fn while_so_often(count: usize, mut act: impl FnMut() -> bool) {
    for _ in 0..count {
        if !act() {
            return;
        }
    }
}

/// By what an agent that begins can tell what is ours: the ranges in force, and the local routes of our protocol.
fn local(settings: &Settings, state: &State, world: &World) -> Vec<Prefix> {
    let in_force = expected::ranges(settings, world).into_iter().map(|range| range.prefix);
    in_force.chain(state.addr.routes.keys().copied()).collect()
}

/// By what it can tell a NodePort on the node's own address: the configuration, and what the packet filter has for it.
fn is_node_port(settings: &Settings, state: &State, key: &ServerKey) -> bool {
    let configured = settings.dataplane.node_ports.as_ref().is_some_and(|ports| {
        let (first, last) = ports.ports;
        (first..=last).contains(&key.port) && ports.addresses.iter().any(|prefix| prefix.contains(key.address))
    });
    configured || state.nft.table.as_ref().is_some_and(|table| table.elements.masquerade.contains(key))
}

fn holds(prefixes: &[Prefix], address: IpAddr) -> bool {
    prefixes.iter().any(|prefix| prefix.contains(address))
}

/// A virtual server in a range, left by an earlier run.
const LEFT_BEHIND: ServerKey =
    ServerKey { address: IpAddr::V4(Ipv4Addr::new(10, 96, 0, 77)), protocol: Protocol::Tcp, port: 99 };

/// A path of somebody else's, outside all ranges.
pub(crate) fn foreign_path() -> Prefix {
    prefix("203.0.113.0/24")
}

fn any_side() -> impl Strategy<Value = Side> {
    select(vec![Side::Kernel, Side::Kernel, Side::Speaker])
}

fn any_meddling() -> impl Strategy<Value = Meddling> {
    let nth = || any::<Index>().prop_map(|index| index.index(100));
    let simple = vec![
        Meddling::DeleteLink,
        Meddling::LinkDown,
        Meddling::DeleteRoutes,
        Meddling::DeleteTable,
        Meddling::Stray,
        Meddling::LoseGuard,
        Meddling::LoseClassic,
        Meddling::Sysctl,
        Meddling::AddressGone,
        Meddling::AddressBack,
        Meddling::AddServer,
        Meddling::AddPath,
        Meddling::DeletePeer,
        Meddling::AcceptImports,
        Meddling::ChangeExports(true),
        Meddling::ChangeExports(false),
        Meddling::Flap,
    ];
    prop_oneof![
        14 => select(simple),
        1 => nth().prop_map(Meddling::DeleteServer),
        1 => nth().prop_map(Meddling::ChangeScheduler),
        1 => nth().prop_map(Meddling::DeleteDestination),
        1 => nth().prop_map(Meddling::AddDestination),
        1 => nth().prop_map(Meddling::DeletePath),
        1 => nth().prop_map(Meddling::ChangePath),
        1 => nth().prop_map(Meddling::LoseUpdate),
        1 => nth().prop_map(Meddling::SpoilUpdate),
    ]
}

/// Anything, faults and deaths included.
pub(crate) fn any_act() -> impl Strategy<Value = Act> {
    let faults = vec(select(Fault::ALL.to_vec()), 1..4);
    prop_oneof![
        12 => Just(Act::Plan),
        12 => (any_side(), 1..8_usize).prop_map(|(side, count)| Act::Perform(side, count)),
        12 => (any_side(), 1..8_usize).prop_map(|(side, count)| Act::Report(side, count)),
        6 => Just(Act::Turn),
        3 => (1..3000_u64).prop_map(Act::Wait),
        4 => Just(Act::Sleep),
        16 => any_happening().prop_map(Act::Happen),
        3 => (any_side(), faults).prop_map(|(side, faults)| Act::Fail(side, faults)),
        3 => any_meddling().prop_map(Act::Meddle),
        6 => any_connection(),
        2 => any::<bool>().prop_map(Act::Drain),
        1 => any::<bool>().prop_map(|died| Act::SpeakerDown { died }),
        1 => Just(Act::SpeakerUp),
        1 => Just(Act::SpeakerBlinks),
        1 => any_setup().prop_map(|setup| Act::Kill(Box::new(setup))),
    ]
}

/// What a run of the right kind is made of when nothing fails.
pub(crate) fn any_calm_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => Just(Act::Plan),
        4 => (any_side(), 1..8_usize).prop_map(|(side, count)| Act::Perform(side, count)),
        4 => (any_side(), 1..8_usize).prop_map(|(side, count)| Act::Report(side, count)),
        2 => Just(Act::Turn),
        1 => (1..3000_u64).prop_map(Act::Wait),
        1 => Just(Act::Sleep),
        6 => any_happening().prop_map(Act::Happen),
        3 => any_connection(),
    ]
}

/// A connection, short or longer than connections may drain.
fn any_connection() -> impl Strategy<Value = Act> {
    (0..100_usize, prop_oneof![1..3000_u64, 1000..200_000_u64]).prop_map(|(n, length)| Act::Connect(n, length))
}
