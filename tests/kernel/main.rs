//! The kernel suite: what the executors do to a real kernel, read back from it.
//!
//! Every test has a network namespace of its own. It takes root and a kernel with IPVS; `make test-kernel` runs it in a
//! virtual machine where this machine has none.

#![allow(clippy::unwrap_used, reason = "a test that finds something else than it expects has failed")]

mod agent;
mod conntrack;
mod host;
mod ipvs;
mod model;
mod rules;

use std::io::Write;
use std::sync::OnceLock;

use vipcast::apply::ipvs::Ipvs;
use vipcast_lab::Netns;

/// Can this machine run the suite? If not, says so once, past the test harness, which shows no output of tests that
/// pass.
fn require_ipvs() -> bool {
    static REASON: OnceLock<Option<String>> = OnceLock::new();
    let reason = REASON.get_or_init(|| {
        let reason = if !rustix::process::geteuid().is_root() {
            Some("not root".to_owned())
        } else {
            Ipvs::connect().err().map(|error| error.to_string())
        };
        if let Some(reason) = &reason {
            // The virtual machine was made for this: there it is a failure.
            assert!(std::env::var_os("VIPCAST_IN_VM").is_none(), "the virtual machine has no IPVS: {reason}");
            let _ = writeln!(std::io::stderr(), "SKIPPED kernel: {reason}");
        }
        reason
    });
    reason.is_none()
}

/// Runs `test` in a fresh network namespace, on a thread of its own.
fn in_namespace(test: impl FnOnce() + Send) {
    if require_ipvs() {
        Netns::new().unwrap().run(test).unwrap();
    }
}
