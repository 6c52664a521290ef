//! `stockade logs`: what services wrote.

use super::{output, remote, run};
use crate::daemon::MOST_LINES;
use crate::daemon::client::Client;
use crate::error::Error;
use crate::logs::{Entry, Level, Listing, Query, Stream, moment};
use crate::platform::Directory;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

const AFTER: &str = "\
Lines come in the order of time, each with the instance that wrote it. They are read from the files below the state directory, also \
when no daemon runs; where this user can't read them, or a daemon is named, it is asked.

Times are written as `10m ago`, `today`, `yesterday`, `05:30`, `2026-11-26 05:30` or `2026-11-26T05:30:00Z`.

Exit codes: 0, or 125 when Stockade failed or there is no such log.

Examples: stockade logs web --since '10m ago' --grep error
          stockade logs -f --level warning";

/// Lines that are shown before those that come, where nobody says how many.
const USUAL_LAST: usize = 10;

/// How often files are looked at for more.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) fn command() -> Command {
    let text = |name: &'static str| Arg::new(name).long(name);
    let flag = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
    Command::new("logs")
        .about("Show what services wrote")
        .after_help(AFTER)
        .arg(
            Arg::new("service")
                .value_name("SERVICE")
                .num_args(0..)
                .help("Services, or single instances of them; else all"),
        )
        .arg(flag("follow").short('f').help("Go on with what is written from now on"))
        .arg(text("since").value_name("TIME").help("Nothing older"))
        .arg(text("until").value_name("TIME").help("Nothing newer"))
        .arg(
            text("lines")
                .short('n')
                .value_name("NUMBER")
                .value_parser(value_parser!(usize))
                .help("Only the last so many; with `--follow` else 10"),
        )
        .arg(
            flag("all").conflicts_with("lines").help(
                "With `--follow`: everything that is kept, before what is written from now on",
            ),
        )
        .arg(text("grep").value_name("REGEX").help("Only lines with this in them"))
        .arg(
            text("stream")
                .value_name("STREAM")
                .value_parser(["stdout", "stderr"])
                .help("Only lines of this stream"),
        )
        .arg(
            text("level")
                .value_name("LEVEL")
                .value_parser(Level::ALL.map(Level::word).to_vec())
                .help("Only lines that say they are as grave as this"),
        )
        .arg(flag("timestamps").short('t').help("Show when each line was read"))
        .arg(flag("json").help("Print one JSON object a line, with all that is known of it"))
        .arg(state())
        .args(remote::place_flags())
        .mut_arg("socket", |socket| socket.conflicts_with("state"))
}

pub(super) fn state() -> Arg {
    Arg::new("state")
        .long("state")
        .value_name("DIRECTORY")
        .value_parser(value_parser!(OsString))
        .help("The state directory, else `/var/lib/stockade` or `$XDG_STATE_HOME/stockade`")
}

fn query(matches: &ArgMatches) -> Result<Query, Error> {
    let text = |name| matches.get_one::<String>(name).map(String::as_str);
    let now = jiff::ZonedDateTime::now();
    let time = |name| text(name).map(|text| moment(text, &now)).transpose();
    let wrong = |message: String| Error::asked(message, "");
    let pattern = text("grep").map(|text| {
        regex::Regex::new(text).map_err(|error| {
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ");
            wrong(format!("`{}` is no regular expression: {reason}", output::plain(text)))
        })
    });
    let stream = text("stream").map(|word| match word {
        "stderr" => Stream::Error,
        _ => Stream::Output,
    });
    Ok(Query {
        services: matches.get_many("service").into_iter().flatten().cloned().collect(),
        since: time("since").map_err(wrong)?,
        until: time("until").map_err(wrong)?,
        stream,
        level: text("level").and_then(Level::of_word),
        pattern: pattern.transpose()?,
    })
}

/// Shows them, and gives the exit code.
pub(super) fn run(matches: &ArgMatches) -> Result<u8, Error> {
    let query = query(matches)?;
    let given = matches.get_one::<OsString>("state").map(PathBuf::from);
    if matches.get_one::<OsString>("socket").is_some() {
        return remote::with(matches, async |_, client| tell(client, &query, matches).await);
    }
    let may_ask = given.is_none();
    let Some(state) = given.or_else(Directory::usual_state) else {
        let message = "neither `XDG_STATE_HOME` nor `HOME` says where the logs are";
        return Err(Error::asked(message, "name the state directory with `--state`"));
    };
    let path = state.join("logs");
    let directory = match Directory::open(&path) {
        Ok(directory) => directory,
        Err(error) => {
            let unread = no_logs(&path, error);
            if !may_ask {
                return Err(unread);
            }
            let place = remote::place(matches)?;
            return run::event_loop()?.block_on(async {
                match Client::connect(&place).await {
                    Ok(Some(client)) => tell(client, &query, matches).await,
                    // What is wrong is that there are no files: nobody has named a daemon.
                    Ok(None) | Err(_) => Err(unread),
                }
            });
        }
    };
    let failed =
        |error| Error::io(format!("failed to read the logs in `{}`", path.display()), error);
    let mut listing = Listing::open(directory, query).map_err(failed)?;
    let follows = matches.get_flag("follow");
    if let (false, [name, ..]) = (follows, &*listing.missing()) {
        let message = format!("there is no log of `{}`", output::plain(name));
        let all: Vec<&str> = listing.known().collect();
        let hint = format!("there are those of {}", all.join(", "));
        return Err(Error::asked(message, if all.is_empty() { "" } else { &hint }));
    }
    let usual = (follows && !matches.get_flag("all")).then_some(USUAL_LAST);
    let last = matches.get_one::<usize>("lines").copied().or(usual);
    let mut printer = Printer::new(matches, listing.instances().map(str::len).max());
    if let Some(last) = last {
        for entry in listing.last(last).map_err(failed)? {
            if !printer.print(&entry)? {
                return Ok(0);
            }
        }
    }
    if follows || last.is_none() {
        while let Some(entry) = listing.advance().map_err(failed)? {
            if !printer.print(&entry)? {
                return Ok(0);
            }
        }
    }
    if follows {
        run::event_loop()?.block_on(follow(&mut listing, &mut printer, &path))?;
    }
    Ok(0)
}

