//! One sandbox: start, talk, wait, signal, stop.

mod builder;
mod inside;
mod memo;
mod requests;
mod update;
mod watch;

pub(crate) use builder::Adopted;
pub use builder::SandboxBuilder;
pub use inside::Inside;
pub use update::Consequence;

use crate::control::Server;
use crate::denials::Told;
use crate::error::Error;
use crate::events::{Events, News};
use crate::network::Passage;
use crate::output;
use crate::platform::{
    BoxFuture, Control, Dialer, Ended, Enforcement, Event, Execution, Hits, HowEnded, InputPipe,
    LaunchPlan, Limits, MainProcess, OomKill, OutputPipe, ProcessIdentity, Running, Signal,
    StdioSet, Terminal, Usage, Wished, Witness,
};
use crate::policy::Policy;
use crate::report::{ExitReport, Intent, PolicyName};
use requests::next_asked;
use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use watch::{denied, over};

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
    /// Connects to what listens in its own network, where that was asked for.
    dialer: Option<Arc<dyn Dialer>>,
    /// What passes between its network and the host's, where that is filtered.
    passage: Option<Passage>,
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
    denials: Told,
    paused: bool,
    /// Whether the caller ended it.
    asked: AtomicBool,
    /// What hears other processes of this user.
    server: Option<Server>,
    began: Instant,
    /// The last sample; each goes into the room of the one before.
    latest: Usage,
    peaks: Usage,
    /// Since when no look at what it uses has come off.
    blind_since: Option<Instant>,
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
        SandboxBuilder::new(policy)
    }

    /// Its name: the given or the program's, and eight hex digits.
    pub fn id(&self) -> &str {
        &self.plan.id
    }

    /// The program and its arguments.
    pub fn command(&self) -> &[OsString] {
        &self.plan.command
    }

    /// Name and digest of its policy.
    pub fn policy(&self) -> &PolicyName {
        &self.policy
    }

    /// Process id of its first process, as the host counts: for people, never for signalling.
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// The limits that are in force for it.
    pub fn limits(&self) -> &Limits {
        &self.plan.limits
    }

    /// A way to what listens inside, and to what its program sees of the file system.
    pub fn inside(&self) -> Inside {
        Inside::of(self)
    }

    /// What is in force, from what was read back.
    pub fn enforcement(&self) -> &[Enforcement] {
        self.running.enforcement()
    }

    /// What the program wished for so far, where it is watched ([`SandboxBuilder::watch`]).
    pub fn wishes(&self) -> Wished {
        self.running.wishes().all()
    }

    /// What tells its first process from every other; `None` where it doesn't outlive this process.
    /// Whose end is its end, now and later.
    pub(crate) fn main(&self) -> tokio::sync::watch::Receiver<MainProcess> {
        self.running.main()
    }

    /// Names the process, as it counts itself, that comes after its program.
    ///
    /// # Errors
    /// When nothing can come after the program.
    pub(crate) fn name_main(&self, pid: u32) -> Result<(), Error> {
        Ok(self.running.name_main(pid)?)
    }

    /// The same, of the only process that its program left behind; whether there is only one.
    ///
    /// # Errors
    /// As [`Self::name_main`].
    pub(crate) fn guess_main(&self) -> Result<bool, Error> {
        Ok(self.running.guess_main()?)
    }

    pub(crate) fn identity(&self) -> Option<ProcessIdentity> {
        self.running.identity()
    }

    /// Names who is told of the program's end before that is forgotten.
    pub(crate) fn witness(&mut self, witness: Witness) {
        self.running.witness(witness);
    }

    /// Whether it goes on when this is dropped, where it outlives this process.
    pub(crate) fn detach(&mut self, detached: bool) {
        self.running.detach(detached);
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
        self.asked.store(true, Ordering::Relaxed);
        self.kill_tree()
    }

    fn kill_tree(&self) -> Result<(), Error> {
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

    /// Starts another program inside: in the namespaces and under the limits of this sandbox, behind the same walls, with the same
    /// environment and working directory. It is executed when the future is done, which goes on by itself, so that
    /// [`Self::wait`] may be called meanwhile.
    ///
    /// Dropping what comes of it kills the program and all that it started; it ends with the sandbox in any case. Calls that the
    /// filter denies fail as for the sandbox's own program, but aren't told.
    ///
    /// # Errors
    /// When the sandbox has ended or stands still, or the platform can't; in the future also when one of the walls can't be put up,
    /// or the program can't be executed ([`Error::exit_status`]). Nothing of it is left then.
    pub fn exec(
        &mut self,
        command: impl IntoIterator<Item = impl Into<OsString>>,
        stdio: StdioSet,
    ) -> Result<BoxFuture<'static, Result<Execution, Error>>, Error> {
        if self.paused {
            let hint = "let it go on first: `stockade resume`";
            return Err(Error::asked("the sandbox is paused, and so would the program be", hint));
        }
        let mut plan = self.plan.clone();
        plan.command = command.into_iter().map(Into::into).collect();
        plan.terminal = false;
        let entering = self.running.exec(&plan, stdio)?;
        Ok(Box::pin(async move { Ok(entering.await?) }))
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

    /// How often it came to its limits so far.
    pub(crate) fn hits(&self) -> Result<Hits, Error> {
        Ok(self.running.hits()?)
    }

    /// Asks the program to end, and ends the whole tree when the grace is over.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub async fn stop(&mut self, grace: Duration) -> Result<ExitReport, Error> {
        if self.paused {
            self.resume().await?;
        }
        // What has ended by itself wasn't stopped.
        if let Ok(ended) = tokio::time::timeout(Duration::ZERO, self.running.wait()).await {
            ended?;
            return self.wait().await;
        }
        self.end_as_asked(grace)?;
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
                    self.tell_denials();
                    if let Some(passage) = &mut self.passage {
                        for denial in passage.close().await {
                            self.news.tell(Event::Denied(denial));
                        }
                    }
                    self.news.close(&ended);
                    self.server = None;
                    self.ended = Some(ended);
                }
                events = self.news.next() => {
                    for event in events? {
                        self.take_in(event)?;
                    }
                }
                () = self.denials.due(), if self.news.is_heard() => self.tell_denials(),
                () = over(&self.output), if self.intent.is_none() && !self.output_told => {
                    self.cut_off()?;
                }
                Some(asked) = next_asked(&mut self.server) => self.answer(asked).await,
                () = due => self.look()?,
                // The last: a program that is refused all the time must not keep the others from their turn.
                denials = denied(&self.passage) => {
                    for denial in denials {
                        self.news.tell(Event::Denied(denial));
                    }
                }
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
        // A kill can't have been the end of what exited, or of what another signal ended.
        if self.intent.is_none()
            && self.asked.load(Ordering::Relaxed)
            && matches!(ended.how, HowEnded::Signaled(9) | HowEnded::Killed)
        {
            self.intent = Some(Intent::Asked);
        }
        let mut report =
            ExitReport::new(&self.plan, policy, started_at, &ended, self.intent, enforcement);
        report.denials = self.denials.all(&self.plan.syscalls);
        if let Some(passage) = &self.passage {
            report.denials.extend(passage.denials());
            report.connections = Some(passage.connections());
        }
        report.output_bytes = self.output.as_ref().map(output::Watch::passed);
        Ok(report)
    }

    fn tell_denials(&mut self) {
        if self.news.is_heard() {
            for event in self.denials.news(&self.plan.syscalls) {
                self.news.tell(event);
            }
        }
    }

    /// Begins to listen to what happens: limits that are reached, what is denied, kills for want of memory, pressure, the end.
    ///
    /// The kernel tells it, nothing is polled; events come while somebody waits ([`Self::wait`]). Kernels before 6.1 let only
    /// root hear of pressure and of throttling, and nobody where the kernel doesn't measure it.
    ///
    /// # Errors
    /// When the platform refuses to tell.
    pub fn events(&mut self) -> Result<Events, Error> {
        if !self.news.has_watcher() && self.ended.is_none() {
            self.news.watch(self.running.watcher(Hits::default())?);
        }
        Ok(self.news.listen())
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
}
