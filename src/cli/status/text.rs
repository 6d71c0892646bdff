//! The status for people: what has to be read at first sight first, in lines of at most 100 columns.

use std::fmt::{self, Write as _};

use jiff::Timestamp;

use super::link::{write_bfd, write_lease};
use crate::cli::drain;
use crate::cli::table::{Row, table};
use crate::plan::Status;
use crate::plan::capacity::{CapacityStatus, ConntrackStatus, RehashStatus, SnatStatus};
use crate::plan::status::{BgpStatus, BrakeStatus, PeerStatus, Problem, ProofStatus, RouteStatus, TimeoutsStatus};
use crate::text::wrap;

/// How many routes of others the table names, and how many of those that a peer was not sent as they should be.
const FEW: usize = 5;

pub(super) fn write(status: &Status, now: i64, text: &mut String) -> fmt::Result {
    let state = match (status.ready, status.leaving) {
        (_, true) => "leaving",
        (true, false) => "ready",
        (false, false) => "NOT READY",
    };
    writeln!(text, "Node {}: {state}, {}", status.node, status.role)?;
    for reason in &status.reasons {
        line(text, &format!("  {reason}"))?;
    }
    if !matches!(status.drain.phase.as_str(), "" | "here") {
        let causes = status.drain.causes.join(", ");
        let causes = if causes.is_empty() { String::new() } else { format!(" ({causes})") };
        line(text, &format!("Drain: {}: {}{causes}", status.drain.phase, drain::progress(&status.drain)))?;
    }
    if let Some(problem) = &status.configuration.problem {
        line(text, &format!("Configuration {}, not all in force: {problem}", status.configuration.file))?;
    }
    let services = &status.services;
    let ipvs = &status.ipvs;
    line(
        text,
        &format!(
            "Services: {} known, {} served; {} VIPs, {} virtual servers (of {} desired), {} destinations",
            services.total, services.served, ipvs.vips, ipvs.virtual_servers, ipvs.desired, ipvs.destinations
        ),
    )?;
    if let Some(brake) = &status.brake {
        let BrakeStatus { reason, services, endpoints, needs_confirmation } = brake;
        let end = if *needs_confirmation { "vipcast confirm ends it" } else { "brake.hold or vipcast confirm ends it" };
        line(text, &format!("BRAKE: {reason}; {endpoints} endpoints of {services} Services are kept; {end}"))?;
    }
    if ipvs.draining > 0 {
        writeln!(text, "Draining: {} destinations that nobody wants any more", ipvs.draining)?;
    }
    if let Some(timeouts) = &ipvs.timeouts {
        let TimeoutsStatus { tcp, tcp_fin, udp } = timeouts;
        writeln!(text, "IPVS timeouts: TCP {tcp} s, TCP after FIN {tcp_fin} s, UDP {udp} s")?;
    }
    for ProofStatus { canary, state, failed, problem, .. } in &status.proof {
        let told = match problem {
            Some(problem) if *failed > 0 => format!(", {failed} probes in a row failed: {problem}"),
            Some(problem) => format!(": {problem}"),
            None => String::new(),
        };
        line(text, &format!("Data plane: {state} by the canary {canary}{told}"))?;
    }
    write_capacity(&status.capacity, text)?;
    if let Some(lease) = &status.lease {
        write_lease(lease, now, text)?;
    }
    let RehashStatus { stray_packets, per_second } = status.rehash;
    if stray_packets > 0 {
        writeln!(
            text,
            "Rehash: {stray_packets} packets found no connection and were reset, {per_second} in the last second"
        )?;
    }
    let ranges = status.ranges.iter().map(|range| {
        let row = Row::new([range.prefix.clone(), range.announce.clone(), range.routes.to_string()]);
        range.problem.iter().fold(row, |row, problem| row.note(problem))
    });
    table(text, &["RANGE", "ANNOUNCE", "ROUTES"], ranges.collect())?;
    match &status.bgp {
        Some(bgp) => write_bgp(bgp, now, text)?,
        None if !status.bfd.is_empty() => writeln!(text, "BGP: not configured; BFD sessions announce")?,
        None => writeln!(text, "BGP: not configured; nothing is announced")?,
    }
    write_bfd(&status.bfd, now, text)?;
    let sysctls = status.sysctls.iter().filter(|sysctl| sysctl.found.as_ref() != Some(&sysctl.wanted)).map(|sysctl| {
        let or_none = |value: &Option<String>| value.clone().unwrap_or_else(|| "(none)".to_owned());
        Row::new([sysctl.name.clone(), or_none(&sysctl.found), or_none(&sysctl.now)])
    });
    table(text, &["KERNEL PARAMETER CHANGED", "FOUND", "NOW"], sysctls.collect())?;
    let problems = services.problems.iter().chain(&status.source.bad_objects).chain(&status.source.troubles);
    let problems = problems.map(|Problem { subject, problem }| Row::new([subject, problem]));
    table(text, &["PROBLEM WITH", "WHAT"], problems.collect())?;
    let failures = status.failures.iter();
    let failures = failures.map(|f| Row::new([f.what.clone(), f.count.to_string(), f.reason.clone()]));
    table(text, &["FAILING", "TRIES", "WHY"], failures.collect())
}

