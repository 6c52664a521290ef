//! A sandbox that runs: a program, its job, and the port to which the job sends what happens.

use super::backend::processors;
use super::birth::Born;
use super::job::{Accounts, Job, done, is_rate};
use super::limits::{self, Setting, Wanted};
use super::rows::rows;
use super::suspended::Suspended;
use crate::{
    BoxFuture, Bytes, Control, Decision, Ended, Enforcement, Event, Hits, HowEnded, LaunchPlan,
    PlatformError, Process, Running, Signal, Usage, Watcher,
};
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use windows_sys::Win32::Foundation::{INVALID_HANDLE_VALUE, WAIT_TIMEOUT};
use windows_sys::Win32::System::Console::{CTRL_BREAK_EVENT, GenerateConsoleCtrlEvent};
use windows_sys::Win32::System::IO::{CreateIoCompletionPort, GetQueuedCompletionStatus};
use windows_sys::Win32::System::ProcessStatus::{GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS_EX};
use windows_sys::Win32::System::SystemServices::{
    JOB_OBJECT_MSG_ACTIVE_PROCESS_LIMIT, JOB_OBJECT_MSG_ACTIVE_PROCESS_ZERO,
    JOB_OBJECT_MSG_JOB_MEMORY_LIMIT, JOB_OBJECT_MSG_PROCESS_MEMORY_LIMIT,
};
use windows_sys::Win32::System::Threading::{
    GetExitCodeProcess, INFINITE, OpenProcess, PROCESS_QUERY_LIMITED_INFORMATION,
    WaitForSingleObject,
};

/// The code with which the processes of a job exit that Stockade ends.
const KILLED: u32 = 137;

/// How long a message may be missing before it is asked for: they aren't promised (JOBOBJECT_ASSOCIATE_COMPLETION_PORT).
const PATIENCE: Duration = Duration::from_millis(500);

/// A port to which a job sends what happens in it.
#[derive(Debug)]
pub(super) struct Port(OwnedHandle);

impl Port {
    /// A new one.
    pub(super) fn new() -> io::Result<Self> {
        let none = std::ptr::null_mut();
        // SAFETY: no file is associated with it, which is allowed.
        let port = unsafe { CreateIoCompletionPort(INVALID_HANDLE_VALUE, none, 0, 1) };
        if port.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it is open, and nobody else has it.
        Ok(Self(unsafe { OwnedHandle::from_raw_handle(port) }))
    }

    pub(super) fn attach(&self, job: &Job) -> io::Result<()> {
        job.tell_port(self.0.as_raw_handle(), 1)
    }

    /// The next message; `None` where there is none for a while.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn next(&self, patience: Duration) -> io::Result<Option<u32>> {
        let (mut message, mut key, mut process) = (0, 0, std::ptr::null_mut());
        let most = u32::try_from(patience.as_millis()).unwrap_or(INFINITE);
        // SAFETY: the port is open, and three numbers are written.
        let answer = unsafe {
            GetQueuedCompletionStatus(
                self.0.as_raw_handle(),
                &raw mut message,
                &raw mut key,
                &raw mut process,
                most,
            )
        };
        match done(answer) {
            Ok(()) => Ok(Some(message)),
            Err(error) if error.raw_os_error() == Some(WAIT_TIMEOUT.cast_signed()) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What the job has told so far.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    hits: Hits,
    /// Whether nothing of it lives.
    empty: bool,
}

/// How the program ended.
#[derive(Clone, Copy, Debug)]
struct Gone {
    code: Option<u32>,
    when: Instant,
}

/// A started program on Windows.
#[derive(Debug)]
pub(super) struct WindowsRunning {
    pid: u32,
    job: Arc<Job>,
    killed: Arc<AtomicBool>,
    end: watch::Receiver<Option<Gone>>,
    told: watch::Receiver<Told>,
    enforcement: Vec<Enforcement>,
    started: Instant,
    highest: Usage,
    ended: Option<Ended>,
    suspended: Suspended,
}

impl WindowsRunning {
    /// Begins to listen to a job in which a program runs.
    pub(super) fn new(
        born: Born,
        job: Job,
        port: Port,
        enforcement: Vec<Enforcement>,
    ) -> Result<Self, PlatformError> {
        let failed = |error| PlatformError::system("failed to start a thread", error);
        let started = Instant::now();
        let (ending, end) = watch::channel(None);
        let (telling, told) = watch::channel(Told::default());
        let job = Arc::new(job);
        let process = born.process;
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let wait = move || {
            // SAFETY: the handle is open for as long as this waits.
            unsafe { WaitForSingleObject(process.as_raw_handle(), INFINITE) };
            ending.send_replace(Some(Gone { code: exit_code(&process), when: Instant::now() }));
        };
        thread("stockade-wait").spawn(wait).map_err(failed)?;
        // It must not keep the job alive, which ends with its last handle.
        let heard = Arc::downgrade(&job);
        let listen = move || {
            loop {
                let message = port.next(PATIENCE);
                let is_empty = |job: &Job| job.accounts().is_ok_and(|it| it.active == 0);
                let empty = match (&message, heard.upgrade()) {
                    (_, None) | (Err(_), _) => true,
                    (Ok(Some(JOB_OBJECT_MSG_ACTIVE_PROCESS_ZERO)), _) => true,
                    (Ok(None), Some(job)) => is_empty(&job),
                    (Ok(Some(_)), Some(_)) => false,
                };
                telling.send_modify(|told| {
                    add(&mut told.hits, message.ok().flatten());
                    told.empty = empty;
                });
                if empty {
                    return;
                }
            }
        };
        thread("stockade-job").spawn(listen).map_err(failed)?;
        Ok(Self {
            pid: born.pid,
            job,
            killed: Arc::default(),
            end,
            told,
            enforcement,
            started,
            highest: Usage::default(),
            ended: None,
            suspended: Suspended::default(),
        })
    }

