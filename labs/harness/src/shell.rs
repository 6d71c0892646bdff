//! `vipcast-lab shell`: a lab to look around in.

use std::path::Path;

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};

use vipcast_lab::clab::Role;
use vipcast_lab::traffic::Port;
use vipcast_lab::{Lab, Options};

/// The ports that pods answer on while people look around: those of the lab's Services.
const PORTS: [Port; 3] = [Port::Tcp(8080), Port::Tcp(5353), Port::Udp(5353)];

/// Deploys a lab, tells how to enter its nodes, and keeps it until Ctrl-C (or SIGTERM).
pub(crate) fn run(topology: &Path) -> Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    // Blocked before any thread starts, so that only the wait below sees them.
    signals.thread_block().context("block signals")?;

    let lab = Lab::deploy(topology, Options::default())?;
    let _pods = lab.start_pods(&PORTS)?;
    println!("The files of its nodes are in {}. To look around:", lab.folder().display());
    for node in lab.nodes() {
        let name = node.netns().name();
        println!("  ip netns exec {name} bash");
        if node.role() == Role::Tor {
            let (sockets, config) = (node.path("run/frr"), node.path("etc/frr"));
            println!("  vtysh --vty_socket {} --config_dir {}", sockets.display(), config.display());
        }
    }
    println!("Ctrl-C takes it down.");
    let signal = signals.wait().context("wait for a signal")?;
    println!("{signal}: taking {} down", lab.id());
    Ok(())
}
