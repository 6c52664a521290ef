//! Debian packages without installing them, and without touching the machine's own package lists.
//!
//! Kernels and programs come from suites that this machine may not be set up for. So apt runs with
//! lists and a cache of its own, below `target/vm`, and believes that nothing is installed; the
//! mirror is the one that the machine already uses.

use crate::failure::{Attempt, Failure, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Names a mirror where none can be found: `STOCKADE_DEBIAN_MIRROR=http://.../debian`.
pub const MIRROR_VARIABLE: &str = "STOCKADE_DEBIAN_MIRROR";
/// On a distribution that isn't Debian, python-apt's templates still know Debian's main mirror.
const TEMPLATE: &str = "/usr/share/python-apt/templates/Debian.info";
/// Debian's signing keys: of the package debian-archive-keyring.
const KEYRINGS: [&str; 2] = [
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
];

/// Which lists of a suite are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lists {
    /// Of packages only.
    Packages,
    /// Of source packages too.
    WithSources,
}

/// One suite of Debian's archive.
#[derive(Debug)]
pub struct Archive {
    directory: PathBuf,
}

impl Archive {
    /// Reads the suite's lists, from the first mirror that has them.
    ///
    /// # Errors
    ///
    /// When no mirror is known, or none of them answers.
    pub fn open(cache: &Path, suite: &str, lists: Lists) -> Result<Self> {
        let directory = cache.join("archive").join(suite);
        for part in ["lists/partial", "cache/archives/partial"] {
            let part = directory.join(part);
            fs::create_dir_all(&part).attempt(|| format!("failed to make `{}`", part.display()))?;
        }
        fs::write(directory.join("status"), "")
            .attempt(|| "failed to write that nothing is installed")?;
        let archive = Self { directory };
        let keyring = KEYRINGS.iter().find(|path| Path::new(path).exists()).ok_or_else(|| {
            Failure::new("Debian's keys are missing: install the package debian-archive-keyring")
        })?;
        let mut reasons = Vec::new();
        for mirror in mirrors() {
            let kinds: &[&str] = match lists {
                Lists::Packages => &["deb"],
                Lists::WithSources => &["deb", "deb-src"],
            };
            let line =
                |kind: &&str| format!("{kind} [signed-by={keyring}] {mirror} {suite} main\n");
            let lines: String = kinds.iter().map(line).collect();
            fs::write(archive.directory.join("sources.list"), lines)
                .attempt(|| "failed to write a sources list")?;
            match archive.apt("apt-get", &["--quiet", "update", "--error-on=any"]) {
                Ok(_) => return Ok(archive),
                Err(failure) => reasons.push(failure.chain()),
            }
        }
        if reasons.is_empty() {
            reasons.push(format!(
                "no Debian mirror is configured here; name one in {MIRROR_VARIABLE}"
            ));
        }
        Err(Failure::new(format!("no package list of Debian {suite}: {}", reasons.join("; "))))
    }

    /// Downloads a package, or what a metapackage stands for, and returns the file.
    ///
    /// # Errors
    ///
    /// When the suite doesn't have it or the download fails.
    pub fn download(&self, package: &str) -> Result<PathBuf> {
        let package = self.stands_for(package)?;
        self.apt("apt-get", &["--quiet", "download", &package])?;
        self.downloaded(&package)
    }