    async fn watch(&mut self) -> Result<Ended, PlatformError> {
        if let Some(ended) = &self.ended {
            return Ok(ended.clone());
        }
        let unobserved = || Gone { code: None, when: Instant::now() };
        let gone = match self.end.wait_for(Option::is_some).await {
            Ok(gone) => gone.unwrap_or_else(unobserved),
            Err(_) => unobserved(),
        };
        // What the program left behind goes with it.
        self.job.terminate(KILLED).map_err(refused)?;
        let told = match self.told.wait_for(|told| told.empty).await {
            Ok(told) => *told,
            Err(_) => Told::default(),
        };
        let mut usage = Usage::default();
        self.sample(&mut usage)?;
        let how = match gone.code {
            Some(KILLED) if self.killed.load(Ordering::Relaxed) => HowEnded::Killed,
            Some(code) => HowEnded::Exited(code.cast_signed()),
            None => HowEnded::Unobserved,
        };
        let mut ended = Ended::new(how);
        ended.usage = usage;
        ended.usage.pids.current = Some(0);
        ended.usage.memory.current = Some(Bytes(0));
        ended.hits = told.hits;
        ended.wall_time = gone.when.saturating_duration_since(self.started);
        self.ended = Some(ended.clone());
        Ok(ended)
    }
}

/// Counts a message.
fn add(hits: &mut Hits, message: Option<u32>) {
    match message {
        Some(JOB_OBJECT_MSG_JOB_MEMORY_LIMIT | JOB_OBJECT_MSG_PROCESS_MEMORY_LIMIT) => {
            hits.memory += 1;
        }
        Some(JOB_OBJECT_MSG_ACTIVE_PROCESS_LIMIT) => hits.pids += 1,
        _ => {}
    }
}

fn exit_code(process: &OwnedHandle) -> Option<u32> {
    let mut code = 0;
    // SAFETY: the handle is open, and one number is written.
    let answer = unsafe { GetExitCodeProcess(process.as_raw_handle(), &raw mut code) };
    done(answer).ok().map(|()| code)
}

/// A process, to ask what it uses; `None` when it is gone.
pub(super) fn opened(pid: u32) -> Option<OwnedHandle> {
    // SAFETY: it has no preconditions.
    let process = unsafe { OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, 0, pid) };
    // SAFETY: it is open, and nobody else has it.
    (!process.is_null()).then(|| unsafe { OwnedHandle::from_raw_handle(process) })
}

/// What a process has committed, in bytes; nothing when it is gone.
pub(super) fn committed(pid: u32) -> u64 {
    let Some(process) = opened(pid) else { return 0 };
    let mut counters = PROCESS_MEMORY_COUNTERS_EX::default();
    let size = u32::try_from(size_of::<PROCESS_MEMORY_COUNTERS_EX>()).unwrap_or(0);
    let to = (&raw mut counters).cast();
    // SAFETY: at most `size` bytes are written to what is that large.
    let answer = unsafe { GetProcessMemoryInfo(process.as_raw_handle(), to, size) };
    if answer == 0 { 0 } else { counters.PrivateUsage as u64 }
}

fn refused(error: io::Error) -> PlatformError {
    PlatformError::system("failed to end the processes of the sandbox", error)
}

impl Running for WindowsRunning {
    fn pid(&self) -> u32 {
        self.pid
    }

    /// Whoever asks a program to end presses Ctrl-Break for it; a program without a console can't be asked, and ends when its grace
    /// is over.
    fn signal(&self, signal: Signal) -> Result<(), PlatformError> {
        match signal {
            Signal::Kill => self.kill(),
            Signal::Hangup | Signal::Interrupt | Signal::Quit | Signal::Terminate => {
                // SAFETY: the program leads a process group with its own number; what isn't there is refused.
                unsafe { GenerateConsoleCtrlEvent(CTRL_BREAK_EVENT, self.pid) };
                Ok(())
            }
            Signal::WindowChange => Ok(()),
            other => {
                let message = format!("a program can't be sent `{other}` on Windows");
                Err(PlatformError::invalid(message)
                    .with_hint("it can be asked to end, or be ended"))
            }
        }
    }

    fn kill(&self) -> Result<(), PlatformError> {
        self.killed.store(true, Ordering::Relaxed);
        self.job.terminate(KILLED).map_err(refused)
    }

