//! Every fact that decisions depend on enters as a [`Change`]: objects, outcomes of steps, notifications, commands.

use std::collections::BTreeMap;

use super::away::Saved;
use super::explain::Asked;
use super::step::Report;
use crate::model::bfd::BfdStatus;
use crate::model::bgp::{PeerName, SecretKey, Session};
use crate::model::canary::{Canary, Fault};
use crate::model::fleet;
use crate::model::lease::LeaseStatus;
use crate::model::load::{Load, Stray};
use crate::model::{Event, Secret, Settings};

/// A fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A source told of an object.
    Source(Event),
    /// A step ended.
    Report(Report),
    /// The kernel notified that our link, our routes, our nftables table or the node's addresses changed, whoever
    /// changed them; or that notifications were lost. What they are now has to be read.
    HostMoved,
    /// gobgpd can be reached; what it holds has to be read.
    SpeakerUp,
    /// gobgpd cannot be reached, for this reason; what it holds is unknown.
    SpeakerDown(String),
    /// Nobody listens where gobgpd's API is, for this reason: its process is gone, and with it, where it is ours alone,
    /// all sessions and routes.
    SpeakerGone(String),
    /// Somebody else changed something in gobgpd (a path, a peer, its identity); what it holds has to be read.
    SpeakerMoved,
    /// How full the kernel's tables are.
    Load(Load),
    /// How many packets found no connection.
    Stray(Stray),
    /// A canary was probed: it answered, or in words how far the probe came.
    Probe(Canary, Result<(), Fault>),
    /// A session of ours or somebody else's changed its state.
    Session(PeerName, Session),
    /// The configuration file says this now.
    Settings(Box<Settings>),
    /// How the configuration file was found.
    Loaded(Loaded),
    /// What a Secret holds that a peer's password comes from, or why it cannot be had.
    Secret(SecretKey, Result<Secret, String>),
    /// How the announcement lease stands, or why the speaker that holds it cannot be reached.
    Lease(Result<LeaseStatus, String>),
    /// How the BFD session with a peer stands.
    Bfd(PeerName, BfdStatus),
    /// These BGP sessions the speaker holds down because of BFD, and why.
    HeldDown(BTreeMap<PeerName, String>),
    /// Somebody asks for an explanation, which [`Plan::answers`](super::Plan::answers) has under this number.
    Explain(u64, Asked),
    /// An operator's command.
    Command(Command),
    /// What the former agent left to be known.
    Remembered(Saved),
    /// The fleet says whether this node may leave.
    Fleet(fleet::Verdict),
    /// The agent is to leave in this way.
    Leave(Leave),
    /// The agent is told to end (SIGTERM): it leaves as what is known of its Node asks for, and in this way while that is
    /// an LB node.
    End(Leave),
}

/// What an operator asks of a running agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// This node is to leave: when the other LB nodes can spare it, or whatever becomes of them.
    Drain {
        /// Whatever becomes of them.
        force: bool,
    },
    /// The same is taken back.
    Undrain,
    /// What was held since it could not be believed is meant.
    Confirm,
}

/// How the configuration file was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Its path.
    pub file: String,
    /// When what is in force was read, in seconds since 1970.
    pub at: i64,
    /// What of it is not in force, and why.
    pub problem: Option<String>,
}

/// How the agent leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// Withdraw all routes, wait until peers had time to hear it; the data plane stays.
    Withdraw,
    /// Leave everything as it is.
    Keep,
    /// Let the switches and the connections go first, then withdraw; the data plane stays.
    Drain,
    /// Withdraw, wait, and remove all that is ours (`vipcast cleanup`).
    Remove,
}
