//! `stockade diff`: what sandboxes changed of copies.

use super::output;
use crate::error::Error;
use crate::platform::{Change, ChangeKind, ChangedKind, Changes, LaunchPlan, native};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use serde::Serialize;
use std::ffi::OsString;

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Told<'a> {
    /// Version of this form: 1. Fields may be added to a version, not changed.
    version: u32,
    #[serde(flatten)]
    changes: &'a Changes,
}

/// The subcommand.
pub(super) fn command() -> Command {
    Command::new("diff")
        .about("List what was changed of a copy, where `--overlay DIRECTORY` keeps it")
        .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print one JSON object"))
        .arg(
            Arg::new("word")
                .value_name("ID|DIR")
                .required(true)
                .value_parser(value_parser!(OsString))
                .help("A sandbox, or the beginning of its id; or the directory (with a `/`)"),
        )
}

/// Prints it, and gives the exit code.
pub(super) fn run(matches: &ArgMatches) -> Result<u8, Error> {
    let word = matches.get_one::<OsString>("word").cloned().unwrap_or_default();
    let changes = native()?.changes(&word)?;
    if matches.get_flag("json") {
        let told = Told { version: 1, changes: &changes };
        let json = serde_json::to_string(&told)
            .map_err(|error| Error::io("failed to write the changes as JSON", error.into()))?;
        output::result(json)?;
    } else {
        for change in &changes.changes {
            output::result(line(change))?;
        }
    }
    Ok(0)
}

/// One change in a line. A directory ends with a slash.
fn line(change: &Change) -> String {
    let word = match change.kind {
        ChangeKind::Added => "added",
        ChangeKind::Changed => "changed",
        ChangeKind::Deleted => "deleted",
    };
    let end = if change.what == ChangedKind::Directory { "/" } else { "" };
    format!("{word:<7}  {}{end}", output::plain(&LaunchPlan::readable(&change.path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_keeps_control_characters_from_the_terminal() {
        let change = |kind, what, path: &str| Change { kind, what, path: path.into() };
        let text = line(&change(ChangeKind::Added, ChangedKind::File, "/tmp/\u{1b}[2Jx"));
        assert_eq!(text, "added    /tmp/?[2Jx");
        let text = line(&change(ChangeKind::Deleted, ChangedKind::Directory, "/etc"));
        assert_eq!(text, "deleted  /etc/");
    }
}
