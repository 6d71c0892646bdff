//! Where things go on this machine.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The variable that names the folder for what is kept of failed tests.
pub const EVIDENCE: &str = "VIPCAST_EVIDENCE";

/// The variable that names the folder for downloads.
pub const CACHE: &str = "VIPCAST_CACHE";

/// The folder for downloads: `VIPCAST_CACHE`, else `.cache` in the repository.
pub fn cache() -> Result<PathBuf> {
    match std::env::var_os(CACHE) {
        Some(folder) => absolute(Path::new(&folder)),
        None => Ok(repository()?.join(".cache")),
    }
}

/// The folder for evidence: `VIPCAST_EVIDENCE`, else `target/evidence` in the repository.
pub fn evidence() -> Result<PathBuf> {
    match std::env::var_os(EVIDENCE) {
        Some(folder) => absolute(Path::new(&folder)),
        None => {
            let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
            absolute(&target.map_or_else(|| repository().map(|root| root.join("target")), Ok)?.join("evidence"))
        }
    }
}

/// The checkout that we are in, else the one that this program was built from.
pub fn repository() -> Result<PathBuf> {
    let here = std::env::current_dir().context("find the current folder")?;
    let built = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors()
        .chain(built.ancestors())
        .find(|folder| folder.join("labs/harness/Cargo.toml").is_file())
        .map(Path::to_owned)
        .context("not in a checkout of vipcast")
}

fn absolute(folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    folder.canonicalize().with_context(|| format!("find {}", folder.display()))
}
