//! The beginning of a run: its sandbox, and everything that listens to it.

use super::Actor;
use crate::error::Error;
use crate::logs::Stream;
use crate::plan::new_id;
use crate::sandbox::Sandbox;
use crate::supervisor::dialogue::{Ear, Reload, Watchdog};
use crate::supervisor::health::Looks;
use crate::supervisor::lifecycle::Happening;
use crate::supervisor::record::Run;
use crate::supervisor::service::main_process::Search;
use std::collections::BTreeMap;

impl Actor {
    pub(super) fn start(&mut self) -> Happening {
        let run = match &mut self.diary {
            Some(diary) => match diary.run.as_ref().ok_or(&mut diary.refused) {
                Ok(run) => Some(run),
                // What can't be written down would be nobody's if this supervisor died.
                Err(refused) => return Happening::NotLaunched(std::mem::take(refused)),
            },
            None => None,
        };
        let run = run.cloned();
        self.status.send_modify(|status| status.told = None);
        let started = self.launched(run.as_ref()).and_then(|(mut sandbox, ear)| {
            // What is to be done at its limits must be heard of, or it doesn't run.
            let events = (!self.launch.on_violation.is_empty()).then(|| sandbox.events());
            Ok((sandbox, ear, events.transpose()?))
        });
        match started {
            Ok((sandbox, ear, events)) => {
                self.supervise(sandbox);
                (self.events, self.told) = (events, BTreeMap::new());
                self.ear = ear;
                self.watchdog = Watchdog::new(self.launch.notify.watchdog);
                self.reload = Reload::default();
                Happening::Launched
            }
            Err(error) => Happening::NotLaunched(error.chain()),
        }
    }

    fn launched(&mut self, run: Option<&Run>) -> Result<(Sandbox, Option<Ear>), Error> {
        let ear = match self.launch.notify.needs_socket() {
            true => Some(Ear::open(&new_id(self.launch.name.as_deref(), None))?),
            false => None,
        };
        // What isn't wanted any more is to be bound nowhere.
        let failed = |error| Error::io("failed to keep its sockets", error);
        self.store.add(&[]).map_err(failed)?;
        self.sockets.bind(&self.launch.sockets)?;
        let mut passed = self.sockets.handed()?;
        let failed = |error| Error::io("failed to pass on what it stored", error);
        passed.extend(self.store.handed().map_err(failed)?);
        let mut kept = Vec::new();
        if run.is_some() {
            kept.push(ear.as_ref().map(Ear::kept).transpose()?);
            if self.launch.notify.fdstore_max > 0 || !self.launch.sockets.is_empty() {
                kept.extend(self.store.ends().map_err(failed)?.map(Some));
                let sockets = self.sockets.kept();
                sockets.and_then(|sockets| self.store.add(&sockets)).map_err(failed)?;
            }
        }
        Ok((self.launch.start(run, ear.as_ref(), passed, kept)?, ear))
    }

    /// From now on this is its run.
    pub(super) fn supervise(&mut self, mut sandbox: Sandbox) {
        let generation = self.life.generation();
        self.looks = Looks::new(&self.launch.looks);
        // What it had said to the supervisor before it doesn't say again.
        if self.life.was_ready() {
            self.looks.said().everything();
        }
        let capture = self.capture.heard_by(self.looks.said());
        let output = capture.attach(Stream::Output, generation, sandbox.stdout.take());
        let error = capture.attach(Stream::Error, generation, sandbox.stderr.take());
        if let Some(diary) = &mut self.diary {
            // What is still in its streams goes with its first process.
            let taken_in = Box::pin(async { (output.wait().await, error.wait().await).1 });
            sandbox.witness(diary.ledger.witness().after(taken_in));
            // Whatever becomes of this supervisor, its services go on.
            sandbox.detach(true);
            if let Some(run) = &mut diary.run {
                run.process = sandbox.identity();
            }
        }
        self.search = Some(Search::of(&sandbox));
        self.run = Some(sandbox);
    }
}
