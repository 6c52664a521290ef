//! One sandbox: start, talk, wait, signal, stop.

use crate::error::Error;
use crate::events::{Events, News};
use crate::output;
use crate::plan;
use crate::platform::{
    Backend, Control, Decision, Ended, Enforcement, Event, InputPipe, LaunchPlan, OomKill,
    OutputPipe, Probe, Running, Signal, Stdio, StdioSet, Terminal, Usage,
};
use crate::policy::Policy;
use crate::report::{ExitReport, Intent, PolicyName};
use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How often watched limits are looked at: often enough that memory filled at full speed (about 1 GiB/s and core) is
/// noticed within some tens of MiB.
const WATCH_PERIOD: Duration = Duration::from_millis(20);

/// What to start, and how.
///
/// ```
/// # fn main() -> Result<(), stockade::Error> {
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use stockade::{Policy, Sandbox};
///
/// let policy = Policy::shipped("default")?;
/// let mut sandbox = Sandbox::builder(policy).command(["echo", "hello"]).piped().start()?;
/// let (report, output) = sandbox.output().await?;
/// assert!(report.success());
/// assert_eq!(output.stdout, b"hello\n");
/// # Ok(())
/// # })
/// # }
/// ```
#[derive(Debug)]
pub struct SandboxBuilder {
    policy: Policy,
    command: Vec<OsString>,
    name: Option<String>,
    stdio: StdioSet,
    terminal: bool,
    backend: Option<Arc<dyn Backend>>,
}

impl SandboxBuilder {
    /// The program and its arguments.
    #[must_use]
    pub fn command(mut self, command: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.command = command.into_iter().map(Into::into).collect();
        self
    }

    /// A name for reports and the sandbox's id; else the program's.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Where the program's standard input comes from; inherited unless said otherwise.
    #[must_use]
    pub fn stdin(mut self, stdin: Stdio) -> Self {
        self.stdio.stdin = stdin;
        self
    }

    /// Where its standard output goes.
    #[must_use]
    pub fn stdout(mut self, stdout: Stdio) -> Self {
        self.stdio.stdout = stdout;
        self
    }

    /// Where its standard error goes.
    #[must_use]
    pub fn stderr(mut self, stderr: Stdio) -> Self {
        self.stdio.stderr = stderr;
        self
    }

    /// All three streams are pipes to the caller.
    #[must_use]
    pub fn piped(mut self) -> Self {
        self.stdio = StdioSet::piped();
        self
    }

    /// Gives the program a terminal of its own instead of the streams.
    #[must_use]
    pub fn terminal(mut self) -> Self {
        self.terminal = true;
        self
    }

    /// Launches through another backend than the platform's own.
    #[must_use]
    pub fn backend(mut self, backend: Arc<dyn Backend>) -> Self {
        self.backend = Some(backend);
        self
    }

    /// Starts it, and returns when the program runs. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When a control of the policy can't be enforced here ([`Error::is_unsupported`]), or a step of the launch failed.
    /// Nothing is left behind then.
    pub fn start(self) -> Result<Sandbox, Error> {
        let backend = match self.backend {
            Some(backend) => backend,
            None => Arc::from(crate::platform::native()?),
        };
        let request = plan::LaunchRequest {
            id: plan::new_id(self.name.as_deref(), self.command.first().map(OsString::as_os_str)),
            command: self.command,
            environment: std::env::vars_os().collect(),
            working_directory: std::env::current_dir().ok(),
            terminal: self.terminal,
        };
        let plan = plan::compile(&self.policy, &backend.support(Probe::Quick), request)?;
        let started_at = jiff::Timestamp::now().to_string();
        let mut stdio = self.stdio;
        let output = plan.limits.output.map(|most| output::Limited::new(most.0, &mut stdio));
        let output = output.transpose()?;
        let mut launched = backend.launch(&plan, stdio)?;
        let output = output.map(|output| output.attach(&mut launched)).transpose()?;
        let stalls = plan.controls.get(&Control::MemoryStall) == Some(&Decision::Enforce);
        let watcher = if stalls { launched.running.watcher()? } else { None };
        let deadline = plan.limits.wall_time.map(|time| Instant::now() + time);
        Ok(Sandbox {
            policy: PolicyName { name: self.policy.name.clone(), digest: self.policy.digest() },
            watched: watched(&plan),
            plan,
            started_at,
            running: launched.running,
            stdin: launched.stdin,
            stdout: launched.stdout,
            stderr: launched.stderr,
            terminal: launched.terminal,
            output,
            output_told: false,
            deadline,
            intent: None,
            kill_at: None,
            news: News::new(watcher),
            paused: false,
            latest: Usage::default(),
            peaks: Usage::default(),
            ended: None,
        })
    }
}

