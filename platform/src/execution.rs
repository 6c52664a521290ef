//! A program that was started inside of a sandbox which runs already.

use crate::{HowEnded, InputPipe, OutputPipe, PlatformError, Signal};
use tokio::sync::{mpsc, oneshot};

/// A program inside of a running sandbox, behind the same walls as the sandbox's own. Dropping it kills it and all that it
/// started; so does its own end for what it leaves behind.
#[derive(Debug)]
pub struct Execution {
    /// Where to write for its standard input, if piped.
    pub stdin: Option<InputPipe>,
    /// Where to read its standard output, if piped.
    pub stdout: Option<OutputPipe>,
    /// Where to read its standard error, if piped.
    pub stderr: Option<OutputPipe>,
    pid: u32,
    wishes: mpsc::UnboundedSender<Wish>,
    end: oneshot::Receiver<Result<HowEnded, PlatformError>>,
    ended: Option<HowEnded>,
}

/// What somebody wants of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A signal for the program.
    Signal(Signal),
    /// The end of all of it, now.
    Kill,
}

/// The other side of an [`Execution`]: what looks after its processes.
#[derive(Debug)]
pub struct Keeper {
    /// What is wanted; closed when nobody wants anything any more, which is the same as a kill.
    pub wishes: mpsc::UnboundedReceiver<Wish>,
    /// Whom to tell when nothing of it is left.
    pub end: oneshot::Sender<Result<HowEnded, PlatformError>>,
}

impl Execution {
    /// One whose program has this process id, as the host counts.
    pub fn new(pid: u32) -> (Self, Keeper) {
        let (wish, wishes) = mpsc::unbounded_channel();
        let (tell, end) = oneshot::channel();
        let (stdin, stdout, stderr) = (None, None, None);
        let execution = Self { stdin, stdout, stderr, pid, wishes: wish, end, ended: None };
        (execution, Keeper { wishes, end: tell })
    }

    /// Process id of the program, as the host counts: for people, never for signalling.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal to the program. One that is gone already is no error.
    pub fn signal(&self, signal: Signal) {
        self.wishes.send(Wish::Signal(signal)).unwrap_or(());
    }

    /// Ends all of it now; [`Self::wait`] tells when that is done.
    pub fn kill(&self) {
        self.wishes.send(Wish::Kill).unwrap_or(());
    }

    /// Waits until nothing of it is left. Repeated calls give the same answer; dropping the future loses nothing.
    ///
    /// # Errors
    /// When the platform can't wait for it, or end what it left behind.
    pub async fn wait(&mut self) -> Result<HowEnded, PlatformError> {
        if let Some(ended) = self.ended {
            return Ok(ended);
        }
        // Nobody is left to say: it went with the sandbox.
        let ended = (&mut self.end).await.unwrap_or(Ok(HowEnded::Signaled(9)))?;
        Ok(*self.ended.insert(ended))
    }
}
