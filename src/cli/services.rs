//! `stockade ps|start|restart|reload|reset|signal|scale|inspect|wait|events|down|deps`: services of the daemon.

use super::bars::age;
use super::output;
use super::remote::{
    self, LATE, change, connect, get, json_flag, names, place_flags, timeout_flag, waiting,
};
use crate::error::Error;
use crate::platform::console;
use clap::{Arg, ArgAction, ArgMatches, Command};
use hyper::Method;
use serde_json::{Value, json};
use std::time::Duration;

/// Verbs that are asked of services one by one, with their help.
const VERBS: [(&str, &str); 4] = [
    ("start", "Start services of the daemon, and wait until they are ready"),
    ("restart", "Stop services of the daemon and start them anew, and wait until they are ready"),
    ("reload", "Have services of the daemon read their settings anew"),
    ("reset", "Forget that services of the daemon failed, and what went wrong before"),
];

const CODES: &str = "\
Exit codes: 0; 1 when it was asked for and failed; 124 when the time is over; 125 when Stockade failed or there is no such service.";

const SCALE: &str = "\
Instances that are too many are stopped, the highest numbers first. It holds until the stack is applied again, by SIGHUP or a new daemon: \
what is to stay is written as `replicas` into the stack file.

Exit codes: 0; 1 when it was asked for and failed; 124 when the time is over; 125 when Stockade failed or there is no such service.";

const WAIT_CODES: &str = "Exit codes: 0; 1 when it can't become so by itself any more; 124 when the time is over; 125 when Stockade failed.";

/// The subcommands.
pub(super) fn commands() -> impl Iterator<Item = Command> {
    let verbs = VERBS.iter().map(|(name, help)| {
        waiting(Command::new(*name).about(*help).after_help(CODES).arg(names()).arg(json_flag()))
    });
    let name = || Arg::new("name").value_name("SERVICE");
    let signal = Arg::new("signal").value_name("SIGNAL").required(true).help("Such as `USR1`");
    let state =
        Arg::new("for").long("for").value_parser(["ready", "stopped"]).default_value("ready");
    let dot = Arg::new("dot").long("dot").action(ArgAction::SetTrue);
    verbs.chain([
        Command::new("ps")
            .visible_aliases(["ls", "status"])
            .about("List the services of the daemon: where they are, and why")
            .arg(name().num_args(0..).help("Only these"))
            .arg(json_flag())
            .args(place_flags()),
        Command::new("inspect")
            .about("Show all that the daemon knows of a service, as JSON")
            .arg(name().required(true).help("Its name"))
            .args(place_flags()),
        waiting(
            Command::new("signal")
                .about("Send services of the daemon a signal; it isn't taken for a stop")
                .after_help(CODES)
                .arg(signal)
                .arg(names())
                .arg(json_flag()),
        ),
        waiting(
            Command::new("scale")
                .about("Have services of the daemon that have `replicas` run so many times")
                .after_help(SCALE)
                .arg(
                    Arg::new("count")
                        .value_name("SERVICE=N")
                        .required(true)
                        .num_args(1..)
                        .value_parser(count)
                        .help("How many times which one runs, such as `web=3`"),
                )
                .arg(json_flag()),
        ),
        Command::new("wait")
            .about("Wait until services of the daemon are ready, or stopped, whatever happens on the way")
            .after_help(WAIT_CODES)
            .arg(names())
            .arg(state.value_name("WHAT").help("What to wait for; a job is ready when it is done"))
            .arg(timeout_flag("Wait no longer than this, such as `30s`"))
            .args(place_flags()),
        Command::new("events")
            .about("Tell what becomes of the daemon's services, as it happens")
            .arg(name().help("Only of this one"))
            .arg(json_flag())
            .args(place_flags()),
        waiting(
            Command::new("down")
                .about("Stop all services of the daemon, each after those that depend on it, and end it")
                .after_help(CODES)
                .arg(json_flag()),
        ),
        Command::new("deps")
            .visible_alias("graph")
            .about("Show what the daemon's services need of each other")
            .arg(dot.help("As a graph for Graphviz (`stockade deps --dot | dot -Tsvg`)"))
            .arg(json_flag().conflicts_with("dot"))
            .args(place_flags()),
    ])
}

