//! Connection tracking, over netlink: forgetting UDP flows that would else keep going where nobody answers.
//!
//! IPVS deletes the conntrack entry of a connection when it expires it itself. What is left are flows whose IPVS entry had
//! gone before, and flows that passed by before there was a virtual server: conntrack has fixed where their replies come
//! from, and each packet that the client sends keeps the entry alive.

pub mod codec;

use std::collections::BTreeSet;

use rustix::io::Errno;

use crate::model::Family;
use crate::model::ipvs::Protocol;
use crate::plan::{Outcome, Step};

use super::netlink::{Batch, NetlinkError, Socket, Verdict};
use codec::{Entry, Flow};

/// How many entries are deleted in one datagram: all its errors have to fit the socket's queue.
const BATCH: usize = 128;

/// The connection tracking of the network namespace of the thread that uses it.
#[derive(Default)]
pub struct Conntrack {
    /// None before the first use, and after an answer was lost.
    socket: Option<Socket>,
}

impl Conntrack {
    /// Performs `steps`, of which each is a [`Step::Forget`]; others are refused. The kernel walks through its whole table
    /// once for each family, however many steps there are.
    pub fn perform(&mut self, steps: &[Step]) -> Vec<Outcome> {
        let flow = |step: &Step| match step {
            Step::Forget(server, answers) if server.protocol == Protocol::Udp => Some((*server, *answers)),
            _ => None,
        };
        let of_family = |family| {
            let flows = steps.iter().filter_map(flow);
            flows.filter(move |(server, _)| Family::of(server.address) == family).collect::<BTreeSet<Flow>>()
        };
        let [ipv4, ipv6] = [Family::Ipv4, Family::Ipv6].map(|family| self.forget(family, &of_family(family)));
        let outcome = |step: &Step| match flow(step) {
            Some((server, _)) if server.address.is_ipv4() => ipv4.clone(),
            Some(_) => ipv6.clone(),
            None => Outcome::Refused(format!("not a change of UDP flows: {step}")),
        };
        steps.iter().map(outcome).collect()
    }

    /// Forgets `flows`, which are all of this family.
    fn forget(&mut self, family: Family, flows: &BTreeSet<Flow>) -> Outcome {
        let done = self.find(family, flows).and_then(|entries| self.delete(family, &entries));
        match done {
            Ok(()) => Outcome::Done,
            Err(error) => {
                // Half a listing may be stuck in the socket.
                self.socket = None;
                outcome(&error)
            }
        }
    }

    fn find(&mut self, family: Family, flows: &BTreeSet<Flow>) -> Result<Vec<Entry>, NetlinkError> {
        let mut found = Vec::new();
        if !flows.is_empty() {
            self.socket()?.ask(codec::list(family, flows), |object| {
                found.extend(codec::parse(&object).filter(|entry| flows.contains(&entry.flow())));
            })?;
        }
        Ok(found)
    }

    fn delete(&mut self, family: Family, entries: &[Entry]) -> Result<(), NetlinkError> {
        for some in entries.chunks(BATCH) {
            let mut batch = Batch::default();
            some.iter().for_each(|entry| codec::delete(&mut batch, family, entry));
            for verdict in self.socket()?.send(batch)? {
                match verdict {
                    // It ended by itself.
                    Verdict::Done | Verdict::Failed(Errno::NOENT) => {}
                    Verdict::Failed(errno) => return Err(NetlinkError::Refused(errno)),
                    Verdict::Unknown => return Err(NetlinkError::Lost),
                }
            }
        }
        Ok(())
    }

    fn socket(&mut self) -> Result<&mut Socket, NetlinkError> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => Socket::netfilter()?,
        };
        Ok(self.socket.insert(socket))
    }
}

/// The outcome of steps that could not be performed.
fn outcome(error: &NetlinkError) -> Outcome {
    match error {
        // What netfilter answers about a subsystem that it does not have.
        NetlinkError::Refused(Errno::INVAL) => {
            Outcome::Refused("the kernel cannot be asked for flows: load module nf_conntrack_netlink".into())
        }
        NetlinkError::Refused(Errno::PERM) => {
            Outcome::Refused("not permitted: flows can be forgotten with CAP_NET_ADMIN".into())
        }
        error => Outcome::Later(error.to_string()),
    }
}
