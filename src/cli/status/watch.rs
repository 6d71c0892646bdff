//! `vipcast status --watch`: on a terminal the screen is drawn anew, elsewhere only what changed is printed, with the time.
//! It goes on while the agent is started anew.

use std::io::IsTerminal;
use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::Context;
use jiff::{SignedDuration, Timestamp};

use super::{Answer, status};
use crate::cli::output::{Output, render, write};
use crate::config::Config;
use crate::plan::capacity::CapacityStatus;
use crate::runtime::Lock;

/// How often one may look.
const INTERVALS: RangeInclusive<Duration> = Duration::from_millis(200)..=Duration::from_secs(3600);

/// Home, and everything from there on cleared (ECMA-48, CUP and ED).
const CLEAR: &str = "\x1b[H\x1b[2J";

/// The interval that `text` names, such as `2s`.
///
/// # Errors
/// If it names none, or one that is too short or too long.
pub fn interval(text: &str) -> Result<Duration, String> {
    let duration = text.parse::<SignedDuration>().ok().and_then(|duration| Duration::try_from(duration).ok());
    duration
        .filter(|duration| INTERVALS.contains(duration))
        .ok_or_else(|| "not a time from 200ms to 1h, such as 2s".into())
}

/// Looks every `interval`, until the process is told to end by Ctrl-C.
///
/// # Errors
/// If the answer cannot be written.
pub async fn watch(config: &Config, interval: Duration, output: Output) -> anyhow::Result<()> {
    let mut watcher = Watcher { redraws: std::io::stdout().is_terminal(), output, last: None };
    let look = async {
        loop {
            let seen = look(config).await;
            write(&watcher.show(&seen, interval, Timestamp::now())?)?;
            tokio::time::sleep(interval).await;
        }
    };
    tokio::select! {
        ended = look => ended,
        told = tokio::signal::ctrl_c() => told.context("cannot hear of Ctrl-C"),
    }
}

/// What one look showed: the agent's answer, or why there is none.
async fn look(config: &Config) -> Result<Answer, String> {
    if Lock::holder(&config.runtime_dir, "agent").is_none() {
        return Err("no agent runs; waiting for one".to_owned());
    }
    status(config).await.map_err(|error| format!("the agent does not answer; trying again: {error:#}"))
}

/// What is printed when.
struct Watcher {
    redraws: bool,
    output: Output,
    last: Option<Result<Answer, String>>,
}

impl Watcher {
    /// What to print at `now` after this was `seen`; nothing where that is nothing new.
    fn show(&mut self, seen: &Result<Answer, String>, interval: Duration, now: Timestamp) -> anyhow::Result<String> {
        let seconds = now.as_second();
        let body = |output| match seen {
            Ok(answer) => render(answer, output, |answer| answer.text(seconds)),
            Err(trouble) => Ok(format!("{trouble}\n")),
        };
        let time = now.strftime("%Y-%m-%dT%H:%M:%SZ");
        if self.redraws && self.output == Output::Table {
            return Ok(format!(
                "{CLEAR}vipcast status every {interval:?}, {time}; Ctrl-C ends it\n\n{}",
                body(self.output)?
            ));
        }
        let lasting = seen.clone().map(without_counters);
        if self.last.as_ref() == Some(&lasting) {
            return Ok(String::new());
        }
        let first = self.last.replace(lasting).is_none();
        Ok(match (self.output, seen) {
            (Output::Table, _) => format!("{}--- {time}\n{}", if first { "" } else { "\n" }, body(self.output)?),
            // A line each, so that programs can tell documents apart.
            (Output::Json, Ok(answer)) => serde_json::to_string(answer)? + "\n",
            (Output::Yaml, Ok(_)) => format!("---\n{}", body(self.output)?),
            (Output::Json | Output::Yaml, Err(trouble)) => {
                tracing::warn!("{trouble}");
                String::new()
            }
        })
    }
}

/// The answer without what changes with every connection.
fn without_counters(mut answer: Answer) -> Answer {
    answer.status.capacity = CapacityStatus::default();
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Status;

    fn answer(ready: bool) -> Result<Answer, String> {
        Ok(Answer { agent: true, status: Status { node: "lb1".into(), ready, ..Status::default() } })
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    const EVERY: Duration = Duration::from_secs(2);

    #[test]
    fn elsewhere_only_what_changed_is_printed_with_the_time() {
        let mut watcher = Watcher { redraws: false, output: Output::Table, last: None };
        let mut show = |seen, second| watcher.show(&seen, EVERY, at(second)).unwrap();
        let first = show(answer(true), 0);
        assert!(first.starts_with("--- 1970-01-01T00:00:00Z\nNode lb1: ready"), "{first}");
        assert_eq!(show(answer(true), 2), "");
        let mut counted = answer(true).unwrap();
        counted.status.capacity.conntrack =
            Some(crate::plan::capacity::ConntrackStatus { entries: 7, limit: 9, insert_failed: None });
        assert_eq!(show(Ok(counted), 4), "", "connections come and go");
        assert!(show(answer(false), 6).starts_with("\n--- 1970-01-01T00:00:06Z\nNode lb1: NOT READY"));
        assert_eq!(show(Err("no agent runs".into()), 8), "\n--- 1970-01-01T00:00:08Z\nno agent runs\n");
        assert_eq!(show(Err("no agent runs".into()), 10), "");
        assert!(show(answer(false), 12).contains("Node lb1"), "the agent is back");
    }

    #[test]
    fn a_terminal_is_drawn_anew_each_time() {
        let mut watcher = Watcher { redraws: true, output: Output::Table, last: None };
        for second in [0, 2] {
            let screen = watcher.show(&answer(true), EVERY, at(second)).unwrap();
            assert!(
                screen.starts_with(&format!("{CLEAR}vipcast status every 2s, 1970-01-01T00:00:0{second}Z")),
                "{screen}"
            );
        }
    }

    #[test]
    fn programs_get_a_document_a_line() {
        let mut watcher = Watcher { redraws: true, output: Output::Json, last: None };
        let line = watcher.show(&answer(true), EVERY, at(0)).unwrap();
        assert_eq!(line.lines().count(), 1);
        assert!(line.starts_with("{\"agent\":true,\"node\":\"lb1\""), "{line}");
        assert_eq!(watcher.show(&Err("gone".into()), EVERY, at(2)).unwrap(), "");
    }

    #[test]
    fn intervals_are_neither_too_short_nor_too_long() {
        assert_eq!(interval("2s"), Ok(EVERY));
        assert_eq!(interval("500ms"), Ok(Duration::from_millis(500)));
        for text in ["", "2", "0s", "100ms", "2h", "-2s", "soon"] {
            assert!(interval(text).is_err(), "{text:?}");
        }
    }
}
