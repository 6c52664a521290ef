//! The processes of a sandbox summed up from procfs: what stands in for a limit that the kernel can't hold.
//!
//! It costs some 20 microseconds for each process, so that a tree of a hundred can be looked at ten times a second for a
//! fiftieth of a core. What ends between two looks is missed, as far as its parent's times don't tell of it.

mod rows;

pub(crate) use rows::row;

use super::cgroup::Cgroup;
use super::text::{digits, lines, words};
use crate::{Bytes, PlatformError, Usage};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{CWD, Mode, OFlags, RawDir, openat};
use rustix::io::{Errno, Result, read};
use std::io::Write;
use std::mem::MaybeUninit;
use std::path::Path;
use std::time::Duration;

/// Enough for `status` and `smaps_rollup` (1.5 KiB). A longer text is cut behind what is looked for; only `children`
/// goes on.
const TEXT: usize = 4096;
/// The most processes whose open files a sample counts: some 2 microseconds each.
const MOST_COUNTED: usize = 64;

/// Sums up one sandbox again and again.
#[derive(Debug)]
pub(crate) struct Sampler {
    first: u32,
    limit: Option<Bytes>,
    pids: Vec<u32>,
    /// Room for lists of processes, kept from one look to the next.
    text: Vec<u8>,
    highest: Usage,
}

/// What one process, or all together, use now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    /// Bytes of memory that no file backs.
    pub(crate) memory: u64,
    pub(crate) threads: u64,
    pub(crate) user: Duration,
    pub(crate) system: Duration,
}

impl Sampler {
    /// For the sandbox whose first process has this id on the host, and whose memory is limited to `limit`.
    pub(crate) fn new(first: u32, limit: Option<Bytes>) -> Self {
        Self { first, limit, pids: Vec::new(), text: Vec::new(), highest: Usage::default() }
    }

    /// With another limit from here on.
    pub(crate) fn limit_to(&mut self, limit: Option<Bytes>) {
        self.limit = limit;
    }

    /// What the tree uses now, and at most at any look so far.
    ///
    /// Its processes are those of its control group; without one, the first and all that descend from it, which is
    /// complete where orphans come back to the first: as it is the first of its pid namespace.
    ///
    /// Memory is what no file backs: anonymous and shared memory, from the resident sizes. Pages that several processes
    /// share count for each of them, so the sum can be too high, never too low; when it is above the limit, the exact
    /// share of each process is taken instead, which costs time in proportion to the memory. Files in a private `/tmp`
    /// that nobody has mapped don't count.
    ///
    /// CPU time counts the living and whom they waited for, in ticks of 10 ms; with a control group, whose own figure is
    /// exact, it stays unknown.
    ///
    /// # Errors
    /// When the process information can't be read. A process that ends meanwhile is no error.
    pub(crate) fn sample(
        &mut self,
        cgroup: Option<&mut Cgroup>,
    ) -> std::result::Result<Usage, PlatformError> {
        let times = cgroup.is_none();
        self.list(cgroup)?;
        let mut all = Sum::default();
        for pid in &self.pids {
            all.add(one(*pid, times).map_err(failed)?);
        }
        if self.limit.is_some_and(|limit| all.memory > limit.0) {
            all.memory = 0;
            for pid in &self.pids {
                all.memory += share(*pid).map_err(failed)?;
            }
        }
        let mut usage = Usage::default();
        usage.memory.current = Some(Bytes(all.memory));
        usage.pids.current = Some(all.threads);
        if times {
            usage.cpu.user = Some(all.user);
            usage.cpu.system = Some(all.system);
        }
        Ok(self.keep(usage))
    }

