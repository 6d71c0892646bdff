//! Virtual servers, over generic netlink.
//!
//! The kernel loads a scheduler's module (`ip_vs_NAME`) by itself when a virtual server first asks for it, while other
//! changes wait; there is no request that only loads it.

pub mod codec;
mod outcome;

use std::collections::BTreeMap;

use rustix::io::Errno;

use crate::model::ipvs::{Connections, Protocol, ServerKey, ServerSettings, Timeouts, VirtualServer};
use crate::model::traffic::{Count, Traffic};
use crate::plan::step::{Observation, Outcome, Report, Step};

use super::netlink::{Attributes, Batch, Load, NetlinkError, Socket, Verdict};
use codec::Malformed;

/// How many changes go to the kernel in one datagram. With more, what a datagram itself costs hardly shrinks any more,
/// and the errors of a whole batch would not fit the socket's queue (see [`Socket`]).
pub const BATCH: usize = 128;

/// Why virtual servers cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum IpvsError {
    /// The kernel has no IPVS and no module that brings it, or may not load it.
    #[error("the kernel has no IPVS: load module ip_vs")]
    Absent,
    /// Netlink does not work.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The kernel says something that cannot be understood.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// The one place that changes virtual servers, those of the network namespace of the thread that uses it.
pub struct Ipvs {
    /// None after an answer was lost or the module went away: then the next use connects anew.
    connection: Option<Connection>,
    /// Holds for each connection, not only for the first.
    load: Load,
}

impl Ipvs {
    /// Connects to the kernel, which loads the module `ip_vs` if it has to.
    pub fn connect() -> Result<Ipvs, IpvsError> {
        Ipvs::with(Load::Allowed)
    }

    /// Connects to the kernel if IPVS is loaded already; else the error is [`IpvsError::Absent`]. Nothing that is done
    /// with it later loads IPVS either.
    pub fn connect_if_loaded() -> Result<Ipvs, IpvsError> {
        Ipvs::with(Load::Never)
    }

    /// Connects to the kernel, which may load the module `ip_vs` as `load` says, now and whenever it is connected anew.
    pub(in crate::apply) fn with(load: Load) -> Result<Ipvs, IpvsError> {
        Ok(Ipvs { connection: Some(Connection::open(load)?), load })
    }

    /// Performs `steps` in their order and reports on each. Changes go out in batches. A reading step sees all changes
    /// before it and none after it. Steps that are not about virtual servers are refused.
    pub fn perform(&mut self, steps: Vec<Step>) -> Vec<Report> {
        let mut reports = Vec::with_capacity(steps.len());
        let mut steps = steps.into_iter();
        while let [first, ..] = steps.as_slice() {
            let outcomes = if first.is_read() {
                vec![self.read(first)]
            } else {
                let changes = steps.as_slice().iter().take(BATCH).take_while(|step| !step.is_read()).count();
                self.change(&steps.as_slice()[..changes])
            };
            reports.extend(outcomes.into_iter().zip(steps.by_ref()).map(|(outcome, step)| Report { step, outcome }));
        }
        reports
    }

    /// All virtual servers of the network namespace, without their destinations; those by firewall mark are left out.
    pub fn list(&mut self) -> Result<BTreeMap<ServerKey, ServerSettings>, IpvsError> {
        self.reading(|connection| {
            let family = connection.family;
            Ok(connection.objects(codec::list_servers(family), codec::parse_server)?.into_iter().flatten().collect())
        })
    }

    /// One virtual server with its destinations, and the connections that they have; none if it is not there.
    pub fn get(&mut self, key: &ServerKey) -> Result<Option<(VirtualServer, Connections)>, IpvsError> {
        self.reading(|connection| {
            let family = connection.family;
            // First the server: the list of destinations is empty without an error where there is no server.
            let servers = match connection.objects(codec::get_server(family, key), codec::parse_server) {
                Err(IpvsError::Netlink(NetlinkError::Refused(Errno::SRCH))) => return Ok(None),
                servers => servers?,
            };
            let parse =
                |object: &Attributes<'_>| Ok((codec::parse_destination(object)?, codec::parse_connections(object)?));
            let destinations = connection.objects(codec::list_destinations(family, key), parse)?;
            let connections = destinations.iter().map(|((name, _), count)| (*name, *count)).collect();
            let destinations = destinations.into_iter().map(|(destination, _)| destination).collect();
            let server = servers.into_iter().flatten().next();
            Ok(server.map(|(_, settings)| (VirtualServer { settings, destinations }, connections)))
        })
    }

