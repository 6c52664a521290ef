//! Telling receivers: each by a task of its own, so that none waits for another, and nothing else waits for any.

use super::Shared;
use super::book::{Batch, Sent};
use super::message;
use super::settings::{Receiver, Way};
use crate::logs::post;
use crate::platform::{Stdio, for_this_user_alone};
use crate::policy::Policy;
use crate::report::ExitReport;
use crate::sandbox::Sandbox;
use serde::Serialize;
use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

/// How long a webhook may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// So often the same is tried, which takes some five minutes; then it is dropped, and counted.
const MOST_TRIES: u32 = 12;

/// What came of telling a receiver, since this process began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Tally {
    /// Alerts that it was told of.
    pub sent: u64,
    /// Tries that failed.
    pub failed: u64,
    /// Alerts that it won't be told of any more.
    pub dropped: u64,
    /// Why the last try failed, while none has succeeded since.
    pub error: Option<String>,
}

/// What went wrong, and whether it would again.
#[derive(Debug)]
pub(super) struct Failure {
    lasting: bool,
    pub(super) message: String,
}

impl Failure {
    fn passing(message: impl ToString) -> Self {
        Self { lasting: false, message: message.to_string() }
    }
}

/// Tells one receiver all that it has to be told, for ever.
pub(super) async fn tell(shared: Arc<Shared>, name: String, receiver: Receiver) {
    let mut changed = shared.changed.subscribe();
    let (mut tries, mut pause) = (0, FIRST_PAUSE);
    loop {
        changed.mark_unchanged();
        let Some(batch) = shared.batch(&name, &receiver) else {
            (tries, pause) = (0, FIRST_PAUSE);
            match changed.changed().await {
                Ok(()) => continue,
                Err(_) => return,
            }
        };
        let result = send(&name, &receiver, &batch).await;
        tries += 1;
        let given_up = |failure: &Failure| failure.lasting || tries >= MOST_TRIES;
        let is_over = result.as_ref().err().is_none_or(given_up);
        shared.told(&name, &batch, result.map_err(|failure| failure.message), is_over);
        if is_over {
            (tries, pause) = (0, FIRST_PAUSE);
        } else {
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// Tells a receiver once.
pub(super) async fn send(name: &str, receiver: &Receiver, batch: &Batch) -> Result<(), Failure> {
    match &receiver.way {
        Way::Webhook(url) => {
            let body = message::webhook(name, batch).to_string();
            let status = timeout(PATIENCE, post(url, body.as_bytes())).await;
            let status = status
                .map_err(|_| Failure::passing(format!("{url}: no answer within {PATIENCE:?}")))?
                .map_err(|error| Failure::passing(format!("{url}: {error}")))?;
            let message = format!("{url}: it answered {status}");
            match status {
                200..300 => Ok(()),
                // Its answer to this will be the same again.
                400..500 if !matches!(status, 408 | 425 | 429) => {
                    Err(Failure { lasting: true, message })
                }
                _ => Err(Failure::passing(message)),
            }
        }
        Way::Command { command, policy, timeout } => {
            for alert in news(batch) {
                run(name, command, policy, *timeout, alert).await.map_err(Failure::passing)?;
            }
            Ok(())
        }
        Way::File(path) => {
            let mut text = Vec::new();
            for alert in news(batch) {
                text.extend(format!("{}\n", message::alert(alert)).into_bytes());
            }
            let path = path.clone();
            let added = spawn_blocking(move || add(&path, &text)).await;
            added.unwrap_or_else(|error| Err(error.to_string())).map_err(Failure::passing)
        }
    }
}

/// Those that it isn't told of again.
fn news(batch: &Batch) -> impl Iterator<Item = &Sent> {
    batch.alerts.iter().filter(|alert| alert.is_news)
}

/// Adds lines to a file, made for this user alone where it is missing.
fn add(path: &Path, text: &[u8]) -> Result<(), String> {
    let failed = |error| format!("failed to add to `{}`: {error}", path.display());
    let mut options = File::options();
    // One that is no file mustn't hold this up until somebody reads.
    options.read(true).append(true).create(true);
    let mut file = for_this_user_alone(&mut options).open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(format!("`{}` is no regular file", path.display()));
    }
    file.write_all(text).map_err(failed)
}

/// Runs a command for an alert, in a sandbox of its own, with the alert on its standard input.
async fn run(
    name: &str,
    command: &[OsString],
    policy: &Policy,
    patience: Duration,
    alert: &Sent,
) -> Result<(), String> {
    let label = |name: &str| alert.labels.get(name).map_or("", String::as_str);
    let mut policy = policy.clone();
    for (variable, value) in [
        ("STOCKADE_ALERT", label(super::NAME)),
        ("STOCKADE_ALERT_STATUS", message::status(alert)),
        ("STOCKADE_SERVICE", label("service")),
    ] {
        policy = policy.env(variable, value);
    }
    let builder = Sandbox::builder(policy).command(command).name(format!("alert-{name}"));
    let builder = builder.stdin(Stdio::Piped).stdout(Stdio::Null).stderr(Stdio::Null);
    let mut sandbox = builder.start().map_err(|error| error.chain())?;
    let (stdin, text) = (sandbox.stdin.take(), format!("{}\n", message::alert(alert)));
    let writing = async {
        if let Some(mut stdin) = stdin {
            // One that doesn't read it has what it wants in its variables.
            stdin.write_all(text.as_bytes()).await.unwrap_or(());
        }
    };
    // Dropped, it is gone.
    let ended = timeout(patience, async { tokio::join!(sandbox.wait(), writing).0 }).await;
    match ended {
        Err(_) => Err(format!("it took longer than {patience:?}")),
        Ok(Err(error)) => Err(error.chain()),
        Ok(Ok(report)) if report.success() => Ok(()),
        Ok(Ok(report)) => Err(ended_so(&report)),
    }
}

fn ended_so(report: &ExitReport) -> String {
    match (report.exit_code, report.signal) {
        (Some(code), _) => format!("it exited with {code}"),
        (_, Some(number)) => format!("it was ended by signal {number}"),
        _ => report.error.clone().unwrap_or_else(|| "nobody saw how it ended".to_owned()),
    }
}
