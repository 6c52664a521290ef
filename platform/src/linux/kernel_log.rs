//! Whom the kernel killed for want of memory: only its log says so.

use super::text::digits;
use crate::Victim;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, read};

/// More than a record can have (kernel/printk/internal.h, `PRINTK_MESSAGE_MAX`).
const RECORD: usize = 4096;

/// The last process that the kernel picked in the cgroup of this sandbox, or its program, if that was ever picked; unknown
/// where the caller may not read the log (`kernel.dmesg_restrict`), or the record was overwritten by newer ones.
///
/// The log is read from its start, which takes some milliseconds: only after a kill.
pub(super) fn victim(id: &str, program: Option<u32>) -> Option<Victim> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let log = openat(CWD, "/dev/kmsg", flags, Mode::empty()).ok()?;
    let mut buffer = [0; RECORD];
    let mut found: Option<Victim> = None;
    loop {
        match read(&log, &mut buffer[..]) {
            Ok(_) if program.is_some() && found.as_ref().map(|it| it.pid) == program => {
                return found;
            }
            Ok(length) => found = buffer.get(..length).and_then(|it| victim_in(it, id)).or(found),
            // The record was overwritten meanwhile; the next read goes on behind it (`kmsg`, ABI/testing/dev-kmsg).
            Err(Errno::PIPE) => {}
            Err(_) => return found,
        }
    }
}

/// Reads a record such as `4,812,1234,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=x,mems_allowed=0,
/// oom_memcg=/stockade/x-0,task_memcg=/stockade/x-0,task=python3,pid=42,uid=1000` (mm/oom_kill.c, `dump_oom_summary`).
/// The program chooses its name, so that what follows it is looked for from the end.
fn victim_in(record: &[u8], id: &str) -> Option<Victim> {
    let text = String::from_utf8_lossy(record);
    let text = text.split_once(';')?.1.lines().next()?.strip_prefix("oom-kill:")?;
    let (group, rest) = text.split_once(",oom_memcg=")?.1.split_once(",task_memcg=")?;
    if group.rsplit('/').next()? != id {
        return None;
    }
    let (rest, _) = rest.rsplit_once(",uid=")?;
    let (rest, pid) = rest.rsplit_once(",pid=")?;
    let command = rest.split_once(",task=")?.1.to_owned();
    Some(Victim { pid: u32::try_from(digits(pid.as_bytes())?).ok()?, command })
}

/// Reads bytes as a record of the log.
#[cfg(fuzzing)]
pub(super) fn fuzz(bytes: &[u8]) {
    victim_in(bytes, "job-1");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(task: &str) -> String {
        format!(
            "4,812,1234,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=job-1,\
             mems_allowed=0,oom_memcg=/stockade/job-1,task_memcg=/stockade/job-1,task={task},\
             pid=42,uid=1000\n SUBSYSTEM=x\n"
        )
    }

    #[test]
    fn the_victim_is_named_whatever_it_is_called() {
        for name in ["python3", "a,pid=1", "x,task=y,uid=0", ""] {
            let found = victim_in(record(name).as_bytes(), "job-1").unwrap();
            assert_eq!((found.pid, found.command.as_str()), (42, name));
        }
    }

    #[test]
    fn victims_of_other_sandboxes_are_not_ours() {
        assert_eq!(victim_in(record("python3").as_bytes(), "job-2"), None);
        assert_eq!(victim_in(record(",oom_memcg=/job-2").as_bytes(), "job-2"), None);
    }

    proptest! {
        #[test]
        fn no_record_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            victim_in(&bytes, "job-1");
            let mut cut = record("x").into_bytes();
            cut.truncate(bytes.len());
            victim_in(&cut, "job-1");
        }
    }
}
