//! `stockade policy score`, `lint` and `diff`: what a policy exposes, what in it is probably not meant, and what one permits
//! that another doesn't.

use super::output;
use super::policy::{json_flag, print_json, word};
use crate::error::Error;
use crate::platform::LaunchPlan;
use crate::policy::{self, Difference, Policy, Wider};
use clap::{Arg, ArgMatches, Command, value_parser};
use serde::Serialize;
use std::ffi::OsString;
use std::path::PathBuf;

/// There is something to tell, as diff(1) says it with its exit code.
const TOLD: u8 = 1;

pub(super) fn score_command() -> Command {
    let most = Arg::new("at-most")
        .long("at-most")
        .value_name("SCORE")
        .value_parser(value_parser!(f64))
        .help("Exit with 1 when the score is higher");
    Command::new("score")
        .about("Tell how much a policy exposes, from 0 to 10, and what of it weighs most")
        .arg(most)
        .arg(json_flag())
        .arg(word("policy", "NAME|FILE").help("A shipped policy, or a policy file"))
}

pub(super) fn lint_command() -> Command {
    Command::new("lint")
        .about("Warn of what is allowed in policies and probably not meant")
        .after_help("Exit codes: 0 when there is nothing to warn of, 1 when there is, 125 when a policy is wrong.")
        .arg(json_flag())
        .arg(word("policies", "NAME|FILE").num_args(1..).help("Policy files, or shipped names"))
}

pub(super) fn diff_command() -> Command {
    Command::new("diff")
        .about("Show what one policy permits that another doesn't")
        .after_help("Exit codes: 0 when they permit the same, 1 when they don't, 125 when a policy is wrong.")
        .arg(json_flag())
        .arg(word("first", "NAME|FILE").help("A shipped policy, or a policy file"))
        .arg(word("second", "NAME|FILE").help("Another"))
}

fn named(matches: &ArgMatches, name: &str) -> OsString {
    matches.get_one::<OsString>(name).cloned().unwrap_or_default()
}

pub(super) fn score(matches: &ArgMatches) -> Result<u8, Error> {
    let policy = Policy::load(named(matches, "policy"), &[], &output::current_directory()?)?;
    let exposure = policy::exposure(&policy);
    let most = matches.get_one::<f64>("at-most").copied().unwrap_or(10.0);
    let code = if exposure.score > most { TOLD } else { 0 };
    if matches.get_flag("json") {
        print_json(&exposure)?;
        return Ok(code);
    }
    let width = exposure.findings.iter().map(|finding| finding.key.len()).max().unwrap_or(0);
    for finding in &exposure.findings {
        let mark = if finding.points > 0.0 { "+" } else { " " };
        output::result(format_args!(
            "{mark}{:4.2} of {:4.2}  {:width$}  {}",
            finding.points, finding.most, finding.key, finding.what
        ))?;
    }
    output::result(format_args!(
        "\n{} exposes {:.1} of 10: {}",
        policy.name, exposure.score, exposure.level
    ))?;
    Ok(code)
}

/// A warning with the policy that it is about.
#[derive(Debug, Serialize)]
struct Told {
    policy: String,
    #[serde(flatten)]
    warning: policy::Warning,
}

pub(super) fn lint(matches: &ArgMatches) -> Result<u8, Error> {
    let directory = output::current_directory()?;
    let mut all = Vec::new();
    for word in matches.get_many::<OsString>("policies").into_iter().flatten() {
        let policy = Policy::load(word, &[], &directory)?;
        let file = PathBuf::from(word);
        // A shipped name is no file, even where one lies that is called so.
        let file = policy::is_file(word).then(|| directory.join(file));
        let name = LaunchPlan::readable(word);
        let told = |warning| Told { policy: name.clone(), warning };
        all.extend(policy::lint(&policy, file.as_deref()).into_iter().map(told));
    }
    if matches.get_flag("json") {
        print_json(&all)?;
    } else {
        for Told { policy, warning } in &all {
            output::result(format_args!("{policy}: {}: {}", warning.key, warning.what))?;
        }
    }
    Ok(if all.is_empty() { 0 } else { TOLD })
}

pub(super) fn diff(matches: &ArgMatches) -> Result<u8, Error> {
    let directory = output::current_directory()?;
    let (first, second) = (named(matches, "first"), named(matches, "second"));
    let one = policy::explain(&first, &[], &directory)?;
    let other = policy::explain(&second, &[], &directory)?;
    let all = policy::diff((&one.0, &one.1), (&other.0, &other.1));
    let code = if all.is_empty() { 0 } else { TOLD };
    if matches.get_flag("json") {
        print_json(&all)?;
        return Ok(code);
    }
    let names = [&first, &second].map(LaunchPlan::readable);
    for Difference { key, first, second, wider } in &all {
        let who = match wider {
            Wider::First => format!("{} permits more", names[0]),
            Wider::Second => format!("{} permits more", names[1]),
            Wider::Both => "each permits something of its own".into(),
            Wider::Neither => "only different".into(),
        };
        output::result(format_args!("{key}: {who}"))?;
        for (sign, values) in [("-", first), ("+", second)] {
            for value in values {
                output::result(format_args!("  {sign} {value}"))?;
            }
        }
    }
    Ok(code)
}
