//! `stockade policy`: check policies, list and explain them, and describe their form; `judge` has the rest.

use super::{FAILED, backend, judge, learn, output, overrides};
use crate::error::Error;
use crate::fallback;
use crate::plan::{LaunchRequest, new_id};
use crate::platform::LaunchPlan;
use crate::policy::{self, CallRuling, Explained, ExplainedCall, Policy};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use serde::Serialize;
use serde_json::Value;
use std::ffi::OsString;
use std::fmt::Write;

/// What `explain` can show, in the order in which one follows from the other.
const STAGES: [&str; 4] = ["policy", "syscalls", "plan", "operations"];

/// The subcommand. Its parts are made only when it is the one that was called: a `run` doesn't wait for them.
pub(super) fn command() -> Command {
    Command::new("policy")
        .about("Check, list, explain and compare policies")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .defer(|command| {
            command.subcommands([
                check_command(),
                list_command(),
                show_command(),
                schema_command(),
                explain_command(),
                learn::command(),
                judge::score_command(),
                judge::lint_command(),
                judge::diff_command(),
            ])
        })
}

fn check_command() -> Command {
    Command::new("check")
        .about("Tell everything that is wrong with policies, without running anything")
        .after_help("Exit codes: 0 when all are right, 125 when one isn't.")
        .arg(word("policies", "NAME|FILE").num_args(1..).help("Policy files, or shipped names"))
}

fn list_command() -> Command {
    Command::new("list").about("List the policies that come with Stockade").arg(json_flag())
}

fn show_command() -> Command {
    Command::new("show")
        .about("Print the file of a policy that comes with Stockade, to start one's own from")
        .arg(word("name", "NAME").help("A shipped policy"))
}

fn schema_command() -> Command {
    Command::new("schema").about("Print the JSON Schema of policy files, for editors")
}

fn explain_command() -> Command {
    let stage = Arg::new("stage")
        .long("stage")
        .value_name("STAGE")
        .value_parser(STAGES)
        .default_value(STAGES[0])
        .help("How far to go: the policy's values, every system call with its answer and why, the plan for this host, or the \
             operations of a launch");
    let program = Arg::new("command")
        .value_name("CMD")
        .num_args(0..)
        .last(true)
        .value_parser(value_parser!(OsString))
        .help("The program and its arguments, for the plan and the operations [default: true]");
    Command::new("explain")
        .about("Show what a policy means: its values and where they come from, the launch plan, the operations")
        .arg(stage)
        .arg(json_flag())
        .arg(backend::flag())
        .args(overrides::flags())
        .arg(word("policy", "NAME|FILE").help("A shipped policy, or a policy file"))
        .arg(program)
}

pub(super) fn json_flag() -> Arg {
    Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print one JSON object")
}

/// An argument without a flag that must be there.
pub(super) fn word(name: &'static str, value: &'static str) -> Arg {
    Arg::new(name).value_name(value).required(true).value_parser(value_parser!(OsString))
}

/// Runs it, and gives the exit code.
pub(super) fn run(matches: &ArgMatches) -> Result<u8, Error> {
    match matches.subcommand() {
        Some(("check", matches)) => check(matches),
        Some(("list", matches)) => list(matches.get_flag("json")),
        Some(("show", matches)) => show(matches),
        Some(("schema", _)) => print_json(&policy::schema()),
        Some(("explain", matches)) => explain(matches),
        Some(("learn", matches)) => learn::run(matches),
        Some(("score", matches)) => judge::score(matches),
        Some(("lint", matches)) => judge::lint(matches),
        Some(("diff", matches)) => judge::diff(matches),
        _ => Ok(FAILED),
    }
}

fn check(matches: &ArgMatches) -> Result<u8, Error> {
    let directory = output::current_directory()?;
    let mut code = 0;
    for word in matches.get_many::<OsString>("policies").into_iter().flatten() {
        match Policy::load(word, &[], &directory) {
            Ok(policy) => {
                output::result(format_args!("{}: ok", LaunchPlan::readable(word)))?;
                for warning in policy.warnings() {
                    output::note(format_args!(
                        "warning: {}: {warning}",
                        LaunchPlan::readable(word)
                    ));
                }
            }
            Err(error) => code = output::failure(&error.into()),
        }
    }
    Ok(code)
}

#[derive(Debug, Serialize)]
struct Listed {
    name: &'static str,
    description: String,
}

fn list(json: bool) -> Result<u8, Error> {
    let shipped = policy::shipped().map(|(name, description)| Listed { name, description });
    if json {
        return print_json(&shipped.collect::<Vec<_>>());
    }
    for Listed { name, description } in shipped {
        output::result(format_args!("{name:9}{description}"))?;
    }
    Ok(0)
}