fn write_bgp(bgp: &BgpStatus, now: i64, text: &mut String) -> fmt::Result {
    writeln!(text)?;
    let flavour = bgp.flavour.as_deref().unwrap_or("not read yet");
    match (bgp.asn, &bgp.router_id) {
        (Some(asn), Some(id)) => writeln!(text, "BGP: AS {asn}, router ID {id}; gobgpd is {flavour}")?,
        _ if bgp.flavour.is_none() => writeln!(text, "BGP: what gobgpd holds is not known")?,
        _ => writeln!(text, "BGP: not started; gobgpd is {flavour}")?,
    }
    for shortcoming in &bgp.shortcomings {
        line(text, &format!("  it cannot {shortcoming}"))?;
    }
    if let Some(problem) = &bgp.problem {
        line(text, &format!("  {problem}"))?;
    }
    let header = ["PEER", "AS", "STATE", "FOR", "FLAPS", "FAMILIES", "SENT"];
    table(text, &header, bgp.peers.iter().map(|peer| peer_row(peer, now)).collect())?;
    let header = ["ROUTE", "KIND", "NEXT HOP", "ATTRIBUTES", "SERVICE"];
    table(text, &header, bgp.routes.iter().map(route_row).collect())?;
    let foreign = bgp.foreign_routes.len();
    if foreign > 0 {
        let names: Vec<&str> = bgp.foreign_routes.iter().take(FEW).map(|route| route.prefix.as_str()).collect();
        let more = if foreign > FEW { format!(" and {} more", foreign - FEW) } else { String::new() };
        line(text, &format!("Others' routes in gobgpd, left alone: {}{more}", names.join(", ")))?;
    }
    Ok(())
}

fn peer_row(peer: &PeerStatus, now: i64) -> Row {
    let since = peer.since.as_deref().and_then(|since| since.parse::<Timestamp>().ok());
    let uptime = since.map_or("-".to_owned(), |since| span(now - since.as_second()));
    let sent = match (peer.sent, peer.desired) {
        (Some(sent), Some(desired)) => format!("{sent} of {desired}"),
        (None, Some(desired)) => format!("? of {desired}"),
        (_, None) => "-".to_owned(),
    };
    let row = Row::new([
        peer.name.clone(),
        peer.asn.to_string(),
        peer.state.clone(),
        uptime,
        peer.flaps.to_string(),
        peer.families.join(" "),
        sent,
    ]);
    let row = peer.reason.iter().fold(row, |row, reason| row.note(format!("last end: {reason}")));
    // What lasts is in the problem already.
    let told = |prefix: &str| peer.problem.as_ref().is_some_and(|problem| problem.contains(prefix));
    let astray: Vec<_> = peer.astray.iter().filter(|astray| !told(&astray.prefix)).collect();
    let first = astray.iter().take(FEW);
    let row = first.fold(row, |row, astray| row.note(format!("{} is {}", astray.prefix, astray.problem)));
    let more = astray.len().saturating_sub(FEW);
    let row = if more > 0 { row.note(format!("{more} more are not as they should be")) } else { row };
    peer.problem.iter().fold(row, |row, problem| row.note(problem))
}

fn route_row(route: &RouteStatus) -> Row {
    let mut attributes = route.communities.clone();
    attributes.extend(route.large_communities.iter().cloned());
    attributes.extend(route.med.map(|med| format!("MED {med}")));
    attributes.extend(route.local_pref.map(|preference| format!("pref {preference}")));
    attributes.extend(Some(route.prepend).filter(|count| *count > 0).map(|count| format!("prepend {count}")));
    let kind = route.kind.name();
    let attributes = if attributes.is_empty() { "-".to_owned() } else { attributes.join(" ") };
    Row::new([&route.prefix, kind, &route.next_hop, &attributes, &route.services.join(" ")])
}

/// A length of time in its two largest units.
pub(super) fn span(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m{}s", seconds / 60, seconds % 60),
        seconds @ 3600..86400 => format!("{}h{}m", seconds / 3600, seconds / 60 % 60),
        seconds => format!("{}d{}h", seconds / 86400, seconds / 3600 % 24),
    }
}

pub(super) fn line(text: &mut String, line: &str) -> fmt::Result {
    for (number, line) in wrap(line, 96).iter().enumerate() {
        writeln!(text, "{}{line}", if number == 0 { "" } else { "    " })?;
    }
    Ok(())
}

/// How much room is left for connections, as far as it is known.
fn write_capacity(capacity: &CapacityStatus, text: &mut String) -> fmt::Result {
    if let Some(SnatStatus { endpoint, connections, ports }) = &capacity.snat {
        writeln!(text, "SNAT: at most {connections} of {ports} connections to one endpoint ({endpoint})")?;
    }
    match &capacity.conntrack {
        Some(ConntrackStatus { entries, limit: 0, .. }) => writeln!(text, "Conntrack: {entries} connections, no limit"),
        Some(ConntrackStatus { entries, limit, .. }) => writeln!(text, "Conntrack: {entries} of {limit} connections"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_their_two_largest_units() {
        for (seconds, expected) in
            [(-5, "0s"), (0, "0s"), (59, "59s"), (60, "1m0s"), (3599, "59m59s"), (7500, "2h5m"), (90_000, "1d1h")]
        {
            assert_eq!(span(seconds), expected);
        }
    }
}
