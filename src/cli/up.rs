//! `stockade up`: keeps the services of a stack file running, in the foreground.

use super::logs;
use super::{output, run};
use crate::alerts::{Alerts, Turn, Turned};
use crate::error::Error;
use crate::logs::Logs;
use crate::platform::IncomingSignals;
use crate::supervisor::{Line, Lines, Stack, State, Status, Supervisor};
use clap::{Arg, ArgMatches, Command, value_parser};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;
use tokio::sync::broadcast;

const AFTER: &str = "\
Each service runs in its own sandbox, after what it depends on, and is started again as its `restart` says. What they write comes to \
standard output, each line with the service's name; what becomes of them is told on standard error. It ends when all services have, \
or when it is asked to: by Ctrl-C, SIGTERM or SIGHUP, which stop the services, each after those that depend on it. A second time kills \
them. Services end with it, however it ends.

Exit codes: 0, or 1 when a service has failed; 125 when Stockade failed or the stack file is wrong.

Example: stockade up --file stockade.toml";

/// How long those who are told of alerts have for the last.
const FAREWELL: Duration = Duration::from_secs(5);

/// The stack file where none is named.
const USUAL: &str = "stockade.toml";

pub(super) fn file() -> Arg {
    Arg::new("file")
        .short('f')
        .long("file")
        .value_name("FILE")
        .default_value(USUAL)
        .value_parser(value_parser!(OsString))
        .help("The stack file")
}

pub(super) fn command() -> Command {
    Command::new("up")
        .about("Keep the services of a stack file running")
        .after_help(AFTER)
        .arg(file())
        .arg(
            logs::state()
                .help("Keep what they write in `logs` below this directory, for `stockade logs`"),
        )
}

pub(super) fn load(matches: &ArgMatches) -> Result<Stack, Error> {
    let path = matches.get_one::<OsString>("file").map_or(Path::new(USUAL), Path::new);
    Ok(Stack::load(path, &output::current_directory()?)?)
}

/// Runs them, and gives the exit code.
pub(super) fn run(matches: &ArgMatches) -> Result<u8, Error> {
    let stack = load(matches)?;
    run::event_loop()?.block_on(async {
        let failed = |error| Error::io("failed to catch signals", error);
        let mut signals = IncomingSignals::catch().map_err(failed)?;
        let state = matches.get_one::<OsString>("state");
        let logs = state.map(|state| Logs::open(Path::new(state))).transpose()?;
        let (supervisor, mut lines) = match &logs {
            Some(logs) => Supervisor::start_logged(&stack, logs.clone(), None, None)?,
            None => Supervisor::start(&stack),
        };
        let alerts = Alerts::open(state.map(Path::new))?;
        let turns = alerts.turns();
        supervisor.alert(&alerts);
        let mut teller = Teller::new(&supervisor, turns);
        let ended = keep(&supervisor, &mut signals, &mut lines, &mut teller).await;
        // How it ended counts too.
        supervisor.look_for_alerts();
        // What was written last has still to be read, and what happened last to be told.
        let failures = teller.close(&supervisor);
        alerts.close(FAREWELL).await;
        drop(supervisor);
        while let Some(line) = lines.next().await {
            teller.line(&line)?;
        }
        logs.into_iter().for_each(Logs::close);
        ended?;
        Ok(u8::from(failures))
    })
}

