//! `deploy/switches` and the routers of the labs are what `vipcast switch-config` prints, the former for the lab `rack`.
//!
//! `VIPCAST_REGENERATE=1 cargo test --test pure switches` writes them again, after a change that was meant.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The vendors, as the command and the files call them.
const VENDORS: [&str; 7] = ["frr", "sonic", "arista-eos", "cisco-nxos", "juniper-junos", "nokia-srlinux", "bird"];

/// The LB nodes of the lab.
const NODES: [&str; 4] = ["10.0.1.2", "10.0.2.2", "fd00:1::2", "fd00:2::2"];

/// What stands before the command's output in the lab's files.
const MARK: &str = "---- From here on as `vipcast switch-config` prints it.\n";

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What the command prints for the lab `rack`.
fn printed(vendor: &str, more: &[&str]) -> String {
    printed_for("labs/rack/lb1.yaml", vendor, &NODES, more)
}

/// What the command prints for a lab.
fn printed_for(config: &str, vendor: &str, nodes: &[&str], more: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vipcast"));
    command.arg("--config").arg(repository().join(config));
    command.args(["switch-config", "--vendor", vendor]).args(more);
    let output = command.args(nodes.iter().flat_map(|node| ["--neighbor", *node])).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Holds a file against what it should be, or writes it.
fn hold(file: PathBuf, expected: &str) {
    if std::env::var_os("VIPCAST_REGENERATE").is_some() {
        fs::write(&file, expected).unwrap();
    }
    let found = fs::read_to_string(&file).unwrap();
    assert!(
        found == expected,
        "{} is not what the command prints; write it again with VIPCAST_REGENERATE=1. It should be:\n{expected}",
        file.display()
    );
}

#[test]
fn deploy_has_what_the_command_prints() {
    for vendor in VENDORS {
        let folder = repository().join("deploy/switches");
        hold(folder.join(format!("{vendor}.conf")), &printed(vendor, &[]));
        hold(folder.join(format!("{vendor}-static.conf")), &printed(vendor, &["--static"]));
    }
}

#[test]
fn deploy_has_no_other_vendor() {
    let files = fs::read_dir(repository().join("deploy/switches")).unwrap();
    let mut found: Vec<String> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    found.retain(|name| name != "README.md");
    let known = |name: &String| {
        VENDORS
            .iter()
            .any(|vendor| name.strip_suffix(".conf").is_some_and(|name| name.trim_end_matches("-static") == *vendor))
    };
    assert!(found.iter().all(known) && found.len() == 2 * VENDORS.len(), "{found:?}");
}

#[test]
fn the_labs_routers_load_what_the_command_prints() {
    for (lab, file, vendor, more) in [
        ("rack", "tor/frr.conf", "frr", &[][..]),
        ("rack", "tor/bird.conf", "bird", &[]),
        ("services", "tor/frr.conf", "frr", &[]),
        ("bfd", "tor1/frr.conf", "frr", &["--peer", "10.0.1.1", "--peer", "fd00:1::1"]),
        ("bfd", "tor2/bird.conf", "bird", &["--static", "--peer", "10.0.2.1", "--peer", "fd00:2::1"]),
    ] {
        let file = repository().join("labs").join(lab).join(file);
        let text = fs::read_to_string(&file).unwrap();
        let (own, _) = text.split_once(MARK).unwrap();
        hold(file, &format!("{own}{MARK}{}", printed_for(&format!("labs/{lab}/lb1.yaml"), vendor, &NODES, more)));
    }
}

#[test]
fn the_routers_of_failover_load_what_the_command_prints() {
    for (lab, file, vendor, more) in
        [("failover", "frr.conf", "frr", &[][..]), ("failover-static", "bird.conf", "bird", &["--static"])]
    {
        for tor in [1, 2] {
            let file = repository().join(format!("labs/{lab}/tor{tor}/{file}"));
            let text = fs::read_to_string(&file).unwrap();
            let (own, _) = text.split_once(MARK).unwrap();
            let nodes = [1, 2, 3, 4].map(|node| format!("10.{tor}.{node}.2"));
            let peer = format!("10.{tor}.1.1");
            let more = [more, &["--peer", &peer]].concat();
            let printed =
                printed_for(&format!("labs/{lab}/lb1.yaml"), vendor, &nodes.each_ref().map(String::as_str), &more);
            hold(file, &format!("{own}{MARK}{printed}"));
        }
    }
}

#[test]
fn a_single_node_is_remarked_upon() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vipcast"));
    command.arg("--config").arg(repository().join("labs/rack/lb1.yaml"));
    let output = command.args(["switch-config", "--vendor", "eos"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.contains("--neighbor"), "{said}");
}
