//! `stockade daemon`: keeps services running, and answers those who may ask.

use super::{output, remote, run, up};
use crate::daemon::manager::{self, News};
use crate::daemon::{Grant, Network, Options, Running, Tls};
use crate::error::Error;
use crate::platform::{IncomingSignals, Signal, raise_descriptors};
use crate::supervisor::{Difference, reexec as execute};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use hyper::Method;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::task::JoinSet;

const AFTER: &str = "\
It keeps the services of a stack file running as `stockade up` does, and answers HTTP/1.1 with JSON on a socket: `stockade ps`, \
`start`, `stop`, `restart`, `events`, `wait`, `down` and others ask it there, and so can curl: \
`curl --unix-socket /run/stockade/daemon/api.sock http://localhost/openapi.json` says what can be asked.

The socket is /run/stockade/daemon/api.sock for root, and in $XDG_RUNTIME_DIR/stockade/daemon for others; with `--socket` name it to the \
other commands too, or set STOCKADE_SOCKET. Its user and root may do everything; `--allow` lets others in, by a role: `read` sees, \
`operate` also starts, stops and signals services, `admin` also applies another stack and ends the daemon.

With `--listen` it also listens on the network, with TLS by `--tls-cert` and `--tls-key`. Who asks there is known by a token of `--token-file` (`openssl rand -hex 32` makes one), and asks with `stockade ps --daemon https://HOST:PORT --token-file FILE`, FILE with nothing but the token. Certificate and tokens are read again with the stack file.

What services write, and what it must not forget, is in --state; `stockade logs` shows the one. For the other: when it dies or is killed, its services go on, and the next daemon with the same state takes them \
over. `stockade daemon reexec` executes its program anew in the same way, for another version.

SIGTERM and SIGINT stop the services, each after those that depend on it, and end the daemon; a second one kills them. SIGHUP reads \
the stack file again and applies what has changed.

Exit codes: 0 when it was asked to end; 125 when Stockade failed or refused.

Example: stockade daemon --file /etc/stockade.toml --audit /var/log/stockade-audit.jsonl";

/// The flags of the network.
fn network_flags() -> [Arg; 5] {
    let file = |name: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .value_name("FILE")
            .value_parser(value_parser!(OsString))
            .requires("listen")
            .help(help)
    };
    [
        Arg::new("listen")
            .long("listen")
            .value_name("ADDRESS:PORT")
            .value_parser(address)
            .requires("token-file")
            .help("Listen on the network too, for whoever has a token; without TLS on the loopback interface alone"),
        file("token-file", "Lines of `ROLE:NAME:TOKEN` or `ROLE:NAME:sha256:DIGEST`, which nobody else may read"),
        file("tls-cert", "The certificate to show there, in PEM").requires("tls-key"),
        file("tls-key", "Its private key, which nobody else may read").requires("tls-cert"),
        file("tls-client-ca", "Let in only clients with a certificate of these authorities")
            .requires("tls-cert"),
    ]
}

/// An address to listen at.
fn address(text: &str) -> Result<SocketAddr, String> {
    let here = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    here.as_deref().unwrap_or(text).parse().map_err(|_| {
        "it must be an address of this host and a port, such as `127.0.0.1:8443`".to_owned()
    })
}

pub(super) fn command() -> Command {
    Command::new("daemon")
        .about("Keep the services of a stack file running, and answer requests on a socket")
        .after_help(AFTER)
        .arg(up::file())
        .arg(
            Arg::new("socket")
                .long("socket")
                .value_name("PATH")
                .value_parser(value_parser!(OsString))
                .help("Where it listens; else at the usual place"),
        )
        .args(network_flags())
        .arg(
            Arg::new("allow")
                .long("allow")
                .value_name("ROLE:WHO")
                .action(ArgAction::Append)
                .value_parser(|text: &str| text.parse::<Grant>())
                .help("Let a user or an @GROUP in, as `read`, `operate` or `admin`"),
        )
        .arg(
            Arg::new("state")
                .long("state")
                .value_name("DIR")
                .value_parser(value_parser!(OsString))
                .help("What services write, and what the next daemon needs; else `/var/lib/stockade` or `$XDG_STATE_HOME/stockade`"),
        )
        .arg(
            Arg::new("systemd-unit")
                .long("systemd-unit")
                .action(ArgAction::SetTrue)
                .help("Print a unit file for systemd that runs it, and do nothing else"),
        )
        .args_conflicts_with_subcommands(true)
        .subcommand(
            Command::new("reexec")
                .about("Have the daemon execute its program anew, while services go on")
                .args(remote::place_flags()),
        )
        .arg(
            Arg::new("audit")
                .long("audit")
                .value_name("FILE")
                .value_parser(value_parser!(OsString))
                .help("Write down who asked for what, and what became of it (`stockade audit`)"),
        )
}

