//! A sandbox that runs: its first process, its cgroup where there is one, and how it ended.

mod end;

use super::cgroup::Cgroup;
use super::disk::DiskQuota;
use super::entry::{self, Entered};
use super::identity::Claim;
use super::kept::Kept;
use super::lasting::Lasting;
use super::listener::{Listener, Program};
use super::prepare::{Prepared, Walls};
use super::processes::{Sampler, children, first_child, numbers, started_at};
use super::spawn::{self, Spawned, Untold};
use super::starter;
use super::streams::Streams;
use super::view::Sight;
use super::window::Window;
use crate::{
    BoxFuture, Control, Decision, Denials, Ended, Enforcement, Execution, Hits, HowEnded,
    LaunchPlan, MainProcess, OomKill, PlatformError, Process, ProcessIdentity, Running, Signal,
    StdioSet, Usage, View, Watcher, Wishes, Witness,
};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};
use stockade_child::Message;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, watch};

/// What there is of a sandbox for a next starter.
#[derive(Debug)]
struct Outliving {
    lasting: Lasting,
    identity: ProcessIdentity,
}

/// A sandbox of another process's that was taken over.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) identity: ProcessIdentity,
    pub(crate) pidfd: OwnedFd,
    pub(crate) control: OwnedFd,
    /// Where denied calls are told, and the filter that denies them.
    pub(crate) listener: Option<(OwnedFd, Box<[libc::sock_filter]>)>,
    /// The program's own process, as its first one counts.
    pub(crate) program: i32,
    pub(crate) age: Duration,
    pub(crate) lasting: Lasting,
    pub(crate) walls: Walls,
}

/// What is needed to answer denied calls.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) filter: Option<Box<[libc::sock_filter]>>,
    pub(crate) sight: Option<Sight>,
    /// Where it is noted which call was heard last, for a next starter.
    pub(crate) heard: Option<File>,
}

/// A started sandbox on Linux.
#[derive(Debug)]
pub(crate) struct LinuxRunning {
    pid: u32,
    pidfd: AsyncFd<OwnedFd>,
    control: AsyncFd<OwnedFd>,
    init: bool,
    /// The program's own process, where the kernel may kill it alone for want of memory.
    alone: Option<u32>,
    /// Whether a system call filter is in force.
    filtered: bool,
    /// What answers denied system calls, where they are told.
    listener: Option<Listener>,
    /// Whose end is the sandbox's.
    main: watch::Sender<MainProcess>,
    denials: Arc<Denials>,
    wishes: Arc<Wishes>,
    /// What there is of it for a next starter, where it outlives this one.
    outliving: Option<Outliving>,
    witness: Option<Witness>,
    /// By when its first process is let go whose program has ended, if that is noted.
    lets_go: Option<Instant>,
    /// Whether this process, and nobody else, ended it by force.
    killed: AtomicBool,
    /// Whether it goes on without this one.
    detached: bool,
    cgroup: Option<Cgroup>,
    disk: Option<DiskQuota>,
    /// Held until nothing of the tree is left.
    kept: Option<Kept>,
    sampler: Sampler,
    /// `/proc/PID/net/dev`, where its network is its own, so that the interfaces' counts are its own too.
    interfaces: Option<File>,
    /// What another program in it needs to know of its launch.
    walls: Option<Walls>,
    entered: Entered,
    /// The user that it has for itself.
    claim: Option<Claim>,
    enforcement: Vec<Enforcement>,
    started: Instant,
    /// What the program's end looked like, as soon as it is known.
    program: Option<(HowEnded, Instant)>,
    control_closed: bool,
    /// CPU time and more of all that was reaped, as the kernel counted it for the first process.
    reaped: Option<Usage>,
    ended: Option<Ended>,
    stops: Arc<Notify>,
}

