//! The tables, in Markdown.

use std::fmt::Write;

use clap::ValueEnum;

use super::cells::{Cell, Detection, Row, Setting};
use super::records::{Record, Run};

/// What the figures mean.
const LEGEND: &str = "\
Each field has the median and the worst of its runs. **ms**: without service, from the first new connection that failed to the
last one. A new one is tried every few milliseconds from two addresses, half of them by each ToR; it has failed when it is refused
or not answered within 800 ms. **broken**: of the connections that were open and in use, those that were reset or hung.
";

/// Writes the tables of what was measured so far.
pub(super) fn write(records: &[Record]) -> String {
    let runs: Vec<&Run> =
        records.iter().filter_map(|record| if let Record::Run(run) = record { Some(run) } else { None }).collect();
    let mut text = String::new();
    let mut machines: Vec<&str> = Vec::new();
    for record in records {
        if let Record::Machine { description } = record
            && !machines.contains(&description.as_str())
        {
            machines.push(description);
        }
    }
    for machine in machines {
        let _ = writeln!(text, "Measured on {machine}.\n");
    }
    let _ = writeln!(text, "{LEGEND}");
    section(&mut text, &runs, "What happens", |row| !row.is_planned(), unplanned);
    section(&mut text, &runs, "What is done", Row::is_planned, planned);
    let wasted = records.iter().filter(|record| matches!(record, Record::Noise { .. } | Record::Failed { .. })).count();
    let _ = writeln!(text, "{}", client(&runs, wasted));
    text
}

/// One table: a line for each row and setting that has runs.
fn section(
    text: &mut String,
    runs: &[&Run],
    title: &str,
    wanted: impl Fn(Row) -> bool,
    field: impl Fn(&[&Run]) -> String,
) {
    let detections = Detection::value_variants();
    let mut lines = Vec::new();
    for setting in Setting::value_variants() {
        for row in Row::value_variants().iter().filter(|row| wanted(**row)) {
            let fields: Vec<String> = detections
                .iter()
                .map(|detection| {
                    let cell = Cell { setting: *setting, detection: *detection, row: *row };
                    let of_cell: Vec<&Run> = runs.iter().copied().filter(|run| run.cell == cell).collect();
                    if of_cell.is_empty() { "–".to_owned() } else { field(&of_cell) }
                })
                .collect();
            if fields.iter().any(|field| field != "–") {
                lines.push(format!("| {}{} | {} |", row.title(), setting.suffix(), fields.join(" | ")));
            }
        }
    }
    if lines.is_empty() {
        return;
    }
    let titles: Vec<&str> = detections.iter().map(|detection| detection.title()).collect();
    let _ = writeln!(text, "| {title} | {} |\n|---|{}", titles.join(" | "), "---|".repeat(titles.len()));
    for line in lines {
        let _ = writeln!(text, "{line}");
    }
    text.push('\n');
}

/// `870 / 912 ms; 25 / 27 of 100 broken (10 runs)`
fn unplanned(runs: &[&Run]) -> String {
    let without = spread(runs.iter().map(|run| run.without));
    let more = if runs.iter().any(|run| run.cut_short) { "more than " } else { "" };
    format!("{more}{without} ms; {} ({})", broken(runs), count(runs))
}

/// `0 of 2,412 failed; 0 / 0 of 100 broken; no session lost (3 runs)`
fn planned(runs: &[&Run]) -> String {
    let (failed, tried) = runs.iter().fold((0, 0), |(failed, tried), run| (failed + run.failed, tried + run.tried));
    let lost: usize = runs.iter().map(|run| run.sessions_lost).sum();
    let lost = if lost == 0 { "no session lost".to_owned() } else { format!("{lost} sessions lost") };
    format!(
        "{} of {} failed; {}; {lost} ({})",
        grouped(failed as u64),
        grouped(tried as u64),
        broken(runs),
        count(runs)
    )
}

fn broken(runs: &[&Run]) -> String {
    let open = runs.iter().map(|run| run.open).max().unwrap_or_default();
    format!("{} of {open} broken", spread(runs.iter().map(|run| run.broken as u64)))
}

fn count(runs: &[&Run]) -> String {
    if runs.len() == 1 { "1 run".to_owned() } else { format!("{} runs", runs.len()) }
}

/// The median and the worst.
fn spread(values: impl Iterator<Item = u64>) -> String {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    // Of an even number of runs the worse of the two in the middle.
    let median = values.get(values.len() / 2).copied().unwrap_or_default();
    format!("{} / {}", grouped(median), grouped(values.last().copied().unwrap_or_default()))
}

/// `12,345`
fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How far the client can be trusted.
fn client(runs: &[&Run], wasted: usize) -> String {
    let millis = |micros: u64| format!("{}.{}", micros / 1000, micros % 1000 / 100);
    let usual = runs.iter().map(|run| run.usual.0).max().unwrap_or_default();
    let slowest = runs.iter().map(|run| run.usual.1).max().unwrap_or_default();
    let standstill = runs.iter().map(|run| run.standstill).max().unwrap_or_default();
    format!(
        "The client: in the slowest run a new connection took {} ms in the median before anything happened, and {} ms for the \
         slowest of a hundred; between two attempts never passed more than {standstill} ms. Runs that were thrown away, since the \
         client stood still for longer, attempts failed before anything happened, a session was lost to which nothing had happened, \
         or the lab did not come up: {wasted}.",
        millis(usual),
        millis(slowest)
    )
}

#[cfg(test)]
mod tests {
    use vipcast_lab::traffic::steady::Figures;

    use super::*;

    fn run(row: Row, detection: Detection, without: u64) -> Record {
        let cell = Cell { setting: Setting::Bgp, detection, row };
        let run = Run::new(cell, &Figures::default(), 0, false);
        Record::Run(Run { without, open: 100, broken: 25, tried: 1200, usual: (2_340, 9_000), standstill: 12, ..run })
    }

    #[test]
    fn a_table_has_the_median_and_the_worst() {
        let records = [
            Record::Machine { description: "a machine".to_owned() },
            Record::Machine { description: "a machine".to_owned() },
            run(Row::Power, Detection::Hold, 9_400),
            run(Row::Power, Detection::Hold, 7_300),
            run(Row::Power, Detection::Hold, 8_100),
            run(Row::Drain, Detection::Bfd50, 0),
        ];
        let text = write(&records);
        assert_eq!(text.matches("Measured on a machine.").count(), 1);
        let power = "| an LB node loses power | 8,100 / 9,400 ms; 25 / 25 of 100 broken (3 runs) | – | – |\n";
        assert!(text.contains(power), "{text}");
        let drain =
            "| drain and return | – | – | 0 of 1,200 failed; 25 / 25 of 100 broken; no session lost (1 run) |\n";
        assert!(text.contains(drain), "{text}");
        assert!(text.contains("took 2.3 ms in the median"), "{text}");
    }

    #[test]
    fn numbers_have_groups() {
        for (value, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(value), text);
        }
    }
}
