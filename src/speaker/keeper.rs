//! The keeper of the lease: hears the agent, probes when it is silent, and acts when the lease lapses.

mod clients;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::bfd::News;
use super::hands::Hands;
use super::lease::{Lease, Terms};
use super::reach::Ways;
use super::socket::{ClientId, Visit};
use super::store::{Kept, Store};
use super::wire::{FromSpeaker, Request, ToSpeaker};
use crate::model::Time;
use crate::model::bfd::BfdStatus;
use crate::model::bgp::PeerName;
use crate::model::lease::LeaseState;
use crate::model::orders::Orders;

/// The pause between probes, unless the lease is so short that it takes more of them.
const PROBE: Duration = Duration::from_secs(1);

/// The pause between attempts to withdraw.
const RETRY: Duration = Duration::from_secs(1);

/// A loop that turns so much later than it meant to did not get to run.
const STALL: Duration = Duration::from_secs(1);

/// How long after a stall a verdict is waited for.
const PARDON: Duration = Duration::from_secs(2);

/// What ended that was started beside the loop.
enum Done {
    /// A probe that was started then, with its verdict.
    Probe(Time, Result<(), String>),
    /// The withdrawal of so many routes.
    Withdrawal(usize),
    /// The restart of gobgpd that this client asked for.
    Restart(ClientId, Result<(), String>),
}

/// Who is connected.
struct Client {
    tell: mpsc::Sender<FromSpeaker>,
}

/// See the module.
pub(super) struct Keeper<H> {
    hands: H,
    store: Store,
    origin: Instant,
    lease: Lease,
    /// The state that was acted on last.
    settled: LeaseState,
    /// Was said that the lease would lapse with the agent?
    has_problem: bool,
    orders: Option<Orders>,
    clients: BTreeMap<ClientId, Client>,
    agent: Option<ClientId>,
    tasks: JoinSet<Done>,
    probing: bool,
    next_probe: Time,
    /// When it began to run again after a stall, the last time.
    stalled: Time,
    withdrawal: Option<AbortHandle>,
    /// How BFD sessions stand.
    bfd: BTreeMap<PeerName, BfdStatus>,
    /// What that means for BGP sessions.
    ways: Ways,
    /// Which of them are held down, as was said last, and why.
    held: BTreeMap<PeerName, String>,
}

impl<H: Hands> Keeper<H> {
    /// A keeper that goes on with what `store` holds, and where an earlier one `held` BGP sessions down.
    pub(super) fn new(hands: H, mut store: Store, held: BTreeSet<PeerName>) -> Keeper<H> {
        let kept = store.load().unwrap_or_else(|problem| {
            warn!("{problem}; nothing is known of earlier orders until an agent comes");
            None
        });
        let now = Time::ZERO;
        let lease = match &kept {
            Some(kept) => Lease::resumed(Terms::of(&kept.orders), kept.past(), now),
            None => Lease::new(now),
        };
        let mut keeper = Keeper {
            hands,
            store,
            origin: Instant::now(),
            settled: lease.state(),
            has_problem: false,
            lease,
            orders: kept.map(|kept| kept.orders),
            clients: BTreeMap::new(),
            agent: None,
            tasks: JoinSet::new(),
            probing: false,
            next_probe: now,
            stalled: now,
            withdrawal: None,
            bfd: BTreeMap::new(),
            // What the former speaker held is released too, where nothing watches it any more.
            held: held.iter().map(|peer| (peer.clone(), String::new())).collect(),
            ways: Ways::resumed(held, now),
        };
        if keeper.settled == LeaseState::Lapsed {
            // The former speaker may have been killed in the middle of it.
            keeper.withdraw();
        }
        keeper.command_sessions();
        keeper
    }

