//! A model of a node: it performs steps on a [`State`] as the kernel and gobgpd would. `vipcast plan` rehearses on it
//! what `run` would do, and the tests of the planner run against it; a test holds it against the real kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::addr::LocalRoute;
use crate::model::bgp::{PeerName, Session};
use crate::model::canary::{Canary, Fault};
use crate::model::ipvs::{Connections, ServerKey, ServerSettings};
use crate::model::node::Host;
use crate::model::traffic::Count;
use crate::model::{Family, Prefix, State, Time};

use super::bgp::sent;
use super::change::Change;
use super::enact::enact;
use super::explain::{Asked, Explanation, Unknown};
use super::news::News;
use super::planner::Planner;
use super::proof::Probing;
use super::step::{Executor, HostReading, Observation, Outcome, Report, Step, Target};
use super::sysctl;

/// A node that exists in memory only.
#[derive(Debug, Clone, Default)]
pub struct ModelNode {
    /// Everything on it that is ours or looks like it.
    pub state: State,
    /// Facts about it.
    pub host: Host,
    /// The connections of its virtual servers. They do not end by themselves.
    pub connections: BTreeMap<ServerKey, Connections>,
    /// How many connections have come to each virtual server.
    pub arrived: BTreeMap<ServerKey, u64>,
    /// The sessions of gobgpd's peers. A peer without one is sent nothing.
    pub sessions: BTreeMap<PeerName, Session>,
}

impl ModelNode {
    /// Performs one step.
    pub fn perform_one(&mut self, step: &Step) -> Outcome {
        match step {
            Step::ReadHost => {
                let State { sysctls, addr, nft, timeouts, .. } = self.state.clone();
                let (sysctls, addr, nft) = (Ok(sysctls), Ok(addr), Ok(nft));
                let reading = HostReading { sysctls, addr, nft, timeouts: Ok(timeouts), host: Ok(self.host.clone()) };
                Outcome::Read(Observation::Host(Box::new(reading)))
            }
            Step::ListServers => {
                let servers = self.state.ipvs.iter().map(|(key, server)| (*key, server.settings.clone()));
                Outcome::Read(Observation::Servers(servers.collect::<BTreeMap<ServerKey, ServerSettings>>()))
            }
            Step::ReadServer(key) => {
                let server = self.state.ipvs.get(key).cloned();
                let known = self.connections.get(key).filter(|_| server.is_some());
                Outcome::Read(Observation::Server(server, known.cloned().unwrap_or_default()))
            }
            Step::ReadTraffic => {
                let counted = self.state.ipvs.keys().filter_map(|key| Some((*key, self.connections.get(key)?)));
                let open = |connections: &Connections| connections.iter().map(|(_, count)| count).sum();
                let total = |key: &ServerKey| self.arrived.get(key).copied().unwrap_or_default();
                let counts = counted
                    .map(|(key, known)| (key, Count { total: total(&key), packets: total(&key), open: open(known) }));
                Outcome::Read(Observation::Traffic(counts.collect()))
            }
            Step::ReadSpeaker => {
                Outcome::Read(Observation::Speaker(Box::new(self.state.bgp.clone().unwrap_or_default())))
            }
            Step::ReadSent(peer, prefixes) => {
                let sent = self.state.bgp.as_ref().and_then(|bgp| bgp.sent.get(peer)).cloned().unwrap_or_default();
                let asked = sent.into_iter().filter(|(prefix, _)| prefixes.contains(prefix));
                Outcome::Read(Observation::Sent(Some(asked.collect())))
            }
            Step::SetSysctl(name, value) => {
                if let Some(link) = sysctl::accept_ra_of(name).filter(|_| value == "2") {
                    self.host.router_advertised_links.remove(link);
                }
                enact(&mut self.state, step)
            }
            Step::SetRoute(prefix, LocalRoute { source: Some(source), .. })
                if !self.host.addresses.contains(source) && self.takes_routes(prefix.family()) =>
            {
                Outcome::Refused(format!("{source} is no address of this node"))
            }
            Step::DeleteServer(key) => {
                self.connections.remove(key);
                enact(&mut self.state, step)
            }
            Step::DeleteDestination(key, name) => {
                self.connections.entry(*key).or_default().set(*name, 0);
                enact(&mut self.state, step)
            }
            step if step.target() == Target::Bgp => {
                let outcome = enact(&mut self.state, step);
                match step {
                    Step::Announce(prefix, _) | Step::Withdraw(prefix) => self.send_paths(Some(*prefix)),
                    _ => self.send_paths(None),
                }
                outcome
            }
            step => enact(&mut self.state, step),
        }
    }

    /// gobgpd sends its peers what it holds for `prefix`, or all that it holds.
    pub fn send_paths(&mut self, prefix: Option<Prefix>) {
        let Some(bgp) = &mut self.state.bgp else { return };
        let Some(global) = bgp.global else { return };
        let is_up = |name: &PeerName| self.sessions.get(name).is_some_and(Session::is_established);
        bgp.sent.retain(|name, _| is_up(name) && bgp.peers.contains_key(name));
        for (name, peer) in &bgp.peers {
            let Some(session) = self.sessions.get(name).filter(|session| session.is_established()) else { continue };
            let export = name.address().and_then(|address| bgp.exports.as_ref()?.get(&address));
            let sent = bgp.sent.entry(name.clone()).or_default();
            let prefixes: BTreeSet<Prefix> = match prefix {
                Some(prefix) => [prefix].into(),
                None => bgp.paths.keys().chain(sent.keys()).copied().collect(),
            };
            for prefix in prefixes {
                let path = bgp.paths.get(&prefix);
                match path.and_then(|path| sent::expected(prefix, path, global.asn, peer, export, session)) {
                    Some(path) => sent.insert(prefix, path),
                    None => sent.remove(&prefix),
                };
            }
        }
    }

