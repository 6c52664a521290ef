//! The daemon: keeps the services of a stack file running, and does for others what they may ask of it, as HTTP/1.1 and JSON on
//! a socket in the file system.
//!
//! `route` is the one table of what can be asked, `role` says who may; `server` hears requests within bounds, `answer` meets
//! them, `operation` has what takes its time, `event` the stream of what happens, `view` the forms that people see. `client` is
//! the other side, for the command line. On the network (`network`) a token says who asks (`token`), else the kernel does.

mod alerts;
mod answer;
pub mod client;
mod event;
mod ledger;
mod logs;
pub mod manager;
mod metric;
mod network;
mod openapi;
mod operation;
mod problem;
mod role;
mod route;
mod server;
mod token;
mod view;

pub use network::{Network, Tls};
pub use role::{Grant, Role};
pub(crate) use route::MOST_LINES;

use crate::alerts::Alerts;
use crate::audit::AuditLog;
use crate::error::Error;
use crate::logs::Logs;
use crate::platform::{Directory, LaunchPlan, RuntimeDir, SocketFile, SocketPlace, hold, own_user};
use crate::supervisor::{Difference, Journal, Lines, Stack, Supervisor};
use network::Door;
use operation::Operations;
use server::Listener;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What a daemon is started with.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The stack file.
    pub stack: PathBuf,
    /// Where relative paths start.
    pub directory: PathBuf,
    /// Where it listens; else at [`usual_socket`].
    pub socket: Option<PathBuf>,
    /// Where it keeps what the next daemon needs to take its services over; else at [`Directory::usual_state`].
    pub state: Option<PathBuf>,
    /// Who may ask it for what, beside its own user and root.
    pub grants: Vec<Grant>,
    /// Where it listens on the network, if it does.
    pub network: Option<Network>,
    /// The audit log of what it was asked for.
    pub audit: Option<PathBuf>,
}

/// What answers requests.
#[derive(Debug)]
pub(crate) struct Daemon {
    supervisor: Supervisor,
    /// Where what services write is kept.
    logs: Directory,
    options: Options,
    operations: Operations,
    alerts: Alerts,
    grants: Vec<Grant>,
    /// Its own user.
    user: u32,
    audit: Option<Mutex<AuditLog>>,
    /// Connections of each user who isn't an administrator, and of each address.
    seats: Arc<Mutex<BTreeMap<Sitter, usize>>>,
    /// What is in force on the network.
    door: Option<watch::Sender<Door>>,
    began: Instant,
    ending: watch::Sender<bool>,
    /// Whether this program is to be executed anew when it ends, and services go on.
    again: AtomicBool,
}

/// Who asks.
#[derive(Clone, Debug)]
struct Peer {
    who: Who,
    role: Option<Role>,
}

/// By what they are known.
#[derive(Clone, Debug)]
enum Who {
    /// A user of this host.
    User { id: u32, process: Option<i32> },
    /// Whoever holds a token.
    Token { name: String, address: IpAddr },
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User { id, .. } => write!(f, "user {id}"),
            Self::Token { name, .. } => write!(f, "token `{name}`"),
        }
    }
}

/// For whom connections are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sitter {
    User(u32),
    Address(IpAddr),
}

/// A daemon that listens. Its services go on when it is dropped or dies, and the next one with its state takes them over; they
/// end when it is asked to end.
#[derive(Debug)]
pub struct Running {
    daemon: Arc<Daemon>,
    /// On the socket, and on the network.
    serving: Vec<JoinHandle<()>>,
    /// Where it listens on the network.
    address: Option<SocketAddr>,
    logs: Logs,
    lines: Lines,
    socket: SocketFile,
    /// Held as long as it lives, so that there is no second one.
    lock: File,
}

/// How long what is under way may take when services have ended.
const SILENCE: Duration = Duration::from_secs(5);

/// Where a daemon of this user listens, unless it is told otherwise.
pub fn usual_socket() -> PathBuf {
    RuntimeDir::place().join("daemon").join("api.sock")
}

impl Options {
    /// Opens its state: what services write, what the next daemon needs, and alerts.
    async fn state(&self) -> Result<(Logs, Journal, Alerts), Error> {
        let missing = || {
            let message =
                "there is no place for the daemon's state: neither XDG_STATE_HOME nor HOME is set";
            Error::asked(message, "name a directory with `--state`")
        };
        let path = self.state.clone().or_else(Directory::usual_state).ok_or_else(missing)?;
        let name = LaunchPlan::readable(&path);
        let failed = |error| Error::io(format!("failed to open the state in `{name}`"), error);
        Directory::make(&path).map_err(failed)?;
        // First, since it waits for what a killed daemon was about to launch: that may hold both.
        let journal = Journal::open(&path).await?;
        Ok((Logs::open(&path)?, journal, Alerts::open(Some(&path))?))
    }

    fn load(&self) -> Result<Stack, Error> {
        Ok(Stack::load(&self.stack, &self.directory)?)
    }
}

impl Daemon {
    /// Puts this stack into force, and on the network what its files say.
    async fn put_into_force(
        &self,
        stack: Stack,
        door: Option<Door>,
    ) -> Result<Vec<Difference>, Error> {
        if let (Some(now), Some(new)) = (&self.door, door) {
            now.send_replace(new);
        }
        self.supervisor.apply(stack).await
    }
}

