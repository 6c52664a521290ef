//! The services of a stack, kept running together.

use super::controller::Controller;
use super::lines::{Lines, Teller, lines};
use super::service::Status;
use super::stack::Stack;
use crate::error::Error;
use crate::platform::Backend;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::task::JoinSet;

/// Keeps the services of a stack running: each in its own sandbox, after what it depends on.
///
/// They go with it: every service ends when it is dropped.
#[derive(Debug)]
pub struct Supervisor {
    services: BTreeMap<String, Member>,
}

#[derive(Debug)]
struct Member {
    controller: Controller,
    /// The services that depend on it.
    dependents: Vec<String>,
}

impl Supervisor {
    /// Begins to keep the services of a stack running that are enabled, and gives what all of them write. Must be called inside
    /// a tokio runtime.
    pub fn start(stack: &Stack) -> (Self, Lines) {
        Self::start_with(stack, None)
    }

    /// The same, through another backend than the platform's own.
    pub fn start_with(stack: &Stack, backend: Option<&Arc<dyn Backend>>) -> (Self, Lines) {
        let (sender, lines) = lines();
        let mut services: BTreeMap<String, Member> = BTreeMap::new();
        for name in stack.order() {
            let Some(service) = stack.services.get(name) else { continue };
            let needs = service.depends_on.iter().filter_map(|(needed, condition)| {
                let member = services.get(needed)?;
                Some((needed.clone(), *condition, member.controller.watch()))
            });
            let needs = needs.collect();
            let teller = Teller::new(name, sender.clone());
            let controller = Controller::of(name, service, needs, teller, backend.cloned());
            for needed in service.depends_on.keys() {
                if let Some(member) = services.get_mut(needed) {
                    member.dependents.push(name.to_owned());
                }
            }
            services.insert(name.to_owned(), Member { controller, dependents: Vec::new() });
        }
        (Self { services }, lines)
    }

    /// The names of its services.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.services.keys().map(String::as_str)
    }

    /// One of its services.
    pub fn service(&self, name: &str) -> Option<&Controller> {
        self.services.get(name).map(|member| &member.controller)
    }

    /// Waits until nothing of any service runs, and nothing will by itself; or until one has failed that is to take the others
    /// with it.
    ///
    /// # Errors
    /// As [`Controller::wait_for`].
    pub async fn wait(&self) -> Result<(), Error> {
        let mut working = JoinSet::new();
        for member in self.services.values() {
            let controller = member.controller.clone();
            working.spawn(async move { controller.wait_for(Status::is_at_rest).await });
        }
        while let Some(ended) = working.join_next().await {
            let Ok(status) = ended else { continue };
            if status?.escalated {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Stops all services, each after those that depend on it, and returns when nothing of them is left.
    ///
    /// # Errors
    /// As [`Controller::wait_for`].
    pub async fn stop(&self) -> Result<(), Error> {
        let mut working = JoinSet::new();
        for member in self.services.values() {
            let controller = member.controller.clone();
            let dependents: Vec<Controller> =
                member.dependents.iter().filter_map(|name| self.service(name).cloned()).collect();
            working.spawn(async move {
                for dependent in dependents {
                    dependent.wait_for(Status::is_at_rest).await?;
                }
                controller.stop().await.map(|_| ())
            });
        }
        while let Some(stopped) = working.join_next().await {
            // It can't panic; if it did, the others are waited for all the same.
            stopped.unwrap_or(Ok(()))?;
        }
        Ok(())
    }

    /// Kills all services at once, and returns when nothing of them is left.
    ///
    /// # Errors
    /// As [`Controller::wait_for`].
    pub async fn kill(&self) -> Result<(), Error> {
        let mut working = JoinSet::new();
        for member in self.services.values() {
            let controller = member.controller.clone();
            working.spawn(async move { controller.kill().await.map(|_| ()) });
        }
        while let Some(killed) = working.join_next().await {
            killed.unwrap_or(Ok(()))?;
        }
        Ok(())
    }
}
