//! `stockade run`: one sandbox, its streams passed through, one report.

use super::session::Session;
use super::watch::{self, Watch};
use super::{backend, output, overrides};
use crate::audit::{AuditLog, Subject};
use crate::error::Error;
use crate::events::Events;
use crate::plan::new_id;
use crate::platform::{
    Bytes, Event, IncomingSignals, LaunchPlan, Signal, State, console, exit_with_large_code,
    inherited_file, leave_streams_to_program, stop_this_process,
};
use crate::policy::Policy;
use crate::report::{Cause, ExitReport, PolicyName};
use crate::sandbox::{Sandbox, SandboxBuilder};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use serde::Serialize;
use std::ffi::OsString;
use std::fs::File;
use std::io::Write;

const AFTER: &str = if console::HAS_SIGNALS {
    "\
Exit codes: the program's own; 128+n when signal n ended it; 124 when the wall or CPU time was over; 137 when another
limit ended it; 159 when a forbidden system call did; 125 when Stockade failed or refused; 126 when the program can't be executed; 127 when it wasn't found.

Example: stockade run --policy worker --memory 512MiB --report report.json -- python3 job.py"
} else {
    "\
Exit codes: the program's own; 124 when the wall or CPU time was over; 137 when another limit ended it; 125 when Stockade failed or
refused; 126 when the program can't be executed; 127 when it wasn't found.

Example: stockade run --policy .\\worker.toml --memory 512MiB --report report.json -- python job.py"
};

/// The figures were measured on two processors, Linux 6.18; a compiled file makes 2,300 such calls. Where others keep the
/// processors busy, each call waits for its turn too: then they were 8 and 4 to 5.
const TRACE: &str = "\
Tell of paths that are denied too (not shown, only for reading, hidden, denied), with the line that would allow each; every call \
that names a path waits to be looked at: opening a file takes 7 times as long (3 us became 22), compiling small files 2.5 times";

/// The subcommand.
pub(super) fn command() -> Command {
    let flag = |name, short, help| {
        Arg::new(name).short(short).long(name).action(ArgAction::SetTrue).help(help)
    };
    let text = |name, value, help| Arg::new(name).long(name).value_name(value).help(help);
    Command::new("run")
        .about("Run one program in a sandbox; its input and output pass through")
        .after_help(AFTER)
        .arg(
            text(
                "policy",
                "NAME|FILE",
                "A shipped policy (`stockade policy list`), or a policy file",
            )
            .short('p')
            .default_value("default")
            .value_parser(value_parser!(OsString)),
        )
        .arg(text("name", "NAME", "Name for the report; else the program's"))
        .arg(
            text("report", "FILE|fd:N", "Write the report as JSON to a file or an open descriptor")
                .value_parser(value_parser!(OsString)),
        )
        .arg(
            text(
                "events",
                "FILE|fd:N",
                "Write what happens to the sandbox, one JSON object a line",
            )
            .value_parser(value_parser!(OsString)),
        )
        .arg(
            text(
                "audit",
                "FILE",
                "Add what was denied, and how it ended, to a log that shows later changes (`stockade audit verify`)",
            )
            .value_parser(value_parser!(OsString)),
        )
        .arg(
            Arg::new("trace-denials").long("trace-denials").action(ArgAction::SetTrue).help(TRACE),
        )
        .arg(flag(
            "tty",
            't',
            "Give the program a terminal of its own, with job control and resizing",
        ))
        .arg(
            flag(
                "watch",
                'w',
                "Show what it uses, and its limits as bars, on the terminal while it runs",
            )
            .conflicts_with("tty"),
        )
        .arg(flag(
            "verbose",
            'v',
            "Print a summary to standard error, also when that is no terminal",
        ))
        .arg(backend::flag())
        .args(overrides::flags())
        .arg(
            Arg::new("command")
                .value_name("CMD")
                .required(true)
                .num_args(1..)
                .trailing_var_arg(true)
                .value_parser(value_parser!(OsString))
                .help("The program and its arguments"),
        )
}

