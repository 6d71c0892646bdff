//! Traffic that goes on in the background while a lab changes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::client::{Answer, greeting, request_tcp};
use crate::Netns;

/// Something that went wrong under load.
#[derive(Clone, Debug)]
pub struct Failure {
    /// When, since the load began.
    pub at: Duration,
    /// Who had answered on this connection, if somebody had.
    pub connection: Option<Answer>,
    /// What happened.
    pub error: String,
}

/// TCP connections that stay open and exchange data all the time.
#[derive(Debug)]
pub struct LongLived {
    connections: Vec<Answer>,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What new connections met with.
#[derive(Clone, Debug, Default)]
pub struct ChurnReport {
    /// How many were tried.
    pub tried: usize,
    /// How many got an answer.
    pub answered: usize,
    /// The others.
    pub failures: Vec<Failure>,
}

/// New TCP connections all the time, one after another.
#[derive(Debug)]
pub struct Churn {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Result<()>>>,
}

#[derive(Debug)]
struct Shared {
    started: Instant,
    stop: AtomicBool,
    /// Rounds that went well: exchanges, or connections.
    good: AtomicUsize,
    failures: Mutex<Vec<Failure>>,
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            started: Instant::now(),
            stop: AtomicBool::new(false),
            good: AtomicUsize::new(0),
            failures: Mutex::new(Vec::new()),
        })
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn fail(&self, connection: Option<Answer>, error: &anyhow::Error) {
        let failure = Failure { at: self.started.elapsed(), connection, error: format!("{error:#}") };
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).push(failure);
    }

    fn failures(&self) -> Vec<Failure> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl LongLived {
    /// Opens `count` connections, each of which must be answered, then exchanges a line on each of them every `pause`.
    /// A line that takes longer than `timeout` to come back is a broken connection.
    pub fn start(netns: &Netns, target: SocketAddr, count: usize, pause: Duration, timeout: Duration) -> Result<Self> {
        let streams = netns.run(|| {
            (0..count)
                .map(|_| {
                    let stream = TcpStream::connect_timeout(&target, timeout);
                    let stream = stream.with_context(|| format!("connect to {target}"))?;
                    stream.set_nodelay(true)?;
                    let answer = greeting(&stream, timeout)?;
                    Ok((stream, answer))
                })
                .collect::<Result<Vec<_>>>()
        })??;
        let shared = Shared::new();
        let connections = streams.iter().map(|(_, answer)| answer.clone()).collect();
        let threads = streams
            .into_iter()
            .map(|(stream, answer)| {
                let shared = shared.clone();
                thread::spawn(move || {
                    if let Err(error) = converse(&shared, stream, pause) {
                        shared.fail(Some(answer), &error);
                    }
                })
            })
            .collect();
        Ok(Self { connections, shared, threads })
    }

    /// Who answered on each connection, and by which LB node.
    pub fn connections(&self) -> &[Answer] {
        &self.connections
    }

    /// Lines that came back, over all connections: a load whose count stands still proves nothing.
    pub fn exchanged(&self) -> usize {
        self.shared.good.load(Ordering::Relaxed)
    }

    /// The connections that broke so far.
    pub fn broken(&self) -> Vec<Failure> {
        self.shared.failures()
    }

    /// Ends the load and returns the connections that broke.
    pub fn stop(mut self) -> Vec<Failure> {
        self.end();
        self.shared.failures()
    }

    fn end(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for LongLived {
    fn drop(&mut self) {
        self.end();
    }
}

/// Exchanges lines until told to stop; the first that does not come back is the error.
fn converse(shared: &Shared, mut stream: TcpStream, pause: Duration) -> Result<()> {
    let mut round = 0_u64;
    while !shared.stopped() {
        let line = format!("{round:015}\n");
        let mut back = [0; 16];
        stream.write_all(line.as_bytes()).context("send on an open connection")?;
        stream.read_exact(&mut back).context("receive on an open connection")?;
        ensure!(back == *line.as_bytes(), "sent {line:?}, received {:?}", String::from_utf8_lossy(&back));
        shared.good.fetch_add(1, Ordering::Relaxed);
        round += 1;
        thread::sleep(pause);
    }
    Ok(())
}

impl Churn {
    /// Makes new connections from `threads` threads, each after the answer to the last one and a `pause`.
    pub fn start(
        netns: &Netns,
        target: SocketAddr,
        threads: usize,
        pause: Duration,
        timeout: Duration,
    ) -> Result<Self> {
        let shared = Shared::new();
        let worker = || {
            let shared = shared.clone();
            netns.spawn(move || {
                while !shared.stopped() {
                    match request_tcp(target, timeout) {
                        Ok(_) => drop(shared.good.fetch_add(1, Ordering::Relaxed)),
                        Err(error) => shared.fail(None, &error),
                    }
                    thread::sleep(pause);
                }
            })
        };
        let threads = (0..threads).map(|_| worker()).collect::<Result<_>>()?;
        Ok(Self { shared, threads })
    }

    /// What happened so far.
    pub fn report(&self) -> ChurnReport {
        let (answered, failures) = (self.shared.good.load(Ordering::Relaxed), self.shared.failures());
        ChurnReport { tried: answered + failures.len(), answered, failures }
    }

    /// Ends the load and returns what happened.
    pub fn stop(mut self) -> ChurnReport {
        self.end();
        self.report()
    }

    fn end(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Churn {
    fn drop(&mut self) {
        self.end();
    }
}
