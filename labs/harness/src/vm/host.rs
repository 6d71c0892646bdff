//! Can this machine's own kernel run a lab?

use std::io::Write;
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, unshare};
use nix::unistd::Uid;

use super::packages::find;

/// One of everything that a lab asks of a kernel.
const RULES: &str = "table inet probe { chain nat { type nat hook postrouting priority srcnat; \
                     ct original ip daddr 192.0.2.1 masquerade; }; \
                     chain guard { type filter hook input priority 101; tcp dport 1 reject with tcp reset; }; }";

/// Tries what labs need in a throw-away network namespace; the error says what this machine cannot do.
pub(super) fn probe() -> Result<(), String> {
    if !Uid::effective().is_root() {
        return Err("not root".to_owned());
    }
    for module in ["ip_vs", "dummy", "veth", "nf_tables"] {
        if let Some(modprobe) = find("modprobe") {
            // Built in, loaded already, or not there: what counts is tried below.
            let _ = Command::new(modprobe).args(["-q", module]).stderr(Stdio::null()).status();
        }
    }
    std::thread::spawn(probe_in_namespace).join().unwrap_or_else(|_| Err("the probe failed".to_owned()))
}

fn probe_in_namespace() -> Result<(), String> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| format!("no network namespace: {errno}"))?;
    // Created and gone with the namespace, which ends with this thread.
    command("ip", &["link", "add", "type", "dummy"], "")?;
    command("ip", &["link", "add", "type", "veth"], "")?;
    if !std::path::Path::new("/proc/thread-self/net/ip_vs").exists() {
        return Err("the kernel has no ip_vs".to_owned());
    }
    command("nft", &["-f", "-"], RULES)
}

fn command(program: &str, arguments: &[&str], input: &str) -> Result<(), String> {
    let failed = |why: String| format!("{program} {}: {why}", arguments.join(" "));
    let path = find(program).ok_or_else(|| failed("not installed".to_owned()))?;
    let mut child = Command::new(path)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).map_err(|error| failed(error.to_string()))?;
    }
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr);
    Err(failed(message.lines().next().unwrap_or("failed").trim().to_owned()))
}
