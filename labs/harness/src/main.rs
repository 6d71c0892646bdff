//! `vipcast-lab`: runs labs, and commands on a kernel that has IPVS.

mod demo;
mod failover;
mod shell;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, Subcommand};
use vipcast_lab::suites::{self, Suite};
use vipcast_lab::{Unavailable, apiserver, gobgp, vm};

/// Labs for vipcast: topologies in network namespaces, on this kernel or in a virtual machine.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Run a command on a kernel that has IPVS: here if possible, else in a virtual machine.
    ///
    /// The machine sees this machine's files read-only, under the same paths, and its exit status is the command's: 124
    /// when it did not end in time, 125 when the machine failed.
    Vm(Machine),
    /// Play the main job in the lab `rack`, and tell the story.
    Demo,
    /// Build the benchmarks and run them.
    Bench {
        /// The one to run: `ipvs` or `routes`, if not both; or `failover`, which takes hours, and goes on where it was when
        /// it is interrupted (`bench failover -- --help`).
        name: Option<String>,
        /// Arguments for it.
        #[arg(last = true)]
        arguments: Vec<OsString>,
    },
    /// Build the test suites and run them: all, or those named.
    Test(Tests),
    /// Download the virtual machine's kernel, unless it is there, and print where it is.
    Kernel,
    /// Build kube-apiserver, etcd and kubectl, unless they are there, and print where they are.
    Kubernetes {
        /// The version, such as v1.33.13, if not the one of `tests/apiserver/go.mod`.
        version: Option<String>,
    },
    /// Build gobgpd and gobgp of version 4, unless they are there, and print where they are.
    Gobgp,
    /// Deploy a lab and look around in it.
    ///
    /// Without a command it says how to enter the nodes, and keeps the lab until Ctrl-C. A command finds the name of each
    /// node's namespace in a variable of the node's name (`ip netns exec $tor …`), runs where the kernel will do (see
    /// `vm`), and the lab ends with it.
    Shell {
        /// The topology file.
        #[arg(value_name = "LAB.clab.yml")]
        topology: PathBuf,
        /// What to run in the lab.
        #[arg(last = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
}

#[derive(clap::Args)]
struct Machine {
    /// A folder that the command may write to; can be given several times.
    #[arg(long, value_name = "DIR")]
    writable: Vec<PathBuf>,
    /// End the command after so many seconds.
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// The machine's CPUs.
    #[arg(long, default_value_t = vm::Size::default().cpus)]
    cpus: u8,
    /// The machine's memory in MiB.
    #[arg(long, value_name = "MIB", default_value_t = vm::Size::default().memory_mib)]
    memory: u32,
    /// Boot a machine even where this machine's kernel would do.
    #[arg(long)]
    force: bool,
    /// What to run.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[derive(clap::Args)]
struct Tests {
    /// The suites.
    #[arg(value_enum, default_values_t = [Suite::Pure, Suite::Api, Suite::Kernel, Suite::Lab])]
    suites: Vec<Suite>,
    /// The version of Kubernetes for the suite `api`, such as v1.33.13, if not the one of `tests/apiserver/go.mod`.
    #[arg(long, value_name = "VERSION")]
    kubernetes: Option<String>,
    /// Arguments for the test binaries, such as a part of a test's name.
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

/// The exit status of a failure that is not the command's.
const MACHINE_FAILED: u8 = 125;

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("vipcast-lab: {error:#}");
            ExitCode::from(MACHINE_FAILED)
        }
    }
}

fn run(action: Action) -> Result<u8> {
    match action {
        Action::Vm(Machine { writable, timeout, cpus, memory, force, command }) => vm::run(vm::Job {
            command,
            environment: Vec::new(),
            writable,
            timeout: timeout.map(Duration::from_secs),
            size: vm::Size { cpus, memory_mib: memory },
            force,
        }),
        Action::Bench { name, arguments } if name.as_deref() == Some("failover") => failover::run(&arguments),
        Action::Bench { name, arguments } => suites::bench(name.as_deref(), &arguments),
        Action::Demo => demo::run(),
        Action::Test(Tests { suites, kubernetes, arguments }) => {
            suites::run(&suites, kubernetes.as_deref(), &arguments)
        }
        Action::Shell { topology, command } => shell::run(&topology, command),
        Action::Kubernetes { version } => {
            tell_folder(apiserver::Programs::provide(version.as_deref())?.map(|programs| programs.folder))
        }
        Action::Gobgp => tell_folder(gobgp::Programs::provide()?.map(|programs| programs.folder)),
        Action::Kernel => {
            let kernel = vm::prepare_kernel()?;
            println!("{}\n{}", kernel.image.display(), kernel.modules.display());
            Ok(0)
        }
    }
}

/// vipcast, built beside this program.
fn vipcast() -> Result<PathBuf> {
    let program = std::env::current_exe().context("find this program")?;
    let file = program.with_file_name("vipcast");
    ensure!(file.is_file(), "{} is missing: build it first (cargo build)", file.display());
    Ok(file)
}

fn tell_folder(programs: Result<PathBuf, Unavailable>) -> Result<u8> {
    match programs {
        Ok(folder) => {
            println!("{}", folder.display());
            Ok(0)
        }
        Err(Unavailable(reason)) => bail!("{reason}"),
    }
}
