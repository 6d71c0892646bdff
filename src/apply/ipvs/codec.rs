//! The generic netlink interface of IPVS (`include/uapi/linux/ip_vs.h`, `net/netfilter/ipvs/ip_vs_ctl.c`): requests
//! that perform steps, and what the kernel's objects say. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::apply::netlink::{Attributes, Batch, Request, Writer};
use crate::model::ipvs::{
    Destination, DestinationKey, Forwarding, Protocol, Scheduler, ServerFlags, ServerKey, ServerSettings, Timeouts,
};
use crate::plan::step::{Step, Target};

/// The name of the family (`IPVS_GENL_NAME`).
pub const FAMILY: &str = "IPVS";
/// The longest name of a scheduler in bytes (`IP_VS_SCHEDNAME_MAXLEN`, its NUL byte left out).
pub const SCHEDULER_NAME_MAX: usize = 15;

/// `IPVS_GENL_VERSION`.
const VERSION: u8 = 1;
/// `AF_INET` and `AF_INET6`, the same on every Linux.
const IPV4: u16 = 2;
const IPV6: u16 = 10;
/// A netmask that groups no clients: persistence is for each address.
const IPV4_NETMASK: u32 = u32::MAX;
/// The same for IPv6, where it is the length of a prefix.
const IPV6_NETMASK: u32 = 128;

/// `IPVS_CMD_*`.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
enum Command {
    NewService = 1,
    SetService = 2,
    DeleteService = 3,
    GetService = 4,
    NewDestination = 5,
    SetDestination = 6,
    DeleteDestination = 7,
    GetDestination = 8,
    SetConfiguration = 12,
    GetConfiguration = 13,
}

/// `IPVS_CMD_ATTR_*`: what a message is about.
mod about {
    pub(super) const SERVICE: u16 = 1;
    pub(super) const DESTINATION: u16 = 2;
    pub(super) const TIMEOUT_TCP: u16 = 4;
    pub(super) const TIMEOUT_TCP_FIN: u16 = 5;
    pub(super) const TIMEOUT_UDP: u16 = 6;
}

/// `IPVS_SVC_ATTR_*`.
mod service {
    pub(super) const FAMILY: u16 = 1;
    pub(super) const PROTOCOL: u16 = 2;
    pub(super) const ADDRESS: u16 = 3;
    pub(super) const PORT: u16 = 4;
    pub(super) const FIREWALL_MARK: u16 = 5;
    pub(super) const SCHEDULER: u16 = 6;
    pub(super) const FLAGS: u16 = 7;
    pub(super) const TIMEOUT: u16 = 8;
    pub(super) const NETMASK: u16 = 9;
    pub(super) const STATS: u16 = 10;
    pub(super) const STATS64: u16 = 12;
}

/// `IPVS_STATS_ATTR_*`.
mod statistics {
    pub(super) const CONNECTIONS: u16 = 1;
    pub(super) const PACKETS_IN: u16 = 2;
}

/// `IPVS_DEST_ATTR_*`.
mod destination {
    pub(super) const ADDRESS: u16 = 1;
    pub(super) const PORT: u16 = 2;
    pub(super) const FORWARDING: u16 = 3;
    pub(super) const WEIGHT: u16 = 4;
    pub(super) const UPPER_THRESHOLD: u16 = 5;
    pub(super) const LOWER_THRESHOLD: u16 = 6;
    pub(super) const ACTIVE: u16 = 7;
    pub(super) const INACTIVE: u16 = 8;
    pub(super) const FAMILY: u16 = 11;
}

/// An object of the kernel that does not say what it must.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the kernel's {object} has no usable {attribute}")]
pub struct Malformed {
    /// What kind of object.
    pub object: &'static str,
    /// What is missing in it, or cannot be understood.
    pub attribute: &'static str,
}

/// An answer that has no timeouts.
pub const NO_TIMEOUTS: Malformed = Malformed { object: "configuration", attribute: "timeouts" };

