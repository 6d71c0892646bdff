//! What it takes to announce and to withdraw many host routes, with each gobgpd that is here, up to the moment at which a
//! peer holds them.
//!
//! Planner, loop and gobgpd's executor are the agent's own and so is gobgpd; the kernel is the model that `vipcast plan`
//! rehearses on, so that only BGP is measured. It needs neither root nor IPVS.

#![allow(clippy::unwrap_used, reason = "a measurement that goes wrong has no result")]

mod gobgpd;

use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use tokio::sync::mpsc;
use vipcast::admin::metrics::Metrics;
use vipcast::apply::bgp::{self, Endpoint, Speaker};
use vipcast::daemon::{Wheel, start_executor};
use vipcast::model::bgp::{Attributes, NextHop, Peer, Ttl};
use vipcast::model::ipvs::Protocol;
use vipcast::model::node::Host;
use vipcast::model::service::{Endpoint as Backend, Service, ServicePort, Slice, SlicePort};
use vipcast::model::settings::{Announce, BgpSettings, Dataplane, PeerEntry, Range, Use};
use vipcast::model::{Event, Family, Kind, Object, ServiceKey, Settings, Time};
use vipcast::plan::step::Executor;
use vipcast::plan::{Change, ModelNode, Planner, Report, Step};

use self::gobgpd::{Gobgpd, OWN, PORT, Program, TOR};

/// Measures host routes on their way to a peer.
#[derive(Parser)]
struct Arguments {
    /// How many Services, each with one VIP.
    #[arg(long, default_value_t = 2_000)]
    routes: u32,
    /// What `cargo bench` passes to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    println!("{} host routes, from the change of the endpoints until the peer has heard it", arguments.routes);
    println!("{:<22} {:>10} {:>14} {:>14} {:>14}", "", "ms", "us per route", "gRPC messages", "BGP UPDATEs");
    for program in Program::all() {
        match program {
            Ok(program) => runtime.block_on(measure(&program, arguments.routes)),
            Err(reason) => println!("SKIPPED bench routes: {reason}"),
        }
    }
    ExitCode::SUCCESS
}

/// Announces all routes to a peer and withdraws them, and prints what each took.
async fn measure(program: &Program, count: u32) {
    let tor = Gobgpd::start_tor(program).await;
    let own = Gobgpd::start(program).await;
    let endpoint = Endpoint::unix(&own.socket()).unwrap();
    let (changes, receiver) = mpsc::channel(4096);
    let messages = Arc::new(AtomicUsize::new(0));

    let node = ModelNode {
        host: Host { addresses: [OWN.parse().unwrap()].into(), ..Host::default() },
        ..ModelNode::default()
    };
    let kernel = start_executor("kernel", async move || node, changes.clone()).unwrap();
    let (ledger_sender, ledger) = tokio::sync::oneshot::channel();
    let counter = messages.clone();
    let of_executor = endpoint.clone();
    let make = async move || {
        let speaker = Speaker::new(of_executor);
        ledger_sender.send(speaker.ledger()).unwrap();
        Counted { speaker, messages: counter }
    };
    let speaker = start_executor("speaker", make, changes.clone()).unwrap();
    let sensor = tokio::spawn(bgp::watch(endpoint, ledger.await.unwrap(), changes.clone()));
    let (_ask, questions) = mpsc::channel(1);
    let mut wheel = Wheel {
        changes: receiver,
        questions,
        kernel,
        speaker,
        notices: None,
        health: None,
        secrets: None,
        probing: None,
        orders: None,
        saved: None,
        standing: None,
        metrics: Arc::new(Metrics::default()),
        origin: Instant::now(),
    };
    let agent = tokio::spawn(async move {
        let mut planner = Planner::new(settings(), Time::ZERO);
        wheel.turn(&mut planner).await
    });

    let tell = async |event| changes.send(Change::Source(event)).await.unwrap();
    for kind in Kind::ALL {
        tell(Event::Listing(kind)).await;
    }
    for number in 0..count {
        tell(service(number)).await;
    }
    for kind in Kind::ALL {
        tell(Event::Listed(kind)).await;
    }
    tor.until_established().await;

    for (what, ready, expected) in [("announced", true, count), ("withdrawn", false, 0)] {
        let (sent, heard) = (messages.load(Ordering::Relaxed), tor.updates().await);
        let start = Instant::now();
        for number in 0..count {
            tell(slice(number, ready)).await;
        }
        tor.until_holds(expected).await;
        let time = start.elapsed();
        println!(
            "{:<22} {:>10} {:>14.0} {:>14} {:>14}",
            format!("{what}, {}", program.name()),
            time.as_millis(),
            time.as_secs_f64() * 1e6 / f64::from(count),
            messages.load(Ordering::Relaxed) - sent,
            tor.updates().await - heard
        );
    }
    sensor.abort();
    agent.abort();
}

