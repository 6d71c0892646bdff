//! Every metric is declared here and nowhere else; the names are a contract (README, "Metrics").

mod drain;
mod link;
mod sessions;

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use self::drain::Departure;
use self::link::Link;
use self::sessions::{SessionLabels, Sessions};
use crate::model::{self, bgp::PeerName};
use crate::plan::capacity::{CapacityStatus, SnatStatus};
use crate::plan::proof::Standing;
use crate::plan::role::Role;
use crate::plan::step::Target;
use crate::plan::{Report, Status};

/// The media type of the text format.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabels {
    target: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FamilyLabels {
    family: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProbeLabels {
    family: String,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PeerLabels {
    peer: String,
    state: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RepairLabels {
    kind: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FlavourLabels {
    flavour: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RoleLabels {
    role: String,
}

/// The metrics of an agent.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    passes: Counter,
    steps: Family<StepLabels, Counter>,
    probes: Family<ProbeLabels, Counter>,
    sessions_ended: Family<SessionLabels, Counter>,
    latency: Histogram,
    route_latency: Histogram,
    last_success: Gauge,
    last_source_event: Gauge,
    gauges: Gauges,
    /// Rendering sets the gauges and encodes them: one at a time.
    rendering: Mutex<()>,
}

/// What is set from the status at each scrape.
#[derive(Debug, Default)]
struct Gauges {
    ready: Gauge,
    configuration_problem: Gauge,
    role: Family<RoleLabels, Gauge>,
    services: Gauge,
    services_with_problems: Gauge,
    bad_objects: Gauge,
    source_troubles: Gauge,
    virtual_servers: Gauge,
    destinations: Gauge,
    draining: Gauge,
    proved: Family<FamilyLabels, Gauge>,
    held: Gauge,
    vips: Gauge,
    routes: Gauge,
    foreign_routes: Gauge,
    gobgpd: Family<FlavourLabels, Gauge>,
    repairs: Family<RepairLabels, Counter>,
    peers: Family<PeerLabels, Gauge>,
    sessions: Sessions,
    link: Link,
    departure: Departure,
    failures: Gauge,
    snat_ports_used: Gauge<f64, AtomicU64>,
    conntrack_entries: Gauge,
    conntrack_limit: Gauge,
    conntrack_insert_failed: Counter,
    stray_packets: Counter,
}

impl Default for Metrics {
    fn default() -> Metrics {
        let mut registry = Registry::with_prefix("vipcast");
        let metrics = Metrics {
            passes: Counter::default(),
            steps: Family::default(),
            probes: Family::default(),
            sessions_ended: Family::default(),
            latency: Histogram::new(exponential_buckets(0.001, 2.0, 15)),
            route_latency: Histogram::new(exponential_buckets(0.001, 2.0, 15)),
            last_success: Gauge::default(),
            last_source_event: Gauge::default(),
            gauges: Gauges::default(),
            rendering: Mutex::new(()),
            registry: Registry::default(),
        };
        // The steps of all targets are there from the start, so that a rate over them needs no special case.
        for target in Target::ALL {
            for outcome in ["done", "drifted", "refused", "later"] {
                drop(metrics.steps.get_or_create(&StepLabels { target: target.name(), outcome }));
            }
        }
        registry.register("passes", "Passes of the deciding loop", metrics.passes.clone());
        registry.register("steps", "Steps that write, by target and outcome", metrics.steps.clone());
        // So are the probes' failures.
        for family in model::Family::ALL {
            for result in ["answered", "failed"] {
                drop(metrics.probes.get_or_create(&ProbeLabels { family: family.to_string(), result }));
            }
        }
        let help = "Probes of the data plane, by family and result";
        registry.register("probes", help, metrics.probes.clone());
        let help = "Established BGP sessions that ended, by peer";
        registry.register("bgp_sessions_ended", help, metrics.sessions_ended.clone());
        let build = Family::<BuildLabels, Gauge>::default();
        build.get_or_create(&BuildLabels { version: env!("CARGO_PKG_VERSION") }).set(1);
        registry.register("build_info", "Always 1; the version is in the label", build);
        let help = "Time from a change of the cluster until the kernel holds what follows from it, by virtual server";
        registry.register("change_to_kernel_seconds", help, metrics.latency.clone());
        let help = "Time from the change that made the route of a VIP wanted until gobgpd holds it, by route";
        registry.register("endpoint_to_route_seconds", help, metrics.route_latency.clone());
        let help = "When all that was decided had been done the last time, in seconds since 1970";
        registry.register("last_success_timestamp_seconds", help, metrics.last_success.clone());
        let help = "When a source told something the last time, in seconds since 1970";
        registry.register("source_last_event_timestamp_seconds", help, metrics.last_source_event.clone());
        metrics.gauges.register(&mut registry);
        Metrics { registry, ..metrics }
    }
}

impl Gauges {
    fn register(&self, registry: &mut Registry) {
        registry.register("ready", "1 while the node is ready", self.ready.clone());
        let help = "1 while the configuration file says something that is not in force: a mistake, or a key that waits for a \
                    restart";
        registry.register("configuration_problem", help, self.configuration_problem.clone());
        registry.register("role", "What the node is: 1 for the role that it has", self.role.clone());
        registry.register("services", "Services known", self.services.clone());
        registry.register("service_problems", "Problems of Services", self.services_with_problems.clone());
        registry.register("bad_objects", "Objects that cannot be understood", self.bad_objects.clone());
        registry.register("source_troubles", "Files or watches in trouble", self.source_troubles.clone());
        registry.register("virtual_servers", "Virtual servers in the kernel", self.virtual_servers.clone());
        registry.register("destinations", "Destinations in the kernel", self.destinations.clone());
        let help = "Destinations that nobody wants any more and that have connections, or may have";
        registry.register("draining_destinations", help, self.draining.clone());
        let help = "Endpoints that vanished from the source and are kept, since too many did at once";
        registry.register("held_endpoints", help, self.held.clone());
        let help = "1 while probes prove the data plane, by family; absent where none is probed";
        registry.register("data_plane_proved", help, self.proved.clone());
        registry.register("vips", "VIPs that have virtual servers", self.vips.clone());
        registry.register("routes", "Routes that gobgpd holds", self.routes.clone());
        let help = "Routes of others that a shared gobgpd holds";
        registry.register("foreign_routes", help, self.foreign_routes.clone());
        registry.register("gobgpd_info", "Always 1; gobgpd's version is in the label", self.gobgpd.clone());
        let help = "What somebody else had changed in gobgpd, or what had gone wrong, and was put right, by kind";
        registry.register("bgp_repairs", help, self.repairs.clone());
        self.sessions.register(registry);
        self.link.register(registry);
        self.departure.register(registry);
        registry.register("bgp_peers", "Peers by state: 1 for the state that each is in", self.peers.clone());
        let help = "Connections to the endpoint that has the least room for SNAT, as a part of what it can have";
        registry.register("snat_ports_used_ratio", help, self.snat_ports_used.clone());
        registry.register("conntrack_entries", "Connections that conntrack knows", self.conntrack_entries.clone());
        let help = "Connections that conntrack can know; 0: no limit";
        registry.register("conntrack_limit", help, self.conntrack_limit.clone());
        let help = "Packets that conntrack had no place for, since the machine started";
        registry.register("conntrack_insert_failed", help, self.conntrack_insert_failed.clone());
        let help = "Packets in the middle of TCP connections that no connection here took, and that were reset";
        registry.register("stray_packets", help, self.stray_packets.clone());
        registry.register("failures", "Steps that fail and are tried again", self.failures.clone());
    }

    fn set(&self, status: &Status) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.ready.set(i64::from(status.ready));
        self.configuration_problem.set(i64::from(status.configuration.problem.is_some()));
        for role in Role::NAMES {
            let labels = RoleLabels { role: role.to_owned() };
            self.role.get_or_create(&labels).set(i64::from(status.role == role));
        }
        self.services.set(number(status.services.total));
        self.services_with_problems.set(number(status.services.problems.len()));
        self.bad_objects.set(number(status.source.bad_objects.len()));
        self.source_troubles.set(number(status.source.troubles.len()));
        self.virtual_servers.set(number(status.ipvs.virtual_servers));
        self.destinations.set(number(status.ipvs.destinations));
        self.draining.set(number(status.ipvs.draining));
        self.vips.set(number(status.ipvs.vips));
        self.held.set(number(status.brake.as_ref().map_or(0, |brake| brake.endpoints)));
        self.proved.clear();
        for proof in &status.proof {
            let labels = FamilyLabels { family: proof.family.clone() };
            self.proved.get_or_create(&labels).set(i64::from(proof.state == Standing::Proved.name()));
        }
        self.failures.set(number(status.failures.len()));
        self.departure.set(&status.drain);
        self.set_capacity(&status.capacity);
        // The sensor counts.
        self.stray_packets.inner().store(status.rehash.stray_packets, Ordering::Relaxed);
        self.routes.set(number(status.bgp.as_ref().map_or(0, |bgp| bgp.routes.len())));
        self.foreign_routes.set(number(status.bgp.as_ref().map_or(0, |bgp| bgp.foreign_routes.len())));
        self.gobgpd.clear();
        if let Some(flavour) = status.bgp.as_ref().and_then(|bgp| bgp.flavour.clone()) {
            self.gobgpd.get_or_create(&FlavourLabels { flavour }).set(1);
        }
        for (kind, count) in status.bgp.iter().flat_map(|bgp| &bgp.repairs) {
            // The planner counts, so the value is taken over and not added to.
            let repairs = self.repairs.get_or_create_owned(&RepairLabels { kind: kind.clone() });
            repairs.inner().store(*count, Ordering::Relaxed);
        }
        let peers = status.bgp.as_ref().map_or(&[][..], |bgp| &bgp.peers);
        self.peers.clear();
        for peer in peers {
            let labels = PeerLabels { peer: peer.name.clone(), state: peer.state.clone() };
            self.peers.get_or_create(&labels).set(1);
        }
        self.sessions.set(peers);
        self.link.set(status);
    }

    fn set_capacity(&self, capacity: &CapacityStatus) {
        #[expect(clippy::cast_precision_loss, reason = "a ratio needs no more digits than an f64 has")]
        let ratio = |snat: &SnatStatus| snat.connections as f64 / snat.ports as f64;
        self.snat_ports_used.set(capacity.snat.as_ref().map_or(0.0, ratio));
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let conntrack = capacity.conntrack.as_ref();
        self.conntrack_entries.set(number(conntrack.map_or(0, |conntrack| conntrack.entries)));
        self.conntrack_limit.set(number(conntrack.map_or(0, |conntrack| conntrack.limit)));
        let failed = conntrack.and_then(|conntrack| conntrack.insert_failed).unwrap_or(0);
        // The kernel counts, so the value is taken over and not added to.
        self.conntrack_insert_failed.inner().store(failed, Ordering::Relaxed);
    }
}

impl Metrics {
    /// The loop made a pass; `idle` if nothing is under way or failing after it.
    pub fn pass(&self, idle: bool) {
        self.passes.inc();
        if idle {
            self.last_success.set(unix_now());
        }
    }

    /// A step came back.
    pub fn step(&self, report: &Report) {
        if report.step.is_read() {
            return;
        }
        let outcome = report.outcome.name();
        self.steps.get_or_create(&StepLabels { target: report.step.target().name(), outcome }).inc();
    }

    /// A canary of `family` was probed.
    pub fn probe(&self, family: model::Family, answered: bool) {
        let result = if answered { "answered" } else { "failed" };
        self.probes.get_or_create(&ProbeLabels { family: family.to_string(), result }).inc();
    }

    /// The session with `peer` came up, or ended. The count is there from the first time that it came up, so that a rate
    /// over it misses no end.
    pub fn session(&self, peer: &PeerName, established: bool) {
        let ended = self.sessions_ended.get_or_create_owned(&SessionLabels { peer: peer.to_string() });
        if !established {
            ended.inc();
        }
    }

    /// A change of the cluster is in the kernel, this long after it was told.
    pub fn latency(&self, latency: Duration) {
        self.latency.observe(latency.as_secs_f64());
    }

    /// The route of a VIP is out, this long after it became wanted.
    pub fn route_latency(&self, latency: Duration) {
        self.route_latency.observe(latency.as_secs_f64());
    }

    /// A source told something.
    pub fn source_event(&self) {
        self.last_source_event.set(unix_now());
    }

    /// The text format, with the gauges as `status` has them.
    pub fn render(&self, status: &Status) -> Result<String, fmt::Error> {
        let _one_at_a_time = self.rendering.lock();
        self.gauges.set(status);
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
