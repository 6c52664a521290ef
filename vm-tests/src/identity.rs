//! Who a test runs as, where it lives and in which cgroup it begins.

use crate::failure::{Attempt, Failure, Result};
use crate::guest::SESSION;
use crate::job::USER;
use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The path that a login would set.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Everything that makes a process somebody's.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The `guest` program: it does what must be done between fork and exec (see [`enter`]).
    helper: PathBuf,
    user: Option<u32>,
    home: PathBuf,
    runtime: Option<PathBuf>,
    cgroup: Option<PathBuf>,
    sudo: bool,
}

impl Identity {
    /// Root in a guest: in the root cgroup, as on a machine without a service manager.
    #[must_use]
    pub fn guest_root() -> Self {
        Self {
            helper: PathBuf::from("/proc/self/exe"),
            user: None,
            home: PathBuf::from("/root"),
            runtime: None,
            cgroup: None,
            sudo: false,
        }
    }

    /// The unprivileged user in a guest, in its delegated subtree.
    #[must_use]
    pub fn guest_user() -> Self {
        Self {
            user: Some(USER),
            home: PathBuf::from("/home/tester"),
            runtime: Some(PathBuf::from("/run/user/1000")),
            cgroup: Some(PathBuf::from(SESSION)),
            ..Self::guest_root()
        }
    }

    /// Somebody on the host: `user` or, when there's none, whoever runs this. `home` is a directory
    /// that it owns; its runtime directory is made below it.
    #[must_use]
    pub fn on_host(helper: &Path, user: Option<u32>, home: &Path) -> Self {
        let runtime = home.join("runtime");
        Self {
            helper: helper.to_owned(),
            user,
            home: home.to_owned(),
            runtime: Some(runtime),
            cgroup: None,
            sudo: false,
        }
    }

    /// Root on the host, for somebody who isn't root but may be.
    #[must_use]
    pub fn by_sudo(helper: &Path, home: &Path) -> Self {
        Self { sudo: true, runtime: None, ..Self::on_host(helper, None, home) }
    }

    /// A command that becomes `program` as this identity. The environment is a fresh one, so that a
    /// test finds the same wherever it runs.
    #[must_use]
    pub fn command(&self, program: &Path, environment: &[(String, String)]) -> Command {
        let mut variables =
            vec![("PATH", PATH.into()), ("LANG", "C.UTF-8".into()), ("HOME", self.home.clone())];
        if let Some(runtime) = &self.runtime {
            variables.push(("XDG_RUNTIME_DIR", runtime.clone()));
        }
        let more = environment.iter().map(|(key, value)| (key.as_str(), PathBuf::from(value)));
        variables.extend(more);
        let mut command = if self.sudo {
            // sudo has its own idea of an environment, so ours travels as arguments.
            let mut command = Command::new("sudo");
            command.args(["-n", "--", "env", "-i"]);
            for (key, value) in &variables {
                let mut word = OsString::from(format!("{key}="));
                word.push(value);
                command.arg(word);
            }
            command.arg(&self.helper);
            command
        } else {
            let mut command = Command::new(&self.helper);
            command.env_clear().envs(variables);
            command
        };
        command.arg("enter");
        if let Some(cgroup) = &self.cgroup {
            command.arg("--cgroup").arg(cgroup);
        }
        if let Some(user) = self.user {
            command.arg("--user").arg(user.to_string());
        }
        command.arg("--").arg(program);
        command
    }
}

/// Becomes another program: joins a cgroup, then gives up being root, then execs.
///
/// A program of its own, because doing this between fork and exec of the runner would be unsafe
/// code; as a process with one thread it is ordinary code.
///
/// # Errors
///
/// Always: on success it doesn't return.
pub fn enter(arguments: &[String]) -> Result<()> {
    let mut arguments = arguments.iter();
    let mut user = None;
    let program = loop {
        match arguments.next().map(String::as_str) {
            Some("--cgroup") => join(arguments.next())?,
            Some("--user") => {
                let id = arguments.next().and_then(|word| word.parse::<u32>().ok());
                user = Some(id.ok_or_else(|| Failure::new("`--user` needs a number"))?);
            }
            Some("--") => break arguments.next(),
            other => return Err(Failure::new(format!("`enter` doesn't know {other:?}"))),
        }
    };
    let program = program.ok_or_else(|| Failure::new("`enter` needs a program"))?;
    // The runner protects itself from the out-of-memory killer; a test must not inherit that. Where
    // nothing was inherited this changes nothing, and may be forbidden.
    if fs::read_to_string("/proc/self/oom_score_adj").is_ok_and(|score| score.trim() == "-1000") {
        fs::write("/proc/self/oom_score_adj", "0").attempt(|| "failed to reset the OOM score")?;
    }
    let mut command = Command::new(program);
    command.args(arguments);
    if let Some(id) = user {
        // Also drops the supplementary groups: std does that when it changes from root.
        command.uid(id).gid(id);
    }
    Err(command.exec()).attempt(|| format!("failed to run `{program}`"))
}

fn join(cgroup: Option<&String>) -> Result<()> {
    let cgroup = cgroup.ok_or_else(|| Failure::new("`--cgroup` needs a directory"))?;
    fs::write(Path::new(cgroup).join("cgroup.procs"), "0")
        .attempt(|| format!("failed to join the cgroup `{cgroup}`"))
}
