//! What one side tells the other about its timing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::bfd::Timers;

/// A session that is not up sends no faster than this (RFC 5880 section 6.8.3).
pub(super) const SLOW: Duration = Duration::from_secs(1);

/// The timing that a side's packets speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The interval at which it wants to send.
    pub tx: Duration,
    /// The least interval at which it takes packets; 0: none at all.
    pub rx: Duration,
    /// After how many intervals without a packet it is gone.
    pub multiplier: u8,
}

impl Offer {
    /// Of a session that is up on both sides.
    pub(super) fn fast(timers: Timers) -> Offer {
        Offer { tx: timers.interval, rx: timers.interval, multiplier: timers.multiplier }
    }

    /// Of one that is not.
    pub(super) fn slow(timers: Timers) -> Offer {
        Offer { tx: timers.interval.max(SLOW), ..Offer::fast(timers) }
    }

    /// With which the other side, which takes packets at intervals of `remote_rx`, misses this one after `silence` at the
    /// earliest: 71 minutes times 254 are the most there is. One interval may have passed since the last packet.
    pub(super) fn stretched(timers: Timers, remote_rx: Duration, silence: Duration) -> Offer {
        let tx = timers.interval.max(SLOW).max(div_ceil(silence, u8::MAX - 1));
        let intervals = silence.as_micros().div_ceil(tx.max(remote_rx).as_micros()) + 1;
        let multiplier = u8::try_from(intervals).unwrap_or(u8::MAX).max(timers.multiplier);
        Offer { tx, multiplier, ..Offer::fast(timers) }
    }
}

/// Rounded up to whole microseconds: that is what the wire can say.
fn div_ceil(duration: Duration, by: u8) -> Duration {
    let micros = duration.as_micros().div_ceil(u128::from(by));
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretched_session_is_not_missed_for_as_long_as_was_asked() {
        let timers = Timers { interval: Duration::from_millis(50), multiplier: 3 };
        for (silence_ms, remote_rx_ms, expected) in [
            (1, 50, (1_000_000, 3)),
            (30_000, 50, (1_000_000, 31)),
            (30_001, 50, (1_000_000, 32)),
            (30_000, 10_000, (1_000_000, 4)),
            (508_000, 50, (2_000_000, 255)),
            (600_000, 50, (2_362_205, 255)),
        ] {
            let silence = Duration::from_millis(silence_ms);
            let remote_rx = Duration::from_millis(remote_rx_ms);
            let offer = Offer::stretched(timers, remote_rx, silence);
            assert_eq!((offer.tx.as_micros(), offer.multiplier), expected, "{silence_ms} {remote_rx_ms}");
            assert!(offer.tx.max(remote_rx) * u32::from(offer.multiplier - 1) >= silence);
            assert_eq!(offer.rx, timers.interval);
        }
    }
}
