//! `vipcast-lab bench failover`: what it costs when something dies, and that what is planned costs nothing.
//!
//! The lab is `labs/failover` (for static routes `labs/failover-static`). A run: everything is as it should be; a client opens
//! connections at a steady rate and holds others; something happens; when nothing has failed for a while, the client says what
//! it met with; the lab is made whole again.

mod bfd;
mod cells;
mod control;
mod events;
mod hasher;
mod machine;
mod measure;
mod records;
mod stage;
mod table;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use nix::sys::signal::{SigSet, Signal};
use vipcast_lab::apiserver::Programs;
use vipcast_lab::{Unavailable, vm};

use self::cells::{Cell, Detection, Row, Setting};
use self::records::{Record, count};

/// Measures failover in the lab `failover`, and prints a table.
///
/// Runs are added to a file as they end: interrupted (Ctrl-C), it prints the table of what there is, and started again it goes on.
#[derive(Debug, Parser)]
#[command(name = "vipcast-lab bench failover --", disable_help_subcommand = true)]
struct Arguments {
    /// What shall happen, if not everything.
    #[arg(long, value_enum)]
    row: Vec<Row>,
    /// How the ToRs notice, if not in each way.
    #[arg(long, value_enum)]
    detection: Vec<Detection>,
    /// What the ToRs do, if not each thing.
    #[arg(long, value_enum)]
    setting: Vec<Setting>,
    /// How many runs of each there shall be in the end. Default: 10 for a loss of power, 3 for the rest.
    #[arg(long)]
    runs: Option<usize>,
    /// The pause between two new connections, in milliseconds.
    #[arg(long, default_value_t = 10)]
    every: u64,
    /// Keep runs on a machine that is too busy to measure on: for trying things out.
    #[arg(long)]
    lenient: bool,
    /// How many connections are held open.
    #[arg(long, default_value_t = 100)]
    open: usize,
    /// The file with the results. Default: `failover/results.jsonl` in cargo's target folder.
    #[arg(long, overrides_with = "results")]
    results: Option<PathBuf>,
    /// Print the table of what there is, and measure nothing.
    #[arg(long)]
    print: bool,
    /// This process is where the kernel will do.
    #[arg(long, hide = true)]
    here: bool,
}

/// About how long a run takes with all that belongs to it, on an emulated machine.
const RUN: Duration = Duration::from_secs(25);

/// A control plane needs room beside the lab.
const SIZE: vm::Size = vm::Size { cpus: 2, memory_mib: 6144 };

/// About how long a lab takes to come up.
const LAB: Duration = Duration::from_secs(60);

impl Arguments {
    /// The cells that are asked for.
    fn cells(&self) -> Vec<Cell> {
        let mut cells = Cell::all();
        cells.retain(|cell| self.row.is_empty() || self.row.contains(&cell.row));
        cells.retain(|cell| self.detection.is_empty() || self.detection.contains(&cell.detection));
        cells.retain(|cell| self.setting.is_empty() || self.setting.contains(&cell.setting));
        cells
    }

    /// How many runs of a cell are missing.
    fn missing(&self, records: &[Record], cell: Cell) -> usize {
        self.runs.unwrap_or(cell.row.runs()).saturating_sub(count(records, cell))
    }

    fn results(&self) -> Result<PathBuf> {
        let file = match &self.results {
            Some(file) => std::path::absolute(file).context("find the results")?,
            None => {
                let program = std::env::current_exe().context("find this program")?;
                let target = program.ancestors().nth(2).context("this program is in cargo's target folder")?;
                target.join("failover/results.jsonl")
            }
        };
        let folder = file.parent().context("the results are in a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        Ok(file)
    }
}

/// Measures what is missing, and prints the table. The answer is an exit status: 1 if something is missing still.
pub(crate) fn run(words: &[OsString]) -> Result<u8> {
    let name = OsString::from("vipcast-lab bench failover --");
    let arguments = Arguments::parse_from(std::iter::once(name).chain(words.iter().cloned()));
    let vipcast = crate::vipcast()?;
    let file = arguments.results()?;
    if arguments.here {
        measure::all(&arguments, &file, &vipcast)?;
        return Ok(0);
    }
    let left =
        |records: &[Record]| arguments.cells().iter().map(|cell| arguments.missing(records, *cell)).sum::<usize>();
    let records = records::read(&file)?;
    let before = left(&records);
    if arguments.print || before == 0 {
        print(&file)?;
        return Ok(u8::from(before > 0));
    }
    print_when_interrupted(&file)?;
    let labs = arguments.cells().chunk_by(|a, b| (a.setting, a.detection) == (b.setting, b.detection)).count();
    let minutes = (RUN * u32::try_from(before)? + LAB * u32::try_from(labs)?).as_secs() / 60;
    eprintln!("vipcast-lab: {before} runs, which take about {minutes} minutes; results go to {}", file.display());

    if arguments
        .cells()
        .iter()
        .any(|cell| cell.setting == Setting::Kubernetes && arguments.missing(&records, *cell) > 0)
        && let Err(Unavailable(reason)) = Programs::provide(None)?
    {
        eprintln!("vipcast-lab: no API server: {reason}");
    }
    let program = std::env::current_exe().context("find this program")?;
    let mut command = vec![program.into(), "bench".into(), "failover".into(), "--".into(), "--here".into()];
    command.extend(words.iter().cloned());
    command.extend(["--results".into(), file.clone().into()]);
    let folder = file.parent().context("the results are in a folder")?.to_owned();
    let status = vm::run(vm::Job { command, writable: vec![folder], size: SIZE, ..vm::Job::default() })?;
    print(&file)?;
    ensure!(status == 0, "the measurement ended with {status}");
    Ok(u8::from(left(&records::read(&file)?) > 0))
}

/// Prints the table, unless it has been.
fn print(file: &Path) -> Result<()> {
    static PRINTED: AtomicBool = AtomicBool::new(false);
    if !PRINTED.swap(true, Ordering::Relaxed) {
        println!("\n{}", table::write(&records::read(file)?));
    }
    Ok(())
}

/// Ends this process with the table when it is told to end. No other thread runs yet.
fn print_when_interrupted(file: &Path) -> Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_block().context("block signals")?;
    let file = file.to_owned();
    std::thread::spawn(move || {
        if let Ok(signal) = signals.wait() {
            let _ = print(&file);
            // 130 and 143, as shells have it.
            std::process::exit(128 + signal as i32);
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_not_measured_again() {
        let arguments = Arguments::parse_from(["bench", "--row", "power", "--detection", "hold", "--setting", "bgp"]);
        let cells = arguments.cells();
        assert_eq!(cells, [Cell { setting: Setting::Bgp, detection: Detection::Hold, row: Row::Power }]);
        let run = Record::Run(records::Run::new(cells[0], &Default::default(), 0, false));
        let failed = Record::Failed { cell: cells[0], why: String::new() };
        assert_eq!(arguments.missing(&[], cells[0]), 10);
        assert_eq!(arguments.missing(&[run.clone(), run, failed], cells[0]), 8);
    }
}
