//! Looking at a program: what is looked with, and the looks at one run.

use super::probe::{Probe, Purpose, Tally};
use super::said::Said;
use super::stack::ServiceProbe;
use crate::platform::{BoxFuture, Bytes, Usage};
use crate::sandbox::Inside;
use regex::Regex;
use std::ffi::OsString;
use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, timeout};

/// What is known of a program when it is looked at.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Vitals {
    /// How long it has run.
    pub uptime: Duration,
    /// CPU time of all its processes, the dead included, where that is known.
    pub cpu: Option<Duration>,
    /// Memory of all its processes, where that is known.
    pub memory: Option<Bytes>,
    /// Why the look before this one failed, if it did.
    pub last_error: Option<String>,
    /// A way to what listens inside, and to its files.
    pub inside: Inside,
    /// What it has said so far.
    pub said: Said,
}

impl Vitals {
    pub(super) fn new(uptime: Duration, usage: &Usage) -> Self {
        let cpu = usage.cpu.user.zip(usage.cpu.system).map(|(user, system)| user + system);
        Self { uptime, cpu, memory: usage.memory.current, ..Self::default() }
    }
}

/// A look at a program from outside of its sandbox.
pub trait HealthCheck: Send + Sync + Debug {
    /// Whether it is well, or why it isn't. Where it takes longer than the probe's timeout, it is dropped.
    fn check<'a>(&'a self, vitals: &'a Vitals) -> BoxFuture<'a, Result<(), String>>;

    /// What is run inside instead, and well as long as that exits with 0; then nothing is asked by [`Self::check`].
    fn command(&self) -> Option<&[OsString]> {
        None
    }

    /// Whether it connects to what listens inside ([`Inside::dial`]).
    fn dials(&self) -> bool {
        false
    }

    /// Which line of the program it waits for ([`Said::has_line`]).
    fn line(&self) -> Option<&Regex> {
        None
    }

    /// Whether it looks only at what the program has said, so that it looks again as soon as that is more.
    fn listens(&self) -> bool {
        self.line().is_some()
    }
}

/// Well as long as somebody takes connections at this address.
#[derive(Clone, Copy, Debug)]
pub struct TcpCheck(pub SocketAddr);

impl HealthCheck for TcpCheck {
    fn check<'a>(&'a self, _: &'a Vitals) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let connected: io::Result<TcpStream> = TcpStream::connect(self.0).await;
            connected.map(drop).map_err(|error| format!("no connection to {}: {error}", self.0))
        })
    }
}

/// Well as long as it takes no more than this.
#[derive(Clone, Copy, Debug)]
pub struct MemoryCheck(pub Bytes);

impl HealthCheck for MemoryCheck {
    fn check<'a>(&'a self, vitals: &'a Vitals) -> BoxFuture<'a, Result<(), String>> {
        let result = match vitals.memory {
            Some(memory) if memory > self.0 => Err(format!("it takes {memory} of memory")),
            Some(_) => Ok(()),
            None => Err("how much memory it takes isn't known here".to_owned()),
        };
        Box::pin(async { result })
    }
}

/// What the probes of a program say of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Health {
    /// Nobody looks.
    #[default]
    Unknown,
    /// Somebody looks, and not all of it is known yet.
    Starting,
    /// All that is looked for is well.
    Healthy,
    /// Something that is looked for isn't well.
    Unhealthy,
}

impl Health {
    /// As it is written everywhere.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// What a program is looked at with, for one purpose.
#[derive(Clone, Debug)]
pub(super) struct Look {
    pub(super) purpose: Purpose,
    pub(super) check: Arc<dyn HealthCheck>,
    pub(super) probe: Probe,
}

impl Look {
    pub(super) fn of(purpose: Purpose, probe: &ServiceProbe) -> Self {
        Self { purpose, check: Arc::new(probe.check.clone()), probe: probe.probe.clone() }
    }
}

/// The looks at one run. They go with it: what still looks when this is dropped is broken off.
#[derive(Debug)]
pub(super) struct Looks {
    all: Vec<Looking>,
    working: JoinSet<Result<(), String>>,
    /// What the last look said that failed.
    trouble: Option<String>,
    said: Said,
    /// The last look: for what, whether it succeeded, and how long it took.
    last: Option<(Purpose, bool, Duration)>,
}

#[derive(Debug)]
struct Looking {
    look: Look,
    tally: Tally,
    turn: Turn,
    /// Not before this.
    earliest: Option<Instant>,
    /// Whether something was said while it looked.
    again: bool,
    last_error: Option<String>,
}

/// Begins to run a command inside.
pub(super) type Run<'a> = dyn FnMut(&[OsString]) -> BoxFuture<'static, Result<(), String>> + 'a;

/// Whose turn it is.
#[derive(Clone, Copy, Debug)]
enum Turn {
    /// Nobody wants to know.
    Nobody,
    /// To look, then.
    Due(Instant),
    /// This look began then, and isn't done.
    Working(Id, Instant),
}

impl Looks {
    pub(super) fn new(looks: &[Look]) -> Self {
        let looking = |look: &Look| Looking {
            look: look.clone(),
            tally: Tally::default(),
            turn: Turn::Nobody,
            earliest: None,
            again: false,
            last_error: None,
        };
        Self {
            all: looks.iter().map(looking).collect(),
            working: JoinSet::new(),
            trouble: None,
            said: Said::new(looks.iter().filter_map(|look| look.check.line())),
            last: None,
        }
    }

