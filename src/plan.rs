//! What to do next: claims become desired state, and what differs from actual becomes steps. Pure: no IO, no clock.
//!
//! [`Planner`] holds everything known. [`Planner::apply`] takes in one [`Change`]; [`Planner::plan`] answers with the
//! steps whose preconditions hold now and when it wants to be asked again. Outcomes of steps come back as changes. What
//! a step needs is looked up in *actual*, so order never depends on a list running to its end, and a step that failed
//! blocks just what depends on it.

mod addr;
pub mod announce;
pub mod audit;
pub mod away;
pub mod bgp;
mod books;
mod brake;
mod canary;
pub mod capacity;
mod causes;
pub mod change;
pub mod claims;
mod departure;
mod derive;
mod drain;
pub mod enact;
mod ending;
pub mod endpoints;
pub mod explain;
mod filter;
mod goodbye;
pub mod health;
pub mod ipvs;
pub mod ledger;
pub mod memory;
pub mod news;
mod nft;
mod notices;
mod orders;
pub mod pass;
mod peers;
pub mod planner;
mod preconditions;
pub mod problem;
pub mod proof;
pub mod ranges;
pub mod rehearse;
mod reports;
pub mod role;
mod routes;
mod specifics;
mod standing;
pub mod status;
pub mod step;
pub mod surroundings;
pub mod sysctl;
mod wanted;
pub mod wish;

pub use change::Change;
pub use explain::{Asked, Explanation};
pub use news::News;
pub use pass::{Answer, Plan};
pub use planner::Planner;
pub use problem::Notice;
pub use rehearse::ModelNode;
pub use status::Status;
pub use step::{Executor, Observation, Outcome, Report, Step};
