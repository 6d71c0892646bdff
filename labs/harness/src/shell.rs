//! `vipcast-lab shell`: a lab to look around in.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{SigSet, Signal};

use vipcast_lab::clab::Role;
use vipcast_lab::traffic::Port;
use vipcast_lab::{Lab, Options, vm};

/// The ports that pods answer on while people look around: those of the lab's Services.
const PORTS: [Port; 3] = [Port::Tcp(8080), Port::Tcp(5353), Port::Udp(5353)];

/// Deploys a lab and runs the command, else keeps the lab until Ctrl-C (or SIGTERM).
pub(crate) fn run(topology: &Path, command: Vec<OsString>) -> Result<u8> {
    if let Err(why) = vm::probe() {
        if command.is_empty() {
            bail!("this machine's kernel will not do ({why}), and the virtual machine has no keyboard: give a command");
        }
        return in_machine(topology, command);
    }
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    // Blocked before any thread starts, so that only the wait below sees them.
    signals.thread_block().context("block signals")?;

    let lab = Lab::deploy(topology, Options::default())?;
    let _pods = lab.start_pods(&PORTS)?;
    if !command.is_empty() {
        let names = lab.nodes().map(|node| (node.name(), node.netns().name()));
        let status = Command::new(&command[0]).args(&command[1..]).envs(names).status();
        let status = status.with_context(|| format!("run {:?}", command[0]))?;
        return Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX));
    }
    println!("The files of its nodes are in {}. To look around:", lab.folder().display());
    for node in lab.nodes() {
        println!("  ip netns exec {} bash", node.netns().name());
        if node.role() == Role::Tor {
            let (bird, frr, config) = (node.path("run/bird.ctl"), node.path("run/frr"), node.path("etc/frr"));
            if bird.exists() {
                println!("  birdc -s {}", bird.display());
            } else {
                println!("  vtysh --vty_socket {} --config_dir {}", frr.display(), config.display());
            }
        }
    }
    println!("Ctrl-C takes it down.");
    let signal = signals.wait().context("wait for a signal")?;
    println!("{signal}: taking {} down", lab.id());
    Ok(0)
}

/// The same again, where the kernel will do.
fn in_machine(topology: &Path, command: Vec<OsString>) -> Result<u8> {
    let program = std::env::current_exe().context("find this program")?;
    let topology = topology.canonicalize().with_context(|| format!("find {}", topology.display()))?;
    let mut line: Vec<OsString> = vec![program.into(), "shell".into(), topology.into(), "--".into()];
    line.extend(command);
    vm::run(vm::Job { command: line, ..vm::Job::default() })
}