/// A program running behind its walls. Dropping it kills the whole tree.
#[derive(Debug)]
pub struct Sandbox {
    plan: LaunchPlan,
    policy: PolicyName,
    started_at: String,
    running: Box<dyn Running>,
    /// Where to write for the program's standard input, if piped; take it and drop it to close the stream.
    pub stdin: Option<InputPipe>,
    /// Where to read its standard output, if piped.
    pub stdout: Option<OutputPipe>,
    /// Where to read its standard error, if piped.
    pub stderr: Option<OutputPipe>,
    /// Its terminal, if it got one.
    pub terminal: Option<Terminal>,
    /// What it writes, where that is limited.
    output: Option<output::Watch>,
    /// Whether that was too much, and somebody acted on it.
    output_told: bool,
    watched: Vec<Control>,
    deadline: Option<Instant>,
    /// Why it is being ended, once Stockade decided so.
    intent: Option<Intent>,
    /// When politeness ends.
    kill_at: Option<Instant>,
    /// What happens, for those who listen and for `limits.memory_stall`.
    news: News,
    paused: bool,
    /// The last sample; each goes into the room of the one before.
    latest: Usage,
    peaks: Usage,
    ended: Option<Ended>,
}

/// All that a program wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// To its standard output.
    pub stdout: Vec<u8>,
    /// To its standard error.
    pub stderr: Vec<u8>,
}

impl Sandbox {
    /// Begins to describe a sandbox under this policy.
    pub fn builder(policy: Policy) -> SandboxBuilder {
        SandboxBuilder {
            policy,
            command: Vec::new(),
            name: None,
            stdio: StdioSet::default(),
            terminal: false,
            backend: None,
        }
    }

    /// Its name: the given or the program's, and eight hex digits.
    pub fn id(&self) -> &str {
        &self.plan.id
    }

    /// Process id of its first process, as the host counts: for people, never for signalling.
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// What is in force, from what was read back.
    pub fn enforcement(&self) -> &[Enforcement] {
        self.running.enforcement()
    }

    /// Sends a signal to the program.
    ///
    /// # Errors
    /// When the platform has no such signal or refuses. A program that is gone is no error.
    pub fn signal(&self, signal: Signal) -> Result<(), Error> {
        Ok(self.running.signal(signal)?)
    }

    /// Ends the whole tree now; [`Self::wait`] then tells how it ended.
    ///
    /// # Errors
    /// When the platform refuses. A tree that is gone is no error.
    pub fn kill(&self) -> Result<(), Error> {
        Ok(self.running.kill()?)
    }

    /// Stops every process of the tree, and returns when all of them stand still.
    ///
    /// Time limits go on; a signal arrives when the tree goes on, but for a kill; [`Self::stop`] lets it go on first.
    ///
    /// # Errors
    /// When the platform can't stop a whole tree, or refuses. A tree that is gone is no error.
    pub async fn pause(&mut self) -> Result<(), Error> {
        self.running.pause(true).await?;
        self.paused = true;
        Ok(())
    }

    /// Lets a paused tree go on.
    ///
    /// # Errors
    /// As [`Self::pause`].
    pub async fn resume(&mut self) -> Result<(), Error> {
        self.running.pause(false).await?;
        self.paused = false;
        Ok(())
    }

    /// What the tree used so far.
    ///
    /// # Errors
    /// When a source that the platform has can't be read.
    pub fn usage(&mut self) -> Result<Usage, Error> {
        let mut usage = self.running.usage()?;
        usage.keep_peaks_of(&self.peaks);
        Ok(usage)
    }

