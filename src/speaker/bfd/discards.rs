//! Why a session's packets are discarded, told sparingly: whoever sends rubbish under the other side's address does not get
//! to fill the log, nor to keep those busy who hear of each change.

use std::time::Duration;

use crate::model::Time;

/// In so long a time the log hears of one discarded packet at most.
const WINDOW: Duration = Duration::from_secs(10);

/// In the same time what is known changes so often at most.
const MOST_CHANGES: u32 = 8;

/// Why the last packet was discarded, as far as that is told.
#[derive(Debug, Default)]
pub(super) struct Discards {
    why: Option<String>,
    /// When the window began, and how often `why` has changed in it.
    window: Option<(Time, u32)>,
    /// When the log heard of one last.
    logged: Option<Time>,
}

impl Discards {
    /// Why; `None`: the last packet was good.
    pub(super) fn why(&self) -> Option<&str> {
        self.why.as_deref()
    }

    /// A packet came that is good, or is discarded, and `why`. Answers whether the log should hear of it.
    pub(super) fn note(&mut self, why: Option<String>, now: Time) -> bool {
        if self.why == why {
            return false;
        }
        let (since, changes) = self.window.filter(|(since, _)| now < *since + WINDOW).unwrap_or((now, 0));
        if changes == MOST_CHANGES {
            return false;
        }
        self.window = Some((since, changes + 1));
        self.why = why;
        let logs = self.why.is_some() && self.logged.is_none_or(|logged| now >= logged + WINDOW);
        if logs {
            self.logged = Some(now);
        }
        logs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_rubbish_is_told_of_once_and_what_follows_it_too() {
        let mut discards = Discards::default();
        let (mut logged, mut changes) = (0, 0);
        for n in 0..2000_u64 {
            // Each with another text, and every other one from the true other side.
            let why = (n % 2 == 0).then(|| format!("TTL {n}"));
            let before = discards.why().map(str::to_owned);
            logged += u32::from(discards.note(why, Time::ZERO + Duration::from_millis(n)));
            changes += u32::from(discards.why() != before.as_deref());
        }
        assert_eq!((logged, changes), (1, MOST_CHANGES));
        let later = Time::ZERO + WINDOW;
        assert!(!discards.note(None, later) && discards.why().is_none());
        assert!(discards.note(Some("late".into()), later) && discards.why() == Some("late"));
        assert!(!discards.note(Some("late".into()), later + WINDOW), "the same again is no news");
    }
}
