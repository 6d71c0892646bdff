//! `vipcast-lab demo`: the main job, told to somebody who watches.

mod story;

use std::ffi::OsString;
use std::time::Duration;

use anyhow::{Context, Result};
use vipcast_lab::{folders, vm};

/// Longer than the demo takes on the slowest machine it was tried on.
const LIMIT: Duration = Duration::from_secs(1200);

/// Plays the demo here, or in a virtual machine where this kernel will not do.
pub(crate) fn run() -> Result<u8> {
    let vipcast = crate::vipcast()?;
    vm::provide()?;
    if vm::probe().is_err() {
        let program = std::env::current_exe().context("find this program")?;
        let command: Vec<OsString> = vec![program.into(), "demo".into()];
        return vm::run(vm::Job { command, timeout: Some(LIMIT), ..vm::Job::default() });
    }
    let topology = folders::repository()?.join("labs/rack/rack.clab.yml");
    story::tell(&topology, &vipcast)?;
    Ok(0)
}
