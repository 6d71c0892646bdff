//! What the virtual machine is told: the settings of its boot, and the job as a shell script.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Result, ensure};

use super::kernel::Kernel;

/// Everything that a lab, or a test in one, loads sooner or later. Loaded at boot, since a module that a namespace asks
/// for in the middle of a test costs a process and a walk over the host's files.
const MODULES: &str = "ip_vs ip_vs_rr ip_vs_wrr ip_vs_lc ip_vs_wlc ip_vs_lblc ip_vs_lblcr ip_vs_sh ip_vs_mh ip_vs_dh \
    ip_vs_sed ip_vs_nq ip_vs_fo ip_vs_ovf ip_vs_twos dummy veth bridge tun sctp \
    nf_conntrack nf_conntrack_netlink nfnetlink nf_tables nft_ct nft_masq nft_nat nft_chain_nat nft_reject nft_reject_inet \
    nft_reject_ipv4 nft_reject_ipv6 nft_fib nft_fib_inet nft_limit nft_log nft_numgen nft_compat nft_redir nft_tproxy \
    ip_tables ip6_tables iptable_nat ip6table_nat iptable_filter ip6table_filter iptable_mangle ip6table_mangle \
    xt_ipvs xt_MASQUERADE xt_comment xt_mark xt_TCPMSS xt_conntrack xt_addrtype xt_tcpudp sch_netem sch_tbf";

/// The variables that a job in the virtual machine gets from ours.
const VARIABLES: [&str; 10] =
    ["PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TERM", "NO_COLOR", "CLICOLOR_FORCE", "SHELL"];
const PREFIXES: [&str; 4] = ["VIPCAST_", "RUST_", "CARGO_", "PROPTEST_"];

/// Tells programs that they run in the virtual machine.
pub(super) const MARKER: &str = "VIPCAST_IN_VM";

/// The settings that the second stage reads.
pub(super) fn settings(kernel: &Kernel, writable: &[PathBuf], keep_in_tmp: &BTreeSet<OsString>) -> Result<String> {
    let mut shares = String::new();
    for folder in writable {
        shares.push_str(plain(folder.as_os_str())?);
        shares.push(' ');
    }
    let mut kept = String::new();
    for name in keep_in_tmp {
        kept.push_str(plain(name)?);
        kept.push(' ');
    }
    let (release, modules) = (&kernel.release, plain(kernel.modules.as_os_str())?);
    Ok(format!(
        "KERNEL_RELEASE='{release}'\nMODULES='{modules}'\nMODULE_NAMES='{MODULES}'\n\
         WRITABLE='{shares}'\nKEEP_IN_TMP='{kept}'\n"
    ))
}

/// These names become words of a shell script and of QEMU's options.
fn plain(name: &OsStr) -> Result<&str> {
    let text = name.to_str().unwrap_or_default();
    let fine = |c: char| c.is_alphanumeric() || "/._-+@:~".contains(c);
    ensure!(
        !text.is_empty() && text.chars().all(fine),
        "{name:?}: no spaces or quotes in such a folder's name, please"
    );
    Ok(text)
}

/// The entries of /tmp that the job needs to see, in spite of the virtual machine's own /tmp: those that hold its
/// folder, its program, its arguments or its environment's folders.
pub(super) fn kept_in_tmp<'a>(paths: impl Iterator<Item = &'a OsStr>) -> BTreeSet<OsString> {
    paths.filter_map(|path| tmp_entry(Path::new(path))).collect()
}

fn tmp_entry(path: &Path) -> Option<OsString> {
    let inside = path.strip_prefix("/tmp").ok()?;
    match inside.components().next()? {
        Component::Normal(name) if Path::new("/tmp").join(name).is_dir() => Some(name.to_owned()),
        _ => None,
    }
}

/// The variables that go along.
pub(super) fn environment() -> Vec<(OsString, OsString)> {
    std::env::vars_os()
        .filter(|(name, _)| {
            name.to_str()
                .is_some_and(|name| VARIABLES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
        })
        .collect()
}

/// The job as a script: folder, variables, command.
pub(super) fn script(folder: &Path, environment: &[(OsString, OsString)], command: &[OsString]) -> Vec<u8> {
    let mut script = b"cd ".to_vec();
    quote(&mut script, folder.as_os_str().as_bytes());
    script.extend_from_slice(b" || exit 126\nexec env -i");
    for (name, value) in environment {
        script.push(b' ');
        quote(&mut script, &[name.as_bytes(), b"=", value.as_bytes()].concat());
    }
    for word in command {
        script.push(b' ');
        quote(&mut script, word.as_bytes());
    }
    script.push(b'\n');
    script
}

fn quote(script: &mut Vec<u8>, word: &[u8]) {
    script.push(b'\'');
    for &byte in word {
        match byte {
            b'\'' => script.extend_from_slice(b"'\\''"),
            byte => script.push(byte),
        }
    }
    script.push(b'\'');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_shell() {
        let words = ["echo", "it's", "a  b", "$HOME", ""].map(OsString::from);
        let script = script(Path::new("/"), &[("PATH".into(), "/usr/bin:/bin".into())], &words);
        let output = std::process::Command::new("sh").arg("-c").arg(OsStr::from_bytes(&script)).output().expect("sh");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "it's a  b $HOME \n");
    }

    #[test]
    fn spaces_in_shared_folders_are_refused() {
        assert!(plain(OsStr::new("/tmp/a b")).is_err());
        assert!(plain(OsStr::new("/tmp/a'b")).is_err());
        assert!(plain(OsStr::new("/srv/vipcast/target-1.0")).is_ok());
    }
}