    /// Downloads packages and all that they depend on, and returns the files.
    ///
    /// # Errors
    ///
    /// When the suite doesn't have them or a download fails.
    pub fn download_closure(&self, packages: &[String]) -> Result<Vec<PathBuf>> {
        // What a run that was cut short has left could be of another version.
        self.forget_packages()?;
        let mut arguments =
            vec!["--quiet", "--yes", "--download-only", "--no-install-recommends", "install"];
        arguments.extend(packages.iter().map(String::as_str));
        self.apt("apt-get", &arguments)?;
        let directory = self.directory.join("cache/archives");
        let entries = fs::read_dir(&directory)
            .attempt(|| format!("failed to list `{}`", directory.display()))?;
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "deb"));
        files.sort();
        Ok(files)
    }

    /// Removes what [`Self::download_closure`] has downloaded.
    ///
    /// # Errors
    ///
    /// When apt can't.
    pub fn forget_packages(&self) -> Result<()> {
        self.apt("apt-get", &["clean"]).map(|_| ())
    }

    /// Downloads the archive of a source package as its authors released it, and returns the file.
    ///
    /// # Errors
    ///
    /// When the suite doesn't have it or the download fails.
    pub fn download_source(&self, package: &str) -> Result<PathBuf> {
        self.apt("apt-get", &["--quiet", "--download-only", "--tar-only", "source", package])?;
        self.downloaded(package)
    }

    /// The file that apt left in its working directory.
    fn downloaded(&self, package: &str) -> Result<PathBuf> {
        let prefix = format!("{package}_");
        let entries = fs::read_dir(&self.directory).attempt(|| "failed to list the downloads")?;
        entries
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&prefix)))
            .ok_or_else(|| Failure::new(format!("`{package}` was downloaded, but isn't there")))
    }

    /// A kernel's metapackage depends on the package of its current version.
    fn stands_for(&self, package: &str) -> Result<String> {
        if !package.starts_with("linux-image-") {
            return Ok(package.to_owned());
        }
        let output = self.apt("apt-cache", &["depends", "--important", package])?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(real_kernel(&text).unwrap_or(package).to_owned())
    }

    fn apt(&self, program: &str, arguments: &[&str]) -> Result<Output> {
        let at = |path: &str| self.directory.join(path).display().to_string();
        let options = [
            format!("Dir::Etc::sourcelist={}", at("sources.list")),
            "Dir::Etc::sourceparts=-".to_owned(),
            format!("Dir::State::lists={}", at("lists")),
            format!("Dir::State::status={}", at("status")),
            format!("Dir::Cache={}", at("cache")),
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            "Acquire::Retries=3".to_owned(),
            // The download goes below target/, which apt's own user may not be able to reach.
            "APT::Sandbox::User=root".to_owned(),
        ];
        let mut command = Command::new(program);
        for option in &options {
            command.arg("-o").arg(option);
        }
        command.args(arguments).current_dir(&self.directory);
        let output = command.output().attempt(|| format!("failed to run `{program}`"))?;
        if output.status.success() {
            return Ok(output);
        }
        let words = arguments.join(" ");
        let errors = String::from_utf8_lossy(&output.stderr);
        let reason: Vec<&str> = errors.lines().filter(|line| line.starts_with("E:")).collect();
        Err(Failure::new(format!("`{program} {words}` failed: {}", reason.join(" "))))
    }
}

/// Unpacks a package into a directory.
///
/// # Errors
///
/// When `dpkg-deb` can't.
pub fn unpack(package: &Path, directory: &Path) -> Result<()> {
    let attempt = || format!("failed to unpack `{}`", package.display());
    let status = Command::new("dpkg-deb")
        .arg("--extract")
        .args([package, directory])
        .status()
        .attempt(attempt)?;
    if status.success() { Ok(()) } else { Err(Failure::new(attempt())) }
}

/// Where to ask, the most likely first.
fn mirrors() -> Vec<String> {
    if let Ok(mirror) = std::env::var(MIRROR_VARIABLE) {
        return vec![mirror];
    }
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    if let Some(codename) = debian_codename(&release) {
        let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
        if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
            files.extend(entries.flatten().map(|entry| entry.path()));
        }
        let texts = files.iter().filter_map(|file| fs::read_to_string(file).ok());
        return configured_mirrors(texts, codename);
    }
    let template = fs::read_to_string(TEMPLATE).unwrap_or_default();
    template.lines().find_map(base_uri).into_iter().collect()
}

fn debian_codename(os_release: &str) -> Option<&str> {
    let value = |key: &str| {
        let line = os_release.lines().find_map(|line| line.strip_prefix(key))?;
        Some(line.trim_matches('"'))
    };
    value("ID=").filter(|id| *id == "debian").and_then(|_| value("VERSION_CODENAME="))
}

