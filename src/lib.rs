//! vipcast watches the cluster, models it, plans the difference between what this node should have and what it has,
//! and applies that difference, in that order and never backwards.
//!
//! ```text
//!             IO               pure             pure                 IO
//!  cluster ── watch ─────────▶ model ─────────▶ plan ──────────────▶ apply ── kernel, gobgpd
//!                       Cluster, dirty keys   desired, Plan(steps)     │
//!                                                 ▲      actual        │
//!                                                 └────────────────────┘
//! ```
//! `daemon` turns the wheel; `admin` shows it; `cli` and `config` set it up; `prepare` gets the node ready.
//! ARCHITECTURE.md has the long story.

pub mod admin;
pub mod apply;
pub mod bfd;
pub mod check;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod model;
pub mod plan;
pub mod prepare;
pub mod runtime;
pub mod speaker;
pub mod switches;
mod text;
pub mod watch;
