//! Finds out what there is on the node. Only reads: `/proc`, `/sys`, `/lib/modules`, the packet filter where it is loaded
//! already, and an attempt to connect to somebody else's gobgpd. Loads no module and writes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::facts::{Conntrack, Facts, Module, Parameter};
use super::{needed, proc};
use crate::config::{Config, Gobgpd, Source};
use crate::model::sysctl::Sysctl;

mod firewall;
mod modules;

/// Finds out what `judge` wants to know for `config`.
pub fn gather(config: &Config) -> Facts {
    let modules = modules::find(&needed::modules(config));
    let addresses = proc::ipv4_addresses(&text("/proc/net/fib_trie").unwrap_or_default())
        .into_iter()
        .chain(proc::ipv6_addresses(&text("/proc/net/if_inet6").unwrap_or_default()))
        .collect();
    Facts {
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        modules_disabled: number("/proc/sys/kernel/modules_disabled") == Some(1),
        connection_table_bits: connection_table_bits(),
        capabilities: text("/proc/self/status").as_deref().map(proc::capabilities).unwrap_or_default(),
        initial_user_namespace: in_initial_user_namespace(),
        programs: needed::programs(config, &addresses)
            .into_iter()
            .map(|name| (name.clone(), find_program(&name)))
            .collect(),
        sysctls: needed::sysctls(config, &addresses).into_keys().filter_map(parameter).collect(),
        sysctls_locked: !is_writable(Path::new("/proc/sys/net/ipv4/ip_forward")),
        conntrack: conntrack(),
        ipv6: Path::new("/proc/sys/net/ipv6").exists(),
        links: names("/sys/class/net"),
        listening: ["/proc/net/tcp", "/proc/net/tcp6"]
            .into_iter()
            .flat_map(|file| proc::listening(&text(file).unwrap_or_default()))
            .collect(),
        processes: processes(),
        virtual_servers: proc::virtual_servers(&text("/proc/net/ip_vs").unwrap_or_default()),
        chains: firewall::chains(modules.get(needed::NF_TABLES).copied()),
        manifests: manifests(&config.source),
        api: None,
        secrets: BTreeMap::new(),
        gobgpd: config.gobgpd.as_ref().and_then(reach_gobgpd),
        addresses,
        modules,
    }
}

/// `conn_tab_bits` of the module `ip_vs`, if it is in the kernel.
pub(crate) fn connection_table_bits() -> Option<u32> {
    number("/sys/module/ip_vs/parameters/conn_tab_bits")
}

