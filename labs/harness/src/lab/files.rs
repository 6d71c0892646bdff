//! Nodes' files: what containerlab would bind into a container lies under the node's folder at the same path.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::clab::NodeSpec;

/// Copies a node's binds from the topology's folder. A file is copied for each node; a folder is copied once for the
/// lab, into `shared`, and linked, so that a change in it reaches every node that binds it, as with containers.
pub(super) fn provide(source: &Path, spec: &NodeSpec, node: &Path, shared: &Path) -> Result<()> {
    for folder in ["log", "run"] {
        create(&node.join(folder))?;
    }
    for (from, to) in spec.binds()? {
        let (original, place) = (source.join(&from), node.join(&to));
        create(place.parent().context("a bind's target is in a folder")?)?;
        if original.is_dir() {
            let copy = shared.join(&from);
            if !copy.exists() {
                copy_folder(&original, &copy)?;
            }
            symlink(&copy, &place).with_context(|| format!("link {}", place.display()))?;
        } else {
            copy_file(&original, &place)?;
        }
    }
    Ok(())
}

/// Gives a node one of this machine's folders, at a path of the node.
pub(super) fn link(node: &Path, path: &str, folder: &Path) -> Result<()> {
    let place = node.join(path.trim_start_matches('/'));
    create(place.parent().context("a folder is in a folder")?)?;
    symlink(folder, &place).with_context(|| format!("link {}", place.display()))
}

/// Writes a file beside its place and moves it there, so that nobody reads half of it. The temporary name begins with a
/// dot and does not end like a manifest.
pub(super) fn write(path: &Path, text: &str) -> Result<()> {
    let name = path.file_name().with_context(|| format!("{} is no file", path.display()))?.to_string_lossy();
    let fresh: PathBuf = path.with_file_name(format!(".{name}.new"));
    fs::write(&fresh, text).and_then(|()| fs::rename(&fresh, path)).with_context(|| format!("write {}", path.display()))
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    create(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let entry = entry?;
        let (original, copy) = (entry.path(), to.join(entry.file_name()));
        if original.is_dir() {
            copy_folder(&original, &copy)?;
        } else {
            copy_file(&original, &copy)?;
        }
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).map(drop).with_context(|| format!("copy {} to {}", from.display(), to.display()))
}

fn create(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))
}
