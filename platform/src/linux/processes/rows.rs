//! The processes of a sandbox one by one, for people who look: this allocates, and opens four files for each.

use super::{Name, Sampler, TEXT, failed, from_ticks, read_file, stat_field};
use crate::linux::cgroup::Cgroup;
use crate::{Bytes, PlatformError, Process};
use rustix::io::Errno;

/// Characters of a command line that are kept.
const LONGEST: usize = 200;

impl Sampler {
    /// Every process of the tree, in the order of their ids.
    ///
    /// # Errors
    /// When the process information can't be read. A process that ends meanwhile is left out.
    pub(crate) fn rows(
        &mut self,
        cgroup: Option<&mut Cgroup>,
    ) -> Result<Vec<Process>, PlatformError> {
        self.list(cgroup)?;
        let mut rows = Vec::with_capacity(self.pids.len());
        for pid in &self.pids {
            match row(*pid) {
                Ok(row) => rows.extend(row),
                Err(Errno::NOENT | Errno::SRCH) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        rows.sort_unstable_by_key(|row| row.pid);
        Ok(rows)
    }
}

/// One process; `None` where what is told of it isn't understood.
///
/// # Errors
/// When it is gone, or the process information can't be read.
pub(crate) fn row(pid: u32) -> Result<Option<Process>, Errno> {
    let mut buffer = [0; TEXT];
    let stat = read_file(&Name::new(pid, "/stat"), &mut buffer)?;
    let Some(mut row) = parse(pid, stat) else { return Ok(None) };
    let mut buffer = [0; TEXT];
    let words = read_file(&Name::new(pid, "/cmdline"), &mut buffer)?;
    if let Some(command) = command(words) {
        row.command = command;
    }
    row.open_files = match rustix::fs::stat(Name::new(pid, "/fd").text()) {
        // Every process has a descriptor; a kernel that doesn't tell shows 0 for all.
        Ok(stat) => u64::try_from(stat.st_size).ok().filter(|count| *count > 0),
        // The sandbox's init isn't to be looked into.
        Err(Errno::ACCESS | Errno::PERM) => None,
        Err(error) => return Err(error),
    };
    Ok(Some(row))
}

/// What `/proc/PID/stat` says (proc_pid_stat(5)).
fn parse(pid: u32, stat: &[u8]) -> Option<Process> {
    let (start, end) =
        (stat.iter().position(|byte| *byte == b'(')?, stat.iter().rposition(|byte| *byte == b')')?);
    let name = String::from_utf8_lossy(stat.get(start + 1..end)?);
    let state = stat.get(end + 1..)?.iter().find(|byte| **byte != b' ')?;
    let field = |index| stat_field(stat, index);
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    Some(Process {
        pid,
        parent: u32::try_from(field(1)?).ok()?,
        command: format!("[{name}]"),
        state: char::from(*state),
        cpu: from_ticks(field(11)?.saturating_add(field(12)?)),
        memory: Bytes(field(21)?.saturating_mul(page)),
        threads: field(17)?,
        open_files: None,
    })
}

/// A command line with blanks between its words; none for a process without one.
fn command(words: &[u8]) -> Option<String> {
    let text = words.strip_suffix(b"\0").unwrap_or(words);
    let text = String::from_utf8_lossy(text).replace('\0', " ");
    Some(text.chars().take(LONGEST).collect()).filter(|text: &String| !text.is_empty())
}

/// Reads bytes as the files of a process.
#[cfg(fuzzing)]
pub(super) fn fuzz(bytes: &[u8]) {
    parse(1, bytes);
    command(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_of_the_kernel_becomes_a_row() {
        let stat = b"42 (a) b) S 7 42 42 0 -1 4194304 1 2 3 4 150 50 100 200 20 0 3 0 99 4096 25 1";
        let row = parse(42, stat).unwrap();
        assert_eq!((row.pid, row.parent, &*row.command, row.state), (42, 7, "[a) b]", 'S'));
        assert_eq!((row.cpu.as_secs(), row.threads), (2, 3));
        assert_eq!(row.memory.0 % 25, 0);
        assert_eq!(command(b"sleep\x00100\x00"), Some("sleep 100".into()));
        assert_eq!(command(b""), None);
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_wrong(stat: Vec<u8>) {
            parse(1, &stat);
            parse(1, &[b"1 (x) ", &stat[..]].concat());
            command(&stat);
        }
    }
}
