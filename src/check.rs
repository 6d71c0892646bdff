//! Is this node ready? What is missing, and how to get it.
//!
//! [`gather()`] finds out what there is, as [`Facts`], and changes nothing; [`judge()`] says what that means for a
//! configuration, and is pure. `vipcast check` shows all of it; `vipcast run` looks at the [`essentials`] before it
//! starts.

use std::fmt::Write;

use serde::Serialize;

use crate::config::Config;
use crate::watch::Source;

mod facts;
mod gather;
mod judge;
pub(crate) mod needed;
mod proc;

pub use facts::{Chain, Conntrack, Facts, Module, Parameter};
pub(crate) use gather::connection_table_bits;
pub use gather::gather;
pub use judge::{essentials, judge};
pub(crate) use judge::{most_bits, table_remedy};

/// Something on the node that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Is the node not ready because of it?
    #[serde(skip)]
    pub level: Level,
    /// What it is about.
    pub subject: String,
    /// What was found.
    pub found: String,
    /// What is wanted.
    pub wanted: String,
    /// How to get there.
    pub remedy: String,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// vipcast cannot do its work like this.
    Error,
    /// It may work, and somebody should look.
    Warning,
}

/// The answer of `vipcast check`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// Is the node ready?
    pub ready: bool,
    /// Why it is not.
    pub errors: Vec<Finding>,
    /// What somebody should look at all the same.
    pub warnings: Vec<Finding>,
}

/// Looks at this node, asks the API server, and judges.
pub async fn check(config: &Config) -> Answer {
    let mut facts = gather(config);
    if let Source::Kubernetes(access) = Source::new(config, false) {
        facts.api = Some(access.inquire(&config.namespace).await);
        // Which of them are this node's depends on labels that nobody has asked for here.
        let peers = config.settings.bgp.iter().flat_map(|bgp| &bgp.peers);
        for key in peers.filter(|entry| entry.node_selector.is_empty()).filter_map(|entry| entry.secret.clone()) {
            if let Err(trouble) = access.password(&key).await {
                facts.secrets.insert(key, trouble);
            }
        }
    }
    Answer::new(judge(config, &facts))
}

impl Answer {
    /// The answer that `findings` amount to.
    pub fn new(findings: Vec<Finding>) -> Answer {
        let (errors, warnings): (Vec<_>, Vec<_>) =
            findings.into_iter().partition(|finding| finding.level == Level::Error);
        Answer { ready: errors.is_empty(), errors, warnings }
    }

    /// The answer for people: a paragraph for each finding, errors first, and the verdict in the last line.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for (word, findings) in [("ERROR", &self.errors), ("WARNING", &self.warnings)] {
            for Finding { subject, found, wanted, remedy, .. } in findings {
                let lines = [("found", found), ("wanted", wanted), ("do", remedy)];
                // Writing to a String cannot fail.
                let _ = writeln!(text, "{word:<9}{subject}");
                for (name, line) in lines {
                    let _ = writeln!(text, "  {name:<7}{line}");
                }
                text.push('\n');
            }
        }
        let verdict = if self.ready { "ready" } else { "not ready" };
        let _ = writeln!(text, "{verdict} (errors: {}, warnings: {})", self.errors.len(), self.warnings.len());
        text
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Finding { subject, found, wanted, remedy, .. } = self;
        write!(f, "{subject}: found {found}; wanted: {wanted}; {remedy}")
    }
}