/// Runs one of them, and gives the exit code; none for other subcommands.
pub(super) fn run(verb: &str, matches: &ArgMatches) -> Option<Result<u8, Error>> {
    Some(match verb {
        "start" | "restart" | "reload" | "reset" => act(verb, matches, None),
        "signal" => {
            let signal = matches.get_one::<String>("signal").map_or("", String::as_str);
            act(verb, matches, Some(json!({ "signal": signal })))
        }
        "scale" => scale(matches),
        "ps" => ps(matches),
        "inspect" => inspect(matches),
        "wait" => wait(matches),
        "events" => events(matches),
        "down" => down(matches),
        "deps" => deps(matches),
        _ => return None,
    })
}

fn words(matches: &ArgMatches) -> Vec<String> {
    matches.get_many("name").into_iter().flatten().cloned().collect()
}

fn act(verb: &str, matches: &ArgMatches, body: Option<Value>) -> Result<u8, Error> {
    remote::with(matches, async |path, mut client| {
        let services = words(matches);
        // All are found before one is touched.
        for name in &services {
            get(&mut client, &format!("/v1/services/{name}")).await?;
        }
        remote::act(path, &mut client, verb, &services, body.as_ref(), matches).await
    })
}

fn ps(matches: &ArgMatches) -> Result<u8, Error> {
    remote::with(matches, async |_, mut client| {
        let mut all = Vec::new();
        match words(matches).as_slice() {
            [] => {
                let mut answer = get(&mut client, "/v1/services").await?;
                if let Value::Array(services) = answer["services"].take() {
                    all = services;
                }
            }
            names => {
                let mut answer = get(&mut client, "/v1/services").await?;
                for name in names {
                    let known = answer["services"].as_array_mut().into_iter().flatten();
                    let before = all.len();
                    all.extend(known.filter(|it| is_one_of(it, name)).map(Value::take));
                    if all.len() == before {
                        // It tells that there is none.
                        all.push(get(&mut client, &format!("/v1/services/{name}")).await?);
                    }
                }
            }
        }
        if matches.get_flag("json") {
            output::result(json!({ "version": 1, "services": all }))?;
        } else {
            let width = console::size().map_or(80, |(_, columns)| usize::from(columns).max(80));
            output::result(table(&all, width))?;
        }
        Ok(0)
    })
}

/// Whether a service has this name, or is an instance of the one with this name.
fn is_one_of(service: &Value, name: &str) -> bool {
    let of = service["name"].as_str().and_then(|full| full.strip_prefix(name));
    let number = |rest: &str| rest.strip_prefix('.').is_some_and(|it| it.parse::<u32>().is_ok());
    of.is_some_and(|rest| rest.is_empty() || number(rest))
}

/// A service and how many times it is to run.
fn count(text: &str) -> Result<(String, u32), String> {
    let wrong = || "write a service and a number, such as `web=3`".to_owned();
    let (name, count) = text.split_once('=').ok_or_else(wrong)?;
    let count = count.parse().map_err(|_| wrong())?;
    if name.is_empty() { Err(wrong()) } else { Ok((name.to_owned(), count)) }
}

fn scale(matches: &ArgMatches) -> Result<u8, Error> {
    remote::with(matches, async |_, mut client| {
        let counts = matches.get_many::<(String, u32)>("count").into_iter().flatten();
        let stack = get(&mut client, "/v1/stack").await?;
        // All are found before one is touched.
        for (name, _) in counts.clone() {
            if stack["replicas"][name].is_null() {
                // It tells where there is none.
                get(&mut client, &format!("/v1/services/{name}")).await?;
                let hint = format!("write `replicas = 1` for `{name}` into the stack file");
                let message = format!("`{name}` isn't one that runs several times");
                return Err(Error::asked(message, hint));
            }
        }
        let mut begun = Vec::new();
        for (name, count) in counts {
            let (place, body) =
                (format!("/v1/services/{name}/scale"), json!({ "replicas": count }));
            begun.push(client.ask(Method::POST, &place, Some(&body)).await?.accepted()?);
        }
        let patience = matches.get_one::<Duration>("timeout").copied();
        let late = !matches.get_flag("no-wait")
            && remote::finish(&mut client, &mut begun, patience).await?;
        let stack = get(&mut client, "/v1/stack").await?;
        for operation in &begun {
            let name = operation["service"].as_str().unwrap_or("?");
            let now = &stack["replicas"][name];
            if matches.get_flag("json") {
                output::result(operation)?;
            } else if let Some(error) = operation["error"].as_str() {
                output::note(format_args!("error: {name}: {}", output::plain(error)));
            } else if operation["state"] == "running" {
                let id = &operation["id"];
                output::result(format_args!("{name}: asked for, as operation {id}"))?;
            } else {
                let (ready, desired) = (&now["ready"], &now["desired"]);
                output::result(format_args!("{name}: {ready} of {desired} ready"))?;
            }
        }
        if late {
            output::note("stockade: the time is over, and what was begun goes on");
            return Ok(LATE);
        }
        Ok(u8::from(begun.iter().any(|operation| operation["state"] == "failed")))
    })
}

