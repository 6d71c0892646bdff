//! Tests that need no root and nothing but loopback: among them the real gobgpd (Debian package `gobgpd`).

#[path = "../support/support.rs"]
mod support;

mod gobgpd;
mod laws;
mod planner;