fn no_logs(path: &Path, error: std::io::Error) -> Error {
    if error.kind() == ErrorKind::NotFound {
        let message = format!("there are no logs in `{}`", path.display());
        return Error::asked(message, "name the state directory of the daemon with `--state`");
    }
    Error::io(format!("failed to open the logs in `{}`", path.display()), error)
}

/// Shows what the daemon tells of them, and gives the exit code.
async fn tell(client: Client, query: &Query, matches: &ArgMatches) -> Result<u8, Error> {
    let follows = matches.get_flag("follow");
    let usual = (follows && !matches.get_flag("all")).then_some(USUAL_LAST);
    let last = matches.get_one::<usize>("lines").copied().or(usual);
    let mut wanted = vec![format!("follow={}", if follows { "yes" } else { "no" })];
    if let Some(since) = query.since {
        // Rounded up, since the daemon's now is a little later; what is too old is left out below.
        let ago = jiff::Timestamp::now().duration_since(since).as_secs().max(0).saturating_add(1);
        wanted.push(format!("since={ago}s"));
    }
    wanted.extend(query.stream.map(|stream| format!("stream={}", stream.word())));
    wanted.extend(query.level.map(|level| format!("level={}", level.word())));
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match query.services.as_slice() {
        [name] if name.chars().all(plain) => wanted.push(format!("service={name}")),
        _ => {}
    }
    // The daemon knows which are the last where it knows all that is asked for; else the last are chosen here, and whoever
    // follows sees all.
    let knows = query.services.len() < 2 && query.until.is_none() && query.pattern.is_none();
    if let (true, Some(last)) = (knows, last) {
        wanted.push(format!("lines={}", last.min(MOST_LINES)));
    }
    let chosen_here = last.filter(|_| !knows && !follows);
    let mut lines = client.lines(&format!("/v1/logs?{}", wanted.join("&"))).await?;
    let mut printer = Printer::new(matches, None);
    let mut held = VecDeque::new();
    while let Some(line) = lines.next().await? {
        let entry: Entry = serde_json::from_slice(&line)
            .map_err(|error| Error::io("failed to understand the daemon", error.into()))?;
        if !query.wants_instance(&entry.service, &entry.instance) || !query.wants(&entry.record) {
            continue;
        }
        match chosen_here {
            Some(most) => {
                held.push_back(entry);
                if held.len() > most {
                    held.pop_front();
                }
            }
            None if !printer.print(&entry)? => return Ok(0),
            None => {}
        }
    }
    for entry in held {
        if !printer.print(&entry)? {
            break;
        }
    }
    Ok(0)
}

/// Until nobody reads any more, or this is ended.
async fn follow(listing: &mut Listing, printer: &mut Printer, path: &Path) -> Result<(), Error> {
    let failed =
        |error| Error::io(format!("failed to read the logs in `{}`", path.display()), error);
    let mut pause = tokio::time::interval(PAUSE);
    loop {
        pause.tick().await;
        listing.look().map_err(failed)?;
        while let Some(entry) = listing.advance().map_err(failed)? {
            if !printer.print(&entry)? {
                return Ok(());
            }
        }
    }
}

/// Colours for names, in the order of ANSI: what can be read on dark and on light.
const COLOURS: [u8; 6] = [36, 33, 32, 35, 34, 31];

struct Printer {
    json: bool,
    timestamps: bool,
    coloured: bool,
    width: usize,
}

impl Printer {
    /// Names are shown as wide as the `widest`, where that is known.
    fn new(matches: &ArgMatches, widest: Option<usize>) -> Self {
        Self {
            json: matches.get_flag("json"),
            timestamps: matches.get_flag("timestamps"),
            coloured: output::has_colours(),
            width: widest.unwrap_or(0),
        }
    }

    /// Prints a line; `false` when nobody reads them any more.
    fn print(&mut self, entry: &Entry) -> Result<bool, Error> {
        if self.json {
            let failed = |error: serde_json::Error| {
                Error::io("failed to write a line as JSON", error.into())
            };
            return output::line(serde_json::to_string(entry).map_err(failed)?);
        }
        output::line(self.shown(entry))
    }

    fn shown(&mut self, entry: &Entry) -> String {
        self.width = self.width.max(entry.instance.len());
        let (record, width) = (&entry.record, self.width);
        let mut prefix = format!("{:width$} |", entry.instance);
        if self.coloured {
            let sum: usize = entry.instance.bytes().map(usize::from).sum();
            let colour = COLOURS.get(sum % COLOURS.len()).copied().unwrap_or(0);
            prefix = format!("\x1b[{colour}m{prefix}\x1b[0m");
        }
        let time = match self.timestamps {
            true => format!("{:.6} ", record.time),
            false => String::new(),
        };
        let note = if record.lost.is_some() { "stockade: " } else { "" };
        format!("{time}{prefix} {note}{}", output::written(&record.text))
    }
}
