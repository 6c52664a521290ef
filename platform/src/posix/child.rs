//! From fork to exec: what the child does to itself.

use super::limits::Carried;
use super::{seatbelt, system};
use crate::files::permissions;
use crate::{InputPipe, LaunchPlan, OutputPipe, PlatformError, Stage, Stdio, StdioSet};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::{Rlimit, getrlimit, setrlimit};
use std::ffi::{CString, OsString};
use std::io::{self, ErrorKind, PipeWriter, Read, pipe};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

/// Permissions that new files don't get, where the plan says nothing.
const USUAL_MASK: u32 = 0o022;

/// The caller's ends of the streams that are pipes.
#[derive(Debug, Default)]
pub(super) struct Pipes {
    pub(super) stdin: Option<InputPipe>,
    pub(super) stdout: Option<OutputPipe>,
    pub(super) stderr: Option<OutputPipe>,
}

/// What the child does, each with a name for who reads of its failure.
#[derive(Clone, Debug)]
enum Step {
    BeginSession,
    Limit(Carried),
    /// Lower priority, 0 to 19.
    Nice(i32),
    FileModeMask(Mode),
    WorkingDirectory(CString),
    CloseOnExec,
    /// The last one: from here on only what the policy names can be opened.
    Seatbelt(CString),
}

impl Step {
    /// Makes it so, in a process that may do nothing but call the system.
    fn take(&self) -> Result<(), Errno> {
        match self {
            Self::BeginSession => rustix::process::setsid().map(drop),
            Self::Limit(Carried { resource, soft, hard, .. }) => {
                let limit = Rlimit { current: Some(*soft), maximum: Some(*hard) };
                setrlimit(*resource, limit)?;
                // What isn't as it was set isn't held.
                let set = getrlimit(*resource);
                let same = set.current == limit.current && set.maximum == limit.maximum;
                if same { Ok(()) } else { Err(Errno::INVAL) }
            }
            Self::Nice(nice) => rustix::process::setpriority_process(None, *nice),
            Self::FileModeMask(mask) => {
                rustix::process::umask(*mask);
                Ok(())
            }
            Self::WorkingDirectory(path) => rustix::process::chdir(path.as_c_str()),
            Self::CloseOnExec => system::close_on_exec(),
            Self::Seatbelt(profile) => system::confine(profile),
        }
    }

    fn told(&self) -> String {
        match self {
            Self::BeginSession => "begin a session".into(),
            Self::Limit(limit) => limit.to_string(),
            Self::Nice(nice) => format!("set the priority to {nice}"),
            Self::FileModeMask(mask) => format!("set the file mode mask to {:03o}", mask.bits()),
            Self::WorkingDirectory(path) => {
                format!(
                    "start in {}",
                    LaunchPlan::readable(OsString::from(path.to_string_lossy().as_ref()))
                )
            }
            Self::Seatbelt(profile) => {
                format!("enter a Seatbelt profile of {} bytes", profile.count_bytes())
            }
            Self::CloseOnExec => "close every other descriptor at exec".into(),
        }
    }
}

fn steps(plan: &LaunchPlan, limits: &[Carried]) -> Result<Vec<Step>, PlatformError> {
    let mut steps = vec![Step::BeginSession];
    steps.extend(limits.iter().copied().map(Step::Limit));
    if let Some(nice) = plan.limits.nice {
        // Nobody unprivileged may lower it.
        let own = rustix::process::getpriority_process(None).unwrap_or(0);
        steps.push(Step::Nice(own.max(i32::try_from(nice).unwrap_or(19))));
    }
    let umask = plan.filesystem.umask.unwrap_or(USUAL_MASK);
    steps.push(Step::FileModeMask(permissions(umask)));
    if let Some(path) = &plan.filesystem.workdir {
        let path = CString::new(path.as_os_str().as_bytes());
        let path =
            path.map_err(|_| PlatformError::invalid("the working directory has a NUL byte"))?;
        steps.push(Step::WorkingDirectory(path));
    }
    steps.push(Step::CloseOnExec);
    steps.extend(seatbelt::profile(plan)?.map(Step::Seatbelt));
    Ok(steps)
}

