//! The announcement lease and BFD sessions, for people.

use std::fmt;

use jiff::Timestamp;

use super::text::{line, span};
use crate::cli::table::{Row, table};
use crate::plan::status::{BfdSessionStatus, LeaseStatus};

/// One line, and more only where something is wrong.
pub(super) fn write_lease(lease: &LeaseStatus, now: i64, text: &mut String) -> fmt::Result {
    let LeaseStatus { state, since, until, reason, problem } = lease;
    let moment = |time: &Option<String>| time.as_deref().and_then(|time| time.parse::<Timestamp>().ok());
    let age = moment(since).map(|since| format!(" for {}", span(now - since.as_second()))).unwrap_or_default();
    let rest = moment(until).map(|until| format!(", {} left", span(until.as_second() - now))).unwrap_or_default();
    let words = match state.as_str() {
        "held" => "held by the agent",
        "static" => "FAIL STATIC: not renewed, while the speaker's own probe passes",
        "lapsed" => "LAPSED: what was announced is withdrawn",
        "lost" => "LOST: the speaker cannot be reached",
        _ => "no orders yet",
    };
    line(text, &format!("Lease: {words}{age}{rest}"))?;
    reason.iter().chain(problem).try_for_each(|reason| line(text, &format!("  {reason}")))
}

/// A table of the sessions; nothing if there are none.
pub(super) fn write_bfd(sessions: &[BfdSessionStatus], now: i64, text: &mut String) -> fmt::Result {
    table(
        text,
        &["BFD", "FOR", "STATE", "OTHER SIDE", "SINCE", "INTERVAL", "DETECTION", "FLAPS"],
        sessions.iter().map(|s| row(s, now)).collect(),
    )
}

fn row(session: &BfdSessionStatus, now: i64) -> Row {
    let since = session.since.as_deref().and_then(|since| since.parse::<Timestamp>().ok());
    let millis = |time: Option<u64>| time.map_or("-".to_owned(), |time| format!("{time}ms"));
    let row = Row::new([
        session.peer.clone(),
        session.kind.clone(),
        session.state.clone(),
        session.remote.clone().unwrap_or_else(|| "-".to_owned()),
        since.map_or("-".to_owned(), |since| span(now - since.as_second())),
        millis(session.interval_ms),
        millis(session.detection_ms),
        session.flaps.to_string(),
    ]);
    let row = session.reason.iter().fold(row, |row, reason| row.note(format!("last end: {reason}")));
    let damped =
        session.damped_ms.map(|time| format!("it flaps, and is believed to be up again in {time} ms at the earliest"));
    damped.iter().chain(&session.problem).fold(row, |row, note| row.note(note))
}
