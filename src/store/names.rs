//! Names of files and folders: those of [`crate::recording::layout`], and a suffix.

use std::path::{Path, PathBuf};

pub use crate::recording::layout::*;

/// `path` with `suffix` behind its name.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
