//! `proof` and `brake`: what has to be seen before it is believed.

use std::time::Duration;

use super::item::{Item, Mistake};
use super::value;
use crate::model::Prefix;
use crate::model::settings::{Brake, Proof};

/// Reads `proof`, which may be missing. No canary may share addresses with one of `ranges`.
pub(super) fn read<'r>(item: Option<&Item>, ranges: impl Iterator<Item = Prefix> + 'r) -> Result<Proof, Mistake> {
    let mut proof = Proof::default();
    let Some(item) = item else { return Ok(proof) };
    let table = item.table(&["canaries", "interval", "fail", "pass"])?;
    if let Some(item) = table.get("canaries") {
        proof.canaries = canaries(item, &ranges.collect::<Vec<_>>())?;
    }
    let interval = table.read("interval", |item| {
        let range = Duration::from_millis(100)..=Duration::from_secs(60);
        value::duration(item, range, "a time such as 1s, from 100ms to 1m")
    })?;
    let probes = |key| table.read(key, |item| item.number(1..=100, "a number of probes"));
    Ok(Proof {
        interval: interval.unwrap_or(proof.interval),
        fail: probes("fail")?.unwrap_or(proof.fail),
        pass: probes("pass")?.unwrap_or(proof.pass),
        canaries: proof.canaries,
    })
}

/// `on`, `off`, or ranges.
fn canaries(item: &Item, ranges: &[Prefix]) -> Result<Vec<Prefix>, Mistake> {
    const ALLOWED: &str = "on, off, or a list of ranges for internal use, such as [169.254.77.0/29]";
    const RANGE: &str = "a prefix of 8 addresses at least, such as 169.254.77.0/29 or fd76:6970:6361:7374::/125";
    if !item.is_list() {
        let default = item.parse(ALLOWED, |text| match text {
            "on" => Some(Proof::default().canaries),
            "off" => Some(Vec::new()),
            _ => None,
        })?;
        return Ok(default);
    }
    let mut canaries: Vec<Prefix> = Vec::new();
    for item in item.list(ALLOWED)? {
        let range = value::prefix(&item, RANGE)?;
        if Prefix::host(range.address()).length() - range.length() < 3 {
            return Err(item.conflict("which has less than 8 addresses", RANGE));
        }
        if canaries.iter().any(|other| other.family() == range.family()) {
            return Err(item.conflict(format_args!("the second one of {}", range.family()), "one of each family"));
        }
        if let Some(other) = ranges.iter().find(|other| other.overlaps(range)) {
            let trouble = format!("which shares addresses with the range {other}");
            return Err(item.conflict(trouble, "a range that nothing else is in"));
        }
        canaries.push(range);
    }
    Ok(canaries)
}

/// Reads `brake`, which may be missing.
pub(super) fn brake(item: Option<&Item>) -> Result<Brake, Mistake> {
    let brake = Brake::default();
    let Some(item) = item else { return Ok(brake) };
    let table = item.table(&["share", "window", "hold"])?;
    let share = table.read("share", |item| item.number(0..=100, "a share in percent, where 100 means never,"))?;
    let window = table.read("window", |item| {
        let range = Duration::from_secs(1)..=Duration::from_secs(60);
        value::duration(item, range, "a time such as 5s, from 1s to 1m")
    })?;
    let hold = table.read("hold", |item| {
        let range = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
        value::duration(item, range, "a time such as 60s, from 1s to 24h")
    })?;
    Ok(Brake {
        share: share.unwrap_or(brake.share),
        window: window.unwrap_or(brake.window),
        hold: hold.unwrap_or(brake.hold),
    })
}