    /// Open files of all processes of the tree (Linux 6.2 tells each count as the size of `/proc/PID/fd`); `None` when
    /// there are more processes than a sample may look at, or the kernel is older.
    ///
    /// # Errors
    /// When the processes can't be listed.
    pub(crate) fn open_files(
        &mut self,
        cgroup: Option<&mut Cgroup>,
    ) -> std::result::Result<Option<u64>, PlatformError> {
        self.list(cgroup)?;
        if self.pids.len() > MOST_COUNTED {
            return Ok(None);
        }
        let mut all = 0;
        for pid in &self.pids {
            match rustix::fs::stat(Name::new(*pid, "/fd").text()) {
                Ok(stat) => all += u64::try_from(stat.st_size).unwrap_or(0),
                Err(Errno::NOENT | Errno::SRCH) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        // Every process has a descriptor; a kernel that doesn't tell shows 0 for all.
        Ok((all > 0 || self.pids.is_empty()).then_some(all))
    }

    fn list(&mut self, cgroup: Option<&mut Cgroup>) -> std::result::Result<(), PlatformError> {
        self.pids.clear();
        match cgroup {
            Some(cgroup) => cgroup.pids(&mut self.pids, &mut self.text),
            None => {
                self.pids.push(self.first);
                descendants(&mut self.pids).map_err(failed)
            }
        }
    }

    /// The highest figures of all samples so far.
    pub(crate) fn peaks(&self) -> Usage {
        self.highest.clone()
    }

    /// Times never go back: a process that ends unwaited takes its own with it.
    fn keep(&mut self, usage: Usage) -> Usage {
        let mut usage = usage;
        usage.keep_peaks_of(&self.highest);
        usage.memory.peak = usage.memory.peak.max(usage.memory.current);
        usage.pids.peak = usage.pids.peak.max(usage.pids.current);
        self.highest.clone_from(&usage);
        usage
    }
}

impl Sum {
    pub(crate) fn add(&mut self, other: Self) {
        self.memory += other.memory;
        self.threads += other.threads;
        self.user += other.user;
        self.system += other.system;
    }
}

/// The parent of a process; `None` when there is no such process.
pub(crate) fn parent_of(pid: u32) -> Option<u32> {
    let mut buffer = [0; TEXT];
    let text = read_file(&Name::new(pid, "/stat"), &mut buffer).ok()?;
    u32::try_from(stat_field(text, 1)?).ok()
}

/// When a process was started, in ticks since the boot (proc_pid_stat(5), `starttime`); `None` when there is none, or only
/// what is left of one that ended.
///
/// # Errors
/// When nobody knows, which is another thing than that there is none.
pub(crate) fn started_at(pid: u32) -> Result<Option<u64>> {
    let mut buffer = [0; TEXT];
    let text = match read_file(&Name::new(pid, "/stat"), &mut buffer) {
        Err(Errno::NOENT | Errno::SRCH) => return Ok(None),
        other => other?,
    };
    let state = text.iter().rposition(|byte| *byte == b')').and_then(|end| text.get(end + 1..));
    if matches!(state.and_then(|rest| words(rest).next()), Some(b"Z" | b"X") | None) {
        return Ok(None);
    }
    Ok(stat_field(text, 19))
}

fn failed(error: Errno) -> PlatformError {
    PlatformError::system("failed to look at the processes of the sandbox", error)
}

/// The use of one process; nothing when it is gone.
pub(crate) fn one(pid: u32, times: bool) -> Result<Sum> {
    let mut buffer = [0; TEXT];
    let mut sum = Sum::default();
    match read_file(&Name::new(pid, "/status"), &mut buffer) {
        Ok(text) => {
            sum.memory = kilobytes(text, b"RssAnon:") + kilobytes(text, b"RssShmem:");
            sum.threads = value(text, b"Threads:");
        }
        Err(Errno::NOENT | Errno::SRCH) => return Ok(sum),
        Err(error) => return Err(error),
    }
    if times {
        match read_file(&Name::new(pid, "/stat"), &mut buffer) {
            Ok(text) => (sum.user, sum.system) = times_in(text),
            Err(Errno::NOENT | Errno::SRCH) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sum)
}

/// The share of one process in the memory that no file backs: each page divided by those that have it mapped
/// (proc_pid_smaps(5), `Pss`). Where that may not be read, the resident size.
fn share(pid: u32) -> Result<u64> {
    let mut buffer = [0; TEXT];
    match read_file(&Name::new(pid, "/smaps_rollup"), &mut buffer) {
        Ok(text) => Ok(kilobytes(text, b"Pss_Anon:") + kilobytes(text, b"Pss_Shmem:")),
        Err(Errno::SRCH) => Ok(0),
        Err(_) => one(pid, false).map(|sum| sum.memory),
    }
}

/// Adds all that descend from the processes in `pids` to it.
fn descendants(pids: &mut Vec<u32>) -> Result<()> {
    let mut next = 0;
    while let Some(pid) = pids.get(next).copied() {
        next += 1;
        match children(pid, pids) {
            Ok(()) | Err(Errno::NOENT | Errno::SRCH) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The child that a process has had for longest.
pub(crate) fn first_child(pid: u32) -> Option<u32> {
    let mut pids = Vec::new();
    children(pid, &mut pids).ok()?;
    pids.first().copied()
}

/// The numbers of a process in each namespace from this one's to its own (proc_pid_status(5), `NStgid`).
pub(crate) fn numbers(pid: u32) -> Option<Vec<i32>> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("NStgid:"))?;
    line.split_ascii_whitespace().map(|number| number.parse().ok()).collect()
}

/// Adds the children of all threads of a process to `pids` (proc_tid_children(5)).
pub(crate) fn children(pid: u32, pids: &mut Vec<u32>) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let tasks = openat(CWD, Name::new(pid, "/task").text(), flags, Mode::empty())?;
    let mut buffer = [MaybeUninit::uninit(); 2048];
    let mut entries = RawDir::new(&tasks, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let Some(thread) = digits(entry.file_name().to_bytes()) else { continue };
        let Ok(thread) = u32::try_from(thread) else { continue };
        match children_of_thread(tasks.as_fd(), thread, pids) {
            Ok(()) | Err(Errno::NOENT | Errno::SRCH) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn children_of_thread(tasks: BorrowedFd<'_>, thread: u32, pids: &mut Vec<u32>) -> Result<()> {
    let name = Name::relative(thread, "/children");
    let file = openat(tasks, name.text(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut buffer = [0; TEXT];
    // A number that is cut by the end of the buffer is moved to its start.
    let mut kept = 0;
    loop {
        let length = read(&file, &mut buffer[kept..])?;
        let text = &buffer[..kept + length];
        let whole = if length == 0 {
            text.len()
        } else {
            text.iter().rposition(|byte| *byte == b' ').map_or(0, |last| last + 1)
        };
        let numbers = words(&text[..whole]).filter_map(digits);
        pids.extend(numbers.filter_map(|number| u32::try_from(number).ok()));
        let end = text.len();
        if length == 0 {
            return Ok(());
        }
        buffer.copy_within(whole..end, 0);
        kept = end - whole;
    }
}

fn read_file<'a>(name: &Name, buffer: &'a mut [u8; TEXT]) -> Result<&'a [u8]> {
    let file = openat(CWD, name.text(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let length = read(&file, &mut buffer[..])?;
    Ok(&buffer[..length])
}

/// A path with one number in it, on the stack.
struct Name([u8; 40], usize);

impl Name {
    /// `/proc/NUMBER` and what follows.
    fn new(number: u32, after: &str) -> Self {
        Self::with("/proc/", number, after)
    }

    fn relative(number: u32, after: &str) -> Self {
        Self::with("", number, after)
    }

    fn with(before: &str, number: u32, after: &str) -> Self {
        let mut text = [0; 40];
        let mut rest = &mut text[..];
        // The longest, `/proc/4294967295/smaps_rollup`, fits; a longer one would be cut and not found.
        let fits = write!(rest, "{before}{number}{after}").is_ok();
        let left = rest.len();
        Self(text, if fits { 40 - left } else { 0 })
    }

    fn text(&self) -> &Path {
        use std::os::unix::ffi::OsStrExt;
        Path::new(std::ffi::OsStr::from_bytes(&self.0[..self.1]))
    }
}

/// The number behind `key` in a text of `Key:   value` lines; 0 without one, as for the memory of a zombie.
fn value(text: &[u8], key: &[u8]) -> u64 {
    let mut found = lines(text).filter_map(|line| line.strip_prefix(key));
    found.next().and_then(|rest| words(rest).next()).and_then(digits).unwrap_or(0)
}

fn kilobytes(text: &[u8], key: &[u8]) -> u64 {
    value(text, key).saturating_mul(1024)
}

/// Field `index` of `/proc/PID/stat`, counted from 0 behind the program's name (proc_pid_stat(5)). The name may hold
/// anything, blanks and brackets included; the last bracket ends it.
fn stat_field(stat: &[u8], index: usize) -> Option<u64> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    digits(words(stat.get(end + 1..)?).nth(index)?)
}

/// User and system time of a process and of those that it waited for (fields 14 to 17).
fn times_in(stat: &[u8]) -> (Duration, Duration) {
    let ticks = |index| stat_field(stat, index).unwrap_or(0);
    (from_ticks(ticks(11) + ticks(13)), from_ticks(ticks(12) + ticks(14)))
}

pub(crate) fn from_ticks(ticks: u64) -> Duration {
    let second = rustix::param::clock_ticks_per_second().max(1);
    Duration::from_millis(ticks.saturating_mul(1000) / second)
}

/// Reads bytes as the files of a process.
#[cfg(fuzzing)]
pub(super) fn fuzz(bytes: &[u8]) {
    times_in(bytes);
    kilobytes(bytes, b"RssAnon:");
    rows::fuzz(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};

    #[test]
    fn fields_are_found_behind_any_program_name() {
        let stat = b"42 (a) b) S 7) S 17 42 42 0 -1 4194304 1 2 3 4 150 50 100 200 20 0 3 0";
        assert_eq!(stat_field(stat, 1), Some(17));
        assert_eq!(times_in(stat), (Duration::from_millis(2500), Duration::from_millis(2500)));
        for cut in [&b"42 (sh"[..], b"42 (sh)", b""] {
            assert_eq!(stat_field(cut, 1), None);
        }
    }

    #[test]
    fn keys_of_status_are_whole_and_a_missing_one_is_nothing() {
        let status =
            b"Name:\tx\nRssAnon:\t    128 kB\nRssFile:\t  2000 kB\nRssShmem:\t 4 kB\nThreads:\t3\n";
        assert_eq!(kilobytes(status, b"RssAnon:"), 128 << 10);
        assert_eq!(kilobytes(status, b"RssShmem:"), 4 << 10);
        assert_eq!(value(status, b"Threads:"), 3);
        assert_eq!(value(b"Name:\tzombie\n", b"RssAnon:"), 0);
    }

    #[test]
    fn the_longest_name_fits() {
        let name = Name::new(u32::MAX, "/smaps_rollup");
        assert_eq!(name.text(), Path::new("/proc/4294967295/smaps_rollup"));
    }

    /// A shell with what it started; killed one by one at the end, since they have no group of their own.
    struct Tree(Child);

    impl Tree {
        fn of(script: &str) -> (Self, Vec<u32>) {
            let mut child = Command::new("/bin/sh")
                .args(["-c", &format!("{script}\necho ready; read end")])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let tree = &mut child;
            let mut ready = [0; 6];
            std::io::Read::read_exact(tree.stdout.as_mut().unwrap(), &mut ready).unwrap();
            let mut pids = vec![child.id()];
            descendants(&mut pids).unwrap();
            (Self(child), pids)
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            drop(self.0.stdin.take());
            drop(self.0.wait());
        }
    }

    #[test]
    fn all_that_descend_from_the_first_are_counted() {
        let (tree, pids) = Tree::of("(sleep 1 & sleep 1 & wait) & (sleep 1 & wait) &");
        let usage = Sampler::new(tree.0.id(), None).sample(None).unwrap();
        // The shells may still be starting what they start, so at least the first and its two.
        assert!(pids.len() >= 3, "{pids:?}");
        assert!(usage.pids.current >= Some(3) && usage.pids.current <= Some(6), "{usage:?}");
        assert_eq!(usage.pids.peak, usage.pids.current);
        assert!(usage.memory.current > Some(Bytes(0)));
        assert!(pids.iter().skip(1).all(|pid| parent_of(*pid).is_none_or(|it| pids.contains(&it))));
    }

    #[test]
    fn memory_is_that_of_the_tree_and_its_exact_share_when_it_is_over() {
        // The shell holds 8 MiB, and its child has the same pages, not copies.
        let (tree, _) = Tree::of("x=$(head -c 8388608 /dev/zero | tr '\\0' x); (sleep 1; : $x) &");
        let memory = |limit| {
            let usage = Sampler::new(tree.0.id(), limit).sample(None).unwrap();
            assert_eq!(usage.memory.peak, usage.memory.current);
            usage.memory.current.unwrap()
        };
        let cheap = memory(None);
        assert!(cheap > Bytes::mib(8), "{cheap}");
        let exact = memory(Some(Bytes::mib(1)));
        assert!(exact > Bytes::mib(7) && exact <= cheap, "{exact} of {cheap}");
    }

    #[test]
    fn time_of_children_that_were_waited_for_counts() {
        let burn = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
        let (tree, _) = Tree::of(&format!("({burn})"));
        let usage = Sampler::new(tree.0.id(), None).sample(None).unwrap();
        let total = usage.cpu.user.unwrap() + usage.cpu.system.unwrap();
        assert!(total > Duration::ZERO, "{usage:?}");
    }

    #[test]
    fn a_tree_that_is_gone_uses_nothing_and_keeps_its_peaks() {
        let (tree, _) = Tree::of(":");
        let mut sampler = Sampler::new(tree.0.id(), None);
        let before = sampler.sample(None).unwrap();
        drop(tree);
        let after = sampler.sample(None).unwrap();
        assert_eq!(after.memory.current, Some(Bytes(0)));
        assert_eq!(after.pids.current, Some(0));
        assert_eq!(after.memory.peak, before.memory.peak);
        assert_eq!(sampler.peaks().pids, after.pids);
    }
}
