//! What programming virtual servers costs, beside the least that it can cost on the same kernel in the same run.
//!
//! Times in a virtual machine are emulated time: only their ratios say something. Run it as root on a kernel with IPVS,
//! or by `vipcast-lab vm -- BINARY`.

#![allow(clippy::unwrap_used, reason = "a measurement that goes wrong has no result")]

mod agent;

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Parser;
use neli::consts::socket::{Msg, NlFamily};
use neli::socket::NlSocket;
use neli::utils::Groups;
use vipcast::apply::ipvs::{BATCH, Ipvs, codec};
use vipcast::apply::netlink::{Batch, Load, Messages, Socket};
use vipcast::model::ipvs::{
    Destination, DestinationKey, Forwarding, Protocol, Scheduler, ServerFlags, ServerKey, ServerSettings,
};
use vipcast::plan::step::{Outcome, Step};
use vipcast_lab::Netns;

/// How many steps the daemon hands to an executor at once.
const PIECE: usize = 256;

/// Measures a cold start: an empty kernel gets all virtual servers and destinations.
#[derive(Parser)]
struct Arguments {
    /// How many Services, each with one virtual server.
    #[arg(long, default_value_t = 10_000)]
    services: u32,
    /// How many destinations each has.
    #[arg(long, default_value_t = 10)]
    destinations: u32,
    /// The Services that `ipvsadm` gets; its time is extrapolated from them.
    #[arg(long, default_value_t = 1_000)]
    ipvsadm_services: u32,
    /// How often everything is measured; the best counts.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// What `cargo bench` passes to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// The load of one measurement.
#[derive(Clone, Copy)]
struct Scale {
    services: u32,
    destinations: u32,
}

impl Scale {
    /// Virtual servers and destinations together.
    fn objects(self) -> u32 {
        self.services * (1 + self.destinations)
    }
}

/// A way to program the load.
struct Measurement {
    name: &'static str,
    scale: Scale,
    run: fn(Scale) -> Duration,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(reason) = missing() {
        println!("SKIPPED bench ipvs: {reason}");
        return ExitCode::SUCCESS;
    }
    let scale = Scale { services: arguments.services, destinations: arguments.destinations };
    let small = Scale { services: arguments.ipvsadm_services.min(scale.services), ..scale };
    let measurements = [
        Measurement { name: "netlink floor", scale, run: netlink_floor },
        Measurement { name: "Ipvs::perform", scale, run: perform },
        Measurement { name: "agent", scale, run: agent::cold_start },
        Measurement { name: "ipvsadm -R", scale: small, run: ipvsadm },
    ];
    // A namespace to be kept: tokio opens its sockets for signals in the first one that it is used in.
    let _first = Netns::new().unwrap();
    // Round by round, each begun by another, so that whatever else the machine does disturbs all alike.
    let mut best = [Duration::MAX; 4];
    for round in 0..arguments.rounds as usize {
        for turn in 0..measurements.len() {
            let index = (round + turn) % measurements.len();
            let Measurement { scale, run, .. } = measurements[index];
            best[index] = in_empty_kernel(|| run(scale)).min(best[index]);
        }
    }
    report(scale, &measurements, &best);
    report_changes(scale);
    ExitCode::SUCCESS
}

/// Why nothing can be measured here.
fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("not root".to_owned());
    }
    Ipvs::connect().err().map(|error| error.to_string())
}

/// Prints what each took for `scale`, and as a multiple of the first.
fn report(scale: Scale, measurements: &[Measurement], best: &[Duration]) {
    let Scale { services, destinations } = scale;
    println!("cold start: {services} services x {destinations} destinations, scheduler rr, batches of {BATCH}");
    println!("{:<16} {:>10} {:>14} {:>8}", "", "seconds", "us per object", "ratio");
    let mut floor = None;
    for (measurement, best) in measurements.iter().zip(best) {
        let each = best.as_secs_f64() / f64::from(measurement.scale.objects());
        let ratio = each / *floor.get_or_insert(each);
        let total = each * f64::from(scale.objects());
        let note = if measurement.scale.services == services {
            String::new()
        } else {
            format!("  (extrapolated from {} services)", measurement.scale.services)
        };
        println!("{:<16} {total:>10.2} {:>14.1} {ratio:>8.2}{note}", measurement.name, each * 1e6);
    }
}

