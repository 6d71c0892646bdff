//! `vipcast explain`: the chain behind a VIP or a Service, for people.

use std::fmt::{self, Write as _};

use anyhow::{Context, anyhow};
use serde::Serialize;

use super::agent;
use super::table::{Row, table};
use crate::config::Config;
use crate::daemon::{Bystander, observe};
use crate::plan::Asked;
use crate::plan::explain::{Explanation, Link, Verdict};
use crate::runtime::Lock;
use crate::text::wrap;

/// The answer of `vipcast explain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// Does an agent run? Without one, the rest is what the kernel and gobgpd hold of ours.
    pub agent: bool,
    /// The chain.
    #[serde(flatten)]
    pub explanation: Explanation,
}

impl Answer {
    /// Is every link as it should be, or rightly not here?
    pub fn is_good(&self) -> bool {
        self.explanation.verdict <= Verdict::NotHere
    }

    /// The answer as text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        if !self.agent {
            text.push_str(
                "No agent runs with this configuration; this is what the kernel and gobgpd hold. Of sessions nothing is known.\n",
            );
        }
        // Writing to a String cannot fail.
        let _ = write(&self.explanation, &mut text);
        text
    }
}

/// Asks the running agent; where there is none, looks at the kernel and gobgpd.
///
/// # Errors
/// If nothing is known by that name, among others.
pub async fn explain(config: &Config, asked: Asked) -> anyhow::Result<Answer> {
    if let Some(holder) = Lock::holder(&config.runtime_dir, "agent") {
        let of: String = form_urlencoded::byte_serialize(asked.to_string().as_bytes()).collect();
        let answer = agent::get(config.admin, &format!("/explain?of={of}")).await;
        let explanation = answer.with_context(|| format!("the agent ({holder}) at {}", config.admin))?;
        return Ok(Answer { agent: true, explanation });
    }
    let observed = observe(config).await?;
    let mut explanation = Bystander::new(config, &observed).await.explain(asked).map_err(|unknown| anyhow!(unknown))?;
    explanation.remarks.extend(observed.unread);
    Ok(Answer { agent: false, explanation })
}

fn write(explanation: &Explanation, text: &mut String) -> fmt::Result {
    let verdict = match explanation.verdict {
        Verdict::Ok => "ok",
        Verdict::NotHere => "ok, but not all of it on this node",
        Verdict::Waits => "WAITS",
        Verdict::Wrong => "WRONG",
    };
    writeln!(text, "{} on {}: {verdict}", explanation.asked, explanation.node)?;
    for remark in &explanation.remarks {
        wrap(remark, 98).into_iter().try_for_each(|line| writeln!(text, "  {line}"))?;
    }
    let mut rows = Vec::new();
    let mut vip = None;
    for link in &explanation.links {
        if link.vip != vip {
            vip.clone_from(&link.vip);
            rows.extend(vip.iter().map(|vip| Row::heading(format!("VIP {vip}"))));
        } else if rows.is_empty() {
            writeln!(text)?;
        }
        rows.push(row(link));
    }
    table(text, &[], rows)
}

fn row(link: &Link) -> Row {
    let row = Row::new([link.verdict.sign(), link.kind.name(), &link.name, &link.found]);
    let row = link.reason.iter().fold(row, |row, reason| row.note(format!("why: {reason}")));
    link.fix.iter().fold(row, |row, fix| row.note(format!("fix: {fix}")))
}
