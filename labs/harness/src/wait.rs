//! Waiting for what takes its time.

use std::fmt::Debug;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Long enough not to disturb what it waits for on an emulated machine, short enough not to be felt.
const PAUSE: Duration = Duration::from_millis(100);

/// Asks again and again until the answer is yes; `what` names the thing in the error.
pub fn wait_until(timeout: Duration, what: &str, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    wait_for(timeout, what, || Ok(if condition()? { Ok(()) } else { Err("not so") }))
}

/// Asks again and again until there is an answer (`Ok(Ok(…))`). What it was instead (`Ok(Err(…))`) becomes part of the
/// error when the time is over, as does a failure to ask.
pub fn wait_for<T, E: Debug>(
    timeout: Duration,
    what: &str,
    mut ask: impl FnMut() -> Result<Result<T, E>>,
) -> Result<T> {
    let started = Instant::now();
    loop {
        let instead = match ask() {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(instead)) => format!("{instead:?}"),
            Err(error) => format!("{error:#}"),
        };
        if started.elapsed() > timeout {
            bail!("waited {} s for {what}; last seen: {instead}", timeout.as_secs_f32());
        }
        thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_tells_what_was_there_instead() {
        let error = wait_for(Duration::ZERO, "two next hops", || Ok(Err::<(), _>(vec!["10.0.1.2"]))).expect_err("no");
        assert_eq!(error.to_string(), "waited 0 s for two next hops; last seen: [\"10.0.1.2\"]");
        let mut asked = 0;
        let counted = wait_until(Duration::from_secs(5), "a third time", || {
            asked += 1;
            Ok(asked == 3)
        });
        assert!(counted.is_ok() && asked == 3);
    }
}
