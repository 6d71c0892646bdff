//! A session that flaps is believed later each time: the switch would rehash every connection with each return.

use std::time::Duration;

use crate::model::Time;

/// After how long a drop counts half.
const HALF_LIFE: Duration = Duration::from_secs(60);

/// So many drops are forgiven: the session is believed at once.
const FORGIVEN: f64 = 1.5;

/// More drops than these are not counted, so that a session that flapped for hours is forgiven within minutes.
const MOST: f64 = 8.0;

/// The longest that a session which came up is not believed.
const LONGEST: Duration = Duration::from_secs(60);

/// How often a session dropped lately, and until when it is not believed to be up.
///
/// Each drop counts 1, and half of that after every 60 s. A session that comes up is believed at once while the count is at
/// most 1.5, that is after a single drop; else after 2^(count - 1) seconds, at most 60: about 2, 4, 8 … seconds when drops
/// follow each other closely.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Damping {
    count: f64,
    counted: Time,
    until: Option<Time>,
}

impl Damping {
    /// With a count of [`Damping::count`] that was taken at `now`.
    pub fn with(count: f64, now: Time) -> Damping {
        let count = if count.is_finite() { count.clamp(0.0, MOST) } else { 0.0 };
        Damping { count, counted: now, until: None }
    }

    /// What is left of the drops at `now`.
    pub fn count(&self, now: Time) -> f64 {
        let halvings = now.since(self.counted).as_secs_f64() / HALF_LIFE.as_secs_f64();
        self.count * (-halvings).exp2()
    }

    /// The session dropped.
    pub fn dropped(&mut self, now: Time) {
        *self = Damping { count: (self.count(now) + 1.0).min(MOST), counted: now, until: None };
    }

    /// The session came up.
    pub fn came_up(&mut self, now: Time) {
        let count = self.count(now);
        self.until = (count > FORGIVEN).then(|| now + Duration::from_secs_f64((count - 1.0).exp2()).min(LONGEST));
    }

    /// For how long from `now` the session is not believed to be up.
    pub fn left(&self, now: Time) -> Option<Duration> {
        self.until.map(|until| until - now).filter(|left| !left.is_zero())
    }

    /// The session is believed, or nothing is there to be believed.
    pub fn believe(&mut self) {
        self.until = None;
    }

    /// When it will be.
    pub fn until(&self) -> Option<Time> {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time(Duration::from_secs(seconds))
    }

    /// What a session that dropped and came up again at these seconds waits for in the end, in seconds.
    fn wait(drops: &[u64]) -> Option<u64> {
        let mut damping = Damping::default();
        let mut now = Time::ZERO;
        for drop in drops {
            now = at(*drop);
            damping.dropped(now);
            damping.came_up(now);
        }
        damping.left(now).map(|left| left.as_millis().div_ceil(100) as u64)
    }

    #[test]
    fn the_first_drop_is_forgiven_and_the_next_ones_cost_more_and_more() {
        for (drops, tenths) in [
            (&[][..], None),
            (&[10], None),
            // An hour later it is the first one again.
            (&[10, 3610], None),
            (&[10, 10], Some(20)),
            (&[10, 10, 10], Some(40)),
            (&[10, 10, 10, 10], Some(80)),
            (&[10, 10, 10, 10, 10, 10, 10], Some(600)),
            (&[10; 1000], Some(600)),
            // Half of the first is left after a minute.
            (&[10, 70], None),
            (&[10, 10, 70], Some(20)),
        ] {
            assert_eq!(wait(drops), tenths, "{drops:?}");
        }
    }

    #[test]
    fn the_wait_ends_and_a_drop_ends_it_too() {
        let mut damping = Damping::with(2.0, at(0));
        assert_eq!(damping.left(at(0)), None);
        damping.came_up(at(0));
        assert_eq!(damping.until(), Some(at(2)));
        assert_eq!(damping.left(at(1)), Some(Duration::from_secs(1)));
        assert_eq!(damping.left(at(2)), None);
        damping.came_up(at(0));
        damping.dropped(at(1));
        assert_eq!(damping.left(at(1)), None);
    }

    #[test]
    fn a_count_from_elsewhere_is_not_trusted() {
        assert_eq!(Damping::with(f64::NAN, at(0)), Damping::default());
        assert_eq!(Damping::with(1e300, at(0)).count(at(0)), MOST);
        assert_eq!(Damping::with(-1.0, at(0)).count(at(0)), 0.0);
    }
}
