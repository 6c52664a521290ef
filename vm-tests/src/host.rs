//! The same tests without a guest: on this machine, as root and as an unprivileged user.

use crate::campaign::Campaign;
use crate::checkout::Checkout;
use crate::failure::{Attempt, Result};
use crate::identity::Identity;
use crate::job::{Ending, Outcome};
use crate::process::{self, Leftovers};
use crate::tally::Tally;
use rustix::process::geteuid;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Nobody: a user that owns nothing, on every distribution.
const NOBODY: u32 = 65534;

/// Somebody, or why this machine can't be them.
type Somebody = std::result::Result<(Identity, TempDir), String>;

/// Runs a campaign right here.
///
/// # Errors
///
/// When the runner itself can't work; a test that can't run is a result.
pub fn run(
    campaign: &Campaign<'_>,
    helper: &Path,
    checkout: &Checkout,
    environment: &[(String, String)],
    tally: &Tally,
) -> Result<()> {
    let leftovers = Leftovers::adopt()?;
    let root = as_root(helper)?;
    let user = as_user(helper, checkout)?;
    for case in &campaign.cases {
        let somebody = if case.as_user { &user } else { &root };
        let outcome = match somebody {
            Ok((identity, _)) => {
                let mut command = process::test_command(case, identity, environment);
                let mut outcome = process::run(&mut command, Duration::from_secs(case.timeout_s));
                outcome.notes.extend(leftovers.end());
                outcome
            }
            Err(reason) => Outcome {
                ending: Ending::Exited(0),
                seconds: 0.0,
                output: format!("SKIP: {reason}"),
                notes: Vec::new(),
            },
        };
        campaign.finish(tally, case, &outcome);
    }
    Ok(())
}

fn as_root(helper: &Path) -> Result<Somebody> {
    let home = home()?;
    if geteuid().is_root() {
        return Ok(Ok((Identity::on_host(helper, None, home.path()), home)));
    }
    let sudo = Command::new("sudo")
        .args(["-n", "true"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if sudo {
        return Ok(Ok((Identity::by_sudo(helper, home.path()), home)));
    }
    Ok(Err("root: this is neither root nor a user of sudo without a password".to_owned()))
}

fn as_user(helper: &Path, checkout: &Checkout) -> Result<Somebody> {
    let home = home()?;
    if !geteuid().is_root() {
        return Ok(Ok((Identity::on_host(helper, None, home.path()), home)));
    }
    for path in [&checkout.root, &checkout.target] {
        let closed = path.ancestors().find(|part| {
            fs::metadata(part).is_ok_and(|data| data.permissions().mode() & 0o001 == 0)
        });
        if let Some(closed) = closed {
            let reason = format!("open-path: other users can't pass `{}`", closed.display());
            return Ok(Err(reason));
        }
    }
    let places = [home.path().to_owned(), home.path().join("runtime")];
    for place in &places {
        chown(place, Some(NOBODY), Some(NOBODY))
            .attempt(|| format!("failed to give `{}` away", place.display()))?;
    }
    // Cargo's place for what tests write belongs to whoever built them.
    let scratch = checkout.target.join("tmp");
    fs::create_dir_all(&scratch)
        .and_then(|()| fs::set_permissions(&scratch, Permissions::from_mode(0o1777)))
        .attempt(|| format!("failed to open `{}` up", scratch.display()))?;
    Ok(Ok((Identity::on_host(helper, Some(NOBODY), home.path()), home)))
}

/// A home directory that is gone afterwards, with a runtime directory in it.
fn home() -> Result<TempDir> {
    let attempt = || "failed to make a home directory";
    let home = tempfile::Builder::new().prefix("stockade-home-").tempdir().attempt(attempt)?;
    let runtime = home.path().join("runtime");
    fs::create_dir(&runtime).attempt(attempt)?;
    fs::set_permissions(&runtime, Permissions::from_mode(0o700)).attempt(attempt)?;
    Ok(home)
}
