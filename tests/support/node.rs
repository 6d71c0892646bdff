//! A node that can fail: the model of a node, with faults that hit chosen steps, a gobgpd that can go away, and things
//! that the kernel refuses for ever.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;

use vipcast::plan::pass::is_for_speaker;
use vipcast::plan::{ModelNode, Observation, Outcome, Step};

/// How a step fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is refused.
    Refuse,
    /// The world is said to be otherwise. A reading step, which cannot drift, is postponed.
    Drift,
    /// It could not be tried.
    Postpone,
    /// It was done, and the answer was lost.
    LoseAnswer,
    /// A listing skips every other virtual server; a reading of the host fails in one part. Others are postponed.
    ReadHalf,
}

impl Fault {
    pub(crate) const ALL: [Fault; 5] =
        [Fault::Refuse, Fault::Drift, Fault::Postpone, Fault::LoseAnswer, Fault::ReadHalf];
}

/// A node, gobgpd included.
#[derive(Debug, Clone, Default)]
pub(crate) struct Node {
    pub(crate) model: ModelNode,
    /// gobgpd does not answer.
    pub(crate) silent: bool,
    /// Faults of the next steps of the kernel.
    pub(crate) kernel_faults: VecDeque<Fault>,
    /// Faults of the next steps of gobgpd.
    pub(crate) speaker_faults: VecDeque<Fault>,
    /// Endpoints and VIPs that the kernel refuses, whatever is asked.
    pub(crate) refused: BTreeSet<IpAddr>,
}

impl Node {
    pub(crate) fn new(model: ModelNode) -> Node {
        Node { model, ..Node::default() }
    }

    /// Performs one step.
    pub(crate) fn perform(&mut self, step: &Step) -> Outcome {
        let for_speaker = is_for_speaker(step);
        if for_speaker && self.silent {
            return Outcome::Later("gobgpd does not answer".into());
        }
        let is_refused = match step {
            Step::AddDestination(_, name, _) | Step::SetDestination(_, name, _) => self.refused.contains(&name.address),
            Step::AddServer(key, _) | Step::SetServer(key, _) => self.refused.contains(&key.address),
            _ => false,
        };
        if is_refused {
            return Outcome::Refused("invalid argument".into());
        }
        let faults = if for_speaker { &mut self.speaker_faults } else { &mut self.kernel_faults };
        let Some(fault) = faults.pop_front() else { return self.model.perform_one(step) };
        match fault {
            Fault::Refuse => Outcome::Refused("refused by chance".into()),
            Fault::Drift if !step.is_read() => Outcome::Drifted("the world is otherwise".into()),
            Fault::LoseAnswer => {
                self.model.perform_one(step);
                Outcome::Later("the answer was lost".into())
            }
            Fault::ReadHalf if step.is_read() => match self.model.perform_one(step) {
                Outcome::Read(observation) => Outcome::Read(half(observation)),
                other => other,
            },
            Fault::Drift | Fault::Postpone | Fault::ReadHalf => Outcome::Later("not now".into()),
        }
    }
}

fn half(observation: Observation) -> Observation {
    match observation {
        Observation::Servers(all) => Observation::Servers(all.into_iter().step_by(2).collect()),
        Observation::Host(mut reading) => {
            reading.nft = Err("nft failed".into());
            Observation::Host(reading)
        }
        whole => whole,
    }
}
