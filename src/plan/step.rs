//! Steps are data: what an executor is to do, and what it answers. An executor performs the steps that it is given in
//! their order, each to its end, and reports on every one in the same order. It never decides.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use crate::model::addr::{Addr, LINK, LocalRoute, PROBE_LINK};
use crate::model::bgp::{Bgp, Export, Global, Path, Peer, PeerName};
use crate::model::ipvs::{
    Connections, Destination, DestinationKey, ServerKey, ServerSettings, Timeouts, VirtualServer,
};
use crate::model::nft::{Elements, Nft, Table};
use crate::model::node::Host;
use crate::model::sysctl::{Sysctl, Sysctls};
use crate::model::traffic::Traffic;
use crate::model::{Family, Prefix};

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Write a kernel parameter.
    SetSysctl(Sysctl, String),
    /// Create the dummy link if it is missing, and set it up and NOARP.
    EnsureLink,
    /// Delete the dummy link.
    DeleteLink,
    /// Create the probe's link if it is missing, set both ends up and NOARP, and make just these prefixes lead to it.
    EnsureProbe(BTreeSet<Prefix>),
    /// Delete the probe's link, and with it the routes that lead to it.
    DeleteProbe,
    /// Replace the table `inet vipcast` in one transaction. `stray` is empty.
    ReplaceTable(Table),
    /// Take elements out of the table `inet vipcast` and put others in, in one transaction. Those to take out are there, a
    /// virtual server's source prefixes being one element; those to put in are not, unless they are taken out too.
    EditTable {
        /// To put in.
        add: Elements,
        /// To take out.
        remove: Elements,
    },
    /// Delete the table `inet vipcast`.
    DeleteTable,
    /// Write the classic SNAT rule of a family, in our own iptables chain.
    SetClassicSnat(Family),
    /// Remove our iptables chain of a family and the jump to it.
    DeleteClassicSnat(Family),
    /// Create a virtual server without destinations.
    AddServer(ServerKey, ServerSettings),
    /// Change a virtual server's settings in place.
    SetServer(ServerKey, ServerSettings),
    /// Delete a virtual server with its destinations.
    DeleteServer(ServerKey),
    /// Add a destination.
    AddDestination(ServerKey, DestinationKey, Destination),
    /// Change a destination in place.
    SetDestination(ServerKey, DestinationKey, Destination),
    /// Delete a destination.
    DeleteDestination(ServerKey, DestinationKey),
    /// Set after how long IPVS forgets idle connections.
    SetTimeouts(Timeouts),
    /// Delete the conntrack entries of UDP flows that were sent to the virtual server and that the destination answers, and
    /// no others. With the virtual server's own address and port for a destination, they are those that passed by before
    /// it was there.
    Forget(ServerKey, DestinationKey),
    /// Add a local route, or replace the one of our protocol that is there.
    SetRoute(Prefix, LocalRoute),
    /// Delete a local route of our protocol.
    DeleteRoute(Prefix),
    /// Start gobgpd's BGP with this identity. Never sent to a gobgpd that runs BGP already: it would empty its table.
    StartBgp(Global),
    /// Stop gobgpd's BGP, ending all sessions; only where gobgpd is ours alone.
    StopBgp,
    /// Reject all routes from the neighbours with an address in one of these prefixes, and only from them; for none,
    /// remove all that does so.
    RejectImports(BTreeSet<Prefix>),
    /// Make this the export policy, the peers being known by their addresses, and send those for whom it changes what they
    /// had; for none, remove all of it.
    SetExports(BTreeMap<IpAddr, Export>),
    /// Add a peer.
    AddPeer(PeerName, Peer),
    /// Delete a peer of ours, ending its session.
    DeletePeer(PeerName),
    /// Send a peer its routes again (soft reset outbound).
    Resend(PeerName),
    /// Announce a path, in place of the one of ours that is there.
    Announce(Prefix, Path),
    /// Withdraw a path.
    Withdraw(Prefix),
    /// Read everything in the kernel that is ours but the virtual servers, and the facts about this node.
    ReadHost,
    /// List all virtual servers, without their destinations.
    ListServers,
    /// Read one virtual server with its destinations.
    ReadServer(ServerKey),
    /// Count the connections of all virtual servers.
    ReadTraffic,
    /// Read gobgpd's identity, policies, peers, local paths, and what its peers were sent.
    ReadSpeaker,
    /// Read what a peer was sent for these prefixes.
    ReadSent(PeerName, BTreeSet<Prefix>),
}

/// Who performs a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// `/proc/sys`.
    Sysctl,
    /// The links and their routes.
    Addr,
    /// Packet filter rules.
    Nft,
    /// Virtual servers.
    Ipvs,
    /// Connections of virtual servers: after how long they are forgotten, and which at once.
    Connections,
    /// gobgpd.
    Bgp,
}

