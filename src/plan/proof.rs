//! The proof of the data plane: what probes of the canaries tell, with hysteresis. A probe that fails has the kernel read at
//! once, so that repair comes before withdrawal.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::canary::{Canary, Fault};
use crate::model::settings::Proof;
use crate::model::{Prefix, Time};

use super::memory::Key;
use super::news::News;
use super::planner::Planner;
use super::preconditions::Footing;

/// The pause between the first probes of a canary, until it is known what they prove: nobody should wait for seconds for the
/// first announcement.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// So many probes that are not answered are made at that pace.
const FIRST_PROBES: u32 = 100;

/// What is to be probed, and how often.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Probing {
    /// The canaries.
    pub canaries: BTreeSet<Canary>,
    /// The pause between two probes of one.
    pub interval: Duration,
}

/// What probes have shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
    /// So many probes in a row were answered; of this and the next two, all but one are 0.
    passed: u32,
    /// So many in a row failed.
    failed: u32,
    /// So many in a row could not be made.
    unable: u32,
    /// Why the last one was not answered, while that matters.
    problem: Option<String>,
    /// What broke the proof, or keeps it from being one.
    alarm: Option<String>,
    /// When the last one was answered or could not be made.
    last: Time,
}

impl Default for Verdict {
    fn default() -> Verdict {
        Verdict {
            standing: Standing::Unproved,
            passed: 0,
            failed: 0,
            unable: 0,
            problem: None,
            alarm: None,
            last: Time::ZERO,
        }
    }
}

impl Verdict {
    /// Takes in one probe. Answers whether that is news: another standing, or another reason for an alarm.
    ///
    /// Only a canary that was answered can break. One that never was proves nothing, so nothing new is announced; but it
    /// does not speak against what an earlier agent announced, which may work where a canary cannot. Nor does a probe that
    /// could not be made.
    pub fn probed(&mut self, result: Result<(), Fault>, proof: &Proof, now: Time) -> bool {
        let (standing, was_alarm) = (self.standing, self.alarm.is_some());
        self.problem = result.as_ref().err().map(ToString::to_string);
        match result {
            Ok(()) => {
                (self.passed, self.failed, self.unable, self.last) = (self.passed.saturating_add(1), 0, 0, now);
                if self.passed >= proof.pass {
                    (self.standing, self.alarm) = (Standing::Proved, None);
                }
            }
            Err(Fault::Broken(problem)) => {
                (self.passed, self.failed, self.unable) = (0, self.failed.saturating_add(1), 0);
                if self.failed >= proof.fail && self.standing != Standing::Broken {
                    if self.standing == Standing::Proved {
                        (self.standing, self.alarm) = (Standing::Broken, None);
                    }
                    let probes = if self.failed == 1 { "probe" } else { "probes in a row" };
                    self.alarm.get_or_insert_with(|| format!("{problem} ({} {probes})", self.failed));
                }
            }
            Err(fault @ Fault::Unable(_)) => {
                (self.passed, self.failed, self.unable, self.last) = (0, 0, self.unable.saturating_add(1), now);
                if self.unable >= proof.fail {
                    self.alarm.get_or_insert_with(|| fault.to_string());
                }
            }
        }
        self.standing != standing || self.alarm.is_some() != was_alarm
    }

    /// What they have shown.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// The same for the status: what can be probed no more is proved no more, though nothing is withdrawn for it.
    pub fn shown(&self) -> Standing {
        match self.standing {
            Standing::Proved if self.alarm.is_some() => Standing::Unproved,
            standing => standing,
        }
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
        self.failed.is_power_of_two() || self.unable.is_power_of_two()
    }

