//! `stockade stats`: what the sandboxes of this user use now.

use super::output;
use crate::control::Request;
use crate::control::client::{self, Visit};
use crate::error::Error;
use crate::platform::Bytes;
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::Value;

/// The subcommand.
pub(super) fn command() -> Command {
    let flag = |name, help| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    Command::new("stats")
        .about("What the sandboxes of this user use now")
        .arg(flag("json", "Print one JSON object a line, for each sandbox"))
        .arg(flag("processes", "With the processes of each"))
        .arg(
            Arg::new("id")
                .value_name("ID")
                .num_args(0..)
                .help("Names of sandboxes, or their beginnings; all when none is named"),
        )
}

/// Prints it, and gives the exit code.
pub(super) fn run(matches: &ArgMatches) -> Result<u8, Error> {
    let words: Vec<&String> = matches.get_many("id").into_iter().flatten().collect();
    let processes = matches.get_flag("processes");
    let ids = if words.is_empty() {
        client::ids()?
    } else {
        words.into_iter().map(|word| client::find(word)).collect::<Result<_, _>>()?
    };
    let mut all = Vec::new();
    for id in ids {
        // What has ended meanwhile is no longer one of them.
        if let Some(mut visit) = Visit::new(&id)?
            && let Some(mut answer) = visit.ask(&Request::Status { processes })?
        {
            all.push(answer["status"].take());
        }
    }
    if matches.get_flag("json") {
        for status in &all {
            output::result(status)?;
        }
    } else {
        output::result(table(&all))?;
    }
    Ok(0)
}

/// A line for each sandbox below a heading, and indented lines for processes.
fn table(all: &[Value]) -> String {
    let mut rows = vec![["ID", "STATE", "AGE", "CPU", "MEMORY", "LIMIT", "PIDS"].map(String::from)];
    rows.extend(all.iter().map(|status| {
        let text = |place: &str| status.pointer(place).and_then(Value::as_str).unwrap_or("?");
        let number = |place: &str| status.pointer(place).and_then(Value::as_f64);
        let bytes = |place: &str| status.pointer(place).and_then(Value::as_u64).map(Bytes);
        let cpu = number("/usage/cpu/user_s").unwrap_or(0.0)
            + number("/usage/cpu/system_s").unwrap_or(0.0);
        let paused = status["paused"] == true;
        let known = |value: Option<String>| value.unwrap_or_else(|| "?".into());
        [
            text("/id").to_owned(),
            if paused { "paused" } else { "running" }.into(),
            known(number("/age_s").map(|age| format!("{age:.1}s"))),
            format!("{cpu:.2}s"),
            known(bytes("/usage/memory/current_bytes").map(|size| size.to_string())),
            bytes("/limits/memory").map_or_else(|| "-".into(), |size| size.to_string()),
            known(number("/usage/pids/current").map(|pids| pids.to_string())),
        ]
    }));
    let widths: Vec<usize> =
        (0..7).map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for (place, row) in rows.iter().enumerate() {
        if place > 0 {
            text.push('\n');
        }
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        let status = place.checked_sub(1).and_then(|place| all.get(place));
        let processes = status.and_then(|status| status["processes"].as_array());
        for process in processes.into_iter().flatten() {
            text.push_str(&format!("\n  {}", line_of(process)));
        }
    }
    text
}

/// One process in a line.
fn line_of(process: &Value) -> String {
    let number = |name: &str| process[name].as_u64().unwrap_or(0);
    let text = |name: &str| output::plain(process[name].as_str().unwrap_or("?"));
    let cpu = process["cpu_s"].as_f64().unwrap_or(0.0);
    let memory = Bytes(number("memory_bytes")).to_string();
    format!("{:>8} {} {cpu:>8.2}s {memory:>10}  {}", number("pid"), text("state"), text("command"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_table_tells_what_is_unknown_and_keeps_control_characters_from_the_terminal() {
        let all = [
            json!({
                "id": "job-00000001", "paused": true, "age_s": 61.25,
                "usage": {
                    "cpu": { "user_s": 1.5, "system_s": 0.25 },
                    "memory": { "current_bytes": 1_048_576 },
                    "pids": { "current": 3 },
                },
                "limits": { "memory": 67_108_864 },
                "processes": [{
                    "pid": 42, "state": "S", "cpu_s": 0.5, "memory_bytes": 4096,
                    "command": "sh -c \u{1b}[2Jx",
                }],
            }),
            json!({ "id": "x-00000002", "paused": false, "usage": {}, "limits": {} }),
        ];
        insta::assert_snapshot!(table(&all), @"
        ID            STATE    AGE    CPU    MEMORY  LIMIT  PIDS
        job-00000001  paused   61.2s  1.75s  1MiB    64MiB  3
                42 S     0.50s       4KiB  sh -c ?[2Jx
        x-00000002    running  ?      0.00s  ?       -      ?
        ");
    }
}
