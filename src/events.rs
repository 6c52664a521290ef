//! Hearing what happens to a sandbox.

use crate::platform::{Ended, Event, Hits, HowEnded, Watcher};
use tokio::sync::broadcast::{self, error::RecvError};

/// How far a listener may fall behind.
const KEPT: usize = 256;

/// What happens to one sandbox, from when it was asked for ([`Sandbox::events`](crate::Sandbox::events)).
#[derive(Debug)]
pub struct Events(broadcast::Receiver<Event>);

impl Events {
    /// The next event; `None` after the end of the sandbox. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Event> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(events)) => Some(Event::Missed { events }),
            Err(RecvError::Closed) => None,
        }
    }
}

/// The speaking side.
#[derive(Debug, Default)]
pub(crate) struct News {
    watcher: Option<Box<dyn Watcher>>,
    listeners: Option<broadcast::Sender<Event>>,
    /// What listeners were told, so that the last counts, read after the end, tell the rest.
    told: Hits,
}

impl News {
    pub(crate) fn new(watcher: Option<Box<dyn Watcher>>) -> Self {
        Self { watcher, ..Self::default() }
    }

    /// What was told so far.
    pub(crate) fn told(&self) -> Hits {
        self.told
    }

    /// Whether somebody listens.
    pub(crate) fn is_heard(&self) -> bool {
        self.listeners.is_some()
    }

    pub(crate) fn has_watcher(&self) -> bool {
        self.watcher.is_some()
    }

    pub(crate) fn watch(&mut self, watcher: Option<Box<dyn Watcher>>) {
        self.watcher = watcher;
    }

    pub(crate) fn listen(&mut self) -> Events {
        let sender = self.listeners.get_or_insert_with(|| broadcast::Sender::new(KEPT));
        Events(sender.subscribe())
    }

    /// The next events; never without a watcher.
    pub(crate) async fn next(&mut self) -> Result<Vec<Event>, crate::platform::PlatformError> {
        match &mut self.watcher {
            Some(watcher) => watcher.next().await,
            None => std::future::pending().await,
        }
    }

    pub(crate) fn tell(&mut self, event: Event) {
        match &event {
            Event::NearMemoryLimit { limit: crate::platform::Control::Memory, times } => {
                self.told.memory += times;
            }
            Event::NearMemoryLimit { times, .. } => self.told.memory_high += times,
            Event::OomKill { processes, tree } => {
                self.told.memory_kills += processes;
                self.told.tree_kills += u64::from(*tree);
            }
            Event::PidsDenied { times } => self.told.pids += times,
            _ => {}
        }
        if let Some(listeners) = &self.listeners {
            // Nobody listens any more: nobody misses it.
            listeners.send(event).unwrap_or(0);
        }
    }

    /// Tells what is left to tell, and lets the listeners go.
    pub(crate) fn close(&mut self, ended: &Ended) {
        if self.listeners.is_some() {
            for event in self.told.until(&ended.hits) {
                self.tell(event);
            }
            let (exit_code, signal) = match ended.how {
                HowEnded::Exited(code) => (Some(code), None),
                HowEnded::Signaled(signal) => (None, Some(signal)),
                HowEnded::Denied(signal) => (None, Some(signal)),
                _ => (None, None),
            };
            self.tell(Event::Exited { exit_code, signal });
        }
        *self = Self::default();
    }
}