/// A step that no request can be made of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It is not about virtual servers, or changes nothing.
    #[error("not a change of virtual servers, but a step for {}", .0.name())]
    NotOurs(Target),
    /// The kernel has no schedulers with such names.
    #[error("scheduler {:?}: a name is 1 to {SCHEDULER_NAME_MAX} bytes, none of them NUL", .0.0)]
    SchedulerName(Scheduler),
}

/// Adds the request that performs `step` to `batch`.
pub fn push(batch: &mut Batch, family: u16, step: &Step) -> Result<(), Unfit> {
    if let Step::AddServer(_, settings) | Step::SetServer(_, settings) = step {
        let name = &settings.scheduler.0;
        if name.is_empty() || name.len() > SCHEDULER_NAME_MAX || name.contains('\0') {
            return Err(Unfit::SchedulerName(settings.scheduler.clone()));
        }
    }
    let mut add = |command, body: &dyn Fn(&mut Writer)| batch.push(request(family, command, false), |w| body(w));
    match step {
        Step::AddServer(key, settings) => add(Command::NewService, &|w| server(w, key, Some(settings))),
        Step::SetServer(key, settings) => add(Command::SetService, &|w| server(w, key, Some(settings))),
        Step::DeleteServer(key) => add(Command::DeleteService, &|w| server(w, key, None)),
        Step::AddDestination(key, name, value) => add(Command::NewDestination, &|w| {
            server(w, key, None);
            destination(w, name, Some(value));
        }),
        Step::SetDestination(key, name, value) => add(Command::SetDestination, &|w| {
            server(w, key, None);
            destination(w, name, Some(value));
        }),
        Step::DeleteDestination(key, name) => add(Command::DeleteDestination, &|w| {
            server(w, key, None);
            destination(w, name, None);
        }),
        Step::SetTimeouts(timeouts) => add(Command::SetConfiguration, &|w| {
            w.u32(about::TIMEOUT_TCP, timeouts.tcp);
            w.u32(about::TIMEOUT_TCP_FIN, timeouts.tcp_fin);
            w.u32(about::TIMEOUT_UDP, timeouts.udp);
        }),
        other => return Err(Unfit::NotOurs(other.target())),
    }
    Ok(())
}

/// Asks for all virtual servers.
pub fn list_servers(family: u16) -> Batch {
    Batch::of(request(family, Command::GetService, true), |_| {})
}

/// Asks for one virtual server, its destinations apart. The kernel answers ESRCH where there is none.
pub fn get_server(family: u16, key: &ServerKey) -> Batch {
    Batch::of(request(family, Command::GetService, false), |w| server(w, key, None))
}

/// Asks for the destinations of a virtual server. The kernel lists none, without an error, where there is no such
/// virtual server.
pub fn list_destinations(family: u16, key: &ServerKey) -> Batch {
    Batch::of(request(family, Command::GetDestination, true), |w| server(w, key, None))
}

/// Asks after how long idle connections are forgotten.
pub fn get_timeouts(family: u16) -> Batch {
    Batch::of(request(family, Command::GetConfiguration, false), |_| {})
}

/// The timeouts of a message.
pub fn parse_timeouts(message: &Attributes<'_>) -> Result<Timeouts, Malformed> {
    let seconds = |kind| message.get(kind).and_then(|a| a.u32()).ok_or(NO_TIMEOUTS);
    let (tcp, tcp_fin) = (seconds(about::TIMEOUT_TCP)?, seconds(about::TIMEOUT_TCP_FIN)?);
    Ok(Timeouts { tcp, tcp_fin, udp: seconds(about::TIMEOUT_UDP)? })
}

