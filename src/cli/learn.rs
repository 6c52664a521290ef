//! `stockade policy learn`: runs a program with everything that it wishes for taken note of, and writes the policy that is just
//! enough for it; with `--update` it adds to one what is missing.

use super::policy::word;
use super::{output, overrides, widening};
use crate::error::Error;
use crate::platform::{IncomingSignals, LaunchPlan, Wished};
use crate::policy::{HostFiles, Learned, Policy};
use crate::report::ExitReport;
use crate::sandbox::Sandbox;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use std::ffi::OsString;
use std::fs::{DirEntry, File};
use std::io::Write;
use std::path::{Path, PathBuf};

const AFTER: &str = "\
The program runs behind all walls but may read what you may, /run aside; what it may change or reach follows from the flags, as
with `run`. With `--root` it sees that system, and the policy names it. Whatever it tries is learned from, allowed or not. Every system
call waits to be looked at, so that it takes many times as long. Exit codes are those of `run`.

With `--update` the policy is FILE's but for limits and the list of system calls, and the files are those that you may read and FILE
doesn't deny. Only what is missing is added to FILE: nothing is removed or made narrower, and comments stay. What FILE denies stays
denied, and system calls that no ordinary program needs and
writing to the system's directories are told and not added. Nothing is written before the difference was shown and you said yes, or `--yes`; otherwise the exit code is 125.

Examples:
  stockade policy learn -o job.toml --write ./out -- python3 job.py && stockade run -p job.toml -- python3 job.py
  stockade policy learn --update job.toml -- python3 job.py --other-input";

pub(super) fn command() -> Command {
    let file = Arg::new("output-file")
        .short('o')
        .long("output-file")
        .value_name("FILE")
        .default_value("learned.toml")
        .value_parser(value_parser!(OsString))
        .help("Where to write the policy; a file that is there already stays as it is");
    let update = Arg::new("update")
        .long("update")
        .value_name("FILE")
        .conflicts_with("output-file")
        .value_parser(value_parser!(OsString))
        .help("Add to this policy file what the program needs and it doesn't permit, instead of writing a new one");
    let flag = |name, help| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).requires("update").help(help)
    };
    Command::new("learn")
        .about("Run a program, and write a policy that is just enough for it, or add to one what is missing")
        .after_help(AFTER)
        .arg(file)
        .arg(update)
        .arg(flag("yes", "Add it without asking").short('y').conflicts_with("dry-run"))
        .arg(flag("dry-run", "Only show what would be added").short('n'))
        .args(overrides::flags())
        .arg(word("command", "CMD").num_args(1..).last(true).help("The program and its arguments"))
}

/// Runs it, and gives the exit code.
pub(super) fn run(matches: &ArgMatches) -> Result<u8, Error> {
    let words = |name: &str| matches.get_many::<OsString>(name).into_iter().flatten().cloned();
    let command: Vec<OsString> = words("command").collect();
    if let Some(file) = words("update").next() {
        return widening::run(&file, &command, matches);
    }
    let place = PathBuf::from(words("output-file").next().unwrap_or_default());
    let shown = LaunchPlan::readable(&place);
    let directory = output::current_directory()?;
    // Made first: what can't be written is told before anything runs.
    let mut file = File::create_new(&place)
        .map_err(|error| Error::io(format!("failed to make `{shown}` for the policy"), error))?;
    let (learned, report) = observe(&command, matches, &directory).inspect_err(|_| {
        // Nothing was learned, so nothing is left; the error to tell is the first one.
        std::fs::remove_file(&place).unwrap_or(());
    })?;
    let told: Vec<String> = command.iter().map(LaunchPlan::readable).collect();
    file.write_all(learned.text(&told.join(" ")).as_bytes())
        .map_err(|error| Error::io(format!("failed to write `{shown}`"), error))?;
    output::note(format_args!("stockade: learned `{shown}`; read it before you use it"));
    Ok(report.exit_status())
}

fn observe(
    command: &[OsString],
    matches: &ArgMatches,
    directory: &Path,
) -> Result<(Learned, ExitReport), Error> {
    let mut base = Policy::load("base", &[], directory)?;
    let mut policy = Policy::load("default", &overrides::overrides(matches), directory)?;
    if policy.filesystem.root.is_some() {
        // All of that is there to be read, and the host's files aren't what is asked about.
        base.filesystem.binds.clear();
    } else {
        policy.filesystem.workdir.get_or_insert_with(|| directory.to_owned());
        policy = reading_everything(policy);
    }
    let (wished, report) = watch(command, &policy)?;
    Ok((Learned::new((&wished, &report), &policy, &base, &HostFiles), report))
}

/// The same policy with everything shown for reading that it says nothing of.
pub(super) fn reading_everything(policy: Policy) -> Policy {
    let masked = |path: &PathBuf| policy.filesystem.masks.iter().any(|mask| mask.path == *path);
    let all: Vec<PathBuf> = top_level().into_iter().filter(|path| !masked(path)).collect();
    all.into_iter().fold(policy, Policy::read_too)
}

/// Runs it to its end, and tells what it wished for.
pub(super) fn watch(command: &[OsString], policy: &Policy) -> Result<(Wished, ExitReport), Error> {
    super::run::event_loop()?.block_on(async {
        let failed = |error| Error::io("failed to catch signals", error);
        let mut signals = IncomingSignals::catch().map_err(failed)?;
        let builder = Sandbox::builder(policy.clone()).command(command);
        let mut sandbox = builder.watch().start()?;
        let report = loop {
            tokio::select! {
                report = sandbox.wait() => break report?,
                signal = signals.next() => sandbox.signal(signal)?,
            }
        };
        Ok((sandbox.wishes(), report))
    })
}

/// What stands right below the root and can be shown as it is. Not `/run`: its sockets do things for whoever connects.
fn top_level() -> Vec<PathBuf> {
    const NOT: [&str; 5] = ["proc", "dev", "sys", "tmp", "run"];
    let is_shown = |entry: &DirEntry| !NOT.iter().any(|name| entry.file_name() == *name);
    let entries = std::fs::read_dir("/").into_iter().flatten().flatten();
    let mut all: Vec<PathBuf> = entries.filter(is_shown).map(|entry| entry.path()).collect();
    all.retain(|path| path.is_dir());
    all.sort();
    all
}
