//! The agent's own part: planner and executor together, on the kernel.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use vipcast::apply::kernel::Kernel;
use vipcast::model::ipvs::Protocol;
use vipcast::model::service::{Endpoint, Service, ServicePort, Slice, SlicePort};
use vipcast::model::settings::{Announce, Brake, Dataplane, Proof, Range, Use};
use vipcast::model::{Event, Family, Kind, Object, ServiceKey, Settings, Time};
use vipcast::plan::step::{Executor, Target};
use vipcast::plan::{Change, Planner};

use crate::{Scale, nth};

/// How many changes are measured; the median counts.
const CHANGES: u32 = 51;

/// An agent without BGP, in the network namespace of this thread.
pub(crate) struct Agent {
    planner: Planner,
    kernel: Kernel,
    origin: Instant,
    /// Steps for virtual servers that were performed, readings apart.
    written: usize,
}

impl Agent {
    fn new(runtime: &tokio::runtime::Runtime) -> Agent {
        let settings = Settings {
            node: "bench".into(),
            node_selector: Default::default(),
            node_ips: vec![Ipv4Addr::new(192, 0, 2, 1).into()],
            cluster_ips: Some(vec![Range::new("10.96.0.0/16".parse().unwrap(), Use::ClusterIp, Announce::Aggregate)]),
            allowed: Vec::new(),
            dataplane: Dataplane::default(),
            bgp: None,
            bfd: Default::default(),
            lease: Default::default(),
            proof: Proof { canaries: Vec::new(), ..Proof::default() },
            brake: Brake { share: 100, ..Brake::default() },
            drain: Default::default(),
            withdraw_delay: Duration::from_secs(2),
            resync: Duration::from_secs(3600),
        };
        let kernel = runtime.block_on(async { Kernel::connect() }).unwrap();
        Agent { planner: Planner::new(settings, Time::ZERO), kernel, origin: Instant::now(), written: 0 }
    }

    fn tell(&mut self, event: Event) {
        let now = Time(self.origin.elapsed());
        self.planner.apply(Change::Source(event), now);
    }

    /// Plans and performs until nothing is left to do.
    async fn settle(&mut self) {
        loop {
            let steps = self.planner.plan(Time(self.origin.elapsed())).steps;
            if steps.is_empty() && self.planner.is_settled() {
                return;
            }
            let is_written = |step: &&vipcast::plan::Step| step.target() == Target::Ipvs && !step.is_read();
            self.written += steps.iter().filter(is_written).count();
            for report in self.kernel.perform(steps).await {
                self.planner.apply(Change::Report(report), Time(self.origin.elapsed()));
            }
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn name(service: u32) -> String {
    format!("service-{service}")
}

fn service(number: u32) -> Event {
    let port = ServicePort { name: Arc::from("http"), protocol: Protocol::Tcp, port: 80, node_port: None };
    let cluster_ips = vec![nth([10, 96, 0, 1], number)];
    let service = Service { cluster_ips, ports: vec![port], ..Service::default() };
    Event::Put(Object::Service(ServiceKey::new("bench", &name(number)), service))
}

fn slice(number: u32, endpoints: impl Iterator<Item = IpAddr>) -> Event {
    let slice = Slice {
        service: ServiceKey::new("bench", &name(number)),
        family: Family::Ipv4,
        ports: vec![SlicePort { name: Arc::from("http"), protocol: Protocol::Tcp, port: 8080 }],
        endpoints: endpoints.map(|address| Endpoint::new(address, true)).collect(),
    };
    Event::Put(Object::Slice(Arc::from(format!("bench/{}", name(number))), slice))
}

fn endpoints(scale: Scale, number: u32) -> impl Iterator<Item = IpAddr> {
    (0..scale.destinations).map(move |index| nth([10, 128, 0, 0], number * scale.destinations + index))
}

/// Tells all objects, as a source does with its first list.
fn tell_all(agent: &mut Agent, scale: Scale) {
    Kind::ALL.into_iter().for_each(|kind| agent.tell(Event::Listing(kind)));
    for number in 0..scale.services {
        agent.tell(service(number));
        agent.tell(slice(number, endpoints(scale, number)));
    }
    Kind::ALL.into_iter().for_each(|kind| agent.tell(Event::Listed(kind)));
}

/// From the first object told until the kernel holds everything.
pub(crate) fn cold_start(scale: Scale) -> Duration {
    let runtime = runtime();
    let mut agent = Agent::new(&runtime);
    // What was there before is read first, as at every start.
    runtime.block_on(agent.settle());
    let start = Instant::now();
    tell_all(&mut agent, scale);
    runtime.block_on(agent.settle());
    let time = start.elapsed();
    assert_eq!(agent.written, scale.objects() as usize);
    time
}

/// One endpoint of one Service is replaced by another: the median time until the kernel holds it, and the messages.
pub(crate) fn one_change(scale: Scale) -> (Duration, usize) {
    let runtime = runtime();
    let mut agent = Agent::new(&runtime);
    tell_all(&mut agent, scale);
    runtime.block_on(agent.settle());
    agent.written = 0;
    let mut times: Vec<Duration> = (0..CHANGES)
        .map(|change| {
            let number = change % scale.services;
            let spare = std::iter::once(nth([10, 200, 0, 0], change));
            let changed = slice(number, endpoints(scale, number).skip(1).chain(spare));
            let start = Instant::now();
            agent.tell(changed);
            runtime.block_on(agent.settle());
            start.elapsed()
        })
        .collect();
    times.sort();
    (times[times.len() / 2], agent.written / CHANGES as usize)
}
