//! Control packets (RFC 5880 section 4.1).

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::model::bfd::BfdState;

/// The length of a control packet without authentication, in bytes.
pub const PACKET_LENGTH: usize = 24;

/// The version of the protocol.
const VERSION: u8 = 1;

/// The bits of the second byte.
const POLL: u8 = 0x20;
const FINAL: u8 = 0x10;
const INDEPENDENT: u8 = 0x08;
const AUTHENTICATED: u8 = 0x04;
const DEMAND: u8 = 0x02;
const MULTIPOINT: u8 = 0x01;

/// A control packet. Intervals are whole microseconds on the wire, up to 71 minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Why its sender last changed state.
    pub diagnostic: Diagnostic,
    /// Its sender's state.
    pub state: BfdState,
    /// It asks for a packet with `is_final` (P).
    pub poll: bool,
    /// It answers a packet with `poll` (F).
    pub is_final: bool,
    /// Its sender's BFD does not share the fate of its control plane (C).
    pub independent: bool,
    /// Its sender wants no periodic packets while both sides are up (D).
    pub demand: bool,
    /// After how many of its intervals without a packet its sender is gone; not 0.
    pub multiplier: u8,
    /// Its sender's discriminator; not 0.
    pub my_discriminator: u32,
    /// That of its receiver as far as the sender knows it, else 0.
    pub your_discriminator: u32,
    /// The least interval at which its sender wants to send (Desired Min TX Interval).
    pub desired_tx: Duration,
    /// The least interval at which its sender takes packets; 0: it wants no periodic ones (Required Min RX Interval).
    pub required_rx: Duration,
}

/// Why a packet is not looked at any further (RFC 5880 section 6.8.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Discard {
    /// Not a control packet's length.
    #[error("it has {0} bytes, at least 24 are needed")]
    Short(usize),
    /// Another version.
    #[error("it is of version {0}, only 1 is known")]
    Version(u8),
    /// Its own length is less than a packet has, or more than there is.
    #[error("it says that its length is {0}")]
    Length(u8),
    /// No detection time follows from it.
    #[error("its detection multiplier is 0")]
    Multiplier,
    /// The bit M is for the future.
    #[error("its multipoint bit is set")]
    Multipoint,
    /// Nothing could be answered to it.
    #[error("its sender has no discriminator")]
    Nobody,
    /// Only who is down knows no discriminator of ours.
    #[error("it is for no session, and its sender is not down")]
    Unaddressed,
    /// There is no authentication here.
    #[error("it is authenticated, which is not supported")]
    Authenticated,
    /// It is for another session.
    #[error("it is for discriminator {0}, which is not that of this session")]
    Stranger(u32),
}

/// Why a session changed its state (RFC 5880 section 4.1): the number of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Diagnostic(pub u8);

impl Diagnostic {
    /// Nothing happened.
    pub const NONE: Diagnostic = Diagnostic(0);
    /// Nothing was heard for the detection time.
    pub const EXPIRED: Diagnostic = Diagnostic(1);
    /// The other side said that it is down.
    pub const NEIGHBOR_DOWN: Diagnostic = Diagnostic(3);
    /// It is held down by its own side.
    pub const ADMIN_DOWN: Diagnostic = Diagnostic(7);
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            0 => "no diagnostic",
            1 => "control detection time expired",
            2 => "echo function failed",
            3 => "neighbor signaled session down",
            4 => "forwarding plane reset",
            5 => "path down",
            6 => "concatenated path down",
            7 => "administratively down",
            8 => "reverse concatenated path down",
            other => return write!(f, "diagnostic {other}"),
        })
    }
}

impl Packet {
    /// Reads a datagram. What authenticates or follows it is not looked at.
    ///
    /// # Errors
    /// When it has to be discarded, whatever the session.
    pub fn parse(datagram: &[u8]) -> Result<Packet, Discard> {
        let Some(bytes) = datagram.first_chunk::<PACKET_LENGTH>() else {
            return Err(Discard::Short(datagram.len()));
        };
        let [first, flags, multiplier, length, ..] = *bytes;
        if first >> 5 != VERSION {
            return Err(Discard::Version(first >> 5));
        }
        if usize::from(length) < PACKET_LENGTH || usize::from(length) > datagram.len() {
            return Err(Discard::Length(length));
        }
        if multiplier == 0 {
            return Err(Discard::Multiplier);
        }
        if flags & MULTIPOINT != 0 {
            return Err(Discard::Multipoint);
        }
        let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let interval = |at: usize| Duration::from_micros(u64::from(word(at)));
        let packet = Packet {
            diagnostic: Diagnostic(first & 0x1f),
            state: match flags >> 6 {
                0 => BfdState::AdminDown,
                1 => BfdState::Down,
                2 => BfdState::Init,
                _ => BfdState::Up,
            },
            poll: flags & POLL != 0,
            is_final: flags & FINAL != 0,
            independent: flags & INDEPENDENT != 0,
            demand: flags & DEMAND != 0,
            multiplier,
            my_discriminator: word(4),
            your_discriminator: word(8),
            desired_tx: interval(12),
            required_rx: interval(16),
        };
        if packet.my_discriminator == 0 {
            return Err(Discard::Nobody);
        }
        if packet.your_discriminator == 0 && !matches!(packet.state, BfdState::Down | BfdState::AdminDown) {
            return Err(Discard::Unaddressed);
        }
        if flags & AUTHENTICATED != 0 {
            return Err(Discard::Authenticated);
        }
        Ok(packet)
    }

