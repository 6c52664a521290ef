//! `stockade update`: other limits for a sandbox that runs, and other rules for its network.

use super::{output, overrides};
use crate::control::Request;
use crate::control::client::{self, Visit};
use crate::error::Error;
use clap::{Arg, ArgAction, ArgMatches, Command};

const ALLOW: &str = "Whom a filtered network lets out to from now on: all of them, each with a flag of its own; \
                     `none` for nobody";

/// The subcommand.
pub(super) fn command() -> Command {
    Command::new("update")
        .about("Change limits and network rules of a sandbox that runs; what that does at once is said first")
        .arg_required_else_help(true)
        .arg(
            Arg::new("id")
                .value_name("ID")
                .required(true)
                .help("Name of a sandbox, or its beginning (`stockade stats` lists them)"),
        )
        .arg(
            Arg::new("dry-run")
                .long("dry-run")
                .action(ArgAction::SetTrue)
                .help("Only say what it would do at once"),
        )
        .args(overrides::allow_flag().map(|flag| {
            flag.help(ALLOW).help_heading("Network").hide_short_help(false)
        }))
        .args(
            overrides::limit_flags().map(|flag| flag.help_heading("Limits").hide_short_help(false)),
        )
}

/// Changes them, and gives the exit code.
pub(super) fn run(matches: &ArgMatches) -> Result<u8, Error> {
    let word = matches.get_one::<String>("id").map_or("", String::as_str);
    let id = client::find(word)?;
    let mut set = Vec::new();
    for change in overrides::overrides(matches) {
        let Some(value) = change.value().to_str() else {
            return Err(Error::asked(format!("the value of {} is not UTF-8", change.path()), ""));
        };
        set.push((change.path().to_owned(), value.to_owned()));
    }
    if set.is_empty() {
        let hint = "name one, such as `--memory 512MiB`";
        return Err(Error::asked("no limit is to be changed, and no rule", hint));
    }
    let directory = output::current_directory()?;
    let Some(directory) = directory.to_str().map(str::to_owned) else {
        return Err(Error::asked("the working directory's name is not UTF-8", ""));
    };
    let gone = || Error::asked(format!("sandbox `{id}` has ended"), "");
    let mut visit = Visit::new(&id)?.ok_or_else(gone)?;
    let mut ask = |dry_run| {
        let (set, directory) = (set.clone(), directory.clone());
        visit.ask(&Request::Update { set, directory, dry_run })?.ok_or_else(gone)
    };
    let answer = ask(true)?;
    for consequence in answer["consequences"].as_array().into_iter().flatten() {
        let text = |name: &str| consequence[name].as_str().unwrap_or("?");
        output::note(format_args!("stockade: warning: {}: {}", text("limit"), text("what")));
    }
    if !matches.get_flag("dry-run") {
        ask(false)?;
    }
    Ok(0)
}
