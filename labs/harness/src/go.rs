//! Programs of other projects, built from Go modules of this repository: once per version, kept in the cache folder.

mod command;
pub(crate) mod module;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};

pub(crate) use self::command::Go;
use crate::{folders, progress};

/// What to do without Go.
const ADVICE: &str = "get it from https://go.dev/dl and put its bin on PATH (or unpack it to /usr/local/go)";

/// Why there are no programs here: nothing is broken, Go is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable(pub String);

/// Programs that are built together, as the tools of one Go module.
#[derive(Debug)]
pub(crate) struct Kit {
    /// The folder in the cache for all of its versions.
    pub(crate) name: &'static str,
    /// The folder of the Go module in this repository.
    pub(crate) module: &'static str,
    /// The project: what the module requires in the version that is the programs'.
    pub(crate) project: &'static str,
    /// The programs, each with the name that its package has.
    pub(crate) programs: &'static [(&'static str, &'static str)],
    /// The variable of a package that the linker sets to the version.
    pub(crate) stamp: Option<&'static str>,
    /// The environment variable that tells the test binaries which folder has the programs.
    pub(crate) variable: &'static str,
    /// The command that builds them.
    pub(crate) made_by: &'static str,
}

/// The programs of a kit in one version.
#[derive(Clone, Debug)]
pub(crate) struct Built {
    /// The version, such as `v1.36.3`.
    pub(crate) version: String,
    /// The folder that holds them.
    pub(crate) folder: PathBuf,
}

