//! The fleet: all LB nodes together, as far as they have to agree who may leave. What a node tells, and what it hears.

/// How this node stands in its fleet, as its agent tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The name of the fleet: the first part of its Leases' names.
    pub fleet: String,
    /// How many LB nodes may be away at once.
    pub max_unavailable: u32,
    /// What the node is about.
    pub stance: Stance,
    /// It announces something that a peer hears, so that others may leave.
    pub serves: bool,
}

/// What a node is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stance {
    /// It is no LB node that announces, and none that left for a while.
    Absent,
    /// It announces.
    Present,
    /// It announces, or does but for a moment, and asks whether it may leave.
    Asking,
    /// It is leaving, away, or on its way back.
    Away,
}

/// What the fleet says to a node that asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may leave.
    Granted,
    /// It may not, for this reason, until others are back.
    Refused(String),
    /// Nobody can tell, for this reason.
    Unknown(String),
}
