//! Packets through a ToR: what vipcast promises its users, in the lab `rack` on a real kernel.

#![allow(clippy::unwrap_used, reason = "a test may end where it fails")]

mod death;
mod main_job;
mod rack;
mod switches;
mod trouble;