impl Target {
    /// All of them.
    pub const ALL: [Target; 6] =
        [Target::Sysctl, Target::Addr, Target::Nft, Target::Ipvs, Target::Connections, Target::Bgp];

    /// Its name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Target::Sysctl => "sysctl",
            Target::Addr => "addr",
            Target::Nft => "nft",
            Target::Ipvs => "ipvs",
            Target::Connections => "connections",
            Target::Bgp => "bgp",
        }
    }
}

impl Step {
    /// Who performs it. [`Step::ReadHost`], which reads several targets, counts as `addr`.
    pub fn target(&self) -> Target {
        match self {
            Step::SetSysctl(..) => Target::Sysctl,
            Step::EnsureLink
            | Step::DeleteLink
            | Step::EnsureProbe(_)
            | Step::DeleteProbe
            | Step::SetRoute(..)
            | Step::DeleteRoute(_)
            | Step::ReadHost => Target::Addr,
            Step::ReplaceTable(_)
            | Step::EditTable { .. }
            | Step::DeleteTable
            | Step::SetClassicSnat(_)
            | Step::DeleteClassicSnat(_) => Target::Nft,
            Step::AddServer(..)
            | Step::SetServer(..)
            | Step::DeleteServer(_)
            | Step::AddDestination(..)
            | Step::SetDestination(..)
            | Step::DeleteDestination(..)
            | Step::ListServers
            | Step::ReadServer(_)
            | Step::ReadTraffic => Target::Ipvs,
            Step::SetTimeouts(_) | Step::Forget(..) => Target::Connections,
            Step::StartBgp(_)
            | Step::StopBgp
            | Step::RejectImports(_)
            | Step::SetExports(_)
            | Step::AddPeer(..)
            | Step::DeletePeer(_)
            | Step::Resend(_)
            | Step::Announce(..)
            | Step::Withdraw(_)
            | Step::ReadSpeaker
            | Step::ReadSent(..) => Target::Bgp,
        }
    }