    /// Asks the program to end, and ends the whole tree when the grace is over.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub async fn stop(&mut self, grace: Duration) -> Result<ExitReport, Error> {
        if self.paused {
            self.resume().await?;
        }
        self.end(grace)?;
        self.wait().await
    }

    /// Waits until nothing of the tree is left, holding its time limits and watched limits on the way.
    ///
    /// Repeated calls give the same report. Dropping the future loses nothing, but while nobody waits, nobody holds the
    /// time limits and watched limits: keep one waiter for as long as the sandbox lives.
    ///
    /// # Errors
    /// When the platform fails to wait or to clean up.
    pub async fn wait(&mut self) -> Result<ExitReport, Error> {
        let ended = loop {
            if let Some(ended) = &self.ended {
                break ended.clone();
            }
            let next = self.next_look();
            let due = async {
                match next {
                    Some(next) => tokio::time::sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                ended = self.running.wait() => {
                    let ended = ended?;
                    self.news.close(&ended);
                    self.ended = Some(ended);
                }
                events = self.news.next() => {
                    for event in events? {
                        self.take_in(event)?;
                    }
                }
                () = over(&self.output), if self.intent.is_none() && !self.output_told => {
                    self.cut_off()?;
                }
                () = due => self.look()?,
            }
        };
        let mut ended = ended;
        if let Some(output) = &mut self.output {
            output.copied().await;
            // The program may have met its closed pipe before anybody here was told.
            let whole = self.plan.limits.oom_kill == OomKill::Tree;
            let out_of_memory = whole && ended.hits.memory_kills > 0;
            if output.is_over() && self.intent.is_none() && !out_of_memory {
                self.intent = Some(Intent::Watched(Control::Output));
            }
        }
        ended.usage.keep_peaks_of(&self.peaks);
        let enforcement = self.running.enforcement().to_vec();
        let (policy, started_at) = (self.policy.clone(), self.started_at.clone());
        let mut report =
            ExitReport::new(&self.plan, policy, started_at, &ended, self.intent, enforcement);
        report.output_bytes = self.output.as_ref().map(output::Watch::passed);
        Ok(report)
    }

    /// Begins to listen to what happens: limits that are reached, kills for want of memory, pressure, the end.
    ///
    /// The kernel tells it, nothing is polled; events come while somebody waits ([`Self::wait`]). Kernels before 6.1 let only
    /// root hear of pressure and of throttling, and nobody where the kernel doesn't measure it.
    ///
    /// # Errors
    /// When the platform refuses to tell.
    pub fn events(&mut self) -> Result<Events, Error> {
        if !self.news.has_watcher() && self.ended.is_none() {
            self.news.watch(self.running.watcher()?);
        }
        Ok(self.news.listen())
    }

    fn take_in(&mut self, event: Event) -> Result<(), Error> {
        let stalled = event == Event::MemoryStalled;
        self.news.tell(event);
        if stalled && self.intent.is_none() && !self.is_out_of_memory()? {
            self.intent = Some(Intent::Watched(Control::MemoryStall));
            self.look_last();
            self.kill()?;
        }
        Ok(())
    }

    /// Ends it for what it wrote.
    fn cut_off(&mut self) -> Result<(), Error> {
        self.output_told = true;
        if self.is_out_of_memory()? {
            return Ok(());
        }
        self.intent = Some(Intent::Watched(Control::Output));
        self.look_last();
        self.kill()
    }

    /// Whether the kernel has set out to end the tree for want of memory: whatever else is over by then, that came first.
    fn is_out_of_memory(&self) -> Result<bool, Error> {
        let whole = self.plan.limits.oom_kill == OomKill::Tree;
        Ok(whole && self.running.hits()?.memory_kills > 0)
    }

    /// Closes standard input, reads everything the program writes, and waits for its end.
    ///
    /// # Errors
    /// As [`Self::wait`], or when reading fails.
    pub async fn output(&mut self) -> Result<(ExitReport, Output), Error> {
        use tokio::io::AsyncReadExt;
        async fn all(pipe: Option<OutputPipe>) -> std::io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            if let Some(mut pipe) = pipe {
                pipe.read_to_end(&mut bytes).await?;
            }
            Ok(bytes)
        }
        self.stdin = None;
        let (stdout, stderr) = (self.stdout.take(), self.stderr.take());
        let (report, stdout, stderr) = tokio::join!(self.wait(), all(stdout), all(stderr));
        let failed = |error| Error::io("failed to read the program's output", error);
        Ok((report?, Output { stdout: stdout.map_err(failed)?, stderr: stderr.map_err(failed)? }))
    }

    /// Notified when job control of its terminal stopped the program; never where there is none.
    pub fn stops(&self) -> Arc<Notify> {
        self.running.stops()
    }

    fn next_look(&self) -> Option<Instant> {
        let watch = (!self.watched.is_empty() && self.intent.is_none())
            .then(|| Instant::now() + WATCH_PERIOD);
        let deadline = self.deadline.filter(|_| self.intent.is_none());
        [watch, deadline, self.kill_at].into_iter().flatten().min()
    }

    /// Looks at the clock and the watched limits, and acts.
    fn look(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        if self.kill_at.is_some_and(|at| now >= at) {
            self.kill_at = None;
            self.look_last();
            return self.kill();
        }
        if self.intent.is_some() {
            return Ok(());
        }
        if self.deadline.is_some_and(|at| now >= at) {
            self.deadline = None;
            // After a sleep of Stockade's own the clock is heard before the end that came in time.
            if self.running.has_ended() || self.is_out_of_memory()? {
                return Ok(());
            }
            self.intent = Some(Intent::Time(Control::WallTime));
            return self.end(self.plan.limits.grace);
        }
        if self.watched.is_empty() {
            return Ok(());
        }
        self.running.sample(&mut self.latest)?;
        let usage = &self.latest;
        self.peaks.keep_peaks_of(usage);
        let over =
            self.watched.iter().copied().find(|control| is_over(*control, &self.plan, usage));
        match over {
            Some(Control::CpuTime) => {
                self.intent = Some(Intent::Time(Control::CpuTime));
                self.end(self.plan.limits.grace)
            }
            // What goes over a limit of space takes it from others: no grace.
            Some(control) => {
                self.intent = Some(Intent::Watched(control));
                self.kill()
            }
            None => Ok(()),
        }
    }

    /// Takes a sample before a kill: of what is killed unwaited, no other count exists where there is no group for it.
    fn look_last(&mut self) {
        let usage = self.running.usage().unwrap_or_default();
        self.peaks.keep_peaks_of(&usage);
    }

    fn end(&mut self, grace: Duration) -> Result<(), Error> {
        if grace.is_zero() {
            self.look_last();
            return self.kill();
        }
        self.kill_at = Some(Instant::now() + grace);
        self.signal(Signal::Terminate)
    }
}

