//! Asking the daemon, and waiting for what it does.

use super::{output, run};
use crate::daemon::client::{Client, Named, Place};
use crate::error::Error;
use crate::platform::parse_duration;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use hyper::Method;
use serde_json::Value;
use std::ffi::OsString;
use std::time::{Duration, Instant};

/// Exit code where the time is over, as timeout(1) has it.
pub(super) const LATE: u8 = 124;

/// For one answer; whoever waits longer asks again.
const TURN: Duration = Duration::from_secs(600);

pub(super) fn json_flag() -> Arg {
    Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print JSON")
}

pub(super) fn names() -> Arg {
    Arg::new("name").value_name("SERVICE").required(true).num_args(1..).help("Names of services")
}

fn time(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

pub(super) fn timeout_flag(help: &'static str) -> Arg {
    Arg::new("timeout").long("timeout").value_name("TIME").value_parser(time).help(help)
}

/// What verbs have in common that take their time.
pub(super) fn waiting(command: Command) -> Command {
    let wait = Arg::new("wait").long("wait").action(ArgAction::SetTrue).overrides_with("no-wait");
    let no_wait = Arg::new("no-wait").long("no-wait").action(ArgAction::SetTrue);
    command
        .arg(wait.help("Return when it is done: the usual"))
        .arg(no_wait.help("Return as soon as it is asked for"))
        .arg(
            timeout_flag("Wait no longer than this, such as `30s`; what was begun goes on")
                .conflicts_with("no-wait"),
        )
        .args(place_flags())
}

/// The flags that name a daemon.
pub(super) fn place_flags() -> [Arg; 3] {
    let flag = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).value_parser(value_parser!(OsString)).help(help)
    };
    let help = "The daemon's socket, or its address as `https://HOST:PORT`; else $STOCKADE_SOCKET, else the usual socket";
    [
        flag("socket", "PATH|URL", help).visible_alias("daemon"),
        flag(
            "token-file",
            "FILE",
            "The token for a daemon on the network; else $STOCKADE_TOKEN_FILE",
        ),
        flag(
            "ca",
            "FILE",
            "The authorities of its certificate; else $STOCKADE_CA, else the system's",
        ),
    ]
}

/// Where the daemon is that is meant.
pub(super) fn place(matches: &ArgMatches) -> Result<Place, Error> {
    let text = |name: &str| matches.get_one::<OsString>(name).cloned();
    Place::find(Named {
        place: text("socket"),
        tokens: text("token-file"),
        authorities: text("ca"),
    })
}

/// Connects to the daemon.
///
/// # Errors
/// When there is none.
pub(super) async fn connect(place: &Place) -> Result<Client, Error> {
    Client::connect(place).await?.ok_or_else(|| {
        let message = format!("no daemon listens at `{place}`");
        Error::asked(
            message,
            "`stockade daemon --file FILE` starts one; `--socket` names another place",
        )
    })
}

/// Does something with the daemon.
pub(super) fn with<R>(
    matches: &ArgMatches,
    work: impl AsyncFnOnce(&Place, Client) -> Result<R, Error>,
) -> Result<R, Error> {
    let place = place(matches)?;
    run::event_loop()?.block_on(async { work(&place, connect(&place).await?).await })
}

/// What is at a path.
pub(super) async fn get(client: &mut Client, path: &str) -> Result<Value, Error> {
    client.ask(Method::GET, path, None).await?.accepted()
}

/// Asks for this verb of each service, and waits as the flags say. Gives the exit code.
pub(super) async fn act(
    daemon: &Place,
    client: &mut Client,
    verb: &str,
    services: &[String],
    body: Option<&Value>,
    matches: &ArgMatches,
) -> Result<u8, Error> {
    let mut begun = Vec::new();
    for service in services {
        let place = format!("/v1/services/{service}/{verb}");
        begun.push(client.ask(Method::POST, &place, body).await?.accepted()?);
    }
    let late = if matches.get_flag("no-wait") {
        false
    } else {
        let watched = output::is_watched();
        let patience = matches.get_one::<Duration>("timeout").copied();
        let waiting = finish(client, &mut begun, patience);
        if watched { beside(daemon, services, waiting).await? } else { waiting.await? }
    };
    let failed = begun.iter().any(|operation| operation["state"] == "failed");
    for operation in &begun {
        tell(client, operation, matches).await?;
    }
    if late {
        output::note("stockade: the time is over, and what was begun goes on");
        return Ok(LATE);
    }
    Ok(u8::from(failed))
}

/// What became of one operation.
async fn tell(client: &mut Client, operation: &Value, matches: &ArgMatches) -> Result<(), Error> {
    if matches.get_flag("json") {
        return output::result(operation);
    }
    let service = operation["service"].as_str().unwrap_or("?");
    if let Some(error) = operation["error"].as_str() {
        output::note(format_args!("error: {service}: {}", output::plain(error)));
    } else if operation["state"] == "running" {
        output::result(format_args!("{service}: asked for, as operation {}", operation["id"]))?;
    } else {
        let now = get(client, &format!("/v1/services/{service}")).await?;
        let text = |name: &str| output::plain(now[name].as_str().unwrap_or("?"));
        output::result(format_args!("{service}: {}: {}", text("state"), text("why")))?;
    }
    Ok(())
}

/// Waits for the ends of operations; tells whether the time was over before.
pub(super) async fn finish(
    client: &mut Client,
    operations: &mut [Value],
    patience: Option<Duration>,
) -> Result<bool, Error> {
    let began = Instant::now();
    for operation in operations {
        while operation["state"] == "running" {
            let left = patience.map(|patience| patience.saturating_sub(began.elapsed()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(true);
            }
            let turn = left.unwrap_or(TURN).min(TURN).as_millis();
            let place = format!("/v1/operations/{}?wait={turn}ms", operation["id"]);
            *operation = get(client, &place).await?;
        }
    }
    Ok(false)
}

/// Tells how services change while something goes on.
async fn beside<R>(
    daemon: &Place,
    services: &[String],
    work: impl Future<Output = Result<R, Error>>,
) -> Result<R, Error> {
    let mut events = connect(daemon).await?.events("/v1/events").await?;
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            event = events.next() => match event? {
                Some((kind, data)) if kind == "change" => {
                    let service = data["service"]["name"].as_str().unwrap_or("?");
                    if services.iter().any(|name| name == service) {
                        output::note(format_args!("stockade: {}", change(&data)));
                    }
                }
                Some(_) => {}
                // The daemon ends: what was asked for tells the rest.
                None => return work.await,
            },
        }
    }
}

/// A change in a line.
pub(super) fn change(data: &Value) -> String {
    let text = |name: &str| output::plain(data["service"][name].as_str().unwrap_or("?"));
    let unready = data["service"]["state"] == "running" && data["service"]["ready"] == false;
    let ready = if unready { " (not ready)" } else { "" };
    format!("{}: {}{ready}: {}", text("name"), text("state"), text("why"))
}
