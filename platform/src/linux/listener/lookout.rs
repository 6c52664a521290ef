//! Looks at the host's files for telling of denials, without ever waiting long for a file system that doesn't answer.
//!
//! A program under a trace chooses what is looked at. What the kernel has in its cache is looked at here; the rest by a thread,
//! for which nobody waits longer than [`PATIENCE`]: when that is over, it isn't asked again until it has answered, and what it
//! would have been asked meanwhile isn't told.

use crate::linux::view::real;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, StatxFlags, openat2, statat, statx,
};
use rustix::io::Errno;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// How long the starter, and with it its limits, waits for a look. On a busy machine a thread may have to wait for its turn.
const PATIENCE: Duration = Duration::from_millis(500);

/// What is at a path of the host; the last name isn't followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    File,
    Directory,
    /// A device, a pipe, a socket.
    Special,
    Nothing,
    /// Nobody can tell.
    Unknown,
}

impl Found {
    pub(super) fn is_there(self) -> bool {
        matches!(self, Self::File | Self::Directory | Self::Special)
    }

    fn of(kind: FileType) -> Self {
        match kind {
            FileType::Directory => Self::Directory,
            FileType::RegularFile | FileType::Symlink => Self::File,
            _ => Self::Special,
        }
    }
}

/// Asks what is at paths of the host.
#[derive(Debug, Default)]
pub(super) struct Lookout {
    thread: std::sync::OnceLock<Option<Errand>>,
    /// Whether an answer is still to come for which nobody waits any more.
    is_late: AtomicBool,
}

#[derive(Debug)]
struct Errand {
    ask: SyncSender<Question>,
    answers: std::sync::Mutex<Receiver<Answer>>,
}

#[derive(Debug)]
enum Question {
    Kind(PathBuf),
    Real(PathBuf),
}

#[derive(Debug)]
enum Answer {
    Kind(Found),
    Real(Option<PathBuf>),
}

impl Lookout {
    /// What is at a path.
    pub(super) fn look(&self, path: &Path) -> Found {
        match cached(path, OFlags::NOFOLLOW, ResolveFlags::empty()) {
            Ok(found) => found,
            Err(Errno::NOENT | Errno::NOTDIR) => Found::Nothing,
            Err(Errno::AGAIN) => match self.ask(Question::Kind(path.to_owned())) {
                Some(Answer::Kind(found)) => found,
                _ => Found::Unknown,
            },
            Err(_) => Found::Unknown,
        }
    }

    /// Where a path with a symlink in it leads; nothing where it has none, or leads nowhere.
    pub(super) fn leads_to(&self, path: &Path) -> Option<PathBuf> {
        match cached(path, OFlags::empty(), ResolveFlags::NO_SYMLINKS) {
            Err(Errno::LOOP | Errno::AGAIN) => match self.ask(Question::Real(path.to_owned())) {
                Some(Answer::Real(found)) => found.filter(|found| found != path),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether a process doesn't see anything at a path. Only asked of what is in memory.
    pub(super) fn lacks(&self, pid: u32, path: &Path) -> bool {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let root = rustix::fs::open(format!("/proc/{pid}/root"), flags, Mode::empty());
        let Ok(root) = root else { return false };
        let flags = flags | OFlags::NOFOLLOW;
        openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)
            .is_err_and(|error| error == Errno::NOENT)
    }

    fn ask(&self, question: Question) -> Option<Answer> {
        let errand = self.thread.get_or_init(Errand::start).as_ref()?;
        let answers = errand.answers.lock().ok()?;
        // It would be taken for that to this question.
        if self.is_late.load(Ordering::Relaxed) && answers.try_recv().is_err() {
            return None;
        }
        errand.ask.try_send(question).ok()?;
        let answer = answers.recv_timeout(PATIENCE).ok();
        self.is_late.store(answer.is_none(), Ordering::Relaxed);
        answer
    }
}

impl Errand {
    /// A thread of its own, for which nothing waits at the end.
    fn start() -> Option<Self> {
        let (ask, questions) = sync_channel(1);
        let (answer, answers) = sync_channel(1);
        let run = move || {
            for question in questions {
                let found = match question {
                    Question::Kind(path) => Answer::Kind(kind(&path)),
                    Question::Real(path) => Answer::Real(real(&path).ok()),
                };
                if answer.send(found).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("lookout".into()).spawn(run).ok()?;
        Some(Self { ask, answers: answers.into() })
    }
}

fn kind(path: &Path) -> Found {
    match statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT) {
        Ok(stat) => Found::of(FileType::from_raw_mode(stat.st_mode)),
        Err(Errno::NOENT | Errno::NOTDIR) => Found::Nothing,
        Err(_) => Found::Unknown,
    }
}

/// The same, of what the kernel knows without asking a file system (openat2(2)).
fn cached(path: &Path, flags: OFlags, resolve: ResolveFlags) -> rustix::io::Result<Found> {
    let flags = flags | OFlags::PATH | OFlags::CLOEXEC;
    let file = openat2(CWD, path, flags, Mode::empty(), resolve | ResolveFlags::CACHED)?;
    // What kind it is the kernel knows; the rest of its state may be a server's.
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let stat = statx(&file, "", flags, StatxFlags::TYPE)?;
    Ok(Found::of(FileType::from_raw_mode(stat.stx_mode.into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_answer_is_not_taken_for_another() {
        let (ask, questions) = sync_channel(1);
        let (answer, answers) = sync_channel(1);
        let lookout = Lookout::default();
        lookout.thread.set(Some(Errand { ask, answers: answers.into() })).unwrap();
        let ask = || lookout.ask(Question::Kind("/".into())).is_some();
        // Nobody answers, and then nobody is asked.
        assert!(!ask() && questions.try_recv().is_ok());
        assert!(!ask() && questions.try_recv().is_err());
        // The answer came: it is thrown away, and the next one is awaited again.
        answer.send(Answer::Kind(Found::Nothing)).unwrap();
        let other = std::thread::spawn(move || {
            questions.recv().unwrap();
            answer.send(Answer::Kind(Found::Directory)).unwrap();
        });
        let found = lookout.ask(Question::Kind("/".into()));
        assert!(matches!(found, Some(Answer::Kind(Found::Directory))), "{found:?}");
        other.join().unwrap();
    }

    #[test]
    fn what_is_there_is_found_whether_it_was_known_before_or_not() {
        let place = tempfile::tempdir().unwrap();
        let path = real(place.path()).unwrap();
        let lookout = Lookout::default();
        std::fs::write(path.join("file"), "").unwrap();
        std::os::unix::fs::symlink("file", path.join("link")).unwrap();
        for _ in 0..2 {
            assert_eq!(lookout.look(&path), Found::Directory);
            assert_eq!(lookout.look(&path.join("file")), Found::File);
            assert_eq!(lookout.look(&path.join("none")), Found::Nothing);
            assert_eq!(lookout.look(&path.join("file/none")), Found::Nothing);
            assert_eq!(lookout.look(Path::new("/dev/null")), Found::Special);
            assert_eq!(lookout.leads_to(&path.join("link")), Some(path.join("file")));
            assert_eq!(lookout.leads_to(&path.join("file")), None);
        }
        assert!(!lookout.lacks(std::process::id(), &path));
        assert!(lookout.lacks(std::process::id(), &path.join("none")));
    }
}
