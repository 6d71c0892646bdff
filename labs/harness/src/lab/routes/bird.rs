//! BIRD's answers, which are written for people.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Context, Result, bail};

use super::{Heard, Session, Since};

/// The well-known communities, which BIRD shows as numbers, by their names in RFC 1997.
const WELL_KNOWN: [(&str, &str); 3] =
    [("65535:65281", "no-export"), ("65535:65282", "no-advertise"), ("65535:65283", "local-AS")];

/// `show route PREFIX table all all`. A route begins with its kind and, in brackets, its protocol; what follows, one
/// attribute a line, is indented by a tab.
pub(super) fn heard(answer: &str) -> Result<BTreeMap<String, Heard>> {
    let mut routes: Vec<(String, Heard)> = Vec::new();
    for line in answer.lines() {
        if !line.starts_with('\t') {
            let Some((_, from)) = line.split_once(" [") else { continue };
            let protocol = from.split([' ', ']']).next().unwrap_or_default();
            routes.push((protocol.to_owned(), Heard::default()));
            continue;
        }
        let (Some((name, value)), Some((_, route))) = (line.trim().split_once(": "), routes.last_mut()) else {
            continue;
        };
        read(name, value, route).with_context(|| line.to_owned())?;
    }
    Ok(routes.into_iter().collect())
}

fn read(name: &str, value: &str, route: &mut Heard) -> Result<()> {
    match name {
        "BGP.as_path" => route.as_path = value.split_whitespace().map(str::parse).collect::<Result<_, _>>()?,
        // The link-local address may follow.
        "BGP.next_hop" => route.next_hop = value.split(' ').next().unwrap_or_default().to_owned(),
        "BGP.med" => route.med = Some(value.parse()?),
        "BGP.local_pref" => route.local_pref = Some(value.parse()?),
        "BGP.community" => route.communities = tuples(value).map(well_known).collect(),
        "BGP.large_community" => route.large_communities = tuples(value).collect(),
        _ => {}
    }
    Ok(())
}

/// `(1,2) (3, 4)` as `1:2` and `3:4`.
fn tuples(value: &str) -> impl Iterator<Item = String> {
    let inside = value.split(['(', ')']).map(str::trim).filter(|text| !text.is_empty());
    inside.map(|text| text.split(',').map(str::trim).collect::<Vec<_>>().join(":"))
}

fn well_known(community: String) -> String {
    let name = WELL_KNOWN.iter().find(|(number, _)| *number == community);
    name.map_or(community, |(_, name)| (*name).to_owned())
}

/// `show protocols`: name, protocol, table, state, since, info.
pub(super) fn sessions(answer: &str) -> Result<BTreeMap<String, Session>> {
    let rows = answer.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row.get(1) == Some(&"BGP"))
        .map(|row| {
            let (Some(name), Some(since)) = (row.first(), row.get(4)) else { bail!("a row without a time: {row:?}") };
            let established = row.get(5) == Some(&"Established");
            let since = Since::Clock(clock(since).with_context(|| format!("when {name} began: {since}"))?);
            Ok(((*name).to_owned(), Session { established, since }))
        })
        .collect()
}

/// `show bfd sessions`: address, interface, state, since, interval, timeout.
pub(super) fn bfd_sessions(answer: &str) -> Result<BTreeMap<String, Session>> {
    let rows = answer.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row.first().is_some_and(|address| address.parse::<IpAddr>().is_ok()))
        .map(|row| {
            let [address, _, state, since, ..] = row[..] else { bail!("a row without a time: {row:?}") };
            let since = Since::Clock(clock(since).with_context(|| format!("when {address} began: {since}"))?);
            Ok((address.to_owned(), Session { established: state == "Up", since }))
        })
        .collect()
}

/// A time of day, in milliseconds.
fn clock(text: &str) -> Result<u64> {
    let (hours, rest) = text.split_once(':').context("no hours")?;
    let (minutes, seconds) = rest.split_once(':').context("no minutes")?;
    let (seconds, milliseconds) = seconds.split_once('.').context("no milliseconds")?;
    let seconds = (hours.parse::<u64>()? * 60 + minutes.parse::<u64>()?) * 60 + seconds.parse::<u64>()?;
    Ok(seconds * 1000 + milliseconds.parse::<u64>()?)
}
