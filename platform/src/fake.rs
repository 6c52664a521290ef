//! A scripted backend: for tests of what stands above the platform, where the clock and the end of a program must
//! come when the test says so.

use crate::{
    Availability, Backend, BoxFuture, Control, Decision, Ended, Enforcement, Gate, HowEnded,
    LaunchPlan, Launched, PlatformError, Probe, Running, Signal, State, StdioSet, Support, Usage,
};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// What the next launch shall do.
#[derive(Debug)]
pub enum Scripted {
    /// The launch fails with this error.
    Fails(PlatformError),
    /// It runs until [`FakeHandle::end`] is called.
    Runs,
    /// It runs and ends at once.
    Ends(Box<Ended>),
}

/// A backend that launches nothing and does what it was told.
#[derive(Debug, Default)]
pub struct FakeBackend {
    support: Support,
    script: Mutex<VecDeque<Scripted>>,
    launched: Mutex<Vec<FakeHandle>>,
}

/// The test's hold on one fake sandbox.
#[derive(Clone, Debug)]
pub struct FakeHandle {
    /// The plan it was launched with.
    pub plan: LaunchPlan,
    end: watch::Sender<Option<Ended>>,
    signals: Arc<Mutex<Vec<Signal>>>,
    usage: Arc<Mutex<Usage>>,
    hidden: Arc<AtomicBool>,
}

impl FakeBackend {
    /// A host that can enforce everything.
    pub fn new() -> Self {
        let controls = Control::all().map(|control| (control, Availability::Enforced)).collect();
        Self::with_support(Support { backend: "fake".into(), controls, ..Support::default() })
    }

    /// A host that can do what `support` says.
    pub fn with_support(support: Support) -> Self {
        Self { support, ..Self::default() }
    }

    /// Says what the next launch not yet scripted shall do; without a script it [`Scripted::Runs`].
    pub fn script(&self, next: Scripted) {
        lock(&self.script).push_back(next);
    }

    /// Every launch so far, in order.
    pub fn launched(&self) -> Vec<FakeHandle> {
        lock(&self.launched).clone()
    }
}

impl FakeHandle {
    /// Ends the sandbox.
    pub fn end(&self, ended: Ended) {
        self.end.send_replace(Some(ended));
    }

    /// Signals it got, in order; a kill counts as [`Signal::Kill`].
    pub fn signals(&self) -> Vec<Signal> {
        lock(&self.signals).clone()
    }

    /// What it shall say it used.
    pub fn set_usage(&self, usage: Usage) {
        *lock(&self.usage) = usage;
    }

    /// Whether looks at what it uses fail from now on.
    pub fn hide_usage(&self, hidden: bool) {
        self.hidden.store(hidden, Ordering::Relaxed);
    }
}

/// A poisoned lock only means that another test thread failed; the data is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Backend for FakeBackend {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn support(&self, _probe: Probe) -> Support {
        self.support.clone()
    }

    fn explain(&self, plan: &LaunchPlan) -> Result<Vec<String>, PlatformError> {
        Ok(vec![format!("pretend to run {}", plan.id)])
    }

    fn launch(&self, plan: &LaunchPlan, _stdio: StdioSet) -> Result<Launched, PlatformError> {
        let first = match lock(&self.script).pop_front().unwrap_or(Scripted::Runs) {
            Scripted::Fails(error) => return Err(error),
            Scripted::Runs => None,
            Scripted::Ends(ended) => Some(*ended),
        };
        let handle = FakeHandle {
            plan: plan.clone(),
            end: watch::Sender::new(first),
            signals: Arc::default(),
            usage: Arc::default(),
            hidden: Arc::default(),
        };
        lock(&self.launched).push(handle.clone());
        let enforcement = plan.controls.iter().map(|(control, decision)| match decision {
            Decision::Enforce => Enforcement::new(*control, State::Enforced, "pretended"),
            Decision::Degrade { how, .. } => Enforcement::new(*control, State::Degraded, how),
            Decision::Skip { reason } => Enforcement::new(*control, State::Unavailable, reason),
        });
        let enforcement = enforcement.collect();
        let running = Box::new(FakeRunning { handle, enforcement });
        Ok(Launched {
            running,
            stdin: None,
            stdout: None,
            stderr: None,
            terminal: None,
            gate: Gate::default(),
        })
    }
}

#[derive(Debug)]
struct FakeRunning {
    handle: FakeHandle,
    enforcement: Vec<Enforcement>,
}

impl Running for FakeRunning {
    fn pid(&self) -> u32 {
        0
    }

    fn signal(&self, signal: Signal) -> Result<(), PlatformError> {
        lock(&self.handle.signals).push(signal);
        Ok(())
    }

    fn kill(&self) -> Result<(), PlatformError> {
        lock(&self.handle.signals).push(Signal::Kill);
        self.handle.end.send_if_modified(|end| {
            let alive = end.is_none();
            end.get_or_insert_with(|| Ended::new(HowEnded::Signaled(9)));
            alive
        });
        Ok(())
    }

    fn pause(&mut self, paused: bool) -> BoxFuture<'_, Result<(), PlatformError>> {
        let signal = if paused { Signal::Stop } else { Signal::Continue };
        Box::pin(async move { self.signal(signal) })
    }

    fn sample(&mut self, usage: &mut Usage) -> Result<(), PlatformError> {
        if self.handle.hidden.load(Ordering::Relaxed) {
            return Err(PlatformError::invalid("its usage is hidden"));
        }
        usage.clone_from(&lock(&self.handle.usage));
        Ok(())
    }

    fn enforcement(&self) -> &[Enforcement] {
        &self.enforcement
    }

    fn wait(&mut self) -> BoxFuture<'_, Result<Ended, PlatformError>> {
        let mut end = self.handle.end.subscribe();
        Box::pin(async move {
            match end.wait_for(Option::is_some).await {
                Ok(ended) => Ok(ended.clone().unwrap_or_else(|| Ended::new(HowEnded::Signaled(9)))),
                Err(_) => Ok(Ended::new(HowEnded::Signaled(9))),
            }
        })
    }
}
