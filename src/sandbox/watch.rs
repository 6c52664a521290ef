//! The limits that Stockade itself holds: time, what is watched, what is written; and what came first.

use super::Sandbox;
use crate::error::Error;
use crate::network::Passage;
use crate::output;
use crate::platform::{Control, Decision, Denial, Event, LaunchPlan, OomKill, Signal, Usage};
use crate::report::Intent;
use std::time::Duration;
use tokio::time::Instant;

/// How often watched limits are looked at: often enough that memory filled at full speed (about 1 GiB/s and core) is
/// noticed within some tens of MiB.
const WATCH_PERIOD: Duration = Duration::from_millis(20);

/// How long looks may fail before the sandbox does.
const BLIND: Duration = Duration::from_secs(10);

impl Sandbox {
    pub(super) fn next_look(&self) -> Option<Instant> {
        let watch = (!self.watched.is_empty() && self.intent.is_none())
            .then(|| Instant::now() + WATCH_PERIOD);
        let deadline = self.deadline.filter(|_| self.intent.is_none());
        [watch, deadline, self.kill_at].into_iter().flatten().min()
    }

    /// Looks at the clock and the watched limits, and acts.
    pub(super) fn look(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        if self.kill_at.is_some_and(|at| now >= at) {
            self.kill_at = None;
            self.look_last();
            return self.kill_tree();
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
        if let Err(error) = self.running.sample(&mut self.latest) {
            let since = *self.blind_since.get_or_insert(now);
            // The system may be short of descriptors or of memory for a while. A limit that nobody holds for longer isn't one.
            return if now < since + BLIND { Ok(()) } else { Err(error.into()) };
        }
        self.blind_since = None;
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
                self.kill_tree()
            }
            None => Ok(()),
        }
    }

    /// Takes a sample before a kill: of what is killed unwaited, no other count exists where there is no group for it.
    pub(super) fn look_last(&mut self) {
        let usage = self.running.usage().unwrap_or_default();
        self.peaks.keep_peaks_of(&usage);
    }

    pub(super) fn take_in(&mut self, event: Event) -> Result<(), Error> {
        let stalled = event == Event::MemoryStalled;
        self.news.tell(event);
        if stalled && self.intent.is_none() && !self.is_out_of_memory()? {
            self.intent = Some(Intent::Watched(Control::MemoryStall));
            self.look_last();
            self.kill_tree()?;
        }
        Ok(())
    }

    /// Ends it for what it wrote.
    pub(super) fn cut_off(&mut self) -> Result<(), Error> {
        self.output_told = true;
        if self.is_out_of_memory()? {
            return Ok(());
        }
        self.intent = Some(Intent::Watched(Control::Output));
        self.look_last();
        self.kill_tree()
    }

    /// Whether the kernel has set out to end the tree for want of memory: whatever else is over by then, that came first.
    pub(super) fn is_out_of_memory(&self) -> Result<bool, Error> {
        let whole = self.plan.limits.oom_kill == OomKill::Tree;
        Ok(whole && self.running.hits()?.memory_kills > 0)
    }

    pub(super) fn end(&mut self, grace: Duration) -> Result<(), Error> {
        if grace.is_zero() {
            self.look_last();
            return self.kill_tree();
        }
        self.kill_at = Some(Instant::now() + grace);
        self.signal(Signal::Terminate)
    }
}

/// Waits until more was written than may be; for ever where that isn't limited.
pub(super) async fn over(output: &Option<output::Watch>) {
    match output {
        Some(output) => output.over().await,
        None => std::future::pending().await,
    }
}

/// What was refused next; never where the network isn't filtered.
pub(super) async fn denied(passage: &Option<Passage>) -> Vec<Denial> {
    match passage {
        Some(passage) => passage.news().await,
        None => std::future::pending().await,
    }
}

/// Controls that Stockade itself has to hold by looking: the CPU time always, others where they were degraded to that.
pub(super) fn watched(plan: &LaunchPlan) -> Vec<Control> {
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
pub(super) fn is_over(control: Control, plan: &LaunchPlan, usage: &Usage) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::fake::FakeBackend;
    use crate::policy::Policy;
    use std::sync::Arc;

    #[tokio::test(start_paused = true)]
    async fn looks_may_fail_for_a_while_and_not_for_good() {
        let backend = Arc::new(FakeBackend::new());
        let mut policy = Policy::shipped("default").unwrap();
        policy.limits.cpu_time = Some(Duration::from_secs(1));
        let sandbox = Sandbox::builder(policy).backend(backend.clone()).command(["program"]);
        let mut sandbox = sandbox.start().unwrap();
        let handle = backend.launched().remove(0);
        for _ in 0..2 {
            handle.hide_usage(true);
            let waited = tokio::time::timeout(BLIND - WATCH_PERIOD, sandbox.wait()).await;
            assert!(waited.is_err(), "{waited:?}");
            handle.hide_usage(false);
            let waited = tokio::time::timeout(WATCH_PERIOD * 2, sandbox.wait()).await;
            assert!(waited.is_err(), "{waited:?}");
        }
        handle.hide_usage(true);
        let error = tokio::time::timeout(BLIND * 2, sandbox.wait()).await.unwrap().unwrap_err();
        assert_eq!(error.to_string(), "its usage is hidden");
    }
}
