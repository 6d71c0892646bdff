//! Runs, one after another.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use vipcast_lab::traffic::steady::{Figures, Plan, Steady};

use super::cells::Cell;
use super::records::{self, Record, Run};
use super::stage::{NODES, SOURCES, Stage, VIP};
use super::{Arguments, events, machine};

/// So many runs of a cell may come to nothing before it is given up, until the measurement is taken up the next time.
const WASTE: usize = 3;

/// How long everything goes well before something happens.
const BEFORE: Duration = Duration::from_secs(3);

/// So long without a failure, and it is over.
const AFTER: Duration = Duration::from_secs(3);

/// The longest that is waited for that.
const LONGEST: Duration = Duration::from_secs(150);

/// A line that takes so long to come back has met with what happened.
const SLOW: Duration = Duration::from_secs(1);

/// The longest pause between two retransmissions of a line, after outages that are as long as a hold time.
const RETRANSMISSION: Duration = Duration::from_secs(15);

/// A client that stood still for longer has not seen what happened meanwhile.
const STANDSTILL: Duration = Duration::from_millis(150);

/// Where one of a hundred connections takes longer before anything happens, one that fails later may just be slow.
const SLOWEST: Duration = Duration::from_millis(300);

/// After how long an attempt has failed.
const PATIENCE: Duration = Duration::from_millis(800);

/// The pause between lines on connections that are held open.
const PAUSE: Duration = Duration::from_millis(500);

/// Measures all that is missing. One that goes wrong costs its lab, not the rest.
pub(super) fn all(arguments: &Arguments, file: &Path, vipcast: &Path) -> Result<()> {
    records::add(file, &Record::Machine { description: machine::describe() })?;
    for lab in arguments.cells().chunk_by(|a, b| (a.setting, a.detection) == (b.setting, b.detection)) {
        let mut stage = None;
        // In turn, so that there is something of everything soon.
        while let Some(cell) = next(arguments, file, lab)? {
            let measured = match stage.take() {
                Some(stage) => Ok(stage),
                None => Stage::up(cell.setting, cell.detection, vipcast),
            };
            let measured = measured.and_then(|stage| run(arguments, stage, cell));
            let record = match measured {
                Ok((whole, record)) => {
                    stage = whole;
                    record
                }
                Err(error) => Record::Failed { cell, why: format!("{error:#}") },
            };
            eprintln!("vipcast-lab: {}", serde_json::to_string(&record)?);
            records::add(file, &record)?;
        }
    }
    Ok(())
}

/// The cell whose turn it is. One that went wrong too often is given up.
fn next(arguments: &Arguments, file: &Path, cells: &[Cell]) -> Result<Option<Cell>> {
    let records = records::read(file)?;
    let wasted = |cell: &Cell| records::wasted(&records, *cell);
    let open = cells.iter().filter(|cell| arguments.missing(&records, **cell) > 0 && wasted(cell) < WASTE);
    Ok(open.min_by_key(|cell| records::count(&records, **cell) + wasted(cell)).copied())
}

/// One run. The lab comes back if it could be made whole.
fn run(arguments: &Arguments, mut stage: Stage, cell: Cell) -> Result<(Option<Stage>, Record)> {
    let done = stage.settle().and_then(|hashers| {
        let record = measure(arguments, &mut stage, cell)?;
        drop(hashers);
        events::undo(&mut stage, cell.row)?;
        Ok(record)
    });
    match done {
        Ok(record) => Ok((Some(stage), record)),
        Err(error) => {
            stage.lab.keep_evidence(&format!("{error:#}"));
            Err(error)
        }
    }
}

fn measure(arguments: &Arguments, stage: &mut Stage, cell: Cell) -> Result<Record> {
    let sessions = stage.sessions()?;
    let every = Duration::from_millis(arguments.every);
    let target: SocketAddr = VIP.parse().context("a VIP")?;
    let sources = SOURCES.iter().map(|source| source.parse::<IpAddr>()).collect::<Result<_, _>>().context("sources")?;
    let plan = Plan { target, sources, every, patience: PATIENCE, open: arguments.open, pause: PAUSE };
    let client = Steady::start(stage.lab.node("client").netns(), plan)?;
    sleep(BEFORE);
    let event = client.now();
    events::happen(stage, cell.row)?;
    let cut_short = !observe(&client, event, events::least(cell));
    let end = client.now();
    let figures = client.stop()?.figures(event, end, every);

    let now = stage.sessions()?;
    let lost: Vec<_> = sessions
        .iter()
        .filter(|((tor, neighbour), session)| {
            let went_on = now.get(&(*tor, neighbour.clone())).is_some_and(|now| session.went_on(now));
            !went_on && !events::is_edited(cell, tor, neighbour)
        })
        .map(|(name, _)| name)
        .collect();
    let astray = lost.iter().find(|(tor, neighbour)| !events::may_touch(cell.row, tor, neighbour));
    let run = Run::new(cell, &figures, lost.len(), cut_short);
    let noise = noise(&figures)
        .or_else(|| astray.map(|(tor, neighbour)| format!("{tor} lost {neighbour}, to which nothing had happened")))
        .filter(|_| !arguments.lenient);
    Ok(match noise {
        Some(why) => Record::Noise { run, why },
        None => Record::Run(run),
    })
}

/// Waits until it is over. False: it was not over in time.
fn observe(client: &Steady, event: Duration, least: Duration) -> bool {
    loop {
        sleep(Duration::from_millis(200));
        let now = client.now();
        let calm_since = client.last_failure().unwrap_or_default().max(event);
        let calm = now.saturating_sub(calm_since);
        let all_answered = client.waiting(SLOW) == 0 || calm > RETRANSMISSION;
        if now > event + least && calm > AFTER && all_answered {
            return true;
        }
        if now > event + LONGEST {
            return false;
        }
    }
}

/// Why the figures are not worth having.
fn noise(figures: &Figures) -> Option<String> {
    if figures.standstill > STANDSTILL {
        return Some(format!("the client stood still for {} ms", figures.standstill.as_millis()));
    }
    if figures.failed_before > 0 {
        return Some(format!("{} attempts failed before anything happened", figures.failed_before));
    }
    if figures.usual.1 > SLOWEST {
        return Some(format!(
            "one of a hundred connections took {} ms before anything happened",
            figures.usual.1.as_millis()
        ));
    }
    (figures.by.len() != NODES.len()).then(|| format!("not all LB nodes had a share: {:?}", figures.by))
}
