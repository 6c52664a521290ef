//! Describing a sandbox, and starting it.

use super::memo::Memo;
use super::watch::watched;
use super::{PolicyName, Sandbox};
use crate::denials::Told;
use crate::error::Error;
use crate::events::News;
use crate::network::{Passage, Published};
use crate::platform::{
    self, Adoption, Attachment, Backend, Bind, Control, Decision, Hits, LaunchPlan, Launched,
    ProcessIdentity, Stdio, StdioSet, Token, Usage,
};
use crate::policy::Policy;
use crate::{fallback, output, plan};
use std::ffi::OsString;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::time::Instant;

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
    id: Option<String>,
    stdio: StdioSet,
    terminal: bool,
    watch: bool,
    trace: bool,
    dialed: bool,
    environment: Vec<(OsString, OsString)>,
    /// Variables that hold the program's own process id.
    pid_variables: Vec<OsString>,
    shown: Vec<Bind>,
    sockets: Vec<(String, File)>,
    forks: bool,
    lasting: Option<Token>,
    backend: Option<Arc<dyn Backend>>,
}

impl SandboxBuilder {
    pub(super) fn new(policy: Policy) -> Self {
        Self {
            policy,
            command: Vec::new(),
            name: None,
            id: None,
            stdio: StdioSet::default(),
            terminal: false,
            watch: false,
            trace: false,
            dialed: false,
            environment: Vec::new(),
            pid_variables: Vec::new(),
            shown: Vec::new(),
            sockets: Vec::new(),
            forks: false,
            lasting: None,
            backend: None,
        }
    }

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

