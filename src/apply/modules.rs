//! Kernel modules: which the running kernel has in it, found out without loading any; and loading one.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What tells of the modules that are loaded or built in.
pub struct Present {
    /// `modules.builtin`, if it can be read.
    built_in: Option<String>,
    /// `/proc/kallsyms`, read only where the list above is missing.
    symbols: String,
}

impl Present {
    /// Looks at the running kernel.
    pub fn look() -> Present {
        let built_in = fs::read_to_string(folder().join("modules.builtin")).ok();
        let symbols = match built_in {
            Some(_) => String::new(),
            None => fs::read_to_string("/proc/kallsyms").unwrap_or_default(),
        };
        Present { built_in, symbols }
    }

    /// Is the module called `name` in the kernel?
    pub fn has(&self, name: &str) -> bool {
        match &self.built_in {
            _ if Path::new("/sys/module").join(name).exists() => true,
            Some(list) => lists(list, name),
            None => has_symbol(&self.symbols, &symbol(name)),
        }
    }
}

/// The folder of the running kernel's modules, which may be missing in a container.
pub fn folder() -> PathBuf {
    Path::new("/lib/modules").join(&*rustix::system::uname().release().to_string_lossy())
}

/// A function of the module called `name`, in all kernels since 5.9. `/sys/module` lacks what is built in and has no
/// parameters.
fn symbol(name: &str) -> String {
    match name {
        "dummy" => "dummy_xmit".to_owned(),
        "ip_vs" => "ip_vs_conn_new".to_owned(),
        "nf_conntrack" => "nf_conntrack_in".to_owned(),
        "nf_conntrack_netlink" => "ctnetlink_del_conntrack".to_owned(),
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
pub fn lists(list: &str, name: &str) -> bool {
    list.lines().any(|line| {
        let path = line.split(':').next().unwrap_or_default();
        let file = path.rsplit('/').next().unwrap_or_default();
        file.split_once(".ko").is_some_and(|(module, _)| module.replace('-', "_") == name)
    })
}

/// The program that loads modules (package kmod): it knows where they are, what they depend on and how they are packed.
#[derive(Debug, Clone)]
pub struct Modprobe {
    program: PathBuf,
}

impl Default for Modprobe {
    /// The one on `$PATH`.
    fn default() -> Modprobe {
        Modprobe { program: "modprobe".into() }
    }
}

impl Modprobe {
    /// Loads the module called `name` with `parameters`, each as `NAME=VALUE`.
    ///
    /// # Errors
    /// In words: why it cannot be loaded.
    pub fn load(&self, name: &str, parameters: &[String]) -> Result<(), String> {
        let output = Command::new(&self.program).arg("--").arg(name).args(parameters).output();
        let output = output.map_err(|error| match error.kind() {
            ErrorKind::NotFound => format!("there is no {} (Debian package kmod)", self.program.display()),
            _ => format!("{}: {error}", self.program.display()),
        })?;
        if output.status.success() {
            return Ok(());
        }
        let words = String::from_utf8_lossy(&output.stderr);
        Err(words.lines().next().map_or_else(|| format!("modprobe ended with {}", output.status), str::to_owned))
    }
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
    fn a_module_that_nobody_has_is_not_in_the_kernel() {
        assert!(!Present::look().has("no_such_module"));
    }

    #[test]
    fn modules_are_loaded_with_their_parameters() {
        let folder = tempfile::tempdir().unwrap();
        let said = folder.path().join("said");
        // The shell takes the place of modprobe: a script that is written and run at once may still be busy.
        let shell = Modprobe { program: "sh".into() };
        let script = folder.path().join("script");
        fs::write(&script, format!("echo \"$@\" > {}", said.display())).unwrap();
        shell.load(script.to_str().unwrap(), &["conn_tab_bits=20".to_owned()]).unwrap();
        assert_eq!(fs::read_to_string(said).unwrap(), "conn_tab_bits=20\n");

        fs::write(&script, "echo 'modprobe: FATAL: not found' >&2; echo more >&2; exit 1").unwrap();
        assert_eq!(shell.load(script.to_str().unwrap(), &[]), Err("modprobe: FATAL: not found".to_owned()));
        let missing = Modprobe { program: "/no/such/modprobe".into() };
        let error = Err("there is no /no/such/modprobe (Debian package kmod)".to_owned());
        assert_eq!(missing.load("ip_vs", &[]), error);
    }
}
