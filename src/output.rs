//! What a program writes where its output is limited: counted on its way, and cut where the limit is.
//!
//! A stream that would be the caller's own, or a file of the caller's, becomes a pipe, and a thread copies; the program sees
//! a pipe then. What the caller reads itself is counted as it reads. What is thrown away isn't counted.

use crate::error::Error;
use crate::platform::{Bytes, Launched, Meter, OutputPipe, Stdio, StdioSet};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::thread;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// The streams of a program whose output is limited.
#[derive(Debug)]
pub(crate) struct Limited {
    meter: Arc<Meter>,
    /// Where standard output and error go in the end, where that isn't the caller's to read.
    targets: [Option<File>; 2],
    /// Lives as long as a thread copies. Nothing is ever sent.
    copying: (Sender<()>, Receiver<()>),
}

impl Limited {
    /// Has the streams of `stdio` come through here.
    ///
    /// # Errors
    /// When a stream of the caller's can't be kept for later.
    pub(crate) fn new(most: u64, stdio: &mut StdioSet) -> Result<Self, Error> {
        let failed = |error| Error::io("failed to keep a standard stream", error);
        let targets = [
            redirect(&mut stdio.stdout, crate::platform::own_stdout).map_err(failed)?,
            redirect(&mut stdio.stderr, crate::platform::own_stderr).map_err(failed)?,
        ];
        Ok(Self { meter: Arc::new(Meter::new(most)), targets, copying: channel(1) })
    }

    /// Counts from here on what a program writes that was just started.
    ///
    /// # Errors
    /// When the system has no more threads.
    pub(crate) fn attach(mut self, launched: &mut Launched) -> Result<Watch, Error> {
        let [stdout, stderr] = &mut self.targets;
        for (target, pipe) in [(stdout, &mut launched.stdout), (stderr, &mut launched.stderr)] {
            let metered = pipe.take().map(|pipe| pipe.metered(self.meter.clone()));
            match target.take() {
                Some(target) => {
                    if let Some(pipe) = metered {
                        copy(pipe, target, self.copying.0.clone())?;
                    }
                }
                None => *pipe = metered,
            }
        }
        if let Some(terminal) = &mut launched.terminal {
            terminal.meter(self.meter.clone());
        }
        Ok(Watch { meter: self.meter, copying: self.copying.1 })
    }
}

/// Makes a stream a pipe; where it went instead.
fn redirect(
    stream: &mut Stdio,
    own: fn() -> std::io::Result<File>,
) -> std::io::Result<Option<File>> {
    let target = match std::mem::replace(stream, Stdio::Piped) {
        Stdio::Inherit => Some(own()?),
        Stdio::File(file) => Some(file),
        Stdio::Null => {
            *stream = Stdio::Null;
            None
        }
        _ => None,
    };
    Ok(target)
}

fn copy(pipe: OutputPipe, mut to: File, copying: Sender<()>) -> Result<(), Error> {
    let failed = |error| Error::io("failed to copy the program's output", error);
    let from = pipe.into_reader().map_err(failed)?;
    let work = move || {
        // Where whoever reads has gone, the program is to see its pipe closed, as without the copy.
        pass_on(from, |bytes| to.write_all(bytes));
        drop(copying);
    };
    thread::Builder::new().name("output".into()).spawn(work).map(drop).map_err(failed)
}

/// Hands over what is read, until there is no more or it isn't taken. A terminal ends with an error, so none of them is
/// told.
pub(crate) fn pass_on(mut from: impl Read, mut take: impl FnMut(&[u8]) -> std::io::Result<()>) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return,
            Ok(count) if take(buffer.get(..count).unwrap_or_default()).is_err() => return,
            Ok(_) => {}
        }
    }
}

/// The count, while the program runs.
#[derive(Debug)]
pub(crate) struct Watch {
    meter: Arc<Meter>,
    copying: Receiver<()>,
}

impl Watch {
    /// Waits until more was written than may be.
    pub(crate) async fn over(&self) {
        self.meter.over().await;
    }

    pub(crate) fn is_over(&self) -> bool {
        self.meter.is_over()
    }

    /// Passes on as much from here on, in all; what was written is over at once where that is more.
    pub(crate) fn limit_to(&self, most: Option<Bytes>) {
        self.meter.limit_to(most.map_or(u64::MAX, |most| most.0));
    }

    /// Bytes that were passed on.
    pub(crate) fn passed(&self) -> u64 {
        self.meter.passed()
    }

    /// Waits until everything is where it goes. Dropping the future loses nothing.
    pub(crate) async fn copied(&mut self) {
        self.copying.recv().await.unwrap_or(());
    }
}
