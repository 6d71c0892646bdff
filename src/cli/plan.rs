//! `vipcast plan`: what `run` would do now, in words and as a document.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::bail;
use serde::Serialize;

use crate::config::Config;
use crate::daemon::{observe, rehearsal};
use crate::plan::Status;
use crate::plan::rehearse::Stage;
use crate::plan::role::Role;
use crate::plan::step::Target;

/// Looks at the node, rehearses on a model of it, and changes nothing. `as_lb_node`: as if the node had the labels of
/// `nodeSelector`.
pub async fn plan(config: &Config, as_lb_node: bool) -> anyhow::Result<Document> {
    let mut observed = observe(config).await?;
    let (planner, stages) = rehearsal(config, &observed, as_lb_node).await;
    if !planner.is_listed() {
        bail!("nothing can be planned: {}", planner.status().reasons.join("; "));
    }
    if as_lb_node && !config.settings.node_selector.is_empty() && !planner.knows_node() {
        observed.unread.push(format!("the Node {}: there is none of this name", config.settings.node));
    }
    Ok(Document::new(&stages, observed.unread, &planner.status()))
}

/// The plan as a document. The field names are a contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// Would anything change?
    pub changes: bool,
    /// The stages, in order.
    pub stages: Vec<StageDocument>,
    /// How many steps each target would see.
    pub summary: BTreeMap<&'static str, usize>,
    /// What could not be read, and counts as empty.
    pub unread: Vec<String>,
    /// What stands in the way of being ready, even after these steps. First, that the node does not serve, if so.
    pub remaining: Vec<String>,
    /// Problems of single Services and objects.
    pub problems: Vec<String>,
    /// Is it the plan of a node that serves?
    #[serde(skip)]
    pub serving: bool,
}

/// A stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StageDocument {
    /// When, in milliseconds from the start. What waits for nothing else happens at once.
    pub after_milliseconds: u64,
    /// The steps.
    pub steps: Vec<StepDocument>,
}

/// A step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StepDocument {
    /// `sysctl`, `addr`, `nft`, `ipvs` or `bgp`.
    pub target: &'static str,
    /// What would be done.
    pub action: String,
}

impl Document {
    /// The document of a rehearsal that ended with `status`.
    pub fn new(stages: &[Stage], unread: Vec<String>, status: &Status) -> Document {
        let stages: Vec<StageDocument> =
            stages.iter().filter(|stage| !stage.steps.is_empty()).map(StageDocument::new).collect();
        let mut summary: BTreeMap<&str, usize> = Target::ALL.iter().map(|target| (target.name(), 0)).collect();
        for step in stages.iter().flat_map(|stage| &stage.steps) {
            *summary.entry(step.target).or_default() += 1;
        }
        let bad = status.source.bad_objects.iter().chain(&status.source.troubles).chain(&status.services.problems);
        let mut remaining = status.reasons.clone();
        // Nothing is to be served here, so this plan says nothing of what an LB node would take over.
        if status.role == Role::STANDING_BY
            && let Some(reason) = remaining.first_mut()
        {
            reason.push_str("; `vipcast plan --as-lb-node` shows the plan for an LB node");
        }
        Document {
            changes: !stages.is_empty(),
            stages,
            summary,
            unread,
            remaining,
            problems: bad.map(|problem| format!("{}: {}", problem.subject, problem.problem)).collect(),
            serving: status.role == Role::Serving.name(),
        }
    }

    /// The document as text for people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let (idle, remaining) = self.remaining.split_at(usize::from(!self.serving).min(self.remaining.len()));
        section(text, "Not the plan of an LB node:", idle)?;
        for (index, stage) in self.stages.iter().enumerate() {
            let after = Duration::from_millis(stage.after_milliseconds);
            let when = if after.is_zero() { "at once".to_owned() } else { format!("after {after:?}") };
            writeln!(text, "Stage {} ({when})", index + 1)?;
            for step in &stage.steps {
                writeln!(text, "  {:<6}  {}", step.target, step.action)?;
            }
        }
        if self.changes {
            let counts = self.summary.iter().filter(|(_, count)| **count > 0);
            let counts: Vec<String> = counts.map(|(target, count)| format!("{target} {count}")).collect();
            writeln!(text, "Steps: {}. Nothing was changed.", counts.join(", "))?;
        } else if self.serving {
            writeln!(text, "Nothing to do: the node is as it should be.")?;
        } else {
            writeln!(text, "Nothing to do on a node that does not serve.")?;
        }
        section(text, "Could not be read, and counts as empty:", &self.unread)?;
        section(text, "Still in the way of being ready after these steps:", remaining)?;
        section(text, "Problems:", &self.problems)
    }
}

fn section(text: &mut String, title: &str, lines: &[String]) -> std::fmt::Result {
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(text, "{title}")?;
    lines.iter().try_for_each(|line| writeln!(text, "  {line}"))
}

impl StageDocument {
    fn new(stage: &Stage) -> StageDocument {
        let step = |step: &crate::plan::Step| StepDocument { target: step.target().name(), action: step.to_string() };
        StageDocument {
            after_milliseconds: u64::try_from(stage.after.as_millis()).unwrap_or(u64::MAX),
            steps: stage.steps.iter().map(step).collect(),
        }
    }
}