fn base_uri(line: &str) -> Option<String> {
    line.strip_prefix("BaseURI:").map(|uri| uri.trim().to_owned())
}

/// The mirrors of the machine's own sources that carry `codename main`. Others carry that too (a
/// vendor's repository), so those whose path looks like Debian's come first.
fn configured_mirrors(files: impl Iterator<Item = String>, codename: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for text in files {
        let entries = one_line_entries(&text).chain(stanza_entries(&text));
        for (uri, suites, components) in entries {
            let has = |words: &str, word: &str| words.split_whitespace().any(|w| w == word);
            if has(&suites, codename) && has(&components, "main") && !found.contains(&uri) {
                found.push(uri);
            }
        }
    }
    found.sort_by_key(|uri| !uri.trim_end_matches('/').ends_with("/debian"));
    found
}

type Entry = (String, String, String);

/// `deb [options] URI suite component...`
fn one_line_entries(text: &str) -> impl Iterator<Item = Entry> {
    text.lines().filter_map(|line| {
        let rest = line.trim().strip_prefix("deb ")?.trim_start();
        let rest = if rest.starts_with('[') { rest.split_once(']')?.1 } else { rest };
        let mut words = rest.split_whitespace();
        let uri = words.next()?.to_owned();
        let suite = words.next()?.to_owned();
        Some((uri, suite, words.collect::<Vec<_>>().join(" ")))
    })
}

/// `URIs:`, `Suites:` and `Components:` in stanzas that an empty line ends.
fn stanza_entries(text: &str) -> impl Iterator<Item = Entry> {
    text.split("\n\n").filter_map(|stanza| {
        let field = |name: &str| {
            stanza.lines().find_map(|line| line.strip_prefix(name)).map(|v| v.trim().to_owned())
        };
        let uri = field("URIs:")?.split_whitespace().next()?.to_owned();
        Some((uri, field("Suites:")?, field("Components:")?))
    })
}

/// The first dependency that is a kernel of a certain version.
fn real_kernel(depends: &str) -> Option<&str> {
    depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with("linux-image-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirrors_of(text: &str) -> Vec<String> {
        configured_mirrors(std::iter::once(text.to_owned()), "bookworm")
    }

    #[test]
    fn a_one_line_source_is_understood() {
        let text = "# deb http://old.example/debian bookworm main\n\
                    deb [arch=amd64 signed-by=/k.gpg] http://a.example/debian bookworm main contrib\n";
        assert_eq!(mirrors_of(text), ["http://a.example/debian"]);
    }

    #[test]
    fn a_stanza_is_understood() {
        let text = "Types: deb\n# a note\nURIs: http://a.example/debian\n\
                    Suites: bookworm bookworm-updates\nComponents: main\n\n\
                    Types: deb\nURIs: http://a.example/debian-security\n\
                    Suites: bookworm-security\nComponents: main\n";
        assert_eq!(mirrors_of(text), ["http://a.example/debian"]);
    }

    #[test]
    fn the_archive_comes_before_a_vendor_and_a_vendor_of_another_kind_not_at_all() {
        let text = "deb https://vendor.example bookworm main\n\
                    deb https://other.example/linux/debian bookworm stable\n\
                    deb http://a.example/debian/ bookworm main\n";
        assert_eq!(mirrors_of(text), ["http://a.example/debian/", "https://vendor.example"]);
    }

    #[test]
    fn only_debian_has_a_debian_codename() {
        assert_eq!(debian_codename("ID=debian\nVERSION_CODENAME=bookworm\n"), Some("bookworm"));
        assert_eq!(debian_codename("ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\n"), None);
    }

    #[test]
    fn a_metapackage_stands_for_the_kernel_it_depends_on() {
        let text = "linux-image-amd64\n  Depends: linux-image-6.1.0-56-amd64\n";
        assert_eq!(real_kernel(text), Some("linux-image-6.1.0-56-amd64"));
        assert_eq!(real_kernel("linux-image-6.1.0-56-amd64\n  Depends: kmod\n"), None);
    }
}
