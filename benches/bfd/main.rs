//! Does BFD hold its timers on a machine whose CPUs are all busy, and if not, which does it hold?
//!
//! The engine that the speaker runs has a session with another side over loopback, while twice as many processes as there
//! are CPUs do nothing but compute, each in a session of its own, so that the kernel sees them as strangers to the engine.
//! The other side is this program's own: the same state machine, and a socket that notes when the kernel received each
//! packet, so that its own delays are not taken for the engine's.

#![allow(clippy::unwrap_used, reason = "a measurement that goes wrong has no result")]

mod far;

use std::net::IpAddr;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use rustix::process::{Signal, set_parent_process_death_signal, setsid};
use vipcast::model::bfd::{BfdState, Distance, Session, Timers};
use vipcast::model::bgp::PeerName;
use vipcast::speaker::bfd::Engine;

use self::far::{Far, Gaps};

/// The ends of the session.
const NEAR: &str = "127.86.0.1";
const FAR: &str = "127.86.0.2";

/// What is tried where the interval that was asked for does not hold, in milliseconds.
const SLOWER: [u64; 5] = [50, 100, 200, 300, 1000];

/// Measures BFD under full CPU load.
#[derive(Parser)]
struct Arguments {
    /// The interval, in milliseconds.
    #[arg(long, default_value_t = 50)]
    interval: u64,
    /// The multiplier.
    #[arg(long, default_value_t = 3)]
    multiplier: u8,
    /// How long, in seconds.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// How many processes compute. Default: two for each CPU.
    #[arg(long)]
    load: Option<usize>,
    /// Compute for ever.
    #[arg(long, hide = true)]
    spin: bool,
    /// What `cargo bench` passes to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.spin {
        spin();
    }
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let load = arguments.load.unwrap_or(2 * cpus);
    println!("BFD over loopback, {} s each, while {load} processes compute on {cpus} CPUs", arguments.seconds);
    println!(
        "{:<14} {:>8} {:>12} {:>12} {:>12} {:>22}",
        "interval", "packets", "longest gap", "longest", "reports", "false alarms of"
    );
    println!(
        "{:<14} {:>8} {:>12} {:>12} {:>12} {:>10} {:>11}",
        "", "heard", "in sending", "allowed", "over 90 %", "the engine", "other side"
    );
    let slower = SLOWER.into_iter().filter(|interval| *interval > arguments.interval);
    for interval in [arguments.interval].into_iter().chain(slower) {
        let timers = Timers { interval: Duration::from_millis(interval), multiplier: arguments.multiplier };
        let (gaps, engine, other) = measure(timers, Duration::from_secs(arguments.seconds), load);
        let allowed = timers.interval * u32::from(timers.multiplier);
        println!(
            "{:<14} {:>8} {:>9.1} ms {:>9} ms {:>12} {:>10} {:>11}",
            format!("{interval} ms x {}", timers.multiplier),
            gaps.packets,
            gaps.longest.as_secs_f64() * 1e3,
            allowed.as_millis(),
            gaps.near_misses,
            engine,
            other,
        );
        if engine + other == 0 {
            println!("{interval} ms x {} holds", timers.multiplier);
            return ExitCode::SUCCESS;
        }
    }
    println!("nothing that was tried holds");
    ExitCode::FAILURE
}

/// One session for so long: what the other side heard, and how often each of the two went down.
fn measure(timers: Timers, time: Duration, load: usize) -> (Gaps, u32, u32) {
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let session = Session { timers, local_address: Some(address(NEAR)), distance: Distance::SingleHop, enabled: true };
    let stop = Arc::new(AtomicBool::new(false));
    let far = Far::new(FAR, NEAR, timers);
    let told = Arc::clone(&stop);
    let far = std::thread::spawn(move || far.run(&told));
    let engine = Engine::start().unwrap();
    let peer = PeerName::Address(address(FAR));
    engine.want([(peer.clone(), session)].into());
    let deadline = Instant::now() + Duration::from_secs(30);
    while engine.snapshot().get(&peer).is_none_or(|status| status.state != BfdState::Up) {
        assert!(Instant::now() < deadline, "the session does not come up: {:?}", engine.snapshot());
        std::thread::sleep(Duration::from_millis(50));
    }
    let load = Load::start(load);
    std::thread::sleep(time);
    drop(load);
    let flaps = engine.snapshot().get(&peer).map_or(0, |status| status.flaps);
    stop.store(true, Ordering::Relaxed);
    let (gaps, others) = far.join().unwrap();
    (gaps, flaps, others)
}

/// Processes that compute, until this is dropped.
struct Load(Vec<Child>);

impl Load {
    fn start(count: usize) -> Load {
        let program = std::env::current_exe().unwrap();
        let one = || Command::new(&program).arg("--spin").stdin(Stdio::null()).spawn().unwrap();
        Load((0..count).map(|_| one()).collect())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn spin() -> ! {
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let _ = setsid();
    let mut number = 1_u64;
    loop {
        number = std::hint::black_box(number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
}
