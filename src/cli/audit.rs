//! `stockade audit`: whether an audit log is as it was written.

use super::output;
use crate::audit::{Verified, verify};
use crate::error::Error;
use crate::platform::LaunchPlan;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use std::ffi::OsString;
use std::fs::File;

const AFTER: &str = "\
Exit codes: 0 when every line fits those before it, 1 when one doesn't, 125 when Stockade failed.

A log can't tell that lines at its end are gone: keep the digest that this prints elsewhere.";

/// The subcommand.
pub(super) fn command() -> Command {
    let json = Arg::new("json").long("json").action(ArgAction::SetTrue);
    let file = Arg::new("file").value_name("FILE").required(true);
    let file = file.value_parser(value_parser!(OsString));
    Command::new("audit")
        .about("Look at audit logs, which `run --audit` writes")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("verify")
                .about("Tell whether every line of an audit log fits those before it")
                .after_help(AFTER)
                .arg(json.help("Print one JSON object"))
                .arg(file.help("The log")),
        )
}

/// Runs it, and gives the exit code.
pub(super) fn run(matches: &ArgMatches) -> Result<u8, Error> {
    let Some(("verify", matches)) = matches.subcommand() else { return Ok(super::FAILED) };
    let Some(file) = matches.get_one::<OsString>("file") else { return Ok(super::FAILED) };
    let name = LaunchPlan::readable(file);
    let found = File::open(file).and_then(verify);
    let found = found.map_err(|error| Error::io(format!("failed to read `{name}`"), error))?;
    if matches.get_flag("json") {
        let failed = |error: serde_json::Error| {
            Error::io("failed to write the result as JSON", error.into())
        };
        output::result(serde_json::to_string_pretty(&found).map_err(failed)?)?;
    } else {
        tell(&name, &found)?;
    }
    Ok(u8::from(found.unfit.is_some()))
}

fn tell(name: &str, found: &Verified) -> Result<(), Error> {
    for line in &found.interrupted {
        output::note(format_args!("warning: {name}:{line}: interrupted while it was written"));
    }
    if let Some(unfit) = &found.unfit {
        return output::result(format_args!("{name}:{}: {}", unfit.line, unfit.reason));
    }
    let last = found.last.as_ref().map_or_else(String::new, |last| format!(", the last is {last}"));
    output::result(format_args!("{name}: {} lines, all fit{last}", found.lines))
}