/// Where the text of a `go.mod` comes from.
enum Source<'a> {
    /// From this repository, with a `go.sum` beside it.
    Pinned(&'a str),
    /// From here, when it is needed; `go.sum` is left to the go command.
    Derived(&'a dyn Fn(&Go) -> Result<String>),
}

impl Kit {
    /// The programs of the version that the repository's module names; built if the cache has none, or was built from
    /// another module than that of today. Safe to call from several processes at once.
    pub(crate) fn provide(&self) -> Result<Result<Built, Unavailable>> {
        let (version, module) = self.pinned()?;
        self.provide_from(&version, &Source::Pinned(&module))
    }

    /// The same for any version. For others than the repository's, `derive` makes the module.
    pub(crate) fn provide_version(
        &self,
        version: &str,
        derive: &dyn Fn(&Go) -> Result<String>,
    ) -> Result<Result<Built, Unavailable>> {
        let (pinned, module) = self.pinned()?;
        let source = if pinned == version { Source::Pinned(&module) } else { Source::Derived(derive) };
        self.provide_from(version, &source)
    }

    /// The programs that the harness provided for this test binary, else those of the repository's version if they were
    /// built before. Builds nothing.
    pub(crate) fn find(&self) -> Result<Result<Built, Unavailable>> {
        let folder = match std::env::var_os(self.variable) {
            Some(folder) => PathBuf::from(folder),
            None => self.home()?.join(self.pinned()?.0),
        };
        Ok(if self.is_built(&folder) {
            let version = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Ok(Built { version, folder })
        } else {
            Err(Unavailable(format!("nothing in {}: `{}` builds it", folder.display(), self.made_by)))
        })
    }

    fn provide_from(&self, version: &str, source: &Source<'_>) -> Result<Result<Built, Unavailable>> {
        let home = self.home()?;
        fs::create_dir_all(&home).with_context(|| format!("create {}", home.display()))?;
        let lock = home.join("lock");
        let lock = File::create(&lock).with_context(|| format!("create {}", lock.display()))?;
        let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, errno)| errno).context("lock it")?;

        let built = Built { version: version.to_owned(), folder: home.join(version) };
        let is_current = match source {
            // Built from another module than the one of today (another etcd, say), they are built again.
            Source::Pinned(module) => fs::read_to_string(built.folder.join("go.mod")).is_ok_and(|of| of == *module),
            Source::Derived(_) => true,
        };
        if self.is_built(&built.folder) && is_current {
            return Ok(Ok(built));
        }
        let Some(go) = Go::find() else {
            return Ok(Err(Unavailable(format!("Go is not installed; {ADVICE}"))));
        };
        let folder = home.join(format!("{version}.module"));
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        let (module, mode) = match source {
            Source::Pinned(module) => {
                let sums = folders::repository()?.join(self.module).join("go.sum");
                fs::copy(&sums, folder.join("go.sum")).with_context(|| format!("copy {}", sums.display()))?;
                ((*module).to_owned(), "readonly")
            }
            Source::Derived(derive) => (derive(&go)?, "mod"),
        };
        let oldest = module::go_version(&module)?;
        if !go.is_new_enough(oldest) {
            return Ok(Err(Unavailable(format!("{go}, too old: Go {oldest} or newer; {ADVICE}"))));
        }
        fs::write(folder.join("go.mod"), module).context("write go.mod")?;
        self.build(&go, &folder, &built, mode)?;
        Ok(Ok(built))
    }

    /// Builds the module's tools. They are put beside their place and moved last, so that what an interrupted build left
    /// is no program.
    fn build(&self, go: &Go, folder: &Path, built: &Built, mode: &str) -> Result<()> {
        let version = &built.version;
        let names: Vec<&str> = self.programs.iter().map(|&(program, _)| program).collect();
        let what = format!("{} {version}", names.join(", "));
        progress(&format!("building {what} (minutes, this once)"));
        let fresh = folder.join("bin");
        fs::create_dir_all(&fresh).with_context(|| format!("create {}", fresh.display()))?;
        // A module knows its version, but what some programs tell is what the linker was told.
        let stamp = self.stamp.map(|variable| format!(" -X {variable}={version}")).unwrap_or_default();
        go.build_tools(folder, mode, &format!("-s -w{stamp}"), &fresh).with_context(|| format!("build {what}"))?;
        for (program, package) in self.programs.iter().filter(|(program, package)| program != package) {
            fs::rename(fresh.join(package), fresh.join(program)).with_context(|| format!("name {program}"))?;
        }
        fs::copy(folder.join("go.mod"), fresh.join("go.mod")).context("note what was built")?;
        if built.folder.exists() {
            fs::remove_dir_all(&built.folder).with_context(|| format!("remove {}", built.folder.display()))?;
        }
        fs::rename(&fresh, &built.folder)
            .with_context(|| format!("move the programs to {}", built.folder.display()))?;
        fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))
    }

    /// The version that the repository's module names, and the module's text.
    fn pinned(&self) -> Result<(String, String)> {
        let file = folders::repository()?.join(self.module).join("go.mod");
        let module = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let version = module::version(&module, self.project).with_context(|| file.display().to_string())?.to_owned();
        Ok((version, module))
    }

    fn home(&self) -> Result<PathBuf> {
        Ok(folders::cache()?.join(self.name))
    }

    fn is_built(&self, folder: &Path) -> bool {
        self.programs.iter().all(|(program, _)| folder.join(program).is_file())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_modules_of_the_repository_have_what_the_kits_name() {
        for kit in [&crate::apiserver::KIT, &crate::gobgp::KIT] {
            let (version, module) = kit.pinned().expect("a module with a version");
            module::go_version(&module).expect("the oldest Go");
            let sums = folders::repository().expect("a checkout").join(kit.module).join("go.sum");
            let sums = fs::read_to_string(sums).expect("sums");
            assert!(sums.contains(&format!("{} {version} h1:", kit.project)), "go.sum follows {version}");
            let (_, tools) = module.split_once("tool (\n").expect("tools");
            let (tools, _) = tools.split_once("\n)").expect("the end of the tools");
            let tools: Vec<&str> = tools.lines().map(str::trim).collect();
            for (program, package) in kit.programs {
                let is_its = |tool: &&str| tool.trim_end_matches("/v3").ends_with(&format!("/{package}"));
                assert!(tools.iter().any(is_its), "{program} is none of {tools:?}");
            }
            assert_eq!(tools.len(), kit.programs.len(), "{tools:?}");
        }
    }

    #[test]
    fn a_kit_is_built_when_all_of_its_programs_are() {
        let folder = tempfile::tempdir().expect("a folder");
        let kit = &crate::gobgp::KIT;
        for (program, _) in kit.programs {
            assert!(!kit.is_built(folder.path()), "{program} is missing");
            fs::write(folder.path().join(program), "").expect("a file");
        }
        assert!(kit.is_built(folder.path()));
    }
}
