//! What an outage cost.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::Seen;

/// So long without an attempt that failed ends an outage: what fails after it is another one.
pub const QUIET: Duration = Duration::from_secs(1);

/// How long a line may be under way at the end before its connection counts as broken.
const DEAD: Duration = Duration::from_secs(5);

/// The figures of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Without service: from the beginning of the first attempt that failed to that of the last one, and the pause between
    /// attempts; of several outages the longest. Zero if none failed.
    pub without: Duration,
    /// From the event to the beginning of the last attempt that failed.
    pub until: Option<Duration>,
    /// Attempts since the event.
    pub tried: usize,
    /// Those that failed.
    pub failed: usize,
    /// Attempts before the event that failed. There should be none.
    pub failed_before: usize,
    /// Connections that were open.
    pub open: usize,
    /// Those that were reset, were closed, or hung at the end.
    pub broken: usize,
    /// The longest time between the beginnings of two attempts: so long the client stood still.
    pub standstill: Duration,
    /// What the median attempt before the event took, and the slowest of a hundred.
    pub usual: (Duration, Duration),
    /// By whom attempts came before the event.
    pub by: BTreeMap<IpAddr, usize>,
}

impl Seen {
    /// The figures, for an event at `event` and an end of the run at `end`.
    pub fn figures(&self, event: Duration, end: Duration, every: Duration) -> Figures {
        let (before, after): (Vec<_>, Vec<_>) = self.attempts.iter().partition(|attempt| attempt.at < event);
        // What failed may have begun just before: its answer was what the event took.
        let failed: Vec<Duration> = self
            .attempts
            .iter()
            .filter(|one| one.outcome.is_err() && one.at + one.took > event)
            .map(|one| one.at)
            .collect();
        let mut took: Vec<Duration> = before.iter().map(|attempt| attempt.took).collect();
        took.sort();
        let rank = |share: usize| took.get((took.len() * share / 100).min(took.len().saturating_sub(1))).copied();
        let mut by = BTreeMap::new();
        for address in before.iter().filter_map(|attempt| attempt.outcome.as_ref().ok()) {
            *by.entry(*address).or_default() += 1;
        }
        let gaps = self.attempts.windows(2).map(|pair| pair[1].at.saturating_sub(pair[0].at));
        Figures {
            without: longest(&failed, every),
            until: failed.last().map(|last| last.saturating_sub(event)),
            tried: after.len(),
            failed: failed.len(),
            failed_before: before.iter().filter(|one| one.outcome.is_err() && one.at + one.took <= event).count(),
            open: self.held.len(),
            broken: self.held.iter().filter(|held| held.broken.is_some() || held.hangs(end, DEAD)).count(),
            standstill: gaps.max().unwrap_or_default(),
            usual: (rank(50).unwrap_or_default(), rank(99).unwrap_or_default()),
            by,
        }
    }
}

/// The longest outage, from the times at which attempts began that failed.
fn longest(failed: &[Duration], every: Duration) -> Duration {
    let outages = failed.chunk_by(|earlier, later| later.saturating_sub(*earlier) < QUIET);
    let lengths = outages.filter_map(|outage| Some(outage.last()?.saturating_sub(*outage.first()?) + every));
    lengths.max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::{Attempt, Held};
    use super::*;

    const EVERY: Duration = Duration::from_millis(10);

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn node() -> IpAddr {
        IpAddr::from([10, 3, 1, 2])
    }

    /// An attempt each 10 ms for 10 s, of which those fail that began at such times.
    fn seen(fails: impl Fn(u64) -> bool) -> Seen {
        let attempt = |at| Attempt {
            at: ms(at),
            took: ms(if fails(at) { 800 } else { 2 }),
            outcome: if fails(at) { Err("no answer".to_owned()) } else { Ok(node()) },
        };
        Seen { attempts: (0..1000).map(|n| attempt(n * 10)).collect(), held: Vec::new() }
    }

    #[test]
    fn an_outage_is_as_long_as_attempts_fail() {
        for (name, fails, without, until, failed) in [
            ("none", (|_| false) as fn(u64) -> bool, 0, None, 0),
            ("one", |at| at == 3000, 10, Some(0), 1),
            ("every one for 400 ms", |at| (3000..3400).contains(&at), 400, Some(390), 40),
            // A quarter of the paths is dead.
            ("every fourth for 400 ms", |at| (3000..3400).contains(&at) && at % 40 == 0, 370, Some(360), 10),
            ("two, of which the second is longer", |at| at == 3010 || (5000..5100).contains(&at), 100, Some(2090), 11),
            ("an answer that was under way", |at| at == 2990, 10, Some(0), 1),
        ] {
            let figures = seen(fails).figures(ms(3000), ms(10_000), EVERY);
            assert_eq!(
                (figures.without, figures.until, figures.failed, figures.failed_before),
                (ms(without), until.map(ms), failed, 0),
                "{name}"
            );
            assert_eq!(figures.standstill, EVERY, "{name}");
        }
    }

    #[test]
    fn what_fails_before_the_event_is_no_part_of_it() {
        let figures = seen(|at| at == 1000).figures(ms(3000), ms(10_000), EVERY);
        assert_eq!((figures.failed_before, figures.failed, figures.without), (1, 0, Duration::ZERO));
        assert_eq!(figures.usual, (ms(2), ms(2)));
        assert_eq!(figures.by, [(node(), 299)].into());
        assert_eq!(figures.tried, 700);
    }

    #[test]
    fn a_connection_is_broken_when_it_ends_or_hangs() {
        let held = |broken: Option<u64>, waits_since: Option<u64>| Held {
            by: node(),
            broken: broken.map(|at| (ms(at), "reset".to_owned())),
            waits_since: waits_since.map(ms),
        };
        let held = vec![held(None, None), held(None, Some(9_990)), held(None, Some(3_000)), held(Some(4_000), None)];
        let figures = Seen { held, ..seen(|_| false) }.figures(ms(3000), ms(10_000), EVERY);
        assert_eq!((figures.open, figures.broken), (4, 2));
    }

    #[test]
    fn a_client_that_stood_still_says_so() {
        let mut seen = seen(|_| false);
        seen.attempts.retain(|attempt| !(ms(4000)..ms(4300)).contains(&attempt.at));
        assert_eq!(seen.figures(ms(3000), ms(10_000), EVERY).standstill, ms(310));
    }
}