    /// What a probe of `canary` finds.
    ///
    /// # Errors
    /// What is missing, in words.
    pub fn probe(&self, canary: &Canary) -> Result<(), String> {
        let State { addr, nft, ipvs, .. } = &self.state;
        let vip = Prefix::host(canary.vip);
        let link = addr.probe.as_ref().filter(|link| link.paired && link.ready);
        let server = ipvs.get(&canary.server());
        let has = |set: &BTreeSet<Prefix>| set.iter().any(|range| range.covers(vip));
        let translated =
            nft.classic.contains(&canary.family()) || nft.table.as_ref().is_some_and(|table| has(&table.masquerade));
        if !link.is_some_and(|link| link.routes.iter().any(|route| route.contains(canary.destination))) {
            Err("there is no way to the destination".to_owned())
        } else if !addr.routes.keys().any(|route| route.covers(vip)) {
            Err("the VIP is not local".to_owned())
        } else if !server.is_some_and(|server| server.destinations.values().any(|value| value.weight > 0)) {
            Err("there is no virtual server".to_owned())
        } else if canary.masqueraded && !translated {
            Err("there is no source NAT".to_owned())
        } else {
            Ok(())
        }
    }

    /// Is the link such that a route of `family` can lead over it?
    fn takes_routes(&self, family: Family) -> bool {
        self.state.addr.link.is_some_and(|link| link.dummy && (link.up || family == Family::Ipv4))
    }
}

impl Executor for ModelNode {
    async fn perform(&mut self, steps: Vec<Step>) -> Vec<Report> {
        steps
            .into_iter()
            .map(|step| {
                let outcome = self.perform_one(&step);
                Report { step, outcome }
            })
            .collect()
    }
}

/// What happens at one moment of a rehearsal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// When, counted from the start.
    pub after: Duration,
    /// The steps that change something, in order.
    pub steps: Vec<Step>,
    /// What an operator would read in the log.
    pub news: Vec<News>,
}

/// How many passes a rehearsal may take: far more than any plan needs, so that a mistake ends it too.
const MOST_PASSES: usize = 100_000;

/// Lets `planner` and `node` play until nothing is left to do before the next resync. Time passes only while something
/// waits for it. Answers with the stages at which something changed, and the time at the end.
pub fn rehearse(planner: &mut Planner, node: &mut ModelNode, start: Time) -> (Vec<Stage>, Time) {
    let mut stages = Vec::new();
    let mut now = start;
    let mut probing = Probing::default();
    for _ in 0..MOST_PASSES {
        let resync = planner.next_resync();
        let plan = planner.plan(now);
        probing = plan.probing.unwrap_or(probing);
        let mut stage = Stage { after: now - start, steps: Vec::new(), news: plan.news };
        let idle = plan.steps.is_empty();
        for step in plan.steps {
            let outcome = node.perform_one(&step);
            if !step.is_read() {
                stage.steps.push(step.clone());
            }
            planner.apply(Change::Report(Report { step, outcome }), now);
        }
        if !stage.steps.is_empty() || !stage.news.is_empty() {
            stages.push(stage);
        }
        // Probes cost no time here, and are not repeated once they have told something.
        let open: Vec<Canary> = probing.canaries.iter().copied().filter(|canary| planner.is_open(canary)).collect();
        for canary in &open {
            planner.apply(Change::Probe(*canary, node.probe(canary).map_err(Fault::Broken)), now);
        }
        match plan.wake_at {
            _ if !idle || !open.is_empty() => {}
            Some(at) if at <= now => {}
            Some(at) if at < resync && !plan.finished => now = at,
            _ => break,
        }
    }
    (stages, now)
}

/// Lets `planner` read all of `node`, and performs nothing.
pub fn look(planner: &mut Planner, node: &mut ModelNode, now: Time) {
    for _ in 0..MOST_PASSES {
        let plan = planner.plan(now);
        if !read(planner, node, plan.steps, now) {
            return;
        }
    }
}

/// Asks `planner` for an explanation, with readings of `node` where it wants them; nothing else is performed.
///
/// # Errors
/// If nothing is known by that name.
pub fn ask(planner: &mut Planner, node: &mut ModelNode, asked: Asked, now: Time) -> Result<Explanation, Unknown> {
    planner.apply(Change::Explain(0, asked), now);
    let mut now = now;
    for _ in 0..MOST_PASSES {
        let mut plan = planner.plan(now);
        if let Some(answer) = plan.answers.pop() {
            return answer.explanation;
        }
        if !read(planner, node, plan.steps, now) {
            now = plan.wake_at.unwrap_or(now);
        }
    }
    Err(Unknown::new("there is no answer"))
}

/// Performs those of `steps` that only look, and tells `planner`; false if there is none.
fn read(planner: &mut Planner, node: &mut ModelNode, steps: Vec<Step>, now: Time) -> bool {
    let mut any = false;
    for step in steps.into_iter().filter(Step::is_read) {
        any = true;
        let outcome = node.perform_one(&step);
        planner.apply(Change::Report(Report { step, outcome }), now);
    }
    any
}
