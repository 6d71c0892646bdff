//! Sending and receiving.

use std::io;

use neli::consts::socket::{Msg, NlFamily};
use neli::socket::NlSocket;
use neli::utils::Groups;
use rustix::io::Errno;

use super::answer::Answers;
use super::{Attributes, Batch, Request, Verdict};

/// The kernel makes the datagrams of a dump as large as the largest buffer that it was offered, up to 32 KiB
/// (`netlink_recvmsg`), and no other answer of the families that are used here comes near this.
const RECEIVE_BUFFER: usize = 64 * 1024;
/// What is asked for to hold answers that wait; the kernel grants up to twice `net.core.rmem_max`. An error takes about
/// 1,280 bytes, so even the default of 212,992 holds all errors of a batch of 128.
const QUEUE: usize = 1 << 20;

/// The family that knows the others (`GENL_ID_CTRL`, `include/uapi/linux/genetlink.h`).
const CONTROLLER: u16 = 0x10;
/// `CTRL_CMD_GETFAMILY`.
const CONTROLLER_GET_FAMILY: u8 = 3;
/// The version of the controller's interface.
const CONTROLLER_VERSION: u8 = 2;
/// `CTRL_ATTR_FAMILY_ID`.
const FAMILY_ID: u16 = 1;
/// `CTRL_ATTR_FAMILY_NAME`.
const FAMILY_NAME: u16 = 2;

/// Why the kernel could not be asked, or did not answer.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// There is no socket.
    #[error("cannot open a netlink socket: {0}")]
    Open(#[source] io::Error),
    /// The request did not reach the kernel, so nothing of it was done.
    #[error("cannot send a request to the kernel: {0}")]
    Send(#[source] io::Error),
    /// The request reached the kernel; its answer, or a part of it, did not come. The socket is of no more use: a dump
    /// may be stuck in it.
    #[error("the kernel's answer was lost")]
    Lost,
    /// The objects changed while they were listed, so some may be missing in the list.
    #[error("the objects changed while the kernel listed them")]
    Interrupted,
    /// The kernel answered with an error.
    #[error("the kernel answered: {0}")]
    Refused(#[source] Errno),
}

/// May the kernel load a module to serve us?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// If need be.
    Allowed,
    /// Only look at what is there.
    Never,
}

/// A socket of generic netlink or of netfilter, in the network namespace of the thread that opened it.
///
/// The kernel puts its answers into the socket's queue before the call that sends a request returns, and the next part
/// of a dump while the one before is received. So nothing here ever waits: an empty queue before the end of an answer
/// means that the rest was lost.
pub struct Socket {
    socket: NlSocket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens a socket.
    pub fn open() -> Result<Socket, NetlinkError> {
        Socket::of(NlFamily::Generic)
    }

    /// Opens a socket of netfilter, which is used in the same way; its subsystems have fixed numbers.
    pub fn netfilter() -> Result<Socket, NetlinkError> {
        Socket::of(NlFamily::Netfilter)
    }

    fn of(family: NlFamily) -> Result<Socket, NetlinkError> {
        let socket = NlSocket::connect(family, None, Groups::empty()).map_err(NetlinkError::Open)?;
        socket.set_recv_buffer_size(QUEUE).map_err(NetlinkError::Open)?;
        Ok(Socket { socket, sequence: 1, buffer: vec![0; RECEIVE_BUFFER] })
    }

    /// The number of the generic netlink family `name`; none if the kernel has no such family. With [`Load::Allowed`]
    /// the kernel first loads the module that brings the family.
    pub fn resolve(&mut self, name: &str, load: Load) -> Result<Option<u16>, NetlinkError> {
        let (family, command, version) = (CONTROLLER, CONTROLLER_GET_FAMILY, CONTROLLER_VERSION);
        let batch = match load {
            Load::Allowed => {
                Batch::of(Request { family, command, version, dump: false }, |w| w.string(FAMILY_NAME, name))
            }
            // The kernel loads a module for a name that it is asked for, and none for a list of all families.
            Load::Never => Batch::of(Request { family, command, version, dump: true }, |_| {}),
        };
        let mut number = None;
        let answer = self.ask(batch, |attributes| {
            if attributes.get(FAMILY_NAME).and_then(|a| a.string()) == Some(name) {
                number = attributes.get(FAMILY_ID).and_then(|a| a.u16());
            }
        });
        match answer {
            Ok(()) => Ok(number),
            Err(NetlinkError::Refused(Errno::NOENT)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends `batch` and says of each request how it ended. An error means that none of them was done.
    pub fn send(&mut self, batch: Batch) -> Result<Vec<Verdict>, NetlinkError> {
        Ok(self.exchange(batch, &mut |_| {})?.verdicts())
    }

    /// Sends the one request of `batch`, and hands the attributes of each object in the answer to `object`.
    pub fn ask(&mut self, batch: Batch, mut object: impl FnMut(Attributes<'_>)) -> Result<(), NetlinkError> {
        let answers = self.exchange(batch, &mut object)?;
        match answers.verdicts().last() {
            Some(Verdict::Failed(errno)) => Err(NetlinkError::Refused(*errno)),
            Some(Verdict::Unknown) => Err(NetlinkError::Lost),
            _ if !answers.complete() => Err(NetlinkError::Lost),
            _ if answers.interrupted() => Err(NetlinkError::Interrupted),
            _ => Ok(()),
        }
    }

    fn exchange(&mut self, mut batch: Batch, object: &mut dyn FnMut(Attributes<'_>)) -> Result<Answers, NetlinkError> {
        let mut answers = Answers::new(self.sequence, batch.len());
        if batch.is_empty() {
            return Ok(answers);
        }
        let first = self.sequence;
        self.sequence = first.wrapping_add(batch.len() as u32);
        self.socket.send(batch.seal(first), Msg::empty()).map_err(NetlinkError::Send)?;
        while !answers.complete() {
            match self.receive() {
                Ok(Some(datagram)) => answers.take(datagram, object),
                Ok(None) => break,
                // Answers were dropped (ENOBUFS). The kernel queues no more until the queue was emptied.
                Err(Errno::NOBUFS) => answers.lose(),
                Err(_) => {
                    answers.lose();
                    break;
                }
            }
        }
        Ok(answers)
    }

    /// The next datagram in the queue.
    fn receive(&mut self) -> Result<Option<&[u8]>, Errno> {
        // With MSG_TRUNC the length is the datagram's own, even where the buffer was too short for it.
        match self.socket.recv(&mut self.buffer[..], Msg::DONTWAIT | Msg::TRUNC) {
            Ok((length, _)) => self.buffer.get(..length).map(Some).ok_or(Errno::MSGSIZE),
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::AGAIN) => Ok(None),
                errno => Err(errno.unwrap_or(Errno::IO)),
            },
        }
    }
}
