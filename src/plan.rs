//! What to do next: claims become desired state, and what differs from actual becomes steps. Pure: no IO, no clock.

pub mod change;
pub mod step;

pub use change::Change;
pub use step::{Observation, Outcome, Report, Step};