/// Until nothing runs any more.
async fn keep(
    supervisor: &Supervisor,
    signals: &mut IncomingSignals,
    lines: &mut Lines,
    teller: &mut Teller,
) -> Result<(), Error> {
    use crate::platform::Signal;
    let (mut stopping, mut killing) = (false, false);
    let work = supervisor.wait();
    let mut work: std::pin::Pin<Box<dyn Future<Output = Result<(), Error>>>> = Box::pin(work);
    loop {
        tokio::select! {
            ended = &mut work => {
                ended?;
                if stopping {
                    return Ok(());
                }
                // Either nothing is left, or one has failed that takes the others with it.
                stopping = true;
                work = Box::pin(supervisor.stop());
            }
            Some(line) = lines.next() => teller.line(&line)?,
            () = changed(&mut teller.changes) => teller.tell(supervisor),
            Ok(turned) = teller.turns.recv() => Teller::alert(&turned),
            signal = signals.next() => match signal {
                Signal::Interrupt | Signal::Terminate | Signal::Hangup | Signal::Quit => {
                    if stopping && !killing {
                        killing = true;
                        output::note("stockade: killing all services");
                        work = Box::pin(supervisor.kill());
                    } else if !stopping {
                        stopping = true;
                        output::note("stockade: stopping all services; once more kills them");
                        work = Box::pin(supervisor.stop());
                    }
                }
                _ => {}
            },
        }
    }
}

/// Something has changed.
async fn changed(changes: &mut tokio::sync::mpsc::Receiver<()>) {
    if changes.recv().await.is_none() {
        std::future::pending::<()>().await;
    }
}

/// Tells what becomes of services.
struct Teller {
    /// As wide as the longest name.
    width: usize,
    told: BTreeMap<String, (State, u64)>,
    changes: tokio::sync::mpsc::Receiver<()>,
    /// What becomes of alerts.
    turns: broadcast::Receiver<Turned>,
    /// Who waits for changes; they hold on to the services.
    watching: tokio::task::JoinSet<()>,
}

impl Teller {
    fn new(supervisor: &Supervisor, turns: broadcast::Receiver<Turned>) -> Self {
        let width = supervisor.names().iter().map(String::len).max().unwrap_or(0);
        let (sender, changes) = tokio::sync::mpsc::channel(1);
        let mut watching = tokio::task::JoinSet::new();
        let names = supervisor.names();
        for controller in names.iter().filter_map(|name| supervisor.service(name)) {
            let sender = sender.clone();
            watching.spawn(async move {
                let mut before = controller.status();
                // A change that isn't told yet tells of this one too.
                while sender.try_send(()).is_ok() || !sender.is_closed() {
                    let differs = |status: &Status| key(status) != key(&before);
                    let Ok(now) = controller.wait_for(differs).await else { return };
                    before = now;
                }
            });
        }
        Self { width, told: BTreeMap::new(), changes, turns, watching }
    }

    fn line(&self, line: &Line) -> Result<(), Error> {
        print(line, self.width)
    }

    fn tell(&mut self, supervisor: &Supervisor) {
        for name in supervisor.names() {
            let Some(status) = supervisor.service(&name).map(|service| service.status()) else {
                continue;
            };
            if self.told.get(&name) == Some(&key(&status)) {
                continue;
            }
            self.told.insert(name.clone(), key(&status));
            let (state, why) = (status.state.word(), &status.why);
            output::note(format_args!("stockade: {name}: {state}: {}", output::plain(why)));
        }
    }

    /// Tells of those that fire, and when that is over.
    fn alert(turned: &Turned) {
        if turned.turn != Turn::Pending {
            let (rule, state) = (&turned.rule, turned.turn.word());
            let summary = output::plain(&turned.summary);
            output::note(format_args!("stockade: alert {rule}: {state}: {summary}"));
        }
    }

    /// Tells the last, and whether a service has failed.
    fn close(&mut self, supervisor: &Supervisor) -> bool {
        self.tell(supervisor);
        while let Ok(turned) = self.turns.try_recv() {
            Self::alert(&turned);
        }
        self.changes.close();
        self.watching.abort_all();
        self.told.values().any(|(state, _)| *state == State::Failed)
    }
}

/// A line of a service, whose name is shown this wide.
pub(super) fn print(line: &Line, width: usize) -> Result<(), Error> {
    if line.lost > 0 {
        output::note(format_args!("stockade: {}: {} lines were lost", line.service, line.lost));
    }
    output::result(format_args!("{:width$} | {}", line.service, output::written(&line.text)))
}

/// What makes a status news.
fn key(status: &Status) -> (State, u64) {
    (status.state, status.generation.0)
}
