//! `vipcast restart-gobgpd`: another gobgpd in the place of the one that runs.

use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::BufReader;
use tokio::net::UnixStream;

use crate::config::{Config, Gobgpd};
use crate::speaker;
use crate::speaker::wire::{FromSpeaker, Hello, Request, ToSpeaker, parse, read_line, write_line};

/// How long the speaker may take: gobgpd has ten seconds to end, and then as long to be killed.
const PATIENCE: Duration = Duration::from_secs(30);

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
    let asked = ask(config, request);
    tokio::time::timeout(PATIENCE, asked).await.context("the speaker does not answer")?
}

/// Asks the speaker for something, and waits until it is done.
async fn ask(config: &Config, request: Request) -> anyhow::Result<()> {
    let socket = speaker::own_socket(&config.runtime_dir);
    let stream = UnixStream::connect(&socket).await;
    let (reader, mut writer) = stream.with_context(|| format!("the speaker at {}", socket.display()))?.into_split();
    let mut reader = BufReader::new(reader);
    write_line(&mut writer, &ToSpeaker { hello: Some(Hello::new(false)), ..ToSpeaker::default() }).await?;
    write_line(&mut writer, &ToSpeaker { request: Some(request), ..ToSpeaker::default() }).await?;
    while let Some(line) = read_line(&mut reader).await? {
        let FromSpeaker { answer, problem, .. } = parse(&line).map_err(anyhow::Error::msg)?;
        if let Some(problem) = problem {
            bail!("the speaker: {problem}");
        }
        match answer {
            Some(answer) => return answer.refusal.map_or(Ok(()), |refusal| bail!(refusal)),
            None => continue,
        }
    }
    bail!("the speaker closed the connection")
}
