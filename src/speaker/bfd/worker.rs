//! The thread that all sessions run on.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::process::setpriority_process;
use tokio::sync::{mpsc as channel, oneshot};
use tracing::{debug, warn};

use super::finder::Finder;
use super::socket::{Listener, random};
use super::watched::Watched;
use super::{News, Saved, SavedSession};
use crate::model::Time;
use crate::model::bfd::{BfdStatus, Session};
use crate::model::bgp::PeerName;

/// The pause before a socket that could not be had is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// How long other sides get to agree to a stretched session.
const AGREE: Duration = Duration::from_secs(2);

/// How many datagrams of one socket are read before the clock is looked at again.
const BATCH: usize = 64;

/// The highest priority of those that are no real-time priorities.
const NICE: i32 = -20;

/// What the engine is told.
#[derive(Debug)]
pub(super) enum Order {
    /// There should be these sessions.
    Want(BTreeMap<PeerName, Session>),
    /// Who wants to hear of changes.
    Subscribe(channel::UnboundedSender<News>),
    /// How do the sessions stand?
    Snapshot(mpsc::Sender<BTreeMap<PeerName, BfdStatus>>),
    /// What does another process need to go on?
    Save(mpsc::Sender<Saved>),
    /// Other sides should wait for so long; the answer says who does not.
    Stretch(Option<Duration>, oneshot::Sender<BTreeSet<PeerName>>),
    /// Who is at the other end of an interface.
    Found(Arc<str>, Result<SocketAddrV6, String>),
    /// End, and say so to the other sides.
    Close,
    /// End.
    End,
}

/// The way to the thread: orders, and what wakes it.
#[derive(Debug, Clone)]
pub(super) struct Line {
    orders: mpsc::Sender<Order>,
    bell: Arc<OwnedFd>,
}

impl Line {
    pub(super) fn new() -> io::Result<(Line, mpsc::Receiver<Order>)> {
        let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (orders, receiver) = mpsc::channel();
        Ok((Line { orders, bell }, receiver))
    }

    /// Whoever ended hears nothing.
    pub(super) fn say(&self, order: Order) {
        if self.orders.send(order).is_ok() {
            let _ = rustix::io::write(&*self.bell, &1u64.to_ne_bytes());
        }
    }
}

/// Other sides are asked to wait.
struct Stretching {
    until: Time,
    answer: oneshot::Sender<BTreeSet<PeerName>>,
}

/// The thread's state.
pub(super) struct Worker {
    line: Line,
    orders: mpsc::Receiver<Order>,
    clock: Instant,
    /// What another process left, until the first sessions are wanted.
    inherited: BTreeMap<PeerName, SavedSession>,
    sessions: BTreeMap<PeerName, Watched>,
    listeners: BTreeMap<(IpAddr, u16), Result<Listener, String>>,
    listen_again: Option<Time>,
    finder: Option<Finder>,
    stretching: Option<Stretching>,
    subscribers: Vec<channel::UnboundedSender<News>>,
    /// What subscribers know.
    told: BTreeMap<PeerName, BfdStatus>,
}

impl Worker {
    pub(super) fn new(line: Line, orders: mpsc::Receiver<Order>, saved: Saved) -> Worker {
        Worker {
            line,
            orders,
            clock: Instant::now(),
            inherited: saved.sessions.into_iter().map(|saved| (saved.peer.clone(), saved)).collect(),
            sessions: BTreeMap::new(),
            listeners: BTreeMap::new(),
            listen_again: None,
            finder: None,
            stretching: None,
            subscribers: Vec::new(),
            told: BTreeMap::new(),
        }
    }

    /// Runs until told to end.
    pub(super) fn run(mut self) {
        // Of this thread alone. Without the capability SYS_NICE it takes its turn as everybody does.
        if let Err(error) = setpriority_process(None, NICE) {
            debug!("BFD runs without a higher priority: {error}");
        }
        loop {
            // What has arrived counts before what is missed: after a stall of this thread, both are there.
            let now = self.now();
            self.receive();
            loop {
                match self.orders.try_recv() {
                    Ok(Order::End) | Err(mpsc::TryRecvError::Disconnected) => return,
                    Ok(Order::Close) => {
                        self.sessions.values_mut().for_each(|session| session.say_farewell(now));
                        return;
                    }
                    Ok(order) => self.obey(order),
                    Err(mpsc::TryRecvError::Empty) => break,
                }
            }
            for session in self.sessions.values_mut() {
                while session.wake_at().is_some_and(|at| at <= now) {
                    session.wake(now);
                }
            }
            self.sessions.retain(|_, session| session.leaves().is_none_or(|at| at > now));
            if self.listen_again.is_some_and(|at| at <= now) {
                self.listen();
            }
            self.agree();
            self.tell();
            self.wait();
        }
    }

