//! What every platform answers.

use crate::plan::readable;
use crate::{Adoption, Attachment, ProcessIdentity, Witness};
use crate::{
    Bytes, Changes, Control, Enforcement, LaunchPlan, PlatformError, Probe, Signal, StdioSet,
    Support, Usage,
};
use crate::{
    Denials, Execution, Hits, InputPipe, LocalStream, OutputPipe, Process, Watcher, Wishes,
};
use serde::Serialize;
use std::ffi::OsStr;
use std::fmt::Debug;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};

/// A future on the heap, so that the traits can be used as objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A platform's way to launch programs inside walls.
///
/// A backend carries out a plan and decides nothing: what a plan asks for and the platform can't do is an error,
/// unless the plan's own [`Decision`](crate::Decision) says otherwise.
pub trait Backend: Send + Sync + Debug {
    /// Short name, such as `linux`.
    fn name(&self) -> &'static str;

    /// What this host can do.
    fn support(&self, probe: Probe) -> Support;

    /// The operations that [`Self::launch`] would carry out, one line each, in order.
    ///
    /// # Errors
    /// When the plan can't be prepared on this host.
    fn explain(&self, plan: &LaunchPlan) -> Result<Vec<String>, PlatformError>;

    /// What lets this program do its work where a security module of the host's would hold it back, to be installed by the
    /// host's administrator; `None` where there is no such thing.
    fn profile(&self) -> Option<String> {
        None
    }

    /// What sandboxes changed of copies, where that is kept: in a directory, or the one of the sandbox with this id.
    ///
    /// # Errors
    /// When there is nothing of this name, it can't be read, or the platform keeps no changes.
    fn changes(&self, word: &OsStr) -> Result<Changes, PlatformError> {
        let reason =
            format!("the {} backend keeps no changes of `{}`", self.name(), readable(word));
        Err(PlatformError::unsupported(Control::Overlay, reason))
    }

    /// Starts the program and returns once it runs (its `exec` succeeded).
    ///
    /// Must be called inside a tokio runtime with I/O and time enabled. What the platform has to answer for the sandbox, it
    /// answers while that runtime runs.
    ///
    /// # Errors
    /// When any step fails: then nothing of it is left behind.
    fn launch(&self, plan: &LaunchPlan, stdio: StdioSet) -> Result<Launched, PlatformError>;

    /// Takes over a sandbox that was launched by another process, with this plan's id and `lasting`: what the plan says of
    /// limits and rules is for those that this process holds from now on. Whatever is `known` of its first process must be
    /// true of the one that answers, or nothing is done. Must be called inside a tokio runtime, as [`Self::launch`].
    ///
    /// # Errors
    /// When it is there, and something of it can't be taken over; nothing was done to it then.
    fn adopt(
        &self,
        plan: &LaunchPlan,
        known: Option<&ProcessIdentity>,
    ) -> Result<Adoption, PlatformError> {
        let _nothing_lasts = (plan, known);
        Ok(Adoption::Gone)
    }

    /// Attaches to a process that somebody else started: there are no walls around it, it is left alone when this is dropped, and
    /// nobody can tell how it ended. Where one is `known`, it must be that one; `None` where that is gone. Must be called inside
    /// a tokio runtime, as [`Self::launch`].
    ///
    /// # Errors
    /// When there is no such process, or it can't be told which one is meant.
    fn attach(
        &self,
        to: &Attachment,
        known: Option<&ProcessIdentity>,
    ) -> Result<Option<Box<dyn Running>>, PlatformError> {
        let _strangers = (to, known);
        Err(PlatformError::invalid("processes of others can't be watched here"))
    }
}

/// A started sandbox and the caller's ends of its pipes.
#[derive(Debug)]
pub struct Launched {
    /// The sandbox.
    pub running: Box<dyn Running>,
    /// Where to write for the program's standard input, if piped.
    pub stdin: Option<InputPipe>,
    /// Where to read the program's standard output, if piped.
    pub stdout: Option<OutputPipe>,
    /// Where to read the program's standard error, if piped.
    pub stderr: Option<OutputPipe>,
    /// The caller's side of the program's terminal, if it got one.
    pub terminal: Option<crate::stdio::Terminal>,
    /// The caller's hold on the sandbox's own network, if it asked for one.
    pub gate: Gate,
}

/// What leads from outside into a sandbox's own network. It was made inside and handed out: no device, address or right of
/// the host's is needed for it.
#[derive(Debug, Default)]
pub struct Gate {
    /// Where the plan's `proxy` port listens inside.
    pub proxy: Option<std::net::TcpListener>,
    /// Connects to what listens inside, where the plan publishes a port or asks for it.
    pub dialer: Option<Arc<dyn Dialer>>,
}

/// Makes connections that begin inside a sandbox's own network.
pub trait Dialer: Send + Sync + Debug {
    /// Connects to a port of the loopback interface inside.
    fn dial(&self, port: u16) -> BoxFuture<'_, std::io::Result<TcpStream>>;
}

