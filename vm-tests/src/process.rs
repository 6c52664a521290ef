//! Running one test: a time limit, its output, and an end to everything that it started.

use crate::failure::{Attempt, Result};
use crate::identity::Identity;
use crate::job::{Ending, Outcome, TestCase};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, getpid, kill_process, pidfd_open,
    set_child_subreaper, waitid,
};
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// More output than this is cut in the middle: a serial line is slow.
const OUTPUT_LIMIT: usize = 48 * 1024;
/// What a test started may need to notice that the test is over, before it counts as left behind.
const FAREWELL: Duration = Duration::from_millis(500);
/// What a killed process may need to be gone.
const DEATH: Duration = Duration::from_secs(5);

/// The command that runs one test of a test binary and nothing else.
#[must_use]
pub fn test_command(
    case: &TestCase,
    identity: &Identity,
    environment: &[(String, String)],
) -> Command {
    let mut command = identity.command(&case.binary, environment);
    command
        .args(["--exact", &case.name, "--nocapture", "--test-threads=1"])
        .current_dir(&case.directory)
        .stdin(Stdio::null())
        .process_group(0);
    command
}

/// Runs a command to its end or to the limit, and keeps what it printed.
pub fn run(command: &mut Command, limit: Duration) -> Outcome {
    let start = Instant::now();
    let (ending, output) = match spawn(command) {
        Ok((mut child, printed)) => (wait(&mut child, limit), read_back(printed)),
        Err(failure) => (Ending::NotStarted(failure.chain()), String::new()),
    };
    Outcome { ending, seconds: start.elapsed().as_secs_f64(), output, notes: Vec::new() }
}

/// A file, not a pipe: a process that outlives the test would hold the pipe open.
fn spawn(command: &mut Command) -> Result<(Child, File)> {
    let attempt = || "failed to keep the output";
    let printed = File::from(memfd_create("output", MemfdFlags::CLOEXEC).attempt(attempt)?);
    let stdout = printed.try_clone().attempt(attempt)?;
    let stderr = printed.try_clone().attempt(attempt)?;
    let child =
        command.stdout(stdout).stderr(stderr).spawn().attempt(|| "failed to start the test")?;
    Ok((child, printed))
}

fn read_back(mut printed: File) -> String {
    let mut bytes = Vec::new();
    match printed.rewind().and_then(|()| printed.read_to_end(&mut bytes)) {
        Ok(_) => shorten(&String::from_utf8_lossy(&bytes)),
        Err(error) => format!("(the output can't be read: {error})"),
    }
}

/// The beginning and the end: the beginning says what went wrong first, the end how it came out.
fn shorten(text: &str) -> String {
    if text.len() <= OUTPUT_LIMIT {
        return text.to_owned();
    }
    let half = OUTPUT_LIMIT / 2;
    let head = text.floor_char_boundary(half);
    let tail = text.ceil_char_boundary(text.len() - half);
    let (head, tail) = (text.get(..head).unwrap_or(""), text.get(tail..).unwrap_or(""));
    format!("{head}\n[... {} bytes left out ...]\n{tail}", text.len() - head.len() - tail.len())
}

/// Waits for a child, kills it when its time is over.
pub fn wait(child: &mut Child, limit: Duration) -> Ending {
    let timed_out = !gone_within(Pid::from_child(child), limit);
    if timed_out && let Err(error) = child.kill() {
        return Ending::NotStarted(format!("it can't be killed: {error}"));
    }
    match child.wait() {
        Ok(_) if timed_out => Ending::TimedOut,
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => Ending::Exited(code),
            (None, signal) => Ending::Signaled(signal.unwrap_or(0)),
        },
        Err(error) => Ending::NotStarted(format!("it can't be waited for: {error}")),
    }
}

/// Whether a process has ended, or ends within the limit. A pidfd becomes readable then, also for
/// a process that is not our child.
fn gone_within(pid: Pid, limit: Duration) -> bool {
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return true };
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(timeout) = Timespec::try_from(left) else { return false };
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return false,
            Ok(_) => return true,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

