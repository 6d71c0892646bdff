//! When a session sends, and when it misses the other side: timers are negotiated (RFC 5880 sections 6.8.2 to 6.8.4).

use std::time::Duration;

use super::{Poll, Session};
use crate::bfd::offer::Offer;
use crate::model::Time;
use crate::model::bfd::BfdState;

impl Session {
    /// The interval between packets sent; `None`: none are wanted.
    pub fn interval(&self) -> Option<Duration> {
        let demanded = self.remote.demand && self.state == BfdState::Up && self.remote.state == BfdState::Up;
        if self.remote.offer.rx.is_zero() || (demanded && self.poll != Poll::Running) {
            return None;
        }
        // Slower only once the other side knows; faster at once.
        Some(self.told.tx.min(self.used.tx).max(self.remote.offer.rx))
    }

    /// After how long without a packet the other side is gone; `None` before any was heard.
    pub fn detection(&self) -> Option<Duration> {
        self.heard_at?;
        // Longer at once; shorter only once the other side knows that it has to send faster.
        let rx = self.told.rx.max(self.used.rx);
        Some(self.remote.offer.tx.max(rx) * u32::from(self.remote.offer.multiplier))
    }

    /// When the other side is gone, if nothing is heard.
    pub(super) fn expires_at(&self) -> Option<Time> {
        Some(self.heard_at? + self.detection()?)
    }

    /// What packets should say. Nothing fast before the other side was heard to be up: FRR's bfdd announces that it takes a
    /// packet a second while it is not, so that is what it is sent; but once it is up it expects what our last packet said,
    /// and would miss us.
    fn target(&self) -> Offer {
        match (self.confirmed, self.stretched) {
            (true, Some(stretched)) => stretched,
            (true, None) => Offer::fast(self.timers),
            (false, _) => Offer::slow(self.timers),
        }
    }

    /// Tells the other side what there is to tell: while the session is up by a poll sequence, one at a time.
    pub(super) fn negotiate(&mut self, now: Time) {
        let target = self.target();
        if self.state != BfdState::Up {
            if self.told != target {
                self.send_at = Some(now);
            }
            (self.told, self.used, self.poll) = (target, target, Poll::Idle);
        } else if (self.told, self.used) != (target, target) && self.poll == Poll::Idle {
            (self.told, self.poll) = (target, Poll::Running);
            self.send_at = Some(now);
        }
    }

    /// After what may have changed the interval, which was `before`: a timer that runs for longer than the new one is wound
    /// anew, since the other side counts from now on.
    pub(super) fn reschedule(&mut self, before: Option<Duration>, now: Time) {
        let interval = self.interval();
        if interval == before {
            return;
        }
        let Some(interval) = interval else {
            // What is due now is due all the same: it tells of a change.
            self.send_at = self.send_at.filter(|at| *at <= now);
            return;
        };
        let from = self.sent_at.unwrap_or(now);
        let next = (from + self.jitter.of(interval, self.told.multiplier)).max(now);
        self.send_at = Some(self.send_at.map_or(next, |at| at.min(next)));
    }
}