/// Runs it, and gives the exit code.
pub(super) fn run(matches: &ArgMatches) -> Result<u8, Error> {
    let words = |name: &str| matches.get_many::<OsString>(name).into_iter().flatten().cloned();
    let command: Vec<OsString> = words("command").collect();
    let directory = std::env::current_dir()
        .map_err(|error| Error::io("failed to find the working directory", error))?;
    let name = words("policy").next().unwrap_or_else(|| "default".into());
    let policy = Policy::load(&name, &overrides::overrides(matches), &directory)?;
    if matches.get_flag("verbose") || output::is_watched() {
        for warning in policy.warnings() {
            output::note(format_args!("stockade: warning: {warning}"));
        }
    }
    // Opened first: a report that can't be written is told before anything runs.
    let report_to = words("report").next().map(|place| open(place, "report")).transpose()?;
    let events_to = words("events").next().map(|place| open(place, "events")).transpose()?;
    let log = words("audit").next().map(|place| AuditLog::open(place.as_ref())).transpose()?;
    let mut records = Records { events_to, log };
    // Kept for a report of a failed launch; the digest takes longer than the copy, and is rarely needed here.
    let asked = policy.clone();
    let label = matches.get_one::<String>("name").map(String::as_str);
    let shown = Shown { tty: matches.get_flag("tty"), watch: matches.get_flag("watch") };
    let id = new_id(label, command.first().map(OsString::as_os_str));
    let mut builder = Sandbox::builder(policy).command(command.clone()).id(id.clone());
    if let Some(backend) = backend::asked(matches)? {
        builder = builder.backend(backend);
    }
    if matches.get_flag("trace-denials") {
        builder = builder.trace_denials();
    }
    let launch = supervise(builder, shown, &mut records);
    let outcome = event_loop().and_then(|event_loop| event_loop.block_on(launch));
    let report = match &outcome {
        Ok(report) => report,
        Err(error) => {
            let told = PolicyName { digest: asked.digest(), name: asked.name };
            records.failed(&id, &told.digest, error)?;
            &ExitReport::launch_failed(&id, &command, told, error)
        }
    };
    if let Some(file) = report_to {
        write_report(file, report)?;
    }
    let report = outcome?;
    if matches.get_flag("verbose") || output::is_watched() {
        summarize(&report);
    }
    if let (Cause::Exited, Some(code)) = (report.cause, report.exit_code) {
        exit_with_large_code(code);
    }
    Ok(report.exit_status())
}

pub(super) fn event_loop() -> Result<tokio::runtime::Runtime, Error> {
    // tokio panics where it can't have the descriptors that it needs; this tries first, and can say so.
    let room = [(); 4].map(|()| std::io::pipe());
    room.into_iter()
        .try_for_each(|pipe| pipe.map(drop))
        .and_then(|()| tokio::runtime::Builder::new_current_thread().enable_all().build())
        .map_err(|error| Error::io("failed to start the event loop", error))
}

/// What of the terminal the program gets, and what the caller sees there.
#[derive(Clone, Copy, Debug)]
struct Shown {
    tty: bool,
    watch: bool,
}

