//! What the actor of a service writes down, and when.

use super::journal::Note;
use super::lifecycle::{Event, Lifecycle};
use super::record::{Ledger, Record, Run};
use crate::error::Error;

/// One service's page: where it is, and its run.
#[derive(Debug)]
pub(super) struct Diary {
    pub(super) ledger: Ledger,
    /// The present run, from before its launch until nothing of it is left.
    pub(super) run: Option<Run>,
    /// Whether somebody stopped it.
    stopped: bool,
    /// Whether what comes next was asked for.
    asked: bool,
    /// Why the launch that comes next isn't written down.
    pub(super) refused: String,
}

impl Diary {
    pub(super) fn new(ledger: Ledger, stopped: bool) -> Self {
        Self { ledger, run: None, stopped, asked: false, refused: String::new() }
    }

    /// Somebody asks for this.
    pub(super) fn hear(&mut self, event: &Event) {
        // Whoever ends with the supervisor is started with the next one.
        if self.ledger.is_closing() {
            return;
        }
        match event {
            Event::Stop | Event::Kill => self.stopped = true,
            Event::Start | Event::Restart => self.stopped = false,
            _ => return,
        }
        self.asked = true;
    }

    /// Writes down where it is; before what comes of that is done, so that nothing is done of which nobody would know.
    pub(super) fn write(&mut self, life: &Lifecycle, launches: bool) -> Result<(), Error> {
        if !life.is_live() {
            self.run = None;
        }
        let how = match (launches, std::mem::take(&mut self.asked)) {
            (true, _) => Note::BeforeLaunch,
            (false, true) => Note::Asked,
            (false, false) => Note::Happened,
        };
        let mut run = self.run.clone();
        if let Some(run) = &mut run {
            run.exit = self.ledger.exit().filter(|_| !launches);
        }
        self.ledger.note(Record { life: life.clone(), stopped: self.stopped, run }, how)
    }
}