impl LinuxRunning {
    /// Takes over a process that has executed its program.
    ///
    /// # Errors
    /// When its descriptors can't be registered with the running tokio runtime; the sandbox is ended then.
    pub(crate) fn new(
        spawned: Spawned,
        plan: &LaunchPlan,
        cgroup: Option<Cgroup>,
        disk: Option<DiskQuota>,
        enforcement: Vec<Enforcement>,
        Asked { filter, sight, heard }: Asked,
    ) -> Result<Self, PlatformError> {
        let register = |fd: OwnedFd| {
            // SAFETY: the descriptor is owned by the `AsyncFd` alone and stays open until that is dropped.
            let registered = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
            registered.map_err(|error| {
                PlatformError::system("failed to watch the sandbox", std::io::Error::from(error))
            })
        };
        let alone = match plan.limits.oom_kill {
            OomKill::Tree => None,
            OomKill::Process if plan.init => first_child(spawned.pid),
            OomKill::Process => Some(spawned.pid),
        };
        let (denials, wishes) = (Arc::<Denials>::default(), Arc::<Wishes>::default());
        let listener = spawned.listener.ok().zip(filter).map(|(listener, filter)| {
            // The program's process as the namespace counts, or as the host does where there is none.
            let inner = plan.controls.get(&Control::Processes) == Some(&Decision::Enforce);
            let program = Program { inner, pid: Arc::new(AtomicI32::new(spawned.program)) };
            let wishes = plan.watch.then(|| wishes.clone());
            let looks = (wishes, sight);
            let denials = denials.clone();
            Listener::start(listener, filter, &plan.syscalls, program, denials, looks, heard)
        });
        let own_network = plan.controls.get(&Control::Network) == Some(&Decision::Enforce)
            && plan.network.is_own();
        Ok(Self {
            pid: spawned.pid,
            pidfd: register(spawned.pidfd)?,
            control: register(spawned.control)?,
            init: plan.init,
            alone,
            filtered: plan.controls.get(&Control::Syscalls) == Some(&Decision::Enforce),
            listener: listener.transpose()?,
            main: watch::Sender::default(),
            denials,
            wishes,
            outliving: None,
            witness: None,
            lets_go: None,
            killed: AtomicBool::new(false),
            detached: false,
            cgroup,
            disk,
            kept: None,
            sampler: Sampler::new(spawned.pid, plan.limits.memory),
            // Opened now, because it can't be any more when the process has ended; kept open it shows the same network.
            interfaces: own_network
                .then(|| File::open(format!("/proc/{}/net/dev", spawned.pid)).ok())
                .flatten(),
            walls: None,
            entered: Entered::default(),
            claim: None,
            enforcement,
            started: spawned.started,
            program: None,
            control_closed: false,
            reaped: None,
            ended: None,
            stops: Arc::default(),
        })
    }

    /// Takes over one that was launched by another process.
    ///
    /// # Errors
    /// As [`Self::new`]; the sandbox goes on then.
    pub(crate) fn again(taken: Taken, plan: &LaunchPlan) -> Result<Self, PlatformError> {
        let Taken { identity, pidfd, control, listener, program, age, lasting, walls } = taken;
        let (listener, filter) = match listener {
            Some((listener, filter)) => (Ok(listener), Some(filter)),
            None => (Err(Untold::NotAsked), None),
        };
        let spawned = Spawned {
            pid: identity.pid,
            pidfd,
            control,
            handed: spawn::Handed::default(),
            listener,
            program,
            started: Instant::now().checked_sub(age).unwrap_or_else(Instant::now),
            moved: None,
        };
        let heard = lasting.heard.try_clone().map_err(|error| {
            PlatformError::system("failed to keep what tells of denied system calls", error)
        })?;
        let asked = Asked { filter, sight: None, heard: Some(heard) };
        let mut running = Self::new(spawned, plan, None, None, Vec::new(), asked)?;
        running.walls = Some(walls);
        if let Ok(number @ 1..) = u32::try_from(program)
            && plan.program_pid() != Some(number)
        {
            running.main.send_replace(MainProcess::Other(number));
        }
        // Until everything is here, it isn't to end for what fails.
        running.detached = true;
        if let Some(group) = &identity.group {
            running.cgroup = Some(Cgroup::again(group, plan)?);
        }
        running.outliving = Some(Outliving { lasting, identity });
        running.detached = false;
        Ok(running)
    }

