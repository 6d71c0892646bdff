//! What was measured: one JSON object a line, added as runs end, so that a measurement can be interrupted and go on.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use vipcast_lab::traffic::steady::Figures;

use super::cells::Cell;

/// A line of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub(super) enum Record {
    /// What was measured on, from here on.
    Machine {
        /// In words.
        description: String,
    },
    /// A run whose figures count.
    Run(Run),
    /// A run whose figures do not: the client stood still, or attempts failed before anything happened.
    Noise {
        #[serde(flatten)]
        run: Run,
        /// What was wrong with it.
        why: String,
    },
    /// A run that went wrong.
    Failed {
        #[serde(flatten)]
        cell: Cell,
        /// How.
        why: String,
    },
}

/// A run's figures. Times are in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Run {
    #[serde(flatten)]
    pub(super) cell: Cell,
    /// How long new connections failed.
    pub(super) without: u64,
    /// The time from the event to the beginning of the last attempt that failed.
    pub(super) until: Option<u64>,
    /// New connections since the event.
    pub(super) tried: usize,
    /// Those that failed.
    pub(super) failed: usize,
    /// Connections held open.
    pub(super) open: usize,
    /// Those that broke.
    pub(super) broken: usize,
    /// Sessions of the ToRs that ended, though nothing of theirs was edited.
    pub(super) sessions_lost: usize,
    /// The end was not waited for: it took longer.
    pub(super) cut_short: bool,
    /// The longest time that the client stood still.
    pub(super) standstill: u64,
    /// What a new connection took before the event, in microseconds: the median, and the slowest of a hundred.
    pub(super) usual: (u64, u64),
    /// New connections before the event, by LB node.
    pub(super) by: Vec<usize>,
}

impl Run {
    pub(super) fn new(cell: Cell, figures: &Figures, sessions_lost: usize, cut_short: bool) -> Run {
        let millis = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let micros = |duration: std::time::Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Run {
            cell,
            without: millis(figures.without),
            until: figures.until.map(millis),
            tried: figures.tried,
            failed: figures.failed,
            open: figures.open,
            broken: figures.broken,
            sessions_lost,
            cut_short,
            standstill: millis(figures.standstill),
            usual: (micros(figures.usual.0), micros(figures.usual.1)),
            by: figures.by.values().copied().collect(),
        }
    }
}

/// The records in a file; none, if there is no file.
pub(super) fn read(file: &Path) -> Result<Vec<Record>> {
    if !file.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    // The last line may be half of one, where the writer was killed.
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// Adds a record to a file.
pub(super) fn add(file: &Path, record: &Record) -> Result<()> {
    let failed = || format!("write {}", file.display());
    let mut lines = File::options().create(true).append(true).open(file).with_context(failed)?;
    let line = format!("{}\n", serde_json::to_string(record)?);
    lines.write_all(line.as_bytes()).and_then(|()| lines.sync_data()).with_context(failed)
}

/// How many runs of a cell there are.
pub(super) fn count(records: &[Record], cell: Cell) -> usize {
    records.iter().filter(|record| matches!(record, Record::Run(run) if run.cell == cell)).count()
}

/// How many runs of a cell came to nothing since the measurement was last taken up.
pub(super) fn wasted(records: &[Record], wanted: Cell) -> usize {
    let taken_up = records.iter().rposition(|record| matches!(record, Record::Machine { .. })).unwrap_or_default();
    let is_wasted = |record: &&Record| match record {
        Record::Noise { run: Run { cell, .. }, .. } | Record::Failed { cell, .. } => *cell == wanted,
        Record::Run(_) | Record::Machine { .. } => false,
    };
    records[taken_up..].iter().filter(is_wasted).count()
}

#[cfg(test)]
mod tests {
    use super::super::cells::{Detection, Row, Setting};
    use super::*;

    #[test]
    fn records_survive_a_writer_that_was_killed() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("results.jsonl");
        assert!(read(&file).expect("no file is no record").is_empty());
        let cell = Cell { setting: Setting::Bgp, detection: Detection::Hold, row: Row::Power };
        let run = Run::new(cell, &Figures::default(), 1, false);
        let records = [
            Record::Machine { description: "a machine".to_owned() },
            Record::Run(run.clone()),
            Record::Noise { run, why: "it stood still".to_owned() },
        ];
        for record in &records {
            add(&file, record).expect("written");
        }
        File::options().append(true).open(&file).and_then(|mut file| file.write_all(b"{\"what\":\"ru")).expect("half");
        let found = read(&file).expect("read");
        assert_eq!(found, records);
        assert_eq!((count(&found, cell), wasted(&found, cell)), (1, 1));
        let again = [found.clone(), vec![records[0].clone()]].concat();
        assert_eq!((count(&again, cell), wasted(&again, cell)), (1, 0), "a new beginning");
        assert_eq!(count(&found, Cell { row: Row::Link, ..cell }), 0);
    }
}
