//! The modules of an unpacked kernel: which others each needs, and what its file really holds.
//!
//! `depmod` would tell, but it belongs to a package that a small machine lacks, and an unpacked
//! kernel has no index yet. Every module names its own dependencies, so reading them is enough.

use crate::failure::{Attempt, Failure, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How a distribution compresses modules, and who undoes it.
const COMPRESSIONS: [(&str, &str); 3] = [("xz", "xz"), ("zst", "zstd"), ("gz", "gzip")];

/// All modules of one kernel.
#[derive(Debug)]
pub struct ModuleTree {
    files: BTreeMap<String, PathBuf>,
}

/// One module, ready to be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Its name, with underscores.
    pub name: String,
    /// Its code, decompressed.
    pub content: Vec<u8>,
}

impl ModuleTree {
    /// Lists the modules below `lib/modules/<release>`.
    ///
    /// # Errors
    ///
    /// When a directory can't be read.
    pub fn read(directory: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        let mut pending = vec![directory.to_owned()];
        while let Some(directory) = pending.pop() {
            let attempt = || format!("failed to list `{}`", directory.display());
            for entry in fs::read_dir(&directory).attempt(attempt)? {
                let entry = entry.attempt(attempt)?;
                if entry.file_type().attempt(attempt)?.is_dir() {
                    pending.push(entry.path());
                } else if let Some(name) = module_name(&entry.file_name().to_string_lossy()) {
                    files.insert(name, entry.path());
                }
            }
        }
        Ok(Self { files })
    }

    /// The modules in `names` that exist, each behind those that it needs. One that doesn't exist is
    /// left out: it may be built into the kernel, and what is really missing shows when it is used.
    ///
    /// # Errors
    ///
    /// When a module can't be read.
    pub fn in_order(&self, names: &[&str]) -> Result<Vec<Module>> {
        let mut ordered: Vec<Module> = Vec::new();
        for name in names {
            self.add(&normal(name), &mut ordered, 0)?;
        }
        Ok(ordered)
    }

    fn add(&self, name: &str, ordered: &mut Vec<Module>, depth: usize) -> Result<()> {
        if ordered.iter().any(|module| module.name == name) {
            return Ok(());
        }
        // Real chains are short; a circle would never end.
        if depth > 32 {
            return Err(Failure::new(format!("the module `{name}` seems to need itself")));
        }
        let Some(path) = self.files.get(name) else { return Ok(()) };
        let content = decompressed(path)?;
        for need in needs(&content) {
            self.add(&need, ordered, depth + 1)?;
        }
        ordered.push(Module { name: name.to_owned(), content });
        Ok(())
    }
}

/// `9pnet-virtio.ko.xz` is `9pnet_virtio`; anything else is no module.
fn module_name(file: &str) -> Option<String> {
    let (name, rest) = file.split_once(".ko")?;
    let known = rest.is_empty() || COMPRESSIONS.iter().any(|(end, _)| rest == format!(".{end}"));
    known.then(|| normal(name))
}

fn normal(name: &str) -> String {
    name.replace('-', "_")
}

/// The `depends=` entry of a module's information section: a list with commas, ended by a zero.
fn needs(content: &[u8]) -> Vec<String> {
    let key = b"\0depends=";
    let Some(start) = content.windows(key.len()).position(|window| window == key) else {
        return Vec::new();
    };
    let value = content.get(start + key.len()..).unwrap_or_default();
    let end = value.iter().position(|&byte| byte == 0).unwrap_or(0);
    let value = String::from_utf8_lossy(value.get(..end).unwrap_or_default());
    value.split(',').filter(|name| !name.is_empty()).map(normal).collect()
}

fn decompressed(path: &Path) -> Result<Vec<u8>> {
    let attempt = || format!("failed to read the module `{}`", path.display());
    let end = path.extension().unwrap_or_default().to_string_lossy();
    let Some((_, program)) = COMPRESSIONS.iter().find(|(known, _)| *known == end) else {
        return fs::read(path).attempt(attempt);
    };
    let output = Command::new(program)
        .args(["--decompress", "--stdout"])
        .arg(path)
        .stderr(Stdio::inherit())
        .output()
        .attempt(|| format!("failed to run `{program}`"))?;
    if output.status.success() { Ok(output.stdout) } else { Err(Failure::new(attempt())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(modules: &[(&str, &str)]) -> (tempfile::TempDir, ModuleTree) {
        let directory = tempfile::tempdir().unwrap();
        for (file, depends) in modules {
            let content = format!("\x7fELF\0license=GPL\0depends={depends}\0retpoline=Y\0");
            fs::create_dir_all(directory.path().join("kernel/fs")).unwrap();
            fs::write(directory.path().join("kernel/fs").join(file), content).unwrap();
        }
        let tree = ModuleTree::read(directory.path()).unwrap();
        (directory, tree)
    }

    fn names(modules: &[Module]) -> Vec<&str> {
        modules.iter().map(|module| module.name.as_str()).collect()
    }

    #[test]
    fn a_module_comes_behind_what_it_needs_and_only_once() {
        let (_directory, tree) =
            tree(&[("9p.ko", "9pnet,netfs"), ("9pnet.ko", ""), ("netfs.ko", "9pnet")]);
        let ordered = tree.in_order(&["9p", "netfs"]).unwrap();
        assert_eq!(names(&ordered), ["9pnet", "netfs", "9p"]);
    }

    #[test]
    fn dashes_and_underscores_are_the_same_and_what_is_built_in_is_left_out() {
        let (_directory, tree) = tree(&[("virtio-blk.ko", "virtio")]);
        assert_eq!(names(&tree.in_order(&["virtio_blk"]).unwrap()), ["virtio_blk"]);
    }

    #[test]
    fn a_circle_is_refused() {
        let (_directory, tree) = tree(&[("a.ko", "b"), ("b.ko", "a")]);
        assert!(tree.in_order(&["a"]).is_err());
    }

    #[test]
    fn other_files_are_no_modules() {
        assert_eq!(module_name("modules.order"), None);
        assert_eq!(module_name("x.ko.debug"), None);
        assert_eq!(module_name("9pnet-virtio.ko.xz").as_deref(), Some("9pnet_virtio"));
    }
}
