//! A kernel that can be booted: fetched from the archive, or brought by the user.

use crate::archive::{self, Archive, Lists};
use crate::catalogue::{GuestSpec, Machine};
use crate::failure::{Attempt, Failure, Result};
use crate::store;
use std::fs;
use std::path::{Path, PathBuf};

/// A kernel image and its modules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// How it is booted.
    pub machine: Machine,
    /// The image; for user-mode Linux, the program.
    pub image: PathBuf,
    /// The directory of its modules, where it has any.
    pub modules: Option<PathBuf>,
}

impl Kernel {
    /// The kernel of a guest, from the cache or else from the archive.
    ///
    /// # Errors
    ///
    /// When the package can't be fetched, or doesn't hold what it should.
    pub fn fetch(name: &str, spec: &GuestSpec, cache: &Path) -> Result<Self> {
        let (Some(suite), Some(package)) = (&spec.suite, &spec.package) else {
            return Err(Failure::new(format!("the guest `{name}` needs `--kernel PATH`")));
        };
        let wanted = format!("{package} of {suite}\n");
        let directory = store::keep(cache, &format!("kernels/{name}"), &wanted, |partial| {
            let archive = Archive::open(cache, suite, Lists::Packages)?;
            let file = archive.download(package)?;
            archive::unpack(&file, partial)?;
            fs::remove_file(&file).attempt(|| format!("failed to remove `{}`", file.display()))
        })
        .attempt(|| format!("failed to fetch the kernel of `{name}`"))?;
        match spec.machine {
            Machine::Uml => Self::in_package(
                Machine::Uml,
                &directory.join("usr/bin"),
                "linux",
                &directory.join("usr/lib/uml/modules"),
            ),
            Machine::Qemu => {
                // Where `/lib` is a link to `/usr/lib`, packages have begun to say so.
                let modules = ["usr/lib/modules", "lib/modules"].map(|path| directory.join(path));
                let modules = modules.iter().find(|path| path.is_dir());
                let modules = modules.ok_or_else(|| Failure::new("the kernel has no modules"))?;
                Self::in_package(Machine::Qemu, &directory.join("boot"), "vmlinuz", modules)
            }
            Machine::Host => Err(Failure::new("the host boots no kernel")),
        }
    }

    fn in_package(machine: Machine, images: &Path, prefix: &str, modules: &Path) -> Result<Self> {
        let image = only(images, |name| name.starts_with(prefix))?;
        Ok(Self { machine, image, modules: only(modules, |_| true).ok() })
    }

    /// A kernel that the user brings. Without a word about its modules they are looked for where a
    /// distribution installs them.
    ///
    /// # Errors
    ///
    /// When there is no such image.
    pub fn at(image: &Path, modules: Option<&Path>) -> Result<Self> {
        let attempt = || format!("failed to find the kernel `{}`", image.display());
        let image = fs::canonicalize(image).attempt(attempt)?;
        let name = image.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let modules = match modules {
            Some(path) => Some(
                fs::canonicalize(path)
                    .attempt(|| format!("failed to find the modules `{}`", path.display()))?,
            ),
            None => name
                .strip_prefix("vmlinuz-")
                .map(|release| Path::new("/lib/modules").join(release))
                .filter(|path| path.is_dir()),
        };
        let head = fs::read(&image).attempt(attempt)?;
        // A `vmlinux` is an ELF file too, but no program; only user-mode Linux is one.
        let is_program = head.starts_with(b"\x7fELF") && !name.starts_with("vmlinux");
        let machine = if is_program { Machine::Uml } else { Machine::Qemu };
        Ok(Self { machine, image, modules })
    }
}

/// The one entry of a directory whose name fits.
fn only(directory: &Path, fits: impl Fn(&str) -> bool) -> Result<PathBuf> {
    let attempt = || format!("failed to list `{}`", directory.display());
    let mut entries = fs::read_dir(directory)
        .attempt(attempt)?
        .flatten()
        .filter(|entry| fits(&entry.file_name().to_string_lossy()))
        .map(|entry| entry.path());
    match (entries.next(), entries.next()) {
        (Some(entry), None) => Ok(entry),
        (first, _) => {
            let found = if first.is_some() { "more than one" } else { "none" };
            Err(Failure::new(format!(
                "found {found} of what `{}` should hold",
                directory.display()
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_of_the_user_is_booted_as_what_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &[u8]| {
            let path = directory.path().join(name);
            fs::write(&path, content).unwrap();
            Kernel::at(&path, None).unwrap().machine
        };
        assert_eq!(write("linux.uml", b"\x7fELF..."), Machine::Uml);
        assert_eq!(write("bzImage", b"MZ..."), Machine::Qemu);
        assert_eq!(write("vmlinux", b"\x7fELF..."), Machine::Qemu);
    }

    #[test]
    fn two_images_in_one_package_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("vmlinuz-1"), "").unwrap();
        assert!(only(directory.path(), |name| name.starts_with("vmlinuz")).is_ok());
        fs::write(directory.path().join("vmlinuz-2"), "").unwrap();
        assert!(only(directory.path(), |name| name.starts_with("vmlinuz")).is_err());
    }
}