    /// The connections of all virtual servers that have had any, those by firewall mark left out. Destinations are asked for
    /// only where connections have come; but where the kernel says so of none, it may not count
    /// (`net/ipv4/vs/run_estimation`), and all are.
    pub fn traffic(&mut self) -> Result<Traffic, IpvsError> {
        self.reading(|connection| {
            let family = connection.family;
            let parse = |object: &Attributes<'_>| {
                let server = codec::parse_server(object)?;
                let (total, packets) = codec::parse_traffic(object);
                Ok(server.map(|(key, _)| (key, Count { total, packets, open: 0 })))
            };
            let found = connection.objects(codec::list_servers(family), parse)?;
            let mut traffic: Traffic = found.into_iter().flatten().collect();
            let counts = traffic.values().any(|count| count.total > 0);
            traffic.retain(|_, count| !counts || count.total > 0);
            for (key, count) in traffic.iter_mut().filter(|(key, _)| key.protocol != Protocol::Udp) {
                let active = connection.objects(codec::list_destinations(family, key), codec::parse_active)?;
                count.open = active.into_iter().sum();
            }
            Ok(traffic)
        })
    }

    /// After how long idle connections are forgotten.
    pub fn timeouts(&mut self) -> Result<Timeouts, IpvsError> {
        self.reading(|connection| {
            let family = connection.family;
            let found = connection.objects(codec::get_timeouts(family), codec::parse_timeouts)?;
            found.into_iter().next().ok_or(IpvsError::Malformed(codec::NO_TIMEOUTS))
        })
    }

    fn read(&mut self, step: &Step) -> Outcome {
        let observation = match step {
            Step::ListServers => self.list().map(Observation::Servers),
            Step::ReadServer(key) => self.get(key).map(|found| {
                let (server, connections) = found.unzip();
                Observation::Server(server, connections.unwrap_or_default())
            }),
            Step::ReadTraffic => self.traffic().map(Observation::Traffic),
            other => return Outcome::Refused(codec::Unfit::NotOurs(other.target()).to_string()),
        };
        observation.map_or_else(|error| outcome::unreadable(&error), Outcome::Read)
    }

    fn change(&mut self, steps: &[Step]) -> Vec<Outcome> {
        let load = self.load;
        let connection = match self.connection() {
            Ok(connection) => connection,
            Err(error) => return vec![outcome::unreadable(&error); steps.len()],
        };
        let mut batch = Batch::default();
        let fit: Vec<_> = steps.iter().map(|step| codec::push(&mut batch, connection.family, step)).collect();
        let verdicts = match connection.socket.send(batch) {
            Ok(verdicts) => verdicts,
            Err(error) => return vec![outcome::unreadable(&error.into()); steps.len()],
        };
        // The kernel answers ENOENT to a family that went away with its module, too.
        if verdicts.contains(&Verdict::Failed(Errno::NOENT)) && !connection.is_current(load) {
            self.connection = None;
            return vec![outcome::unloaded(); steps.len()];
        }
        let mut verdicts = verdicts.into_iter();
        let outcome = |(step, fit): (&Step, Result<(), codec::Unfit>)| match fit {
            Ok(()) => outcome::of(step, verdicts.next().unwrap_or(Verdict::Unknown)),
            Err(unfit) => Outcome::Refused(unfit.to_string()),
        };
        steps.iter().zip(fit).map(outcome).collect()
    }

    /// Reads by `read`. After a failure the socket is given up: a half-received list may be stuck in it.
    fn reading<T>(&mut self, read: impl FnOnce(&mut Connection) -> Result<T, IpvsError>) -> Result<T, IpvsError> {
        let result = read(self.connection()?);
        if result.is_err() {
            self.connection = None;
        }
        result
    }

    fn connection(&mut self) -> Result<&mut Connection, IpvsError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(self.load)?,
        };
        Ok(self.connection.insert(connection))
    }
}

/// A socket, and the number by which the kernel knows IPVS.
struct Connection {
    socket: Socket,
    family: u16,
}

impl Connection {
    fn open(load: Load) -> Result<Connection, IpvsError> {
        let mut socket = Socket::open()?;
        let family = socket.resolve(codec::FAMILY, load)?.ok_or(IpvsError::Absent)?;
        Ok(Connection { socket, family })
    }

    /// Is the family's number still the one that we know?
    fn is_current(&mut self, load: Load) -> bool {
        matches!(self.socket.resolve(codec::FAMILY, load), Ok(Some(family)) if family == self.family)
    }

    /// Asks for objects and parses each.
    fn objects<T>(
        &mut self,
        request: Batch,
        parse: impl Fn(&Attributes<'_>) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, IpvsError> {
        let mut objects = Vec::new();
        self.socket.ask(request, |object| objects.push(parse(&object)))?;
        Ok(objects.into_iter().collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests;