    /// The whole id, of a caller that tells it also where the launch fails.
    #[must_use]
    pub(crate) fn id(mut self, id: String) -> Self {
        self.id = Some(id);
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

    /// Takes note of everything that the program wishes for ([`Sandbox::wishes`]), which makes each of its system calls slow.
    #[must_use]
    pub fn watch(mut self) -> Self {
        self.watch = true;
        self
    }

    /// Tells of paths that are denied too: in [`ExitReport::denials`](crate::ExitReport::denials) and as
    /// [`Event::Denied`](crate::Event::Denied), each with the line of a policy that would allow it. Told is what a path was
    /// when it was looked at, just before its call; nothing is decided by it. It makes each system call that names a path
    /// slow.
    #[must_use]
    pub fn trace_denials(mut self) -> Self {
        self.trace = true;
        self
    }

    /// Makes what listens inside of its own network reachable by [`Sandbox::inside`]; where its network is the host's, that is
    /// so anyway. The policy must keep Stockade's init.
    #[must_use]
    pub fn dialed(mut self) -> Self {
        self.dialed = true;
        self
    }

    /// One more variable of the program's environment, whatever the policy says of it.
    #[must_use]
    pub fn variable(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// One more variable, with the program's process id as it sees it itself; without one where that isn't known beforehand.
    #[must_use]
    pub(crate) fn pid_variable(mut self, name: impl Into<OsString>) -> Self {
        self.pid_variables.push(name.into());
        self
    }

    /// Shows one more path of the host inside.
    #[must_use]
    pub(crate) fn show(mut self, bind: Bind) -> Self {
        self.shown.push(bind);
        self
    }

    /// Passes open sockets, each with a name, as sd_listen_fds(3) takes them: from descriptor 3 on, with `LISTEN_FDS`,
    /// `LISTEN_FDNAMES` and `LISTEN_PID`. None may be a directory.
    #[must_use]
    pub fn pass(mut self, sockets: impl IntoIterator<Item = (String, File)>) -> Self {
        self.sockets.extend(sockets);
        self
    }

    /// Keeps these for whoever takes it over, by their places ([`Adopted::Taken`]).
    #[must_use]
    pub(crate) fn keep(mut self, kept: Vec<Option<File>>) -> Self {
        self.stdio.kept = kept;
        self
    }

    /// Launches through another backend than the platform's own.
    #[must_use]
    pub fn backend(mut self, backend: Arc<dyn Backend>) -> Self {
        self.backend = Some(backend);
        self
    }

    /// Whether its program may end with success and leave its work to a process that it started.
    #[must_use]
    pub(crate) fn forks(mut self, forks: bool) -> Self {
        self.forks = forks;
        self
    }

    /// Has it outlive this process: another one that knows its id and this token may take it over then.
    #[must_use]
    pub(crate) fn lasting(mut self, token: Token) -> Self {
        self.lasting = Some(token);
        self
    }

    /// Starts it, and returns when the program runs. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When a control of the policy can't be enforced here ([`Error::is_unsupported`]), or a step of the launch failed.
    /// Nothing is left behind then.
    pub fn start(mut self) -> Result<Sandbox, Error> {
        let (backend, plan) = self.plan()?;
        // Before anything runs: a port may be taken.
        let published = Published::bind(&plan)?;
        let mut stdio = std::mem::take(&mut self.stdio);
        let output = plan.limits.output.map(|most| output::Limited::new(most.0, &mut stdio));
        let output = output.transpose()?;
        let memo = Memo::begun(jiff::Timestamp::now());
        let launched = backend.launch(&plan, stdio)?;
        let sandbox = self.sandbox(plan, launched, (published, output), &memo, Instant::now())?;
        if sandbox.plan.lasting.is_some() {
            sandbox.running.remember(&Memo::of(&sandbox).written()?)?;
        }
        Ok(sandbox)
    }

    /// Attaches to a process that somebody else started: nothing of the policy is in force around it. `None` where it isn't the one
    /// that is known.
    ///
    /// # Errors
    /// As [`Backend::attach`](crate::platform::Backend::attach).
    pub(crate) fn attach(
        mut self,
        to: &Attachment,
        known: Option<&ProcessIdentity>,
    ) -> Result<Option<Sandbox>, Error> {
        let backend = match self.backend.take() {
            Some(backend) => backend,
            None => Arc::from(platform::native()?),
        };
        let Some(running) = backend.attach(to, known)? else { return Ok(None) };
        let id = self.id.take().unwrap_or_else(|| plan::new_id(self.name.as_deref(), None));
        let plan = LaunchPlan::new(id, Vec::new());
        let (stdin, stdout, stderr, terminal) = (None, None, None, None);
        let gate = platform::Gate::default();
        let launched = Launched { running, stdin, stdout, stderr, terminal, gate };
        let memo = Memo::begun(jiff::Timestamp::now());
        let published = Published::bind(&plan)?;
        self.sandbox(plan, launched, (published, None), &memo, Instant::now()).map(Some)
    }

    /// Takes over one that was launched by another process with the same id and token. The policy should be the same, too:
    /// what stands in it of limits and rules that this process holds is what counts from now on.
    ///
    /// # Errors
    /// As [`Backend::adopt`](crate::platform::Backend::adopt).
    pub(crate) fn adopt(mut self, known: Option<&ProcessIdentity>) -> Result<Adopted, Error> {
        let (backend, plan) = self.plan()?;
        let published = Published::bind(&plan)?;
        let mut stdio = std::mem::take(&mut self.stdio);
        let output = plan.limits.output.map(|most| output::Limited::new(most.0, &mut stdio));
        let output = output.transpose()?;
        let adopted = match backend.adopt(&plan, known)? {
            Adoption::Taken(adopted) => *adopted,
            Adoption::Gone => return Ok(Adopted::Gone),
            Adoption::Unknown(why) => return Ok(Adopted::Unknown(why)),
        };
        let platform::Adopted { mut running, stdout, stderr, gate, memo, age, kept } = adopted;
        let mut memo = Memo::read(&memo);
        running.recall(memo.enforcement());
        // Where something else fails here, or nobody takes what comes of it, it isn't to end for that.
        running.detach(true);
        let began = Instant::now().checked_sub(age).unwrap_or_else(Instant::now);
        if memo.started_at.is_empty() {
            let age = jiff::SignedDuration::try_from(age).unwrap_or_default();
            memo = Memo::begun(jiff::Timestamp::now().checked_sub(age).unwrap_or_default());
        }
        let (stdin, terminal) = (None, None);
        let launched = Launched { running, stdin, stdout, stderr, terminal, gate };
        let sandbox = self.sandbox(plan, launched, (published, output), &memo, began)?;
        Ok(Adopted::Taken(Box::new(sandbox), kept))
    }

    fn plan(&mut self) -> Result<(Arc<dyn Backend>, LaunchPlan), Error> {
        let program = self.command.first().map(OsString::as_os_str);
        let id = self.id.take().unwrap_or_else(|| plan::new_id(self.name.as_deref(), program));
        let request = || plan::LaunchRequest {
            id: id.clone(),
            command: self.command.clone(),
            environment: std::env::vars_os().collect(),
            working_directory: std::env::current_dir().ok(),
            terminal: self.terminal,
        };
        let wish = |plan: &mut LaunchPlan| {
            plan.watch = self.watch;
            plan.trace = self.trace;
            plan.dialed = self.dialed;
            plan.forks = self.forks;
            plan.lasting = self.lasting;
        };
        let backend = self.backend.take();
        let (backend, mut plan) = fallback::compile(backend, &self.policy, request, wish)?;
        self.add_to(&mut plan)?;
        Ok((backend, plan))
    }

    /// What the caller wishes beyond the policy.
    fn add_to(&mut self, plan: &mut LaunchPlan) -> Result<(), Error> {
        plan.filesystem.binds.append(&mut self.shown);
        let (names, passed): (Vec<String>, Vec<File>) =
            std::mem::take(&mut self.sockets).into_iter().unzip();
        let mut environment = std::mem::take(&mut self.environment);
        let pid = plan.program_pid().map(|pid| OsString::from(pid.to_string()));
        if let Some(pid) = &pid {
            let named = self.pid_variables.iter().map(|name| (name.clone(), pid.clone()));
            environment.extend(named);
        }
        if !passed.is_empty() {
            let pid = pid.ok_or_else(|| {
                let message = "sockets can only be passed to a program with processes of its own";
                Error::asked(message, "take `isolation.processes` out of `degrade.allow`")
            })?;
            environment.push(("LISTEN_PID".into(), pid));
            environment.push(("LISTEN_FDS".into(), passed.len().to_string().into()));
            environment.push(("LISTEN_FDNAMES".into(), names.join(":").into()));
        }
        self.stdio.passed = passed;
        plan.environment.retain(|(name, _)| environment.iter().all(|(new, _)| new != name));
        plan.environment.extend(environment);
        Ok(())
    }

    /// What was launched, with everything that is held from here on.
    fn sandbox(
        self,
        plan: LaunchPlan,
        mut launched: Launched,
        (published, output): (Published, Option<output::Limited>),
        memo: &Memo,
        began: Instant,
    ) -> Result<Sandbox, Error> {
        let dialer = launched.gate.dialer.clone();
        let passage = Passage::open(&plan, published, std::mem::take(&mut launched.gate))?;
        let output = output.map(|output| output.attach(&mut launched)).transpose()?;
        let stalls = plan.controls.get(&Control::MemoryStall) == Some(&Decision::Enforce);
        let watcher = if stalls { launched.running.watcher(Hits::default())? } else { None };
        let deadline = plan.limits.wall_time.map(|time| began + time);
        Ok(Sandbox {
            policy: PolicyName { name: self.policy.name.clone(), digest: self.policy.digest() },
            watched: watched(&plan),
            plan,
            started_at: memo.started_at.clone(),
            denials: Told::new(launched.running.denials()),
            running: launched.running,
            stdin: launched.stdin,
            stdout: launched.stdout,
            stderr: launched.stderr,
            terminal: launched.terminal,
            dialer,
            passage,
            output,
            output_told: false,
            deadline,
            intent: None,
            kill_at: None,
            news: News::new(watcher),
            paused: false,
            asked: AtomicBool::new(false),
            server: None,
            began,
            latest: Usage::default(),
            peaks: Usage::default(),
            blind_since: None,
            ended: None,
        })
    }
}

/// What became of a sandbox whose starter is gone.
#[derive(Debug)]
pub(crate) enum Adopted {
    /// It is there, or its end waits to be told, with what was kept for whoever takes it over. It goes on when it is dropped, until
    /// it is told otherwise ([`Sandbox::detach`]).
    Taken(Box<Sandbox>, Vec<Option<File>>),
    /// Nothing is left of it.
    Gone,
    /// Nobody knows, for this reason.
    Unknown(String),
}
