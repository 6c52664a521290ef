//! Sandboxes that outlive their starter, and how a next one takes them over.
//!
//! A starter that launches with [`LaunchPlan::lasting`](crate::LaunchPlan::lasting) may die: the program goes on, what it
//! writes waits, and so does its exit status, until a next starter comes who knows the sandbox's id and its token.

use crate::{BoxFuture, Gate, HowEnded, OutputPipe, Running};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// What a next starter has to know: drawn at random for one launch, and kept where only its user can read.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token([i32; 3]);

impl Token {
    /// A new one.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn random() -> io::Result<Self> {
        let mut words = [0; 3];
        for word in &mut words {
            let mut bytes = [0; 4];
            random(&mut bytes)?;
            *word = i32::from_ne_bytes(bytes);
        }
        Ok(Self(words))
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn words(self) -> [i32; 3] {
        self.0
    }
}

/// Not what it is: a token in a message or a log would be known to whoever reads that.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// What tells the first process of a sandbox from every other, until the system is booted anew ([`boot_id`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// Its id, as the host counts: never enough for itself, since numbers are used again.
    pub pid: u32,
    /// When it was started, in ticks since the boot (proc_pid_stat(5), `starttime`).
    pub started: u64,
    /// The platform's group of all its processes, where it has one.
    pub group: Option<PathBuf>,
}

/// What became of a sandbox whose starter is gone.
#[derive(Debug)]
pub enum Adoption {
    /// It is there, and this starter's from now on.
    Taken(Box<Adopted>),
    /// Nothing of it is left, and nobody knows how it ended; or it never came to run.
    Gone,
    /// Something may be left of it that can't be told from a stranger, or that doesn't answer, for this reason. Nothing was
    /// done to it.
    Unknown(String),
}

/// A sandbox that was taken over. It may have ended meanwhile, which [`Running::wait`] then tells.
#[derive(Debug)]
pub struct Adopted {
    /// The sandbox.
    pub running: Box<dyn Running>,
    /// Where to read the program's standard output, if it is piped.
    pub stdout: Option<OutputPipe>,
    /// Where to read its standard error, if it is piped.
    pub stderr: Option<OutputPipe>,
    /// The hold on the sandbox's own network, if it has one.
    pub gate: Gate,
    /// What a starter left with [`Running::remember`]; empty if none did.
    pub memo: Vec<u8>,
    /// How long ago it was started.
    pub age: Duration,
    /// What it was given for whoever takes it over ([`crate::StdioSet::kept`]), by their places.
    pub kept: Vec<Option<std::fs::File>>,
}

/// The most files that a sandbox can be given for whoever takes it over.
pub const MOST_KEPT: usize = 3;

/// Is told how a program ended, before anything of it is forgotten: whoever writes that down loses no exit status, whenever
/// it dies. What it wrote is kept until that is taken in, for the same reason.
pub struct Witness {
    told: Box<dyn FnMut(HowEnded) + Send>,
    taken_in: Option<BoxFuture<'static, ()>>,
}

impl Witness {
    /// One that calls this.
    pub fn new(told: impl FnMut(HowEnded) + Send + 'static) -> Self {
        Self { told: Box::new(told), taken_in: None }
    }

    /// The same, and what the program wrote isn't forgotten before this comes back. It needn't come: another process may still
    /// hold a stream, and after some seconds nobody waits any more.
    #[must_use]
    pub fn after(self, taken_in: BoxFuture<'static, ()>) -> Self {
        Self { taken_in: Some(taken_in), ..self }
    }

    /// Tells it.
    pub fn tell(&mut self, how: HowEnded) {
        (self.told)(how);
    }

    /// Returns when what it wrote is taken in. Dropping the future loses nothing.
    pub async fn taken_in(&mut self) {
        if let Some(taken_in) = &mut self.taken_in {
            taken_in.await;
        }
        self.taken_in = None;
    }
}

impl fmt::Debug for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Witness(..)")
    }
}

/// What tells one boot of this system from every other (random(4), `boot_id`).
///
/// # Errors
/// When the system has no such thing.
pub fn boot_id() -> io::Result<String> {
    #[cfg(target_os = "linux")]
    {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        Ok(text.trim_end().to_owned())
    }
    #[cfg(not(target_os = "linux"))]
    {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// What the monotonic clock shows, which is the same for every process of one boot.
pub fn monotonic_clock() -> Duration {
    #[cfg(target_os = "linux")]
    {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
    }
    #[cfg(not(target_os = "linux"))]
    {
        Duration::ZERO
    }
}

#[cfg(target_os = "linux")]
fn random(bytes: &mut [u8; 4]) -> io::Result<()> {
    use rustix::rand::{GetRandomFlags, getrandom};
    // So few bytes come whole, or not at all (getrandom(2)).
    match getrandom(&mut bytes[..], GetRandomFlags::empty()) {
        Ok(4) => Ok(()),
        Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn random(_bytes: &mut [u8; 4]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
