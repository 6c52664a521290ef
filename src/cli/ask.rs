//! `stockade pause|resume|kill|stop`: a request to sandboxes that run.

use crate::control::Request;
use crate::control::client::{self, Visit};
use crate::error::Error;
use crate::platform::parse_duration;
use clap::{Arg, ArgMatches, Command};
use std::time::Duration;

/// Name, help and request of each subcommand.
const VERBS: [(&str, &str, Request); 4] = [
    ("pause", "Stop every process of a sandbox, until it is resumed", Request::Pause),
    ("resume", "Let a paused sandbox go on", Request::Resume),
    ("kill", "End a sandbox now, and wait until nothing of it is left", Request::Kill),
    (
        "stop",
        "Ask a sandbox's program to end, end it after a grace, and wait until nothing of it is left",
        Request::Stop { grace_s: None },
    ),
];

/// The subcommands.
pub(super) fn commands() -> impl Iterator<Item = Command> {
    VERBS.iter().map(|(name, help, request)| {
        let command = Command::new(*name).about(*help).arg(
            Arg::new("id")
                .value_name("ID")
                .required(true)
                .num_args(1..)
                .help("Names of sandboxes, or their beginnings (`stockade stats` lists them)"),
        );
        if matches!(request, Request::Stop { .. }) {
            let grace = Arg::new("grace").long("grace").value_name("TIME").value_parser(time);
            command.arg(grace.help("Time until the kill, such as `5s`; else the policy's"))
        } else {
            command
        }
    })
}

fn time(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

/// The request that a subcommand makes; none for other subcommands.
pub(super) fn request(name: &str, matches: &ArgMatches) -> Option<Request> {
    let (.., request) = VERBS.iter().find(|(verb, ..)| *verb == name)?;
    Some(match request {
        Request::Stop { .. } => {
            let grace = matches.get_one::<Duration>("grace");
            Request::Stop { grace_s: grace.map(Duration::as_secs_f64) }
        }
        other => other.clone(),
    })
}

/// Makes it, and gives the exit code.
pub(super) fn run(request: &Request, matches: &ArgMatches) -> Result<u8, Error> {
    let words = matches.get_many::<String>("id").into_iter().flatten();
    // All are found before one is touched.
    let ids = words.map(|word| client::find(word)).collect::<Result<Vec<_>, _>>()?;
    let mut leaving = Vec::new();
    for id in ids {
        let gone = || Error::asked(format!("sandbox `{id}` has ended"), "");
        let mut visit = Visit::new(&id)?.ok_or_else(gone)?;
        let answer = visit.ask(request)?;
        match request {
            // Ended is what was asked for, by whomever.
            Request::Kill | Request::Stop { .. } => leaving.push(visit),
            _ if answer.is_none() => return Err(gone()),
            _ => {}
        }
    }
    leaving.into_iter().try_for_each(Visit::ended)?;
    Ok(0)
}
