//! `stockade alerts`: what fires, who is told, and who isn't for a while.

use super::{output, remote};
use crate::error::Error;
use crate::platform::parse_duration;
use clap::{Arg, ArgMatches, Command};
use hyper::Method;
use serde_json::{Value, json};

const AFTER: &str = "\
Rules stand in the stack file, as `[alerts.NAME]`, and who is told as `[alert_receivers.NAME]`.

Exit codes: 0; 1 when a test failed; 125 when Stockade failed or refused.

Examples:
  stockade alerts
  stockade alerts silence service=web --for 2h --reason 'a new disk'
  stockade alerts test ops";

pub(super) fn command() -> Command {
    let time = |text: &str| match parse_duration(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    };
    Command::new("alerts")
        .about("Tell what alerts fire, and silence and test them")
        .after_help(AFTER)
        .args_conflicts_with_subcommands(true)
        .arg(remote::json_flag())
        .args(remote::place_flags())
        .subcommand(
            Command::new("ls")
                .about("List alerts that are pending or fire: the usual")
                .arg(remote::json_flag())
                .args(remote::place_flags()),
        )
        .subcommand(
            Command::new("silence")
                .about("Have nobody told of alerts that have all these labels, for a while")
                .arg(
                    Arg::new("matcher")
                        .value_name("LABEL=VALUE")
                        .required(true)
                        .num_args(1..)
                        .help("What they are about: `alertname=down`, or `service=~web|db` with a regular expression"),
                )
                .arg(
                    Arg::new("for")
                        .long("for")
                        .value_name("TIME")
                        .required(true)
                        .value_parser(time)
                        .help("For how long, such as `2h`"),
                )
                .arg(
                    Arg::new("reason")
                        .long("reason")
                        .value_name("TEXT")
                        .required(true)
                        .help("Why, for others"),
                )
                .arg(remote::json_flag())
                .args(remote::place_flags()),
        )
        .subcommand(
            Command::new("silences")
                .about("List silences that last")
                .arg(remote::json_flag())
                .args(remote::place_flags()),
        )
        .subcommand(
            Command::new("unsilence")
                .about("End silences")
                .arg(
                    Arg::new("id")
                        .value_name("NUMBER")
                        .required(true)
                        .num_args(1..)
                        .value_parser(clap::value_parser!(u64))
                        .help("Their numbers"),
                )
                .args(remote::place_flags()),
        )
        .subcommand(
            Command::new("test")
                .about("Tell receivers of an alert that is none, and what came of it")
                .arg(Arg::new("receiver").value_name("RECEIVER").help("Only this one"))
                .arg(remote::json_flag())
                .args(remote::place_flags()),
        )
}

/// Runs a subcommand, and gives the exit code.
pub(super) fn run(matches: &ArgMatches) -> Result<u8, Error> {
    match matches.subcommand() {
        Some(("silence", matches)) => silence(matches),
        Some(("silences", matches)) => silences(matches),
        Some(("unsilence", matches)) => unsilence(matches),
        Some(("test", matches)) => test(matches),
        Some((_, matches)) => ls(matches),
        None => ls(matches),
    }
}

fn ls(matches: &ArgMatches) -> Result<u8, Error> {
    remote::with(matches, async |_, mut client| {
        let answer = remote::get(&mut client, "/v1/alerts").await?;
        if matches.get_flag("json") {
            output::result(answer)?;
            return Ok(0);
        }
        let lines: Vec<String> = list(&answer, "alerts").map(alert).collect();
        output::result(if lines.is_empty() {
            "nothing fires".to_owned()
        } else {
            lines.join("\n")
        })?;
        for receiver in list(&answer, "receivers") {
            if let Some(error) = receiver["error"].as_str() {
                let name = text(receiver, "name");
                let error = output::plain(error);
                output::note(format_args!("stockade: `{name}` can't be told: {error}"));
            }
        }
        if let Some(trouble) = answer["trouble"].as_str() {
            output::note(format_args!("stockade: {}", output::plain(trouble)));
        }
        Ok(0)
    })
}

/// An alert in a line.
fn alert(alert: &Value) -> String {
    let (labels, state) = (&alert["labels"], text(alert, "state"));
    let service = labels["instance"].as_str().or(labels["service"].as_str()).unwrap_or("?");
    let since = match alert["starts_at"].as_str() {
        Some(at) => format!(" since {at}"),
        None => String::new(),
    };
    let silenced = match alert["silenced_by"].as_u64() {
        Some(id) => format!(" (silenced by {id})"),
        None => String::new(),
    };
    let summary = text(&alert["annotations"], "summary");
    let (name, severity) = (text(labels, "alertname"), text(labels, "severity"));
    format!("{name} [{severity}] {service}: {state}{since}{silenced}: {summary}")
}

