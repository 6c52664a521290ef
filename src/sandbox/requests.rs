//! What another process of the same user asks of a sandbox.

use super::Sandbox;
use super::update::with_changes;
use crate::control::{Asked, Reply, Request, Response, Server, Status};
use crate::error::Error;
use crate::platform::{LaunchPlan, Stdio, StdioSet};
use crate::policy::Changes;
use crate::report::Intent;
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

impl Sandbox {
    /// Lists it among its user's sandboxes, so that `stockade top`, `stats`, `pause`, `stop` and the like find it. They are
    /// answered while somebody waits ([`Self::wait`]).
    ///
    /// # Errors
    /// When this user has no place for it, or the system refuses.
    pub fn list(&mut self) -> Result<(), Error> {
        self.server = Some(Server::start(self.id())?);
        Ok(())
    }

    /// What it is and uses now; with its processes, if wanted.
    ///
    /// # Errors
    /// When a source that the platform has can't be read.
    pub fn status(&mut self, processes: bool) -> Result<Status, Error> {
        Ok(Status {
            version: 1,
            id: self.plan.id.clone(),
            command: self.plan.command.iter().map(LaunchPlan::readable).collect(),
            policy: self.policy.name.clone(),
            started_at: self.started_at.clone(),
            age_s: self.began.elapsed().as_secs_f64(),
            pid: self.pid(),
            paused: self.paused,
            limits: self.plan.limits.clone(),
            usage: self.usage()?,
            processes: if processes { Some(self.running.processes()?) } else { None },
        })
    }

    /// Ends it because somebody asked for it. A second request may only shorten the grace.
    pub(super) fn end_as_asked(&mut self, grace: Duration) -> Result<(), Error> {
        if self.intent.is_none() {
            self.intent = Some(Intent::Asked);
        }
        match self.kill_at {
            Some(at) => {
                self.kill_at = Some(at.min(Instant::now() + grace));
                Ok(())
            }
            None => self.end(grace),
        }
    }

    /// Does what another process asked for, and answers.
    pub(super) async fn answer(&mut self, Asked { request, streams, reply }: Asked) {
        let done = match request {
            Request::Exec { command } => {
                let Some([stdin, stdout, stderr]) = streams else { return };
                let (stdin, stdout, stderr) =
                    (Stdio::File(stdin), Stdio::File(stdout), Stdio::File(stderr));
                let reached =
                    self.exec(command, StdioSet { stdin, stdout, stderr, ..StdioSet::default() });
                // Whoever asked may have gone, and with it the program goes.
                return drop(reply.send(match reached {
                    Ok(entering) => Reply::Enters(entering),
                    Err(error) => Reply::Said(Response::Failed { message: error.chain() }),
                }));
            }
            Request::Signal { .. } => {
                Err(Error::asked("there is no program of this connection's", ""))
            }
            Request::Status { processes } => match self.status(processes) {
                Ok(status) => Ok(Response::Status { status: Box::new(status) }),
                Err(error) => Err(error),
            },
            Request::Update { set, directory, dry_run } => {
                self.update_as_asked(&set, Path::new(&directory), dry_run)
            }
            Request::Pause => in_time(self.pause()).await,
            Request::Resume => in_time(self.resume()).await,
            Request::Kill => {
                self.intent = self.intent.or(Some(Intent::Asked));
                self.look_last();
                self.kill_tree().map(|()| Response::Done)
            }
            Request::Stop { grace_s } => {
                let grace = grace_s.and_then(|grace| Duration::try_from_secs_f64(grace).ok());
                let grace = grace.unwrap_or(self.plan.limits.grace);
                let resumed = match self.paused {
                    true => in_time(self.resume()).await.map(drop),
                    false => Ok(()),
                };
                resumed.and_then(|()| self.end_as_asked(grace)).map(|()| Response::Done)
            }
        };
        let response = done.unwrap_or_else(|error| Response::Failed { message: error.chain() });
        // Whoever asked may have gone.
        drop(reply.send(Reply::Said(response)));
    }
}

impl Sandbox {
    fn update_as_asked(
        &mut self,
        set: &[(String, String)],
        directory: &Path,
        dry_run: bool,
    ) -> Result<Response, Error> {
        let Changes { limits, allow } = with_changes(&self.plan, set, directory)?;
        let mut consequences = self.consequences(&limits)?;
        if let Some(allow) = &allow {
            consequences.extend(self.consequences_of_allowing(allow)?);
        }
        if !dry_run {
            self.update(&limits)?;
            if let Some(allow) = allow {
                self.allow(allow)?;
            }
        }
        Ok(Response::Consequences { consequences })
    }
}

/// Does something with a tree that hangs if a process hangs in the kernel.
pub(super) async fn in_time(
    work: impl Future<Output = Result<(), Error>>,
) -> Result<Response, Error> {
    match tokio::time::timeout(Duration::from_secs(2), work).await {
        Ok(done) => done.map(|()| Response::Done),
        Err(_) => {
            let message = "not done within 2 s: a process hangs in the kernel";
            Err(Error::asked(message, ""))
        }
    }
}

/// The next request of another process; never where none is heard.
pub(super) async fn next_asked(server: &mut Option<Server>) -> Option<Asked> {
    match server {
        Some(server) => server.next().await,
        None => std::future::pending().await,
    }
}
