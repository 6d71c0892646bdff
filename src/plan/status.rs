//! The planner's view of itself, for operators: what `/status`, `/readyz`, `/metrics` and `vipcast status` show. The
//! field names are a contract.

mod bgp;
mod brake;
mod drain;
mod ipvs;
mod link;
mod proof;
mod reasons;

use serde::{Deserialize, Serialize};

use crate::model::settings::{Announce, Range};
use crate::model::{Family, Prefix};

use super::canary;
use super::capacity::{CapacityStatus, RehashStatus};
use super::change::Loaded;
use super::memory::Key;
use super::planner::Planner;
use super::sysctl;
pub(super) use bgp::next_hop;
pub use bgp::{AstrayStatus, BgpStatus, ForeignRouteStatus, PeerStatus, RouteKind, RouteStatus};
pub use brake::BrakeStatus;
pub use drain::DrainStatus;
pub use ipvs::{IpvsStatus, TimeoutsStatus};
pub use link::{BfdSessionStatus, LeaseStatus};
pub use proof::ProofStatus;

/// Everything that an operator may ask of a running agent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The node's name.
    pub node: String,
    /// Does the node do its job?
    pub ready: bool,
    /// What the node is: `serving`; `standing by`, with nothing of ours, since it has not the labels of `nodeSelector`;
    /// `frozen`, since its labels are asked for and there is no such Node; `unknown` before the first list.
    pub role: String,
    /// Why it is not ready.
    pub reasons: Vec<String>,
    /// It was asked to leave.
    pub leaving: bool,
    /// How far it is on its way out, or back.
    pub drain: DrainStatus,
    /// The configuration file.
    pub configuration: ConfigurationStatus,
    /// The sources.
    pub source: SourceStatus,
    /// The ranges.
    pub ranges: Vec<RangeStatus>,
    /// Services.
    pub services: ServicesStatus,
    /// What is held since too much vanished at once; `null` where nothing is.
    pub brake: Option<BrakeStatus>,
    /// Virtual servers in the kernel.
    pub ipvs: IpvsStatus,
    /// The proof of the data plane, by canary.
    pub proof: Vec<ProofStatus>,
    /// Room for connections.
    pub capacity: CapacityStatus,
    /// Packets that found no connection.
    pub rehash: RehashStatus,
    /// BGP.
    pub bgp: Option<BgpStatus>,
    /// The announcement lease; `null` before the speaker told, and where nothing is announced.
    pub lease: Option<LeaseStatus>,
    /// BFD sessions.
    pub bfd: Vec<BfdSessionStatus>,
    /// Kernel parameters that vipcast needs.
    pub sysctls: Vec<SysctlStatus>,
    /// Steps that fail, with the reason.
    pub failures: Vec<FailureStatus>,
}

/// How the configuration file was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigurationStatus {
    /// Its path; empty where no agent follows it.
    pub file: String,
    /// When what is in force was read (RFC 3339).
    pub loaded: Option<String>,
    /// What of it is not in force, and why.
    pub problem: Option<String>,
}

/// How the sources are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceStatus {
    /// All kinds have been listed completely at least once.
    pub listed: bool,
    /// Objects that cannot be understood; what was known of them before stays in force.
    pub bad_objects: Vec<Problem>,
    /// Files or watches in trouble.
    pub troubles: Vec<Problem>,
}

/// Something that is wrong, and with what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The object, file or watch.
    pub subject: String,
    /// What is wrong.
    pub problem: String,
}

/// A range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RangeStatus {
    /// The prefix.
    pub prefix: String,
    /// `aggregate`, `host` or `none`.
    pub announce: String,
    /// How many routes gobgpd holds for it.
    pub routes: usize,
    /// Why it is not announced, or what is being mended.
    pub problem: Option<String>,
}

/// Services in numbers, and those with problems.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicesStatus {
    /// How many are known.
    pub total: usize,
    /// How many have virtual servers.
    pub served: usize,
    /// What is wrong with some.
    pub problems: Vec<Problem>,
}

/// A kernel parameter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SysctlStatus {
    /// The path below `/proc/sys`.
    pub name: String,
    /// What the agent found when it started.
    pub found: Option<String>,
    /// What it is now.
    pub now: Option<String>,
    /// What it should be.
    pub wanted: String,
}

/// Something that fails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailureStatus {
    /// What.
    pub what: String,
    /// Why.
    pub reason: String,
    /// How often in a row.
    pub count: u32,
}

