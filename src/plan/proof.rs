//! The proof of the data plane: what probes of the canaries tell, with hysteresis. A probe that fails has the kernel read at
//! once, so that repair comes before withdrawal.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::Prefix;
use crate::model::canary::Canary;
use crate::model::settings::Proof;

use super::memory::Key;
use super::news::News;
use super::planner::Planner;
use super::preconditions::Footing;

/// The pause between the first probes of a canary, until it is known what they prove: nobody should wait for seconds for the
/// first announcement.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// What is to be probed, and how often.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Probing {
    /// The canaries.
    pub canaries: BTreeSet<Canary>,
    /// The pause between two probes of one.
    pub interval: Duration,
}

/// What probes have shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Too little to tell.
    Unproved,
    /// The data plane works.
    Proved,
    /// It does not.
    Broken,
}

impl Standing {
    /// Its name in the status.
    pub fn name(self) -> &'static str {
        match self {
            Standing::Unproved => "unproved",
            Standing::Proved => "proved",
            Standing::Broken => "broken",
        }
    }
}

/// What is known by the probes of one canary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    standing: Standing,
    /// So many probes in a row were answered; of this and the next, one is 0.
    passed: u32,
    /// So many in a row failed.
    failed: u32,
    /// Why the last one failed, while that matters.
    problem: Option<String>,
    /// What broke the proof.
    reason: String,
}

impl Default for Verdict {
    fn default() -> Verdict {
        Verdict { standing: Standing::Unproved, passed: 0, failed: 0, problem: None, reason: String::new() }
    }
}

impl Verdict {
    /// Takes in one probe. Answers whether the standing is another one now.
    pub fn probed(&mut self, result: Result<(), String>, proof: &Proof) -> bool {
        let before = self.standing;
        match result {
            Ok(()) => {
                (self.passed, self.failed) = (self.passed.saturating_add(1), 0);
                self.problem = None;
                if self.passed >= proof.pass {
                    self.standing = Standing::Proved;
                }
            }
            Err(problem) => {
                (self.passed, self.failed) = (0, self.failed.saturating_add(1));
                if self.failed >= proof.fail && before != Standing::Broken {
                    self.standing = Standing::Broken;
                    let probes = if self.failed == 1 { "probe" } else { "probes in a row" };
                    self.reason = format!("{problem} ({} {probes})", self.failed);
                }
                self.problem = Some(problem);
            }
        }
        self.standing != before
    }

    /// What they have shown.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// How many probes in a row failed.
    pub fn failed(&self) -> u32 {
        self.failed
    }

    /// Why the last probe failed, if it did.
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// Is it time to read what the kernel holds? After the first failure, and then ever more seldom, as the failures double.
    fn wants_reading(&self) -> bool {
        self.failed.is_power_of_two()
    }
}

/// What is known by all probes.
#[derive(Debug, Clone, Default)]
pub(super) struct ProofBook {
    /// Of each canary that has been in place.
    pub(super) verdicts: BTreeMap<Canary, Verdict>,
    /// Ranges that were read back and proved, and are not broken since.
    founded: BTreeSet<Prefix>,
    /// What was asked for last.
    asked: Probing,
}

impl Planner {
    /// A canary was probed. One that is in force no more proves nothing.
    pub(super) fn on_probe(&mut self, canary: Canary, result: Result<(), String>) {
        let Some(verdict) = self.proof.verdicts.get_mut(&canary) else { return };
        let moved = verdict.probed(result, &self.settings.proof);
        if moved {
            let problem = (verdict.standing == Standing::Broken).then(|| verdict.reason.clone());
            self.news.push(News::Proof { server: canary.server(), problem });
        }
        if verdict.wants_reading() {
            self.host.wanted = true;
            self.host.fresh = false;
            self.memory.forget(&Key::HostReading);
            self.servers.listing_wanted = true;
        }
    }

    /// Have probes of `canary` told too little yet?
    pub(super) fn is_open(&self, canary: &Canary) -> bool {
        self.proof.verdicts.get(canary).is_some_and(|verdict| verdict.standing == Standing::Unproved)
    }

    /// What is to be probed from now on, if that is something else than before: each canary from when it was in place first.
    pub(super) fn plan_probing(&mut self) -> Option<Probing> {
        let canaries: BTreeSet<Canary> = self.canaries().into_iter().collect();
        self.proof.verdicts.retain(|canary, _| canaries.contains(canary));
        for canary in canaries {
            if self.is_laid(&canary) {
                self.proof.verdicts.entry(canary).or_default();
            }
        }
        let is_new = self.proof.verdicts.values().any(|verdict| verdict.standing == Standing::Unproved);
        let interval = self.settings.proof.interval;
        let probing = Probing {
            canaries: self.proof.verdicts.keys().copied().collect(),
            interval: if is_new { interval.min(FIRST_PAUSE) } else { interval },
        };
        (probing != self.proof.asked).then(|| {
            self.proof.asked = probing.clone();
            probing
        })
    }

