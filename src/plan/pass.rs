//! One pass: from all that is known to the steps whose preconditions hold now.
//!
//! Forward order: kernel parameters, SNAT, virtual servers with their destinations, guard, link and local route,
//! read-back, announcement. A step is emitted once what it stands on is in *actual*; only destinations follow their
//! virtual server within one plan, since the kernel executor performs both in this order. Removal runs the other way:
//! what a route promised is removed when its withdrawal is confirmed and `withdrawDelay` has passed.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::Time;
use crate::model::bgp::SecretKey;
use crate::model::fleet::Standing;
use crate::model::ipvs::ServerKey;
use crate::model::orders::Orders;

use super::away::Saved;
use super::books::Part;
use super::change::Leave;
use super::explain::{Explanation, Unknown};
use super::health::Health;
use super::memory::Key;
use super::news::News;
use super::planner::{Planner, server_of};
use super::problem::Notice;
use super::proof::Probing;
use super::step::{Step, Target};
use super::{ipvs, sysctl};

/// What to do now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Steps, in order. Those of the kernel and those of gobgpd go to different executors.
    pub steps: Vec<Step>,
    /// When to ask again, if nothing changes until then.
    pub wake_at: Option<Time>,
    /// What an operator wants to read.
    pub news: Vec<News>,
    /// For each virtual server that a change of the cluster touched and that is as desired now: how long that took.
    pub latencies: Vec<Duration>,
    /// For each VIP whose route went out: how long after the change that made it wanted.
    pub route_latencies: Vec<Duration>,
    /// What the owners of objects can mend, for each object of which that changed.
    pub notices: Vec<Notice>,
    /// The health check ports, where something about them changed.
    pub health: Option<Health>,
    /// The explanations that were asked for and are ready.
    pub answers: Vec<Answer>,
    /// The Secrets that have to be told from now on, where they are others than before.
    pub secrets: Option<BTreeSet<SecretKey>>,
    /// What is to be probed, where that is something else than before.
    pub probing: Option<Probing>,
    /// What the speaker has to hold to from now on, where that is other than before.
    pub orders: Option<Orders>,
    /// What the next agent has to know, where that is something else than before.
    pub saved: Option<Saved>,
    /// How the node stands in its fleet, or that it is in none, where that is something else than before.
    pub standing: Option<Option<Standing>>,
    /// The agent may leave: all that it was asked to do before is done.
    pub finished: bool,
}

/// The answer to [`Change::Explain`](super::Change::Explain).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The number under which it was asked for.
    pub ticket: u64,
    /// The explanation.
    pub explanation: Result<Explanation, Unknown>,
}

/// How many steps each executor may have under way: enough to keep it busy, few enough that a withdrawal or an urgent
/// change never waits long behind them.
pub(super) const WINDOW: usize = 4096;

/// How many virtual servers may be under way being read: small beside writes, so that a change that arrives during a
/// resync waits for a few dumps only.
const READ_WINDOW: usize = 256;

/// The steps of one pass, and when the next is due.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) steps: Vec<Step>,
    latencies: Vec<Duration>,
    wake_at: Option<Time>,
}

impl Draft {
    pub(super) fn wake(&mut self, at: Time) {
        self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
    }
}

impl Planner {
    /// The steps whose preconditions hold at `now`. They count as under way until their reports come in.
    pub fn plan(&mut self, now: Time) -> Plan {
        // Leaving all as it is needs nothing but to leave.
        if self.leaving == Some(Leave::Keep) {
            return Plan { news: std::mem::take(&mut self.news), finished: true, ..Plan::default() };
        }
        let mut draft = Draft::default();
        let due = self.take_alarms(now);
        self.plan_resync(now);
        self.plan_departure(now, &mut draft);
        self.plan_readings(now, &mut draft);
        if self.derived && self.informed() {
            self.plan_brake(now, &mut draft);
            self.plan_sysctls(now, &mut draft);
            self.plan_timeouts(now, &mut draft);
            self.keep_refusing();
            self.plan_snat(now, &mut draft);
            self.plan_servers(now, &mut draft);
            self.plan_guard(now, &mut draft);
            self.plan_addr(now, &mut draft);
            self.plan_probe(now, &mut draft);
        }
        let probing = self.plan_probing();
        self.note_founded();
        self.plan_bgp(now, &mut draft);
        self.plan_return(now, &mut draft);
        // Before the readings: what is announced without BGP has to be read, too.
        let orders = self.plan_orders(now, &mut draft);
        self.plan_server_readings(now, &mut draft);
        self.plan_flows(now, &mut draft);
        self.forget_what_is_over(due);
        let held = self.servers.held_until.filter(|_| self.servers.adopted);
        let drained = self.servers.drains.next_alarm().filter(|_| self.servers.adopted);
        for next in [self.memory.next_alarm(), held, drained, Some(self.next_resync)].into_iter().flatten() {
            draft.wake(next);
        }
        let answers = self.answers(now, &mut draft);
        let finished = self.is_finished(now, &mut draft);
        let health = std::mem::take(&mut self.health_changed).then(|| self.health());
        let secrets = (self.wanted_secrets != self.asked_secrets).then(|| self.wanted_secrets.clone());
        self.asked_secrets.clone_from(&self.wanted_secrets);
        let (news, notices) = (std::mem::take(&mut self.news), std::mem::take(&mut self.notices));
        let route_latencies = std::mem::take(&mut self.speaker.latencies);
        self.note_counted_on();
        let (saved, standing) = (self.saved_anew(), self.standing_anew());
        let Draft { steps, wake_at, latencies } = draft;
        Plan {
            steps,
            wake_at,
            news,
            latencies,
            route_latencies,
            notices,
            health,
            answers,
            secrets,
            probing,
            orders,
            saved,
            standing,
            finished,
        }
    }

