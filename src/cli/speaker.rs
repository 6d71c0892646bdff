//! Requests to the speaker, over its socket: how things stand, and another gobgpd in the place of the one that runs.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::BufReader;
use tokio::net::UnixStream;

use crate::config::{Config, Gobgpd};
use crate::model::bfd::BfdStatus;
use crate::model::bgp::PeerName;
use crate::model::lease::LeaseStatus;
use crate::speaker;
use crate::speaker::wire::{FromSpeaker, Hello, Request, ToSpeaker, parse, read_line, write_line};

/// How long the speaker may take: gobgpd has ten seconds to end, and then as long to be killed.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a speaker said before it answered.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// How the lease stands.
    pub(super) lease: Option<LeaseStatus>,
    /// How BFD sessions stand.
    pub(super) bfd: BTreeMap<PeerName, BfdStatus>,
}

/// How things stand, as the speaker of this configuration sees them.
///
/// # Errors
/// When there is none, or it does not answer.
pub(super) async fn report(config: &Config) -> anyhow::Result<Report> {
    ask(config, Request::Report).await
}

/// Has the speaker end gobgpd and start it anew: without a word to its peers, who keep its routes, or with `force` in the way
/// that ends all sessions.
///
/// # Errors
/// When there is no speaker, or it does not do it, with its reason.
pub(super) async fn restart_gobgpd(config: &Config, force: bool) -> anyhow::Result<()> {
    if !matches!(config.gobgpd, Some(Gobgpd::Spawn(_))) {
        bail!("gobgpd is not vipcast's: bgp.gobgpd.spawn names none");
    }
    let request = if force { Request::ResetGobgpd } else { Request::RestartGobgpd };
    ask(config, request).await.map(drop)
}

/// Asks the speaker for something, and waits until it is done.
async fn ask(config: &Config, request: Request) -> anyhow::Result<Report> {
    tokio::time::timeout(PATIENCE, talk(config, request)).await.context("the speaker does not answer")?
}

async fn talk(config: &Config, request: Request) -> anyhow::Result<Report> {
    let socket = speaker::own_socket(&config.runtime_dir);
    let stream = UnixStream::connect(&socket).await;
    let (reader, mut writer) = stream.with_context(|| format!("the speaker at {}", socket.display()))?.into_split();
    let mut reader = BufReader::new(reader);
    write_line(&mut writer, &ToSpeaker { hello: Some(Hello::new(false)), ..ToSpeaker::default() }).await?;
    write_line(&mut writer, &ToSpeaker { request: Some(request), ..ToSpeaker::default() }).await?;
    let mut report = Report::default();
    while let Some(line) = read_line(&mut reader).await? {
        let FromSpeaker { lease, bfd, answer, problem, .. } = parse(&line).map_err(anyhow::Error::msg)?;
        if let Some(problem) = problem {
            bail!("the speaker: {problem}");
        }
        report.lease = lease.or(report.lease);
        report.bfd.extend(bfd.unwrap_or_default());
        match answer.map(|answer| answer.refusal) {
            Some(None) => return Ok(report),
            Some(Some(refusal)) => bail!(refusal),
            None => {}
        }
    }
    bail!("the speaker closed the connection")
}
