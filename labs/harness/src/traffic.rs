//! Packets for labs: servers that tell who they are and whom they saw, and clients that count.
//!
//! A server's answer is one line, `POD CLIENT-ADDRESS`. Behind an LB node that masquerades, the client address is the
//! node's, so answers tell which pod served and which LB node carried.

mod client;
mod load;
mod sctp;
mod server;
pub mod steady;

pub use self::client::{Answer, Tally, UdpFlow, request_sctp, request_tcp, request_udp, sctp, tcp, transfers, udp};
pub use self::load::{Churn, ChurnReport, Failure, LongLived};
pub use self::sctp::lacks_sctp;
pub use self::server::{Port, Server};
