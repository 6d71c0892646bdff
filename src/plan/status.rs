//! The planner's view of itself, for operators: what `/status`, `/readyz`, `/metrics` and `vipcast status` show. The
//! field names are a contract.

mod ipvs;

use serde::{Deserialize, Serialize};

use crate::model::bgp::{NextHop, SessionState};
use crate::model::settings::Announce;
use crate::model::{Family, Kind, Prefix};

use super::capacity::CapacityStatus;
use super::memory::Key;
use super::planner::Planner;
use super::preconditions::Footing;
use super::role::{Role, labels};
use super::standing::rivalry;
use super::sysctl;
pub use ipvs::{IpvsStatus, TimeoutsStatus};

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
    /// The sources.
    pub source: SourceStatus,
    /// The ranges.
    pub ranges: Vec<RangeStatus>,
    /// Services.
    pub services: ServicesStatus,
    /// Virtual servers in the kernel.
    pub ipvs: IpvsStatus,
    /// Room for connections.
    pub capacity: CapacityStatus,
    /// BGP.
    pub bgp: Option<BgpStatus>,
    /// Kernel parameters that vipcast needs.
    pub sysctls: Vec<SysctlStatus>,
    /// Steps that fail, with the reason.
    pub failures: Vec<FailureStatus>,
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

/// BGP.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BgpStatus {
    /// What keeps it from doing its part.
    pub problem: Option<String>,
    /// The AS number that gobgpd runs with.
    pub asn: Option<u32>,
    /// The router ID that gobgpd runs with.
    pub router_id: Option<String>,
    /// The peers.
    pub peers: Vec<PeerStatus>,
    /// The routes that gobgpd holds.
    pub routes: Vec<RouteStatus>,
}

/// A peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerStatus {
    /// Its address.
    pub address: String,
    /// Its AS number.
    pub asn: u32,
    /// The session's state.
    pub state: String,
    /// The last reason for its end.
    pub reason: Option<String>,
    /// What is wrong with how it is configured.
    pub problem: Option<String>,
}

