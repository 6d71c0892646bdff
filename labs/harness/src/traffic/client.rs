//! Clients that ask once, and count.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::sctp as sockets;
use crate::Netns;

/// Requests under way at a time: enough that one that hangs does not hold up the rest.
const AT_ONCE: usize = 8;

/// What a server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The pod that answered.
    pub pod: String,
    /// The client that it saw: behind a masquerading LB node, that node.
    pub seen: SocketAddr,
}

/// The outcome of many requests.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// The answers.
    pub answers: Vec<Answer>,
    /// What the others met with.
    pub failures: Vec<String>,
}

impl Tally {
    /// Answers by pod.
    pub fn by_pod(&self) -> BTreeMap<String, usize> {
        count(self.answers.iter().map(|answer| answer.pod.clone()))
    }

    /// Answers by the client address that the pods saw.
    pub fn by_source(&self) -> BTreeMap<IpAddr, usize> {
        count(self.answers.iter().map(|answer| answer.seen.ip()))
    }
}

/// Opens `requests` TCP connections from a namespace, one after another in a few threads.
pub fn tcp(netns: &Netns, target: SocketAddr, requests: usize, timeout: Duration) -> Result<Tally> {
    many(netns, requests, || request_tcp(target, timeout))
}

/// Sends `requests` UDP requests from a namespace, each from a port of its own.
pub fn udp(netns: &Netns, target: SocketAddr, requests: usize, timeout: Duration) -> Result<Tally> {
    many(netns, requests, || request_udp(target, timeout))
}

/// Opens `requests` SCTP associations from a namespace.
pub fn sctp(netns: &Netns, target: SocketAddr, requests: usize, timeout: Duration) -> Result<Tally> {
    many(netns, requests, || request_sctp(target, timeout))
}

/// Sends `bytes` on each of `count` TCP connections and reads them back, which is a large download and as large an upload.
/// One that stands still for `timeout` has failed.
pub fn transfers(netns: &Netns, target: SocketAddr, count: usize, bytes: usize, timeout: Duration) -> Result<Tally> {
    many(netns, count, || transfer(target, bytes, timeout))
}

/// One TCP connection from this thread's namespace: connects, reads the answer, closes.
pub fn request_tcp(target: SocketAddr, timeout: Duration) -> Result<Answer> {
    let stream = TcpStream::connect_timeout(&target, timeout).with_context(|| format!("connect to {target}"))?;
    greeting(&stream, timeout)
}

/// One SCTP association from this thread's namespace.
pub fn request_sctp(target: SocketAddr, timeout: Duration) -> Result<Answer> {
    let stream = sockets::connect(target, timeout).with_context(|| format!("connect SCTP to {target}"))?;
    greeting(&stream, timeout)
}

fn transfer(target: SocketAddr, bytes: usize, timeout: Duration) -> Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&target, timeout).with_context(|| format!("connect to {target}"))?;
    let answer = greeting(&stream, timeout)?;
    stream.set_write_timeout(Some(timeout)).context("set up a socket")?;
    let mut upload = stream.try_clone().context("share a socket")?;
    thread::scope(|scope| {
        let sender = scope.spawn(move || {
            let block = [b'x'; 16 * 1024];
            (0..bytes)
                .step_by(block.len())
                .try_for_each(|sent| upload.write_all(&block[..block.len().min(bytes - sent)]))
        });
        let mut buffer = vec![0; 64 * 1024];
        let mut received = 0;
        while received < bytes {
            let count = stream.read(&mut buffer).with_context(|| format!("stuck after {received} of {bytes} bytes"))?;
            ensure!(count > 0, "closed after {received} of {bytes} bytes");
            received += count;
        }
        let sent = sender.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        sent.context("the upload is stuck")?;
        Ok(answer)
    })
}

/// One UDP request from this thread's namespace.
pub fn request_udp(target: SocketAddr, timeout: Duration) -> Result<Answer> {
    UdpFlow::from_here(target, timeout)?.ask()
}

/// A UDP client that keeps its port: to the network its requests are one flow.
#[derive(Debug)]
pub struct UdpFlow {
    socket: UdpSocket,
}

impl UdpFlow {
    /// A client in a namespace; an answer may take as long as `timeout`.
    pub fn open(netns: &Netns, target: SocketAddr, timeout: Duration) -> Result<Self> {
        netns.run(|| Self::from_here(target, timeout))?
    }

    fn from_here(target: SocketAddr, timeout: Duration) -> Result<Self> {
        let any: IpAddr = if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0)).context("open a UDP socket")?;
        socket.set_read_timeout(Some(timeout)).context("set up a socket")?;
        socket.connect(target).with_context(|| format!("connect UDP to {target}"))?;
        Ok(Self { socket })
    }

    /// One request and its answer.
    pub fn ask(&self) -> Result<Answer> {
        self.socket.send(b"who?\n").context("send a datagram")?;
        let mut buffer = [0; 512];
        let count = self.socket.recv(&mut buffer).context("no answer to a datagram")?;
        parse(&String::from_utf8_lossy(&buffer[..count]))
    }
}

/// Reads what a server says first.
pub(super) fn greeting(stream: &TcpStream, timeout: Duration) -> Result<Answer> {
    stream.set_read_timeout(Some(timeout)).context("set up a socket")?;
    let mut line = String::new();
    // Nothing is lost in the reader: a server says no more than this line before it is spoken to.
    BufReader::new(stream).read_line(&mut line).context("no answer on an open connection")?;
    parse(&line)
}

fn parse(line: &str) -> Result<Answer> {
    let (pod, seen) = line.trim_end().split_once(' ').with_context(|| format!("not an answer: {line:?}"))?;
    let seen = seen.parse().with_context(|| format!("not an answer: {line:?}"))?;
    Ok(Answer { pod: pod.to_owned(), seen })
}

fn many(netns: &Netns, requests: usize, request: impl Fn() -> Result<Answer> + Sync) -> Result<Tally> {
    let next = AtomicUsize::new(0);
    let worker = || {
        netns.run(|| {
            let mut tally = Tally::default();
            while next.fetch_add(1, Ordering::Relaxed) < requests {
                match request() {
                    Ok(answer) => tally.answers.push(answer),
                    Err(error) => tally.failures.push(format!("{error:#}")),
                }
            }
            tally
        })
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE.min(requests)).map(|_| scope.spawn(worker)).collect();
        let mut sum = Tally::default();
        for worker in workers {
            let part = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            sum.answers.extend(part.answers);
            sum.failures.extend(part.failures);
        }
        Ok(sum)
    })
}

fn count<K: Ord>(keys: impl Iterator<Item = K>) -> BTreeMap<K, usize> {
    let mut counts = BTreeMap::new();
    for key in keys {
        *counts.entry(key).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_pod_and_by_source() {
        let answers = ["w1a 10.0.1.2:4000\n", "w1a 10.0.2.2:4000\n", "w2a [fd00:1::2]:5\n"];
        let answers = answers.map(|line| parse(line).expect("an answer")).to_vec();
        let tally = Tally { answers, failures: Vec::new() };
        assert_eq!(tally.by_pod(), [("w1a".to_owned(), 2), ("w2a".to_owned(), 1)].into());
        let source = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert_eq!(
            tally.by_source(),
            [(source("10.0.1.2"), 1), (source("10.0.2.2"), 1), (source("fd00:1::2"), 1)].into()
        );
        assert!(parse("").is_err());
    }
}
