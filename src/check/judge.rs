//! What the facts mean for a configuration.

use super::{Facts, Finding, Level};
use crate::config::Config;

mod api;
mod bfd;
mod bgp;
mod ends;
mod kernel;
mod neighbours;
mod node;
mod table;

pub(crate) use table::{most_bits, remedy as table_remedy};

/// Everything that is not as it should be, errors first.
pub fn judge(config: &Config, facts: &Facts) -> Vec<Finding> {
    let mut findings = foundations(config, facts);
    kernel::judge_parameters(config, facts, &mut findings);
    node::judge(config, facts, &mut findings);
    api::judge(config, facts, &mut findings);
    neighbours::judge(config, facts, &mut findings);
    bgp::judge(config, facts, &mut findings);
    bfd::judge(config, facts, &mut findings);
    findings.sort_by_key(|finding| finding.level);
    findings
}

/// The errors without whose repair a start is pointless, because no step could succeed: the kernel, its modules, our
/// rights and the programs that we run. Whatever else is wrong can be mended while the agent runs.
pub fn essentials(config: &Config, facts: &Facts) -> Vec<Finding> {
    foundations(config, facts).into_iter().filter(|finding| finding.level == Level::Error).collect()
}

fn foundations(config: &Config, facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    kernel::judge_foundations(config, facts, &mut findings);
    findings
}

/// A finding with which the node is not ready.
fn error(
    subject: impl Into<String>,
    found: impl Into<String>,
    wanted: impl Into<String>,
    remedy: impl Into<String>,
) -> Finding {
    let (subject, found, wanted, remedy) = (subject.into(), found.into(), wanted.into(), remedy.into());
    Finding { level: Level::Error, subject, found, wanted, remedy }
}

/// A finding that somebody should look at.
fn warning(
    subject: impl Into<String>,
    found: impl Into<String>,
    wanted: impl Into<String>,
    remedy: impl Into<String>,
) -> Finding {
    Finding { level: Level::Warning, ..error(subject, found, wanted, remedy) }
}

#[cfg(test)]
mod tests;