/// Runs it to its end, and gives the exit code.
pub(super) fn run(matches: &ArgMatches) -> Result<u8, Error> {
    if let Some(("reexec", matches)) = matches.subcommand() {
        return reexec(matches);
    }
    let path = |name: &str| matches.get_one::<OsString>(name).map(PathBuf::from);
    let directory = output::current_directory()?;
    // Looked up now: when it is executed anew, another one may be there.
    let program = std::env::current_exe()
        .map_err(|error| Error::io("failed to find this program's file", error))?;
    let stack = path("file").unwrap_or_default();
    if matches.get_flag("systemd-unit") {
        output::result(manager::unit(&program, &directory.join(stack)))?;
        return Ok(0);
    }
    let options = Options {
        stack,
        socket: path("socket").map(|path| directory.join(path)),
        state: path("state").map(|path| directory.join(path)),
        grants: matches.get_many("allow").into_iter().flatten().copied().collect(),
        network: network(matches, &directory),
        audit: path("audit").map(|path| directory.join(path)),
        directory,
    };
    // A dozen for each service. Where it can't have more, what it has will do for fewer.
    raise_descriptors().unwrap_or(());
    let again = run::event_loop()?.block_on(async {
        let failed = |error| Error::io("failed to catch signals", error);
        let mut signals = IncomingSignals::catch().map_err(failed)?;
        let mut daemon = Running::start(options).await?;
        if let Some(address) = daemon.address() {
            output::note(format_args!("stockade: the daemon listens at {address} too"));
        }
        output::note("stockade: the daemon answers");
        tell(News::Ready);
        keep(&mut daemon, &mut signals).await?;
        Ok::<bool, Error>(daemon.close().await)
    })?;
    if again {
        // Nothing of this one is left, and services know nothing of it.
        return Err(execute(&program, std::env::args_os().skip(1)));
    }
    Ok(0)
}

/// Where it listens on the network, if it does.
fn network(matches: &ArgMatches, directory: &Path) -> Option<Network> {
    let path = |name: &str| Some(directory.join(PathBuf::from(matches.get_one::<OsString>(name)?)));
    let tls = path("tls-cert").zip(path("tls-key")).map(|(certificate, key)| Tls {
        certificate,
        key,
        clients: path("tls-client-ca"),
    });
    let listen = *matches.get_one::<SocketAddr>("listen")?;
    Some(Network { listen, tokens: path("token-file")?, tls })
}

/// How long the daemon may take to answer again.
const AGAIN: Duration = Duration::from_secs(30);

fn reexec(matches: &ArgMatches) -> Result<u8, Error> {
    remote::with(matches, async |place, mut client| {
        client.ask(Method::POST, "/v1/reexec", None).await?.accepted()?;
        client.ended().await;
        let answers = async {
            while crate::daemon::client::Client::connect(place).await?.is_none() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(0)
        };
        let late = "what it says may tell why, and the services go on";
        let silent = || Error::asked("the daemon doesn't answer again", late);
        tokio::time::timeout(AGAIN, answers).await.map_err(|_| silent())?
    })
}

/// Tells the service manager, if there is one. That it can't be told is no reason to end.
fn tell(news: News) {
    if let Err(error) = manager::tell(news) {
        output::failure(&error);
    }
}

/// Until nothing runs any more, as somebody wanted.
async fn keep(daemon: &mut Running, signals: &mut IncomingSignals) -> Result<(), Error> {
    let mut stopping = false;
    // Beside everything else: what leaves the stack may take its time to end.
    let mut applying = JoinSet::new();
    let mut pulse = manager::pulse().map(tokio::time::interval);
    loop {
        tokio::select! {
            Some(_) = applying.join_next() => {}
            () = daemon.ended() => return Ok(()),
            () = beat(&mut pulse) => tell(News::Alive),
            signal = signals.next() => match signal {
                Signal::Interrupt | Signal::Terminate | Signal::Quit => {
                    tell(News::Stopping);
                    if stopping {
                        output::note("stockade: killing all services");
                        daemon.kill();
                    } else {
                        output::note("stockade: stopping all services; once more kills them");
                        daemon.stop();
                    }
                    stopping = true;
                }
                Signal::Hangup => {
                    applying.spawn(apply(daemon.apply()));
                }
                _ => {}
            },
        }
    }
}

/// The next time to say that the daemon lives; never where nobody wants to know.
async fn beat(pulse: &mut Option<tokio::time::Interval>) {
    match pulse {
        Some(pulse) => {
            pulse.tick().await;
        }
        None => std::future::pending().await,
    }
}

/// Nobody waits for an answer to a signal: what comes of it is told.
async fn apply(applying: impl Future<Output = Result<Vec<Difference>, Error>>) {
    tell(News::Reloading);
    match applying.await {
        Ok(changes) => {
            let number = changes.len();
            output::note(format_args!(
                "stockade: the stack file is applied: {number} changes of services"
            ));
        }
        Err(error) => {
            output::failure(&error);
            output::note("stockade: what was in force stays so");
        }
    }
    tell(News::Ready);
}
