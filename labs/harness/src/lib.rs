//! Runs containerlab topologies in network namespaces, on this machine's kernel or in a virtual machine.
//!
//! - [`vm`] finds or boots a kernel that has IPVS.
//! - [`netns`] has network namespaces, for tests that need one or two.
//! - [`clab`] reads topology files, and [`lab`] deploys them.
//! - [`apiserver`] runs a real kube-apiserver and etcd, [`gobgp`] has GoBGP 4; both are built from Go modules.
//! - [`suites`] builds the test suites and runs them.
//! - [`traffic`] sends packets through them, and counts.

pub mod apiserver;
pub mod clab;
mod exec;
pub mod folders;
mod go;
pub mod gobgp;
pub mod lab;
pub mod netns;
pub mod suites;
pub mod traffic;
pub mod vm;
mod wait;

pub use self::go::Unavailable;
pub use self::lab::{Daemon, Lab, Node, Options};
pub use self::netns::Netns;
pub use self::wait::{wait_for, wait_until};

/// Says what a slow step is doing, on standard error: standard output belongs to the job.
pub(crate) fn progress(step: &str) {
    eprintln!("vipcast-lab: {step}");
}
