//! `stockade config`: what stands in a stack file, and what could.

use super::{output, up};
use crate::error::Error;
use crate::supervisor::{Stack, stack_schema};
use clap::{ArgMatches, Command};

pub(super) fn command() -> Command {
    Command::new("config")
        .about("Check and show stack files")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("check")
                .about("Tell everything that is wrong with a stack file, without starting anything")
                .arg(up::file()),
        )
        .subcommand(
            Command::new("show")
                .about("Show the services of a stack file, in the order in which they are started")
                .arg(up::file()),
        )
        .subcommand(
            Command::new("schema").about("Print the JSON Schema of stack files, for editors"),
        )
}

/// Runs a subcommand, and gives the exit code.
pub(super) fn run(matches: &ArgMatches) -> Result<u8, Error> {
    match matches.subcommand() {
        Some(("check", matches)) => {
            let stack = up::load(matches)?;
            output::result(format_args!(
                "{} services, and nothing is wrong",
                stack.services.len()
            ))?;
        }
        Some(("show", matches)) => output::result(shown(&up::load(matches)?).trim_end())?,
        _ => output::result(format_args!("{:#}", stack_schema()))?,
    }
    Ok(0)
}

fn shown(stack: &Stack) -> String {
    let mut text = String::new();
    for name in stack.order() {
        let Some(service) = stack.services.get(name) else { continue };
        let words: Vec<String> =
            service.command.iter().map(crate::platform::LaunchPlan::readable).collect();
        let enabled = if service.enabled { "" } else { " (disabled)" };
        text += &format!("{name}{enabled}: {} [{}]\n", words.join(" "), service.policy.name);
        for (needed, need) in &service.depends_on {
            let optional = if need.required { "" } else { ", if it comes" };
            let again = if need.restart { ", and again when it comes back" } else { "" };
            let word = need.condition.word();
            text += &format!("    after `{needed}` is {word}{optional}{again}\n");
        }
        for (purpose, probe) in service.probes.all() {
            let every = format!("every {:?}", probe.probe.period);
            text += &format!("    {purpose} by {}, {every}\n", probe.check.told());
        }
    }
    text
}
