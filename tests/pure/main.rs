//! Tests that need no root and nothing but loopback: among them the real gobgpd (Debian package `gobgpd`).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../support/support.rs"]
mod support;

mod bfd;
mod cases;
mod choice;
mod claims;
mod conformance;
mod contract;
mod deploy;
mod docs;
mod edges;
mod explain;
mod gobgpd;
mod golden;
mod laws;
mod monitoring;
mod planner;
mod reference;
mod speaker;
mod switches;
mod tidy;
mod wheel;
