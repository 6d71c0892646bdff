//! Which kernel modules there are, without loading any.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{Module, text};

/// Where each of `modules` is.
pub(super) fn find(modules: &BTreeSet<String>) -> BTreeMap<String, Module> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let folder = Path::new("/lib/modules").join(release);
    let built_in = text(folder.join("modules.builtin"));
    let loadable = text(folder.join("modules.dep"));
    let symbols = if built_in.is_none() { text("/proc/kallsyms").unwrap_or_default() } else { String::new() };
    let is_present = |name: &str| match &built_in {
        _ if Path::new("/sys/module").join(name).exists() => true,
        Some(list) => lists(list, name),
        None => has_symbol(&symbols, &symbol(name)),
    };
    let place = |name: &String| match &loadable {
        _ if is_present(name) => Module::Present,
        Some(list) if lists(list, name) => Module::Loadable,
        Some(_) => Module::Missing,
        None if sees_host_files() => Module::Missing,
        None => Module::Unknown,
    };
    modules.iter().map(|name| (name.clone(), place(name))).collect()
}

/// Does this process see the same files as the kernel when it loads a module, so that what is not there is nowhere? It
/// does in the mount namespace of the host's first process. PROC_PID_INIT_INO (`include/linux/proc_ns.h`) tells that
/// process 1 is that one.
fn sees_host_files() -> bool {
    let namespace = |path: &str| std::fs::read_link(path).ok();
    let host_processes = namespace("/proc/self/ns/pid").is_some_and(|link| link == Path::new("pid:[4026531836]"));
    let own = namespace("/proc/self/ns/mnt");
    host_processes && own.is_some() && own == namespace("/proc/1/ns/mnt")
}

/// A function of the module called `name`, in all kernels since 5.9. `/sys/module` lacks what is built in and has no
/// parameters.
fn symbol(name: &str) -> String {
    match name {
        "dummy" => "dummy_xmit".to_owned(),
        "ip_vs" => "ip_vs_conn_new".to_owned(),
        "nf_conntrack" => "nf_conntrack_in".to_owned(),
        "nf_tables" => "nf_tables_newtable".to_owned(),
        "xt_ipvs" => "ipvs_mt".to_owned(),
        scheduler => format!("{scheduler}_schedule"),
    }
}

/// Is `symbol` in a list such as `/proc/kallsyms`: address, kind, symbol, and the module's name if it is loaded?
fn has_symbol(list: &str, symbol: &str) -> bool {
    list.lines().any(|line| line.split_whitespace().nth(2) == Some(symbol))
}

/// Is the module called `name` in a list such as `modules.dep` or `modules.builtin`? Each line begins with a file, such
/// as `kernel/net/netfilter/ipvs/ip_vs.ko.xz`; file names may have hyphens where module names have underscores.
fn lists(list: &str, name: &str) -> bool {
    list.lines().any(|line| {
        let path = line.split(':').next().unwrap_or_default();
        let file = path.rsplit('/').next().unwrap_or_default();
        file.split_once(".ko").is_some_and(|(module, _)| module.replace('-', "_") == name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_found_in_lists() {
        let dep = "kernel/net/netfilter/ipvs/ip_vs.ko.xz: kernel/lib/libcrc32c.ko\nkernel/net/netfilter/xt-ipvs.ko:\n";
        let built_in = "kernel/net/netfilter/nf_tables.ko\n";
        for (list, name, found) in [
            (dep, "ip_vs", true),
            (dep, "xt_ipvs", true),
            (dep, "libcrc32c", false),
            (dep, "ip_vs_rr", false),
            (dep, "vs", false),
            (built_in, "nf_tables", true),
        ] {
            assert_eq!(lists(list, name), found, "{name}");
        }
    }

    #[test]
    fn built_in_modules_are_found_by_a_symbol() {
        let list = "0000000000000000 t __pfx_nf_tables_newtable\n0000000000000000 t nf_tables_newtable\n\
                    0000000000000000 t ip_vs_rr_schedule\t[ip_vs_rr]\n";
        for (module, found) in [("nf_tables", true), ("ip_vs_rr", true), ("ip_vs_wrr", false), ("ip_vs", false)] {
            assert_eq!(has_symbol(list, &symbol(module)), found, "{module}");
        }
    }

    #[test]
    fn a_module_that_nobody_has_is_not_there() {
        let found = find(&["no_such_module".to_owned()].into());
        assert!(matches!(found["no_such_module"], Module::Missing | Module::Unknown));
    }
}