    /// The packet as bytes. It asks for no echo packets (Required Min Echo RX Interval 0).
    pub fn encode(&self) -> [u8; PACKET_LENGTH] {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let flags = ((self.state as u8) << 6)
            | flag(self.poll, POLL)
            | flag(self.is_final, FINAL)
            | flag(self.independent, INDEPENDENT)
            | flag(self.demand, DEMAND);
        let mut bytes = [0; PACKET_LENGTH];
        bytes[..4].copy_from_slice(&[(VERSION << 5) | (self.diagnostic.0 & 0x1f), flags, self.multiplier, 24]);
        let words = [self.my_discriminator, self.your_discriminator, micros(self.desired_tx), micros(self.required_rx)];
        for (word, place) in words.into_iter().zip(bytes[4..20].chunks_exact_mut(4)) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        bytes
    }
}

/// Whole microseconds, as many as the wire can say.
fn micros(interval: Duration) -> u32 {
    u32::try_from(interval.as_micros()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: Packet = Packet {
        diagnostic: Diagnostic::EXPIRED,
        state: BfdState::Init,
        poll: true,
        is_final: false,
        independent: true,
        demand: false,
        multiplier: 3,
        my_discriminator: 0x0102_0304,
        your_discriminator: 0xa0b0_c0d0,
        desired_tx: Duration::from_millis(50),
        required_rx: Duration::from_micros(1_000_001),
    };

    /// Written down by hand from section 4.1.
    const BYTES: [u8; PACKET_LENGTH] =
        [0x21, 0xa8, 3, 24, 1, 2, 3, 4, 0xa0, 0xb0, 0xc0, 0xd0, 0, 0, 0xc3, 0x50, 0, 0x0f, 0x42, 0x41, 0, 0, 0, 0];

    #[test]
    fn a_packet_is_what_the_rfc_draws() {
        assert_eq!(PACKET.encode(), BYTES);
        assert_eq!(Packet::parse(&BYTES), Ok(PACKET));
        let other = Packet { state: BfdState::Up, poll: false, is_final: true, demand: true, ..PACKET };
        assert_eq!(other.encode()[1], 0xda);
        assert_eq!(Packet::parse(&other.encode()), Ok(other));
    }

    #[test]
    fn what_has_to_be_discarded_is() {
        let with = |at: usize, value: u8| {
            let mut bytes = BYTES;
            bytes[at] = value;
            bytes
        };
        let mut nobody = BYTES;
        nobody[4..8].fill(0);
        let unaddressed = |flags: u8| {
            let mut bytes = with(1, flags);
            bytes[8..12].fill(0);
            bytes
        };
        for (bytes, expected) in [
            (with(0, 0x01), Discard::Version(0)),
            (with(0, 0x41), Discard::Version(2)),
            (with(3, 23), Discard::Length(23)),
            (with(3, 25), Discard::Length(25)),
            (with(2, 0), Discard::Multiplier),
            (with(1, 0xa9), Discard::Multipoint),
            (nobody, Discard::Nobody),
            (unaddressed(0x80), Discard::Unaddressed),
            (unaddressed(0xc0), Discard::Unaddressed),
            (with(1, 0xac), Discard::Authenticated),
        ] {
            assert_eq!(Packet::parse(&bytes), Err(expected), "{bytes:02x?}");
        }
        assert_eq!(Packet::parse(&BYTES[..23]), Err(Discard::Short(23)));
        assert_eq!(Packet::parse(&[]), Err(Discard::Short(0)));
        for flags in [0x00, 0x40] {
            assert!(Packet::parse(&unaddressed(flags)).is_ok());
        }
        // What follows a packet is none of its business.
        assert_eq!(Packet::parse(&[&BYTES[..], &[1, 2, 3]].concat()), Ok(PACKET));
    }

    #[test]
    fn an_interval_that_the_wire_cannot_say_is_the_longest() {
        let packet = Packet { desired_tx: Duration::from_secs(10_000), ..PACKET };
        assert_eq!(packet.encode()[12..16], [0xff; 4]);
    }
}
