//! Bidirectional forwarding detection (RFC 5880): what is asked of a session, and how it stands. The state machine is in
//! [`crate::bfd`].

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How fast a session notices that the other side is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timers {
    /// Both the desired interval between packets sent and the least between packets received (DesiredMinTxInterval and
    /// RequiredMinRxInterval of RFC 5880 section 6.8.1).
    pub interval: Duration,
    /// After how many intervals without a packet the other side is gone (DetectMult).
    pub multiplier: u8,
}

impl Default for Timers {
    /// 300 ms x 3: most switches do that in software, and an emulated or busy node holds it.
    fn default() -> Timers {
        Timers { interval: Duration::from_millis(300), multiplier: 3 }
    }
}

/// A session that there should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// How fast.
    pub timers: Timers,
    /// The address to send from; `None`: the kernel chooses.
    pub local_address: Option<IpAddr>,
    /// How far away the other side may be.
    pub distance: Distance,
    /// Is it to come up? Otherwise it is held in AdminDown (RFC 5880 section 6.8.16).
    pub enabled: bool,
}

/// How far away the other side of a session may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Distance {
    /// At the other end of a link: port 3784, and only packets with TTL 255 (RFC 5881).
    SingleHop,
    /// Beyond routers: port 4784, and only packets with this TTL or more (RFC 5883).
    Multihop(u8),
}

/// The state of a session (RFC 5880 section 4.1); the numbers are those of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum BfdState {
    /// Held down by its own side.
    AdminDown = 0,
    /// Down, or not up yet.
    Down = 1,
    /// The other side is heard, and does not know that yet.
    Init = 2,
    /// Both hear each other.
    Up = 3,
}

impl fmt::Display for BfdState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BfdState::AdminDown => "AdminDown",
            BfdState::Down => "Down",
            BfdState::Init => "Init",
            BfdState::Up => "Up",
        })
    }
}

/// How a session stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BfdStatus {
    /// Its state.
    pub state: BfdState,
    /// What the other side said last that its state is.
    pub remote: BfdState,
    /// Why it left Up the last time, in words (RFC 5880 section 4.1, Diag).
    pub reason: Option<String>,
    /// Since when it is in this state, in seconds since 1970.
    pub since: i64,
    /// The negotiated interval between packets sent.
    pub interval: Duration,
    /// After how long without a packet the other side is gone; `None` before any was heard.
    pub detection: Option<Duration>,
    /// How often it has left Up.
    pub flaps: u32,
    /// It flaps: for so long from now it is not believed to be up.
    pub damped: Option<Duration>,
    /// What keeps it from working, in words: no socket, no neighbour.
    pub problem: Option<String>,
}
