//! A sensor: the rehash meter. Once a second it reads how many packets in the middle of TCP connections the guard refused, since
//! nobody on this node knows their connection.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::nft;
use crate::model::load::Stray;
use crate::plan::Change;

/// The pause between two readings, which makes counts rates.
const PERIOD: Duration = Duration::from_secs(1);

/// Reads again and again, for as long as somebody listens, and tells what changed. What cannot be read counts nothing: the table
/// is read by others too, who say so.
pub async fn watch(changes: mpsc::Sender<Change>) {
    let mut meter = Meter::default();
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let counted = nft::stray_packets().ok().flatten();
        if let Some(stray) = meter.read(counted)
            && changes.send(Change::Stray(stray)).await.is_err()
        {
            return;
        }
    }
}

/// Makes a sum of what the counter shows, which begins anew whenever the table is replaced.
#[derive(Debug, Default)]
struct Meter {
    /// What the counter showed the last time; none before the first reading, which is where the sum begins.
    last: Option<u64>,
    sum: Stray,
}

impl Meter {
    /// Takes in one reading, and answers with the sum if that or the rate is another one now.
    fn read(&mut self, counted: Option<u64>) -> Option<Stray> {
        let now = counted?;
        let last = self.last.replace(now).unwrap_or(now);
        let per_second = if now < last { now } else { now - last };
        let sum = Stray { packets: self.sum.packets.saturating_add(per_second), per_second };
        let before = std::mem::replace(&mut self.sum, sum);
        (before != sum).then_some(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_over_tables_that_were_replaced() {
        let mut meter = Meter::default();
        let stray = |packets, per_second| Some(Stray { packets, per_second });
        for (counted, expected) in [
            (None, None),
            // What was counted before is nobody's of today.
            (Some(7), None),
            (Some(7), None),
            (Some(10), stray(3, 3)),
            (Some(10), stray(3, 0)),
            (Some(10), None),
            // Begun anew.
            (Some(2), stray(5, 2)),
            (None, None),
            (Some(3), stray(6, 1)),
        ] {
            assert_eq!(meter.read(counted), expected, "{counted:?}");
        }
    }
}