/// Starts the sandbox, passes signals on, and waits.
async fn supervise(
    mut builder: SandboxBuilder,
    Shown { tty, watch }: Shown,
    records: &mut Records,
) -> Result<ExitReport, Error> {
    // Before the launch, so that no signal is lost on the way; the child starts with default actions all the same.
    let mut signals =
        IncomingSignals::catch().map_err(|error| Error::io("failed to catch signals", error))?;
    if tty {
        builder = builder.terminal();
    }
    let mut bars = None;
    if watch {
        let (new, watched) = Watch::new(builder)?;
        (bars, builder) = (Some(new), watched);
    }
    let mut sandbox = builder.start()?;
    let mut looks = tokio::time::interval(watch::PERIOD);
    if let Err(error) = sandbox.list()
        && output::is_watched()
    {
        output::note(format_args!("stockade: warning: {}", error.chain()));
    }
    let mut session = sandbox.terminal.take().map(Session::start).transpose()?;
    if session.is_none() {
        leave_streams_to_program()
            .map_err(|error| Error::io("failed to let go of the program's streams", error))?;
    }
    let stops = sandbox.stops();
    let mut events = records.wanted().then(|| sandbox.events()).transpose()?;
    records.started(&sandbox)?;
    let report = loop {
        let signal = tokio::select! {
            biased;
            Some(event) = next(&mut events) => {
                records.add(&sandbox, &event)?;
                continue;
            }
            report = sandbox.wait() => break report?,
            _ = looks.tick(), if bars.is_some() => {
                if let Some(bars) = &mut bars {
                    bars.look(&mut sandbox)?;
                }
                continue;
            }
            signal = signals.next() => signal,
            () = stops.notified(), if tty => Signal::Stop,
        };
        match (signal, &mut session) {
            (Signal::WindowChange, Some(session)) => session.resize(),
            (Signal::Stop, session) => {
                suspend(&sandbox, session.as_mut())?;
            }
            // Whoever stopped this process with SIGSTOP continues the program along with it.
            (signal, _) => sandbox.signal(signal)?,
        }
    };
    while let Some(event) = next(&mut events).await {
        records.add(&sandbox, &event)?;
    }
    records.ended(&sandbox, &report)?;
    if let Some(session) = session {
        session.finish();
    }
    if let Some(bars) = bars {
        bars.finish();
    }
    Ok(report)
}

async fn next(events: &mut Option<Events>) -> Option<Event> {
    match events {
        Some(events) => events.next().await,
        None => None,
    }
}

/// One event as a line of JSON, with its time and the sandbox's id.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    id: &'a str,
    #[serde(flatten)]
    event: &'a Event,
}

fn write_event(file: &mut File, id: &str, event: &Event) -> Result<(), Error> {
    let failed = |error| Error::io("failed to write an event", error);
    let line = Line { time: jiff::Timestamp::now().to_string(), id, event };
    let mut text = serde_json::to_string(&line).map_err(|error| failed(error.into()))?;
    text.push('\n');
    file.write_all(text.as_bytes()).map_err(failed)
}

/// Where what happens is written down.
#[derive(Debug)]
struct Records {
    events_to: Option<File>,
    log: Option<AuditLog>,
}

/// The beginning and the end in the audit log.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Milestone<'a> {
    Started { command: Vec<String>, policy_name: &'a str },
    LaunchFailed { error: String },
    Ended { cause: Cause, exit_code: Option<i32>, signal: Option<i32>, denials: u64 },
}

impl Records {
    fn wanted(&self) -> bool {
        self.events_to.is_some() || self.log.is_some()
    }

    fn add(&mut self, sandbox: &Sandbox, event: &Event) -> Result<(), Error> {
        if let Some(file) = &mut self.events_to {
            write_event(file, sandbox.id(), event)?;
        }
        if AuditLog::wants(event) { self.log(sandbox, event) } else { Ok(()) }
    }

    fn log(&mut self, sandbox: &Sandbox, event: &impl Serialize) -> Result<(), Error> {
        let subject = Subject { id: sandbox.id(), policy: &sandbox.policy().digest };
        self.log.as_mut().map_or(Ok(()), |log| log.add(subject, event))
    }

    fn started(&mut self, sandbox: &Sandbox) -> Result<(), Error> {
        let command = sandbox.command().iter().map(LaunchPlan::readable).collect();
        let policy_name = &sandbox.policy().name;
        self.log(sandbox, &Milestone::Started { command, policy_name })
    }

    fn ended(&mut self, sandbox: &Sandbox, report: &ExitReport) -> Result<(), Error> {
        let denials = report.denials.iter().map(|denial| denial.times).sum();
        let ExitReport { cause, exit_code, signal, .. } = *report;
        self.log(sandbox, &Milestone::Ended { cause, exit_code, signal, denials })
    }

    fn failed(&mut self, id: &str, policy: &str, error: &Error) -> Result<(), Error> {
        let event = Milestone::LaunchFailed { error: error.chain() };
        self.log.as_mut().map_or(Ok(()), |log| log.add(Subject { id, policy }, &event))
    }
}

