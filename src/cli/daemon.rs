//! `stockade daemon`: keeps services running, and answers those who may ask.

use super::{output, run, up};
use crate::daemon::{Grant, Options, Running};
use crate::error::Error;
use crate::platform::{IncomingSignals, Signal};
use crate::supervisor::Lines;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use std::ffi::OsString;
use std::path::PathBuf;

const AFTER: &str = "\
It keeps the services of a stack file running as `stockade up` does, and answers HTTP/1.1 with JSON on a socket: `stockade ps`, \
`start`, `stop`, `restart`, `events`, `wait`, `down` and others ask it there, and so can curl: \
`curl --unix-socket /run/stockade/daemon/api.sock http://localhost/openapi.json` says what can be asked.

The socket is /run/stockade/daemon/api.sock for root, and in $XDG_RUNTIME_DIR/stockade/daemon for others; with `--socket` name it to the \
other commands too, or set STOCKADE_SOCKET. Its user and root may do everything; `--allow` lets others in, by a role: `read` sees, \
`operate` also starts, stops and signals services, `admin` also applies another stack and ends the daemon.

SIGTERM and SIGINT stop the services, each after those that depend on it, and end the daemon; a second one kills them. SIGHUP reads \
the stack file again and applies what has changed.

Exit codes: 0 when it was asked to end; 125 when Stockade failed or refused.

Example: stockade daemon --file /etc/stockade.toml --audit /var/log/stockade-audit.jsonl";

/// The flag that names a daemon's socket.
pub(super) fn socket() -> Arg {
    Arg::new("socket")
        .long("socket")
        .value_name("PATH")
        .value_parser(value_parser!(OsString))
        .help("The daemon's socket; else $STOCKADE_SOCKET, else the usual one")
}

pub(super) fn command() -> Command {
    Command::new("daemon")
        .about("Keep the services of a stack file running, and answer requests on a socket")
        .after_help(AFTER)
        .arg(up::file())
        .arg(socket())
        .arg(
            Arg::new("allow")
                .long("allow")
                .value_name("ROLE:WHO")
                .action(ArgAction::Append)
                .value_parser(|text: &str| text.parse::<Grant>())
                .help("Let a user or an @GROUP in, as `read`, `operate` or `admin`"),
        )
        .arg(
            Arg::new("audit")
                .long("audit")
                .value_name("FILE")
                .value_parser(value_parser!(OsString))
                .help("Write down who asked for what, and what became of it (`stockade audit`)"),
        )
}

/// Runs it to its end, and gives the exit code.
pub(super) fn run(matches: &ArgMatches) -> Result<u8, Error> {
    let path = |name: &str| matches.get_one::<OsString>(name).map(PathBuf::from);
    let directory = output::current_directory()?;
    let options = Options {
        stack: path("file").unwrap_or_default(),
        socket: path("socket").map(|path| directory.join(path)),
        grants: matches.get_many("allow").into_iter().flatten().copied().collect(),
        audit: path("audit").map(|path| directory.join(path)),
        directory,
    };
    run::event_loop()?.block_on(async {
        let failed = |error| Error::io("failed to catch signals", error);
        let mut signals = IncomingSignals::catch().map_err(failed)?;
        let (daemon, mut lines) = Running::start(options)?;
        output::note("stockade: the daemon answers");
        keep(&daemon, &mut signals, &mut lines).await?;
        daemon.close().await;
        while let Some(line) = lines.next().await {
            up::print(&line, 0)?;
        }
        Ok(0)
    })
}

/// Until nothing runs any more, as somebody wanted.
async fn keep(
    daemon: &Running,
    signals: &mut IncomingSignals,
    lines: &mut Lines,
) -> Result<(), Error> {
    let mut stopping = false;
    loop {
        tokio::select! {
            () = daemon.ended() => return Ok(()),
            Some(line) = lines.next() => up::print(&line, 0)?,
            signal = signals.next() => match signal {
                Signal::Interrupt | Signal::Terminate | Signal::Quit => {
                    if stopping {
                        output::note("stockade: killing all services");
                        daemon.kill();
                    } else {
                        output::note("stockade: stopping all services; once more kills them");
                        daemon.stop();
                    }
                    stopping = true;
                }
                Signal::Hangup => apply(daemon).await,
                _ => {}
            },
        }
    }
}

/// Nobody waits for an answer to a signal: what comes of it is told.
async fn apply(daemon: &Running) {
    match daemon.apply().await {
        Ok(changes) => {
            let number = changes.len();
            output::note(format_args!("stockade: the stack file is applied: {number} changes"));
        }
        Err(error) => {
            output::failure(&error);
            output::note("stockade: what was in force stays so");
        }
    }
}
