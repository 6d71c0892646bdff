//! What the kernel's errors mean for a step (`net/netfilter/ipvs/ip_vs_ctl.c`).

use rustix::io::Errno;

use crate::apply::netlink::{NetlinkError, Verdict};
use crate::plan::step::{Outcome, Step};

use super::IpvsError;

/// The outcome of a changing step.
pub(super) fn of(step: &Step, verdict: Verdict) -> Outcome {
    match verdict {
        Verdict::Done => Outcome::Done,
        Verdict::Unknown => Outcome::Drifted("the kernel's answer was lost".into()),
        Verdict::Failed(errno) => failed(step, errno),
    }
}

/// The outcome of a step when the kernel could not be asked or gave no answer to build on.
pub(super) fn unreadable(error: &IpvsError) -> Outcome {
    let reason = error.to_string();
    match error {
        IpvsError::Absent | IpvsError::Malformed(_) => Outcome::Refused(reason),
        IpvsError::Netlink(NetlinkError::Refused(Errno::NOENT)) => unloaded(),
        IpvsError::Netlink(NetlinkError::Refused(errno)) => refused(*errno),
        IpvsError::Netlink(_) => Outcome::Later(reason),
    }
}

/// The outcome of a step that was sent to a module that is not there any more.
pub(super) fn unloaded() -> Outcome {
    Outcome::Later("module ip_vs was unloaded".into())
}

fn failed(step: &Step, errno: Errno) -> Outcome {
    let drifted = |reason: &str| Outcome::Drifted(reason.into());
    match (step, errno) {
        (Step::DeleteServer(_) | Step::DeleteDestination(..), Errno::SRCH | Errno::NOENT) => Outcome::Done,
        (Step::AddServer(..), Errno::EXIST) => drifted("the virtual server is there already"),
        (Step::AddDestination(..), Errno::EXIST) => drifted("the destination is there already"),
        (Step::SetDestination(..), Errno::NOENT) => drifted("no such destination"),
        (_, Errno::SRCH) => drifted("no such virtual server"),
        (Step::AddServer(_, settings) | Step::SetServer(_, settings), Errno::NOENT) => {
            let name = &settings.scheduler;
            Outcome::Refused(format!("scheduler {name}: the kernel has no module ip_vs_{name}"))
        }
        // Also what a namespace answers whose loopback link was never up: it has no table of local addresses.
        (Step::AddDestination(_, name, _) | Step::SetDestination(_, name, _), Errno::INVAL) => {
            Outcome::Refused(format!(
                "destination {name}: the kernel takes only unicast addresses, no link-local ones, and lo must be up"
            ))
        }
        (Step::AddDestination(_, name, value) | Step::SetDestination(_, name, value), Errno::RANGE) => {
            Outcome::Refused(format!("destination {name}: weight {} is more than {}", value.weight, i32::MAX))
        }
        _ => refused(errno),
    }
}

/// What an error means whatever the step was.
fn refused(errno: Errno) -> Outcome {
    match errno {
        Errno::NOMEM | Errno::NOBUFS | Errno::INTR | Errno::AGAIN | Errno::BUSY => {
            Outcome::Later(format!("the kernel answered: {errno}"))
        }
        Errno::PERM => {
            Outcome::Refused("not permitted: IPVS wants CAP_NET_ADMIN in the host's own user namespace".into())
        }
        Errno::AFNOSUPPORT => Outcome::Refused("the kernel's IPVS has no IPv6".into()),
        errno => Outcome::Refused(format!("the kernel answered: {errno}")),
    }
}