    /// Has it outlive this process, as it was launched to.
    ///
    /// # Errors
    /// When nothing tells its first process from others.
    pub(crate) fn outlive(&mut self, lasting: Lasting) -> Result<(), PlatformError> {
        let pid = self.pid;
        // Not yet reaped, so that the number is still its own, even where it has ended.
        let started = started_at(pid).map_err(|error| {
            PlatformError::system("failed to see when the sandbox's first process started", error)
        })?;
        // One that is over has no time any more, and nobody takes it over.
        let started = started.unwrap_or(0);
        let group = self.cgroup.as_ref().map(|cgroup| cgroup.path().to_owned());
        let identity = ProcessIdentity { pid, started, group };
        self.outliving = Some(Outliving { lasting, identity });
        Ok(())
    }

    /// Keeps its user, and the directory of its changes, taken for as long as there is something of it.
    pub(crate) fn hold(&mut self, claim: Claim, kept: Option<Kept>) {
        self.claim = Some(claim);
        self.kept = kept;
    }

    /// Takes note of what another program in it will need.
    pub(crate) fn know(&mut self, walls: Walls) {
        self.walls = Some(walls);
    }

    /// Tells the first process who may come after the program. One that is gone needs nobody.
    fn propose(&self, message: Message) -> Result<(), PlatformError> {
        if !self.init {
            let why = "without Stockade's init nothing can come after the program";
            return Err(PlatformError::invalid(why));
        }
        match spawn::offer(self.control.get_ref().as_fd(), message) {
            Ok(()) | Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN) => Ok(()),
            Err(error) => Err(PlatformError::system("failed to name the main process", error)),
        }
    }

    /// Changes what the writable directories may hold.
    fn update_disk(&mut self, old: &LaunchPlan, new: &LaunchPlan) -> Result<(), PlatformError> {
        let limits = |plan: &LaunchPlan| (plan.limits.disk, plan.limits.disk_files);
        if limits(old) == limits(new) {
            return Ok(());
        }
        let Some(disk) = &self.disk else {
            let message = "what its directories may hold is limited from the start, or not at all";
            return Err(PlatformError::invalid(message));
        };
        let held = disk.change(&old.limits, &new.limits)?;
        let is_disk =
            |entry: &Enforcement| matches!(entry.control, Control::Disk | Control::DiskFiles);
        self.enforcement.retain(|entry| !is_disk(entry));
        self.enforcement.extend(held);
        self.enforcement.sort_by_key(|entry| entry.control);
        Ok(())
    }
}

impl Running for LinuxRunning {
    fn pid(&self) -> u32 {
        self.pid
    }

    fn signal(&self, signal: Signal) -> Result<(), PlatformError> {
        if self.reaped.is_some() {
            return Ok(());
        }
        let number = signal.number();
        let failed = |error: Errno| {
            PlatformError::system(format!("failed to send {signal} to the program"), error)
        };
        let gone = |error: &Errno| {
            matches!(*error, Errno::SRCH | Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN)
        };
        let sent = if !self.init {
            let named = rustix::process::Signal::from_named_raw(number)
                .ok_or_else(|| failed(Errno::INVAL))?;
            rustix::process::pidfd_send_signal(self.pidfd.get_ref(), named)
        } else if signal == Signal::Continue {
            spawn::send(self.control.get_ref().as_fd(), Message::Continue)
        } else if (1..=64).contains(&number) {
            spawn::send(self.control.get_ref().as_fd(), Message::Signal(number))
        } else {
            Err(Errno::INVAL)
        };
        sent.or_else(|error| if gone(&error) { Ok(()) } else { Err(failed(error)) })
    }

    fn kill(&self) -> Result<(), PlatformError> {
        if self.reaped.is_some() {
            return Ok(());
        }
        self.killed.store(true, Ordering::Relaxed);
        let killed =
            rustix::process::pidfd_send_signal(self.pidfd.get_ref(), rustix::process::Signal::KILL);
        if let Some(cgroup) = &self.cgroup {
            cgroup.kill()?;
        }
        match killed {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(PlatformError::system("failed to kill the sandbox", error)),
        }
    }

