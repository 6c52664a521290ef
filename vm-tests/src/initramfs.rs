//! The first file system of a virtual machine: our init, the libraries it needs, and the modules
//! that lead to the host's root. A cpio archive in the `newc` format, made without any tool.

use crate::failure::{Attempt, Failure, Result};
use crate::module_tree::Module;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// Builds the archive for a guest whose init is the program at `init`.
///
/// # Errors
///
/// When a file can't be read or the init's libraries aren't known.
pub fn build(init: &Path, modules: &[Module]) -> Result<Vec<u8>> {
    let mut archive = Cpio::default();
    for directory in ["dev", "proc", "sys", "newroot", "modules"] {
        archive.directories(Path::new(directory));
    }
    // The kernel opens it before it starts init; without it, a failure there would not be heard.
    archive.entry("dev/console", CHARACTER_DEVICE, (5, 1), &[]);
    archive.file(Path::new("init"), &read(init)?);
    for library in libraries(init)? {
        archive.file(library.strip_prefix("/").unwrap_or(&library), &read(&library)?);
    }
    for (number, module) in modules.iter().enumerate() {
        // The guest loads them by name, so the names carry the order.
        let path = format!("modules/{number:03}-{}.ko", module.name);
        archive.file(Path::new(&path), &module.content);
    }
    Ok(archive.finish())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).attempt(|| format!("failed to read `{}`", path.display()))
}

/// What the dynamic linker will open for a program, and the linker itself.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let attempt = || format!("failed to list the libraries of `{}`", program.display());
    let output = Command::new("ldd").arg(program).output().attempt(attempt)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let found = library_paths(&text);
    // A static program has none, and `ldd` says so with a failure of its own.
    if found.is_empty() && output.status.success() {
        return Err(Failure::new(attempt()));
    }
    Ok(found)
}

fn library_paths(ldd: &str) -> Vec<PathBuf> {
    let path =
        |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    ldd.lines().filter_map(path).collect()
}

/// A cpio archive being written.
#[derive(Debug, Default)]
struct Cpio {
    bytes: Vec<u8>,
    entries: u32,
    made: BTreeSet<PathBuf>,
}

impl Cpio {
    fn file(&mut self, path: &Path, content: &[u8]) {
        if let Some(parent) = path.parent() {
            self.directories(parent);
        }
        if self.made.insert(path.to_owned()) {
            self.entry(&path.to_string_lossy(), PROGRAM, (0, 0), content);
        }
    }

    fn directories(&mut self, path: &Path) {
        let mut parts: Vec<&Path> =
            path.ancestors().filter(|part| !part.as_os_str().is_empty()).collect();
        parts.reverse();
        for part in parts {
            if self.made.insert(part.to_owned()) {
                self.entry(&part.to_string_lossy(), DIRECTORY, (0, 0), &[]);
            }
        }
    }

    /// Header: magic, then thirteen numbers as eight hexadecimal digits; name and content each
    /// filled up to a multiple of four.
    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.entries += 1;
        let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        let links = 1;
        let numbers = [
            self.entries,
            mode,
            0, // user
            0, // group
            links,
            0, // time
            length(content.len()),
            0, // device of the file, major
            0, // and minor
            device.0,
            device.1,
            length(name.len() + 1),
            0, // checksum: this format has none
        ];
        self.bytes.extend(b"070701");
        for number in numbers {
            self.bytes.extend(format!("{number:08x}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.fill();
        self.bytes.extend(content);
        self.fill();
    }

    fn fill(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_header_of_110_bytes_a_name_and_content_filled_to_four() {
        let mut cpio = Cpio::default();
        cpio.file(Path::new("init"), b"abcde");
        // 110 + "init\0" = 115 -> 116, + 5 = 121 -> 124
        assert_eq!(cpio.bytes.len(), 124);
        assert_eq!(&cpio.bytes[..6], b"070701");
        assert_eq!(&cpio.bytes[110..115], b"init\0");
        assert_eq!(&cpio.bytes[116..121], b"abcde");
    }

    #[test]
    fn parents_are_made_first_and_once() {
        let mut cpio = Cpio::default();
        cpio.file(Path::new("lib/x/a"), b"");
        cpio.file(Path::new("lib/x/b"), b"");
        let made: Vec<String> = cpio.made.iter().map(|p| p.display().to_string()).collect();
        assert_eq!(made, ["lib", "lib/x", "lib/x/a", "lib/x/b"]);
        assert_eq!(cpio.entries, 4);
    }

    #[test]
    fn the_linkers_answer_is_understood() {
        let text = "\tlinux-vdso.so.1 (0x00007ffd)\n\
                    \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f5)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f6)\n";
        let paths: Vec<String> =
            library_paths(text).iter().map(|p| p.display().to_string()).collect();
        assert_eq!(paths, ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]);
    }
}