/// What comes after the limits, in words.
pub(super) fn last_steps(plan: &LaunchPlan) -> Result<Vec<String>, PlatformError> {
    let steps = steps(plan, &[])?;
    let program = plan.command.iter().map(LaunchPlan::readable).collect::<Vec<_>>().join(" ");
    Ok(steps.iter().skip(1).map(Step::told).chain([format!("execute {program}")]).collect())
}

/// Starts the program, and returns once it is executed.
pub(super) fn start(
    plan: &LaunchPlan,
    limits: &[Carried],
    stdio: StdioSet,
) -> Result<(Child, Pipes), PlatformError> {
    let failed =
        |error| PlatformError::launch(Stage::Setup, "launch failed at `fork`", Some(error));
    let (program, arguments) = plan
        .command
        .split_first()
        .ok_or_else(|| PlatformError::invalid("there is no command to execute"))?;
    let steps = steps(plan, limits)?;
    let (mut reader, writer) = pipe().map_err(failed)?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(plan.environment.iter().cloned());
    command.stdin(from(stdio.stdin)).stdout(from(stdio.stdout)).stderr(from(stdio.stderr));
    let taken = steps.clone();
    let step = move || take_all(&taken, &writer);
    // SAFETY: between fork and exec it reads memory that was made before, and makes system calls; it neither allocates nor locks.
    unsafe { command.pre_exec(step) };
    let spawned = command.spawn();
    // With the last writer here gone, the pipe ends.
    drop(command);
    let mut child = spawned.map_err(|error| {
        let mut place = Vec::new();
        let read = reader.read_to_end(&mut place);
        match (read, place.first().and_then(|place| steps.get(usize::from(*place)))) {
            (Ok(_), Some(step)) => {
                let message = format!("launch failed at `{}`", step.told());
                PlatformError::launch(Stage::Setup, message, Some(error))
            }
            _ => not_executed(&LaunchPlan::readable(program), error),
        }
    })?;
    let watched = |error| PlatformError::system("failed to watch a standard stream", error);
    let input = child.stdin.take().map(|end| InputPipe::new(OwnedFd::from(end).into()));
    let [output, errors] =
        [child.stdout.take().map(OwnedFd::from), child.stderr.take().map(OwnedFd::from)]
            .map(|end| end.map(|end| OutputPipe::new(end.into())));
    let pipes = Pipes {
        stdin: input.transpose().map_err(watched)?,
        stdout: output.transpose().map_err(watched)?,
        stderr: errors.transpose().map_err(watched)?,
    };
    Ok((child, pipes))
}

/// In the child. The number of the step that failed goes to the starter, which names it.
fn take_all(steps: &[Step], told: &PipeWriter) -> io::Result<()> {
    for (place, step) in (0_u8..).zip(steps) {
        if let Err(errno) = step.take() {
            // Where even that fails, the error below is told without its step.
            rustix::io::write(told, &[place]).unwrap_or(0);
            return Err(errno.into());
        }
    }
    Ok(())
}

fn not_executed(program: &str, error: io::Error) -> PlatformError {
    match error.kind() {
        ErrorKind::NotFound => PlatformError::launch(
            Stage::NotFound,
            format!("`{program}` was not found"),
            Some(error),
        ),
        _ => {
            let message = format!("`{program}` can't be executed");
            PlatformError::launch(Stage::NotExecutable, message, Some(error))
        }
    }
}

fn from(stdio: Stdio) -> std::process::Stdio {
    match stdio {
        Stdio::Inherit => std::process::Stdio::inherit(),
        Stdio::Null => std::process::Stdio::null(),
        Stdio::Piped => std::process::Stdio::piped(),
        Stdio::File(file) => file.into(),
    }
}