/// Prints what one change costs with few Services and with many.
fn report_changes(many: Scale) {
    let few = Scale { services: 100.min(many.services), ..many };
    println!("\none endpoint replaced, from the change until the kernel holds it (median)");
    println!("{:<16} {:>10} {:>10} {:>8}", "services", "us", "messages", "ratio");
    let mut base = None;
    for scale in [few, many] {
        let (time, messages) = in_empty_kernel(|| agent::one_change(scale));
        let ratio = time.as_secs_f64() / *base.get_or_insert(time.as_secs_f64());
        println!("{:<16} {:>10.0} {messages:>10} {ratio:>8.2}", scale.services, time.as_secs_f64() * 1e6);
    }
}

/// The least that the kernel asks for: the same requests, built before the clock starts, on a bare socket.
fn netlink_floor(scale: Scale) -> Duration {
    let family = Socket::open().unwrap().resolve(codec::FAMILY, Load::Allowed).unwrap().unwrap();
    let datagrams: Vec<Vec<u8>> = steps(scale)
        .chunks(BATCH)
        .map(|steps| {
            let mut batch = Batch::default();
            steps.iter().for_each(|step| codec::push(&mut batch, family, step).unwrap());
            batch.seal(1).to_vec()
        })
        .collect();
    let socket = NlSocket::connect(NlFamily::Generic, None, Groups::empty()).unwrap();
    let mut buffer = vec![0; 64 * 1024];
    let start = Instant::now();
    for datagram in &datagrams {
        socket.send(datagram, Msg::empty()).unwrap();
        let (length, _) = socket.recv(&mut buffer, Msg::empty()).unwrap();
        let acknowledgement = Messages::new(&buffer[..length]).next().unwrap().unwrap();
        acknowledgement.status().unwrap();
    }
    start.elapsed()
}

/// What the agent does with the steps of a plan, which reach the executor in pieces.
fn perform(scale: Scale) -> Duration {
    let pieces: Vec<Vec<Step>> = steps(scale).chunks(PIECE).map(<[Step]>::to_vec).collect();
    let mut ipvs = Ipvs::connect().unwrap();
    let start = Instant::now();
    for piece in pieces {
        let reports = ipvs.perform(piece);
        assert!(reports.iter().all(|report| report.outcome == Outcome::Done));
    }
    start.elapsed()
}

/// What an operator has today. Each line of its input is one object.
fn ipvsadm(scale: Scale) -> Duration {
    let mut lines = String::new();
    for step in steps(scale) {
        match step {
            Step::AddServer(key, _) => writeln!(lines, "-A -t {}:{} -s rr", key.address, key.port).unwrap(),
            Step::AddDestination(key, name, value) => {
                let ServerKey { address, port, .. } = key;
                writeln!(lines, "-a -t {address}:{port} -r {name} -m -w {}", value.weight).unwrap();
            }
            other => panic!("{other:?} is no part of a cold start"),
        }
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, lines).unwrap();
    let start = Instant::now();
    let status = Command::new("ipvsadm").arg("-R").stdin(Stdio::from(file.reopen().unwrap())).status().unwrap();
    let time = start.elapsed();
    assert!(status.success());
    time
}

/// The steps of a cold start.
fn steps(scale: Scale) -> Vec<Step> {
    let mut steps = Vec::with_capacity(scale.objects() as usize);
    let settings = ServerSettings { scheduler: Scheduler::new("rr"), flags: ServerFlags::default(), timeout: 0 };
    for service in 0..scale.services {
        let key = ServerKey { address: nth([10, 96, 0, 1], service), protocol: Protocol::Tcp, port: 80 };
        steps.push(Step::AddServer(key, settings.clone()));
        for number in 0..scale.destinations {
            let address = nth([10, 128, 0, 0], service * scale.destinations + number);
            let value = Destination { weight: 1, forwarding: Forwarding::Masquerade };
            steps.push(Step::AddDestination(key, DestinationKey { address, port: 8080 }, value));
        }
    }
    steps
}

fn nth(first: [u8; 4], number: u32) -> IpAddr {
    Ipv4Addr::from_bits(Ipv4Addr::from(first).to_bits() + number).into()
}

/// Measures in a fresh network namespace while no older one holds virtual servers: the kernel keeps those of all
/// namespaces in one table, and takes its time to clear up behind a namespace.
fn in_empty_kernel<R: Send>(measure: impl FnOnce() -> R + Send) -> R {
    // Each virtual server holds its scheduler's module. A scheduler that is built in cannot be watched like this.
    let in_use = || fs::read_to_string("/sys/module/ip_vs_rr/refcnt").is_ok_and(|count| count.trim() != "0");
    let patience = Instant::now() + Duration::from_secs(120);
    while in_use() {
        assert!(Instant::now() < patience, "virtual servers of somebody else: measure on an idle machine");
        sleep(Duration::from_millis(50));
    }
    Netns::new().unwrap().run(measure).unwrap()
}