/// The longest name that is shown whole.
const NAME: usize = 20;

/// A line for each service below a heading, none wider than `width`.
fn table(all: &[Value], width: usize) -> String {
    let heading = ["SERVICE", "STATE", "READY", "UP", "RESTARTS", "PID"].map(str::to_owned);
    let mut rows = vec![(heading, "WHY".to_owned())];
    rows.extend(all.iter().map(|it| {
        let text = |name: &str| output::plain(it[name].as_str().unwrap_or("?"));
        let restarts = it["restarts"].as_object().into_iter().flat_map(|all| all.values());
        let restarts: u64 = restarts.filter_map(Value::as_u64).sum();
        let row = [
            cut(&text("name"), NAME),
            text("state"),
            if it["ready"] == true { "yes" } else { "no" }.to_owned(),
            it["uptime_s"].as_f64().map_or_else(|| "-".to_owned(), age),
            restarts.to_string(),
            it["pid"].as_u64().map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
        ];
        (row, text("why"))
    }));
    let column = |at: usize| rows.iter().map(|(row, _)| row[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..6).map(column).collect();
    let lines = rows.iter().map(|(row, why)| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}  "));
        cut(&format!("{}{why}", cells.collect::<String>()), width)
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A text in no more than so many columns.
fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.trim_end().to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(3)).collect();
    format!("{kept}...")
}

fn inspect(matches: &ArgMatches) -> Result<u8, Error> {
    remote::with(matches, async |_, mut client| {
        for name in words(matches) {
            let service = get(&mut client, &format!("/v1/services/{name}")).await?;
            output::result(format_args!("{service:#}"))?;
        }
        Ok(0)
    })
}

fn wait(matches: &ArgMatches) -> Result<u8, Error> {
    let what = matches.get_one::<String>("for").map_or("ready", String::as_str);
    let patience = matches.get_one::<Duration>("timeout").copied();
    let began = std::time::Instant::now();
    remote::with(matches, async |_, mut client| {
        for name in words(matches) {
            loop {
                let turn = Duration::from_secs(600);
                let left = patience.map_or(turn, |all| all.saturating_sub(began.elapsed()));
                let place = format!(
                    "/v1/services/{name}/await?for={what}&timeout={}ms",
                    left.min(turn).as_millis()
                );
                let answer = get(&mut client, &place).await?;
                if answer["met"] == true {
                    break;
                }
                let text =
                    |key: &str| output::plain(answer["service"][key].as_str().unwrap_or("?"));
                let late = patience.is_some_and(|all| began.elapsed() >= all);
                let rests = ["disabled", "inactive", "failed"].contains(&&*text("state"));
                if late || rests {
                    let (state, why) = (text("state"), text("why"));
                    output::note(format_args!("error: {name} isn't {what}: {state}: {why}"));
                    return Ok(if rests { 1 } else { LATE });
                }
            }
        }
        Ok(0)
    })
}

fn events(matches: &ArgMatches) -> Result<u8, Error> {
    let only = words(matches).first().map(|name| format!("?service={name}")).unwrap_or_default();
    remote::with(matches, async |_, client| {
        let mut events = client.events(&format!("/v1/events{only}")).await?;
        while let Some((kind, data)) = events.next().await? {
            if matches.get_flag("json") {
                let mut told = data;
                told["event"] = kind.into();
                output::result(told)?;
                continue;
            }
            match kind.as_str() {
                "change" => {
                    let at = data["at"].as_str().unwrap_or("?");
                    output::result(format_args!("{at} {}", change(&data)))?;
                }
                "alert" => {
                    let text = |name: &str| output::plain(data[name].as_str().unwrap_or("?"));
                    let (at, alert, state) = (text("at"), text("alert"), text("state"));
                    output::result(format_args!(
                        "{at} alert {alert}: {state}: {}",
                        text("summary")
                    ))?;
                }
                "lost" => output::note(format_args!(
                    "stockade: {} changes were lost: this is read too slowly",
                    data["count"]
                )),
                _ => {}
            }
        }
        Ok(0)
    })
}

