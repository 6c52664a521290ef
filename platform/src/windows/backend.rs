//! The backend: a plan becomes a job and a process in it.

use super::birth::Command;
use super::job::Job;
use super::limits::{self, Setting, Wanted};
use super::running::{Port, WindowsRunning};
use super::token::Token;
use super::{support, trial};
use crate::{
    Access, Backend, Control, Decision, Enforcement, Gate, LaunchPlan, Launched, PlatformError,
    Probe, State, StdioSet, Support,
};
use std::collections::BTreeMap;

/// Launches programs in job objects.
#[derive(Clone, Copy, Debug, Default)]
pub struct WindowsBackend(());

impl WindowsBackend {
    /// The backend; nothing is looked at yet.
    pub fn new() -> Self {
        Self(())
    }
}

impl Backend for WindowsBackend {
    fn name(&self) -> &'static str {
        "windows"
    }

    fn support(&self, probe: Probe) -> Support {
        let facts = if probe == Probe::Thorough { trial::facts() } else { Vec::new() };
        support::support(trial::lost(), facts)
    }

    fn explain(&self, plan: &LaunchPlan) -> Result<Vec<String>, PlatformError> {
        check(plan)?;
        let (wanted, _) = limits::of(plan, processors());
        let command = Command::of(plan)?;
        let mut lines = vec!["make a job".to_owned()];
        lines.extend(wanted.iter().map(|wanted| wanted.setting.to_string()));
        let (token, _) = who(plan)?;
        if let Some(token) = token {
            let low = token.is_low().unwrap_or(false);
            let integrity = if low { ", of low integrity" } else { "" };
            lines.push(format!("be the caller without privileges{integrity}"));
        }
        lines.push("inherit the three standard streams alone".to_owned());
        let words: Vec<String> = plan.command.iter().skip(1).map(LaunchPlan::readable).collect();
        lines
            .push(format!("execute {} {}", command.program, words.join(" ")).trim_end().to_owned());
        Ok(lines)
    }

    fn launch(&self, plan: &LaunchPlan, stdio: StdioSet) -> Result<Launched, PlatformError> {
        check(plan)?;
        if !stdio.passed.is_empty() {
            return Err(PlatformError::invalid("sockets can't be passed to a program on Windows"));
        }
        let mut command = Command::of(plan)?;
        let failed = |error| PlatformError::system("failed to make a job", error);
        let job = Job::new().map_err(failed)?;
        let port = Port::new().map_err(failed)?;
        port.attach(&job).map_err(failed)?;
        let (token, unlowered) = who(plan)?;
        let mut enforcement = hold(plan, &job)?;
        for entry in enforcement.iter_mut().filter(|entry| entry.control == Control::Filesystem) {
            if let Some(why) = unlowered {
                *entry = Enforcement::new(Control::Filesystem, State::Unavailable, why);
            }
        }
        let mut born = command.start(&job, token.as_ref(), stdio, false)?;
        let pipes = std::mem::take(&mut born.pipes);
        let running = WindowsRunning::new(born, job, port, enforcement)?;
        Ok(Launched {
            running: Box::new(running),
            stdin: pipes.stdin,
            stdout: pipes.stdout,
            stderr: pipes.stderr,
            terminal: None,
            gate: Gate::default(),
        })
    }
}

/// How many processors a rate is of.
pub(super) fn processors() -> u32 {
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    u32::try_from(all).unwrap_or(1)
}

/// Refuses what is no control of its own, and would be missing without a word.
fn check(plan: &LaunchPlan) -> Result<(), PlatformError> {
    let cannot = |what: &str| {
        let message = format!("the windows backend can't do this: {what}");
        Err(PlatformError::invalid(message)
            .with_hint("take it out of the policy or the command line"))
    };
    match plan {
        _ if plan.terminal => cannot("a terminal of the program's own"),
        _ if plan.watch || plan.trace => cannot("watching what the program wishes for"),
        _ if plan.lasting.is_some() => cannot("a sandbox that outlives its starter"),
        _ if !plan.secrets.is_empty() => cannot("secrets, which need a view of files"),
        _ => Ok(()),
    }
}

/// The token of the plan's program; none where nothing of it is to be held. And why it isn't of low integrity, where that was to be.
///
/// # Errors
/// When the system has no such token.
fn who(plan: &LaunchPlan) -> Result<(Option<Token>, Option<&'static str>), PlatformError> {
    let failed = |error| PlatformError::system("failed to make a token without privileges", error);
    let is =
        |control, wanted: fn(&Decision) -> bool| plan.controls.get(&control).is_some_and(wanted);
    let restrict = is(Control::Capabilities, |it| *it == Decision::Enforce);
    let lower = is(Control::Filesystem, |it| matches!(it, Decision::Degrade { .. }));
    if !restrict && !lower {
        return Ok((None, None));
    }
    let token = Token::restricted().map_err(failed)?;
    let writes = plan.filesystem.binds.iter().any(|bind| bind.access != Access::Read);
    if lower && !writes {
        let failed = |error| PlatformError::system("failed to lower a token's integrity", error);
        token.lower().map_err(failed)?;
    }
    let why = "with low integrity nothing of what the policy lets be written could be";
    Ok((Some(token), (lower && writes).then_some(why)))
}

/// Tells the job the plan's limits, and what of them is in force then.
///
/// # Errors
/// When one that is to be held isn't kept, and the policy doesn't accept that by name.
fn hold(plan: &LaunchPlan, job: &Job) -> Result<Vec<Enforcement>, PlatformError> {
    let (wanted, impossible) = limits::of(plan, processors());
    let settings: Vec<Setting> = wanted.iter().map(|wanted| wanted.setting).collect();
    let mut lost: BTreeMap<Control, String> =
        impossible.into_iter().map(|it| (it.control, it.reason)).collect();
    for (setting, error) in job.tell(&settings) {
        let served = wanted.iter().find(|wanted| wanted.setting == setting);
        // That was tried with a process, where it can't be read back.
        if let Some(Wanted { control, .. }) = served
            && !(*control == Control::Lifetime && trial::lost().iter().all(|(it, _)| it != control))
        {
            lost.insert(*control, format!("the job doesn't keep it ({error})"));
        }
    }
    let of = |(control, decision): (&Control, &Decision)| {
        let setting = wanted.iter().find(|wanted| wanted.control == *control);
        let how = setting.map_or(support::how(*control).to_owned(), |it| it.setting.to_string());
        match (decision, lost.get(control)) {
            (Decision::Enforce, Some(reason)) if plan.accepted.contains(control) => {
                Ok(Enforcement::new(*control, State::Unavailable, reason))
            }
            (Decision::Enforce, Some(reason)) => {
                let flag = format!("accept it by name: `--degrade {control}`");
                Err(PlatformError::unsupported(*control, reason).with_hint(flag))
            }
            (Decision::Enforce, None) => Ok(Enforcement::new(*control, State::Enforced, how)),
            (Decision::Degrade { how, reason }, _) => {
                Ok(Enforcement::new(*control, State::Degraded, format!("{how} ({reason})")))
            }
            (Decision::Skip { reason }, _) => {
                Ok(Enforcement::new(*control, State::Unavailable, reason))
            }
        }
    };
    plan.controls.iter().map(of).collect()
}
