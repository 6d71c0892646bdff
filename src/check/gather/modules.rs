//! Where kernel modules are: in the kernel, in files, or nowhere. None is loaded.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{Module, text};
use crate::apply::modules::{Present, folder, lists};

/// Where each of `modules` is.
pub(super) fn find(modules: &BTreeSet<String>) -> BTreeMap<String, Module> {
    let present = Present::look();
    let loadable = text(folder().join("modules.dep"));
    let place = |name: &String| match &loadable {
        _ if present.has(name) => Module::Present,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_that_nobody_has_is_not_there() {
        let found = find(&["no_such_module".to_owned()].into());
        assert!(matches!(found["no_such_module"], Module::Missing | Module::Unknown));
    }
}
