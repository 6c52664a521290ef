//! What the service manager that started the daemon wants to know: the protocol of sd_notify(3). Where there is none, nothing is
//! said to nobody.

use crate::error::Error;
pub use crate::platform::News;
use crate::platform::{service_manager_pulse, tell_service_manager};
use std::path::Path;
use std::time::Duration;

/// Tells it.
///
/// # Errors
/// When there is a service manager and it can't be told.
pub fn tell(news: News) -> Result<(), Error> {
    let failed = |error| Error::io("failed to tell the service manager", error);
    tell_service_manager(news).map_err(failed)
}

/// How often it wants to hear that the daemon lives, if it does: twice in the time after which it would act.
pub fn pulse() -> Option<Duration> {
    service_manager_pulse()
}

/// The unit file for this program and stack file (systemd.service(5)).
///
/// `KillMode=process`: only the daemon is asked to end, and stops services itself, as their stack file says; when it dies, they
/// go on, and the next one takes them over. `Delegate=yes` gives it the controllers for their limits.
pub fn unit(program: &Path, stack: &Path) -> String {
    let (program, stack) = (quoted(program), quoted(stack));
    format!(
        "\
[Unit]
Description=Stockade: services, each in its own sandbox
After=network.target

[Service]
Type=notify
ExecStart={program} daemon --file {stack}
ExecReload=/bin/kill -HUP $MAINPID
KillMode=process
Restart=on-failure
TimeoutStopSec=infinity
WatchdogSec=30s
Delegate=yes
StateDirectory=stockade
StateDirectoryMode=0700

[Install]
WantedBy=multi-user.target"
    )
}

/// As one word of a command line there: `%` and `$` mean something in it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string().replace('%', "%%").replace('$', "$$");
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+%$".contains(c);
    if text.chars().all(plain) {
        return text;
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_file_has_paths_as_one_word_each() {
        let unit = unit(Path::new("/usr/bin/stockade"), Path::new("/srv/my %h \"stack\".toml"));
        let start = unit.lines().find(|line| line.starts_with("ExecStart")).unwrap();
        insta::assert_snapshot!(start, @r#"ExecStart=/usr/bin/stockade daemon --file "/srv/my %%h \"stack\".toml""#);
    }
}