/// A route that gobgpd holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteStatus {
    /// The prefix.
    pub prefix: String,
    /// `self` or an address.
    pub next_hop: String,
    /// Its communities.
    pub communities: Vec<String>,
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
            leaving: self.leaving.is_some(),
            source: self.source_status(),
            ranges: self.ranges.iter().map(|range| self.range_status(range.prefix, range.announce)).collect(),
            services: self.services_status(),
            ipvs: self.ipvs_status(),
            capacity: self.capacity_status(),
            bgp: self.bgp_status(),
            sysctls: self.sysctl_status(),
            failures: self.failures(),
        }
    }

    /// Why the node is not ready: the first list is incomplete, infrastructure is not proven, or a route is not out.
    fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.leaving.is_some() {
            reasons.push("the agent is leaving".to_owned());
        }
        if !self.cluster.is_listed() {
            let missing: Vec<&str> =
                Kind::ALL.iter().filter(|k| !self.cluster.has_listed(**k)).map(|k| k.name()).collect();
            reasons.push(format!("the first list is not complete: {} missing", missing.join(", ")));
            reasons.extend(self.cluster.troubles().map(|(origin, problem)| format!("{origin}: {problem}")));
        }
        reasons.extend(self.role.reason(&self.settings));
        reasons.extend(self.host.unread.iter().map(|(part, reason)| format!("cannot read {}: {reason}", part.name())));
        if let Some(failure) = self.memory.failure(&Key::Listing) {
            reasons.push(format!("cannot list virtual servers: {}", failure.reason));
        }
        if matches!(self.role, Role::Frozen | Role::StandingBy(_)) {
            let down = self.speaker.down.as_ref().filter(|_| self.settings.bgp.is_some() && !self.has_died());
            let held = down.filter(|_| self.is_standing_by() && !self.is_bare());
            reasons.extend(held.map(|why| {
                format!("gobgpd cannot be reached, so routes may still be out, and what they promise stays: {why}")
            }));
            return reasons;
        }
        reasons.extend(self.ranges.problems().map(|(_, problem)| problem.to_owned()));
        if self.derived && self.ranges.iter().next().is_none() {
            reasons
                .push("no ClusterIP range is in force: configure ranges.clusterIPs or create a ServiceCIDR".to_owned());
        }
        if self.derived {
            let problems = self.ranges.iter().filter_map(|range| self.range_problem(range.prefix, range.announce));
            reasons.extend(problems);
        }
        if self.settings.bgp.is_some() {
            reasons.extend(self.bgp_problem());
        }
        reasons
    }

    /// Why a range is not served or not announced.
    fn range_problem(&self, prefix: Prefix, announce: Announce) -> Option<String> {
        let announced = self.settings.bgp.is_some() && announce == Announce::Aggregate;
        let out = self.routes_in(prefix) > 0;
        match self.footing(prefix) {
            Footing::Broken(reason) => return Some(format!("range {prefix}: {reason}")),
            Footing::Mending(reason) if !out => return Some(format!("range {prefix}: {reason}")),
            Footing::Mending(_) | Footing::Proven => {}
        }
        if !announced || out {
            return None;
        }
        if !self.settled(prefix) {
            return Some(format!("range {prefix}: its virtual servers are being programmed"));
        }
        let settings = self.settings.bgp.as_ref()?;
        let reason = super::bgp::unannounceable(settings, &self.peers, prefix.family());
        let refused = self.memory.failure(&Key::Path(prefix)).map(|failure| failure.reason.clone());
        let reason = reason.or(refused).unwrap_or_else(|| "its route is not announced yet".to_owned());
        Some(format!("range {prefix}: {reason}"))
    }

    /// How many routes for `prefix`, or in it, gobgpd holds.
    fn routes_in(&self, prefix: Prefix) -> usize {
        let paths = self.actual.bgp.iter().flat_map(|bgp| bgp.paths.keys());
        paths.filter(|path| prefix.covers(**path)).count()
    }

    fn source_status(&self) -> SourceStatus {
        let problem = |subject: String, problem: &str| Problem { subject, problem: problem.to_owned() };
        SourceStatus {
            listed: self.cluster.is_listed(),
            bad_objects: self.cluster.bad_objects().map(|(object, what)| problem(object.to_string(), what)).collect(),
            troubles: self.cluster.troubles().map(|(origin, what)| problem(origin.to_owned(), what)).collect(),
        }
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
        let served = self.ledger.services().filter(|s| self.ledger.claim(s).is_some_and(|c| c.is_served()));
        ServicesStatus { total: self.cluster.service_count(), served: served.count(), problems }
    }

    fn bgp_status(&self) -> Option<BgpStatus> {
        let settings = self.settings.bgp.as_ref()?;
        let actual = self.actual.bgp.clone().unwrap_or_default();
        let rivals = settings.rival_entries(&labels(&self.cluster));
        let peers = self.peers.iter().map(|(address, peer)| {
            let session = self.speaker.sessions.get(address);
            PeerStatus {
                address: address.to_string(),
                asn: peer.asn,
                state: session.map_or(SessionState::Idle, |session| session.state).to_string(),
                reason: session.and_then(|session| session.reason.clone()),
                problem: rivals.get(address).map(|entries| rivalry(entries)),
            }
        });
        let routes = actual.paths.iter().map(|(prefix, path)| RouteStatus {
            prefix: prefix.to_string(),
            next_hop: match path.next_hop {
                NextHop::Own => "self".to_owned(),
                NextHop::Address(address) => address.to_string(),
            },
            communities: path.communities.iter().map(ToString::to_string).collect(),
        });
        Some(BgpStatus {
            problem: self.bgp_problem().filter(|_| self.role == Role::Serving),
            asn: actual.global.map(|global| global.asn),
            router_id: actual.global.map(|global| global.router_id.to_string()),
            peers: peers.collect(),
            routes: routes.collect(),
        })
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