/// The virtual server of a message; none where it is one that no [`ServerKey`] names: by firewall mark, or of another
/// protocol.
pub fn parse_server(message: &Attributes<'_>) -> Result<Option<(ServerKey, ServerSettings)>, Malformed> {
    let missing = |attribute| Malformed { object: "virtual server", attribute };
    let nest = message.get(about::SERVICE).ok_or(missing("attributes"))?.nested();
    if nest.get(service::FIREWALL_MARK).is_some() {
        return Ok(None);
    }
    let number = nest.get(service::PROTOCOL).and_then(|a| a.u16()).ok_or(missing("protocol"))?;
    let Some(protocol) = u8::try_from(number).ok().and_then(Protocol::from_number) else { return Ok(None) };
    let family = nest.get(service::FAMILY).and_then(|a| a.u16()).ok_or(missing("address family"))?;
    let address = nest.get(service::ADDRESS).and_then(|a| address(family, a.value)).ok_or(missing("address"))?;
    let port = nest.get(service::PORT).and_then(|a| a.be16()).ok_or(missing("port"))?;
    let scheduler = nest.get(service::SCHEDULER).and_then(|a| a.string()).ok_or(missing("scheduler"))?;
    // struct ip_vs_flags: the flags, then the mask of those that count.
    let flags = nest.get(service::FLAGS).and_then(|a| a.value.first_chunk().copied()).ok_or(missing("flags"))?;
    let timeout = nest.get(service::TIMEOUT).and_then(|a| a.u32()).ok_or(missing("timeout"))?;
    let settings = ServerSettings {
        scheduler: Scheduler::new(scheduler),
        flags: ServerFlags(u32::from_ne_bytes(flags) & !ServerFlags::KERNEL_OWNED),
        timeout,
    };
    Ok(Some((ServerKey { address, protocol, port }, settings)))
}

/// The destination of a message.
pub fn parse_destination(message: &Attributes<'_>) -> Result<(DestinationKey, Destination), Malformed> {
    let missing = |attribute| Malformed { object: "destination", attribute };
    let nest = message.get(about::DESTINATION).ok_or(missing("attributes"))?.nested();
    let family = nest.get(destination::FAMILY).and_then(|a| a.u16()).ok_or(missing("address family"))?;
    let address = nest.get(destination::ADDRESS).and_then(|a| address(family, a.value)).ok_or(missing("address"))?;
    let port = nest.get(destination::PORT).and_then(|a| a.be16()).ok_or(missing("port"))?;
    let method = nest.get(destination::FORWARDING).and_then(|a| a.u32()).ok_or(missing("forwarding method"))?;
    let forwarding = forwarding(method).ok_or(missing("forwarding method"))?;
    let weight = nest.get(destination::WEIGHT).and_then(|a| a.u32()).ok_or(missing("weight"))?;
    Ok((DestinationKey { address, port }, Destination { weight, forwarding }))
}

/// How many connections the destination of a message has, active and inactive ones.
pub fn parse_connections(message: &Attributes<'_>) -> Result<u64, Malformed> {
    let missing = |attribute| Malformed { object: "destination", attribute };
    let nest = message.get(about::DESTINATION).ok_or(missing("attributes"))?.nested();
    let count = |kind| nest.get(kind).and_then(|a| a.u32()).ok_or(missing("count of connections")).map(u64::from);
    Ok(count(destination::ACTIVE)? + count(destination::INACTIVE)?)
}

/// How many connections the virtual server of a message has had, and how many packets came for them; 0 from a kernel that
/// does not say. The counters of 64 bits are there since kernel 4.1.
pub fn parse_traffic(message: &Attributes<'_>) -> (u64, u64) {
    let Some(nest) = message.get(about::SERVICE).map(|attribute| attribute.nested()) else { return (0, 0) };
    let wide = nest.get(service::STATS64).map(|attribute| attribute.nested());
    let narrow = nest.get(service::STATS).map(|attribute| attribute.nested());
    let count = |kind| {
        let wide = wide.as_ref().and_then(|stats| stats.get(kind)?.u64());
        wide.or_else(|| narrow.as_ref()?.get(kind)?.u32().map(u64::from)).unwrap_or_default()
    };
    (count(statistics::CONNECTIONS), count(statistics::PACKETS_IN))
}