    fn sample(&mut self, usage: &mut Usage) -> Result<(), PlatformError> {
        let failed = |error| PlatformError::system("failed to ask the job what it uses", error);
        let Accounts { active, times, faults, peak } = self.job.accounts().map_err(failed)?;
        let processes = self.job.processes().map_err(failed)?;
        let memory = processes.into_iter().map(committed).sum();
        *usage = Usage::default();
        usage.memory.current = Some(Bytes(memory));
        usage.memory.peak = peak.map(Bytes);
        usage.memory.faults = faults;
        usage.pids.current = Some(active.into());
        let time = |tenths: u64| Duration::from_nanos(tenths.saturating_mul(100));
        usage.cpu.user = times.map(|(user, _)| time(user));
        usage.cpu.system = times.map(|(_, system)| time(system));
        usage.keep_peaks_of(&self.highest);
        usage.memory.peak = usage.memory.peak.max(usage.memory.current);
        usage.pids.peak = usage.pids.peak.max(usage.pids.current);
        self.highest.clone_from(usage);
        Ok(())
    }

    fn update(&mut self, old: &LaunchPlan, new: &LaunchPlan) -> Result<(), PlatformError> {
        let ((before, _), (wanted, impossible)) =
            (limits::of(old, processors()), limits::of(new, processors()));
        let refused =
            impossible.into_iter().map(|it| (it.control, it.reason)).next().or_else(|| {
                let settings: Vec<Setting> = wanted.iter().map(|wanted| wanted.setting).collect();
                // A rate is told for itself, and stays until that is taken back.
                let rates = before.iter().filter(|it| is_rate(&it.setting));
                let is_of_network = |it: &Wanted| it.control == Control::NetworkSend;
                let is_replaced = |one: &Wanted| {
                    let same = |it: &Wanted| is_of_network(it) == is_of_network(one);
                    wanted.iter().any(|it| is_rate(&it.setting) && same(it))
                };
                for Wanted { control, setting } in rates.filter(|it| !is_replaced(it)) {
                    if let Err(error) = self.job.forget_rate(*setting) {
                        let why = format!("the job doesn't forget it ({error})");
                        return Some((*control, why));
                    }
                }
                let lost = self.job.tell(&settings);
                let mut lost = lost.into_iter().filter_map(|(setting, error)| {
                    let served = wanted.iter().find(|wanted| wanted.setting == setting)?;
                    // What was lost before, and what is only watched, is no news.
                    let is_held = new.controls.get(&served.control) == Some(&Decision::Enforce);
                    let is_new = is_held && !before.contains(served);
                    is_new.then(|| (served.control, format!("the job doesn't keep it ({error})")))
                });
                lost.next()
            });
        let Some((control, reason)) = refused else { return Ok(()) };
        // What was kept at the start is kept again; what wasn't is as it was.
        let settings: Vec<Setting> = before.iter().map(|wanted| wanted.setting).collect();
        self.job.tell(&settings);
        Err(PlatformError::unsupported(control, reason))
    }

    fn processes(&mut self) -> Result<Vec<Process>, PlatformError> {
        let failed =
            |error| PlatformError::system("failed to list the processes of the job", error);
        let pids = self.job.processes().map_err(failed)?;
        rows(&pids).map_err(failed)
    }

    fn pause(&mut self, paused: bool) -> BoxFuture<'_, Result<(), PlatformError>> {
        let done = if paused { self.suspended.stop(&self.job) } else { self.suspended.go_on() };
        let done = done.map_err(|error| {
            let verb = if paused { "stop" } else { "resume" };
            PlatformError::system(format!("failed to {verb} the processes of the job"), error)
        });
        Box::pin(async { done })
    }

    fn hits(&self) -> Result<Hits, PlatformError> {
        Ok(self.told.borrow().hits)
    }

    fn has_ended(&self) -> bool {
        self.end.borrow().is_some()
    }

    fn watcher(&mut self, told: Hits) -> Result<Option<Box<dyn Watcher>>, PlatformError> {
        Ok(Some(Box::new(JobWatcher { before: told, told: self.told.clone() })))
    }

    fn enforcement(&self) -> &[Enforcement] {
        &self.enforcement
    }

    fn wait(&mut self) -> BoxFuture<'_, Result<Ended, PlatformError>> {
        Box::pin(self.watch())
    }
}

impl Drop for WindowsRunning {
    fn drop(&mut self) {
        if self.ended.is_none() {
            // Nobody is left to tell; the job's last handle ends it anyway.
            self.kill().unwrap_or(());
        }
    }
}

/// Tells of limits that were reached.
#[derive(Debug)]
struct JobWatcher {
    before: Hits,
    told: watch::Receiver<Told>,
}

impl Watcher for JobWatcher {
    fn next(&mut self) -> BoxFuture<'_, Result<Vec<Event>, PlatformError>> {
        Box::pin(async {
            loop {
                let now = self.told.borrow_and_update().hits;
                let events = self.before.until(&now);
                self.before = now;
                if !events.is_empty() {
                    return Ok(events);
                }
                if self.told.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        })
    }
}