    /// Puts `step` into the draft, unless one about the same key is under way or has to wait after a failure. What was
    /// done before the last reading and is due again did not last, which is a failure too.
    pub(super) fn send(&mut self, step: Step, now: Time, draft: &mut Draft) -> bool {
        let key = step.key();
        if self.host.proof.remove(&key).is_some_and(|done| done == step) {
            self.fail(&step, "it was done, and did not last".to_owned(), false, now);
        }
        if !self.memory.may_try(&key, now) {
            return false;
        }
        self.memory.sent(key);
        draft.steps.push(step);
        true
    }

    /// Notes what has to be looked at again after a failure, and answers with the keys whose time has come.
    fn take_alarms(&mut self, now: Time) -> Vec<Key> {
        let drained = self.servers.drains.due(now);
        self.servers.todo.extend(drained);
        let due = self.memory.due(now);
        for key in &due {
            match key {
                Key::Server(server) | Key::Destination(server, _) => {
                    self.servers.todo.insert(*server);
                }
                Key::ServerReading(server) => {
                    self.servers.to_read.insert(*server);
                }
                Key::Flows(server, name) => {
                    self.servers.flows.insert((*server, *name));
                }
                Key::Path(prefix) | Key::Route(prefix) if prefix.is_host() => self.touch_vip(prefix.address()),
                _ => {}
            }
        }
        due
    }

    /// A failure is over when what failed was read back as done, or when nobody wants it any more at its time.
    fn forget_what_is_over(&mut self, due: Vec<Key>) {
        let proven = std::mem::take(&mut self.host.proof).into_keys();
        // Virtual servers may wait for their turn; they forget by themselves.
        let unasked = due.into_iter().filter(|key| {
            !matches!(key, Key::Server(_) | Key::Destination(..) | Key::ServerReading(_))
                && !self.memory.is_in_flight(key)
        });
        for key in proven.chain(unasked.collect::<Vec<_>>()) {
            self.memory.forget(&key);
        }
    }

    fn plan_resync(&mut self, now: Time) {
        if now >= self.next_resync {
            self.next_resync = now + self.settings.resync;
            let delay = self.settings.withdraw_delay;
            self.speaker.withdrawn.retain(|_, at| *at + delay > now);
            self.host.wanted = true;
            self.servers.listing_wanted = true;
            self.speaker.wanted = true;
        }
    }

    fn plan_readings(&mut self, now: Time, draft: &mut Draft) {
        let retry = !self.host.unread.is_empty();
        if (self.host.wanted || retry) && self.send(Step::ReadHost, now, draft) {
            self.host.wanted = false;
        }
        // Which virtual servers are ours depends on the routes too.
        let settled = self.derived && self.informed() && self.host.known.contains(&Part::Addr);
        if self.servers.listing_wanted && settled && self.send(Step::ListServers, now, draft) {
            self.servers.listing_wanted = false;
        }
        // Which paths of a shared gobgpd are ours depends on the routes; but who leaves does not wait for the kernel.
        let can_judge = self.is_exclusive() || self.host.known.contains(&Part::Addr) || self.leaving.is_some();
        if self.settings.bgp.is_some()
            && can_judge
            && self.speaker.down.is_none()
            && (self.speaker.wanted || self.actual.bgp.is_none())
            && self.send(Step::ReadSpeaker, now, draft)
        {
            self.speaker.wanted = false;
        }
    }

    fn plan_server_readings(&mut self, now: Time, draft: &mut Draft) {
        let window = if self.servers.adopted { READ_WINDOW } else { WINDOW };
        while self.servers.reading.len() < window {
            let Some(server) = self.servers.to_read.pop_first() else { break };
            if self.send(Step::ReadServer(server), now, draft) {
                self.servers.reading.insert(server);
            }
        }
        let all_read = self.servers.reading.is_empty() && self.servers.to_read.is_empty();
        if self.servers.listed && all_read && !self.servers.adopted {
            self.servers.adopted = true;
            draft.wake(now);
        }
    }

