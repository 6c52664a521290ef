//! The command line of `cargo vm`.

use crate::boot::Accelerator;
use crate::failure::{Failure, Result};
use std::path::PathBuf;
use std::time::Duration;

/// What `cargo vm --help` prints.
pub const HELP: &str = "\
Boots real kernels and runs Stockade's tests inside; each is shown as a test of its own.

Usage: cargo vm [OPTIONS]

  --guest NAME           a guest of vm-tests/kernels.toml, or `host`; may be repeated
                         (without: qemu-6.12, uml, qemu-6.1)
  --kernel PATH          boot this image instead (a bzImage, or a user-mode Linux program)
  --modules DIR          its modules, as in /lib/modules/RELEASE
  --filter SUBSTR        only tests whose whole name (uml::user::limits::...) contains this
  --as root|user         only the runs as root, or only those as an unprivileged user
  --list                 show the tests' names and run nothing
  --shell-command CMD    run a command in the guest instead of tests (with `--as user`: as the user)
  --timeout SECONDS      for the shell command (600), or for each test (120; in a guest 420)
  --accel auto|kvm|tcg   how a virtual machine runs: `auto` tries KVM and falls back to emulation
";

/// The parsed command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The guests named, in order.
    pub guests: Vec<String>,
    /// An image of the user's own.
    pub kernel: Option<PathBuf>,
    /// Its modules.
    pub modules: Option<PathBuf>,
    /// A part of the names to run.
    pub filter: Option<String>,
    /// Run as root.
    pub as_root: bool,
    /// Run as an unprivileged user.
    pub as_user: bool,
    /// Only show names.
    pub list: bool,
    /// A command instead of tests.
    pub shell_command: Option<String>,
    /// The limit of a command or of each test.
    pub timeout: Option<Duration>,
    /// How virtual machines run.
    pub accelerator: Accelerator,
    /// Only show the help.
    pub help: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            guests: Vec::new(),
            kernel: None,
            modules: None,
            filter: None,
            as_root: true,
            as_user: true,
            list: false,
            shell_command: None,
            timeout: None,
            accelerator: Accelerator::Auto,
            help: false,
        }
    }
}

impl Options {
    /// Reads the arguments behind the program's name.
    ///
    /// # Errors
    ///
    /// When an argument is unknown or lacks its value.
    pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self::default();
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let mut value = || {
                arguments.next().ok_or_else(|| Failure::new(format!("`{argument}` needs a value")))
            };
            match argument.as_str() {
                "--guest" => options.guests.push(value()?),
                "--kernel" => options.kernel = Some(PathBuf::from(value()?)),
                "--modules" => options.modules = Some(PathBuf::from(value()?)),
                "--filter" => options.filter = Some(value()?),
                "--list" => options.list = true,
                "--shell-command" => options.shell_command = Some(value()?),
                "--as" => options.choose_users(&value()?)?,
                "--timeout" => options.timeout = Some(seconds(&value()?)?),
                "--accel" => options.accelerator = accelerator(&value()?)?,
                "--help" | "-h" => options.help = true,
                _ => return Err(Failure::new(format!("unknown option `{argument}`"))),
            }
        }
        options.checked()
    }

    fn choose_users(&mut self, word: &str) -> Result<()> {
        (self.as_root, self.as_user) = match word {
            "root" => (true, false),
            "user" => (false, true),
            _ => return Err(Failure::new(format!("`--as` is `root` or `user`, not `{word}`"))),
        };
        Ok(())
    }

    fn checked(self) -> Result<Self> {
        if self.kernel.is_some() && !self.guests.is_empty() {
            return Err(Failure::new("`--kernel` is a guest of its own: leave `--guest` out"));
        }
        if self.modules.is_some() && self.kernel.is_none() {
            return Err(Failure::new("`--modules` belongs to `--kernel`"));
        }
        Ok(self)
    }
}

fn seconds(word: &str) -> Result<Duration> {
    let number = word.parse();
    let number =
        number.map_err(|_| Failure::new(format!("`{word}` is not a number of seconds")))?;
    Ok(Duration::from_secs(number))
}

fn accelerator(word: &str) -> Result<Accelerator> {
    match word {
        "auto" => Ok(Accelerator::Auto),
        "kvm" => Ok(Accelerator::Kvm),
        "tcg" => Ok(Accelerator::Tcg),
        _ => Err(Failure::new(format!("`--accel` is `auto`, `kvm` or `tcg`, not `{word}`"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &[&str]) -> Result<Options> {
        Options::parse(line.iter().map(|&word| word.to_owned()))
    }

    #[test]
    fn nothing_means_everything() {
        assert_eq!(parse(&[]).unwrap(), Options::default());
    }

    #[test]
    fn guests_add_up() {
        let options = parse(&["--guest", "uml", "--guest", "host", "--as", "user"]).unwrap();
        assert_eq!(options.guests, ["uml", "host"]);
        assert!(options.as_user && !options.as_root);
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (line, part) in [
            (vec!["--gest", "uml"], "`--gest`"),
            (vec!["--guest"], "`--guest` needs a value"),
            (vec!["--as", "nobody"], "`nobody`"),
            (vec!["--timeout", "soon"], "`soon`"),
            (vec!["--modules", "x"], "`--kernel`"),
            (vec!["--kernel", "x", "--guest", "uml"], "`--guest`"),
        ] {
            let message = parse(&line).unwrap_err().chain();
            assert!(message.contains(part), "{message}");
        }
    }
}
