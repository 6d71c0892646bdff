//! `vipcast drain`, `undrain` and `confirm`: commands to the running agent, and what comes of them.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::time::{Instant, sleep};

use super::{Ending, agent};
use crate::admin::control;
use crate::config::Config;
use crate::plan::Status;
use crate::plan::role::Role;
use crate::plan::status::DrainStatus;
use crate::runtime::Lock;

/// The pause between looks at the agent.
const PAUSE: Duration = Duration::from_millis(500);

/// How long the other LB nodes get to answer whoever does not wait.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a refused node can do.
const ALLOWED: &str = "`vipcast drain --wait` waits until this node can be spared; --force asks nobody";

/// Drains the node. Without `wait` it is done once the node is on its way; a refusal takes the command back.
pub(super) async fn drain(config: &Config, wait: bool, force: bool) -> anyhow::Result<Ending> {
    command(config, if force { "/drain?force=true" } else { "/drain" }).await?;
    let asked = Instant::now();
    let mut said = String::new();
    loop {
        let status = status(config).await?;
        if status.role == Role::STANDING_BY {
            tell("this node stands by and announces nothing; it stays drained when it serves again")?;
            return Ok(Ending::Done);
        }
        let drain = &status.drain;
        let line = progress(drain);
        if line != said && wait {
            tell(&line)?;
        }
        said = line;
        match drain.phase.as_str() {
            "away" => {
                if !wait {
                    tell(&said)?;
                }
                return Ok(Ending::Done);
            }
            "here" | "asking" => {
                if !wait && (drain.refused || asked.elapsed() > PATIENCE) {
                    command(config, "/undrain").await?;
                    let reason = drain.waits.clone().unwrap_or_else(|| waiting(&status));
                    tell(&format!("not drained: {reason}"))?;
                    tell(ALLOWED)?;
                    return Ok(Ending::No);
                }
            }
            _ if !wait => {
                tell(&said)?;
                tell("`vipcast drain --wait` waits until nothing depends on this node any more")?;
                return Ok(Ending::Done);
            }
            _ => {}
        }
        sleep(PAUSE).await;
    }
}

/// Takes the command back. The answer is no if something else drains the node.
pub(super) async fn undrain(config: &Config, wait: bool) -> anyhow::Result<Ending> {
    command(config, "/undrain").await?;
    let mut said = String::new();
    loop {
        let status = status(config).await?;
        let drain = &status.drain;
        if !drain.causes.is_empty() {
            tell(&format!("still drained by {}", drain.causes.join(", ")))?;
            return Ok(Ending::No);
        }
        let line = match drain.phase.as_str() {
            "here" => "this node announces".to_owned(),
            _ => format!("returning: {}", status.reasons.first().map_or("the routes come back", String::as_str)),
        };
        if line != said {
            tell(&line)?;
            said = line;
        }
        if drain.phase == "here" || !wait {
            return Ok(Ending::Done);
        }
        sleep(PAUSE).await;
    }
}

/// Confirms what the agent holds since it could not believe it; the answer is no if that is nothing.
pub(super) async fn confirm(config: &Config) -> anyhow::Result<Ending> {
    let Some(brake) = status(config).await?.brake else {
        tell("nothing is held, so there is nothing to confirm")?;
        return Ok(Ending::No);
    };
    command(config, "/confirm").await?;
    tell(&format!("confirmed: {}", brake.reason))?;
    Ok(Ending::Done)
}

/// Where the node is on its way, in a line.
pub(super) fn progress(drain: &DrainStatus) -> String {
    let new = drain.new_connections;
    let open = drain.open_connections.map_or_else(|| "?".to_owned(), |open| open.to_string());
    match drain.phase.as_str() {
        "asking" => match &drain.waits {
            Some(reason) => format!("waiting: {reason}"),
            None => "asking the other LB nodes".to_owned(),
        },
        "shunned" => format!("the routes say that they are about to go: {new} new connections since, {open} open"),
        "withdrawn" => "the routes are withdrawn; peers get their time to hear it".to_owned(),
        "holding" => format!("waiting for {open} open connections to end; {} have", drain.ended_connections),
        "away" => match drain.open_connections {
            None | Some(0) => "drained: no connection is left".to_owned(),
            Some(cut) => {
                format!("drained: {cut} connections are still open, but nothing comes for them, or their time is over")
            }
        },
        "returning" => "the routes come back as soon as the data plane is proved".to_owned(),
        _ => "the agent has not looked at it yet".to_owned(),
    }
}

/// Why a node is not asked for yet.
fn waiting(status: &Status) -> String {
    status.reasons.first().cloned().unwrap_or_else(|| "the agent has not looked at it yet".to_owned())
}

fn tell(line: &str) -> anyhow::Result<()> {
    std::io::stdout().write_all(format!("{line}\n").as_bytes()).context("cannot write the answer")
}

async fn command(config: &Config, path: &str) -> anyhow::Result<()> {
    let Some(holder) = Lock::holder(&config.runtime_dir, "agent") else {
        bail!("no agent runs with this configuration ({})", config.runtime_dir.display());
    };
    let socket = control::socket(&config.runtime_dir);
    agent::post(&socket, path).await.with_context(|| format!("the agent ({holder}) at {}", socket.display()))
}

async fn status(config: &Config) -> anyhow::Result<Status> {
    let socket = control::socket(&config.runtime_dir);
    agent::get_at(&socket, "/status").await.with_context(|| format!("the agent at {}", socket.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_phase_has_its_line() {
        let drain = |phase: &str, open: Option<u64>| DrainStatus {
            phase: phase.to_owned(),
            new_connections: 3,
            open_connections: open,
            ended_connections: 40,
            ..DrainStatus::default()
        };
        for (phase, open, expected) in [
            ("asking", None, "asking the other LB nodes"),
            ("shunned", None, "the routes say that they are about to go: 3 new connections since, ? open"),
            ("shunned", Some(47), "the routes say that they are about to go: 3 new connections since, 47 open"),
            ("withdrawn", Some(47), "the routes are withdrawn; peers get their time to hear it"),
            ("holding", Some(7), "waiting for 7 open connections to end; 40 have"),
            ("away", Some(0), "drained: no connection is left"),
            (
                "away",
                Some(7),
                "drained: 7 connections are still open, but nothing comes for them, or their time is over",
            ),
            ("returning", None, "the routes come back as soon as the data plane is proved"),
        ] {
            assert_eq!(progress(&drain(phase, open)), expected);
        }
        let waits = DrainStatus { waits: Some("lb2 is away".to_owned()), ..drain("asking", None) };
        assert_eq!(progress(&waits), "waiting: lb2 is away");
    }
}
