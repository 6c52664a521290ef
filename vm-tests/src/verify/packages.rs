//! What a fresh machine lacks: found by looking for what is needed, installed with apt.

use crate::checkout::Checkout;
use crate::failure::{Attempt, Failure, Result};
use crate::tally::Counts;
use crate::terminal;
use rustix::process::geteuid;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// One thing that must be there.
struct Need {
    /// A program, or a file when it begins with `/`.
    what: &'static str,
    /// The package that brings it, of the same name in Debian and Ubuntu.
    package: &'static str,
    /// What for.
    why: &'static str,
}

const NEEDS: [Need; 16] = [
    Need { what: "cc", package: "gcc", why: "links every Rust program" },
    Need { what: "c++", package: "g++", why: "builds the fuzzer" },
    Need { what: "/usr/include/stdio.h", package: "libc6-dev", why: "the same" },
    Need { what: "qemu-system-x86_64", package: "qemu-system-x86", why: "guests with any kernel" },
    Need { what: "unshare", package: "util-linux", why: "whether users may make namespaces" },
    Need { what: "mkfs.ext4", package: "e2fsprogs", why: "the guests' disks" },
    Need { what: "xz", package: "xz-utils", why: "modules of a newer kernel are compressed" },
    Need { what: "dpkg-deb", package: "dpkg", why: "kernels are unpacked, not installed" },
    Need {
        what: "/usr/share/keyrings/debian-archive-keyring.gpg",
        package: "debian-archive-keyring",
        why: "the kernels' signatures, on Ubuntu too",
    },
    Need { what: "python3", package: "python3", why: "programs that tests run" },
    Need { what: "pip3", package: "python3-pip", why: "programs that check the daemon's API" },
    Need { what: "ip", package: "iproute2", why: "a second opinion on networks" },
    Need { what: "newuidmap", package: "uidmap", why: "maps several users for a user's sandbox" },
    Need { what: "stress-ng", package: "stress-ng", why: "hostile programs that tests run" },
    Need {
        what: "x86_64-w64-mingw32-gcc",
        package: "gcc-mingw-w64-x86-64-win32",
        why: "links what is built for Windows",
    },
    Need { what: "/usr/lib/wine/wine64", package: "wine64", why: "runs what is built for Windows" },
];

/// Only where the machine's own sources aren't Debian's.
const ELSEWHERE: Need = Need {
    what: "/usr/share/python-apt/templates/Debian.info",
    package: "python-apt-common",
    why: "knows where Debian's kernels are",
};

pub(super) fn install_missing(_: &Checkout) -> Result<Counts> {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let missing = missing(&release, &is_there);
    if missing.is_empty() {
        return Ok(Counts { passed: 1, ..Counts::default() });
    }
    for need in &missing {
        terminal::line(format!("{:<24}{}: {}", need.package, need.what, need.why));
    }
    let mut packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    packages.dedup();
    if !is_there("apt-get") {
        let packages = packages.join(" ");
        return Err(Failure::new(format!("there is no apt-get here; what is missing: {packages}")));
    }
    // A vendor's source that doesn't answer is no reason to stop; a package that isn't found is.
    if let Err(failure) = apt_get(&["update"]) {
        terminal::note(format!("note: {}", failure.chain()));
    }
    let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
    arguments.extend(&packages);
    apt_get(&arguments)?;
    Ok(Counts { passed: 1, ..Counts::default() })
}

fn missing(os_release: &str, is_there: &dyn Fn(&str) -> bool) -> Vec<&'static Need> {
    let debian = os_release.lines().any(|line| line == "ID=debian");
    let elsewhere = std::iter::once(&ELSEWHERE).filter(|_| !debian);
    NEEDS.iter().chain(elsewhere).filter(|need| !is_there(need.what)).collect()
}

fn is_there(what: &str) -> bool {
    if what.starts_with('/') {
        return Path::new(what).exists();
    }
    // A user's own PATH often lacks the administrator's programs.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    path.split(':').any(|directory| Path::new(directory).join(what).is_file())
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let mut words = vec!["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet"];
    words.extend(arguments);
    if !geteuid().is_root() {
        // Nobody is there to type a password.
        words.splice(0..0, ["sudo", "-n"]);
    }
    let line = words.join(" ");
    let mut words = words.into_iter();
    let program = words.next().unwrap_or_default();
    let status = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .status()
        .attempt(|| format!("failed to run `{line}`"))?;
    if status.success() { Ok(()) } else { Err(Failure::new(format!("`{line}` failed"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packages(os_release: &str, absent: &[&str]) -> Vec<&'static str> {
        let there = |what: &str| !absent.contains(&what);
        missing(os_release, &there).into_iter().map(|need| need.package).collect()
    }

    #[test]
    fn only_what_is_missing_is_installed() {
        assert!(packages("ID=debian", &[]).is_empty());
        assert_eq!(packages("ID=debian", &["qemu-system-x86_64"]), ["qemu-system-x86"]);
    }

    #[test]
    fn only_another_distribution_needs_to_be_told_where_debian_is() {
        let absent = [ELSEWHERE.what];
        assert!(packages("ID=debian", &absent).is_empty());
        assert_eq!(packages("ID=ubuntu", &absent), ["python-apt-common"]);
    }
}
