//! The deciding loop, what it is connected to, and the only place that spawns.
//!
//! Changes go in: from the sources, the sensors, the executors, the signals. Steps come out, to two executors: the
//! kernel's and gobgpd's, each the single writer of its side. The loop never waits for IO: it takes what is there, lets
//! the planner decide, and hands the steps on. How many steps may be under way is the planner's business, so the queues
//! are bounded and never full.

mod cleanup;
mod connect;
mod observe;
mod reload;
mod remember;
mod run;
mod signals;
mod wheel;

pub use cleanup::cleanup;
pub use observe::{Bystander, Observed, observe, rehearsal};
pub use run::run;
pub use wheel::{End, Wheel, run_executor, start_executor};
