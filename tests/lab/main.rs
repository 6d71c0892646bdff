//! Packets through a ToR: what vipcast promises its users, in the lab `rack` on a real kernel.

#![allow(clippy::unwrap_used, reason = "a test may end where it fails")]

mod death;
mod endings;
mod main_job;
mod objects;
mod policies;
mod rack;
mod switches;
mod trouble;
mod vips;