    /// Does it only look?
    pub fn is_read(&self) -> bool {
        use Step::{ListServers, ReadHost, ReadSent, ReadServer, ReadSpeaker, ReadTraffic};
        matches!(self, ReadHost | ListServers | ReadServer(_) | ReadTraffic | ReadSpeaker | ReadSent(..))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::SetSysctl(name, value) => write!(f, "set {name} to {value}"),
            Step::EnsureLink => write!(f, "set up link {LINK}"),
            Step::DeleteLink => write!(f, "delete link {LINK}"),
            Step::EnsureProbe(routes) => {
                write!(f, "set up link {PROBE_LINK} with routes ")?;
                list(f, routes)
            }
            Step::DeleteProbe => write!(f, "delete link {PROBE_LINK}"),
            Step::ReplaceTable(table) => {
                write!(f, "replace nftables table inet vipcast: masquerade ")?;
                list(f, &table.masquerade)?;
                f.write_str(", guard ")?;
                list(f, &table.guard)
            }
            Step::EditTable { add, remove } => {
                f.write_str("edit nftables table inet vipcast:")?;
                elements(f, " add", add)?;
                elements(f, " remove", remove)
            }
            Step::DeleteTable => f.write_str("delete nftables table inet vipcast"),
            Step::SetClassicSnat(family) => write!(f, "set the {family} iptables SNAT rule"),
            Step::DeleteClassicSnat(family) => write!(f, "delete the {family} iptables SNAT rule"),
            Step::AddServer(key, settings) => write!(f, "add virtual server {key} {}", settings.scheduler),
            Step::SetServer(key, settings) => write!(f, "set virtual server {key} to {}", settings.scheduler),
            Step::DeleteServer(key) => write!(f, "delete virtual server {key}"),
            Step::AddDestination(key, name, value) => {
                write!(f, "add destination {name} weight {} to {key}", value.weight)
            }
            Step::SetDestination(key, name, value) => {
                write!(f, "set destination {name} weight {} of {key}", value.weight)
            }
            Step::DeleteDestination(key, name) => write!(f, "delete destination {name} of {key}"),
            Step::SetTimeouts(Timeouts { tcp, tcp_fin, udp }) => {
                write!(f, "set IPVS timeouts: TCP {tcp} s, TCP after FIN {tcp_fin} s, UDP {udp} s")
            }
            Step::Forget(key, name) => write!(f, "forget flows to {key} that {name} answers"),
            Step::SetRoute(prefix, route) => {
                write!(f, "set local route {prefix}")?;
                route.source.iter().try_for_each(|source| write!(f, " src {source}"))
            }
            Step::DeleteRoute(prefix) => write!(f, "delete local route {prefix}"),
            Step::StartBgp(global) => write!(f, "start BGP: AS {}, router ID {}", global.asn, global.router_id),
            Step::StopBgp => f.write_str("stop BGP"),
            Step::RejectImports(neighbors) if neighbors.is_empty() => f.write_str("remove the BGP import policy"),
            Step::RejectImports(neighbors) => {
                f.write_str("reject BGP routes from neighbours in ")?;
                list(f, neighbors)
            }
            Step::SetExports(exports) if exports.is_empty() => f.write_str("remove the BGP export policy"),
            Step::SetExports(exports) => {
                f.write_str("set the BGP export policy of")?;
                exports.keys().try_for_each(|peer| write!(f, " {peer}"))
            }
            Step::AddPeer(name, peer) => write!(f, "add peer {name} AS {}", peer.asn),
            Step::DeletePeer(name) => write!(f, "delete peer {name}"),
            Step::Resend(name) => write!(f, "send peer {name} its routes again"),
            Step::Announce(prefix, _) => write!(f, "announce {prefix}"),
            Step::Withdraw(prefix) => write!(f, "withdraw {prefix}"),
            Step::ReadHost => f.write_str("read the host"),
            Step::ListServers => f.write_str("list virtual servers"),
            Step::ReadServer(key) => write!(f, "read virtual server {key}"),
            Step::ReadTraffic => f.write_str("count connections"),
            Step::ReadSpeaker => f.write_str("read gobgpd"),
            Step::ReadSent(name, _) => write!(f, "read what peer {name} was sent"),
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, prefixes: &BTreeSet<Prefix>) -> fmt::Result {
    if prefixes.is_empty() {
        return f.write_str("none");
    }
    prefixes.iter().enumerate().try_for_each(|(n, prefix)| write!(f, "{}{prefix}", if n == 0 { "" } else { " " }))
}

/// Elements in words, each list of them after `verb`.
fn elements(f: &mut fmt::Formatter<'_>, verb: &str, elements: &Elements) -> fmt::Result {
    let Elements { keep, masquerade, draining, sources } = elements;
    for (name, keys) in [("keep", keep), ("masquerade", masquerade), ("draining", draining)] {
        if !keys.is_empty() {
            write!(f, "{verb} {name}")?;
            keys.iter().try_for_each(|key| write!(f, " {key}"))?;
        }
    }
    for (key, prefixes) in sources {
        write!(f, "{verb} sources of {key} ")?;
        list(f, prefixes)?;
    }
    Ok(())
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was done; deleting what was not there is done too.
    Done,
    /// The world was not as the plan believed (EEXIST, ENOENT, ESRCH and their like): look again, then plan again.
    Drifted(String),
    /// It was refused, for this reason; the same step will be refused again until something changes.
    Refused(String),
    /// It could not be tried (no connection, a timeout): try again.
    Later(String),
    /// What a reading step found.
    Read(Observation),
}

impl Outcome {
    /// Its name in logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Outcome::Done => "done",
            Outcome::Drifted(_) => "drifted",
            Outcome::Refused(_) => "refused",
            Outcome::Later(_) => "later",
            Outcome::Read(_) => "read",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Done | Outcome::Read(_) => f.write_str(self.name()),
            Outcome::Drifted(reason) | Outcome::Refused(reason) | Outcome::Later(reason) => f.write_str(reason),
        }
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    /// Answer to [`Step::ReadHost`].
    Host(Box<HostReading>),
    /// Answer to [`Step::ListServers`]: all virtual servers of the network namespace, whoever made them; those by
    /// firewall mark are left out.
    Servers(BTreeMap<ServerKey, ServerSettings>),
    /// Answer to [`Step::ReadServer`], with the connections that its destinations have.
    Server(Option<VirtualServer>, Connections),
    /// Answer to [`Step::ReadTraffic`].
    Traffic(Traffic),
    /// Answer to [`Step::ReadSpeaker`].
    Speaker(Box<Bgp>),
    /// Answer to [`Step::ReadSent`]: the paths of the prefixes asked for; `None` if the session is not established.
    Sent(Option<BTreeMap<Prefix, Path>>),
}

/// Answer to [`Step::ReadHost`]. A part that could not be read is an error in words: it is unknown, not empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostReading {
    /// Kernel parameters: those that `plan::sysctl` knows.
    pub sysctls: Result<Sysctls, String>,
    /// Link and routes.
    pub addr: Result<Addr, String>,
    /// Packet filter rules.
    pub nft: Result<Nft, String>,
    /// After how long IPVS forgets idle connections; none where the kernel has not loaded IPVS.
    pub timeouts: Result<Option<Timeouts>, String>,
    /// Facts about the node.
    pub host: Result<Host, String>,
}

/// The answer to one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The step.
    pub step: Step,
    /// How it ended.
    pub outcome: Outcome,
}

/// Performs steps: the single writer of its side. Real ones live in `apply`, a model of them in `plan::rehearse`.
pub trait Executor: Send {
    /// Performs `steps` in their order and reports on each.
    fn perform(&mut self, steps: Vec<Step>) -> impl Future<Output = Vec<Report>> + Send;
}
