//! What is measured on, in words.

use std::fs;
use std::process::Command;

use nix::sys::utsname::uname;

/// The machine and the programs of others that take part.
pub(super) fn describe() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let mut lines = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(key, _)| key.trim() == name).map_or("an unknown CPU", |(_, value)| value.trim()).to_owned()
    };
    let cpus = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let release = uname().map_or_else(|_| String::new(), |name| name.release().to_string_lossy().into_owned());
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = memory.lines().next().and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    let emulated = std::env::var_os("VIPCAST_IN_VM").is_some();
    let kind = if emulated { "emulated in software (QEMU, TCG)" } else { "as they are" };
    let programs = [("/usr/lib/frr/bgpd", "--version"), ("bird", "--version"), ("gobgpd", "--version")];
    let programs = programs.map(|(program, argument)| first_line(program, argument)).join(", ");
    format!(
        "{cpus} CPUs {kind} ({}), {} MiB of memory, Linux {release}; {programs}",
        field("model name"),
        kib.unwrap_or_default() / 1024
    )
}

/// What a program says of itself.
fn first_line(program: &str, argument: &str) -> String {
    let output = Command::new(program).arg(argument).output();
    let said = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    said.lines().next().unwrap_or("a program that says nothing of itself").trim().trim_end_matches('.').to_owned()
}
