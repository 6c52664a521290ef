//! The system's own programs that map sub ids for users: newuidmap(1) and newgidmap(1).
//!
//! They are root's, by a setuid bit or a capability of the file, and look into /etc/subuid and /etc/subgid themselves. What
//! they have done is read from the kernel, not believed.

use super::map::Map;
use crate::plan::readable;
use crate::{PlatformError, Stage};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where systems have them: never by a `PATH`, which may lead anywhere.
const PLACES: [&str; 3] = ["/usr/bin", "/run/wrappers/bin", "/usr/local/bin"];

/// The two programs.
#[derive(Clone, Debug)]
pub(crate) struct Helpers {
    users: PathBuf,
    groups: PathBuf,
}

impl Helpers {
    /// Looks for them.
    pub(crate) fn find() -> Option<Self> {
        let one = |name: &str| {
            let mut places = PLACES.iter().map(|place| Path::new(place).join(name));
            places.find(|path| rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok())
        };
        Some(Self { users: one("newuidmap")?, groups: one("newgidmap")? })
    }

    /// Maps the ids of a process in a new user namespace.
    ///
    /// # Errors
    /// When a helper refuses, or what the kernel then says isn't what was asked for.
    pub(crate) fn map(&self, pid: u32, users: &Map, groups: &Map) -> Result<(), PlatformError> {
        run(&self.groups, pid, groups, "gid_map")?;
        run(&self.users, pid, users, "uid_map")
    }
}

fn run(helper: &Path, pid: u32, map: &Map, file: &str) -> Result<(), PlatformError> {
    let step = format!("write {file} with {}", readable(helper.as_os_str()));
    let failed = |source| {
        PlatformError::launch(Stage::Setup, format!("launch failed at `{step}`"), Some(source))
    };
    let numbers = map.lines().iter().flat_map(|line| [line.inside, line.outside, line.count]);
    let output = Command::new(helper)
        .arg(pid.to_string())
        .args(numbers.map(|number| number.to_string()))
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .map_err(failed)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().next().unwrap_or("it gave no reason");
        let said: String = said.chars().filter(|c| !c.is_control()).take(200).collect();
        return Err(failed(std::io::Error::other(said)).with_hint(
            "it goes by /etc/subuid, /etc/subgid and the caller's group in /etc/passwd; `stockade doctor` tells more",
        ));
    }
    let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).map_err(failed)?;
    if Map::read(&text).as_ref() == Some(map) {
        return Ok(());
    }
    let told = Map::read(&text).map_or_else(String::new, |map| map.told());
    Err(failed(std::io::Error::other(format!("the kernel has another map now: {told}"))))
}