fn silence(matches: &ArgMatches) -> Result<u8, Error> {
    let one = |name: &str| matches.get_one::<String>(name).cloned().unwrap_or_default();
    let matchers: Vec<&String> = matches.get_many("matcher").into_iter().flatten().collect();
    let body = json!({ "matchers": matchers, "for": one("for"), "reason": one("reason") });
    remote::with(matches, async |_, mut client| {
        let answer = client.ask(Method::POST, "/v1/silences", Some(&body)).await?.accepted()?;
        if matches.get_flag("json") {
            output::result(answer)?;
        } else {
            output::result(shown(&answer))?;
        }
        Ok(0)
    })
}

fn silences(matches: &ArgMatches) -> Result<u8, Error> {
    remote::with(matches, async |_, mut client| {
        let answer = remote::get(&mut client, "/v1/silences").await?;
        if matches.get_flag("json") {
            output::result(answer)?;
            return Ok(0);
        }
        let lines: Vec<String> = list(&answer, "silences").map(shown).collect();
        output::result(if lines.is_empty() {
            "there are none".to_owned()
        } else {
            lines.join("\n")
        })?;
        Ok(0)
    })
}

/// A silence in a line.
fn shown(silence: &Value) -> String {
    let matchers = list(silence, "matchers").map(|matcher| {
        let sign = if matcher["is_regex"] == true { "=~" } else { "=" };
        format!("{}{sign}{}", text(matcher, "name"), text(matcher, "value"))
    });
    let matchers = matchers.collect::<Vec<_>>().join(" ");
    let (until, reason, by) =
        (text(silence, "until"), text(silence, "reason"), text(silence, "by"));
    format!("{}: {matchers} until {until}, by {by}: {reason}", silence["id"])
}

fn unsilence(matches: &ArgMatches) -> Result<u8, Error> {
    remote::with(matches, async |_, mut client| {
        for id in matches.get_many::<u64>("id").into_iter().flatten() {
            let place = format!("/v1/silences/{id}");
            client.ask(Method::DELETE, &place, None).await?.accepted()?;
        }
        Ok(0)
    })
}

fn test(matches: &ArgMatches) -> Result<u8, Error> {
    let body = match matches.get_one::<String>("receiver") {
        Some(receiver) => json!({ "receiver": receiver }),
        None => json!({}),
    };
    remote::with(matches, async |_, mut client| {
        let answer = client.ask(Method::POST, "/v1/alerts/test", Some(&body)).await?.accepted()?;
        let mut failed = false;
        if matches.get_flag("json") {
            output::result(&answer)?;
        }
        for receiver in list(&answer, "receivers") {
            let (name, error) = (text(receiver, "name"), receiver["error"].as_str());
            failed |= error.is_some();
            match error {
                _ if matches.get_flag("json") => {}
                Some(error) => {
                    output::note(format_args!("error: {name}: {}", output::plain(error)));
                }
                None => output::result(format_args!("{name}: told"))?,
            }
        }
        if list(&answer, "receivers").next().is_none() {
            output::note(
                "stockade: there is nobody to tell: the stack file has no `alert_receivers`",
            );
        }
        Ok(u8::from(failed))
    })
}

fn list<'v>(value: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
    value[name].as_array().into_iter().flatten()
}

fn text(value: &Value, name: &str) -> String {
    output::plain(value[name].as_str().unwrap_or("?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_and_silences_are_lines() {
        let told = alert(&json!({
            "state": "firing", "starts_at": "2030-01-01T00:00:00Z", "silenced_by": 7,
            "labels": { "alertname": "down", "severity": "critical", "service": "web", "instance": "web.2" },
            "annotations": { "summary": "`web.2` has failed:\u{1b} exited with 1" },
        }));
        insta::assert_snapshot!(told, @"down [critical] web.2: firing since 2030-01-01T00:00:00Z (silenced by 7): `web.2` has failed:? exited with 1");
        let told = shown(&json!({
            "id": 7, "until": "2030-01-01T02:00:00Z", "reason": "a new disk", "by": "user 0",
            "matchers": [
                { "name": "service", "value": "web", "is_regex": false },
                { "name": "alertname", "value": "d.*", "is_regex": true },
            ],
        }));
        insta::assert_snapshot!(told, @"7: service=web alertname=~d.* until 2030-01-01T02:00:00Z, by user 0: a new disk");
    }
}