    fn plan_sysctls(&mut self, now: Time, draft: &mut Draft) {
        if !self.host.known.contains(&Part::Sysctls) {
            return;
        }
        let families = self.families();
        let first =
            self.host.facts.as_ref().map(|facts| sysctl::before_forwarding(&families, facts)).unwrap_or_default();
        let forwarding_waits = !first.is_empty();
        for (name, value) in first {
            if !self.has_sysctl(&name, &value) {
                self.send(Step::SetSysctl(name, value), now, draft);
            }
        }
        for (name, value) in self.desired_sysctls() {
            let waits = forwarding_waits && sysctl::is_ipv6_forwarding(&name);
            if !waits && !self.has_sysctl(&name, &value) {
                self.send(Step::SetSysctl(name, value), now, draft);
            }
        }
    }

    fn plan_timeouts(&mut self, now: Time, draft: &mut Draft) {
        let wanted = self.settings.dataplane.timeouts;
        let serves = !self.families().is_empty();
        if serves && self.host.known.contains(&Part::Timeouts) && self.actual.timeouts != Some(wanted) {
            self.send(Step::SetTimeouts(wanted), now, draft);
        }
    }

    fn plan_servers(&mut self, now: Time, draft: &mut Draft) {
        if !self.servers.adopted {
            return;
        }
        if self.servers.held_until.is_some_and(|until| until <= now) {
            self.servers.held_until = None;
            let held = std::mem::take(&mut self.servers.held);
            self.servers.todo.extend(held);
        }
        let mut under_way: usize = self.servers.busy.values().map(|count| *count as usize).sum();
        while under_way < WINDOW {
            let Some(server) = self.servers.todo.pop_first() else { break };
            under_way += self.plan_server(server, now, draft);
        }
    }

    /// Emits the steps for one virtual server and answers how many they are.
    fn plan_server(&mut self, key: ServerKey, now: Time, draft: &mut Draft) -> usize {
        let desired = self.ledger.server(&key);
        if let Some(desired) = &desired {
            self.servers.drains.wanted(&key, &desired.destinations);
        }
        // The last report of the steps under way puts it back among those to compare.
        if self.servers.busy.contains_key(&key) {
            return 0;
        }
        self.servers.unfiltered.remove(&key);
        self.want_elements(key);
        let surplus = desired.is_none() && self.actual.ipvs.contains_key(&key);
        // Whose it is may stand in what could not be understood at the start.
        if surplus && self.may_be_wanted(&key) {
            self.servers.held.insert(key);
            return 0;
        }
        let released = if surplus { self.released(key.address, now) } else { Ok(()) };
        if let Err(until) = released {
            self.servers.held_until = self.servers.held_until.into_iter().chain(until).min();
            self.servers.held.insert(key);
        }
        if released.is_err() && !self.may_refuse(&key) {
            return 0;
        }
        if self.memory.failure(&Key::Server(key)).is_some_and(|failure| failure.retry_at > now) {
            self.touch_vip(key.address);
            return 0;
        }
        let mut steps = ipvs::steps(key, desired.as_ref(), self.actual.ipvs.get(&key));
        if self.is_blind() {
            let all = steps.len();
            let claimed = self.servers.claimed.get(&key);
            steps.retain(|step| match step {
                Step::DeleteDestination(_, name) => claimed.is_some_and(|names| names.contains(name)),
                _ => true,
            });
            if steps.len() < all {
                self.servers.held.insert(key);
            }
        }
        if let Some(owner) = self.ledger.owner(&key) {
            self.servers.drains.own(key, Some(owner));
        } else if !self.actual.ipvs.contains_key(&key) {
            self.servers.drains.own(key, None);
        }
        let mut steps = if released.is_err() { self.refuse(key) } else { self.let_end(key, steps, now) };
        self.touch_vip(key.address);
        // Nobody gets in before the filter is there; who has to go does not wait.
        let lets_in = |step: &Step| match step {
            Step::AddServer(..) | Step::SetServer(..) | Step::AddDestination(..) => true,
            Step::SetDestination(_, _, value) => value.weight > 0,
            _ => false,
        };
        let waits = desired.is_some() && steps.iter().any(lets_in) && !self.is_filtered(&key);
        if waits {
            self.wait_for_filter(key, now);
            steps.retain(|step| !lets_in(step));
        }
        if waits && steps.is_empty() {
            return 0;
        }
        if steps.is_empty() {
            self.memory.forget_server(&key);
            draft.latencies.extend(self.servers.changed.remove(&key).map(|since| now - since));
            return 0;
        }
        let before = draft.steps.len();
        for step in steps {
            let about = step.key();
            if self.memory.failure(&about).is_none_or(|failure| failure.retry_at <= now) {
                self.memory.sent(about);
                draft.steps.push(step);
            }
        }
        let count = draft.steps.len() - before;
        if count > 0 {
            debug_assert!(draft.steps[before..].iter().all(|step| server_of(step) == Some(key)));
            self.servers.busy.insert(key, count as u32);
        }
        count
    }
}

/// Who performs the steps of `target`: gobgpd's executor, or the kernel's?
pub fn is_for_speaker(step: &Step) -> bool {
    step.target() == Target::Bgp
}