/// The file system of a sandbox as its program sees it, looked at from outside. Symlinks lead where they lead inside.
pub trait View: Send + Sync + Debug {
    /// Whether there is something at an absolute path.
    fn exists(&self, path: PathBuf) -> BoxFuture<'static, std::io::Result<bool>>;

    /// The content of a regular file, up to so many bytes.
    fn read(&self, path: PathBuf, most: usize) -> BoxFuture<'static, std::io::Result<Vec<u8>>>;

    /// Connects to the stream socket at an absolute path (unix(7)).
    fn connect(&self, path: PathBuf) -> BoxFuture<'static, std::io::Result<LocalStream>>;
}

/// A sandbox that was started. Dropping it kills the whole tree.
pub trait Running: Send + Debug {
    /// Process id, as the host counts, of the sandbox's first process: for people, never for signalling.
    fn pid(&self) -> u32;

    /// Sends a signal to the program (not to its descendants).
    ///
    /// # Errors
    /// When the platform has no such signal or refuses. A program that is gone already is no error.
    fn signal(&self, signal: Signal) -> Result<(), PlatformError>;

    /// Ends every process of the tree now.
    ///
    /// # Errors
    /// When the platform refuses. A tree that is gone already is no error.
    fn kill(&self) -> Result<(), PlatformError>;

    /// Starts another program inside, behind the walls of the sandbox: in its namespaces, its quotas and its view of files, with
    /// no more rights than its own program. `plan` is the one of the sandbox, with the command to execute. The future must be
    /// awaited in the tokio runtime in which this is called; it is a program once it is done.
    ///
    /// # Errors
    /// When the platform can't, the program can't be executed, or one of the walls can't be put up: nothing of it is left then.
    fn exec(
        &mut self,
        plan: &LaunchPlan,
        stdio: StdioSet,
    ) -> Result<BoxFuture<'static, Result<Execution, PlatformError>>, PlatformError> {
        let _nothing_to_start = (plan, stdio);
        Err(PlatformError::invalid("another program can't be started in a sandbox here"))
    }

    /// What the tree used so far, into `usage`: the one of the sample before, or an empty one. So a thousand sandboxes
    /// can be looked at every second, without allocating.
    ///
    /// # Errors
    /// When a source that the platform has can't be read.
    fn sample(&mut self, usage: &mut Usage) -> Result<(), PlatformError>;

    /// What the tree used so far.
    ///
    /// # Errors
    /// As [`Self::sample`].
    fn usage(&mut self) -> Result<Usage, PlatformError> {
        let mut usage = Usage::default();
        self.sample(&mut usage)?;
        Ok(usage)
    }

    /// Every process of the tree as it is now, in the order of their ids; empty where the platform can't tell.
    ///
    /// # Errors
    /// When a source that the platform has can't be read.
    fn processes(&mut self) -> Result<Vec<Process>, PlatformError> {
        Ok(Vec::new())
    }

    /// Changes the limits from those of `old`, the plan it runs under, to those of `new`, which differs in limits that the
    /// platform's groups hold, and in none that a process takes along from its start. On an error all are as before. A platform that
    /// holds none of them has nothing to do for those that the starter itself holds: the wall time, the output, the grace.
    ///
    /// # Errors
    /// When the platform can't, or refuses.
    fn update(&mut self, old: &LaunchPlan, new: &LaunchPlan) -> Result<(), PlatformError> {
        let mut held = new.limits.clone();
        held.wall_time = old.limits.wall_time;
        held.output = old.limits.output;
        held.grace = old.limits.grace;
        match old.limits == held {
            true => Ok(()),
            false => Err(PlatformError::invalid("this limit can't be changed here while it runs")),
        }
    }

    /// Stops every process of the tree, or lets them go on, and returns when that is done. A signal waits for the tree to
    /// go on, but for a kill.
    ///
    /// # Errors
    /// When the platform can't, or refuses. A tree that is gone already is no error.
    fn pause(&mut self, paused: bool) -> BoxFuture<'_, Result<(), PlatformError>>;

    /// Times that limits were reached so far.
    ///
    /// # Errors
    /// When a source that the platform has can't be read.
    fn hits(&self) -> Result<Hits, PlatformError> {
        Ok(Hits::default())
    }

    /// Whether the first process has ended, asked now: what [`Self::wait`] hasn't told yet, since it hears of it later than
    /// of the clock.
    fn has_ended(&self) -> bool {
        false
    }

    /// Begins to watch what happens beyond what was `told` already; `None` where the platform has nothing to tell. The first
    /// watcher, and the first after an update that changed `memory_stall`, is the one that tells of
    /// [`Event::MemoryStalled`](crate::Event::MemoryStalled).
    ///
    /// # Errors
    /// When the platform refuses.
    fn watcher(&mut self, told: Hits) -> Result<Option<Box<dyn Watcher>>, PlatformError> {
        let _nothing_more = told;
        Ok(None)
    }

    /// The system calls that were denied so far; empty where the platform doesn't tell.
    fn denials(&self) -> Arc<Denials> {
        Arc::default()
    }

    /// What a watched program wished for so far; nothing where it isn't watched.
    fn wishes(&self) -> Arc<Wishes> {
        Arc::default()
    }

    /// Whose end is the tree's, now and later; never another than the program's where the platform has no such thing.
    fn main(&self) -> watch::Receiver<MainProcess> {
        watch::Sender::default().subscribe()
    }

    /// Names the process, as the sandbox counts, that comes after the program: at once where the program has ended and left others
    /// ([`LaunchPlan::forks`]), else when it ends. Only a process that the program left behind can; what comes of it is told by
    /// [`Self::main`].
    ///
    /// # Errors
    /// When nothing can come after the program here.
    fn name_main(&self, pid: u32) -> Result<(), PlatformError> {
        let _stranger = pid;
        Err(PlatformError::invalid("nothing can come after the program here"))
    }

    /// The same, of the only process that the program left behind; whether there is only one. If that ends with success and leaves
    /// others, it wasn't it.
    ///
    /// # Errors
    /// As [`Self::name_main`].
    fn guess_main(&self) -> Result<bool, PlatformError> {
        Err(PlatformError::invalid("nothing can come after the program here"))
    }

    /// Its file system, to be looked at from outside while it runs; `None` where the platform can't.
    fn view(&self) -> Option<Arc<dyn View>> {
        None
    }

    /// What tells its first process from every other; `None` where it doesn't outlive its starter.
    fn identity(&self) -> Option<ProcessIdentity> {
        None
    }

    /// Leaves a note for a next starter, instead of the one before; lost where it doesn't outlive this one.
    ///
    /// # Errors
    /// When the platform refuses.
    fn remember(&self, memo: &[u8]) -> Result<(), PlatformError> {
        let _lost = memo;
        Ok(())
    }

    /// Takes it for what is in force that was found out at the launch, by whoever launched it.
    fn recall(&mut self, enforcement: Vec<Enforcement>) {
        drop(enforcement);
    }

    /// Names who is told how the program of one ended that outlives its starter, before that is forgotten.
    fn witness(&mut self, witness: Witness) {
        drop(witness);
    }

    /// Whether it goes on when this is dropped, where it outlives a starter; else that ends it.
    fn detach(&mut self, detached: bool) {
        let _ends = detached;
    }

    /// What is in force, from what was read back.
    fn enforcement(&self) -> &[Enforcement];

    /// Waits until no process of the tree is left, removes everything made for it, and tells how it ended.
    ///
    /// Repeated calls give the same answer. Dropping the future loses nothing.
    fn wait(&mut self) -> BoxFuture<'_, Result<Ended, PlatformError>>;

    /// Notified when the program is stopped by job control, for a caller that has to stop along with it. Never
    /// notified where the platform or the plan has no job control.
    fn stops(&self) -> Arc<Notify> {
        Arc::default()
    }
}