/// Whatever tests leave running becomes this process's child, to be found and ended.
#[derive(Debug)]
pub struct Leftovers(());

impl Leftovers {
    /// From here on orphans of our children are ours.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn adopt() -> Result<Self> {
        set_child_subreaper(Some(getpid())).attempt(|| "failed to become the orphans' parent")?;
        Ok(Self(()))
    }

    /// Ends every descendant and says which there were.
    #[must_use]
    pub fn end(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for process in descendants() {
            if !gone_within(process.pid, FAREWELL) {
                notes.push(format!("left `{}` running", process.name));
            }
        }
        // Killing one hands its children to us, and a fork can race with the list: look again.
        for _ in 0..50 {
            let left = descendants();
            if left.is_empty() {
                return notes;
            }
            for process in left {
                end_one(process.pid);
            }
        }
        notes.push("left processes that can't be ended".to_owned());
        notes
    }
}

fn end_one(pid: Pid) {
    // Gone already, or not ours to kill any more: the next look at the list decides.
    if kill_process(pid, Signal::KILL).is_err() {
        return;
    }
    if gone_within(pid, DEATH) {
        reap(pid);
    }
}

/// A grandchild is not ours to reap, and its parent may have done it.
fn reap(pid: Pid) {
    waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG).ok();
}

struct Process {
    pid: Pid,
    name: String,
}

/// Every living process below this one.
fn descendants() -> Vec<Process> {
    let all = all_processes();
    let mut family = vec![getpid().as_raw_nonzero().get()];
    let mut found = Vec::new();
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        next += 1;
        for (pid, stat) in all.iter().filter(|(_, stat)| stat.parent == parent) {
            family.push(*pid);
            let Some(id) = Pid::from_raw(*pid) else { continue };
            if stat.zombie {
                reap(id);
            } else {
                found.push(Process { pid: id, name: stat.name.clone() });
            }
        }
    }
    found
}

struct Stat {
    name: String,
    zombie: bool,
    parent: i32,
}

fn all_processes() -> Vec<(i32, Stat)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let read = |entry: fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let line = fs::read_to_string(entry.path().join("stat")).ok()?;
        Some((pid, parse_stat(&line)?))
    };
    entries.flatten().filter_map(read).collect()
}

/// `pid (name) state parent ...`, where the name may hold spaces and brackets itself.
fn parse_stat(line: &str) -> Option<Stat> {
    let (front, back) = line.rsplit_once(')')?;
    let (_, name) = front.split_once('(')?;
    let mut fields = back.split_whitespace();
    let zombie = matches!(fields.next()?, "Z" | "X");
    Some(Stat { name: name.to_owned(), zombie, parent: fields.next()?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_name_with_brackets_and_spaces_is_read() {
        let stat = parse_stat("12 (a (b) c) S 7 12 12 0").unwrap();
        assert_eq!((stat.name.as_str(), stat.zombie, stat.parent), ("a (b) c", false, 7));
    }

    #[test]
    fn output_is_kept_in_the_order_it_came() {
        let outcome = run(&mut shell("echo one; echo two >&2; echo three; exit 3"), DEATH);
        assert_eq!(outcome.ending, Ending::Exited(3));
        assert_eq!(outcome.output, "one\ntwo\nthree\n");
    }

    #[test]
    fn a_command_that_hangs_is_killed_at_its_limit() {
        let outcome = run(&mut shell("exec sleep 60"), Duration::from_millis(50));
        assert_eq!(outcome.ending, Ending::TimedOut);
    }

    #[test]
    fn a_death_by_signal_is_told_as_one() {
        let outcome = run(&mut shell("kill -9 $$"), DEATH);
        assert_eq!(outcome.ending, Ending::Signaled(9));
    }

    #[test]
    fn long_output_keeps_its_beginning_and_its_end() {
        let text = format!("first{}last", "\u{1f980}".repeat(OUTPUT_LIMIT));
        let short = shorten(&text);
        assert!(short.len() < OUTPUT_LIMIT + 100);
        assert!(short.starts_with("first") && short.ends_with("last"));
    }
}
