//! Netlink messages: attributes, batches, errors by sequence number.
//!
//! The kernel works through a datagram of requests one by one, inside the `send` call, and each is independent: an error
//! is answered under the sequence number of its request and does not stop those after it (`netlink_rcv_skb`). So a
//! [`Batch`] asks for an acknowledgement of its last request only, and what got no answer before that one was done.
//!
//! - [`Batch`] and [`Writer`] build requests, [`Messages`] and [`Attributes`] take answers apart. They are pure, and
//!   never panic on any input.
//! - [`Socket`] sends and receives: neli's socket underneath, sequence numbers and lost answers above it.

mod answer;
mod message;
mod parse;
mod socket;

pub use answer::Verdict;
pub use message::{Batch, Request, Writer};
pub use parse::{Attribute, Attributes, CutShort, Message, Messages};
pub use socket::{Load, NetlinkError, Socket};

/// Bytes of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Bytes of `struct genlmsghdr`.
const GENERIC_HEADER: usize = 4;
/// Bytes of `struct nlattr`.
const ATTRIBUTE_HEADER: usize = 4;
/// Messages and attributes start at multiples of this (`NLMSG_ALIGNTO`, `NLA_ALIGNTO`).
const ALIGNMENT: usize = 4;

/// `NLMSG_ERROR`: an error, or an acknowledgement where the error is 0.
const KIND_ERROR: u16 = 2;
/// `NLMSG_DONE`: the end of a dump.
const KIND_DONE: u16 = 3;
/// `NLMSG_MIN_TYPE`: kinds below are netlink's own.
const LOWEST_KIND: u16 = 16;

/// `NLM_F_REQUEST`: set in all requests.
const FLAG_REQUEST: u16 = 0x1;
/// `NLM_F_ACK`: answer even if all went well.
const FLAG_ACK: u16 = 0x4;
/// `NLM_F_DUMP_INTR`: what is being dumped changed meanwhile.
const FLAG_DUMP_INTERRUPTED: u16 = 0x10;
/// `NLM_F_DUMP`: answer with all objects.
const FLAG_DUMP: u16 = 0x300;

/// `NLA_F_NESTED`: the attribute's value is made of attributes.
const ATTRIBUTE_NESTED: u16 = 0x8000;
/// `NLA_TYPE_MASK`: an attribute's kind without its flags.
const ATTRIBUTE_KIND: u16 = 0x3fff;

#[cfg(test)]
mod tests;
