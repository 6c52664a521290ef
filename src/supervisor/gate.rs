//! What a service depends on: waiting for it, and hearing of it later.

use super::health::Health;
use super::lifecycle::{Event, Generation, State};
use super::service::Status;
use super::stack::{Condition, Need};
use crate::platform::BoxFuture;
use std::future::poll_fn;
use std::task::Poll;
use tokio::sync::watch;

/// What a service needs, and where that can be seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate(pub(super) Vec<Needed>);

/// One service that is needed.
#[derive(Clone, Debug)]
pub(super) struct Needed {
    pub(super) name: String,
    pub(super) need: Need,
    pub(super) status: watch::Receiver<Status>,
}

/// What a status says of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Met,
    NotYet,
    /// It won't be met by itself.
    Never,
}

impl Condition {
    fn of(self, status: &Status) -> Answer {
        let met = match (self, status.state) {
            (Self::Started, State::Running | State::Reloading | State::Paused) => true,
            (Self::Started | Self::Completed, State::Completed) => true,
            (Self::Ready, _) => status.ready,
            (Self::Healthy, _) => status.ready && status.health == Health::Healthy,
            (Self::Started | Self::Completed, _) => false,
        };
        match status.state {
            _ if met => Answer::Met,
            // What was stopped, or never started, may still be started.
            State::Failed | State::Completed => Answer::Never,
            _ => Answer::NotYet,
        }
    }
}

impl Needed {
    fn answer(&self) -> Answer {
        let status = self.status.borrow();
        match self.need.condition.of(&status) {
            // What needn't be there isn't waited for when it won't come.
            Answer::NotYet if !self.need.required && status.is_at_rest() => Answer::Met,
            Answer::Never if !self.need.required => Answer::Met,
            answer => answer,
        }
    }

    fn is_met(&self) -> bool {
        self.need.condition.of(&self.status.borrow()) == Answer::Met
    }

    /// Such as `db` to be ready.
    fn told(&self) -> String {
        let word = match self.need.condition {
            Condition::Started => "be started",
            Condition::Ready => "be ready",
            Condition::Healthy => "be healthy",
            Condition::Completed => "complete",
        };
        format!("`{}` to {word}", self.name)
    }
}

impl Gate {
    /// What it waits for, in words; empty where it needs nothing.
    pub(super) fn told(&self) -> String {
        let missing = self.0.iter().filter(|needed| needed.answer() != Answer::Met);
        let all: Vec<String> = missing.map(Needed::told).collect();
        if all.is_empty() { String::new() } else { format!("waits for {}", all.join(", ")) }
    }

    /// What of it isn't there any more, in words; empty where all of it is. What has completed stays so.
    pub(super) fn lost(&self) -> String {
        let lost = self.0.iter().filter(|needed| {
            needed.need.required
                && needed.need.condition != Condition::Completed
                && !needed.is_met()
        });
        let told = |needed: &Needed| {
            let status = needed.status.borrow();
            format!("`{}`, which it needs, is {}", needed.name, status.state.word())
        };
        lost.map(told).collect::<Vec<_>>().join(", ")
    }

    /// Returns when all of it is there at once, or something of it never will be.
    pub(super) async fn pass(mut self) -> Event {
        loop {
            let mut missing = None;
            for (at, needed) in self.0.iter_mut().enumerate() {
                needed.status.mark_unchanged();
                match needed.answer() {
                    Answer::Met => {}
                    Answer::NotYet => missing = missing.or(Some(at)),
                    Answer::Never => return Event::DependencyFailed(needed.name.clone()),
                }
            }
            let Some(needed) = missing.and_then(|at| self.0.get_mut(at)) else {
                return Event::DependenciesMet;
            };
            // Of the others nothing needs to be heard until this one is there.
            if needed.status.changed().await.is_err() {
                return Event::DependencyFailed(needed.name.clone());
            }
        }
    }

    /// Returns when something of it changes; never where it needs nothing. Dropping the future loses nothing.
    pub(super) async fn changed(&mut self) {
        let mut changes: Vec<BoxFuture<'_, bool>> = Vec::new();
        for needed in &mut self.0 {
            changes.push(Box::pin(async { needed.status.changed().await.is_ok() }));
        }
        poll_fn(|context| {
            let mut ended = Vec::new();
            for (at, change) in changes.iter_mut().enumerate() {
                match change.as_mut().poll(context) {
                    Poll::Ready(true) => return Poll::Ready(()),
                    // Nobody will tell any more.
                    Poll::Ready(false) => ended.push(at),
                    Poll::Pending => {}
                }
            }
            for at in ended.into_iter().rev() {
                drop(changes.swap_remove(at));
            }
            Poll::Pending
        })
        .await;
    }

