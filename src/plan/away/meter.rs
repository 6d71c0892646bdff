//! What is counted of connections while a node leaves.

use std::time::Duration;

use crate::model::Time;
use crate::model::traffic::{Count, Traffic};

/// How often is counted.
const PAUSE: Duration = Duration::from_secs(1);

/// How late the kernel's sum of connections may be: see [`Count::total`](crate::model::traffic::Count::total).
const LAG: Duration = Duration::from_secs(2);

/// The counts since the node began to leave.
#[derive(Debug, Clone, Default)]
pub(in crate::plan) struct Meter {
    /// The last count, of each virtual server.
    last: Option<(Traffic, Time)>,
    /// When new connections were last seen, or could have come unseen.
    heard: Time,
    /// How many have come.
    new: u64,
    /// How many were open at the first count.
    first: u64,
    /// How many are open.
    open: u64,
    /// When packets were last seen to have come.
    moved: Time,
    /// When to count again.
    due: Time,
}

impl Meter {
    /// Counting begins.
    pub(super) fn begun(now: Time) -> Meter {
        Meter { heard: now, moved: now, due: now, ..Meter::default() }
    }

    /// New connections may have come until now, for switches were not told to send none.
    pub(super) fn heard_until(&mut self, now: Time) {
        self.heard = self.heard.max(now);
    }

    /// Is a count due? Then the next one is due a while later.
    pub(in crate::plan) fn is_due(&mut self, now: Time) -> bool {
        let due = self.due <= now;
        if due {
            self.due = now + PAUSE;
        }
        due
    }

    /// When the next count is due.
    pub(in crate::plan) fn due_at(&self) -> Time {
        self.due
    }

    /// Takes in a count.
    pub(in crate::plan) fn count(&mut self, traffic: Traffic, now: Time) {
        self.open = traffic.values().map(|count| count.open).sum();
        match &self.last {
            None => {
                self.first = self.open;
                self.heard = self.heard.max(now);
                self.moved = now;
            }
            Some((before, _)) => {
                // A virtual server that was made anew counts from 0.
                let known = |key| before.get(key).map_or(0, |count| count.total);
                let new: u64 = traffic.iter().map(|(key, count)| count.total.saturating_sub(known(key))).sum();
                let quiet = |(key, count): (_, &Count)| before.get(key).is_some_and(|old| old.packets == count.packets);
                if !traffic.iter().all(quiet) {
                    self.moved = now;
                }
                self.new += new;
                if new > 0 {
                    self.heard = now;
                }
            }
        }
        self.last = Some((traffic, now));
    }

    /// Did no new connection come for so long before the last count, as far as the kernel has summed up?
    pub(super) fn quiet_for(&self, quiet: Duration) -> bool {
        self.last.as_ref().is_some_and(|(_, at)| *at >= self.heard + quiet + LAG)
    }

    /// Did no packet come for so long before the last count, `since` at the earliest, as far as the kernel has summed up?
    /// Then switches send nothing here any more, and what is open is open on paper.
    pub(super) fn is_silent_for(&self, silence: Duration, since: Time) -> bool {
        self.last.as_ref().is_some_and(|(_, at)| *at >= self.moved.max(since) + silence + LAG)
    }

    /// Was none open at a count after `since`?
    pub(super) fn is_empty_since(&self, since: Time) -> bool {
        self.open == 0 && self.last.as_ref().is_some_and(|(_, at)| *at > since)
    }

    /// How many connections came since counting began.
    pub(in crate::plan) fn arrived(&self) -> u64 {
        self.new
    }

    /// How many are open, if they were counted.
    pub(in crate::plan) fn open(&self) -> Option<u64> {
        self.last.as_ref().map(|_| self.open)
    }

    /// How many of those that were open at first are not any more, at the least.
    pub(in crate::plan) fn ended(&self) -> u64 {
        self.first.saturating_sub(self.open)
    }
}
