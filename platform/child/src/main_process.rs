//! Whose end is the sandbox's: the program's process, or the one that comes after it.
//!
//! A program may start a process, end, and mean that one to be waited for (daemon(7); `MAINPID` of sd_notify(3)). A process whose
//! parent ends becomes a child of this one, which is told then how it ends. So only a child can come after the program: of
//! any other process somebody else would be told, or it is none of the sandbox's.

use crate::{Message, sys};

/// The main process.
#[derive(Debug)]
pub(crate) struct Main {
    /// Its number; 0 while nobody knows which one it is, and -1 when all is over.
    pid: i32,
    /// Who comes after it; 0 where nobody was named.
    next: i32,
    /// Whether others are looked for when it ends with success.
    forks: bool,
}

impl Main {
    pub(crate) fn new(program: i32, forks: bool) -> Self {
        Self { pid: program, next: 0, forks }
    }

    /// Its number; 0 while nobody knows it.
    pub(crate) fn pid(&self) -> i32 {
        self.pid.max(0)
    }

    /// Whether this is it.
    pub(crate) fn is(&self, pid: i32) -> bool {
        self.pid == pid
    }

    /// Whether nobody knows which one it is.
    pub(crate) fn is_unknown(&self) -> bool {
        self.pid == 0
    }

    /// It has ended with this wait status: what comes of that, for the starter.
    pub(crate) fn end(&mut self, status: i32) -> Message {
        let next = core::mem::replace(&mut self.next, 0);
        if sys::is_child(next) {
            (self.pid, self.forks) = (next, false);
            return Message::Main(next);
        }
        if self.forks && status == 0 && sys::has_children() {
            self.pid = 0;
            return Message::Left;
        }
        self.pid = -1;
        Message::Exited(status)
    }

    /// Somebody names it: now where nobody knows it, else for when the one before it ends. One that was `guessed` may leave
    /// others behind once more. The answer for the starter, if there is one yet.
    pub(crate) fn name(&mut self, pid: i32, guessed: bool) -> Option<Message> {
        if !self.is_unknown() {
            if !guessed {
                self.next = pid;
            }
            return None;
        }
        if !sys::is_child(pid) {
            return Some(Message::NotMain(pid));
        }
        (self.pid, self.forks) = (pid, guessed);
        Some(Message::Main(pid))
    }

    /// Whether nobody is left of whom it could be one; then all is over.
    pub(crate) fn is_lost(&mut self) -> bool {
        let lost = self.is_unknown() && !sys::has_children();
        if lost {
            self.pid = -1;
        }
        lost
    }

    /// Sends it a signal; where nobody knows which one it is, all of them. This process is the first of its namespace then,
    /// and kill(2) leaves it out.
    pub(crate) fn signal(&self, signal: i32) {
        match self.pid {
            1.. => sys::kill(self.pid, signal),
            0 => sys::kill(-1, signal),
            _ => {}
        }
    }

    /// Lets its process group go on.
    pub(crate) fn resume(&self) {
        match self.pid {
            1.. => sys::kill(self.pid.wrapping_neg(), libc::SIGCONT),
            0 => sys::kill(-1, libc::SIGCONT),
            _ => {}
        }
    }
}
