//! `stockade pause|resume|kill|stop`: a request to services of the daemon, or to sandboxes that run.

use super::{output, remote, run, services};
use crate::control::Request;
use crate::control::client::{self, Visit};
use crate::error::Error;
use crate::platform::parse_duration;
use clap::{Arg, ArgMatches, Command};
use std::time::Duration;

/// Name, help and request of each subcommand.
const VERBS: [(&str, &str, Request); 4] = [
    ("pause", "Stop every process of a service or a sandbox, until it is resumed", Request::Pause),
    ("resume", "Let a paused service or sandbox go on", Request::Resume),
    ("kill", "End a service or a sandbox now, and wait until nothing of it is left", Request::Kill),
    (
        "stop",
        "Ask a service or a sandbox's program to end, end it after a grace, and wait until nothing of it is left",
        Request::Stop { grace_s: None },
    ),
];

const AFTER: &str = "\
A name of one of the daemon's services means that service; every other is a sandbox, by its id or the beginning of that. A service isn't \
started again by itself after `stop` and `kill`; of a sandbox of a service it is.";

/// The subcommands.
pub(super) fn commands() -> impl Iterator<Item = Command> {
    VERBS.iter().map(|(name, help, request)| {
        let command = Command::new(*name)
            .about(*help)
            .after_help(AFTER)
            .arg(Arg::new("id").value_name("NAME").required(true).num_args(1..).help(
            "Services (`stockade ps`), or sandboxes by their ids or beginnings (`stockade stats`)",
        ));
        let command = remote::waiting(command.arg(remote::json_flag()));
        if matches!(request, Request::Stop { .. }) {
            let grace = Arg::new("grace").long("grace").value_name("TIME").value_parser(time);
            command.arg(
                grace.help("For sandboxes: time until the kill, such as `5s`; else the policy's"),
            )
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
pub(super) fn run(verb: &str, request: &Request, matches: &ArgMatches) -> Result<u8, Error> {
    let words: Vec<String> = matches.get_many("id").into_iter().flatten().cloned().collect();
    let (services, words) = run::event_loop()?.block_on(async {
        let services = services::among(matches, &words).await?;
        let others = words.into_iter().filter(|word| !services.contains(word)).collect();
        Ok::<(Vec<String>, Vec<String>), Error>((services, others))
    })?;
    // All are found before one is touched.
    let ids = words.iter().map(|word| client::find(word)).collect::<Result<Vec<_>, _>>()?;
    let same = client::ids()?.into_iter().find(|id| services.contains(id));
    if let Some(name) = same {
        output::note(format_args!(
            "stockade: `{name}` is a service, and the sandbox of this id is left alone"
        ));
    }
    if !services.is_empty() && matches!(request, Request::Stop { grace_s: Some(_) }) {
        let hint = "a service has the time of `stop.grace_period` in its stack file";
        let message =
            format!("`--grace` is for sandboxes, and `{}` is a service", services.join("`, `"));
        return Err(Error::asked(message, hint));
    }
    ask_sandboxes(&ids, request)?;
    if services.is_empty() {
        return Ok(0);
    }
    remote::with(matches, async |path, mut client| {
        remote::act(path, &mut client, verb, &services, None, matches).await
    })
}

fn ask_sandboxes(ids: &[String], request: &Request) -> Result<(), Error> {
    let mut leaving = Vec::new();
    for id in ids {
        let gone = || Error::asked(format!("sandbox `{id}` has ended"), "");
        let mut visit = Visit::new(id)?.ok_or_else(gone)?;
        let answer = visit.ask(request)?;
        match request {
            // Ended is what was asked for, by whomever.
            Request::Kill | Request::Stop { .. } => leaving.push(visit),
            _ if answer.is_none() => return Err(gone()),
            _ => {}
        }
    }
    leaving.into_iter().try_for_each(Visit::ended)
}
