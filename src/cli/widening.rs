//! `stockade policy learn --update`: adds to a policy file what a run needed, after showing it.

use super::{learn, output, overrides};
use crate::error::Error;
use crate::platform::{LaunchPlan, Original, Replaced};
use crate::policy::{
    self, Addition, Difference, HostFiles, LARGEST_FILE, Policy, PolicyFile, Widening, Wider,
};
use crate::report::{Cause, ExitReport};
use clap::ArgMatches;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

/// Runs the program, shows what is missing, writes it if that is wanted, and gives the exit code.
pub(super) fn run(place: &OsStr, command: &[OsString], matches: &ArgMatches) -> Result<u8, Error> {
    let directory = output::current_directory()?;
    let name = LaunchPlan::readable(place);
    // Before anything runs: what can't be written can't be updated.
    let original = original(place, &name)?;
    let file = PolicyFile::new(Path::new(place), original.content(), &directory)?;
    let base = Policy::load("base", &[], &directory)?;
    let mut policy = file.watched(&overrides::overrides(matches))?;
    if policy.filesystem.root.is_none() {
        policy = learn::reading_everything(policy);
        policy.filesystem.workdir.get_or_insert_with(|| directory.clone());
    }
    let (wished, report) = learn::watch(command, &policy)?;
    let widening = file.missing((&wished, &report), &policy, &base, &HostFiles);
    tell_end(&report);
    for told in &widening.refused {
        output::note(format_args!("stockade: {}", output::plain(told)));
    }
    if widening.additions.is_empty() {
        output::note(format_args!(
            "stockade: `{name}` permits all that it needed: nothing is written"
        ));
        return Ok(report.exit_status());
    }
    let widened = file.widened(&widening.additions)?;
    show(&name, &file, &widened, &widening);
    if matches.get_flag("dry-run") {
        return Ok(report.exit_status());
    }
    if !matches.get_flag("yes") {
        let untouched = format!("`{name}` stays as it is");
        if !output::can_ask() {
            let hint = "`--yes` adds it without asking, `--dry-run` only shows it";
            return Err(Error::asked(format!("{untouched}: nobody can be asked here"), hint));
        }
        if !output::ask(format_args!("Add this to `{name}`?"))? {
            return Err(Error::asked(untouched, ""));
        }
    }
    let failed = |error| Error::io(format!("failed to write `{name}`"), error);
    match original.replace(widened.text().as_bytes()).map_err(failed)? {
        Replaced::Yes => {
            output::note(format_args!("stockade: added to `{name}`"));
            Ok(report.exit_status())
        }
        Replaced::Changed => {
            let message = format!("`{name}` was changed meanwhile, so it stays as it is");
            Err(Error::asked(message, "run it again, to add to what is there now"))
        }
    }
}

/// The file to add to, if it can be.
fn original(place: &OsStr, name: &str) -> Result<Original, Error> {
    if policy::shipped_text(name).is_ok() {
        let message = format!("`{name}` comes with Stockade and can't be changed");
        let hint = format!("write `extends = \"{name}\"` into a file of your own, and name that");
        return Err(Error::asked(message, hint));
    }
    let path = Path::new(place);
    if let Ok(target) = std::fs::read_link(path) {
        let target = path.parent().unwrap_or(Path::new("")).join(target);
        let target = LaunchPlan::readable(target);
        let hint = format!("name what it leads to: `--update {target}`");
        return Err(Error::asked(format!("`{name}` is a symlink, which isn't followed"), hint));
    }
    Original::read(path, LARGEST_FILE).map_err(|error| {
        let message = format!("failed to open `{name}` to add to it");
        match error.kind() {
            io::ErrorKind::NotFound => {
                let hint = format!("without one yet, `-o {name}` writes one");
                Error::asked(format!("there is no `{name}`"), hint)
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                let hint = "it and its directory must be yours to write; `stockade policy learn -o` writes another one";
                Error::asked(format!("{message}: {error}"), hint)
            }
            _ => Error::io(message, error),
        }
    })
}

/// Says so where the run was cut short: then it isn't all.
fn tell_end(report: &ExitReport) {
    let limit = report.limit.map_or_else(String::new, |limit| format!(" (`{limit}`)"));
    let cut = match report.cause {
        Cause::OutOfMemory => "it ran out of memory",
        Cause::TimedOut => "its time was over",
        Cause::LimitExceeded => "it was over a limit",
        _ => return,
    };
    output::note(format_args!(
        "stockade: warning: {cut}{limit}, so there may be more that it needs: a flag such as `--memory 2GiB` gives it more room here"
    ));
}

/// What the file would permit, as `policy diff` has it, each with its reason.
fn show(name: &str, before: &PolicyFile, after: &PolicyFile, widening: &Widening) {
    let (first, second) = (before.explained(), after.explained());
    let differences = policy::diff((before.policy(), &first), (after.policy(), &second));
    for Difference { key, first, second, wider } in &differences {
        let who = match wider {
            Wider::Neither => "only different",
            _ => "it would permit more",
        };
        output::note(format_args!("{name}: {key}: {who}"));
        for value in first {
            output::note(format_args!("  - {}", output::plain(value)));
        }
        for value in second {
            let is_about = |one: &&Addition| {
                one.shown == *value
                    && (one.key == *key || one.key == "syscalls.allow" && *key == "syscalls")
            };
            // A limit is shown in another unit than it is written in.
            let only = |one: &&Addition| one.key == *key && second.len() == 1;
            let additions = || widening.additions.iter();
            let why = additions().find(is_about).or_else(|| additions().find(only));
            let why =
                why.map_or_else(String::new, |one| format!("   ({})", output::plain(&one.why)));
            output::note(format_args!("  + {}{why}", output::plain(value)));
        }
    }
    let score = |file: &PolicyFile| policy::exposure(file.policy()).score;
    output::note(format_args!(
        "{name} exposes {:.1} of 10 now, and {:.1} then",
        score(before),
        score(after)
    ));
}
