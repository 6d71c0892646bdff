//! `lease`: how long what is announced outlives the agent.

use std::time::Duration;

use super::item::{Item, Mistake};
use super::value;
use crate::model::settings::Lease;

/// Reads the section, which may be missing.
pub(super) fn read(item: Option<&Item>) -> Result<Lease, Mistake> {
    let mut lease = Lease::default();
    let Some(item) = item else { return Ok(lease) };
    let table = item.table(&["ttl", "static"])?;
    let day = Duration::from_secs(24 * 3600);
    let ttl = table
        .read("ttl", |item| value::duration(item, Duration::from_secs(1)..=day, "a time such as 5s, from 1s to 24h"))?;
    let fail_static = table.read("static", |item| {
        value::duration(item, Duration::ZERO..=day * 365, "a time such as 1h, from 0s (never) to 8760h")
    })?;
    lease.ttl = ttl;
    lease.fail_static = fail_static.unwrap_or(lease.fail_static);
    Ok(lease)
}
