//! Jitter (RFC 5880 section 6.8.7): sessions that began together do not send together for ever.

use std::time::Duration;

/// A source of jitter: numbers that follow from its seed (SplitMix64).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Jitter(u64);

impl Jitter {
    pub(super) fn new(seed: u64) -> Jitter {
        Jitter(seed)
    }

    /// 75 to 100 percent of `interval`; to 90 percent where one lost packet is the end.
    pub(super) fn of(&mut self, interval: Duration, multiplier: u8) -> Duration {
        let most = if multiplier == 1 { 900 } else { 1000 };
        let thousandths = 750 + self.next() % (most - 750 + 1);
        interval * u32::try_from(thousandths).unwrap_or(750) / 1000
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_fills_its_span_and_never_leaves_it() {
        for (multiplier, most) in [(1, 900), (2, 1000), (255, 1000)] {
            let mut jitter = Jitter::new(7);
            let drawn: Vec<u128> =
                (0..10_000).map(|_| jitter.of(Duration::from_secs(1), multiplier).as_millis()).collect();
            assert_eq!((drawn.iter().min(), drawn.iter().max()), (Some(&750), Some(&most)));
        }
    }
}