    /// Keeps the lease for ever. `news` tells of BFD sessions.
    pub(super) async fn keep(mut self, mut visits: mpsc::Receiver<Visit>, mut news: mpsc::UnboundedReceiver<News>) {
        let mut wake = None;
        loop {
            let now = self.now();
            if wake.is_some_and(|wake| wake + STALL < now) {
                self.awake(now);
                // What has arrived counts before what is missed.
                while let Ok(visit) = visits.try_recv() {
                    self.receive(visit);
                }
            }
            self.lease.judge(now);
            self.settle(now);
            self.settle_ways(now);
            let alarms = [self.prepare_probe(now), self.lease.wake_at(), self.ways.wake_at()];
            wake = alarms.into_iter().flatten().min();
            let sleep = async {
                match wake {
                    Some(wake) => tokio::time::sleep_until(self.origin + wake.0).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                visit = visits.recv() => match visit {
                    Some(visit) => self.receive(visit),
                    None => return,
                },
                Some(told) = news.recv() => self.learn(told),
                Some(done) = self.tasks.join_next() => {
                    if let Ok(done) = done {
                        self.finish(done);
                    }
                }
                () = sleep => {}
            }
        }
    }

    fn now(&self) -> Time {
        Time(self.origin.elapsed())
    }

    /// The speaker did not run for a while, as on a virtual machine that was paused: nothing that it missed counts.
    fn awake(&mut self, now: Time) {
        self.stalled = now;
        self.lease.pardon(now + PARDON);
    }

    /// Starts a probe if one is due; else answers when one is.
    fn prepare_probe(&mut self, now: Time) -> Option<Time> {
        let from = self.lease.probe_from().filter(|_| !self.probing)?.max(self.next_probe);
        if from > now {
            return Some(from);
        }
        let orders = self.orders.as_ref()?;
        self.next_probe = now + PROBE.min(orders.ttl / 4);
        self.probing = true;
        let (hands, canaries) = (self.hands.clone(), orders.canaries.clone());
        self.tasks.spawn(async move { Done::Probe(now, hands.probe(canaries).await) });
        None
    }

    fn finish(&mut self, done: Done) {
        match done {
            Done::Probe(asked, verdict) => {
                self.probing = false;
                // One that failed over a stall was late by the stall.
                if asked >= self.stalled || verdict.is_ok() {
                    self.lease.probed(verdict, self.now());
                }
            }
            Done::Withdrawal(count) => {
                self.withdrawal = None;
                info!(routes = count, "withdrawn: nothing of ours is announced any more");
            }
            Done::Restart(id, result) => self.answer(id, result.err()),
        }
    }

    fn receive(&mut self, visit: Visit) {
        match visit {
            Visit::Came(id, hello, tell) => {
                self.clients.insert(id, Client { tell });
                if hello.agent {
                    info!(version = hello.version, "an agent has connected");
                    // There is one agent in a runtime folder: an earlier connection is that of one that hangs or is dead.
                    if let Some(former) = self.agent.replace(id) {
                        self.clients.remove(&former);
                    }
                    self.lease.connected(true, self.now());
                    self.report(id);
                }
            }
            Visit::Said(id, said) => self.hear(id, *said),
            Visit::Left(id) => {
                self.clients.remove(&id);
                if self.agent == Some(id) {
                    self.agent = None;
                    warn!("the agent is gone");
                    self.lease.connected(false, self.now());
                    if self.lease.state() == LeaseState::Lapsed {
                        // It may have announced, and did not live to vouch for that.
                        self.withdraw();
                    }
                }
            }
        }
    }

    fn hear(&mut self, id: ClientId, said: ToSpeaker) {
        let ToSpeaker { hello: _, orders, renewal, request } = said;
        if self.agent == Some(id) {
            let now = self.now();
            if let Some(orders) = orders {
                let orders = orders.after(self.orders.as_ref());
                self.lease.order(Terms::of(&orders), now);
                self.orders = Some(orders);
                self.command_sessions();
                self.save(now);
            }
            if let Some(renewal) = renewal {
                self.lease.renew(renewal.objection.map_or(Ok(()), Err), now);
                self.tell(id, FromSpeaker { renewed: true, ..FromSpeaker::default() });
            }
        } else if orders.is_some() || renewal.is_some() {
            let problem = "orders and renewals are taken from the agent that has connected last".to_owned();
            self.tell(id, FromSpeaker { problem: Some(problem), ..FromSpeaker::default() });
        }
        match request {
            None => {}
            Some(Request::Report) => {
                self.report(id);
                self.answer(id, None);
            }
            Some(Request::RestartGobgpd) => self.restart_gobgpd(id, true),
            Some(Request::ResetGobgpd) => self.restart_gobgpd(id, false),
            Some(Request::Unknown) => {
                self.answer(id, Some("this speaker does not know that request: it is older than you".to_owned()));
            }
        }
    }

    /// Has gobgpd restarted for a client: the agent tells the next one what the former one held.
    fn restart_gobgpd(&mut self, id: ClientId, graceful: bool) {
        let is_graceful = self.orders.as_ref().is_some_and(|orders| orders.graceful_restart);
        let obstacle = if self.agent.is_none() {
            Some("no agent is connected, which would tell the next gobgpd its peers and routes")
        } else if graceful && !is_graceful {
            Some("bgp.gracefulRestart is off, so all sessions would end and the routes with them; --force does it")
        } else {
            None
        };
        if let Some(obstacle) = obstacle {
            self.answer(id, Some(obstacle.to_owned()));
            return;
        }
        let hands = self.hands.clone();
        self.tasks.spawn(async move { Done::Restart(id, hands.restart_gobgpd(graceful).await) });
    }

    /// Acts on a change of the lease.
    fn settle(&mut self, now: Time) {
        let state = self.lease.state();
        self.settle_problem(state, now);
        if state == self.settled {
            return;
        }
        let was = std::mem::replace(&mut self.settled, state);
        let reason = self.lease.reason().unwrap_or_default();
        match state {
            LeaseState::Unknown => {}
            LeaseState::Held => info!("the lease is held: the agent vouches for the data plane"),
            LeaseState::Static => {
                let end = self.lease.until().map_or(0, |until| until.since(now).as_secs());
                error!("fail static: {reason}; all stays as it is while the probe passes, for {end} s at most");
            }
            LeaseState::Lapsed => error!("the lease has lapsed: {reason}; what is announced is withdrawn"),
        }
        if state == LeaseState::Lapsed {
            self.withdraw();
        } else if let Some(withdrawal) = self.withdrawal.take() {
            withdrawal.abort();
        }
        if (state == LeaseState::Lapsed) != (was == LeaseState::Lapsed) {
            self.command_sessions();
        }
        self.save(now);
        self.tell_lease(now);
    }

    /// A BFD session changed.
    fn learn(&mut self, News { peer, status }: News) {
        let Some(status) = status else {
            self.bfd.remove(&peer);
            self.ways.begin_anew(&peer);
            return;
        };
        if self.orders.as_ref().is_some_and(|orders| !orders.announced_by.contains(&peer)) {
            let now = self.now();
            self.ways.hear(&peer, &status, now);
        }
        let bfd = Some([(peer.clone(), status.clone())].into());
        self.tell_agent(FromSpeaker { bfd, ..FromSpeaker::default() });
        self.bfd.insert(peer, status);
    }

    /// Acts on what BFD says of the ways to BGP peers.
    fn settle_ways(&mut self, now: Time) {
        let held = self.ways.held(now);
        if held != self.held {
            self.held = held;
            self.tell_agent(FromSpeaker { held: Some(self.held.clone()), ..FromSpeaker::default() });
            self.hands.hold_peers(self.held.clone());
        }
    }

    /// Has everything withdrawn that is ours, and goes on until that is so.
    fn withdraw(&mut self) {
        let Some(orders) = self.orders.as_ref().filter(|_| self.withdrawal.is_none()) else { return };
        let (hands, owned, patience) = (self.hands.clone(), orders.owned.clone(), orders.ttl);
        let withdrawal = self.tasks.spawn(async move {
            let mut said = None;
            loop {
                let problem = match tokio::time::timeout(patience, hands.withdraw(owned.clone())).await {
                    Ok(Ok(count)) => return Done::Withdrawal(count),
                    Ok(Err(problem)) => problem,
                    Err(_) => {
                        hands.end_gobgpd().await;
                        format!("gobgpd does not answer within {} ms", patience.as_millis())
                    }
                };
                // Said once, not on every attempt.
                if said.as_ref() != Some(&problem) {
                    error!("cannot withdraw: {problem}; trying again");
                    said = Some(problem);
                }
                tokio::time::sleep(RETRY).await;
            }
        });
        self.withdrawal = Some(withdrawal);
    }

    /// Says which BFD sessions there should be.
    fn command_sessions(&mut self) {
        let Some(orders) = &self.orders else { return };
        let watched = orders.bfd.keys().filter(|peer| !orders.announced_by.contains(*peer)).cloned().collect();
        self.ways.keep(&watched);
        let lapsed = self.lease.state() == LeaseState::Lapsed;
        self.hands.want_sessions(if lapsed { orders.withdrawn() } else { orders.bfd.clone() });
    }

    fn save(&mut self, now: Time) {
        let Some(orders) = self.orders.clone() else { return };
        let silent = matches!(self.lease.state(), LeaseState::Static | LeaseState::Lapsed);
        let kept = Kept {
            orders,
            silent_since: silent.then(|| before(self.lease.silence(now))),
            lapse: self.lease.reason().filter(|_| self.lease.state() == LeaseState::Lapsed),
        };
        if let Err(problem) = self.store.save(kept) {
            warn!("{problem}; a speaker that is started without an agent will not know the last orders");
        }
    }
}

/// So long before now, in seconds since 1970.
fn before(time: Duration) -> i64 {
    Timestamp::now().as_second().saturating_sub_unsigned(time.as_secs())
}

#[cfg(test)]
mod tests;
