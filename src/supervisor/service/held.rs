//! Hooks of a service: those that something waits for, and those that nothing does.

use super::Actor;
use crate::error::Error;
use crate::logs::Stream;
use crate::platform::{BoxFuture, Execution, Signal};
use crate::supervisor::capture::Capture;
use crate::supervisor::hook::{self, Hook};
use crate::supervisor::lifecycle::{Event, Happening};
use crate::supervisor::outcome::Outcome;
use std::ffi::OsString;

/// Hooks of one service that run at once, beside one that something waits for.
const MOST_HOOKS: usize = 8;

/// What waits for a hook.
#[derive(Debug)]
pub(super) enum Held {
    /// Its launch.
    Launch,
    /// That it is asked to end.
    Ask,
    /// That it has ended, so.
    End(Outcome),
}

impl Held {
    fn hook(&self) -> Hook {
        match self {
            Self::Launch => Hook::PreStart,
            Self::Ask => Hook::PreStop,
            Self::End(_) => Hook::PostStop,
        }
    }
}

impl Actor {
    /// Goes on with this when a hook is done; at once where there is none.
    pub(super) async fn hold(
        &mut self,
        held: Held,
        hook: Option<BoxFuture<'static, Result<(), String>>>,
    ) {
        match hook {
            Some(hook) => self.held = Some((held, hook)),
            None => self.go_on((held, Ok(()))).await,
        }
    }

    /// What something waited for is done.
    pub(super) async fn go_on(&mut self, (held, done): (Held, Result<(), String>)) {
        self.held = None;
        let generation = self.life.generation();
        if let (Held::Ask | Held::End(_), Err(why)) = (&held, &done) {
            self.tell_error(format!("`hooks.{}` {why}", held.hook().word()));
        }
        let happening = match (held, done) {
            (Held::Launch, Ok(())) => self.start(),
            (Held::Launch, Err(why)) => Happening::NotLaunched(format!("`hooks.pre_start` {why}")),
            (Held::End(outcome), _) => Happening::Ended(outcome),
            (Held::Ask, _) => return self.ask_to_end(),
        };
        self.take_in(Event::Of(generation, happening)).await;
    }

    pub(super) fn ask_to_end(&mut self) {
        let Some(run) = &mut self.run else { return };
        // What it stands still for, by itself or by somebody else, mustn't keep it from hearing.
        let asked = run.signal(self.launch.stop_signal).and_then(|()| run.signal(Signal::Continue));
        if let Err(error) = asked {
            // It is killed when its time is over.
            self.failed(&error);
        }
    }

    /// A hook in a sandbox of its own; `None` where there is nothing to run.
    pub(super) fn alone(&self, hook: Hook) -> Option<BoxFuture<'static, Result<(), String>>> {
        let command = self.launch.hooks.commands.get(&hook)?;
        let patience = self.launch.hooks.timeout;
        Some(match self.launch.sandbox_of_hook(hook, command) {
            Ok(mut sandbox) => {
                let generation = self.life.generation();
                self.capture.attach(Stream::Output, generation, sandbox.stdout.take());
                self.capture.attach(Stream::Error, generation, sandbox.stderr.take());
                Box::pin(hook::alone(sandbox, patience))
            }
            Err(error) => {
                Box::pin(async move { Err(format!("wasn't launched: {}", error.chain())) })
            }
        })
    }

    /// A command inside of what runs; what it writes goes there.
    pub(super) fn inside(
        &mut self,
        command: &[OsString],
        capture: Option<Capture>,
    ) -> BoxFuture<'static, Result<(), String>> {
        let (patience, generation) = (self.launch.hooks.timeout, self.life.generation());
        let entering = match &mut self.run {
            Some(run) => run.exec(command, hook::streams(capture.is_some())),
            None => Err(Error::asked("nothing of it runs", "")),
        };
        let tell = move |execution: &mut Execution| {
            if let Some(capture) = capture {
                capture.attach(Stream::Output, generation, execution.stdout.take());
                capture.attach(Stream::Error, generation, execution.stderr.take());
            }
        };
        match entering {
            Ok(entering) => Box::pin(hook::inside(entering, tell, patience)),
            Err(error) => {
                Box::pin(async move { Err(format!("wasn't launched: {}", error.chain())) })
            }
        }
    }

    /// A hook of this kind, where it belongs.
    pub(super) fn hook(&mut self, hook: Hook) -> Option<BoxFuture<'static, Result<(), String>>> {
        if !hook.is_inside() {
            return self.alone(hook);
        }
        let command = self.launch.hooks.commands.get(&hook)?.clone();
        Some(self.inside(&command, Some(self.capture.clone())))
    }

    /// Has something run that nothing waits for.
    pub(super) fn work(
        &mut self,
        what: &'static str,
        work: BoxFuture<'static, Result<(), String>>,
    ) {
        if self.at_work.len() >= MOST_HOOKS {
            return self.tell_error(format!("`{what}` wasn't run: {MOST_HOOKS} hooks aren't done"));
        }
        self.at_work.spawn(async move { (what, work.await) });
    }

    /// Runs the hooks for what has happened.
    pub(super) fn run_hooks(&mut self) {
        let now = hook::Moment::of(&self.life, self.run.is_some());
        for hook in hook::due(std::mem::replace(&mut self.seen, now), now) {
            if let Some(work) = self.hook(hook) {
                self.work(hook.word(), work);
            }
        }
    }
}

/// What waits for a hook, and what that came to; never where nothing waits. Dropping the future loses nothing.
pub(super) async fn released(
    held: &mut Option<(Held, BoxFuture<'static, Result<(), String>>)>,
) -> (Held, Result<(), String>) {
    let done = match held {
        Some((_, hook)) => hook.await,
        None => std::future::pending().await,
    };
    // It is there, or nothing would have come of it.
    match held.take() {
        Some((held, _)) => (held, done),
        None => std::future::pending().await,
    }
}
