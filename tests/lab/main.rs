//! Packets through ToRs: what vipcast promises its users, in the labs `rack`, `services` and `peers` on a real kernel.

#![allow(clippy::unwrap_used, reason = "a test may end where it fails")]

mod bfd;
mod death;
mod drain;
mod endings;
mod main_job;
mod objects;
mod peers;
mod policies;
mod rack;
mod restart;
mod silence;
mod switches;
mod trouble;
mod vips;