    /// Returns when something that asks for it has come back: another run of it, or the same that had been lost, is as it must
    /// be. What was before this call is what it is compared with.
    pub(super) fn comes_back(self) -> Option<BoxFuture<'static, Event>> {
        let mut watched = Self(self.0.into_iter().filter(|needed| needed.need.restart).collect());
        if watched.0.is_empty() {
            return None;
        }
        let known = |needed: &Needed| (needed.status.borrow().generation, needed.is_met());
        let mut before: Vec<(Generation, bool)> = watched.0.iter().map(known).collect();
        Some(Box::pin(async move {
            loop {
                for (needed, before) in watched.0.iter_mut().zip(&mut before) {
                    needed.status.mark_unchanged();
                    let (generation, met) = known(needed);
                    if met && (generation > before.0 || !before.1) {
                        return Event::DependencyBack(needed.name.clone());
                    }
                    before.1 = met;
                }
                watched.changed().await;
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::team::Supervisor;
    use super::super::{Stack, Status};
    use super::*;
    use crate::platform::fake::{FakeBackend, FakeHandle};
    use crate::platform::{Backend, Ended, HowEnded};
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    /// Two services, the second of which needs the first like this.
    fn pair(db: &str, need: &str) -> (Supervisor, Arc<FakeBackend>) {
        let scene = tempfile::tempdir().unwrap();
        let path = scene.path().join("stockade.toml");
        let text = format!(
            "[defaults]\npolicy = \"default\"\n[services.db]\ncommand = \"db\"\n{db}\n\
             [services.web]\ncommand = \"web\"\ndepends_on = {{ db = {need} }}\n"
        );
        std::fs::write(&path, text).unwrap();
        let stack = Stack::load(&path, Path::new("/")).unwrap();
        let fake = Arc::new(FakeBackend::new());
        let backend: Arc<dyn Backend> = fake.clone();
        (Supervisor::start_with(&stack, Some(&backend)).0, fake)
    }

    async fn wait(of: &Supervisor, name: &str, is: impl Fn(&Status) -> bool) -> Status {
        let service = of.service(name).unwrap();
        tokio::time::timeout(Duration::from_secs(3600), service.wait_for(is))
            .await
            .unwrap()
            .unwrap()
    }

    fn newest(fake: &FakeBackend, name: &str) -> FakeHandle {
        let its = |run: &FakeHandle| run.plan.id.starts_with(name);
        fake.launched().into_iter().rfind(its).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn what_serves_again_restarts_those_that_ask_for_it_and_tells_the_others() {
        for restart in [true, false] {
            let need = format!("{{ condition = \"ready\", restart = {restart} }}");
            let (team, fake) = pair("restart.delay = \"60s\"", &need);
            wait(&team, "web", |status| status.ready).await;
            newest(&fake, "db").end(Ended::new(HowEnded::Exited(1)));
            let told = "its program is executed; `db`, which it needs, is backoff";
            wait(&team, "web", |status| status.why == told).await;
            wait(&team, "db", |status| status.ready).await;
            if restart {
                wait(&team, "web", |status| status.state == State::Stopping).await;
                newest(&fake, "web").end(Ended::new(HowEnded::Exited(0)));
                wait(&team, "web", |status| status.ready && status.generation.0 == 2).await;
            } else {
                wait(&team, "web", |status| status.why == "its program is executed").await;
                assert_eq!(team.service("web").unwrap().status().generation.0, 1);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_failed_for_another_recovers_with_it() {
        let need = "{ condition = \"ready\", restart = true }";
        let (team, fake) =
            pair("restart.policy = \"no\"\nstartup_probe = { tcp_socket = 1 }", need);
        let web = team.service("web").unwrap();
        wait(&team, "web", |status| status.why == "waits for `db` to be ready").await;
        wait(&team, "db", |status| status.pid.is_some()).await;
        newest(&fake, "db").end(Ended::new(HowEnded::Exited(1)));
        wait(&team, "web", |status| status.state == State::Failed).await;
        assert_eq!(web.status().why, "`db` failed, which it needs");
        assert!(fake.launched().iter().all(|run| run.plan.id.starts_with("db")));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_required_is_waited_for_only_while_it_may_come() {
        let need = "{ condition = \"completed\", required = false }";
        let (team, fake) = pair("type = \"oneshot\"\nrestart.policy = \"no\"", need);
        wait(&team, "web", |status| status.why == "waits for `db` to complete").await;
        wait(&team, "db", |status| status.pid.is_some()).await;
        newest(&fake, "db").end(Ended::new(HowEnded::Exited(1)));
        wait(&team, "web", |status| status.ready).await;
        // Nor is it waited for where nobody wants it.
        let (team, _fake) = pair("enabled = false", "{ condition = \"ready\", required = false }");
        wait(&team, "web", |status| status.ready).await;
    }
}
