//! The command line: one file per subcommand; `output` is the only place that prints.

mod alerts;
mod ask;
mod audit;
mod backend;
mod bars;
mod config;
mod daemon;
mod diff;
mod doctor;
mod exec;
mod judge;
mod learn;
mod logs;
mod manual;
mod output;
mod overrides;
mod policy;
mod remote;
mod run;
mod services;
mod session;
mod stats;
mod top;
mod up;
mod update;
mod watch;
mod widening;

use clap::Command;
use std::process::ExitCode;

/// Exit code for a failure of Stockade itself, as timeout(1), env(1) and docker have it.
pub(crate) const FAILED: u8 = 125;

/// The whole command.
fn command() -> Command {
    Command::new("stockade")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Run programs inside walls: their own view of the system, quotas, and one truthful report")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(run::command())
        .subcommand(up::command())
        .subcommand(daemon::command())
        .subcommands(services::commands())
        .subcommand(logs::command())
        .subcommand(alerts::command())
        .subcommand(config::command())
        .subcommand(policy::command())
        .subcommand(doctor::command())
        .subcommand(audit::command())
        .subcommand(stats::command())
        .subcommand(top::command())
        .subcommand(exec::command())
        .subcommand(update::command())
        .subcommand(diff::command())
        .subcommands(ask::commands())
        .subcommands(manual::commands())
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let matches = match command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return ExitCode::from(output::usage(&error)),
    };
    let result = match matches.subcommand() {
        Some(("run", matches)) => run::run(matches),
        Some(("up", matches)) => up::run(matches),
        Some(("daemon", matches)) => daemon::run(matches),
        Some(("logs", matches)) => logs::run(matches),
        Some(("alerts", matches)) => alerts::run(matches),
        Some(("config", matches)) => config::run(matches),
        Some(("policy", matches)) => policy::run(matches),
        Some(("doctor", matches)) => doctor::run(matches),
        Some(("audit", matches)) => audit::run(matches),
        Some(("stats", matches)) => stats::run(matches),
        Some(("top", matches)) => top::run(matches),
        Some(("exec", matches)) => exec::run(matches),
        Some(("update", matches)) => update::run(matches),
        Some(("diff", matches)) => diff::run(matches),
        Some((name @ ("completions" | "man"), matches)) => manual::run(command(), name, matches),
        Some((name, matches)) => match ask::request(name, matches) {
            Some(request) => ask::run(name, &request, matches),
            None => services::run(name, matches).unwrap_or(Ok(FAILED)),
        },
        None => Ok(FAILED),
    };
    ExitCode::from(result.unwrap_or_else(|error| output::failure(&error)))
}