    /// What the proof says of the infrastructure of `family`; nothing where no canary is in force, as for canaries themselves.
    pub(super) fn proof_of(&self, prefix: Prefix) -> Option<Footing> {
        let range = self.ranges.covering(prefix.address());
        if range.is_some_and(|range| range.is_canary()) {
            return None;
        }
        let canary = self.canaries().into_iter().find(|canary| canary.family() == prefix.family())?;
        let server = canary.server();
        let with = |what: &str, problem: Option<String>| {
            let problem = problem.map(|problem| format!(": {problem}")).unwrap_or_default();
            Some(Footing::Mending(format!("the canary {server} {what}{problem}")))
        };
        match self.proof.verdicts.get(&canary) {
            None => with("is not in place yet", self.canary_failure(&canary)),
            Some(verdict) => match verdict.standing {
                Standing::Proved => None,
                Standing::Unproved => with("has not answered yet", verdict.problem.clone()),
                Standing::Broken => Some(Footing::Broken(format!("the canary {server}: {}", verdict.reason))),
            },
        }
    }

    /// Notes which ranges are founded: read back and proved once all their virtual servers were in place, and not broken since.
    pub(super) fn note_founded(&mut self) {
        let ranges: Vec<Prefix> =
            self.ranges.iter().filter(|range| !range.is_canary()).map(|range| range.prefix).collect();
        self.proof.founded.retain(|range| ranges.contains(range));
        for range in ranges {
            match self.footing(range) {
                Footing::Broken(_) => drop(self.proof.founded.remove(&range)),
                Footing::Proven if !self.proof.founded.contains(&range) && self.settled(range) => {
                    self.proof.founded.insert(range);
                }
                Footing::Proven | Footing::Mending(_) => {}
            }
        }
    }

    /// Does the data plane do what is promised to switches? A range that is not read back and proved, or is broken, promises
    /// nothing once none of its routes can be out; without BGP, nobody can say so of it.
    pub fn is_proved(&self) -> bool {
        let founded = |range: Prefix| self.proof.founded.contains(&range);
        let ranges = self.ranges.iter().filter(|range| !range.is_canary() && !founded(range.prefix));
        let open: Vec<Prefix> = ranges.map(|range| range.prefix).collect();
        if !self.derived || open.is_empty() {
            return self.derived;
        }
        let Some(bgp) = &self.actual.bgp else { return false };
        !bgp.paths.keys().any(|path| open.iter().any(|range| range.covers(*path)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The standings after each of these probes, `+` being one that was answered.
    fn standings(probes: &str) -> String {
        let proof = Proof { fail: 3, pass: 2, ..Proof::default() };
        let mut verdict = Verdict::default();
        let mut after = |probe| {
            verdict.probed(if probe == '+' { Ok(()) } else { Err("no answer".into()) }, &proof);
            match verdict.standing() {
                Standing::Unproved => 'u',
                Standing::Proved => 'p',
                Standing::Broken => 'b',
            }
        };
        probes.chars().map(&mut after).collect()
    }

    #[test]
    fn a_verdict_moves_with_several_probes_in_a_row_only() {
        for (probes, expected) in [
            ("++", "up"),
            ("+-++", "uuup"),
            ("---", "uub"),
            ("++--+---", "uppppppb"),
            ("+++++--", "upppppp"),
            ("---+-+--++", "uubbbbbbbp"),
        ] {
            assert_eq!(standings(probes), expected, "{probes}");
        }
    }

    #[test]
    fn a_broken_proof_names_what_broke_it() {
        let proof = Proof { fail: 1, pass: 1, ..Proof::default() };
        let mut verdict = Verdict::default();
        assert!(verdict.probed(Err("refused".into()), &proof));
        assert!(!verdict.probed(Err("late".into()), &proof));
        assert_eq!((verdict.reason.as_str(), verdict.problem()), ("refused (1 probe)", Some("late")));
        assert!(verdict.probed(Ok(()), &proof));
        assert_eq!(verdict.problem(), None);
    }

    #[test]
    fn the_kernel_is_read_at_the_first_failure_and_then_ever_more_seldom() {
        let mut verdict = Verdict::default();
        let read: Vec<u32> = (1..=20)
            .filter(|_| {
                verdict.probed(Err("late".into()), &Proof::default());
                verdict.wants_reading()
            })
            .collect();
        assert_eq!(read, [1, 2, 4, 8, 16]);
        verdict.probed(Ok(()), &Proof::default());
        assert!(!verdict.wants_reading());
    }
}
