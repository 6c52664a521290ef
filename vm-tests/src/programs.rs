//! `programs.toml`: real programs for the tests to run, unpacked into a directory that is never anybody's system.

use crate::archive::{self, Archive, Lists};
use crate::failure::{Attempt, Failure, Result};
use crate::store;
use serde::Deserialize;
use std::fs;
use std::path::Path;

/// The suite that runs them.
pub const SUITE: &str = "programs";

const TEXT: &str = include_str!("../programs.toml");

/// What `programs.toml` asks for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// The suite of Debian's archive.
    suite: String,
    /// Packages; what they depend on comes too.
    packages: Vec<String>,
    /// Source packages: only their authors' archives.
    sources: Vec<String>,
}

/// Sees to it that the programs are in the cache: `programs/root` is a system to look at as `/`, `programs/sources` holds archives.
///
/// # Errors
///
/// When the archive doesn't have them or can't be reached.
pub fn fetch(cache: &Path) -> Result<()> {
    let wanted: Wanted =
        toml::from_str(TEXT).attempt(|| "failed to understand `vm-tests/programs.toml`")?;
    let said = format!("{wanted:?}\n");
    store::keep(cache, "programs", &said, |partial| fill(partial, cache, &wanted)).map(|_| ())
}

fn fill(partial: &Path, cache: &Path, wanted: &Wanted) -> Result<()> {
    let [root, sources] = ["root", "sources"].map(|name| partial.join(name));
    for directory in [&root, &sources] {
        fs::create_dir(directory)
            .attempt(|| format!("failed to make `{}`", directory.display()))?;
    }
    let archive = Archive::open(cache, &wanted.suite, Lists::WithSources)?;
    for package in archive.download_closure(&wanted.packages)? {
        archive::unpack(&package, &root)?;
    }
    archive.forget_packages()?;
    configure(&root)?;
    for source in &wanted.sources {
        let file = archive.download_source(source)?;
        let name = file.file_name().ok_or_else(|| Failure::new("a download has no name"))?;
        // Not renamed: the cache may be on another file system.
        fs::copy(&file, sources.join(name))
            .and_then(|_| fs::remove_file(&file))
            .attempt(|| format!("failed to keep the source of `{source}`"))?;
    }
    Ok(())
}

/// Makes the files that maintainers' scripts would make, as far as these programs miss them.
fn configure(root: &Path) -> Result<()> {
    // As base-passwd does.
    for table in ["passwd", "group"] {
        let master = root.join("usr/share/base-passwd").join(format!("{table}.master"));
        fs::copy(&master, root.join("etc").join(table))
            .attempt(|| format!("failed to copy `{}`", master.display()))?;
    }
    // As ca-certificates does.
    let trusted = root.join("usr/share/ca-certificates/mozilla");
    let attempt = || format!("failed to gather certificates from `{}`", trusted.display());
    let mut bundle = Vec::new();
    for entry in fs::read_dir(&trusted).attempt(attempt)? {
        bundle.extend(fs::read(entry.attempt(attempt)?.path()).attempt(attempt)?);
    }
    let certificates = root.join("etc/ssl/certs/ca-certificates.crt");
    fs::write(&certificates, bundle)
        .attempt(|| format!("failed to write `{}`", certificates.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_this_checkout_is_understood() {
        let wanted: Wanted = toml::from_str(TEXT).unwrap();
        assert!(wanted.packages.iter().any(|package| package == "base-files"));
    }
}