impl Running {
    /// Reads the stack file, begins to keep its services running, and listens. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When there is such a daemon already, the stack file is wrong, or the system refuses.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let path = options.socket.clone().unwrap_or_else(usual_socket);
        let place = place(&path, options.socket.is_none())?;
        if options.socket.is_none() && !options.grants.is_empty() {
            let message = format!("others can't reach `{}`", LaunchPlan::readable(&path));
            let hint =
                "name a place that they can reach with `--socket`, such as `/run/stockade.sock`";
            return Err(Error::asked(message, hint));
        }
        let lock = lock(&place, &path)?;
        let stack = options.load()?;
        let door = options.door()?;
        let network = match &options.network {
            Some(network) => Some(network.listen().await?),
            None => None,
        };
        let failed = |error| Error::io("failed to listen on the network", error);
        let address = network.as_ref().map(TcpListener::local_addr).transpose().map_err(failed)?;
        let (logs, journal, alerts) = options.state().await?;
        let audit = options.audit.as_deref().map(AuditLog::open).transpose()?.map(Mutex::new);
        // Whoever may connect is asked who they are in any case.
        let mode = if options.grants.is_empty() { 0o600 } else { 0o666 };
        let failed = |error| {
            Error::io(format!("failed to listen at `{}`", LaunchPlan::readable(&path)), error)
        };
        let (listener, socket) = place.listen(mode).map_err(failed)?;
        let (supervisor, lines) =
            Supervisor::start_logged(&stack, logs.clone(), Some(journal), None)?;
        supervisor.alert(&alerts);
        let daemon = Arc::new(Daemon {
            supervisor,
            logs: logs.files(),
            grants: options.grants.clone(),
            options,
            operations: Operations::default(),
            alerts,
            user: own_user(),
            audit,
            seats: Arc::default(),
            door: door.map(watch::Sender::new),
            began: Instant::now(),
            ending: watch::Sender::new(false),
            again: AtomicBool::new(false),
        });
        let mut listeners = vec![Listener::Local(listener)];
        if let (Some(listener), Some(door)) = (network, &daemon.door) {
            listeners.push(Listener::Network(listener, door.subscribe()));
        }
        let serve = |listener| {
            tokio::spawn(server::serve(daemon.clone(), listener, daemon.ending.subscribe()))
        };
        let serving = listeners.into_iter().map(serve).collect();
        Ok(Self { daemon, serving, address, logs, lines, socket, lock })
    }

    /// Where it listens on the network, if it does.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Stops all services, each after those that depend on it. [`Self::ended`] tells when that is done.
    pub fn stop(&self) {
        answer::shut_down(&self.daemon, false);
    }

    /// Kills all services at once. [`Self::ended`] tells when that is done.
    pub fn kill(&self) {
        answer::shut_down(&self.daemon, true);
    }

    /// Reads the stack file and those of the network again and puts them into force, and tells what that changed of the stack.
    ///
    /// # Errors
    /// When a file is wrong: what was in force stays so then.
    pub fn apply(&self) -> impl Future<Output = Result<Vec<Difference>, Error>> + Send + use<> {
        let daemon = self.daemon.clone();
        async move {
            let (stack, door) = (daemon.options.load()?, daemon.options.door()?);
            daemon.put_into_force(stack, door).await
        }
    }

    /// Returns when all services have been stopped, by whomever.
    pub async fn ended(&mut self) {
        let lines = &mut self.lines;
        // They are kept; nobody looks on here.
        let pass_over = async { while lines.next().await.is_some() {} };
        let mut ending = self.daemon.ending.subscribe();
        tokio::select! {
            () = server::ends(&mut ending) => {}
            () = pass_over => {}
        }
    }

    /// Answers what was asked, and goes. Tells whether this program is to be executed anew, for services that go on.
    pub async fn close(self) -> bool {
        let Self { daemon, serving, logs, mut lines, socket, lock, .. } = self;
        for serving in serving {
            // A panic there has printed itself.
            serving.await.unwrap_or(());
        }
        let again = daemon.again.load(Ordering::Relaxed);
        // What isn't told by then is told by the next daemon.
        daemon.alerts.close(if again { Duration::ZERO } else { SILENCE }).await;
        drop((daemon, socket));
        let silence = async { while lines.next().await.is_some() {} };
        // What is under way holds on to services; what it writes then is kept by the next daemon.
        if !again && tokio::time::timeout(SILENCE, silence).await.is_ok() {
            logs.close();
        }
        // Last, so that whoever gets it finds nothing of this one.
        drop(lock);
        again
    }
}

/// The socket's place; made where it is the usual one.
fn place(path: &Path, usual: bool) -> Result<SocketPlace, Error> {
    let name = LaunchPlan::readable(path);
    let failed = |error| Error::io(format!("failed to listen at `{name}`"), error);
    if usual {
        RuntimeDir::make().and_then(|directory| directory.make_below("daemon")).map_err(failed)?;
    }
    let place = SocketPlace::open(path).map_err(failed)?;
    if place.is_open_to_others().map_err(failed)? {
        let message = format!("others could put a socket of theirs at `{name}`");
        let hint = "name a directory that only root or this user can write to";
        return Err(Error::asked(message, hint));
    }
    Ok(place)
}

/// Keeps every other daemon away from this socket.
fn lock(place: &SocketPlace, path: &Path) -> Result<File, Error> {
    let name = LaunchPlan::readable(path);
    let failed = |error| Error::io(format!("failed to lock `{name}.lock`"), error);
    let file = place.lock_file().map_err(failed)?;
    if hold(&file).map_err(failed)? {
        return Ok(file);
    }
    let message = format!("another daemon listens at `{name}`");
    let hint = "`stockade down` ends it; `--socket` names another place";
    Err(Error::asked(message, hint))
}
