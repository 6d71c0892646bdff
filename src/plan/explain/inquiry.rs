//! Before an explanation is given, its virtual servers are read, so that weights and connections are those of now. It does
//! not wait for ever: when its time is over it is given with what is known, and says so.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::Time;
use crate::model::ipvs::{Connections, ServerKey};
use crate::plan::pass::{Answer, Draft};
use crate::plan::planner::Planner;
use crate::plan::step::{Observation, Outcome, Report, Step};

use super::Asked;

/// How long the readings for one explanation may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// An explanation that somebody waits for.
#[derive(Debug, Clone)]
pub(in crate::plan) struct Inquiry {
    ticket: u64,
    asked: Asked,
    until: Time,
    readings: Readings,
}

/// What was read for an explanation.
#[derive(Debug, Clone, Default)]
pub(in crate::plan) struct Readings {
    /// Virtual servers whose reading has not come in.
    missing: BTreeSet<ServerKey>,
    /// Those that could not be read, and why.
    failed: BTreeMap<ServerKey, String>,
    connections: BTreeMap<ServerKey, Connections>,
}

impl Readings {
    /// The connections of the destinations of `key`, where it was read.
    pub(super) fn connections(&self, key: &ServerKey) -> Option<&Connections> {
        self.connections.get(key)
    }

    /// What to know about how old the answer may be.
    pub(super) fn remarks(&self) -> Vec<String> {
        let late = self.missing.len();
        let late = (late > 0).then(|| {
            format!(
                "the kernel did not answer within {} s for {late} virtual servers: what is said of them is what was read \
                 before",
                PATIENCE.as_secs()
            )
        });
        let failed = self.failed.iter().map(|(key, reason)| format!("cannot read virtual server {key}: {reason}"));
        late.into_iter().chain(failed).collect()
    }
}

impl Planner {
    /// Somebody asks: the virtual servers concerned are read.
    pub(in crate::plan) fn inquire(&mut self, ticket: u64, asked: Asked, now: Time) {
        let scope = self.scope(&asked);
        let keys: BTreeSet<ServerKey> = scope.iter().flat_map(|scope| scope.vips.values().flatten()).copied().collect();
        self.servers.to_read.extend(&keys);
        let readings = Readings { missing: keys, ..Readings::default() };
        self.inquiries.push(Inquiry { ticket, asked, until: now + PATIENCE, readings });
    }

    /// A reading came in that an explanation may wait for.
    pub(in crate::plan) fn note_reading(&mut self, report: &Report) {
        let Step::ReadServer(key) = &report.step else { return };
        for readings in self.inquiries.iter_mut().map(|inquiry| &mut inquiry.readings) {
            if !readings.missing.remove(key) {
                continue;
            }
            match &report.outcome {
                Outcome::Read(Observation::Server(_, connections)) => {
                    readings.connections.insert(*key, connections.clone());
                }
                Outcome::Drifted(reason) | Outcome::Refused(reason) | Outcome::Later(reason) => {
                    readings.failed.insert(*key, reason.clone());
                }
                Outcome::Read(_) | Outcome::Done => {}
            }
        }
    }

    /// The explanations that wait for nothing any more, or have waited long enough.
    pub(in crate::plan) fn answers(&mut self, now: Time, draft: &mut Draft) -> Vec<Answer> {
        let is_due = |inquiry: &mut Inquiry| inquiry.readings.missing.is_empty() || inquiry.until <= now;
        let due: Vec<Inquiry> = self.inquiries.extract_if(.., is_due).collect();
        self.inquiries.iter().for_each(|inquiry| draft.wake(inquiry.until));
        let answer = |Inquiry { ticket, asked, readings, .. }: Inquiry| Answer {
            ticket,
            explanation: self.explain(&asked, &readings),
        };
        due.into_iter().map(answer).collect()
    }
}