impl Planner {
    /// How things stand.
    pub fn status(&self) -> Status {
        let reasons = self.reasons();
        Status {
            node: self.settings.node.clone(),
            ready: reasons.is_empty(),
            reasons,
            role: self.role.name().to_owned(),
            leaving: self.leaving().is_some(),
            drain: self.drain_status(),
            configuration: self.configuration_status(),
            source: self.source_status(),
            ranges: self.vip_ranges().map(|range| self.range_status(range.prefix, range.announce)).collect(),
            services: self.services_status(),
            brake: self.brake_status(),
            ipvs: self.ipvs_status(),
            proof: self.proof_status(),
            capacity: self.capacity_status(),
            rehash: self.rehash_status(),
            bgp: self.bgp_status(),
            lease: self.lease_status(),
            bfd: self.bfd_status(),
            sysctls: self.sysctl_status(),
            failures: self.failures(),
        }
    }

    fn configuration_status(&self) -> ConfigurationStatus {
        let loaded = self.loaded.as_ref();
        loaded.map_or_else(ConfigurationStatus::default, |Loaded { file, at, problem }| ConfigurationStatus {
            file: file.clone(),
            loaded: bgp::rfc3339(*at),
            problem: problem.clone(),
        })
    }

    fn source_status(&self) -> SourceStatus {
        let problem = |subject: String, problem: &str| Problem { subject, problem: problem.to_owned() };
        SourceStatus {
            listed: self.cluster.is_listed(),
            bad_objects: self.cluster.bad_objects().map(|(object, what)| problem(object.to_string(), what)).collect(),
            troubles: self.cluster.troubles().map(|(origin, what)| problem(origin.to_owned(), what)).collect(),
        }
    }

    /// The ranges in force, those of canaries apart.
    pub(in crate::plan) fn vip_ranges(&self) -> impl Iterator<Item = &Range> {
        self.ranges.iter().filter(|range| !range.is_canary())
    }

    fn range_status(&self, prefix: Prefix, announce: Announce) -> RangeStatus {
        RangeStatus {
            prefix: prefix.to_string(),
            announce: match announce {
                Announce::Aggregate => "aggregate",
                Announce::Host => "host",
                Announce::None => "none",
            }
            .to_owned(),
            routes: self.routes_in(prefix),
            problem: self.range_problem(prefix, announce),
        }
    }

    fn services_status(&self) -> ServicesStatus {
        let mut problems = Vec::new();
        for service in self.ledger.services() {
            problems.extend(
                self.ledger
                    .problems(service)
                    .into_iter()
                    .map(|p| Problem { subject: service.to_string(), problem: p.to_string() }),
            );
        }
        for (key, failure) in self.memory.failures() {
            let server = match key {
                Key::Server(server) | Key::Destination(server, _) => server,
                _ => continue,
            };
            let subject = self.ledger.owner(server).map_or_else(|| server.to_string(), ToString::to_string);
            problems.push(Problem { subject, problem: format!("{key}: {}", failure.reason) });
        }
        let services = self.ledger.services().filter(|service| **service != canary::claimant());
        let served = services.filter(|s| self.ledger.claim(s).is_some_and(|c| c.is_served()));
        ServicesStatus { total: self.cluster.service_count(), served: served.count(), problems }
    }

    fn sysctl_status(&self) -> Vec<SysctlStatus> {
        let wanted = self.desired_sysctls().into_iter();
        wanted
            .map(|(name, wanted)| SysctlStatus {
                found: self.host.found.get(&name).cloned(),
                now: self.actual.sysctls.get(&name).cloned(),
                name: name.to_string(),
                wanted,
            })
            .collect()
    }

    /// The kernel parameters that vipcast may have set, as they are.
    pub fn known_sysctls(&self) -> Vec<SysctlStatus> {
        let wanted = sysctl::desired(&Family::ALL.into()).into_iter();
        wanted
            .filter_map(|(name, wanted)| {
                let now = Some(self.actual.sysctls.get(&name)?.clone());
                Some(SysctlStatus { found: self.host.found.get(&name).cloned(), now, name: name.to_string(), wanted })
            })
            .collect()
    }

    fn failures(&self) -> Vec<FailureStatus> {
        let failures = self.memory.failures();
        failures
            .map(|(key, failure)| FailureStatus {
                what: key.to_string(),
                reason: failure.reason.clone(),
                count: failure.count,
            })
            .collect()
    }
}