    /// What the run says.
    pub(super) fn said(&self) -> &Said {
        &self.said
    }

    /// Looks at once at what was said, where somebody wants to know.
    pub(super) fn listen(&mut self) {
        let now = Instant::now();
        for one in self.all.iter_mut().filter(|one| one.look.check.listens()) {
            match one.turn {
                Turn::Nobody => {}
                Turn::Due(at) => one.turn = Turn::Due(at.min(one.earliest.unwrap_or(now).max(now))),
                Turn::Working(..) => one.again = true,
            }
        }
    }

    /// Begins to look for a purpose.
    pub(super) fn begin(&mut self, purpose: Purpose) {
        for one in self.all.iter_mut().filter(|one| one.look.purpose == purpose) {
            if let Turn::Nobody = one.turn {
                let first = Instant::now() + one.look.probe.initial_delay;
                (one.turn, one.earliest) = (Turn::Due(first), Some(first));
            }
        }
    }

    /// No longer looks for a purpose, and doesn't care what comes of a look that isn't done.
    pub(super) fn end(&mut self, purpose: Purpose) {
        for one in self.all.iter_mut().filter(|one| one.look.purpose == purpose) {
            one.turn = Turn::Nobody;
        }
    }

    /// When somebody has to look next.
    pub(super) fn due(&self) -> Option<Instant> {
        let due = self.all.iter().filter_map(|one| match one.turn {
            Turn::Due(at) => Some(at),
            Turn::Nobody | Turn::Working(..) => None,
        });
        due.min()
    }

    /// Looks for what it is time for, at a program of which this is known.
    /// `run` begins to run what is run inside.
    pub(super) fn look(&mut self, vitals: &Vitals, run: &mut Run<'_>) {
        let now = Instant::now();
        for one in &mut self.all {
            if !matches!(one.turn, Turn::Due(at) if at <= now) {
                continue;
            }
            let (check, patience) = (one.look.check.clone(), one.look.probe.timeout);
            let (last_error, said) = (one.last_error.clone(), self.said.clone());
            let vitals = Vitals { last_error, said, ..vitals.clone() };
            let inside = check.command().map(&mut *run);
            let working = self.working.spawn(async move {
                let looking = inside.unwrap_or_else(|| check.check(&vitals));
                let late = |_| Err(format!("no answer within {patience:?}"));
                timeout(patience, looking).await.unwrap_or_else(late)
            });
            one.turn = Turn::Working(working.id(), now);
        }
    }

    /// The end of the next look, with the verdict where it is another one than before; never where nobody looks. Dropping the
    /// future loses nothing.
    pub(super) async fn looked(&mut self) -> Option<(Purpose, bool)> {
        let (id, result) = match self.working.join_next_with_id().await {
            Some(Ok(looked)) => looked,
            Some(Err(broken)) => (broken.id(), Err("the check panicked".to_owned())),
            None => std::future::pending().await,
        };
        let is_its = |one: &&mut Looking| matches!(one.turn, Turn::Working(of, _) if of == id);
        let one = self.all.iter_mut().find(is_its)?;
        if let Turn::Working(_, began) = one.turn {
            // From beginning to beginning; where a look took longer, at once.
            let pause = if one.again { Duration::ZERO } else { one.look.probe.period };
            (one.turn, one.again) = (Turn::Due(began + pause), false);
            self.last = Some((one.look.purpose, result.is_ok(), began.elapsed()));
        }
        let verdict = one.tally.count(&one.look.probe, result.is_ok());
        one.last_error = result.err();
        if one.last_error.is_some() {
            self.trouble.clone_from(&one.last_error);
        }
        verdict.map(|verdict| (one.look.purpose, verdict))
    }

    /// The last look, once: for what, whether it succeeded, and how long it took.
    pub(super) fn take_last(&mut self) -> Option<(Purpose, bool, Duration)> {
        self.last.take()
    }

    /// What is known by now.
    pub(super) fn health(&self) -> Health {
        let verdicts = || self.all.iter().map(|one| one.tally.verdict());
        match () {
            () if self.all.is_empty() => Health::Unknown,
            () if verdicts().any(|verdict| verdict == Some(false)) => Health::Unhealthy,
            () if verdicts().any(|verdict| verdict.is_none()) => Health::Starting,
            () => Health::Healthy,
        }
    }

    /// What the last look said that failed.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }
}