    fn now(&self) -> Time {
        Time(self.clock.elapsed())
    }

    /// Until something arrives, is ordered, or is due.
    fn wait(&self) {
        let due = self.sessions.values().flat_map(|session| [session.wake_at(), session.leaves()]);
        let stretching = self.stretching.as_ref().map(|stretching| stretching.until);
        let due = due.chain([self.listen_again, stretching]).flatten().min();
        let timeout = due.map(|at| at - self.now());
        let timeout = timeout.map(|time| Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(time.subsec_nanos()),
        });
        let listeners = self.listeners.values().flatten().map(Listener::as_fd);
        let mut fds: Vec<PollFd<'_>> =
            listeners.chain([self.line.bell.as_fd()]).map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        // An interruption is a reason to look, as any other.
        let _ = poll(&mut fds, timeout.as_ref());
        let _ = rustix::io::read(&*self.line.bell, &mut [0; 8]);
    }

    /// Reads what has arrived.
    fn receive(&mut self) {
        let mut room = Listener::room();
        for ((_, port), listener) in &self.listeners {
            let Ok(listener) = listener else { continue };
            for _ in 0..BATCH {
                match listener.receive(&mut room) {
                    Ok(Some(arrival)) => {
                        let session = self.sessions.values_mut().find(|session| session.is_with(arrival.from, *port));
                        match session {
                            Some(session) => session.receive(&arrival, Time(self.clock.elapsed())),
                            None => debug!(from = %arrival.from, "BFD: a packet of nobody's session"),
                        }
                    }
                    Ok(None) => break,
                    Err(error) => {
                        warn!("BFD: port {port} cannot be read: {error}");
                        break;
                    }
                }
            }
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Want(wanted) => self.want(wanted),
            Order::Subscribe(subscriber) => {
                self.tell();
                for (peer, status) in &self.told {
                    let _ = subscriber.send(News { peer: peer.clone(), status: Some(status.clone()) });
                }
                self.subscribers.push(subscriber);
            }
            Order::Snapshot(answer) => {
                let _ = answer.send(self.statuses());
            }
            Order::Save(answer) => {
                let now = self.now();
                let sessions = self.sessions.values().filter(|session| session.leaves().is_none());
                let _ = answer.send(Saved { sessions: sessions.filter_map(|session| session.saved(now)).collect() });
            }
            Order::Stretch(silence, answer) => {
                let now = self.now();
                self.sessions.values_mut().for_each(|session| session.stretch(silence, now));
                match silence {
                    Some(_) => self.stretching = Some(Stretching { until: now + AGREE, answer }),
                    None => drop(answer.send(BTreeSet::new())),
                }
            }
            Order::Found(interface, found) => {
                if let Some(session) = self.sessions.get_mut(&PeerName::Interface(interface)) {
                    session.found(found.map(SocketAddr::V6));
                }
                self.listen();
            }
            Order::Close | Order::End => {}
        }
    }

    fn want(&mut self, wanted: BTreeMap<PeerName, Session>) {
        let now = self.now();
        for (peer, session) in &mut self.sessions {
            if !wanted.contains_key(peer) {
                session.leave(now);
            }
        }
        for (peer, wanted) in wanted {
            match self.sessions.get_mut(&peer) {
                Some(session) if session.is_like(&wanted) => session.want(wanted, now),
                other => {
                    if let Some(session) = other {
                        session.say_farewell(now);
                        // That the next one is not up yet is not to be taken for a drop of this one.
                        self.sessions.remove(&peer);
                        self.tell();
                    }
                    let saved = self.inherited.remove(&peer);
                    let discriminator = self.discriminator();
                    let session = Watched::new(peer.clone(), wanted, saved.as_ref(), discriminator, now);
                    self.sessions.insert(peer, session);
                }
            }
        }
        self.inherited.clear();
        self.listen();
        self.find();
    }

    /// One that no session has, nor one that may be resumed.
    fn discriminator(&self) -> u32 {
        let running = self.sessions.values().map(Watched::discriminator);
        let saved = self.inherited.values().map(|saved| saved.session.my_discriminator);
        let taken: BTreeSet<u32> = running.chain(saved).chain([0]).collect();
        loop {
            let drawn = (random() >> 32) as u32;
            if !taken.contains(&drawn) {
                return drawn;
            }
        }
    }

    /// Has the sockets that the sessions need: one for all addresses of a family, unless every session of that family says
    /// which address is its own; then others may have theirs.
    fn listen(&mut self) {
        let mut needed: BTreeSet<(IpAddr, u16)> = self.sessions.values().filter_map(address_and_port).collect();
        let everywhere: BTreeSet<(IpAddr, u16)> =
            needed.iter().filter(|(ip, _)| ip.is_unspecified()).copied().collect();
        needed.retain(|(address, port)| {
            address.is_unspecified() || !everywhere.contains(&(unspecified(*address), *port))
        });
        self.listeners.retain(|key, listener| needed.contains(key) && listener.is_ok());
        for (address, port) in needed {
            self.listeners.entry((address, port)).or_insert_with(|| {
                Listener::open(address, port)
                    .map_err(|error| format!("no packet can be heard on {address}, port {port}: {error}"))
            });
        }
        let is_deaf = self.listeners.values().any(Result::is_err);
        self.listen_again = is_deaf.then(|| self.now() + AGAIN);
    }

    /// Looks for the other ends of interfaces.
    fn find(&mut self) {
        let interfaces: BTreeSet<Arc<str>> = self.sessions.keys().filter_map(interface).collect();
        if interfaces.is_empty() {
            self.finder = None;
            return;
        }
        if self.finder.is_none() {
            match Finder::start(self.line.clone()) {
                Ok(finder) => self.finder = Some(finder),
                Err(error) => warn!("BFD: nothing looks for the other ends of interfaces: {error}"),
            }
        }
        if let Some(finder) = &self.finder {
            finder.look_for(interfaces);
        }
    }

    /// Answers who asked for stretched sessions, once all agree or have had their time.
    fn agree(&mut self) {
        let others = self.sessions.iter().filter(|(_, session)| !session.is_stretched());
        let others: BTreeSet<PeerName> = others.map(|(peer, _)| peer.clone()).collect();
        let now = self.now();
        if let Some(stretching) = self.stretching.take_if(|it| others.is_empty() || it.until <= now) {
            let _ = stretching.answer.send(others);
        }
    }

    fn statuses(&self) -> BTreeMap<PeerName, BfdStatus> {
        let now = self.now();
        let wanted = self.sessions.iter().filter(|(_, session)| session.leaves().is_none());
        wanted.map(|(peer, session)| (peer.clone(), session.status(self.deaf(session), now))).collect()
    }

    /// Why a session hears nothing.
    fn deaf(&self, session: &Watched) -> Option<&str> {
        let (address, port) = address_and_port(session)?;
        let listener = self.listeners.get(&(address, port));
        let listener = listener.or_else(|| self.listeners.get(&(unspecified(address), port)));
        listener.and_then(|listener| listener.as_ref().err().map(String::as_str))
    }

    /// Tells subscribers what has changed. How long a session is damped changes all the time; that it is, counts.
    fn tell(&mut self) {
        let statuses = self.statuses();
        let plain = |status: &BfdStatus| BfdStatus { damped: status.damped.map(|_| Duration::ZERO), ..status.clone() };
        let mut news: Vec<News> = Vec::new();
        for peer in self.told.keys().filter(|peer| !statuses.contains_key(peer)) {
            news.push(News { peer: peer.clone(), status: None });
        }
        for (peer, status) in &statuses {
            if self.told.get(peer).map(plain) != Some(plain(status)) {
                news.push(News { peer: peer.clone(), status: Some(status.clone()) });
            }
        }
        self.subscribers.retain(|subscriber| {
            news.iter().all(|news| subscriber.send(news.clone()).is_ok()) && !subscriber.is_closed()
        });
        self.told = statuses;
    }
}

fn interface(peer: &PeerName) -> Option<Arc<str>> {
    match peer {
        PeerName::Interface(name) => Some(Arc::clone(name)),
        PeerName::Address(_) => None,
    }
}

/// Where a session listens.
fn address_and_port(session: &Watched) -> Option<(IpAddr, u16)> {
    let remote = session.remote()?;
    Some((session.local_address().unwrap_or_else(|| unspecified(remote.ip())), remote.port()))
}

fn unspecified(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}