/// An executor that counts the messages in which paths travel to gobgpd.
struct Counted {
    speaker: Speaker,
    messages: Arc<AtomicUsize>,
}

impl Executor for Counted {
    async fn perform(&mut self, steps: Vec<Step>) -> Vec<Report> {
        let is_path = |step: &Step| matches!(step, Step::Announce(..) | Step::Withdraw(_));
        // Paths that follow each other travel in one message.
        let runs = steps.chunk_by(|a, b| is_path(a) == is_path(b)).filter(|run| is_path(&run[0])).count();
        self.messages.fetch_add(runs, Ordering::Relaxed);
        self.speaker.perform(steps).await
    }
}

fn settings() -> Settings {
    let peer = Peer {
        port: PORT,
        local_address: Some(OWN.parse().unwrap()),
        ttl: Ttl::Multihop(2),
        ..Peer::new(65000, [Family::Ipv4])
    };
    Settings {
        node: "bench".into(),
        node_selector: Default::default(),
        node_ips: vec![OWN.parse().unwrap()],
        cluster_ips: Some(Vec::new()),
        allowed: vec![Range::new("198.18.0.0/15".parse().unwrap(), Use::LoadBalancerIp, Announce::Host)],
        dataplane: Dataplane::default(),
        bgp: Some(BgpSettings {
            asn: 65001,
            router_id: Some("192.0.2.1".parse().unwrap()),
            listen_port: None,
            exclusive: true,
            // A loopback address would be refused.
            next_hop_ipv4: NextHop::Address("192.0.2.1".parse().unwrap()),
            next_hop_ipv6: NextHop::Own,
            attributes: Attributes::default(),
            max_specifics: 64,
            graceful_restart: None,
            peers: vec![PeerEntry::new(TOR.parse::<IpAddr>().unwrap(), peer)],
        }),
        bfd: Default::default(),
        lease: Default::default(),
        proof: Default::default(),
        brake: Default::default(),
        drain: Default::default(),
        withdraw_delay: Duration::from_secs(2),
        resync: Duration::from_secs(3600),
    }
}

fn name(number: u32) -> ServiceKey {
    ServiceKey::new("bench", &format!("service-{number}"))
}

fn nth(first: [u8; 4], number: u32) -> IpAddr {
    Ipv4Addr::from_bits(Ipv4Addr::from(first).to_bits() + number).into()
}

fn service(number: u32) -> Event {
    let port = ServicePort { name: Arc::from("http"), protocol: Protocol::Tcp, port: 80, node_port: None };
    let load_balancer_ips = vec![nth([198, 18, 0, 1], number)];
    Event::Put(Object::Service(name(number), Service { load_balancer_ips, ports: vec![port], ..Service::default() }))
}

fn slice(number: u32, ready: bool) -> Event {
    let slice = Slice {
        service: name(number),
        family: Family::Ipv4,
        ports: vec![SlicePort { name: Arc::from("http"), protocol: Protocol::Tcp, port: 8080 }],
        endpoints: vec![Backend::new(nth([10, 128, 0, 1], number), ready)],
    };
    Event::Put(Object::Slice(Arc::from(name(number).as_str()), slice))
}