/// Waits until more was written than may be; for ever where that isn't limited.
async fn over(output: &Option<output::Watch>) {
    match output {
        Some(output) => output.over().await,
        None => std::future::pending().await,
    }
}

/// Controls that Stockade itself has to hold by looking: the CPU time always, others where they were degraded to that.
fn watched(plan: &LaunchPlan) -> Vec<Control> {
    let degraded = |control| matches!(plan.controls.get(&control), Some(Decision::Degrade { .. }));
    let mut controls = Vec::new();
    if plan.limits.cpu_time.is_some() && plan.controls.contains_key(&Control::CpuTime) {
        controls.push(Control::CpuTime);
    }
    if plan.limits.memory.is_some() && degraded(Control::Memory) {
        controls.push(Control::Memory);
    }
    if plan.limits.pids.is_some() && degraded(Control::Pids) {
        controls.push(Control::Pids);
    }
    controls
}

/// Whether a tree uses more than a limit of its plan.
fn is_over(control: Control, plan: &LaunchPlan, usage: &Usage) -> bool {
    let limits = &plan.limits;
    match control {
        Control::Memory => usage.memory.current > limits.memory && limits.memory.is_some(),
        // The init is one of those counted.
        Control::Pids => {
            let most = limits.pids.map(|pids| u64::from(pids) + 1);
            usage.pids.current > most && most.is_some()
        }
        Control::CpuTime => {
            let used = usage.cpu.user.unwrap_or_default() + usage.cpu.system.unwrap_or_default();
            limits.cpu_time.is_some_and(|most| used >= most)
        }
        _ => false,
    }
}
