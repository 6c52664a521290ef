//! `stockade top`: a live screen of this user's sandboxes.
//!
//! [`model`] is what is known and what keys do, without a terminal; [`screen`] draws it; here both meet the world.

pub(super) mod figures;
pub(super) mod model;
pub(super) mod screen;

use crate::control::Request;
use crate::control::client::{self, Visit};
use crate::error::Error;
use crate::platform::parse_duration;
use clap::{Arg, ArgMatches, Command};
use figures::Figures;
use model::{Action, Model};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// How long a sandbox may take to answer before the screen goes on without it.
const PATIENCE: Duration = Duration::from_millis(200);

/// The subcommand.
pub(super) fn command() -> Command {
    Command::new("top")
        .about("A live screen of the sandboxes of this user")
        .after_help(format!("Keys:\n{}", screen::KEYS))
        .arg(
            Arg::new("interval")
                .long("interval")
                .value_name("TIME")
                .default_value("1s")
                .value_parser(interval)
                .help("Time between two looks, 100ms or more"),
        )
}

fn interval(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(time) if time < Duration::from_millis(100) => Err("too short (write `100ms`)".into()),
        Ok(time) => Ok(time),
        Err(error) => Err(error.to_string()),
    }
}

/// Shows it until somebody quits, and gives the exit code.
pub(super) fn run(matches: &ArgMatches) -> Result<u8, Error> {
    if !(std::io::stdout().is_terminal() && std::io::stdin().is_terminal()) {
        let hint = "`stockade stats` prints the same once, and `--json` for programs";
        return Err(Error::asked("a live screen needs a terminal", hint));
    }
    let interval = matches.get_one::<Duration>("interval").copied().unwrap_or_default();
    let mut terminal =
        ratatui::try_init().map_err(|error| Error::io("failed to set up the terminal", error))?;
    let shown = show(&mut terminal, interval);
    let restored = ratatui::try_restore();
    shown?;
    restored.map_err(|error| Error::io("failed to restore the terminal", error))?;
    Ok(0)
}

fn show(terminal: &mut ratatui::DefaultTerminal, interval: Duration) -> Result<(), Error> {
    let failed = |error| Error::io("failed to draw on the terminal", error);
    let mut model = Model::default();
    let mut world = World::default();
    loop {
        let looked = Instant::now();
        model.take(world.look(&model)?);
        loop {
            terminal.draw(|frame| screen::draw(frame, &model)).map_err(failed)?;
            let left = interval.saturating_sub(looked.elapsed());
            if left.is_zero() || !event::poll(left).map_err(failed)? {
                break;
            }
            let action = match event::read().map_err(failed)? {
                Event::Key(key) if key.kind == KeyEventKind::Press => press(&mut model, key),
                _ => Action::Nothing,
            };
            match action {
                Action::Nothing => {}
                Action::Quit => return Ok(()),
                Action::Look => break,
                Action::Ask(id, request) => {
                    let told = world.ask(&id, &request);
                    model.tell(told.err().map_or_else(String::new, |error| error.chain()));
                    break;
                }
            }
        }
    }
}

fn press(model: &mut Model, key: KeyEvent) -> Action {
    match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Action::Quit,
        KeyCode::Char(letter) => model.letter(letter),
        KeyCode::Esc => model.letter('q'),
        KeyCode::Up => model.letter('k'),
        KeyCode::Down => model.letter('j'),
        KeyCode::Enter => model.letter(' '),
        _ => Action::Nothing,
    }
}

/// The conversations with sandboxes, kept open from one look to the next.
#[derive(Debug, Default)]
struct World {
    visits: BTreeMap<String, Visit>,
}

impl World {
    /// Asks every sandbox; those that don't answer are shown without figures.
    fn look(&mut self, model: &Model) -> Result<Vec<Figures>, Error> {
        let ids = client::ids()?;
        self.visits.retain(|id, _| ids.contains(id));
        let mut all = Vec::with_capacity(ids.len());
        for id in ids {
            let request = Request::Status { processes: model.is_expanded(&id) };
            match self.ask(&id, &request) {
                Ok(Some(answer)) => all.push(Figures::new(&answer["status"])),
                Ok(None) => {}
                Err(_) => {
                    self.visits.remove(&id);
                    all.push(Figures::silent(id));
                }
            }
        }
        Ok(all)
    }

    fn ask(&mut self, id: &str, request: &Request) -> Result<Option<serde_json::Value>, Error> {
        if !self.visits.contains_key(id) {
            let Some(visit) = Visit::new(id)? else { return Ok(None) };
            self.visits.insert(id.to_owned(), visit.patient_for(PATIENCE)?);
        }
        let Some(visit) = self.visits.get_mut(id) else { return Ok(None) };
        let answer = visit.ask(request)?;
        if answer.is_none() {
            self.visits.remove(id);
        }
        Ok(answer)
    }
}