fn show(matches: &ArgMatches) -> Result<u8, Error> {
    let name = matches.get_one::<OsString>("name").map(LaunchPlan::readable).unwrap_or_default();
    output::result(policy::shipped_text(&name)?.trim_end())?;
    Ok(0)
}

#[derive(Debug, Serialize)]
struct Values {
    name: String,
    digest: String,
    values: Vec<Explained>,
}

fn explain(matches: &ArgMatches) -> Result<u8, Error> {
    let json = matches.get_flag("json");
    let directory = output::current_directory()?;
    let words = |name: &str| matches.get_many::<OsString>(name).into_iter().flatten().cloned();
    let word = words("policy").next().unwrap_or_default();
    let stage = matches.get_one::<String>("stage").map_or(STAGES[0], String::as_str);
    if stage == "syscalls" {
        let overrides = overrides::overrides(matches);
        let (_, calls) = policy::explain_syscalls(word, &overrides, &directory)?;
        if json {
            return print_json(&calls);
        }
        output::result(calls_table(&calls).trim_end())?;
        return Ok(0);
    }
    let (policy, values) = policy::explain(word, &overrides::overrides(matches), &directory)?;
    for warning in policy.warnings() {
        output::note(format_args!("warning: {warning}"));
    }
    if stage == "policy" {
        if json {
            let digest = policy.digest();
            return print_json(&Values { name: policy.name, digest, values });
        }
        output::result(table(&values).trim_end())?;
        return Ok(0);
    }
    let mut command: Vec<OsString> = words("command").collect();
    if command.is_empty() {
        command.push("true".into());
    }
    let id = new_id(None, command.first().map(OsString::as_os_str));
    let request = || LaunchRequest {
        id: id.clone(),
        command: command.clone(),
        environment: std::env::vars_os().collect(),
        working_directory: Some(directory.clone()),
        terminal: false,
    };
    let (backend, plan) = fallback::compile(backend::asked(matches)?, &policy, request, |_| {})?;
    if stage == "plan" {
        if json {
            return print_json(&plan);
        }
        let mut lines = String::new();
        flatten("", &as_json(&plan)?, &mut lines);
        output::result(lines.trim_end())?;
        return Ok(0);
    }
    let operations = backend.explain(&plan)?;
    if json {
        return print_json(&operations);
    }
    for operation in operations {
        output::result(operation)?;
    }
    Ok(0)
}

/// Key, value and origin in columns.
fn table(values: &[Explained]) -> String {
    let width = |text: fn(&Explained) -> &str| {
        values.iter().map(|value| text(value).chars().count()).max().unwrap_or(0).min(40)
    };
    let (keys, contents) = (width(|value| value.key), width(|value| &value.value));
    let mut lines = String::new();
    for Explained { key, value, origin, .. } in values {
        // Writing to a string can't fail.
        writeln!(lines, "{key:keys$}  {value:contents$}  {origin}").unwrap_or(());
    }
    lines
}

/// Call, answer and reason in columns; rules that are looked at first stand below.
fn calls_table(calls: &[ExplainedCall]) -> String {
    let width = calls.iter().map(|one| one.call.len()).max().unwrap_or(0);
    let mut lines = String::new();
    for ExplainedCall { call, answer, why, rules, .. } in calls {
        writeln!(lines, "{call:width$}  {answer:6}  {why}").unwrap_or(());
        for (place, CallRuling { when, answer, why, .. }) in rules.iter().enumerate() {
            let when = match (when.as_str(), place) {
                ("", 0) => "always",
                ("", _) => "otherwise",
                (when, _) => when,
            };
            writeln!(lines, "{:width$}  {answer:6}  {when}: {why}", "").unwrap_or(());
        }
    }
    lines
}

/// One line for each value: `limits.memory = 268435456`; lists of plain values in one line.
fn flatten(path: &str, value: &Value, lines: &mut String) {
    let below =
        |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    let plain = |value: &Value| !(value.is_object() || value.is_array());
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            entries.iter().for_each(|(name, value)| flatten(&below(name), value, lines));
        }
        Value::Array(entries) if !entries.iter().all(plain) => {
            for (place, value) in entries.iter().enumerate() {
                flatten(&format!("{path}[{place}]"), value, lines);
            }
        }
        value => writeln!(lines, "{path} = {value}").unwrap_or(()),
    }
}

fn as_json(value: &impl Serialize) -> Result<Value, Error> {
    serde_json::to_value(value).map_err(not_json)
}

pub(super) fn print_json(value: &impl Serialize) -> Result<u8, Error> {
    output::result(serde_json::to_string_pretty(value).map_err(not_json)?)?;
    Ok(0)
}

fn not_json(error: serde_json::Error) -> Error {
    Error::io("failed to write the result as JSON", error.into())
}
