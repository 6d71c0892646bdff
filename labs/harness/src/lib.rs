//! Runs containerlab topologies in network namespaces, on this machine's kernel or in a virtual machine.
//!
//! - [`vm`] finds or boots a kernel that has IPVS.

pub mod folders;
pub mod vm;

/// Says what a slow step is doing, on standard error: standard output belongs to the job.
pub(crate) fn progress(step: &str) {
    eprintln!("vipcast-lab: {step}");
}
