//! `stockade exec`: another program in a sandbox that runs, with the caller's streams.

use crate::control::Request;
use crate::control::client::{self, Visit};
use crate::error::Error;
use crate::platform::IncomingSignals;
use clap::{Arg, ArgMatches, Command};
use std::ffi::OsString;

/// The subcommand.
pub(super) fn command() -> Command {
    Command::new("exec")
        .about("Start another program in a sandbox that runs, behind the same walls")
        .long_about(
            "Start another program in a sandbox that runs: in its namespaces, under its limits, behind the same walls, with the \
             environment and working directory of its own program. The streams are the caller's. It is killed, with all that \
             it started, when this command ends, and ends with the sandbox. The exit code is the program's own; 128+n when \
             signal n ended it; 125, 126 and 127 as of `stockade run`.",
        )
        .arg(
            Arg::new("id")
                .value_name("ID")
                .required(true)
                .help("Name of a sandbox, or its beginning (`stockade stats` lists them)"),
        )
        .arg(
            Arg::new("command")
                .value_name("COMMAND")
                .required(true)
                .num_args(1..)
                .trailing_var_arg(true)
                .allow_hyphen_values(true)
                .value_parser(clap::value_parser!(OsString))
                .help("The program and its arguments"),
        )
}

pub(super) fn run(matches: &ArgMatches) -> Result<u8, Error> {
    let id = client::find(matches.get_one::<String>("id").map_or("", String::as_str))?;
    let words = matches.get_many::<OsString>("command").into_iter().flatten();
    let text = |word: &OsString| {
        let wrong = || Error::asked("a program's arguments must be UTF-8 here", "");
        word.to_str().map(str::to_owned).ok_or_else(wrong)
    };
    let command = words.map(text).collect::<Result<Vec<_>, _>>()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::io("failed to start", error))?;
    // Caught before anything runs inside, so that none is lost.
    let signals = runtime.block_on(async { IncomingSignals::catch() });
    let signals = signals.map_err(|error| Error::io("failed to catch signals", error))?;
    let gone = || Error::asked(format!("sandbox `{id}` has ended"), "");
    let mut visit = Visit::new(&id)?.ok_or_else(gone)?;
    if visit.ask(&Request::Exec { command })?.is_none() {
        return Err(gone());
    }
    let ended = runtime.block_on(visit.execute(signals))?;
    ended.ok_or_else(gone)
}