    /// Is a first answer expected at any moment?
    fn is_new(&self) -> bool {
        self.standing == Standing::Unproved && self.failed.max(self.unable) < FIRST_PROBES
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
    pub(super) fn on_probe(&mut self, canary: Canary, result: Result<(), Fault>, now: Time) {
        let Some(verdict) = self.proof.verdicts.get_mut(&canary) else { return };
        if verdict.probed(result, &self.settings.proof, now) {
            self.news.push(News::Proof { server: canary.server(), problem: verdict.alarm.clone() });
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
        let is_open = |verdict: &Verdict| verdict.standing == Standing::Unproved && verdict.alarm.is_none();
        self.proof.verdicts.get(canary).is_some_and(is_open)
    }

    /// Is there a canary, and have probes of none proved anything yet?
    pub(super) fn is_unproved(&self) -> bool {
        let standing = |canary: &Canary| self.proof.verdicts.get(canary).map_or(Standing::Unproved, Verdict::standing);
        let standings: BTreeSet<Standing> = self.canaries().iter().map(standing).collect();
        standings.contains(&Standing::Unproved) && !standings.contains(&Standing::Proved)
    }

    /// The canary whose proof is too old at `now`, if there is one, since nobody probes it any more.
    pub(super) fn stale(&self, now: Time) -> Option<Canary> {
        let age = self.settings.lease.ttl(true).max(self.settings.proof.interval * 3);
        let is_stale = |verdict: &Verdict| verdict.standing == Standing::Proved && verdict.last + age < now;
        self.proof.verdicts.iter().find(|(_, verdict)| is_stale(verdict)).map(|(canary, _)| *canary)
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
        let is_new = self.proof.verdicts.values().any(Verdict::is_new);
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
                Standing::Proved if verdict.unable > 0 => with("does not tell", verdict.problem.clone()),
                Standing::Proved => None,
                Standing::Unproved => with("has not answered yet", verdict.problem.clone()),
                Standing::Broken => {
                    let reason = verdict.alarm.as_deref().unwrap_or_default();
                    Some(Footing::Broken(format!("the canary {server}: {reason}")))
                }
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

    /// Is the range founded?
    pub(super) fn is_founded(&self, range: Prefix) -> bool {
        self.proof.founded.contains(&range)
    }

    /// Does the data plane do what is promised to switches? A range that is not read back and proved, or is broken, promises
    /// nothing once none of its routes can be out, and no session that announces it is up.
    pub fn is_proved(&self) -> bool {
        let ranges = self.ranges.iter().filter(|range| !range.is_canary() && !self.is_founded(range.prefix));
        let open: Vec<Prefix> = ranges.map(|range| range.prefix).collect();
        if !self.derived || open.is_empty() {
            return self.derived;
        }
        if self.may_stand_on(&open) {
            return false;
        }
        if self.settings.bgp.is_none() {
            return true;
        }
        let Some(bgp) = &self.actual.bgp else { return false };
        !bgp.paths.keys().any(|path| open.iter().any(|range| range.covers(*path)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The standings after each of these probes: `+` was answered, `-` failed, and `?` could not be made.
    fn standings(probes: &str) -> String {
        let proof = Proof { fail: 3, pass: 2, ..Proof::default() };
        let mut verdict = Verdict::default();
        let mut after = |probe| {
            let result = match probe {
                '+' => Ok(()),
                '-' => failed("no answer"),
                _ => Err(Fault::Unable("no capability".into())),
            };
            verdict.probed(result, &proof, Time::ZERO);
            match verdict.standing() {
                Standing::Unproved => 'u',
                Standing::Proved => 'p',
                Standing::Broken => 'b',
            }
        };
        probes.chars().map(&mut after).collect()
    }

    fn failed(why: &str) -> Result<(), Fault> {
        Err(Fault::Broken(why.into()))
    }

    #[test]
    fn a_verdict_moves_with_several_probes_in_a_row_only() {
        for (probes, expected) in [
            ("++", "up"),
            ("+-++", "uuup"),
            // What was never answered speaks against nothing.
            ("------", "uuuuuu"),
            ("---++---", "uuuupppb"),
            ("++--+---", "uppppppb"),
            ("+++++--", "upppppp"),
            ("++---+-+--++", "upppbbbbbbbp"),
            // Nor does what could not be tried, for however long.
            ("++??????", "uppppppp"),
            ("++--?--?--", "uppppppppp"),
            ("++---???++", "upppbbbbbp"),
            ("????", "uuuu"),
        ] {
            assert_eq!(standings(probes), expected, "{probes}");
        }
    }

    #[test]
    fn a_broken_proof_names_what_broke_it() {
        let proof = Proof { fail: 1, pass: 1, ..Proof::default() };
        let mut verdict = Verdict::default();
        let mut probe = |result| {
            let is_news = verdict.probed(result, &proof, Time::ZERO);
            (is_news, verdict.alarm.clone(), verdict.problem().map(str::to_owned))
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(probe(Ok(())), (true, None, None));
        assert_eq!(probe(failed("refused")), (true, some("refused (1 probe)"), some("refused")));
        assert_eq!(probe(failed("late")), (false, some("refused (1 probe)"), some("late")));
        assert_eq!(probe(Ok(())), (true, None, None));
        let unable = "it cannot be probed: no capability";
        let result = || Err(Fault::Unable("no capability".into()));
        assert_eq!(probe(result()), (true, some(unable), some(unable)));
        assert_eq!(probe(result()), (false, some(unable), some(unable)));
        assert_eq!(probe(failed("refused")), (true, some("refused (1 probe)"), some("refused")));
    }

    #[test]
    fn a_canary_that_never_answers_raises_an_alarm_once() {
        let mut verdict = Verdict::default();
        let proof = Proof { fail: 3, ..Proof::default() };
        let news: Vec<bool> = (0..6).map(|_| verdict.probed(failed("late"), &proof, Time::ZERO)).collect();
        assert_eq!(news, [false, false, true, false, false, false]);
        assert_eq!(verdict.alarm.as_deref(), Some("late (3 probes in a row)"));
    }

    #[test]
    fn the_kernel_is_read_at_the_first_failure_and_then_ever_more_seldom() {
        for result in [failed("late"), Err(Fault::Unable("no link".into()))] {
            let mut verdict = Verdict::default();
            let read: Vec<u32> = (1..=20)
                .filter(|_| {
                    verdict.probed(result.clone(), &Proof::default(), Time::ZERO);
                    verdict.wants_reading()
                })
                .collect();
            assert_eq!(read, [1, 2, 4, 8, 16]);
            verdict.probed(Ok(()), &Proof::default(), Time::ZERO);
            assert!(!verdict.wants_reading());
        }
    }
}