/// Whose end is a sandbox's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MainProcess {
    /// The program's that was launched.
    #[default]
    Program,
    /// Nobody knows: the program has ended with success and left others.
    Unknown,
    /// The same; and the process with this number, as the sandbox counts, was named and isn't one of those.
    Refused(u32),
    /// That of this process, as the sandbox counts.
    Other(u32),
}

/// How a tree ended, as the platform saw it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Ended {
    /// The program's own end.
    pub how: HowEnded,
    /// What the tree used in all.
    pub usage: Usage,
    /// Times that limits were reached.
    pub hits: Hits,
    /// The last process that was picked to be killed for want of memory, where the platform tells; the program itself, if
    /// it was ever picked.
    pub victim: Option<Victim>,
    /// The program's own process as the host counts, where it matters: it may be killed for want of memory by itself.
    pub program: Option<u32>,
    /// The memory limit in force when it ended, read back.
    pub memory_limit: Option<Bytes>,
    /// From just before the launch to the end of the program.
    pub wall_time: Duration,
}

impl Ended {
    /// An end with nothing used and nothing noted.
    pub fn new(how: HowEnded) -> Self {
        Self {
            how,
            usage: Usage::default(),
            hits: Hits::default(),
            victim: None,
            program: None,
            memory_limit: None,
            wall_time: Duration::ZERO,
        }
    }
}

/// A process that the kernel picked to kill for want of memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Victim {
    /// Its id, as the host counts.
    pub pid: u32,
    /// Its name; the program chooses that.
    pub command: String,
}

/// The end of the program itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HowEnded {
    /// It exited with this code.
    Exited(i32),
    /// A signal ended it.
    Signaled(i32),
    /// It was ended for a forbidden system call, by this signal.
    Denied(i32),
    /// Its starter ended it, on a system that has no signals.
    Killed,
    /// Nobody saw it: it had outlived its starter, and what kept its status was killed.
    Unobserved,
}
