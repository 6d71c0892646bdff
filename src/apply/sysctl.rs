//! Kernel parameters: files below `/proc/sys`. What is below `net` belongs to the network namespace of the thread that
//! opens the file, so nothing here may be moved to another thread.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use rustix::io::Errno;

use crate::model::sysctl::{KNOWN, Sysctl, Sysctls};
use crate::plan::{Outcome, Step};

/// Where the kernel shows its parameters.
const ROOT: &str = "/proc/sys";

/// Reads the parameters in [`KNOWN`]; those that the kernel does not have are left out.
///
/// # Errors
/// In words, when one of them cannot be read.
pub fn read() -> Result<Sysctls, String> {
    read_in(Path::new(ROOT))
}

/// Performs one step; steps of other targets are refused.
pub fn perform(step: &Step) -> Outcome {
    match step {
        Step::SetSysctl(sysctl, value) => write_in(Path::new(ROOT), sysctl, value),
        other => Outcome::Refused(format!("{other:?} is no step for kernel parameters")),
    }
}

fn read_in(root: &Path) -> Result<Sysctls, String> {
    let mut found = Sysctls::new();
    for name in KNOWN {
        match fs::read_to_string(root.join(name)) {
            Ok(value) => {
                found.insert(Sysctl(name.into()), value.trim().to_owned());
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(format!("cannot read {}: {error}", root.join(name).display())),
        }
    }
    Ok(found)
}

fn write_in(root: &Path, sysctl: &Sysctl, value: &str) -> Outcome {
    let path = root.join(&*sysctl.0);
    // Written to, never created: below /proc nothing can be.
    let written = fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|mut file| io::Write::write_all(&mut file, value.as_bytes()));
    match written {
        Ok(()) => Outcome::Done,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Outcome::Drifted(format!("cannot set {sysctl} to {value}: the kernel does not have it{}", provider(sysctl)))
        }
        Err(error) => {
            let found =
                fs::read_to_string(&path).map_or_else(|_| "unreadable".to_owned(), |text| text.trim().to_owned());
            Outcome::Refused(refusal(sysctl, &found, value, &error))
        }
    }
}

/// Says which module brings a parameter that is missing.
fn provider(sysctl: &Sysctl) -> &'static str {
    if sysctl.0.starts_with("net/ipv4/vs/") {
        "; the module ip_vs brings it"
    } else if sysctl.0.starts_with("net/netfilter/") {
        "; the module nf_conntrack brings it"
    } else {
        ""
    }
}

fn refusal(sysctl: &Sysctl, found: &str, wanted: &str, error: &io::Error) -> String {
    let read_only = error.raw_os_error().map(Errno::from_raw_os_error) == Some(Errno::ROFS);
    let reason = if read_only {
        format!(
            "/proc/sys is read-only, as in a container that is not privileged; `vipcast prepare` sets it before the \
             agent starts, or set it on the node (sysctl -w {sysctl}={wanted})"
        )
    } else {
        error.to_string()
    };
    format!("{sysctl} is {found} and has to be {wanted}, but cannot be written: {reason}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root_with(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, value) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, value).unwrap();
        }
        root
    }

    fn sysctl(name: &str) -> Sysctl {
        Sysctl(name.into())
    }

    #[test]
    fn absent_parameters_are_left_out() {
        let root = root_with(&[("net/ipv4/ip_forward", "1\n"), ("net/ipv4/unknown", "7\n")]);
        let expected = Sysctls::from([(sysctl("net/ipv4/ip_forward"), "1".to_owned())]);
        assert_eq!(read_in(root.path()), Ok(expected));
    }

    #[test]
    fn an_unreadable_parameter_is_named() {
        let root = root_with(&[("net/ipv4/ip_forward/in-the-way", "")]);
        let error = read_in(root.path()).unwrap_err();
        assert!(error.contains("net/ipv4/ip_forward"), "{error}");
    }

    #[test]
    fn what_is_written_is_read_back() {
        let root = root_with(&[("net/ipv4/ip_forward", "0\n")]);
        assert_eq!(write_in(root.path(), &sysctl("net/ipv4/ip_forward"), "1"), Outcome::Done);
        assert_eq!(read_in(root.path()).unwrap()[&sysctl("net/ipv4/ip_forward")], "1");
    }

    #[test]
    fn a_missing_parameter_is_not_created() {
        let root = root_with(&[("net/ipv4/vs/other", "0\n")]);
        assert_eq!(
            write_in(root.path(), &sysctl("net/ipv4/vs/conntrack"), "1"),
            Outcome::Drifted(
                "cannot set net/ipv4/vs/conntrack to 1: the kernel does not have it; the module ip_vs brings it".into()
            )
        );
        assert!(!root.path().join("net/ipv4/vs/conntrack").exists());
    }

    #[test]
    fn a_refusal_names_both_values_and_the_way_out() {
        let refused = |errno: Errno| {
            refusal(&sysctl("net/ipv4/ip_forward"), "0", "1", &io::Error::from_raw_os_error(errno.raw_os_error()))
        };
        assert_eq!(
            refused(Errno::ROFS),
            "net/ipv4/ip_forward is 0 and has to be 1, but cannot be written: /proc/sys is read-only, as in a container \
             that is not privileged; `vipcast prepare` sets it before the agent starts, or set it on the node (sysctl -w \
             net/ipv4/ip_forward=1)"
        );
        assert_eq!(
            refused(Errno::INVAL),
            "net/ipv4/ip_forward is 0 and has to be 1, but cannot be written: Invalid argument (os error 22)"
        );
    }

    #[test]
    fn what_is_no_file_cannot_be_written() {
        let root = root_with(&[("net/ipv4/ip_forward/in-the-way", "")]);
        let outcome = write_in(root.path(), &sysctl("net/ipv4/ip_forward"), "1");
        assert!(
            matches!(&outcome, Outcome::Refused(words) if words.contains("is unreadable and has to be 1")),
            "{outcome:?}"
        );
    }
}
