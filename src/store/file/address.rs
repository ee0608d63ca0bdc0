//! Where a file store is: a path, or a URL with three slashes.

use std::path::{Path, PathBuf};

use url::Url;

/// The directory that a path names, from the root.
///
/// # Errors
/// Why it names none.
pub fn from_path(dir: &Path) -> Result<PathBuf, String> {
    std::path::absolute(dir).map_err(|error| format!("the store's path can't be resolved: {error}"))
}

const NO_HOST: &str = "a file store is a directory of this host: write file:///dir, with three slashes";

/// Refuses a URL with another host than this one. `url` would look into its letters, for which it has no tables here.
///
/// # Errors
/// It has one.
pub fn refuse_host(url: &str) -> Result<(), String> {
    let host = url.split_once("://").map_or("", |(_, rest)| rest.split(['/', '?', '#', '\\']).next().unwrap_or_default());
    if host.is_empty() || host.eq_ignore_ascii_case("localhost") { Ok(()) } else { Err(NO_HOST.to_owned()) }
}

/// The directory that a URL names.
///
/// # Errors
/// Why it names none.
pub fn from_url(url: &Url) -> Result<PathBuf, String> {
    if let Some((unknown, _)) = url.query_pairs().next() {
        return Err(format!("a file store knows no parameter {unknown:?}: max_ttl is the only one"));
    }
    match url.to_file_path() {
        Ok(dir) => from_path(&dir),
        Err(()) => Err(NO_HOST.to_owned()),
    }
}

/// The URL of a directory.
pub fn url_of(dir: &Path) -> String {
    match Url::from_file_path(dir) {
        Ok(url) => format!("file://{}", url.path()),
        Err(()) => format!("file://{}", dir.display()),
    }
}

/// The path without links, as far as it exists: the first use of a store makes it, and must not change its name.
pub fn resolved(dir: &Path) -> PathBuf {
    for parent in dir.ancestors() {
        if let (Ok(real), Ok(rest)) = (std::fs::canonicalize(parent), dir.strip_prefix(parent)) {
            return if rest.as_os_str().is_empty() { real } else { real.join(rest) };
        }
    }
    dir.to_owned()
}
