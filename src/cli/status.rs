//! `vipcast status`: the running agent's view as text for people.

use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::TcpStream;

use crate::config::Config;
use crate::daemon::{bystander, observe};
use crate::plan::Status;
use crate::plan::capacity::{CapacityStatus, ConntrackStatus, SnatStatus};
use crate::plan::status::{Problem, TimeoutsStatus};
use crate::runtime::Lock;

/// How long the agent may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The answer of `vipcast status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// Does an agent run? Without one, the rest is what the kernel and gobgpd hold of ours.
    pub agent: bool,
    /// How things stand.
    #[serde(flatten)]
    pub status: Status,
}

impl Answer {
    /// The answer as text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        if !self.agent {
            text.push_str("No agent runs with this configuration; this is what the kernel and gobgpd hold.\n");
        }
        // Writing to a String cannot fail.
        let _ = write(&self.status, &mut text);
        text
    }
}

/// Asks the running agent; where there is none, looks at the kernel and gobgpd.
pub async fn status(config: &Config) -> anyhow::Result<Answer> {
    if let Some(holder) = Lock::holder(&config.runtime_dir, "agent") {
        let asked = tokio::time::timeout(PATIENCE, ask(config.admin)).await;
        let status = asked.context("no answer in time").and_then(|answer| answer);
        let status = status.with_context(|| format!("the agent ({holder}) at {}", config.admin))?;
        return Ok(Answer { agent: true, status });
    }
    let observed = observe(config).await?;
    let mut status = bystander(config, &observed).await;
    status.ready = false;
    status.reasons = vec!["no agent runs".to_owned()];
    status.reasons.extend(observed.unread);
    Ok(Answer { agent: false, status })
}

/// Gets `/status` from an agent.
async fn ask(agent: SocketAddr) -> anyhow::Result<Status> {
    let stream = TcpStream::connect(agent).await.context("cannot connect")?;
    let (mut sender, connection) = http1::handshake::<_, Empty<&[u8]>>(TokioIo::new(stream)).await?;
    let request = Request::get("/status").header(HOST, agent.to_string()).body(Empty::new())?;
    let answer = async {
        let answer = sender.send_request(request).await?;
        let code = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        anyhow::ensure!(code.is_success(), "answered {code}: {}", String::from_utf8_lossy(&body).trim());
        serde_json::from_slice(&body).context("answered in a way that this version does not understand")
    };
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // The connection ends after the answer, or instead of it.
        ended = connection => {
            ended.context("the connection broke")?;
            answer.await
        }
    }
}

fn write(status: &Status, text: &mut String) -> fmt::Result {
    let state = match (status.ready, status.leaving) {
        (_, true) => "leaving",
        (true, false) => "ready",
        (false, false) => "NOT READY",
    };
    writeln!(text, "Node {}: {state}, {}", status.node, status.role)?;
    for reason in &status.reasons {
        writeln!(text, "  {reason}")?;
    }
    let services = &status.services;
    let ipvs = &status.ipvs;
    writeln!(
        text,
        "Services: {} known, {} served; {} VIPs, {} virtual servers (of {} desired), {} destinations",
        services.total, services.served, ipvs.vips, ipvs.virtual_servers, ipvs.desired, ipvs.destinations
    )?;
    if ipvs.draining > 0 {
        writeln!(text, "Draining: {} destinations that nobody wants any more", ipvs.draining)?;
    }
    if let Some(timeouts) = &ipvs.timeouts {
        let TimeoutsStatus { tcp, tcp_fin, udp } = timeouts;
        writeln!(text, "IPVS timeouts: TCP {tcp} s, TCP after FIN {tcp_fin} s, UDP {udp} s")?;
    }
    write_capacity(&status.capacity, text)?;
    let ranges = status.ranges.iter().map(|range| {
        let problem = range.problem.clone().unwrap_or_default();
        vec![range.prefix.clone(), range.announce.clone(), range.routes.to_string(), problem]
    });
    table(text, &["RANGE", "ANNOUNCE", "ROUTES", "PROBLEM"], ranges)?;
    if let Some(bgp) = &status.bgp {
        let peers = bgp.peers.iter().map(|peer| {
            vec![peer.name.clone(), peer.asn.to_string(), peer.state.clone(), peer.reason.clone().unwrap_or_default()]
        });
        table(text, &["PEER", "AS", "STATE", "LAST REASON"], peers)?;
        let routes = bgp
            .routes
            .iter()
            .map(|route| vec![route.prefix.clone(), route.next_hop.clone(), route.communities.join(" ")]);
        table(text, &["ROUTE", "NEXT HOP", "COMMUNITIES"], routes)?;
    } else {
        writeln!(text, "BGP: not configured; nothing is announced")?;
    }
    let sysctls = status.sysctls.iter().filter(|sysctl| sysctl.found.as_ref() != Some(&sysctl.wanted)).map(|sysctl| {
        let or_none = |value: &Option<String>| value.clone().unwrap_or_else(|| "(none)".to_owned());
        vec![sysctl.name.clone(), or_none(&sysctl.found), or_none(&sysctl.now)]
    });
    table(text, &["KERNEL PARAMETER CHANGED", "FOUND", "NOW"], sysctls)?;
    let peers = status.bgp.iter().flat_map(|bgp| &bgp.peers).filter_map(|peer| {
        let subject = format!("peer {}", peer.name);
        peer.problem.clone().map(|problem| Problem { subject, problem })
    });
    let peers: Vec<Problem> = peers.collect();
    let problems: Vec<&Problem> = peers
        .iter()
        .chain(&services.problems)
        .chain(&status.source.bad_objects)
        .chain(&status.source.troubles)
        .collect();
    table(
        text,
        &["PROBLEM WITH", "WHAT"],
        problems.into_iter().map(|problem| vec![problem.subject.clone(), problem.problem.clone()]),
    )?;
    let failures = status.failures.iter().map(|f| vec![f.what.clone(), f.count.to_string(), f.reason.clone()]);
    table(text, &["FAILING", "TRIES", "WHY"], failures)
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

/// A table with a blank line before it; nothing at all without rows.
fn table(text: &mut String, header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> fmt::Result {
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(header.to_vec());
    table.add_rows(rows);
    writeln!(text)?;
    table.lines().try_for_each(|line| writeln!(text, "{}", line.trim_end()))
}