/// How many active connections the destination of a message has.
pub fn parse_active(message: &Attributes<'_>) -> Result<u64, Malformed> {
    let missing = |attribute| Malformed { object: "destination", attribute };
    let nest = message.get(about::DESTINATION).ok_or(missing("attributes"))?.nested();
    nest.get(destination::ACTIVE).and_then(|a| a.u32()).ok_or(missing("count of connections")).map(u64::from)
}

fn request(family: u16, command: Command, dump: bool) -> Request {
    Request { family, command: command as u8, version: VERSION, dump }
}

/// Writes what names a virtual server and, where the request is about the server itself, its settings.
fn server(w: &mut Writer, key: &ServerKey, settings: Option<&ServerSettings>) {
    w.nest(about::SERVICE, |w| {
        w.u16(service::FAMILY, family_of(key.address));
        w.u16(service::PROTOCOL, u16::from(key.protocol.number()));
        w.bytes(service::ADDRESS, &padded(key.address));
        w.be16(service::PORT, key.port);
        if let Some(settings) = settings {
            w.string(service::SCHEDULER, &settings.scheduler.0);
            // struct ip_vs_flags: the flags, then the mask of those that count, which is all.
            let mut flags = [0xff; 8];
            flags[..4].copy_from_slice(&(settings.flags.0 & !ServerFlags::KERNEL_OWNED).to_ne_bytes());
            w.bytes(service::FLAGS, &flags);
            w.u32(service::TIMEOUT, settings.timeout);
            w.u32(service::NETMASK, if key.address.is_ipv4() { IPV4_NETMASK } else { IPV6_NETMASK });
        }
    });
}

/// Writes what names a destination and, unless it is to be deleted, what it is to be. No thresholds: connections are
/// not limited.
fn destination(w: &mut Writer, key: &DestinationKey, value: Option<&Destination>) {
    w.nest(about::DESTINATION, |w| {
        w.u16(destination::FAMILY, family_of(key.address));
        w.bytes(destination::ADDRESS, &padded(key.address));
        w.be16(destination::PORT, key.port);
        if let Some(value) = value {
            w.u32(destination::FORWARDING, method(value.forwarding));
            w.u32(destination::WEIGHT, value.weight);
            w.u32(destination::UPPER_THRESHOLD, 0);
            w.u32(destination::LOWER_THRESHOLD, 0);
        }
    });
}

fn family_of(address: IpAddr) -> u16 {
    if address.is_ipv4() { IPV4 } else { IPV6 }
}

/// An address as `union nf_inet_addr` keeps it: 16 bytes, those of IPv4 first.
fn padded(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&address.octets());
            bytes
        }
        IpAddr::V6(address) => address.octets(),
    }
}

fn address(family: u16, bytes: &[u8]) -> Option<IpAddr> {
    match family {
        IPV4 => bytes.first_chunk().map(|bytes: &[u8; 4]| Ipv4Addr::from(*bytes).into()),
        IPV6 => bytes.first_chunk().map(|bytes: &[u8; 16]| Ipv6Addr::from(*bytes).into()),
        _ => None,
    }
}

/// The number of a forwarding method (`IP_VS_CONN_F_MASQ` and its like).
fn method(forwarding: Forwarding) -> u32 {
    match forwarding {
        Forwarding::Masquerade => 0,
        Forwarding::Local => 1,
        Forwarding::Tunnel => 2,
        Forwarding::DirectRouting => 3,
        Forwarding::Bypass => 4,
    }
}

fn forwarding(number: u32) -> Option<Forwarding> {
    use Forwarding::{Bypass, DirectRouting, Local, Masquerade, Tunnel};
    [Masquerade, Local, Tunnel, DirectRouting, Bypass].into_iter().find(|&forwarding| method(forwarding) == number)
}

#[cfg(test)]
mod tests;
