//! A client whose figures of an outage can be trusted.
//!
//! It opens connections at a steady rate, whatever becomes of the ones before, and holds others open with lines going to and
//! fro. One thread does all of it, so that it needs little of a machine whose reaction is measured; how long that thread
//! stood still is among its figures. All times are of the monotonic clock.

mod client;
mod figures;
mod pods;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

pub use self::figures::{Figures, QUIET};
pub use self::pods::SteadyPods;
use crate::Netns;

/// What the client does.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where all connections go.
    pub target: SocketAddr,
    /// Where they come from, in turn.
    pub sources: Vec<IpAddr>,
    /// The pause between the beginnings of two new connections.
    pub every: Duration,
    /// After how long without an answer a new connection has failed. Less than a second, after which the kernel sends a lost
    /// SYN again: so a connection fails when its first packets are lost.
    pub patience: Duration,
    /// How many connections are held open.
    pub open: usize,
    /// The pause between two lines on each of them.
    pub pause: Duration,
}

/// A try to connect and be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// When it began, since the client was started.
    pub at: Duration,
    /// How long it took.
    pub took: Duration,
    /// The address that the pod saw, which is that of the LB node; or what happened instead.
    pub outcome: Result<IpAddr, String>,
}

/// A connection that was held open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The LB node that it came by at first.
    pub by: IpAddr,
    /// When it ended otherwise than by the client, and how.
    pub broken: Option<(Duration, String)>,
    /// Since when it waits for a line to come back.
    pub waits_since: Option<Duration>,
}

/// All that the client met with.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The attempts, by when they began.
    pub attempts: Vec<Attempt>,
    /// The connections that were open.
    pub held: Vec<Held>,
}

/// The running client. Dropped, it stops.
#[derive(Debug)]
pub struct Steady {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<Result<()>>>>,
}

/// What client and owner share.
#[derive(Debug)]
struct Shared {
    started: Instant,
    stop: AtomicBool,
    seen: Mutex<Seen>,
}

impl Shared {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn with<R>(&self, work: impl FnOnce(&mut Seen) -> R) -> R {
        // What is in there is whole at all times.
        work(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Steady {
    /// Starts the client in a namespace. When this returns, all connections that are to be held are open.
    pub fn start(netns: &Netns, plan: Plan) -> Result<Self> {
        let shared = Arc::new(Shared { started: Instant::now(), stop: AtomicBool::new(false), seen: Mutex::default() });
        let (ready, is_ready) = mpsc::channel();
        let ours = shared.clone();
        let thread = netns.spawn(move || client::run(&ours, &plan, &ready))?;
        let client = Self { shared, thread: Some(thread) };
        match is_ready.recv() {
            Ok(()) => Ok(client),
            Err(_) => Err(client.stop().err().unwrap_or_else(|| anyhow!("the client ended"))),
        }
    }

    /// The time on the client's clock.
    pub fn now(&self) -> Duration {
        self.shared.now()
    }

    /// When the last attempt began that is known to have failed.
    pub fn last_failure(&self) -> Option<Duration> {
        self.shared.with(|seen| {
            let failed = seen.attempts.iter().filter(|attempt| attempt.outcome.is_err());
            failed.map(|attempt| attempt.at).max()
        })
    }

    /// How many connections wait for a line that they sent so long ago.
    pub fn waiting(&self, longer_than: Duration) -> usize {
        let now = self.now();
        self.shared.with(|seen| seen.held.iter().filter(|held| held.hangs(now, longer_than)).count())
    }

    /// Ends the client, attempts under way included, and answers what it met with.
    pub fn stop(mut self) -> Result<Seen> {
        self.end()?;
        let mut seen = self.shared.with(std::mem::take);
        seen.attempts.sort_by_key(|attempt| attempt.at);
        Ok(seen)
    }

    fn end(&mut self) -> Result<()> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread.join().map_err(|_| anyhow!("it panicked")).and_then(|ended| ended?).context("the steady client")
    }
}

impl Drop for Steady {
    fn drop(&mut self) {
        // What it met with is nobody's business any more.
        let _ = self.end();
    }
}

impl Held {
    /// Is it not known to be broken, and does it wait for a line that it sent so long ago?
    pub fn hangs(&self, now: Duration, longer_than: Duration) -> bool {
        self.broken.is_none() && self.waits_since.is_some_and(|since| now.saturating_sub(since) > longer_than)
    }
}