    fn exec(
        &mut self,
        plan: &LaunchPlan,
        stdio: StdioSet,
    ) -> Result<BoxFuture<'static, Result<Execution, PlatformError>>, PlatformError> {
        if self.reaped.is_some() || self.has_ended() {
            return Err(PlatformError::invalid("the sandbox has ended"));
        }
        // They come with the launch, or with what was taken over.
        let walls = self.walls.as_ref().ok_or_else(|| {
            PlatformError::invalid("nobody knows any more which walls the sandbox has")
        })?;
        if plan.controls.get(&Control::Processes) != Some(&Decision::Enforce)
            && self.cgroup.is_none()
        {
            let message =
                "without processes of its own and a control group nothing would end with it";
            return Err(PlatformError::invalid(message));
        }
        let process = entry::door(self.pidfd.get_ref(), self.pid, self.init)?;
        let mut prepared = Prepared::inside(plan, process, walls)?;
        let mut streams = Streams::open(stdio)?;
        streams.add_to(&mut prepared.script, false);
        let name = format!("exec-{}", self.entered.number());
        let part = self.cgroup.as_ref().map(|cgroup| cgroup.part(name)).transpose()?;
        let entered = self.entered.clone();
        Ok(Box::pin(async move {
            let entering = tokio::task::spawn_blocking(move || {
                let inside = entry::enter(&prepared, part, entered);
                streams.close_theirs();
                inside.map(|inside| (inside, streams))
            });
            let (inside, streams) = entering.await.unwrap_or_else(|_| {
                Err(PlatformError::invalid("the thread that entered the sandbox panicked"))
            })?;
            let mut execution = inside.keep()?;
            (execution.stdin, execution.stdout, execution.stderr) = streams.into_pipes()?;
            Ok(execution)
        }))
    }

    fn pause(&mut self, paused: bool) -> BoxFuture<'_, Result<(), PlatformError>> {
        Box::pin(async move {
            match &mut self.cgroup {
                _ if self.ended.is_some() => Ok(()),
                Some(cgroup) => cgroup.freeze(paused).await,
                None => Err(PlatformError::invalid(
                    "without a control group a whole tree can't be stopped",
                )),
            }
        })
    }

    fn sample(&mut self, usage: &mut Usage) -> Result<(), PlatformError> {
        if let Some(ended) = &self.ended {
            usage.clone_from(&ended.usage);
            return Ok(());
        }
        // Nothing of the sample before may stay but the room for devices.
        let io = usage.io.take().filter(|_| self.cgroup.is_some());
        *usage = Usage::default();
        usage.io = io;
        if let Some(cgroup) = &mut self.cgroup {
            cgroup.usage(usage)?;
        }
        if usage.memory.current.is_none() || usage.pids.current.is_none() {
            let sampled = self.sampler.sample(self.cgroup.as_mut())?;
            *usage = std::mem::take(usage).or(&sampled);
        }
        usage.open_files = self.sampler.open_files(self.cgroup.as_mut())?;
        usage.network = self.traffic();
        usage.disk = self.disk.as_ref().and_then(DiskQuota::usage);
        Ok(())
    }

    fn processes(&mut self) -> Result<Vec<Process>, PlatformError> {
        match self.ended {
            Some(_) => Ok(Vec::new()),
            None => self.sampler.rows(self.cgroup.as_mut()),
        }
    }

    fn update(&mut self, old: &LaunchPlan, new: &LaunchPlan) -> Result<(), PlatformError> {
        if self.ended.is_some() {
            return Ok(());
        }
        let is_held = |control| new.controls.get(&control) == Some(&Decision::Enforce);
        if is_held(Control::NetworkSend) && !is_held(Control::Network) {
            let reason = "the program sends by the host's network itself, where nobody counts";
            return Err(PlatformError::unsupported(Control::NetworkSend, reason));
        }
        self.update_disk(old, new)?;
        if let Some(cgroup) = &mut self.cgroup {
            let changed = cgroup.change(old, new).inspect_err(|_| {
                // The error to tell is the first one.
                drop(self.disk.as_ref().map(|disk| disk.change(&new.limits, &old.limits)));
            })?;
            self.enforcement.retain(|known| {
                let held = |entry: &Enforcement| entry.control == known.control;
                !changed.iter().any(held) && new.controls.contains_key(&known.control)
            });
            self.enforcement.extend(changed);
            self.enforcement.sort_by_key(|entry| entry.control);
        }
        self.sampler.limit_to(new.limits.memory);
        // What the starter holds itself is told as it is now.
        let is_held =
            |control| [old, new].iter().any(|plan| starter::holds(control, plan).is_some());
        self.enforcement.retain(|known| !is_held(known.control));
        let held = new.controls.keys().filter_map(|control| starter::holds(*control, new));
        self.enforcement.extend(held);
        self.enforcement.sort_by_key(|entry| entry.control);
        Ok(())
    }

    fn hits(&self) -> Result<Hits, PlatformError> {
        match (&self.ended, &self.cgroup) {
            (Some(ended), _) => Ok(ended.hits),
            (None, Some(cgroup)) => cgroup.hits(),
            (None, None) => Ok(Hits::default()),
        }
    }

    fn has_ended(&self) -> bool {
        self.reaped.is_some() || spawn::has_ended(self.pidfd.get_ref().as_fd())
    }

    fn watcher(&mut self, told: Hits) -> Result<Option<Box<dyn Watcher>>, PlatformError> {
        match &mut self.cgroup {
            Some(cgroup) if self.ended.is_none() => {
                Ok(Some(Box::new(cgroup.watcher(told)?) as Box<dyn Watcher>))
            }
            _ => Ok(None),
        }
    }

    fn identity(&self) -> Option<ProcessIdentity> {
        self.outliving.as_ref().map(|outliving| outliving.identity.clone())
    }

    fn remember(&self, memo: &[u8]) -> Result<(), PlatformError> {
        let Some(outliving) = &self.outliving else { return Ok(()) };
        outliving.lasting.remember(memo).map_err(|error| {
            PlatformError::system("failed to leave a note for the next starter", error)
        })
    }

    fn recall(&mut self, enforcement: Vec<Enforcement>) {
        self.enforcement = enforcement;
    }

    fn witness(&mut self, witness: Witness) {
        self.witness = Some(witness);
    }

    fn detach(&mut self, detached: bool) {
        self.detached = detached && self.outliving.is_some();
    }

    fn denials(&self) -> Arc<Denials> {
        self.denials.clone()
    }

    fn wishes(&self) -> Arc<Wishes> {
        self.wishes.clone()
    }

    fn view(&self) -> Option<Arc<dyn View>> {
        // Where it can't be kept, it can't be looked at either.
        let pidfd = rustix::io::fcntl_dupfd_cloexec(self.pidfd.get_ref(), 3).ok()?;
        Some(Arc::new(Window::new(pidfd, self.pid, self.init)))
    }

    fn main(&self) -> watch::Receiver<MainProcess> {
        self.main.subscribe()
    }

    fn name_main(&self, pid: u32) -> Result<(), PlatformError> {
        let pid = i32::try_from(pid).unwrap_or(0);
        self.propose(Message::Main(pid))
    }

    fn guess_main(&self) -> Result<bool, PlatformError> {
        let mut all = Vec::new();
        // A process that is gone in between isn't left.
        children(self.pid, &mut all).unwrap_or(());
        let [only] = all[..] else { return Ok(false) };
        let Some(number) = numbers(only).and_then(|all| all.last().copied()) else {
            return Ok(false);
        };
        self.propose(Message::Guess(number)).map(|()| true)
    }

    fn enforcement(&self) -> &[Enforcement] {
        &self.enforcement
    }

    fn wait(&mut self) -> BoxFuture<'_, Result<Ended, PlatformError>> {
        Box::pin(self.watch())
    }

    fn stops(&self) -> Arc<Notify> {
        self.stops.clone()
    }
}

impl Drop for LinuxRunning {
    fn drop(&mut self) {
        if self.detached {
            if let Some(cgroup) = self.cgroup.take() {
                cgroup.leave();
            }
            // Its limits on directories and its kept changes are the first process's to hold.
            std::mem::forget((self.disk.take(), self.kept.take()));
        } else if self.reaped.is_none() {
            // Nobody is left to tell; the control socket closes with this, which ends the sandbox all the same.
            self.kill().unwrap_or(());
            self.entered.close();
            spawn::reap(self.pidfd.get_ref().as_fd()).unwrap_or(());
        }
    }
}