fn down(matches: &ArgMatches) -> Result<u8, Error> {
    remote::with(matches, async |_, mut client| {
        let mut begun = [client.ask(Method::POST, "/v1/shutdown", None).await?.accepted()?];
        let mut late = false;
        if !matches.get_flag("no-wait") {
            let patience = matches.get_one::<Duration>("timeout").copied();
            late = match remote::finish(&mut client, &mut begun, patience).await {
                // It was done before anybody could ask about it again.
                Err(_) if client.is_gone() => {
                    begun[0]["state"] = "done".into();
                    false
                }
                finished => finished?,
            };
            if !late {
                client.ended().await;
            }
        }
        let [operation] = begun;
        if matches.get_flag("json") {
            output::result(&operation)?;
        } else if let Some(error) = operation["error"].as_str() {
            output::note(format_args!("error: {}", output::plain(error)));
        }
        Ok(if late { LATE } else { u8::from(operation["state"] == "failed") })
    })
}

fn deps(matches: &ArgMatches) -> Result<u8, Error> {
    remote::with(matches, async |_, mut client| {
        let answer = get(&mut client, "/v1/dependencies").await?;
        if matches.get_flag("json") {
            output::result(answer)?;
        } else if matches.get_flag("dot") {
            output::result(dot(&answer))?;
        } else {
            output::result(tree(&answer).trim_end())?;
        }
        Ok(0)
    })
}

fn needs(answer: &Value) -> impl Iterator<Item = (&str, Vec<(&str, &str)>)> {
    answer["services"].as_array().into_iter().flatten().map(|service| {
        let needs = service["depends_on"].as_object().into_iter().flatten();
        let needs = needs.map(|(name, word)| (name.as_str(), word.as_str().unwrap_or("?")));
        (service["name"].as_str().unwrap_or("?"), needs.collect())
    })
}

fn tree(answer: &Value) -> String {
    let mut text = String::new();
    for (name, needs) in needs(answer) {
        text += &format!("{name}\n");
        for (needed, word) in needs {
            text += &format!("    after `{needed}` is {word}\n");
        }
    }
    text
}

/// In Graphviz' language. Names of services have nothing that must be escaped in it.
fn dot(answer: &Value) -> String {
    let mut text = "digraph stack {\n    rankdir = LR\n".to_owned();
    for (name, needs) in needs(answer) {
        text += &format!("    \"{name}\"\n");
        for (needed, word) in needs {
            text += &format!("    \"{name}\" -> \"{needed}\" [label = \"{word}\"]\n");
        }
    }
    text + "}"
}

/// Which of these words the daemon has services for; none where there is no daemon.
pub(super) async fn among(matches: &ArgMatches, words: &[String]) -> Result<Vec<String>, Error> {
    let place = remote::place(matches)?;
    let Some(mut client) = crate::daemon::client::Client::connect(&place).await? else {
        // Whoever names a socket means a daemon.
        if matches.get_one::<std::ffi::OsString>("socket").is_some() {
            connect(&place).await?;
        }
        return Ok(Vec::new());
    };
    let mut services = Vec::new();
    let plain = |word: &&String| {
        word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    for word in words.iter().filter(plain) {
        let answer = client.ask(Method::GET, &format!("/v1/services/{word}"), None).await?;
        if !answer.is_missing {
            answer.accepted()?;
            services.push(word.clone());
        }
    }
    Ok(services)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_fits_eighty_columns_and_tells_why() {
        let service = |name: &str, state: &str, up: Option<f64>, why: &str| {
            json!({
                "name": name, "state": state, "ready": up.is_some(), "uptime_s": up, "why": why,
                "restarts": { "run": 2, "asked": 1 }, "pid": up.map(|_| 12345),
            })
        };
        let all = [
            service("web", "running", Some(3700.0), "its program is executed"),
            service(
                "a-service-with-a-long-name",
                "backoff",
                None,
                "exited with 3\u{1b}; attempt 2 follows",
            ),
        ];
        insta::assert_snapshot!(table(&all, 80), @"
        SERVICE               STATE    READY  UP     RESTARTS  PID    WHY
        web                   running  yes    1h01m  3         12345  its program is ...
        a-service-with-a-...  backoff  no     -      3         -      exited with 3?;...
        ");
    }

    #[test]
    fn what_services_need_is_a_text_and_a_graph() {
        let answer = json!({ "services": [
            { "name": "db", "depends_on": {} },
            { "name": "web", "depends_on": { "db": "ready" } },
        ] });
        insta::assert_snapshot!(tree(&answer), @"
        db
        web
            after `db` is ready
        ");
        insta::assert_snapshot!(dot(&answer), @r#"
        digraph stack {
            rankdir = LR
            "db"
            "web"
            "web" -> "db" [label = "ready"]
        }
        "#);
    }
}
