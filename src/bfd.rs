//! Bidirectional forwarding detection (RFC 5880): the asynchronous state machine, pure. No socket, no clock, no async: what
//! arrives and what time it is are arguments, what to send and when to be asked again are answers. The engine that feeds
//! it is [`crate::speaker::bfd`].
//!
//! A [`Session`] is one side of one session. Single hop (RFC 5881) and multihop (RFC 5883) differ in ports and in what
//! arrives at all, so not here. There is no demand mode on this side, no echo, no authentication.

mod damping;
mod jitter;
mod offer;
mod packet;
mod saved;
mod session;

pub use self::damping::Damping;
pub use self::offer::Offer;
pub use self::packet::{Diagnostic, Discard, PACKET_LENGTH, Packet};
pub use self::saved::Saved;
pub use self::session::{Heard, Session, Transition, Woken};
