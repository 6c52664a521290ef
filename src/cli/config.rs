//! `stockade config`: what stands in a stack file, and what could.

use super::remote::LATE;
use super::{output, remote, up};
use crate::error::Error;
use crate::platform::Whom;
use crate::supervisor::{Stack, stack_schema};
use clap::{Arg, ArgAction, ArgMatches, Command};
use hyper::Method;
use serde_json::{Value, json};
use std::time::Duration;

const CODES: &str = "\
Exit codes: 0; 1 when it was begun and failed; 124 when the time is over; 125 when Stockade failed or the stack file is wrong.";

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
            remote::waiting(Command::new("apply"))
                .about("Have the daemon read its stack file again, and change only what differs")
                .after_help(CODES)
                .arg(
                    Arg::new("dry-run")
                        .long("dry-run")
                        .visible_alias("diff")
                        .action(ArgAction::SetTrue)
                        .help("Only tell what would change"),
                )
                .arg(remote::json_flag()),
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
        Some(("apply", matches)) => return apply(matches),
        Some(("show", matches)) => output::result(shown(&up::load(matches)?).trim_end())?,
        _ => output::result(format_args!("{:#}", stack_schema()))?,
    }
    Ok(0)
}

fn apply(matches: &ArgMatches) -> Result<u8, Error> {
    remote::with(matches, async |_, mut client| {
        let dry_run = matches.get_flag("dry-run");
        let body = json!({ "dry_run": dry_run });
        let answer = client.ask(Method::POST, "/v1/stack/apply", Some(&body)).await?;
        let mut answer = answer.accepted()?;
        let mut late = false;
        if !dry_run && !matches.get_flag("no-wait") {
            let patience = matches.get_one::<Duration>("timeout").copied();
            let mut begun = [answer["operation"].take()];
            late = remote::finish(&mut client, &mut begun, patience).await?;
            let [operation] = begun;
            answer["applied"] = (operation["state"] == "done").into();
            answer["operation"] = operation;
        }
        let list = |name: &str| answer[name].as_array().into_iter().flatten();
        let alerts = list("alerts").filter_map(Value::as_str);
        let alerts = alerts.map(|table| format!("[{table}]: changed as it runs (alerts)"));
        let changes: Vec<String> = list("changes").map(change).chain(alerts).collect();
        let (under_way, failed) =
            (answer["operation"]["state"] == "running", answer["operation"]["error"].as_str());
        if let Some(error) = failed {
            output::note(format_args!("error: {}", output::plain(error)));
        }
        let code = if late { LATE } else { u8::from(failed.is_some()) };
        if matches.get_flag("json") {
            output::result(&answer)?;
        } else if under_way {
            let number = &answer["operation"]["id"];
            output::result(format_args!("asked for, as operation {number}"))?;
        } else if failed.is_some() {
            // That is told.
        } else if changes.is_empty() {
            output::result(if dry_run { "nothing would change" } else { "nothing has changed" })?;
        } else if dry_run {
            for change in changes {
                output::result(change.replacen(": ", ": would be ", 1))?;
            }
        } else {
            output::result(changes.join("\n"))?;
        }
        Ok(code)
    })
}

/// One difference in a line.
fn change(change: &Value) -> String {
    let keys = change["keys"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let keys = keys.collect::<Vec<_>>().join(", ");
    let what = match (change["change"].as_str(), change["restart"] == true) {
        (Some("added"), _) => "added".to_owned(),
        (Some("removed"), _) => "stopped and removed".to_owned(),
        (_, true) => format!("restarted ({keys})"),
        (_, false) => format!("changed as it runs ({keys})"),
    };
    format!("{}: {what}", change["service"].as_str().unwrap_or("?"))
}

/// Which process of somebody else's it is.
fn attached(whom: &Whom) -> String {
    match whom {
        Whom::Pid(pid) => format!("attached to process {pid}"),
        Whom::PidFile(path) => {
            format!("attached to the process in {}", crate::platform::LaunchPlan::readable(path))
        }
        Whom::Name(name) => format!("attached to the process named {name}"),
        _ => "attached".to_owned(),
    }
}

fn shown(stack: &Stack) -> String {
    let mut text = String::new();
    for name in stack.order() {
        let Some(service) = stack.services.get(name) else { continue };
        let words: Vec<String> =
            service.command.iter().map(crate::platform::LaunchPlan::readable).collect();
        let words = match &service.attach {
            Some(attach) => vec![attached(&attach.whom)],
            None => words,
        };
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
    for (name, rule) in &stack.alerts.rules {
        let about = match rule.services.join(", ") {
            all if all.is_empty() => "all services".to_owned(),
            names => names,
        };
        let labels = rule.matching.iter().map(|(name, value)| format!(" with {name}={value}"));
        let about = about + &labels.collect::<String>();
        let hold =
            if rule.hold.is_zero() { String::new() } else { format!(" for {:?}", rule.hold) };
        let told = match rule.receivers.join(", ") {
            nobody if nobody.is_empty() => "nobody is told".to_owned(),
            names => format!("tells {names}"),
        };
        text += &format!("alert {name}: {}{hold}, of {about}; {told}\n", rule.when.word());
    }
    for (name, receiver) in &stack.alerts.receivers {
        text += &format!("receiver of alerts {name}: {}\n", receiver.way.word());
    }
    text
}
