//! What is launched for a service: its program, its hooks, and what both of them get.

use crate::error::Error;
use crate::plan::new_id;
use crate::platform::{Attachment, Backend, Signal, Stdio, Whom};
use crate::policy::Policy;
use crate::sandbox::{Adopted, Sandbox, SandboxBuilder};
use crate::supervisor::dialogue::{Ear, Notify};
use crate::supervisor::gate::{Gate, Needed};
use crate::supervisor::health::Look;
use crate::supervisor::hook::{Hook, Hooks};
use crate::supervisor::record::Run;
use crate::supervisor::sockets::ServiceSocket;
use crate::supervisor::stack::Service;
use crate::supervisor::violation::Measures;
use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

/// What is launched, each time.
#[derive(Clone, Debug)]
pub(in crate::supervisor) struct Launch {
    pub(in crate::supervisor) policy: Policy,
    pub(in crate::supervisor) command: Vec<OsString>,
    pub(in crate::supervisor) name: Option<String>,
    pub(in crate::supervisor) stop_signal: Signal,
    pub(in crate::supervisor) reload_signal: Signal,
    pub(in crate::supervisor) backend: Option<Arc<dyn Backend>>,
    pub(in crate::supervisor) looks: Vec<Look>,
    pub(in crate::supervisor) gate: Gate,
    pub(in crate::supervisor) hooks: Hooks,
    pub(in crate::supervisor) reload_command: Vec<OsString>,
    pub(in crate::supervisor) on_violation: Measures,
    pub(in crate::supervisor) notify: Notify,
    pub(in crate::supervisor) sockets: Vec<ServiceSocket>,
    pub(in crate::supervisor) on_demand: bool,
    /// Whether its program leaves its work to another process.
    pub(in crate::supervisor) forks: bool,
    /// Which says which one, as the program sees it.
    pub(in crate::supervisor) pid_file: Option<PathBuf>,
    /// The process of somebody else's that it is.
    pub(in crate::supervisor) attach: Option<Attachment>,
}

impl Launch {
    /// Of a service of a stack.
    pub(in crate::supervisor) fn of(
        name: &str,
        service: &Service,
        needs: Vec<Needed>,
        backend: Option<Arc<dyn Backend>>,
    ) -> Self {
        Self {
            policy: service.policy.clone(),
            command: service.command.clone(),
            name: Some(name.to_owned()),
            stop_signal: service.stop_signal,
            reload_signal: service.reload_signal,
            backend,
            looks: service.probes.all().map(|(purpose, probe)| Look::of(purpose, probe)).collect(),
            gate: Gate(needs),
            hooks: service.hooks.clone(),
            reload_command: service.reload_command.clone(),
            on_violation: service.on_violation.clone(),
            notify: service.notify,
            sockets: service.sockets.clone(),
            on_demand: service.on_demand && !service.sockets.is_empty(),
            forks: service.rules.forks,
            pid_file: service.pid_file.clone(),
            attach: service.attach.clone(),
        }
    }

    pub(super) fn start(
        &self,
        run: Option<&Run>,
        ear: Option<&Ear>,
        passed: Vec<(String, File)>,
        kept: Vec<Option<File>>,
    ) -> Result<Sandbox, Error> {
        if let Some(attach) = &self.attach {
            let gone = || Error::asked("the process is gone", "");
            return self.sandbox(None).attach(attach, None)?.ok_or_else(gone);
        }
        let mut builder = self.sandbox(run).pass(passed).keep(kept).forks(self.forks);
        if let Some(socket) = ear.map(Ear::socket) {
            builder = builder.show(socket.shown()).variable("NOTIFY_SOCKET", socket.inside());
        }
        if let Some(period) = self.notify.watchdog {
            let period = period.as_micros().to_string();
            builder = builder.variable("WATCHDOG_USEC", period).pid_variable("WATCHDOG_PID");
        }
        builder.start()
    }

    /// What takes over a run of the supervisor before. It may wait for the sandbox's first process.
    pub(super) fn adopt(
        &self,
        run: &Run,
    ) -> impl FnOnce() -> Result<Adopted, Error> + Send + use<> {
        let (attach, process) = (self.attach.clone(), run.process.clone());
        let builder = self.sandbox(Some(run).filter(|_| attach.is_none()));
        move || match (attach, process) {
            (None, process) => builder.adopt(process.as_ref()),
            (Some(_), None) => Ok(Adopted::Gone),
            (Some(attach), known) => {
                let found = builder.attach(&attach, known.as_ref())?;
                Ok(found.map_or(Adopted::Gone, |it| Adopted::Taken(Box::new(it), Vec::new())))
            }
        }
    }

    /// Whether it is left alone instead of being ended.
    pub(super) fn lets_go(&self) -> bool {
        self.attach.as_ref().is_some_and(|attach| !attach.stop)
    }

    /// Whether it is known by a number alone, which is another's one day.
    pub(super) fn is_by_number(&self) -> bool {
        self.attach.as_ref().is_some_and(|attach| matches!(attach.whom, Whom::Pid(_)))
    }

    /// A run that is about to begin, and may outlive this supervisor.
    pub(super) fn run(&self) -> Result<Run, Error> {
        let program = self.command.first().map(OsString::as_os_str);
        let id = new_id(self.name.as_deref(), program);
        let failed = |error| Error::io("failed to draw a token", error);
        Run::new(id, self.policy.digest()).map_err(failed)
    }

    /// What a hook runs in: a sandbox under the same policy, but for the ports that are the service's.
    pub(super) fn sandbox_of_hook(
        &self,
        hook: Hook,
        command: &[OsString],
    ) -> Result<Sandbox, Error> {
        let mut policy = self.policy.clone().env("STOCKADE_HOOK", hook.word());
        if let Some(name) = &self.name {
            policy = policy.env("STOCKADE_SERVICE", name);
        }
        policy.publish.clear();
        let other = Self { policy, command: command.to_vec(), looks: Vec::new(), ..self.clone() };
        other.sandbox(None).start()
    }

    pub(super) fn sandbox(&self, run: Option<&Run>) -> SandboxBuilder {
        let mut builder = Sandbox::builder(self.policy.clone()).command(self.command.clone());
        if let Some(name) = &self.name {
            builder = builder.name(name);
        }
        if let Some(backend) = &self.backend {
            builder = builder.backend(backend.clone());
        }
        if self.looks.iter().any(|look| look.check.dials()) {
            builder = builder.dialed();
        }
        if let Some(run) = run {
            builder = builder.id(run.id.clone()).lasting(run.token);
        }
        builder.stdin(Stdio::Null).stdout(Stdio::Piped).stderr(Stdio::Piped)
    }
}