/// The text of a file, if it can be read.
fn text(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// The number in a file.
fn number<T: std::str::FromStr>(path: impl AsRef<Path>) -> Option<T> {
    text(path)?.trim().parse().ok()
}

/// The names of what is in a folder.
fn names(folder: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Can the file be opened for writing? Nothing is written.
fn is_writable(path: &Path) -> bool {
    fs::OpenOptions::new().write(true).open(path).is_ok()
}

fn parameter(name: Sysctl) -> Option<(Sysctl, Parameter)> {
    let path = Path::new("/proc/sys").join(&*name.0);
    let value = text(&path)?.trim().to_owned();
    Some((name, Parameter { value, writable: is_writable(&path) }))
}

fn conntrack() -> Option<Conntrack> {
    let count = number("/proc/sys/net/netfilter/nf_conntrack_count")?;
    Some(Conntrack {
        count,
        max: number("/proc/sys/net/netfilter/nf_conntrack_max")?,
        tcp: number("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established"),
        udp: number("/proc/sys/net/netfilter/nf_conntrack_udp_timeout_stream"),
    })
}

/// Compares with the number that the initial user namespace always has: PROC_USER_INIT_INO
/// (`include/linux/proc_ns.h`).
fn in_initial_user_namespace() -> bool {
    fs::read_link("/proc/self/ns/user").is_ok_and(|link| link == Path::new("user:[4026531837]"))
}

/// Can the program, a path or a name to look up in `$PATH`, be run?
fn find_program(program: &str) -> Result<(), String> {
    let candidates: Vec<PathBuf> = if program.contains('/') {
        vec![program.into()]
    } else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).map(|folder| folder.join(program)).collect()
    };
    let runs = |file: &PathBuf| {
        fs::metadata(file).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    if candidates.iter().any(runs) {
        return Ok(());
    }
    Err(match candidates.iter().find(|file| file.exists()) {
        Some(file) => format!("{} is not a program that can be run", file.display()),
        None if program.contains('/') => format!("there is no {program}"),
        None => format!("{program} is in none of the folders of $PATH"),
    })
}

/// The names of the other processes in this network namespace, as far as they can be seen. One whose namespace cannot
/// be read counts: it takes rights that the agent may lack.
fn processes() -> BTreeMap<String, u32> {
    let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/net")).ok();
    let own = namespace("self");
    let is_here = |id: &u32| namespace(&id.to_string()).is_none_or(|link| Some(link) == own);
    let ids = names("/proc").into_iter().filter_map(|name| name.parse().ok());
    let others = ids.filter(|id| *id != std::process::id()).filter(is_here);
    others.filter_map(|id| Some((text(format!("/proc/{id}/comm"))?.trim().to_owned(), id))).collect()
}

/// Counts the files that the source would read.
fn manifests(source: &Source) -> Result<usize, String> {
    /// Deeper folders are not looked into: links could lead round in circles.
    const DEPTH: usize = 8;
    match source {
        Source::Manifests(folder) => count_manifests(folder, DEPTH).map_err(|error| error.to_string()),
        Source::Kubernetes(_) => Ok(0),
    }
}

/// The manifests in `folder` and in the folders below, by the names that `watch::manifests` goes by.
fn count_manifests(folder: &Path, depth: usize) -> std::io::Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            count += if depth > 0 { count_manifests(&path, depth - 1)? } else { 0 };
        } else {
            count += usize::from([".yaml", ".yml", ".json"].iter().any(|ending| name.ends_with(ending)));
        }
    }
    Ok(count)
}

fn reach_gobgpd(gobgpd: &Gobgpd) -> Option<Result<(), String>> {
    const PATIENCE: Duration = Duration::from_secs(2);
    let Gobgpd::Address(address) = gobgpd else { return None };
    let answer = match address.strip_prefix("unix:") {
        Some(path) => UnixStream::connect(path).map(drop),
        None => {
            let authority = address.trim_start_matches("http://");
            authority
                .to_socket_addrs()
                .and_then(|mut addresses| {
                    let none = || std::io::Error::other("the name has no address");
                    addresses.next().ok_or_else(none).and_then(|address| TcpStream::connect_timeout(&address, PATIENCE))
                })
                .map(drop)
        }
    };
    Some(answer.map_err(|error| error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_are_counted_as_the_source_reads_them() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::create_dir(folder.path().join(".git")).unwrap();
        for name in ["x.yaml", "y.yml", "a/z.json", "a/b/w.yaml", ".git/v.yaml", ".x.yaml.swp", "x.yaml~", "README.md"]
        {
            fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(manifests(&Source::Manifests(folder.path().into())), Ok(4));
        assert!(manifests(&Source::Manifests(folder.path().join("missing"))).is_err());
    }

    #[test]
    fn programs_are_looked_for() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tool");
        let path = file.to_str().unwrap();
        assert_eq!(find_program(path), Err(format!("there is no {path}")));
        fs::write(&file, "").unwrap();
        assert_eq!(find_program(path), Err(format!("{path} is not a program that can be run")));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find_program(path), Ok(()));
        assert_eq!(find_program("sh"), Ok(()));
        assert!(find_program("no-such-program").is_err_and(|trouble| trouble.contains("$PATH")));
    }

    #[test]
    fn gobgpd_answers_or_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api.sock");
        let address = Gobgpd::Address(format!("unix:{}", path.display()));
        assert!(reach_gobgpd(&address).is_some_and(|answer| answer.is_err()));
        let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(reach_gobgpd(&address), Some(Ok(())));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Gobgpd::Address(format!("http://{}", listener.local_addr().unwrap()));
        assert_eq!(reach_gobgpd(&address), Some(Ok(())));
        assert_eq!(reach_gobgpd(&Gobgpd::Spawn("/usr/bin/gobgpd".into())), None);
    }
}
