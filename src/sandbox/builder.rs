//! Describing a sandbox, and starting it.

use super::watch::watched;
use super::{PolicyName, Sandbox};
use crate::denials::Told;
use crate::error::Error;
use crate::events::News;
use crate::network::{Passage, Published};
use crate::platform::{Backend, Control, Decision, Hits, Probe, Stdio, StdioSet, Usage};
use crate::policy::Policy;
use crate::{output, plan};
use std::ffi::OsString;
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
        let program = self.command.first().map(OsString::as_os_str);
        let request = plan::LaunchRequest {
            id: self.id.unwrap_or_else(|| plan::new_id(self.name.as_deref(), program)),
            command: self.command,
            environment: std::env::vars_os().collect(),
            working_directory: std::env::current_dir().ok(),
            terminal: self.terminal,
        };
        let mut plan = plan::compile(&self.policy, &backend.support(Probe::Quick), request)?;
        plan.watch = self.watch;
        plan.trace = self.trace;
        plan.dialed = self.dialed;
        // Before anything runs: a port may be taken.
        let published = Published::bind(&plan)?;
        let started_at = jiff::Timestamp::now().to_string();
        let mut stdio = self.stdio;
        let output = plan.limits.output.map(|most| output::Limited::new(most.0, &mut stdio));
        let output = output.transpose()?;
        let mut launched = backend.launch(&plan, stdio)?;
        let dialer = launched.gate.dialer.clone();
        let passage = Passage::open(&plan, published, std::mem::take(&mut launched.gate))?;
        let output = output.map(|output| output.attach(&mut launched)).transpose()?;
        let stalls = plan.controls.get(&Control::MemoryStall) == Some(&Decision::Enforce);
        let watcher = if stalls { launched.running.watcher(Hits::default())? } else { None };
        let deadline = plan.limits.wall_time.map(|time| Instant::now() + time);
        Ok(Sandbox {
            policy: PolicyName { name: self.policy.name.clone(), digest: self.policy.digest() },
            watched: watched(&plan),
            plan,
            started_at,
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
            began: Instant::now(),
            latest: Usage::default(),
            peaks: Usage::default(),
            ended: None,
        })
    }
}
