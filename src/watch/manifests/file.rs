//! What is at a path where a manifest was, or may be.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;

use super::document::{self, Content};
use super::scan::Stamp;

/// What was found where a manifest was expected.
pub(super) enum Found {
    /// A file.
    File { content: Content, stamp: Option<Stamp>, is_link: bool },
    /// Nothing: it is deleted.
    Nothing,
    /// A folder, or whatever else has such a name.
    SomethingElse,
}

/// Reads the manifest at `path`.
pub(super) fn open(path: &Path, node: &str) -> Found {
    let is_link = path.is_symlink();
    let unreadable = |error| Content::unreadable(format!("cannot be read: {error}"));
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => match File::open(path) {
            Ok(file) => {
                let stamp = file.metadata().map(|metadata| Stamp::of(&metadata)).ok();
                Found::File { content: document::read(file, path, node), stamp, is_link }
            }
            Err(error) => Found::File { content: unreadable(error), stamp: None, is_link },
        },
        Ok(_) => Found::SomethingElse,
        Err(error) if error.kind() == ErrorKind::NotFound && !is_link => Found::Nothing,
        Err(error) => Found::File { content: unreadable(error), stamp: None, is_link },
    }
}
