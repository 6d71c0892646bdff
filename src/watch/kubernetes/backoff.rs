//! How long to rest before something is tried again.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The first rest, before it is spread.
const FIRST: Duration = Duration::from_millis(500);
/// The longest rest: an API server that is back is noticed within this time.
const LONGEST: Duration = Duration::from_secs(5);

/// Rests that double from one failure to the next, up to a limit. Each is spread by chance over its upper half, so that
/// the nodes of a cluster do not ask all at once when an API server comes back.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next rest.
    pub(super) fn next(&mut self) -> Duration {
        let rest = rest(self.failures, chance());
        self.failures = self.failures.saturating_add(1);
        rest
    }
}

/// The rest after so many failures, with `chance` from 0 to 1.
fn rest(failures: u32, chance: f64) -> Duration {
    let whole = FIRST.saturating_mul(1 << failures.min(16)).min(LONGEST);
    whole.mul_f64(0.5 + 0.5 * chance)
}

/// A number from 0 to 1 that differs from process to process and from call to call.
fn chance() -> f64 {
    f64::from(u32::try_from(RandomState::new().hash_one(0) >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_double_up_to_a_limit() {
        let millis = |failures, chance| rest(failures, chance).as_millis();
        assert_eq!(
            (0..6).map(|failures| millis(failures, 1.0)).collect::<Vec<_>>(),
            [500, 1000, 2000, 4000, 5000, 5000]
        );
        assert_eq!([millis(0, 0.0), millis(3, 0.0), millis(u32::MAX, 0.5)], [250, 2000, 3750]);
        let mut backoff = Backoff::default();
        assert!((0..100).all(|_| backoff.next() <= LONGEST));
        let rests: std::collections::BTreeSet<_> = (0..20).map(|_| backoff.next()).collect();
        assert!(rests.len() > 1, "all nodes would ask at the same time: {rests:?}");
    }
}