/// Stops along with the program, until somebody continues this process.
fn suspend(sandbox: &Sandbox, session: Option<&mut Session>) -> Result<(), Error> {
    let stop = || stop_this_process().map_err(|error| Error::io("failed to stop", error));
    match session {
        Some(session) => {
            session.suspend();
            stop()?;
            session.resume()?;
        }
        None => {
            sandbox.signal(Signal::Stop)?;
            stop()?;
        }
    }
    sandbox.signal(Signal::Continue)
}

/// Opens what the command line names for the report or the events.
fn open(place: OsString, what: &str) -> Result<File, Error> {
    let descriptor = place.to_str().and_then(|text| text.strip_prefix("fd:"));
    let opened = match descriptor {
        Some(number) => {
            let number =
                number.parse().map_err(|_| std::io::Error::from(std::io::ErrorKind::InvalidInput));
            number.and_then(inherited_file)
        }
        None => File::create(&place),
    };
    let shown = LaunchPlan::readable(&place);
    opened.map_err(|error| Error::io(format!("failed to open `{shown}` for the {what}"), error))
}

fn write_report(mut file: File, report: &ExitReport) -> Result<(), Error> {
    let failed = |error| Error::io("failed to write the report", error);
    let mut text = serde_json::to_string(report).map_err(|error| failed(error.into()))?;
    text.push('\n');
    file.write_all(text.as_bytes()).map_err(failed)
}

/// Denials that the summary tells; the report has all.
const MOST_DENIALS: usize = 5;

/// The report in a few lines, for somebody at a terminal.
fn summarize(report: &ExitReport) {
    let limit = report.limit.map_or_else(String::new, |limit| format!(" ({limit})"));
    let end = match (report.cause, report.exit_code, report.signal) {
        (Cause::OutOfMemory, ..) => format!("out of memory{limit}"),
        (Cause::TimedOut, ..) => format!("timed out{limit}"),
        (Cause::LimitExceeded, ..) => format!("over its limit{limit}"),
        (Cause::Stopped, ..) => "ended, as asked".into(),
        (Cause::Denied, ..) => "killed for a forbidden system call".into(),
        (_, Some(code), _) => format!("exited with code {code}"),
        (_, None, Some(signal)) => format!("ended by signal {signal}"),
        (_, None, None) => "ended".into(),
    };
    let cpu = report.cpu.user.unwrap_or_default() + report.cpu.system.unwrap_or_default();
    let size =
        |bytes: Option<Bytes>| bytes.map_or_else(|| "unknown".into(), |bytes| bytes.to_string());
    output::note(format_args!(
        "stockade: {}: {end} after {:.3} s, cpu {:.3} s, memory peak {}",
        report.id,
        report.wall_time.as_secs_f64(),
        cpu.as_secs_f64(),
        size(report.memory.peak),
    ));
    for denial in report.denials.iter().take(MOST_DENIALS) {
        let times =
            if denial.times == 1 { "once".into() } else { format!("{} times", denial.times) };
        let why = denial.why.as_ref().map_or_else(String::new, |why| format!(": {why}"));
        let allow = denial.allow.as_ref();
        let allow = allow.map_or_else(String::new, |allow| format!("; `{allow}` would allow it"));
        let what = output::plain(&denial.what);
        output::note(format_args!("stockade: {}: denied {what} {times}{why}{allow}", denial.wall));
    }
    if let more @ 1.. = report.denials.len().saturating_sub(MOST_DENIALS) {
        output::note(format_args!("stockade: and {more} more kinds of denials: see the report"));
    }
    if let Some(why) = &report.fallback {
        let backend = report.backend.as_deref().unwrap_or_default();
        let why = why.replace('\n', "; ");
        output::note(format_args!("stockade: warning: launched by the {backend} backend: {why}"));
    }
    for entry in report.weakened() {
        let state = if entry.state == State::Degraded { "degraded" } else { "unavailable" };
        output::note(format_args!(
            "stockade: warning: {} is {state}: {}",
            entry.control, entry.how
        ));
    }
}
