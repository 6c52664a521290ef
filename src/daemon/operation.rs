//! What was asked for and takes its time: each has a number, under which everybody can ask what became of it.

use super::view::time;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::watch;

/// Operations that have ended are remembered, so many of them.
const KEPT: usize = 256;

/// No more than this may be under way: whoever asks for more has to wait.
const MOST: usize = 1024;

/// Something that is done, or was.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Operation {
    pub(super) id: u64,
    pub(super) verb: &'static str,
    /// Of which service; none where it is of all.
    pub(super) service: Option<String>,
    pub(super) state: Progress,
    /// Why it failed.
    pub(super) error: Option<String>,
    started_at: String,
    ended_at: Option<String>,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Progress {
    Running,
    Done,
    Failed,
}

impl Operation {
    pub(super) fn is_over(&self) -> bool {
        self.state != Progress::Running
    }
}

/// All that are under way, and the last ones that were.
#[derive(Clone, Debug, Default)]
pub(super) struct Operations(Arc<Mutex<Register>>);

#[derive(Debug, Default)]
struct Register {
    last: u64,
    all: BTreeMap<u64, watch::Sender<Operation>>,
}

impl Operations {
    /// Begins one, and goes on with it whoever waits for it. None where too many are under way.
    pub(super) fn begin(
        &self,
        verb: &'static str,
        service: Option<&str>,
        work: impl Future<Output = Result<(), String>> + Send + 'static,
    ) -> Option<u64> {
        let mut register = self.register();
        let is_over = |operation: &watch::Sender<Operation>| operation.borrow().is_over();
        let over: Vec<u64> =
            register.all.iter().filter(|(_, one)| is_over(one)).map(|(id, _)| *id).collect();
        for id in over.iter().take(over.len().saturating_sub(KEPT - 1)) {
            register.all.remove(id);
        }
        if register.all.len() - over.len().min(register.all.len()) >= MOST {
            return None;
        }
        register.last += 1;
        let id = register.last;
        let operation = Operation {
            id,
            verb,
            service: service.map(str::to_owned),
            state: Progress::Running,
            error: None,
            started_at: time(Some(SystemTime::now())),
            ended_at: None,
        };
        let told = watch::Sender::new(operation);
        register.all.insert(id, told.clone());
        tokio::spawn(async move {
            let result = work.await;
            told.send_modify(|operation| {
                operation.state = if result.is_ok() { Progress::Done } else { Progress::Failed };
                operation.error = result.err();
                operation.ended_at = Some(time(Some(SystemTime::now())));
            });
        });
        Some(id)
    }

    /// The newest first.
    pub(super) fn list(&self) -> Vec<Operation> {
        self.register().all.values().rev().map(|one| one.borrow().clone()).collect()
    }

    /// One of them, when it is over or after this time.
    pub(super) async fn wait(&self, id: u64, patience: Duration) -> Option<Operation> {
        let mut told = self.register().all.get(&id)?.subscribe();
        let over = tokio::time::timeout(patience, told.wait_for(Operation::is_over));
        // Whatever comes of waiting, the answer is how it stands.
        over.await.map(drop).unwrap_or(());
        Some(told.borrow().clone())
    }

    /// A poisoned lock only means that a thread panicked while it looked; what is there is whole.
    fn register(&self) -> MutexGuard<'_, Register> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_over_is_remembered_for_a_while_and_what_is_under_way_has_a_bound() {
        let operations = Operations::default();
        for _ in 0..2 * KEPT {
            let id = operations.begin("start", Some("web"), async { Err("no".into()) }).unwrap();
            let over = operations.wait(id, Duration::from_secs(1)).await.unwrap();
            assert_eq!((over.state, over.error.as_deref()), (Progress::Failed, Some("no")));
        }
        assert_eq!(operations.list().len(), KEPT);
        assert!(operations.wait(1, Duration::ZERO).await.is_none());
        let long = || operations.begin("stop", None, std::future::pending());
        let first = long().unwrap();
        let asked = operations.wait(first, Duration::from_secs(60)).await.unwrap();
        assert_eq!(asked.state, Progress::Running);
        for _ in 1..MOST {
            long().unwrap();
        }
        assert_eq!(long(), None);
    }
}
